//! The size for the tests (`bringUp.previewReplicas`), and how it grows before the switch.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
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

/// A release of three pods that waits for a word; meanwhile eight are wanted, of which the old revision has all.
fn grown_while_it_waits(changes: &serde_json::Value) -> World {
    let mut world = World::installed("v1", changes);
    world.edit(|spec| spec.promotion.mode = PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    world.edit(|spec| spec.replicas = 8);
    world.settle();
    assert_eq!((world.phase(), world.pods("v1").len(), world.pods("v2").len()), (PhaseName::AwaitPromotion, 8, 8));
    // Of the new one the other pods are still starting.
    ready(&mut world, "v2", 3);
    world.idle = true;
    world
}

/// Makes the first pods of a version ready, and the others not.
fn ready(world: &mut World, version: &str, number: usize) {
    let uids: Vec<String> = world.pods(version).iter().map(|pod| pod.uid.clone()).collect();
    for pod in &mut world.snapshot.pods {
        if let Some(index) = uids.iter().position(|uid| *uid == pod.uid) {
            pod.ready = index < number;
        }
    }
}

#[test]
fn no_switch_begins_with_fewer_pods_than_serve_by_now() {
    let mut world = grown_while_it_waits(&json!({}));
    world.command(command::PROMOTE, revision("v2"));
    world.reconcile();
    assert_eq!((world.selected("shop"), world.phase()), ("v1", PhaseName::BringUp));
    let said = message(world.status(), ConditionType::Reconciling);
    let [new, old] = [revision("v2"), revision("v1")];
    assert_eq!(said, format!("revision {new} passed; 3 of 8 pods are ready, and 8 of revision {old} serve now"));
    // They need not all have passed again: the others are more of what did.
    world.undecided.insert(revision("v2"));
    world.idle = false;
    world.until("v2 serves", |world| world.active() == "v2");
}

#[test]
fn who_waits_to_be_as_large_as_what_serves_is_stalled_after_the_deadline_and_recovers() {
    let mut world = grown_while_it_waits(&json!({"progressDeadlineSeconds": 60}));
    // The wait for a word is none of it.
    world.run(100);
    world.command(command::PROMOTE, revision("v2"));
    world.run(59);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (False, "Progressing".into()));
    world.run(2);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ProgressDeadlineExceeded".into()));
    assert_eq!((world.active(), &world.status().rejected), ("v1", &None));
    ready(&mut world, "v2", 8);
    world.settle();
    assert_eq!((world.active(), condition(world.status(), ConditionType::Stalled).0), ("v2", False));
}

#[test]
fn what_serves_counts_as_it_is_and_not_as_it_is_wanted() {
    for (serving, begins) in [(0, true), (2, true), (3, true), (4, false)] {
        let mut world = grown_while_it_waits(&json!({}));
        ready(&mut world, "v1", serving);
        world.command(command::PROMOTE, revision("v2"));
        world.reconcile();
        assert_eq!(world.active() == "v2", begins, "{serving} serve");
    }
}

#[test]
fn a_smaller_wish_ends_the_wait_for_more_pods() {
    let mut world = grown_while_it_waits(&json!({}));
    world.command(command::PROMOTE, revision("v2"));
    world.reconcile();
    assert_eq!(world.active(), "v1");
    world.edit(|spec| spec.replicas = 3);
    world.reconcile();
    assert_eq!(world.active(), "v2");
}

#[test]
fn a_hook_before_the_switch_waits_for_the_size_and_has_time_of_its_own() {
    let hook = json!({"name": "check", "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "check", "image": "check"}]}}}}});
    let mut world = grown_while_it_waits(&json!({"progressDeadlineSeconds": 60}));
    world.edit(|spec| spec.hooks = serde_json::from_value(json!({"beforeSwitch": [hook]})).unwrap());
    world.jobs.seconds = 1000.0;
    world.command(command::PROMOTE, revision("v2"));
    world.reconcile();
    assert_eq!((world.phase(), world.status().hooks.len()), (PhaseName::BringUp, 0));
    ready(&mut world, "v2", 8);
    world.settle();
    assert_eq!((world.phase(), world.status().hooks.len()), (PhaseName::Switch, 1));
    // One pod is lost while the Job runs, long after the pods came.
    world.run(100);
    assert_eq!((world.active(), world.phase()), ("v1", PhaseName::Switch));
    ready(&mut world, "v2", 7);
    world.settle();
    assert_eq!((world.phase(), condition(world.status(), ConditionType::Stalled).0), (PhaseName::BringUp, False));
    world.run(61);
    assert_eq!(condition(world.status(), ConditionType::Stalled).0, True);
}

#[test]
fn a_template_that_goes_back_waits_for_nothing_new() {
    let mut world = World::installed("v1", &json!({"drain": {"keepWarmSeconds": 600}}));
    world.apply_version("v2");
    world.until("v1 is kept warm", |world| world.phase() == PhaseName::Complete);
    world.apply_version("v1");
    world.reconcile();
    assert_eq!(world.active(), "v1");
}
