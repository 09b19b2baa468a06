//! Services are moved together, kept where they were moved to, and an interrupted move is finished or undone.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
use crate::api::{ConditionType, PhaseName, Rejected, keys::command};
use crate::release::action::{Action, SelectWhy};
use crate::release::*;

/// Killed after the first of two Services has moved.
fn halfway() -> World {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    world.apply_version("v2");
    while world.selected("shop") != "v2" {
        world.writes_left = Some(1);
        world.settle();
    }
    world.writes_left = None;
    world.transcript.clear();
    assert_eq!(world.selected("shop-internal"), "v1");
    world
}

#[test]
fn an_interrupted_move_is_finished() {
    let mut world = halfway();
    world.restart();
    world.settle();
    assert_eq!(world.transcript[0], "select shop-internal v2@2");
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v2", "v2"));
}

#[test]
fn an_interrupted_move_is_undone_when_only_the_old_end_can_carry_the_traffic() {
    let mut world = halfway();
    world.broken.insert(revision("v2"));
    world.idle = false;
    for pod in &mut world.snapshot.pods {
        pod.ready = pod.set_uid == world.snapshot.sets[0].uid;
    }
    world.settle();
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v1", "v1"));
    assert_eq!(world.status().rejected, None, "nobody is given up for it");
    // When it is well again, it is released.
    world.broken.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
}

#[test]
fn a_revision_that_another_leader_gave_up_while_its_move_began_goes_back() {
    let mut world = halfway();
    world.snapshot.object.status.rejected = Some(Rejected {
        revision: revision("v2"),
        reason: "Aborted".into(),
        message: "by a person, to another leader".into(),
        at: world.now().wall,
        return_to: None,
    });
    world.settle();
    assert_eq!((world.selected("shop"), world.selected("shop-internal"), world.active()), ("v1", "v1", "v1"));
    assert_eq!(world.phase(), PhaseName::Rejected);
}

#[test]
fn a_move_to_a_set_that_somebody_deleted_does_not_hold_up_the_next_release() {
    let mut world = halfway();
    world.snapshot.sets.clear();
    world.snapshot.pods.clear();
    world.apply_version("v3");
    world.until("v3 serves", |world| world.active() == "v3" && world.status().switch.as_ref().unwrap().completed_at.is_some());
    assert!(world.snapshot.services.values().all(|service| service.selector == selector(&revision("v3"))), "{:#?}", world.snapshot.services);
}

#[test]
fn what_ends_a_move_that_waits_says_when_it_is_a_persons_turn() {
    let mut world = halfway();
    world.snapshot.sets.clear();
    world.snapshot.pods.clear();
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v3");
    world.until("v3 waits for a person", |world| world.phase() == PhaseName::AwaitPromotion);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "NoReadyPods".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.ends_with(&format!("bluegreen.dev/promote={}", revision("v3"))), "{said}");
    world.command(command::PROMOTE, revision("v3"));
    world.until("v3 serves", |world| world.active() == "v3" && world.phase() == PhaseName::Complete);
}

#[test]
fn an_interrupted_move_with_both_ends_broken_stays_where_it_is() {
    let mut world = halfway();
    world.broken.extend([revision("v1"), revision("v2")]);
    world.snapshot.pods.iter_mut().for_each(|pod| pod.ready = false);
    world.run(5);
    assert_eq!(world.active(), "v2");
    assert!(!world.transcript.iter().any(|line| line.starts_with("intent v1") || line.starts_with("fence v1")));
}

#[test]
fn a_new_revision_is_switched_to_by_one_write_and_fenced_after_it() {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    world.apply_version("v2");
    world.settle();
    let begun = world.transcript.iter().position(|line| line == "select shop v2@2").unwrap();
    assert_eq!(world.transcript[begun..begun + 4], ["select shop v2@2", "select shop-internal v2@2", "fence v2@2", "intent v2@2 completed"]);
    let switch = world.snapshot.services["shop"].switch.as_ref().unwrap();
    assert_eq!((&switch.to, switch.attempt, switch.services.len()), (&revision("v2"), 2, 2));
    assert_eq!(world.snapshot.services["shop-internal"].switch.as_ref(), Some(switch));
}

#[test]
fn a_service_that_joins_follows_when_the_move_has_begun() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.undecided.clear();
    world.observe();
    let mut planned = world.snapshot.clone();
    planned.services.insert("late".into(), service("late"));
    planned.object.spec.traffic.services = vec!["late".into(), "shop".into()];
    let set = planned.sets.iter().find(|set| set.revision == revision("v2")).unwrap();
    let intent = planned.object.status.switch.clone().unwrap();
    let view = view::View::new(&planned, world.now(), Some(&intent), None);
    let record = switch::record(&view, &set.revision, crate::api::SwitchCause::Release);
    let names = |planned: &Snapshot, set: &Set| -> Vec<String> {
        let view = view::View::new(planned, world.now(), Some(&intent), None);
        let name = |action: Action| match action {
            Action::Select { service, .. } => service.name,
            other => format!("{other:?}").split(' ').next().unwrap_or_default().to_owned(),
        };
        switch::begin(&view, set, &record).into_iter().map(name).collect()
    };
    assert_eq!(names(&planned, set), ["shop"]);
    let served = Set { role: Some(Role::retired(1)), ..set.clone() };
    assert_eq!(names(&planned, &served), ["Fence"]);
    planned.services.get_mut("shop").unwrap().withdrawn.insert(revision("v2"));
    assert_eq!(names(&planned, set), ["Fence"]);
}

#[test]
fn a_set_that_served_is_fenced_before_the_first_service() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    world.apply_version("v1");
    world.settle();
    let fence = world.transcript.iter().position(|line| line == "fence v1@3").unwrap();
    let select = world.transcript.iter().position(|line| line == "select shop v1@3").unwrap();
    assert!(fence < select);
}

#[test]
fn a_leader_that_still_believes_in_what_another_gave_up_moves_nobody_there() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    // All is ready to switch for one leader, which is then stopped right before its write.
    world.undecided.clear();
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.settle();
    let mut late = world.snapshot.clone();
    late.object.spec.promotion.mode = crate::api::PromotionMode::Automatic;
    let decided = plan(&late, world.now());
    assert!(matches!(decided.actions.as_slice(), [Action::Select { record: Some(_), .. }]), "{:?}", decided.actions);
    // Another one hears of a newer template, and the pods of v2 go.
    world.apply_version("v3");
    world.settle();
    assert_eq!(world.set("v2").desired, 0);
    world.stale = true;
    assert!(world.carry_out(&late, decided).is_err());
    assert_eq!((world.selected("shop"), world.active()), ("v1", "v1"));
}

#[test]
fn what_is_given_up_is_withdrawn_from_the_services_before_its_pods_go() {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.transcript.clear();
    world.undecided.insert(revision("v3"));
    world.apply_version("v3");
    world.settle();
    let at = |what: &str| world.transcript.iter().position(|line| line == what).unwrap_or_else(|| panic!("no {what}: {:#?}", world.transcript));
    let gone = at("patch v2 x0 without proof");
    assert!(at("withdraw shop v2") < gone && at("withdraw shop-internal v2") < gone);
    // Whoever still believes in it has to pass the fence.
    world.undecided.clear();
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v2", "v2"));
    let at = |what: &str| world.transcript.iter().position(|line| line == what).unwrap();
    assert!(at("fence v2@2") < at("select shop v2@2"));
    // The next move takes the mark away.
    assert!(!world.snapshot.services["shop"].withdrawn.contains(&revision("v2")));
}

#[test]
fn what_users_have_stays_when_the_revision_to_return_to_is_deleted() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    let mut planned = world.snapshot.clone();
    // The Service is moved, and before v2 is fenced a person wants v1 back, which somebody deletes.
    let view = view::View::new(&planned, world.now(), planned.object.status.switch.as_ref(), None);
    let forward = switch::record(&view, &revision("v2"), crate::api::SwitchCause::Release);
    let back = crate::api::Switch { from: Some(revision("v2")), to: revision("v1"), attempt: forward.attempt + 1, ..forward };
    planned.object.status.switch = Some(back);
    let returned = crate::api::Rejected {
        revision: revision("v2"),
        reason: "RolledBack".into(),
        message: String::new(),
        at: world.now().wall,
        return_to: Some(revision("v1")),
    };
    planned.object.status.rejected = Some(returned);
    planned.object.spec.on_failure.keep_seconds = 0;
    planned.sets.retain(|set| set.revision == revision("v2"));
    // Nor can it be gone back to, as its pods have just lost their readiness.
    planned.pods.retain(|pod| planned.sets.iter().any(|set| set.uid == pod.set_uid));
    planned.pods.iter_mut().for_each(|pod| pod.ready = false);
    let going = |planned: &Snapshot| {
        let gone = |action: &Action| matches!(action, Action::PatchSet { change, .. } if change.replicas == Some(0));
        plan(planned, world.now()).actions.iter().any(|action| gone(action) || matches!(action, Action::Withdraw { .. }))
    };
    assert!(going(&planned), "nobody has its pods, and it was given up");
    planned.services.get_mut("shop").unwrap().selector = selector(&revision("v2"));
    assert!(!going(&planned));
}

#[test]
fn a_selector_changed_by_somebody_is_put_back_at_once_with_his_name() {
    for theirs in [labels(&[("app", SHOP)]), labels(&[]), selector("none"), selector(&revision("v0"))] {
        let mut world = World::installed("v1", &json!({}));
        let service = world.service_mut("shop");
        (service.selector, service.editor) = (theirs, Some("kubectl-edit".into()));
        world.observe();
        let plan = plan(&world.snapshot, world.now());
        let [Action::Select { why, .. }] = plan.actions.as_slice() else { panic!("{:?}", plan.actions) };
        assert_eq!(*why, SelectWhy::Repair { editor: Some("kubectl-edit".into()) });
        world.settle();
        assert_eq!(world.selected("shop"), "v1");
    }
}

#[test]
fn a_fight_is_fought_with_growing_pauses_and_said() {
    let mut world = World::installed("v1", &json!({}));
    let mut repaired = vec![];
    for second in 0..60 {
        let service = world.service_mut("shop");
        (service.selector, service.editor, service.applier) = (labels(&[("app", SHOP)]), Some("flux".into()), Some("flux".into()));
        let before = world.transcript.len();
        world.run(1);
        if world.transcript[before..].iter().any(|line| line.ends_with("repair")) {
            repaired.push(second);
        }
    }
    let pauses: Vec<i32> = repaired.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [1, 1, 2, 4, 8, 16], "{repaired:?}");
    // A repair makes the operator the last writer: who fights must be known all the same, and be said without going to and fro.
    for editor in [None, Some("flux".to_owned())] {
        let service = world.service_mut("shop");
        (service.editor, service.applier) = (editor.clone(), editor);
        world.run(1);
        assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "Contended".into()));
        assert!(message(world.status(), ConditionType::Stalled).contains("again and again by \"flux\""));
    }
}

#[test]
fn while_a_service_is_fought_over_no_untested_pods_are_behind_it() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.snapshot.repairs.insert("shop".into(), Repairs { count: 3, last: world.now().mono, editor: None });
    world.run(5);
    assert!(world.pods("v2").is_empty());
    assert_eq!(world.pods("v1").len(), 3);
    world.undecided.clear();
    world.run(5);
    assert!(world.pods("v2").is_empty());
    world.snapshot.repairs.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
}

#[test]
fn an_emptied_selector_is_drift_and_no_first_install() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.transcript.clear();
    world.service_mut("shop").selector.clear();
    world.settle();
    assert_eq!(world.transcript, ["select shop v1@1 repair"]);
}

#[test]
fn a_service_declared_later_joins_at_once_without_a_release_and_a_removed_one_is_released() {
    let mut world = World::installed("v1", &json!({}));
    world.snapshot.services.insert("late".into(), service("late"));
    world.edit(|spec| spec.traffic.services.push("late".into()));
    world.settle();
    assert_eq!(world.transcript, ["select late v1@1"]);
    world.edit(|spec| drop(spec.traffic.services.remove(0)));
    world.settle();
    assert_eq!(world.transcript[1..], ["release shop"]);
}

#[test]
fn a_service_made_again_takes_the_recorded_revision_at_once() {
    let mut world = World::installed("v1", &json!({}));
    world.snapshot.services.remove("shop");
    world.settle();
    assert_eq!(condition(world.status(), ConditionType::Switched), (False, "ServiceMissing".into()));
    assert_eq!(world.pods("v1").len(), 3);
    world.snapshot.services.insert("shop".into(), Service { selector: labels(&[("app", SHOP)]), ..service("shop") });
    world.settle();
    assert_eq!(world.selected("shop"), "v1");
}

#[test]
fn a_service_of_another_owner_is_not_taken_not_even_in_the_middle_of_a_move() {
    let mut world = halfway();
    let mut theirs = service("theirs");
    theirs.owner = Some(Owner { name: "cart".into(), uid: "uid-cart".into() });
    theirs.selector = labels(&[("app", "cart")]);
    world.snapshot.owners.insert("uid-cart".into(), OwnerState::Alive);
    world.snapshot.services.insert("theirs".into(), theirs.clone());
    world.edit(|spec| spec.traffic.services.push("theirs".into()));
    world.settle();
    assert_eq!(world.snapshot.services["theirs"], theirs);
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v2", "v2"));
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ServiceOwnedBy".into()));
    assert!(world.status().switch.as_ref().unwrap().completed_at.is_some(), "the move is not held up by it");
}

#[test]
fn the_ports_that_the_old_pods_served_are_on_record() {
    let mut world = World::installed("v1", &json!({}));
    world.service_mut("shop").ports[0].target = "8081".into();
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.status().switch.as_ref().unwrap().services[0].target_ports, ["8081"]);
    world.service_mut("shop").ports[0].target = "http".into();
    world.run(1);
    // Beside them those of the move before: an old pod may still have connections from that time.
    assert!(world.plan.effects.watch.iter().all(|pod| pod.ports == [PORT, 8081]), "{:?}", world.plan.effects.watch);
}

#[test]
fn a_template_that_the_api_server_refuses_stops_the_release_and_nothing_else() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.snapshot.identity =
        Identity::Refused { reason: "TemplateRefused".into(), message: "spec.template.spec.containers[0].image: Required value".into() };
    world.edit(|spec| spec.replicas = 5);
    world.service_mut("shop").selector = labels(&[("app", SHOP)]);
    world.settle();
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "TemplateRefused".into()));
    assert_eq!((world.selected("shop"), world.pods("v1").len()), ("v1", 5));
}

#[test]
fn the_end_of_a_fight_is_looked_for_even_if_nothing_else_happens() {
    let mut world = World::installed("v1", &json!({}));
    world.snapshot.repairs.insert("shop".into(), Repairs { count: 5, last: world.now().mono, editor: None });
    world.seconds += 100.0;
    world.reconcile();
    let again = world.plan.again.unwrap();
    assert!((200.0..201.0).contains(&again), "{again}");
}

#[test]
fn nothing_moves_to_pods_that_kubernetes_controllers_do_not_know_to_be_ready() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    // They were away: their ReplicaSet controller, and so their endpoints too, are at what they knew before.
    world.set_mut("v2").counted = Some(2);
    world.command(command::PROMOTE, revision("v2"));
    world.settle();
    assert_eq!(world.selected("shop"), "v1", "{:?}", world.transcript);
    world.set_mut("v2").counted = Some(3);
    world.settle();
    assert_eq!(world.selected("shop"), "v2");
}
