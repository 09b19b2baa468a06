//! Paused: no write to Services, no scale-down, no deletion, no new pods but for `spec.replicas`. The invariants look at every write.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::True;
use crate::api::{ConditionType, PhaseName, keys};

#[test]
fn a_release_can_be_held_after_every_write_and_goes_on_where_it_was() {
    for writes in 0..16 {
        let mut world = World::installed("v1", &json!({"traffic": {"previewServices": ["shop-preview"]}, "revisionHistoryLimit": 0}));
        world.apply_version("v2");
        world.writes_left = Some(writes);
        world.run(20);
        world.writes_left = None;
        world.edit(|spec| spec.paused = true);
        world.settle();
        let before = (world.snapshot.services.clone(), world.snapshot.sets.iter().map(|set| (set.revision.clone(), set.desired)).collect::<Vec<_>>());
        world.run(700);
        let after = (world.snapshot.services.clone(), world.snapshot.sets.iter().map(|set| (set.revision.clone(), set.desired)).collect::<Vec<_>>());
        assert_eq!(before, after, "after {writes} writes");
        world.edit(|spec| spec.paused = false);
        world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    }
}

#[test]
fn a_template_that_changes_while_paused_waits() {
    let mut world = World::installed("v1", &json!({"paused": false}));
    world.edit(|spec| spec.paused = true);
    world.apply_version("v2");
    world.run(100);
    assert_eq!(world.snapshot.sets.len(), 1);
    assert_eq!(world.phase(), PhaseName::Paused);
    assert_eq!(condition(world.status(), ConditionType::Reconciling), (True, "Paused".into()));
    world.edit(|spec| spec.replicas = 5);
    world.settle();
    assert_eq!(world.pods("v1").len(), 5);
}

#[test]
fn an_incoming_set_grows_and_shrinks_with_replicas_but_stays() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.edit(|spec| spec.paused = true);
    world.edit(|spec| spec.replicas = 4);
    world.settle();
    assert_eq!((world.set("v1").desired, world.set("v2").desired), (4, 4));
    world.undecided.clear();
    world.run(10);
    assert_eq!(world.active(), "v1");
    // Not even when it is superseded.
    world.apply_version("v1");
    world.run(10);
    assert_eq!(world.set("v2").desired, 4);
}

#[test]
fn drift_is_only_reported() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.paused = true);
    world.settle();
    world.service_mut("shop").selector = labels(&[("app", SHOP)]);
    world.run(100);
    assert_eq!(world.snapshot.services["shop"].selector, labels(&[("app", SHOP)]));
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "SelectorChanged".into()));
    assert_eq!(
        message(world.status(), ConditionType::Stalled),
        "the selector of Service \"shop\" was changed by somebody else; it stays so while spec.paused is true"
    );
    world.edit(|spec| spec.paused = false);
    world.settle();
    assert_eq!(world.snapshot.services["shop"].selector, selector(&revision("v1")));
}

#[test]
fn nothing_is_parked_released_or_taken_back() {
    let mut world = World::new("v1", &json!({"paused": true}));
    world.run(5);
    assert_eq!(world.snapshot.services["shop"].owner, None);

    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| {
        spec.paused = true;
        spec.traffic.services.clear();
    });
    world.run(5);
    assert!(world.snapshot.services["shop"].owner.is_some());

    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(20);
    world.edit(|spec| spec.paused = true);
    world.broken.insert(revision("v2"));
    world.run(20);
    assert_eq!(world.active(), "v2");
    world.edit(|spec| spec.paused = false);
    world.settle();
    assert_eq!(world.active(), "v1");
}

#[test]
fn a_command_while_paused_is_kept_for_later() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(20);
    world.edit(|spec| spec.paused = true);
    world.command(keys::command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.run(20);
    assert_eq!(world.selected("shop"), "v2");
    world.edit(|spec| spec.paused = false);
    world.settle();
    assert_eq!(world.selected("shop"), "v1");
}
