//! The size for the tests (`bringUp.previewReplicas`), and how it grows before the switch.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::False;
use crate::api::{ConditionType, PhaseName, PromotionMode, keys::command};

#[test]
fn a_revision_is_tested_in_a_small_size_and_grows_before_the_switch() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| {
        spec.bring_up.preview_replicas = Some(1);
        spec.promotion.mode = PromotionMode::Manual;
    });
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.phase(), world.pods("v2").len(), world.active()), (PhaseName::AwaitPromotion, 1, "v1"));
    world.run(100);
    assert_eq!(world.pods("v2").len(), 1, "nobody has said a word");
    // The others are tested, too, before anybody is sent there.
    world.undecided.insert(revision("v2"));
    world.command(command::PROMOTE, revision("v2"));
    world.settle();
    assert_eq!((world.pods("v2").len(), world.active()), (3, "v1"));
    world.undecided.clear();
    world.settle();
    assert_eq!((world.pods("v2").len(), world.active()), (3, "v2"));
    assert_eq!(world.set("v2").proof.as_ref().map(|proof| (proof.needed, proof.pods.len(), proof.preview)), Some((3, 3, false)));
}

#[test]
fn without_a_word_to_wait_for_the_full_size_follows_the_tests_at_once() {
    for changes in [json!({}), json!({"smokeProbes": []})] {
        let mut world = World::installed("v1", &changes);
        world.edit(|spec| spec.bring_up.preview_replicas = Some(1));
        world.apply_version("v2");
        world.idle = true;
        world.reconcile();
        assert_eq!(world.set("v2").desired, 1);
        world.idle = false;
        world.until("v2 serves", |world| world.active() == "v2");
        assert_eq!(world.pods("v2").len(), 3);
    }
}

#[test]
fn a_small_size_that_fails_is_rejected_before_the_others_start() {
    let mut world = World::installed("v1", &json!({"bringUp": {"previewReplicas": 2}}));
    world.failing.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.phase(), world.pods("v2").len()), (PhaseName::Rejected, 2));
}

#[test]
fn the_first_install_and_growth_while_a_small_size_waits() {
    let mut world = World::new("v1", &json!({"bringUp": {"previewReplicas": 1}, "promotion": {"mode": "Manual"}}));
    world.settle();
    assert_eq!((world.phase(), world.pods("v1").len()), (PhaseName::AwaitPromotion, 1));
    world.edit(|spec| spec.replicas = 5);
    world.settle();
    assert_eq!(world.pods("v1").len(), 1);
    world.command(command::PROMOTE, revision("v1"));
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    assert_eq!(world.pods("v1").len(), 5);
}

#[test]
fn what_passed_with_its_full_size_grows_with_the_spec_and_is_no_small_size_again() {
    let mut world = World::installed("v1", &json!({"replicas": 1}));
    world.edit(|spec| {
        spec.bring_up.preview_replicas = Some(1);
        spec.promotion.mode = PromotionMode::Manual;
    });
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.phase(), world.pods("v2").len()), (PhaseName::AwaitPromotion, 1));
    world.edit(|spec| spec.replicas = 3);
    world.settle();
    assert_eq!(world.pods("v2").len(), 3, "before anybody is sent there");
}

#[test]
fn the_time_to_grow_counts_from_the_word_and_a_closed_window_takes_no_growth_back() {
    let mut world = World::installed("v1", &json!({"progressDeadlineSeconds": 60}));
    world.edit(|spec| {
        spec.bring_up.preview_replicas = Some(1);
        spec.promotion.windows = serde_json::from_value(json!([{"schedule": "10 8 * * *", "durationSeconds": 60}])).unwrap();
    });
    world.apply_version("v2");
    world.run(595);
    assert_eq!((world.phase(), world.pods("v2").len()), (PhaseName::AwaitPromotion, 1));
    world.undecided.insert(revision("v2"));
    world.run(40);
    assert_eq!((world.pods("v2").len(), world.active()), (3, "v1"));
    assert_eq!(condition(world.status(), ConditionType::Stalled), (False, "Progressing".into()));
    // The window closes before the others have passed: they stay, and the switch waits for the next one.
    world.run(60);
    world.undecided.clear();
    world.run(60);
    assert_eq!((world.pods("v2").len(), world.active(), world.phase()), (3, "v1", PhaseName::AwaitPromotion));
}

#[test]
fn a_pause_holds_the_growth_from_the_size_for_the_tests() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| {
        spec.bring_up.preview_replicas = Some(1);
        spec.promotion.mode = PromotionMode::Manual;
    });
    world.apply_version("v2");
    world.settle();
    world.edit(|spec| spec.paused = true);
    world.command(command::PROMOTE, revision("v2"));
    world.run(5);
    assert_eq!(world.pods("v2").len(), 1);
    world.edit(|spec| spec.paused = false);
    world.until("v2 serves", |world| world.active() == "v2");
    assert_eq!(world.pods("v2").len(), 3);
}

#[test]
fn no_move_begins_that_would_be_undone_at_the_next_look() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    // The old revision has grown; of the new one the other pods are still starting.
    world.edit(|spec| spec.replicas = 8);
    world.settle();
    let new = world.set("v2").uid.clone();
    let mut ready = 0;
    for pod in world.snapshot.pods.iter_mut().filter(|pod| pod.set_uid == new) {
        ready += 1;
        pod.ready = ready <= 3;
    }
    world.idle = true;
    world.command(command::PROMOTE, revision("v2"));
    world.reconcile();
    assert_eq!(world.selected("shop"), "v1");
    world.idle = false;
    world.until("v2 serves", |world| world.active() == "v2");
}
