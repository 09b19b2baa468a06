//! Commands, and the way back.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
use crate::api::{ConditionType, PhaseName, SwitchCause, keys::command};
use crate::release::action::Action;
use crate::release::{Identity, Refusal};

/// v2 serves, v1 still drains.
fn released() -> World {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(30);
    assert_eq!(world.phase(), PhaseName::Drain);
    world.transcript.clear();
    world
}

fn back(from: &str, to: &str) -> String {
    format!("{}-{}", revision(from), revision(to))
}

#[test]
fn an_abort_before_the_switch_touches_no_traffic() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.transcript.clear();
    world.command(command::ABORT, revision("v2"));
    world.settle();
    assert_eq!(world.transcript, ["rejected v2: Aborted", "remove abort"]);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "Aborted".into()));
    assert_eq!(world.status().rejected.as_ref().unwrap().return_to, None);
    world.undecided.clear();
    world.run(301);
    assert!(world.pods("v2").is_empty());
    assert_eq!(world.active(), "v1");
}

#[test]
fn an_abort_after_the_switch_takes_the_traffic_back() {
    let mut world = released();
    world.command(command::ABORT, revision("v2"));
    world.settle();
    assert_eq!(world.selected("shop"), "v1");
    assert_eq!(world.status().switch.as_ref().unwrap().cause, SwitchCause::Rollback);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "Aborted".into()));
    assert!(!world.transcript.iter().any(|line| line.starts_with("create")));
    world.run(1000);
    assert_eq!((world.active(), world.phase()), ("v1", PhaseName::Rejected));
    assert!(world.pods("v2").is_empty());
}

#[test]
fn an_abort_in_the_middle_of_a_move_turns_it_round() {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    world.apply_version("v2");
    while world.selected("shop") != "v2" {
        world.writes_left = Some(1);
        world.settle();
    }
    world.writes_left = None;
    world.command(command::ABORT, revision("v2"));
    world.transcript.clear();
    world.settle();
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v1", "v1"));
    assert!(!world.transcript.contains(&"select shop-internal v2@2".into()), "{:#?}", world.transcript);
    world.run(1000);
    assert_eq!((world.active(), world.phase()), ("v1", PhaseName::Rejected));
}

#[test]
fn an_abort_of_the_first_release_has_nowhere_to_go() {
    let mut world = World::installed("v1", &json!({}));
    world.command(command::ABORT, revision("v1"));
    world.settle();
    assert_eq!(world.notices.last().unwrap().reason, "NothingToRollBackTo");
    assert_eq!((world.active(), world.phase()), ("v1", PhaseName::Complete));
    assert!(world.snapshot.object.commands.is_empty());
}

#[test]
fn a_rollback_to_a_warm_set_is_a_patch_and_starts_no_pods() {
    let mut world = released();
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.settle();
    assert_eq!(world.transcript, ["rejected v2: RolledBack", "remove rollback", "fence v1@3", "select shop v1@3", "intent v1@3 completed"]);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "RolledBack".into()));
    assert_eq!(condition(world.status(), ConditionType::Ready), (False, "RolledBack".into()));
    world.run(700);
    assert_eq!(world.active(), "v1");
    world.apply_version("v3");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v3");
}

#[test]
fn a_rollback_to_a_cold_set_brings_it_up_and_tests_it_first() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    world.transcript.clear();
    world.undecided.insert(revision("v1"));
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.run(10);
    assert_eq!((world.pods("v1").len(), world.active()), (3, "v2"));
    world.undecided.clear();
    world.settle();
    assert_eq!(world.active(), "v1");
    assert!(world.transcript.contains(&"patch v1 x3 blue".into()), "{:#?}", world.transcript);
}

#[test]
fn a_rollback_to_a_set_that_was_told_to_drain_gets_new_pods_first() {
    let mut world = World::installed("v1", &json!({"drain": {"begin": {"http": {"path": "/drain", "port": "http"}}}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(30);
    assert_eq!(world.told.len(), 3);
    let old: Vec<String> = world.pods("v1").iter().map(|pod| pod.uid.clone()).collect();
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.run(30);
    assert_eq!(world.active(), "v2", "pods that were told to drain serve again");
    world.open.clear();
    world.until("back", |world| world.active() == "v1");
    assert!(world.pods("v1").iter().all(|pod| !old.contains(&pod.uid)));
}

#[test]
fn a_rollback_needs_no_more_pods_than_are_left() {
    let mut world = released();
    // The new revision is down to one pod; the old one has two of three.
    world.idle = true;
    let (old, new) = (world.pods("v1")[0].uid.clone(), world.pods("v2").iter().skip(1).map(|pod| pod.uid.clone()).collect::<Vec<_>>());
    for pod in &mut world.snapshot.pods {
        pod.ready = pod.ready && pod.uid != old && !new.contains(&pod.uid);
    }
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.settle();
    assert_eq!(world.active(), "v1");
}

#[test]
fn a_rollback_that_can_not_be_meant_is_refused_in_words() {
    for (value, reason, words) in [
        ("nonsense".to_owned(), "CommandIgnored", "write it as <revision to leave>-<revision to go to>"),
        (back("v1", "v2"), "CommandIgnored", "is active"),
        (back("v2", "v9"), "NothingToRollBackTo", "is not in the history"),
        (back("v2", "v2"), "NothingToRollBackTo", "is not in the history"),
    ] {
        let mut world = released();
        world.command(command::ROLLBACK, value.clone());
        world.settle();
        let notice = world.notices.last().unwrap();
        assert!(notice.warning && notice.reason == reason && notice.message.contains(words), "{value}: {notice:?}");
        assert_eq!(world.transcript, ["remove rollback"]);
        assert_eq!(world.active(), "v2");
    }
}

#[test]
fn a_rollback_can_be_rolled_back() {
    let mut world = released();
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.run(5);
    world.command(command::ROLLBACK, back("v1", "v2"));
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    assert_eq!(world.status().rejected, None);
}

#[test]
fn a_rollback_past_a_release_under_way_gives_that_up() {
    let mut world = released();
    world.undecided.insert(revision("v3"));
    world.apply_version("v3");
    world.settle();
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.settle();
    assert_eq!(world.active(), "v1");
    assert_eq!(world.status().rejected.as_ref().unwrap().revision, revision("v3"));
}

#[test]
fn late_commands_never_hit_a_newer_release() {
    let mut world = released();
    world.undecided.insert(revision("v3"));
    world.apply_version("v3");
    world.settle();
    for key in [command::ABORT, command::RETRY, command::PROMOTE] {
        world.command(key, revision("v1"));
        world.settle();
        assert_eq!(world.notices.last().unwrap().reason, "CommandIgnored", "{key}");
        assert_eq!(world.status().rejected, None);
        assert!(world.snapshot.object.commands.is_empty());
    }
}

#[test]
fn commands_wait_until_it_is_known_what_the_template_is() {
    let mut world = released();
    world.apply_version("v3");
    world.command(command::ABORT, revision("v3"));
    world.observe();
    let plan = crate::release::plan(&world.snapshot, world.now());
    assert!(plan.notices.is_empty());
    world.settle();
    assert_eq!(world.status().rejected.as_ref().unwrap().reason, "Aborted");
}

#[test]
fn a_new_revision_that_loses_its_last_pod_is_left_for_the_old_one_once() {
    let mut world = released();
    world.broken.insert(revision("v2"));
    world.settle();
    assert_eq!(world.active(), "v1");
    let rejected = world.status().rejected.clone().unwrap();
    assert_eq!((rejected.reason.as_str(), rejected.return_to), ("LostAllReadyPods", Some(revision("v1"))));
    assert_eq!(world.status().switch.as_ref().unwrap().cause, SwitchCause::Failure);
    // Now the old one fails too: there is no to and fro.
    world.broken.clear();
    world.settle();
    world.broken.insert(revision("v1"));
    world.transcript.clear();
    world.run(5);
    assert_eq!(world.active(), "v1");
    assert!(!world.transcript.iter().any(|line| line.starts_with("fence v2")), "{:#?}", world.transcript);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "LostAllReadyPods".into()));
}

#[test]
fn nodes_that_are_given_up_are_no_reason_to_go_back_to_pods_on_such_nodes() {
    let mut world = released();
    world.snapshot.nodes.values_mut().for_each(|node| node.ready = false);
    world.broken.insert(revision("v2"));
    world.settle();
    assert_eq!(world.active(), "v2", "the old pods are about to lose their readiness, too");
    assert!(world.status().rejected.is_none());
    world.snapshot.nodes.values_mut().for_each(|node| node.ready = true);
    world.settle();
    assert_eq!(world.active(), "v1", "their nodes are well: it was the version");
}

#[test]
fn a_lost_pod_is_no_lost_revision_and_nobody_goes_back_to_a_set_that_is_gone() {
    let mut world = released();
    world.idle = true;
    let lost: Vec<String> = world.pods("v2").iter().skip(1).map(|pod| pod.uid.clone()).collect();
    world.snapshot.pods.iter_mut().filter(|pod| lost.contains(&pod.uid)).for_each(|pod| pod.ready = false);
    world.settle();
    assert_eq!(world.active(), "v2");
    world.idle = false;
    world.open.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    world.broken.insert(revision("v2"));
    world.run(10);
    assert_eq!(world.active(), "v2");
    assert_eq!(condition(world.status(), ConditionType::Ready), (False, "NoReadyPods".into()));
}

#[test]
fn nobody_goes_back_to_pods_that_were_told_to_drain_or_are_not_ready() {
    let mut world = World::installed("v1", &json!({"drain": {"begin": {"http": {"path": "/drain", "port": "http"}}}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(30);
    world.broken.insert(revision("v2"));
    world.run(5);
    assert_eq!(world.active(), "v2");

    let mut world = released();
    world.broken.extend([revision("v1"), revision("v2")]);
    world.run(5);
    assert_eq!(world.active(), "v2");
}

#[test]
fn what_a_person_decided_is_not_taken_back_by_itself() {
    let mut world = released();
    world.open.insert(revision("v2"), 1);
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.run(20);
    world.broken.insert(revision("v1"));
    world.run(20);
    assert_eq!(world.active(), "v1");
}

#[test]
fn the_way_back_to_pods_that_still_run_asks_no_probe_of_the_new_spec() {
    let mut world = World::installed("v1", &json!({"smokeProbes": []}));
    world.open.insert(revision("v1"), 1);
    world.edit(|spec| spec.smoke_probes = serde_json::from_value(json!([{"name": "new", "httpGet": {"port": "http"}}])).unwrap());
    world.apply_version("v2");
    world.run(30);
    assert_eq!((world.active(), world.phase()), ("v2", PhaseName::Drain));
    // More pods than were ever tested, and none of them knows the new probe.
    world.edit(|spec| spec.traffic.preview_services = vec!["nobody-made-it".into()]);
    world.failing.insert(revision("v1"));
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v1", "v1"));
}

#[test]
fn a_cold_way_back_says_what_it_waits_for_and_goes_on_when_the_probe_passes() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.run(60);
    assert!(world.pods("v1").is_empty());
    world.failing.insert(revision("v1"));
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.run(30);
    assert_eq!(world.active(), "v2");
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.contains("not yet back at") && said.contains("smoke probe \"home\""), "{said}");
    world.failing.clear();
    world.run(5);
    assert_eq!(world.active(), "v1");
}

#[test]
fn a_rollback_works_while_the_template_is_refused() {
    let mut world = released();
    world.apply_version("v3");
    world.snapshot.identity = Identity::Refused { reason: "TemplateRefused".into(), message: "spec.template: no".into() };
    world.settle();
    world.command(command::ROLLBACK, back("v2", "v1"));
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v1", "v1"));
    assert_eq!(world.status().revision, None, "a refused template is no revision");
}

#[test]
fn a_retry_that_is_done_already_is_only_removed() {
    let mut world = released();
    world.command(command::RETRY, revision("v2"));
    world.settle();
    assert!(world.snapshot.object.commands.is_empty());
    assert!(world.notices.iter().all(|notice| notice.reason != "CommandIgnored"));
}

#[test]
fn a_rollback_to_what_never_served_is_refused() {
    let mut world = World::installed("v1", &json!({}));
    world.failing.insert(revision("v2"));
    world.apply_version("v2");
    world.run(5);
    assert_eq!(world.phase(), PhaseName::Rejected);
    world.command(command::ROLLBACK, back("v1", "v2"));
    world.settle();
    let notice = world.notices.last().unwrap();
    assert_eq!(
        (notice.reason, notice.message.clone()),
        ("NothingToRollBackTo", format!("rollback names {}, which has never served", revision("v2")))
    );
    assert_eq!(world.active(), "v1");
}

#[test]
fn a_restart_is_a_release_of_the_same_template_with_new_pods() {
    let mut world = World::installed("v1", &json!({}));
    let old: Vec<String> = world.pods("v1").iter().map(|pod| pod.uid.clone()).collect();
    world.command(command::RESTART, revision("v1"));
    world.settle();
    let anew = world.status().revision.clone().unwrap();
    assert_ne!(anew, revision("v1"));
    assert!(world.snapshot.object.commands.is_empty());
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.status().draining.is_empty());
    assert_eq!(world.status().switch.as_ref().map(|switch| (&switch.to, switch.from.as_ref())), Some((&anew, Some(&revision("v1")))));
    let new: Vec<&str> = world.snapshot.pods.iter().filter(|pod| pod.alive()).map(|pod| pod.uid.as_str()).collect();
    assert!(new.len() == 3 && new.iter().all(|uid| !old.iter().any(|old| old == uid)), "{new:?} after {old:?}");
    assert_eq!(world.notices.iter().filter(|notice| notice.reason == "Restarting").count(), 1);
    // The next one starts that one anew.
    world.command(command::RESTART, anew.clone());
    world.until("started anew again", |world| {
        world.status().active.as_ref().is_some_and(|active| ![&anew, &revision("v1")].contains(&&active.revision))
    });
}

#[test]
fn a_process_that_ended_right_after_a_restart_had_begun_does_not_begin_another() {
    let mut world = World::installed("v1", &json!({}));
    world.command(command::RESTART, revision("v1"));
    world.writes_left = Some(1);
    world.settle();
    assert_eq!((world.snapshot.sets.len(), world.snapshot.object.commands.len()), (2, 1), "killed between the two writes");
    world.writes_left = None;
    world.restart();
    world.settle();
    assert_eq!((world.snapshot.sets.len(), world.snapshot.object.commands.len()), (2, 0));
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.status().draining.is_empty());
    assert_eq!(world.snapshot.sets.len(), 2);
    assert!(!world.notices.iter().any(|notice| notice.reason == "CommandIgnored"), "{:?}", world.notices);
}

#[test]
fn only_what_serves_is_started_anew_and_not_while_paused() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    for named in [revision("v1"), revision("v2"), "nonsense".into()] {
        world.command(command::RESTART, named);
        world.settle();
        assert!(world.snapshot.object.commands.is_empty());
        assert_eq!(world.snapshot.sets.len(), 2);
    }
    assert_eq!(world.notices.iter().filter(|notice| notice.reason == "CommandIgnored").count(), 3);
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.paused = true);
    world.command(command::RESTART, revision("v1"));
    world.settle();
    assert_eq!((world.snapshot.sets.len(), world.snapshot.object.commands.len()), (1, 1), "it waits for the end of the pause");
    world.edit(|spec| spec.paused = false);
    world.until("started anew", |world| world.snapshot.sets.len() == 2);
}

#[test]
fn a_drain_can_be_ended_by_a_person() {
    let mut world = released();
    world.run(20);
    assert_eq!(world.pods("v1").len(), 3, "held by a connection");
    world.command(command::FINISH_DRAIN, revision("v1"));
    world.settle();
    assert!(world.pods("v1").is_empty());
    assert!(world.snapshot.object.commands.is_empty());
    let said: Vec<&str> = world.notices.iter().filter(|notice| notice.warning).map(|notice| notice.message.as_str()).collect();
    let expected =
        format!("revision {} had its drain ended by finish-drain with 3 open connections (OpenConnections); 0 of 3 pods had drained", revision("v1"));
    assert_eq!(said, [expected]);
}

#[test]
fn a_drain_that_is_not_is_not_ended() {
    let mut world = released();
    for named in [revision("v2"), "nonsense".into()] {
        world.command(command::FINISH_DRAIN, named);
        world.settle();
        assert!(world.snapshot.object.commands.is_empty());
    }
    assert_eq!(world.pods("v1").len(), 3);
    assert_eq!(world.notices.iter().filter(|notice| notice.reason == "CommandIgnored").count(), 2);
}

#[test]
fn a_restart_that_is_refused_is_told_of_and_not_forgotten() {
    let mut world = World::installed("v1", &json!({}));
    world.command(command::RESTART, revision("v1"));
    world.snapshot.refused = Some(Refusal { reason: "QuotaExceeded", message: "no more ReplicaSets".into(), command: None });
    let planned = crate::release::plan(&world.snapshot, world.now());
    assert!(planned.actions.iter().all(|action| matches!(action, Action::CreateSet { .. })), "{:?}", planned.actions);
    assert_eq!(condition(&planned.status, ConditionType::Stalled), (True, "QuotaExceeded".into()));
    world.snapshot.refused = None;
    world.settle();
    assert_eq!((world.snapshot.sets.len(), world.snapshot.object.commands.len()), (2, 0));
}

#[test]
fn an_active_set_that_was_started_anew_and_is_deleted_by_hand_is_made_again_at_once() {
    let mut world = World::installed("v1", &json!({}));
    world.command(command::RESTART, revision("v1"));
    world.settle();
    let anew = world.status().revision.clone().unwrap();
    world.until("it serves, and the first is gone", |world| world.set("v1").desired == 0);
    let uid = world.snapshot.sets.iter().find(|set| set.revision == anew).unwrap().uid.clone();
    world.snapshot.sets.retain(|set| set.uid != uid);
    world.snapshot.pods.retain(|pod| pod.set_uid != uid);
    world.reconcile();
    assert!(world.snapshot.sets.iter().any(|set| set.revision == anew && set.desired == 3), "{:#?}", world.transcript);
    world.run(5);
    assert_eq!(world.status().active.as_ref().map(|active| (&active.revision, active.ready_replicas)), Some((&anew, 3)));
}
