//! `spec.replicas` is for the set that serves, whatever else is going on.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
use crate::api::ConditionType;
use crate::api::keys::command;
use crate::release::action::Action;
use crate::release::plan;
use crate::release::view::View;

#[test]
fn the_active_set_follows_in_both_directions_at_any_time() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    for replicas in [5, 2, 7] {
        world.edit(|spec| spec.replicas = replicas);
        world.settle();
        assert_eq!((world.pods("v1").len(), world.pods("v2").len()), (replicas as usize, replicas as usize));
    }
    world.undecided.clear();
    world.settle();
    assert_eq!(world.active(), "v2");
}

#[test]
fn the_set_being_left_grows_until_the_move_is_certain_and_never_shrinks() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(2);
    world.edit(|spec| spec.replicas = 5);
    world.settle();
    assert_eq!((world.set("v1").desired, world.set("v2").desired), (5, 5));
    world.edit(|spec| spec.replicas = 2);
    world.settle();
    assert_eq!((world.set("v1").desired, world.set("v2").desired), (5, 2));
    world.until("converged", |world| world.status().switch.as_ref().unwrap().converged_at.is_some());
    world.edit(|spec| spec.replicas = 8);
    world.run(5);
    assert_eq!((world.set("v1").desired, world.set("v2").desired), (5, 8));
}

#[test]
fn an_autoscaler_sees_the_pods_that_serve() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.status().replicas, world.status().ready_replicas), (3, 3));
    assert!(world.status().selector.ends_with(&revision("v1")));
    world.undecided.clear();
    world.open.insert(revision("v1"), 1);
    world.run(20);
    assert_eq!(world.status().replicas, 3);
    assert!(world.status().selector.ends_with(&revision("v2")));
    // Before anything serves, those that are about to.
    let mut world = World::new("v1", &json!({}));
    world.broken.insert(revision("v1"));
    world.settle();
    assert_eq!((world.status().replicas, world.status().ready_replicas), (3, 0));
    assert!(world.status().selector.ends_with(&revision("v1")));
}

#[test]
fn scaling_to_zero_and_back_is_scaling() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.replicas = 0);
    world.settle();
    assert!(world.pods("v1").is_empty());
    world.edit(|spec| spec.replicas = 4);
    world.settle();
    assert_eq!((world.active(), world.pods("v1").len()), ("v1", 4));
    assert_eq!(world.status().rejected, None);
}

#[test]
fn raised_from_zero_beside_a_drain_nothing_was_lost() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(30);
    world.edit(|spec| spec.replicas = 0);
    world.settle();
    assert_eq!((world.pods("v2").len(), world.pods("v1").len()), (0, 3));
    assert_eq!(condition(world.status(), ConditionType::Available), (True, "ScaledToZero".into()));
    // The pods take their time.
    world.broken.insert(revision("v2"));
    world.edit(|spec| spec.replicas = 3);
    world.settle();
    assert_eq!(condition(world.status(), ConditionType::Available), (False, "ScalingFromZero".into()));
    assert_eq!((world.active(), &world.status().rejected), ("v2", &None));
    world.broken.clear();
    world.settle();
    assert_eq!(condition(world.status(), ConditionType::Available), (True, "AllAvailable".into()));
    // From now on it is a loss again.
    world.broken.insert(revision("v2"));
    world.settle();
    assert_eq!(world.active(), "v1");
}

#[test]
fn min_ready_seconds_reach_the_sets_without_new_pods() {
    let mut world = World::installed("v1", &json!({}));
    let pods: Vec<String> = world.pods("v1").iter().map(|pod| pod.uid.clone()).collect();
    world.edit(|spec| spec.min_ready_seconds = 15);
    world.settle();
    assert_eq!(world.set("v1").min_ready_seconds, 15);
    assert_eq!(world.pods("v1").iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>(), pods);
}

#[test]
fn an_active_set_deleted_by_hand_is_made_again() {
    let mut world = World::installed("v1", &json!({}));
    world.snapshot.sets.clear();
    world.snapshot.pods.clear();
    world.settle();
    assert_eq!((world.active(), world.pods("v1").len(), world.selected("shop")), ("v1", 3, "v1"));
}

#[test]
fn an_incoming_set_shrinks_with_the_wish() {
    let mut world = World::installed("v1", &json!({"replicas": 5}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.edit(|spec| spec.replicas = 2);
    world.settle();
    assert_eq!((world.set("v1").desired, world.set("v2").desired), (2, 2));
}

/// Everybody is about to go back to v1, which is being tested again: three pods of v2 serve.
fn going_back() -> World {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.run(400);
    assert_eq!((world.active(), world.set("v1").desired), ("v2", 0));
    world.undecided.insert(revision("v1"));
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.settle();
    assert_eq!((world.active(), world.set("v1").desired), ("v2", 3));
    world
}

#[test]
fn a_set_to_return_to_keeps_its_pods_when_the_active_one_loses_some() {
    let mut world = going_back();
    let lost: Vec<String> = world.pods("v2").iter().skip(1).map(|pod| pod.uid.clone()).collect();
    world.snapshot.pods.iter_mut().filter(|pod| lost.contains(&pod.uid)).for_each(|pod| pod.ready = false);
    let planned = plan(&world.snapshot, world.now());
    assert!(!planned.actions.iter().any(|action| matches!(action, Action::PatchSet { change, .. } if change.replicas.is_some())), "{planned:#?}");
}

#[test]
fn of_an_active_set_that_was_deleted_without_its_pods_users_still_have_these() {
    let mut world = going_back();
    world.undecided.clear();
    let gone = world.set("v2").uid.clone();
    let one = world.pods("v1")[0].uid.clone();
    let now = world.now();
    let snapshot = &mut world.snapshot;
    snapshot.sets.retain(|set| set.uid != gone);
    snapshot.pods.retain(|pod| pod.set_uid != gone);
    // Of the other pods nothing is ready yet.
    snapshot.pods.iter_mut().filter(|pod| pod.uid != one).for_each(|pod| pod.ready = false);
    assert_eq!(snapshot.endpoints["shop"].pods.len(), 3);
    let view = View::new(snapshot, now, snapshot.object.status.switch.as_ref(), None);
    assert_eq!(view.ready_active(), 3);
}

#[test]
fn nothing_shrinks_while_the_traffic_moves() {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    // The process ends when the first of two Services has moved.
    world.command(command::PROMOTE, revision("v2"));
    world.writes_left = Some(1);
    world.reconcile();
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v2", "v1"));
    world.writes_left = None;
    // A pause holds what is on the way, and no wish for another size.
    world.edit(|spec| (spec.paused, spec.replicas) = (true, 1));
    world.run(30);
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v2", "v1"));
    assert_eq!((world.set("v1").desired, world.set("v2").desired), (3, 3));
    world.open.insert(revision("v1"), 1);
    world.edit(|spec| spec.paused = false);
    world.run(30);
    assert_eq!((world.selected("shop-internal"), world.set("v1").desired, world.set("v2").desired), ("v2", 3, 1));
}
