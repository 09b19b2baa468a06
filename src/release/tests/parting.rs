//! Old pods go one by one (`drain.scaleDown: PerPod`), by UID and never by a lower `spec.replicas`.

use serde_json::{Value, json};

use super::fixtures::*;
use super::simulator::World;
use crate::api::keys::command;
use crate::api::{PhaseName, ScaleDown};
use crate::release::action::Action;
use crate::release::*;

fn per_pod(changes: &Value) -> World {
    let mut spec = json!({"drain": {"scaleDown": "PerPod", "deadlineSeconds": 120}});
    if let (Some(spec), Some(changes)) = (spec.as_object_mut(), changes.as_object()) {
        spec.extend(changes.clone());
    }
    World::installed("v1", &spec)
}

/// Three old pods, of which one, or more, is held; the traffic has moved.
fn held(count: usize) -> World {
    let mut world = per_pod(&json!({}));
    let pods: Vec<String> = world.pods("v1").iter().take(count).map(|pod| pod.uid.clone()).collect();
    world.apply_version("v2");
    world.settle();
    world.holding.extend(pods.into_iter().map(|uid| (uid, 1)));
    world.transcript.clear();
    world
}

fn old(world: &World) -> usize {
    let first = world.snapshot.pods.iter().filter(|pod| pod.set_uid.starts_with("set-") && pod.alive());
    let newer = world.pods("v2").len();
    first.count() - newer
}

#[test]
fn drained_pods_go_and_the_busy_one_stays_alone() {
    let mut world = held(1);
    world.until("two have gone", |world| old(world) == 1);
    assert!(world.seconds < 19.0, "{}", world.seconds);
    assert_eq!(
        world.transcript[world.transcript.len() - 11..],
        [
            "intent v2@2 completed converged",
            "part v1@2, then 2",
            "mark a pod of v1",
            "mark a pod of v1",
            "mark a pod of v1",
            "orphan v1",
            "own a pod of v1",
            "own a pod of v1",
            "own a pod of v1",
            "delete a pod of v1",
            "delete a pod of v1"
        ]
        .map(str::to_owned)
    );
    let row = &world.status().draining[0];
    assert_eq!((row.pods, row.drained_pods, row.open_connections), (1, 0, Some(1)));
    world.run(60);
    assert_eq!(old(&world), 1, "it is held, and nobody replaces the others");
    world.holding.clear();
    world.run(15);
    assert_eq!(old(&world), 0);
    assert!(world.status().draining.is_empty());
    assert_eq!(world.phase(), PhaseName::Complete);
    // The template is kept.
    assert_eq!((world.set("v1").desired, world.set("v1").issue), (0, 2));
}

#[test]
fn without_connections_all_leave_at_once_as_a_set() {
    let mut world = held(0);
    world.run(30);
    assert_eq!(world.transcript.last().unwrap(), "retire v1@2");
    assert_eq!((world.set("v1").desired, world.set("v1").issue), (0, 1));
}

#[test]
fn the_deadline_counts_from_the_move_and_cuts_the_rest() {
    let mut world = held(2);
    let deadline = world.status().draining[0].deadline;
    world.until("the first has gone", |world| old(world) == 2);
    assert_eq!(world.status().draining[0].deadline, deadline);
    world.until("all have gone", |world| old(world) == 0);
    assert!((120.0..122.0).contains(&world.seconds), "{}", world.seconds);
    let said: Vec<&str> = world.notices.iter().filter(|notice| notice.reason == "DrainDeadline").map(|notice| notice.message.as_str()).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("2 open connections"), "{said:?}");
}

#[test]
fn while_paused_nothing_is_taken_apart_and_nothing_deleted() {
    let mut world = held(1);
    world.edit(|spec| spec.paused = true);
    world.run(60);
    assert_eq!(old(&world), 3);
    assert!(world.set("v1").role.is_some_and(|role| role.kind == RoleKind::Serving));
    world.edit(|spec| spec.paused = false);
    world.until("two have gone", |world| old(world) == 1);
    world.edit(|spec| spec.paused = true);
    world.holding.clear();
    world.run(60);
    assert_eq!(old(&world), 1);
}

/// The story up to the point at which the process is killed after so many writes.
fn killed_after(writes: usize, then: impl FnOnce(&mut World)) -> World {
    let mut world = held(1);
    world.until("one has drained", |world| world.status().draining.first().is_some_and(|row| row.drained_pods > 0 || old(world) < 3));
    let mut world = {
        // Once more, and killed this time.
        drop(world);
        let mut world = held(1);
        world.run(11);
        world.writes_left = Some(writes);
        world.run(6);
        world.writes_left = None;
        world.restart();
        world
    };
    then(&mut world);
    world
}

#[test]
fn killed_after_any_write_the_next_one_goes_on() {
    for writes in 0..16 {
        let mut world = killed_after(writes, |_| {});
        world.until("two have gone", |world| old(world) == 1);
        assert!(world.seconds < 60.0, "after {writes} writes: {}", world.seconds);
        world.holding.clear();
        world.run(30);
        assert_eq!((old(&world), world.phase()), (0, PhaseName::Complete), "after {writes} writes");
        assert_eq!(world.set("v1").desired, 0);
    }
}

#[test]
fn back_to_it_at_any_point_serves_with_pods_that_no_deletion_can_reach() {
    for writes in 0..16 {
        let mut world = killed_after(writes, |world| world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1"))));
        world.until("v1 serves", |world| world.active() == "v1" && world.status().switch.as_ref().unwrap().completed_at.is_some());
        world.run(60);
        assert_eq!(world.selected(SHOP), "v1");
        assert_eq!(world.pods("v1").iter().filter(|pod| pod.control == Control::Set).count(), 3, "after {writes} writes");
        world.holding.clear();
        world.run(60);
        assert!(world.loose("v1").is_empty() && world.status().draining.is_empty(), "after {writes} writes: {:#?}", world.status().draining);
        let sets: Vec<_> = world.snapshot.sets.iter().filter(|set| set.revision == revision("v1")).collect();
        assert_eq!(sets.len(), 1, "a successor made in vain goes: {sets:#?}");
    }
}

#[test]
fn new_pods_of_a_revision_wait_until_the_old_ones_are_out_of_reach() {
    let mut world = held(1);
    world.littered = true;
    world.until("the set is gone", |world| world.snapshot.sets.iter().any(|set| set.loose.is_some()));
    world.run(3);
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.run(5);
    assert_eq!(condition(world.status(), crate::api::ConditionType::Reconciling).0, crate::api::ConditionStatus::True);
    assert!(message(world.status(), crate::api::ConditionType::Reconciling).contains("leaving their ReplicaSet"), "{:#?}", world.status().conditions);
    assert_eq!(world.set("v1").desired, 0);
    world.littered = false;
    world.run(5);
    assert_eq!(world.set("v1").desired, 3);
}

#[test]
fn a_revision_that_is_left_twice_has_a_row_and_a_deadline_for_each_time() {
    let mut world = held(1);
    world.until("two have gone", |world| old(world) == 1);
    let first = world.status().draining[0].deadline;
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.until("v1 serves", |world| world.active() == "v1" && world.status().switch.as_ref().unwrap().completed_at.is_some());
    world.run(5);
    world.apply_version("v3");
    world.until("v3 serves", |world| world.active() == "v3");
    world.settle();
    let rows: Vec<_> = world.status().draining.iter().filter(|row| row.revision == revision("v1")).collect();
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert_eq!(rows.iter().filter(|row| row.deadline == first).count(), 1);
    assert!(rows.iter().any(|row| row.deadline > first && row.pods == 3), "{rows:#?}");
}

#[test]
fn a_pod_made_while_its_set_was_deleted_is_neither_lost_nor_kept() {
    let mut world = held(1);
    world.littered = true;
    world.until("the set is gone", |world| !world.orphaned.is_empty());
    let mut late = pod("late", "");
    late.control = Control::Nobody(selector(&revision("v1")));
    world.snapshot.pods.push(late);
    world.littered = false;
    world.run(5);
    assert!(!world.snapshot.pods.iter().any(|pod| pod.name == "late" && pod.left.is_none()));
    world.holding.clear();
    world.run(60);
    assert!(!world.snapshot.pods.iter().any(|pod| pod.name == "late"), "{:#?}", world.snapshot.pods);
}

#[test]
fn a_pod_that_a_person_took_out_is_left_alone() {
    let mut world = held(1);
    let taken = world.pods("v1")[2].uid.clone();
    let mut labels = selector(&revision("v1"));
    labels.insert("app".into(), "quarantine".into());
    world.until("two have gone", |world| old(world) == 1);
    let mut quarantined = pod("quarantined", "");
    quarantined.uid = taken;
    quarantined.control = Control::Nobody(labels);
    let mut pods = vec![quarantined];
    let mut sets = world.snapshot.sets.clone();
    part::regroup(&mut sets, &mut pods, &labels_of_shop(), &[], None, world.now().wall);
    assert!(pods.is_empty());
}

#[test]
fn pods_that_users_are_sent_to_stay_as_they_are_until_others_are_ready() {
    let mut world = held(1);
    world.littered = true;
    world.until("all are marked", |world| world.loose("v1").is_empty() && world.snapshot.pods.iter().filter(|pod| pod.left.is_some()).count() == 3);
    world.observe();
    let old = revision("v1");
    let mut pods: Vec<Pod> = world.snapshot.pods.iter().filter(|pod| pod.left.is_some()).cloned().collect();
    for pod in &mut pods {
        pod.control = Control::Nobody(selector(&old));
    }
    let regroup = |sets: &[Set], pods: &[Pod], selects: &str| {
        let (mut sets, mut pods, selects) = (sets.to_vec(), pods.to_vec(), selector(selects));
        part::regroup(&mut sets, &mut pods, &labels_of_shop(), &[&selects, &labels_of_shop()], None, world.now().wall);
        (pods.len(), sets.iter().filter(|set| set.loose.is_some()).count())
    };
    // Back in service by their set, which somebody has then deleted without them; a new one finds them by their labels.
    let without: Vec<Set> = world.snapshot.sets.iter().filter(|set| set.revision != old).cloned().collect();
    assert_eq!(regroup(&without, &pods, &old), (0, 0));
    assert_eq!(regroup(&without, &pods, &revision("v2")), (3, 1));
    // As long as it is going, some of them still have it; those replace nobody.
    let gone = world.snapshot.pods.iter().find_map(|pod| pod.left.as_ref().map(|left| left.set.clone())).unwrap();
    let mut going = without.clone();
    going.push(Set { uid: gone, deleting: true, ..set(&old, Color::Blue, 3) });
    let mut some = pods.clone();
    some[1].control = Control::Set;
    some[2].control = Control::Set;
    assert_eq!(regroup(&going, &some, &old), (2, 0));
    // Their successor serves beside them: now they leave.
    let mut successor = without.clone();
    successor.push(Set { uid: "successor".into(), issue: 2, ..set(&old, Color::Blue, 1) });
    assert_eq!(regroup(&successor, &pods, &old), (0, 0));
    let newer = Pod { set_uid: "successor".into(), control: Control::Set, left: None, ready: true, ..pod("newer", "successor") };
    let both: Vec<Pod> = pods.iter().cloned().chain([newer]).collect();
    assert_eq!(regroup(&successor, &both, &old), (4, 1));
}

#[test]
fn pods_that_served_again_after_they_were_marked_get_their_whole_time() {
    let mut world = held(1);
    world.littered = true;
    world.until("all are marked", |world| world.loose("v1").is_empty() && world.snapshot.pods.iter().filter(|pod| pod.left.is_some()).count() == 3);
    world.observe();
    let marked = world.snapshot.pods.iter().find_map(|pod| pod.left.clone()).unwrap();
    let mut sets: Vec<Set> = world.snapshot.sets.iter().filter(|set| set.uid != marked.set).cloned().collect();
    let mut pods: Vec<Pod> = world.snapshot.pods.iter().filter(|pod| pod.left.is_some()).cloned().collect();
    // One was taken over already, when they were left for the first time.
    pods[0].control = Control::Object(UID.into());
    pods[1].control = Control::Nobody(selector(&revision("v1")));
    let later = at(1000.0).wall;
    let before = world.snapshot.object.status.switch.clone().unwrap();
    let next = crate::api::Switch { attempt: marked.attempt + 2, completed_at: Some(later), ..before };
    assert_eq!(next.from, Some(revision("v1")));
    part::regroup(&mut sets, &mut pods, &labels_of_shop(), &[], Some(&next), at(1001.0).wall);
    let since: Vec<_> = pods.iter().map(|pod| pod.left.as_ref().map(|left| (left.since, left.attempt)).unwrap()).collect();
    assert_eq!(since, [(marked.since, marked.attempt), (later, next.attempt), (later, next.attempt)]);
    assert_eq!(sets.iter().find_map(|set| set.loose), Some(later));
}

fn labels_of_shop() -> std::collections::BTreeMap<String, String> {
    labels(&[("app", SHOP)])
}

#[test]
fn whoever_has_a_lower_number_takes_nothing_apart() {
    let mut world = held(1);
    world.until("the set is gone", |world| world.snapshot.sets.iter().any(|set| set.loose.is_some()));
    world.observe();
    let mut planned = world.snapshot.clone();
    for set in planned.sets.iter_mut().filter(|set| set.loose.is_some()) {
        set.role = Some(Role::retiring(9));
    }
    let actions = plan(&planned, at(10_000.0)).actions;
    let touches = |action: &Action| matches!(action, Action::Own { .. } | Action::DeletePod { .. } | Action::Retire { .. });
    assert!(!actions.iter().any(touches), "{actions:?}");
}

#[test]
fn together_goes_on_as_it_was_also_for_what_was_begun_one_by_one() {
    let mut world = held(1);
    world.until("two have gone", |world| old(world) == 1);
    world.edit(|spec| spec.drain.scale_down = ScaleDown::Together);
    world.run(30);
    assert_eq!(old(&world), 1);
    world.holding.clear();
    world.run(30);
    assert_eq!(old(&world), 0);
}

#[test]
fn without_its_successor_too_a_revision_waits_until_its_pods_are_out_of_reach() {
    let mut world = held(1);
    world.littered = true;
    world.until("the set is gone", |world| world.snapshot.sets.iter().any(|set| set.loose.is_some()));
    world.run(3);
    // Somebody deletes the successor: what is created now would adopt the pods.
    world.snapshot.sets.retain(|set| set.loose.is_some() || set.revision != revision("v1"));
    world.apply_version("v1");
    world.run(5);
    assert!(message(world.status(), crate::api::ConditionType::Reconciling).contains("leaving their ReplicaSet"), "{:#?}", world.status().conditions);
    assert!(!world.snapshot.sets.iter().any(|set| set.loose.is_none() && set.revision == revision("v1")));
    world.littered = false;
    world.run(5);
    assert_eq!(world.set("v1").desired, 3);
}

#[test]
fn a_row_about_pods_that_are_gone_shortens_nobodys_drain() {
    let mut world = held(1);
    world.until("two have gone", |world| old(world) == 1);
    let stale = world.status().draining[0].clone();
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.until("v1 serves", |world| world.active() == "v1" && world.status().switch.as_ref().unwrap().completed_at.is_some());
    world.open.clear();
    world.holding.clear();
    world.run(60);
    assert!(world.status().draining.is_empty());
    // Another release has just begun to move traffic, and whoever leads now reads a status from before the pods went.
    world.observe();
    let mut planned = world.snapshot.clone();
    let before = planned.object.status.switch.clone().unwrap();
    let next = crate::api::Switch {
        to: revision("v3"),
        from: Some(revision("v1")),
        attempt: before.attempt + 1,
        completed_at: None,
        converged_at: None,
        ..before
    };
    planned.object.status.switch = Some(next.clone());
    planned.object.stored_switch = Some(next);
    planned.object.status.draining = vec![stale.clone()];
    let rows = plan(&planned, world.now()).status.draining;
    assert!(!rows.iter().any(|row| row.since == stale.since), "{rows:#?}");
}
