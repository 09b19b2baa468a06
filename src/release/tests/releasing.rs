//! Whole releases, and what happens when the wish changes on the way.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
use crate::api::{ConditionType, PhaseName, keys};
use crate::release::{Color, RoleKind};

#[test]
fn the_first_install_parks_the_service_tests_the_pods_and_then_serves() {
    let mut world = World::new("v1", &json!({}));
    world.settle();
    assert_eq!(
        world.transcript,
        [
            "select shop none@0 park",
            "create v1 blue x3",
            "patch v1 proof of 3",
            "select shop v1@1",
            "fence v1@1",
            "intent v1@1 completed",
            "intent v1@1 completed converged",
        ]
    );
    assert_eq!(world.phase(), PhaseName::Complete);
    assert_eq!(condition(world.status(), ConditionType::Ready), (True, "Serving".into()));
    assert_eq!(condition(world.status(), ConditionType::Drained), (True, "NothingDraining".into()));
    assert_eq!(world.status().ready_desired, "3/3");
    assert_eq!(world.status().selector, format!("app=shop,{}={}", keys::REVISION, revision("v1")));
}

#[test]
fn a_release_tests_switches_converges_drains_and_scales_down_in_this_order() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 2);
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.transcript, ["create v2 green x3", "patch v2 proof of 3", "select shop v2@2", "fence v2@2", "intent v2@2 completed"]);
    assert_eq!(world.phase(), PhaseName::Converge);
    assert_eq!(condition(world.status(), ConditionType::Ready), (False, "NoReportYet".into()));
    world.transcript.clear();
    world.until("converged", |world| world.status().switch.as_ref().unwrap().converged_at.is_some());
    assert!((10.0..13.0).contains(&world.seconds), "{}", world.seconds);
    // Draining does not hold Ready up.
    assert_eq!(condition(world.status(), ConditionType::Ready), (True, "Serving".into()));
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "OpenConnections".into()));
    assert_eq!(world.status().open_connections, Some(6));
    world.run(200);
    assert_eq!(world.phase(), PhaseName::Drain);
    world.open.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    assert!(world.seconds < 230.0, "{}", world.seconds);
    assert_eq!(world.transcript, ["intent v2@2 completed converged", "retire v1@2"]);
    assert!(world.pods("v1").is_empty());
    assert_eq!(world.set("v1").role.unwrap().kind, RoleKind::Retired);
    assert_eq!(world.set("v1").proof, None);
}

#[test]
fn colours_alternate() {
    let mut world = World::installed("v1", &json!({}));
    for (version, color) in [("v2", Color::Green), ("v3", Color::Blue), ("v4", Color::Green)] {
        world.apply_version(version);
        world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == version);
        assert_eq!(world.set(version).color, color);
    }
    // One that comes back takes the colour that is free.
    world.apply_version("v2");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    assert_eq!(world.set("v2").color, Color::Blue);
}

#[test]
fn a_newer_template_supersedes_pods_that_start() {
    let mut world = World::installed("v1", &json!({}));
    world.broken.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.phase(), PhaseName::BringUp);
    world.apply_version("v3");
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    assert_eq!(world.active(), "v3");
    assert!(world.pods("v2").is_empty());
    assert_eq!(world.status().rejected, None);
    assert!(!world.transcript.iter().any(|line| line.starts_with("fence v2")));
    // It never served: it goes without a drain.
    assert!(world.transcript.contains(&"patch v2 x0 without proof".into()));
}

#[test]
fn a_newer_template_supersedes_a_test_and_a_wait_for_a_person() {
    for mode in ["Automatic", "Manual"] {
        let mut world = World::new("v1", &json!({}));
        world.settle();
        world.edit(|spec| spec.promotion.mode = if mode == "Manual" { crate::api::PromotionMode::Manual } else { Default::default() });
        world.undecided.extend((mode == "Automatic").then(|| revision("v2")));
        world.apply_version("v2");
        world.settle();
        assert_eq!(world.phase(), if mode == "Manual" { PhaseName::AwaitPromotion } else { PhaseName::Smoke });
        world.apply_version("v3");
        world.command(keys::command::PROMOTE, revision("v3"));
        world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v3");
        assert!(world.pods("v2").is_empty());
        assert!(!world.transcript.iter().any(|line| line.starts_with("fence v2")));
    }
}

#[test]
fn a_newer_template_waits_until_the_move_under_way_is_finished() {
    let mut world = World::installed("v1", &json!({"traffic": {"services": ["shop", "shop-internal"]}}));
    // Killed after the first of two Services.
    world.apply_version("v2");
    world.writes_left = Some(6);
    world.settle();
    world.settle();
    world.settle();
    let mut safety = 0;
    while world.selected("shop") != "v2" {
        world.writes_left = Some(1);
        world.settle();
        safety += 1;
        assert!(safety < 50);
    }
    assert_eq!(world.selected("shop-internal"), "v1");
    world.apply_version("v3");
    world.writes_left = None;
    world.transcript.clear();
    world.settle();
    let moved = world.transcript.iter().position(|line| line == "select shop-internal v2@2").expect("the move is finished");
    let created = world.transcript.iter().position(|line| line.starts_with("create v3")).expect("then the next begins");
    assert!(moved < created, "{:#?}", world.transcript);
}

#[test]
fn the_active_template_again_discards_the_incoming_set_without_rejecting_it() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.pods("v2").len(), 3);
    world.transcript.clear();
    world.apply_version("v1");
    world.settle();
    assert_eq!(world.transcript, ["withdraw shop v2", "patch v2 x0 without proof"]);
    assert_eq!(world.status().rejected, None);
    assert_eq!(world.phase(), PhaseName::Complete);
    // It may be tried again at any time, from the beginning.
    world.undecided.clear();
    world.apply_version("v2");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
}

#[test]
fn a_return_to_a_set_that_still_drains_starts_no_pods() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(30);
    assert_eq!(world.phase(), PhaseName::Drain);
    let pods: Vec<String> = world.pods("v1").iter().map(|pod| pod.uid.clone()).collect();
    world.transcript.clear();
    world.apply_version("v1");
    world.settle();
    assert_eq!(world.transcript, ["fence v1@3", "select shop v1@3", "intent v1@3 completed"]);
    assert_eq!(world.pods("v1").iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>(), pods);
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    assert_eq!(world.active(), "v1");
    assert!(world.pods("v2").is_empty());
}

#[test]
fn a_warm_set_that_takes_over_again_needs_all_its_pods_and_not_those_of_its_first_release() {
    let mut world = World::installed("v1", &json!({"replicas": 1}));
    world.edit(|spec| spec.replicas = 3);
    world.settle();
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(30);
    // Two of three old pods are lost.
    world.idle = true;
    let lost: Vec<String> = world.pods("v1").iter().skip(1).map(|pod| pod.uid.clone()).collect();
    world.snapshot.pods.iter_mut().filter(|pod| lost.contains(&pod.uid)).for_each(|pod| pod.ready = false);
    world.apply_version("v1");
    world.settle();
    assert_eq!(world.active(), "v2", "three ready pods are left for one");
    world.idle = false;
    world.settle();
    assert_eq!(world.active(), "v1");
}

#[test]
fn a_third_release_waits_while_two_drain() {
    let mut world = World::installed("v1", &json!({}));
    for version in ["v1", "v2", "v3"] {
        world.open.insert(revision(version), 1);
    }
    world.apply_version("v2");
    world.run(30);
    world.apply_version("v3");
    world.run(30);
    assert_eq!(world.active(), "v3");
    assert_eq!(world.status().draining.len(), 2);
    world.transcript.clear();
    world.apply_version("v4");
    world.run(10);
    assert!(!world.transcript.iter().any(|line| line.starts_with("create")), "{:#?}", world.transcript);
    assert!(message(world.status(), ConditionType::Reconciling).contains("spec.drain.maxSets is 2"));
    world.open.remove(&revision("v1"));
    world.run(20);
    assert!(world.transcript.iter().any(|line| line == "create v4 green x3" || line == "create v4 blue x3"), "{:#?}", world.transcript);
}

#[test]
fn a_return_to_an_old_template_waits_too_while_two_drain() {
    let mut world = World::installed("v0", &json!({}));
    world.apply_version("v1");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v1");
    for version in ["v1", "v2", "v3"] {
        world.open.insert(revision(version), 1);
    }
    world.apply_version("v2");
    world.run(30);
    world.apply_version("v3");
    world.run(30);
    assert_eq!(world.status().draining.len(), 2);
    world.transcript.clear();
    world.apply_version("v0");
    world.run(10);
    assert!(world.pods("v0").is_empty(), "{:#?}", world.transcript);
    world.open.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v0");
}

#[test]
fn a_second_release_does_not_give_the_first_old_set_more_time() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(300);
    world.apply_version("v3");
    world.run(20);
    assert_eq!(world.active(), "v3");
    let entry = world.status().draining.iter().find(|entry| entry.revision == revision("v1")).unwrap();
    assert_eq!(entry.since, at(1.0).wall);
    assert_eq!(entry.deadline, at(601.0).wall);
    world.run(275);
    assert!(!world.pods("v1").is_empty());
    world.run(10);
    assert!(world.pods("v1").is_empty(), "{:#?}", world.status().draining);
}

#[test]
fn during_a_move_the_sets_that_drain_are_still_told_about() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(30);
    world.apply_version("v3");
    while world.status().switch.as_ref().unwrap().to != revision("v3") {
        world.writes_left = Some(1);
        world.settle();
    }
    world.writes_left = Some(0);
    world.observe();
    let plan = crate::release::plan(&world.snapshot, world.now());
    assert_eq!(plan.status.draining.iter().map(|entry| entry.revision.clone()).collect::<Vec<_>>(), [revision("v1")]);
    assert!(!plan.actions.iter().any(|action| matches!(action, crate::release::Action::Retire { .. })));
}

#[test]
fn history_keeps_the_newest_and_never_what_is_needed() {
    let mut world = World::installed("v1", &json!({"revisionHistoryLimit": 1}));
    for version in ["v2", "v3", "v4"] {
        world.apply_version(version);
        world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == version);
    }
    let left: Vec<&str> = world.snapshot.sets.iter().map(|set| world.versions[&set.revision].as_str()).collect();
    assert_eq!(left, ["v3", "v4"]);
    world.edit(|spec| spec.revision_history_limit = 0);
    world.settle();
    assert_eq!(world.snapshot.sets.len(), 1);
}

#[test]
fn a_set_whose_pods_still_end_is_not_deleted() {
    let mut world = World::installed("v1", &json!({"revisionHistoryLimit": 0}));
    world.apply_version("v2");
    world.settle();
    world.until("converged", |world| world.status().switch.as_ref().unwrap().converged_at.is_some());
    world.idle = true;
    world.run(30);
    assert_eq!(world.set("v1").desired, 0);
    assert_eq!(world.pods("v1").len(), 3);
    world.idle = false;
    world.settle();
    assert_eq!(world.snapshot.sets.len(), 1);
}

#[test]
fn no_release_while_nobody_wants_pods() {
    let mut world = World::new("v1", &json!({"replicas": 0}));
    world.settle();
    assert!(world.snapshot.sets.is_empty());
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ScaledToZero".into()));
    world.edit(|spec| spec.replicas = 2);
    world.settle();
    assert_eq!(world.active(), "v1");
    assert_eq!(world.pods("v1").len(), 2);
}

#[test]
fn without_services_a_release_goes_by_pods_alone() {
    let mut world = World::installed("v1", &json!({"traffic": {"services": []}, "drain": {"ports": ["http"]}}));
    world.apply_version("v2");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    assert_eq!(condition(world.status(), ConditionType::Switched), (True, "NoServices".into()));
    assert!(world.pods("v1").is_empty());
}

#[test]
fn an_object_being_deleted_is_left_alone() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.snapshot.object.deleting = true;
    world.run(5);
    assert!(world.transcript.is_empty(), "{:#?}", world.transcript);
}

#[test]
fn a_failed_read_is_no_reason_for_any_write() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(20);
    world.apply_version("v3");
    world.snapshot.unread = vec!["Services".into()];
    world.open.clear();
    world.transcript.clear();
    world.run(700);
    assert!(world.transcript.is_empty(), "{:#?}", world.transcript);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "Unreadable".into()));
    world.snapshot.unread.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v3");
}

#[test]
fn every_write_may_be_the_last_of_its_process() {
    let run = |killed_after: Option<usize>| {
        let mut world = World::installed("v1", &json!({"drain": {"begin": {"http": {"path": "/drain", "port": "http"}}}}));
        world.apply_version("v2");
        if let Some(writes) = killed_after {
            world.writes_left = Some(writes);
            world.run(40);
            world.writes_left = None;
            world.restart();
        }
        world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
        let left = world.snapshot.sets.iter().map(|set| (set.revision.clone(), set.desired, set.role, set.color)).collect::<Vec<_>>();
        (left, world.snapshot.services["shop"].selector.clone(), world.snapshot.services["shop"].selected.clone())
    };
    let undisturbed = run(None);
    for writes in 0..25 {
        assert_eq!(run(Some(writes)), undisturbed, "killed after {writes} writes");
    }
}
