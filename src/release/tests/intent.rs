//! The recorded intent: lost, rebuilt, contradictory, overtaken; and what an earlier object of the same name left behind.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::True;
use crate::api::{BlueGreenDeploymentStatus, ConditionType, PhaseName};
use crate::release::intent::on_record;
use crate::release::*;

fn released() -> World {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(20);
    assert_eq!(world.active(), "v2");
    world.transcript.clear();
    world
}

#[test]
fn a_lost_status_is_rebuilt_from_the_annotations_and_nothing_moves() {
    let mut world = released();
    world.snapshot.object.status = BlueGreenDeploymentStatus::default();
    world.restart();
    world.settle();
    assert_eq!(world.transcript, ["intent v2@2 completed"]);
    assert_eq!((world.active(), world.selected("shop"), world.pods("v1").len()), ("v2", "v2", 3));
    world.open.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete);
}

#[test]
fn a_move_that_has_only_begun_is_known_by_its_first_service() {
    let mut world = begun("v2");
    world.observe();
    let begun = world.status().switch.clone().unwrap();
    assert_eq!((begun.from, begun.to, begun.attempt, begun.completed_at), (Some(revision("v1")), revision("v2"), 2, None));
    assert_eq!(begun.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["shop", "shop-internal"]);
    world.transcript.clear();
    world.settle();
    assert_eq!(world.transcript, ["select shop-internal v2@2", "fence v2@2", "intent v2@2 completed"]);
}

/// Killed right after the first write of the switch to `version`.
fn begun(version: &str) -> World {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version(version);
    while !world.transcript.iter().any(|line| *line == format!("select shop {version}@2")) {
        world.writes_left = Some(1);
        world.settle();
    }
    world.writes_left = None;
    world.restart();
    world
}

#[test]
fn two_leaders_that_begin_a_move_at_once_end_up_with_one() {
    for other in ["v0", "v1", "v3", "v4"] {
        let mut world = begun("v2");
        let mut second = set(&revision(other), Color::Blue, 3);
        if other == "v1" {
            second = world.snapshot.sets.remove(0);
        }
        let switch = crate::api::Switch { to: revision(other), ..world.snapshot.services["shop"].switch.clone().unwrap() };
        (second.role, second.switch) = (Some(Role::serving(2)), Some(switch));
        world.served.insert(second.uid.clone());
        world.snapshot.sets.push(second);
        world.settle();
        world.open.clear();
        world.until("one of them has it", |world| world.phase() == PhaseName::Complete);
        assert_eq!((world.active(), world.selected("shop"), world.selected("shop-internal")), ("v2", "v2", "v2"), "after {other}");
    }
}

#[test]
fn a_record_counts_while_what_it_was_written_with_stands_and_status_is_behind() {
    let mut world = begun("v2");
    let record = |world: &World, status: Option<&crate::api::Switch>| on_record(status, &world.snapshot.sets, world.snapshot.services.values());
    let to = |switch: Option<crate::api::Switch>| switch.map(|switch| (switch.to, switch.attempt));
    let (old, new) = ((revision("v1"), 1), (revision("v2"), 2));
    let status = world.set("v1").switch.clone();
    assert_eq!(to(status.clone()), Some(old.clone()));
    assert_eq!(to(record(&world, status.as_ref())), Some(new.clone()));
    assert_eq!(to(record(&world, None)), Some(new.clone()));
    // What status says about the same move is newer.
    let completed = Some(crate::api::Switch { completed_at: Some(at(1.0).wall), ..record(&world, None).unwrap() });
    assert_eq!(record(&world, completed.as_ref()), completed);
    let written = world.service_mut("shop").switch.take();
    assert_eq!(to(record(&world, status.as_ref())), Some(old.clone()));
    world.set_mut("v2").switch = written.clone();
    for (role, counts) in [(Role::serving(2), &new), (Role::retiring(2), &old), (Role::serving(3), &old)] {
        world.set_mut("v2").role = Some(role);
        assert_eq!(to(record(&world, status.as_ref())), Some(counts.clone()), "{role:?}");
    }
    world.set_mut("v2").switch = None;
    for (selected, counts) in [(("v2", 2), &new), (("v1", 2), &old), (("v2", 3), &old)] {
        let service = world.service_mut("shop");
        (service.switch, service.selected) = (written.clone(), Some(Selected { revision: revision(selected.0), attempt: selected.1 }));
        assert_eq!(to(record(&world, status.as_ref())), Some(counts.clone()), "{selected:?}");
    }
}

#[test]
fn an_older_status_that_was_restored_gives_way_to_higher_annotations() {
    let mut world = World::installed("v1", &json!({}));
    let old = world.status().clone();
    world.apply_version("v2");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    world.snapshot.object.status = old;
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v2", "v2"));
    assert_eq!(world.status().switch.as_ref().unwrap().attempt, 2);
}

#[test]
fn without_services_the_fence_on_the_sets_is_enough() {
    let mut world = World::installed("v1", &json!({"traffic": {"services": []}}));
    world.snapshot.object.status = BlueGreenDeploymentStatus::default();
    world.restart();
    world.settle();
    assert_eq!(world.active(), "v1");
    assert_eq!(world.snapshot.sets.len(), 1);
}

#[test]
fn what_contradicts_itself_is_left_to_a_person() {
    let mut world = released();
    let rejected =
        crate::api::Rejected { revision: revision("v2"), reason: "Aborted".into(), message: "by hand".into(), at: at(0.0).wall, return_to: None };
    world.snapshot.object.status.rejected = Some(rejected.clone());
    world.snapshot.object.status.switch = None;
    // With the record of the move there would be no doubt.
    world.set_mut("v2").switch = None;
    world.service_mut("shop").switch = None;
    world.service_mut("shop-internal").selected = Some(Selected { revision: revision("v1"), attempt: 2 });
    world.service_mut("shop-internal").selector = selector(&revision("v1"));
    world.run(5);
    assert!(world.transcript.is_empty(), "{:#?}", world.transcript);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "IntentLost".into()));
    assert!(message(world.status(), ConditionType::Stalled).contains("name 2 revisions for move 2"));
    assert_eq!(world.status().rejected, Some(rejected), "what was given up is not forgotten");
    world.service_mut("shop-internal").selected = None;
    world.settle();
    assert_eq!((world.active(), world.selected("shop-internal")), ("v2", "v2"));
}

#[test]
fn half_a_reading_rebuilds_nothing() {
    let mut world = released();
    world.snapshot.object.status.switch = None;
    world.snapshot.unread = vec!["Services".into()];
    world.run(5);
    assert!(world.transcript.is_empty(), "{:#?}", world.transcript);
    world.snapshot.unread.clear();
    world.settle();
    assert_eq!(world.active(), "v2");
}

#[test]
fn a_leader_that_was_overtaken_writes_nothing() {
    let mut world = released();
    world.set_mut("v2").role = Some(Role { kind: RoleKind::Retiring, attempt: 7 });
    world.service_mut("shop").selector = selector(&revision("v1"));
    world.observe();
    let plan = plan(&world.snapshot, world.now());
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(plan.again, Some(1.0));
}

#[test]
fn what_an_earlier_object_left_behind_is_adopted_before_anything_else() {
    let mut world = World::installed("v1", &json!({}));
    // Deleted with --cascade=orphan, and created again under another UID.
    let mut again = World::new("v1", &json!({}));
    again.snapshot.object.uid = "uid-again".into();
    again.snapshot.orphans = std::mem::take(&mut world.snapshot.sets);
    again.snapshot.pods = std::mem::take(&mut world.snapshot.pods);
    again.snapshot.services = std::mem::take(&mut world.snapshot.services);
    again.snapshot.endpoints = std::mem::take(&mut world.snapshot.endpoints);
    again.passed = world.passed.clone();
    again.settle();
    assert_eq!(again.transcript[..2], ["adopt v1", "look up shop"]);
    assert_eq!((again.active(), again.pods("v1").len(), again.phase()), ("v1", 3, PhaseName::Complete));
    assert!(!again.transcript.iter().any(|line| line.starts_with("create") || line.contains("park")), "{:#?}", again.transcript);
    assert_eq!(again.snapshot.services["shop"].owner.as_ref().unwrap().uid, "uid-again");
}

#[test]
fn the_word_of_a_former_owner_counts_only_with_its_replica_set() {
    let mut world = World::new("v1", &json!({}));
    let old = revision("v1");
    let service = world.service_mut("shop");
    service.selector = selector(&old);
    service.owner = Some(Owner { name: "shop".into(), uid: "uid-before".into() });
    service.selected = Some(Selected { revision: old.clone(), attempt: 7 });
    world.snapshot.owners.insert("uid-before".into(), OwnerState::Gone);
    world.undecided.insert(old);
    world.run(20);
    // Deleted in the background and made again: the same name, and yet nothing of it was ever tested here.
    assert_ne!(world.selected("shop"), "v1", "{:#?}", world.transcript);
    assert_eq!(world.active(), "none");
    world.undecided.clear();
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v1", "v1"));
}

#[test]
fn a_number_that_was_made_up_stops_everything_until_it_is_taken_away() {
    let stopped = |how: &dyn Fn(&mut World)| {
        let mut world = released();
        how(&mut world);
        world.restart();
        world.run(5);
        assert!(world.transcript.is_empty(), "{:?}", world.transcript);
        assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "IntentLost".into()));
        message(world.status(), ConditionType::Stalled).to_owned()
    };
    for attempt in [1i64 << 53, i64::MAX - 1, i64::MAX] {
        let said = stopped(&|world| world.set_mut("v1").role = Some(Role::serving(attempt)));
        assert_eq!(
            said,
            format!("ReplicaSet \"shop-{}\" names a move that was never made; remove the annotation bluegreen.dev/role from it", revision("v1"))
        );
        stopped(&|world| world.set_mut("v1").role = Some(Role::retired(attempt)));
        let said = stopped(&|world| world.service_mut("shop").selected = Some(Selected { revision: revision("v1"), attempt }));
        assert_eq!(said, "a Service names a move that was never made; remove the annotation bluegreen.dev/selected from it");
        let said = stopped(&|world| world.snapshot.object.status.switch.as_mut().unwrap().attempt = attempt);
        assert_eq!(said, "status.switch.attempt is a move that was never made; remove status.switch, it is found again in annotations");
    }
    // With what was made up out of the way, it goes on.
    let mut world = released();
    let role = world.set_mut("v1").role.replace(Role::serving(i64::MAX));
    world.run(5);
    world.set_mut("v1").role = role;
    world.open.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    // Below zero counts as not there.
    assert_eq!((Role::parse("serving@-1"), Role::parse("serving@9223372036854775808"), Selected::parse("abc@-1")), (None, None, None));
}
