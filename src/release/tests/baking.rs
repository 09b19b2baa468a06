//! After the switch: the new revision bears the traffic for a while, and what stays behind for a way back.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
use crate::api::{ConditionType, PhaseName, ProbeResult, SwitchCause, keys::command};
use crate::release::bake;

fn bake(seconds: i32) -> serde_json::Value {
    json!({"bake": {"seconds": seconds, "probes": [{"name": "errors", "httpGet": {"port": "http"}}]}})
}

/// v2 has the traffic and bakes for two minutes.
fn baking() -> World {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.bake = serde_json::from_value(bake(120)["bake"].clone()).unwrap());
    world.apply_version("v2");
    world.until("it bakes", |world| world.phase() == PhaseName::Bake);
    world.transcript.clear();
    world
}

#[test]
fn the_old_revision_stays_as_it_was_until_the_bake_is_over() {
    let mut world = baking();
    assert_eq!(condition(world.status(), ConditionType::Ready), (False, "Baking".into()));
    assert_eq!(condition(world.status(), ConditionType::Reconciling), (True, "Bake".into()));
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "Baking".into()));
    assert_eq!(condition(world.status(), ConditionType::Stalled), (False, "Progressing".into()));
    world.until("almost over", |world| world.seconds >= 118.0);
    assert_eq!((world.pods("v1").len(), world.phase()), (3, PhaseName::Bake));
    world.until("the old pods leave", |world| world.set("v1").desired == 0);
    assert!((120.0..123.0).contains(&world.seconds), "{}", world.seconds);
    assert_eq!(condition(world.status(), ConditionType::Ready), (True, "Serving".into()));
    assert!(world.status().switch.as_ref().unwrap().baked_at.is_some());
}

#[test]
fn the_deadline_of_a_drain_counts_from_the_end_of_the_bake() {
    let mut world = World::installed("v1", &json!({"drain": {"deadlineSeconds": 60}}));
    world.edit(|spec| spec.bake = serde_json::from_value(bake(120)["bake"].clone()).unwrap());
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("the old pods leave", |world| world.active() == "v2" && world.set("v1").desired == 0);
    assert!((180.0..184.0).contains(&world.seconds), "{}", world.seconds);
}

#[test]
fn a_failing_bake_takes_the_traffic_back_at_once_and_only_once() {
    let mut world = baking();
    world.ill.insert(revision("v2"));
    world.run(1);
    assert_eq!((world.selected("shop"), world.active()), ("v1", "v1"));
    let status = world.status();
    assert_eq!(status.switch.as_ref().unwrap().cause, SwitchCause::Failure);
    let rejected = status.rejected.as_ref().unwrap();
    assert_eq!((rejected.reason.as_str(), rejected.revision.as_str()), ("BakeFailed", revision("v2").as_str()));
    assert!(rejected.message.starts_with("probe \"errors\" of the bake on "), "{}", rejected.message);
    assert!(!world.transcript.iter().any(|line| line.starts_with("create")), "no new pods were needed");
    // What it went back to is not baked, and fails nothing.
    world.ill.insert(revision("v1"));
    world.run(300);
    assert_eq!((world.active(), world.phase()), ("v1", PhaseName::Rejected));
}

#[test]
fn a_failing_bake_with_nowhere_to_go_stays_and_says_so() {
    let mut world = baking();
    world.broken.insert(revision("v1"));
    world.settle();
    world.ill.insert(revision("v2"));
    world.run(200);
    assert_eq!((world.active(), world.phase()), ("v2", PhaseName::Bake));
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "BakeFailed".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.ends_with(&format!("; the traffic stays: revision {} has 0 ready pods, which are too few to go back to", revision("v1"))), "{said}");
    assert_eq!(world.pods("v1").len(), 3, "it may yet be needed");
    // As soon as it can, it goes back.
    world.broken.clear();
    world.run(1);
    assert_eq!(world.active(), "v1");
}

#[test]
fn what_failed_in_a_bake_and_passes_again_is_well() {
    let mut world = baking();
    world.broken.insert(revision("v1"));
    world.settle();
    world.ill.insert(revision("v2"));
    world.run(5);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "BakeFailed".into()));
    world.ill.clear();
    world.broken.clear();
    // Both at the same moment: the probe is heard first.
    world.settle();
    world.until("over", |world| world.status().switch.as_ref().unwrap().baked_at.is_some() || world.active() == "v1");
    assert!(world.active() == "v1" || condition(world.status(), ConditionType::Stalled).0 == False);
}

#[test]
fn the_first_install_bakes_and_has_no_way_back() {
    let mut world = World::new("v1", &bake(120));
    world.settle();
    world.until("it bakes", |world| world.phase() == PhaseName::Bake);
    world.ill.insert(revision("v1"));
    world.run(10);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "BakeFailed".into()));
    assert!(message(world.status(), ConditionType::Stalled).ends_with("there is no earlier revision to go back to"));
    world.ill.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    assert!((120.0..124.0).contains(&world.seconds), "{}", world.seconds);
}

#[test]
fn nobody_is_told_to_drain_before_the_bake_is_over() {
    let mut world = World::installed("v1", &json!({"drain": {"begin": {"http": {"path": "/drain", "port": "http"}}}}));
    world.edit(|spec| spec.bake = serde_json::from_value(bake(120)["bake"].clone()).unwrap());
    world.apply_version("v2");
    world.run(115);
    assert!(world.told.is_empty());
    world.run(15);
    assert_eq!(world.told.len(), 3);
}

#[test]
fn a_bake_that_is_asked_for_when_the_move_is_over_is_one_of_the_next_release() {
    let mut world = World::installed("v1", &json!({}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("it drains", |world| world.phase() == PhaseName::Drain);
    world.edit(|spec| spec.bake = serde_json::from_value(bake(600)["bake"].clone()).unwrap());
    world.settle();
    assert_eq!(world.phase(), PhaseName::Drain);
}

#[test]
fn the_set_that_may_take_over_again_grows_with_the_other_in_a_bake_and_never_shrinks() {
    let mut world = baking();
    world.edit(|spec| spec.replicas = 5);
    world.settle();
    assert_eq!((world.pods("v1").len(), world.pods("v2").len()), (5, 5));
    world.edit(|spec| spec.replicas = 2);
    world.settle();
    assert_eq!((world.pods("v1").len(), world.pods("v2").len()), (5, 2));
}

#[test]
fn a_newer_release_goes_on_while_the_last_one_bakes() {
    let mut world = baking();
    world.apply_version("v3");
    world.until("v3 bakes", |world| world.active() == "v3" && world.phase() == PhaseName::Bake);
    world.ill.insert(revision("v3"));
    world.run(2);
    assert_eq!(world.active(), "v2", "back to the one that it had left");
}

#[test]
fn a_warm_set_stays_for_the_way_back_which_is_one_write_and_no_test() {
    let mut world = World::installed("v1", &json!({"drain": {"keepWarmSeconds": 600}}));
    world.apply_version("v2");
    world.run(100);
    assert_eq!((world.phase(), world.pods("v1").len()), (PhaseName::Complete, 3));
    assert_eq!(condition(world.status(), ConditionType::Drained), (True, "KeptWarm".into()));
    assert_eq!(condition(world.status(), ConditionType::Ready), (True, "Serving".into()));
    assert_eq!(world.status().draining[0].reason, "KeptWarm");
    world.transcript.clear();
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.settle();
    assert_eq!(world.selected("shop"), "v1");
    assert!(!world.transcript.iter().any(|line| line.starts_with("create") || line.starts_with("scale")), "{:#?}", world.transcript);
    // What was left by a rollback is not kept.
    world.until("v2 leaves", |world| world.set("v2").desired == 0);
    assert!(world.seconds < 200.0, "{}", world.seconds);
}

#[test]
fn a_warm_set_goes_when_its_time_is_over_or_a_newer_release_has_left_another() {
    let mut world = World::installed("v1", &json!({"drain": {"keepWarmSeconds": 600}}));
    world.apply_version("v2");
    world.until("v1 leaves", |world| world.active() == "v2" && world.set("v1").desired == 0);
    assert!((600.0..603.0).contains(&world.seconds), "{}", world.seconds);
    world.apply_version("v3");
    world.run(60);
    world.apply_version("v4");
    world.until("v2 leaves", |world| world.set("v2").desired == 0);
    assert!(world.seconds < 760.0, "{}", world.seconds);
    assert_eq!(world.pods("v3").len(), 3, "the one that was left last stays warm");
    world.command(command::FINISH_DRAIN, revision("v3"));
    world.settle();
    assert!(world.pods("v3").is_empty(), "by a person's word");
}

#[test]
fn a_drain_that_takes_longer_than_the_warmth_is_not_cut_by_its_end() {
    let mut world = World::installed("v1", &json!({"drain": {"keepWarmSeconds": 60, "deadlineSeconds": 300}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("the old pods leave", |world| world.active() == "v2" && world.set("v1").desired == 0);
    assert!((300.0..303.0).contains(&world.seconds), "{}", world.seconds);
    // And the other way round: nobody is cut off while the pods stay anyway.
    let mut world = World::installed("v1", &json!({"drain": {"keepWarmSeconds": 300, "deadlineSeconds": 60}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("the old pods leave", |world| world.active() == "v2" && world.set("v1").desired == 0);
    assert!((300.0..303.0).contains(&world.seconds), "{}", world.seconds);
}

#[test]
fn the_switch_comes_a_while_after_the_probes_passed_or_at_a_word() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.after_seconds = 60);
    let begun = world.seconds;
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.phase(), world.active()), (PhaseName::AwaitPromotion, "v1"));
    assert!(
        message(world.status(), ConditionType::Reconciling).contains(" takes the traffic at 2027-"),
        "{:?}",
        message(world.status(), ConditionType::Reconciling)
    );
    world.until("it is moved", |world| world.active() == "v2");
    assert!((60.0..62.0).contains(&(world.seconds - begun)), "{}", world.seconds - begun);
    // Another process waits no longer than the first would have.
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    let begun = world.seconds;
    world.apply_version("v3");
    world.run(40);
    world.restart();
    world.until("it is moved", |world| world.active() == "v3");
    assert!((60.0..62.0).contains(&(world.seconds - begun)), "{}", world.seconds - begun);
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    world.apply_version("v4");
    world.settle();
    world.command(command::PROMOTE, revision("v4"));
    world.settle();
    assert_eq!(world.active(), "v4");
}

#[test]
fn the_switch_waits_for_a_window_and_a_persons_word_does_not() {
    // The story begins at 08:00 UTC.
    let windows = json!([{"schedule": "30 8 * * *", "durationSeconds": 600}]);
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.windows = serde_json::from_value(windows).unwrap());
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.phase(), world.active()), (PhaseName::AwaitPromotion, "v1"));
    assert!(message(world.status(), ConditionType::Reconciling).contains(" takes the traffic at 2027-01-15T08:30:00Z; "));
    world.run(1700);
    assert!(world.plan.again.is_some_and(|again| again <= 100.1), "{:?}", world.plan.again);
    world.until("it is moved", |world| world.active() == "v2");
    assert!((1800.0..1802.0).contains(&world.seconds), "{}", world.seconds);
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    world.run(600);
    world.apply_version("v3");
    world.settle();
    assert_eq!(world.active(), "v2", "it is closed again");
    world.command(command::PROMOTE, revision("v3"));
    world.settle();
    assert_eq!(world.active(), "v3");
}

#[test]
fn a_bake_that_is_taken_out_of_the_spec_ends_now_and_nobody_is_cut_off_by_a_deadline_of_long_ago() {
    let mut world = World::installed("v1", &json!({"drain": {"deadlineSeconds": 60}}));
    world.edit(|spec| spec.bake.seconds = 3600);
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(1800);
    assert_eq!(world.phase(), PhaseName::Bake);
    world.edit(|spec| spec.bake.seconds = 0);
    world.run(50);
    assert_eq!((world.phase(), world.pods("v1").len()), (PhaseName::Drain, 3));
    world.until("the old pods leave", |world| world.set("v1").desired == 0);
    assert!((1860.0..1863.0).contains(&world.seconds), "{}", world.seconds);
    // Asked for again it is one of the next release, and nothing that fails now is.
    world.edit(|spec| spec.bake = serde_json::from_value(bake(60)["bake"].clone()).unwrap());
    world.ill.insert(revision("v2"));
    world.run(5);
    assert_eq!((world.phase(), condition(world.status(), ConditionType::Stalled).0), (PhaseName::Complete, False));
    world.apply_version("v3");
    world.until("v3 bakes", |world| world.active() == "v3" && world.phase() == PhaseName::Bake);
}

#[test]
fn the_fix_of_a_failing_bake_is_not_kept_waiting_by_what_the_bake_keeps() {
    let mut world = World::installed("v1", &json!({"drain": {"maxSets": 1}}));
    world.edit(|spec| spec.bake = serde_json::from_value(bake(600)["bake"].clone()).unwrap());
    world.apply_version("v2");
    world.until("it bakes", |world| world.phase() == PhaseName::Bake);
    world.broken.insert(revision("v1"));
    world.ill.insert(revision("v2"));
    world.run(5);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "BakeFailed".into()));
    world.apply_version("v3");
    world.until("v3 serves", |world| world.active() == "v3");
}

#[test]
fn what_is_only_kept_warm_keeps_no_release_waiting() {
    let mut world = World::installed("v1", &json!({"drain": {"maxSets": 1, "keepWarmSeconds": 3600}}));
    world.apply_version("v2");
    world.run(60);
    world.apply_version("v3");
    world.until("v3 serves", |world| world.active() == "v3");
    assert!(world.seconds < 100.0, "{}", world.seconds);
}

#[test]
fn a_warm_set_grows_with_the_spec_so_that_the_way_back_stays_one_write() {
    let mut world = World::installed("v1", &json!({"drain": {"keepWarmSeconds": 3600}}));
    world.apply_version("v2");
    world.run(60);
    world.edit(|spec| spec.replicas = 6);
    world.settle();
    assert_eq!((world.pods("v1").len(), world.pods("v2").len()), (6, 6));
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.settle();
    assert_eq!(world.selected("shop"), "v1");
}

#[test]
fn a_persons_way_back_goes_on_although_the_bake_fails_meanwhile() {
    let mut world = World::installed("v0", &json!({}));
    world.apply_version("v1");
    world.until("v0 is gone", |world| world.active() == "v1" && world.set("v0").desired == 0);
    world.edit(|spec| spec.bake = serde_json::from_value(bake(600)["bake"].clone()).unwrap());
    world.apply_version("v2");
    world.until("it bakes", |world| world.phase() == PhaseName::Bake);
    world.undecided.insert(revision("v0"));
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v0")));
    world.run(3);
    world.ill.insert(revision("v2"));
    world.run(3);
    assert_eq!(world.active(), "v1", "for now");
    world.undecided.clear();
    world.until("as the person had said", |world| world.active() == "v0");
}

#[test]
fn a_bake_without_a_verdict_is_told_of_in_the_end() {
    let mut world = baking();
    world.undecided.insert(revision("v2"));
    world.snapshot.probes.clear();
    world.run(130);
    assert_eq!(condition(world.status(), ConditionType::Stalled).0, False);
    world.run(600);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ProgressDeadlineExceeded".into()));
}

#[test]
fn who_deletes_the_set_that_bears_it_does_not_end_the_bake() {
    let mut world = baking();
    // Without its pods, which serve on and are nobody's; a newer revision has begun, so that it is not made again.
    world.undecided.insert(revision("v3"));
    world.apply_version("v3");
    world.settle();
    let gone = world.set("v2").uid.clone();
    world.snapshot.sets.retain(|set| set.uid != gone);
    world.snapshot.pods.retain(|pod| pod.set_uid != gone);
    world.until("almost over", |world| world.seconds >= 118.0);
    assert_eq!(world.set("v1").desired, 3);
    world.until("the old pods leave", |world| world.set("v1").desired == 0);
    assert!(world.seconds < 150.0, "{}", world.seconds);
}

#[test]
fn a_query_of_a_bake_takes_the_traffic_back() {
    let query = json!({"url": "http://prometheus:9090", "query": "errors{revision=\"{{revision}}\"}", "atMost": "0.01"});
    let mut world = World::installed("v1", &json!({}));
    world.snapshot.allowed_urls = Some(vec![crate::probe::Endpoint::parse("http://prometheus:9090").unwrap()]);
    world.edit(|spec| spec.bake = serde_json::from_value(json!({"seconds": 60, "probes": [{"name": "errors", "prometheus": query}]})).unwrap());
    world.apply_version("v2");
    world.until("v2 bakes", |world| world.phase() == PhaseName::Bake);
    let asked = world.plan.effects.bake.clone().unwrap();
    assert!(asked.endless && asked.runs.len() == 1 && asked.runs[0].pod.is_none(), "{asked:?}");
    // One whose URL is edited so that it can't be read is waited for all the same: it has a run, which has no verdict.
    world.edit(|spec| spec.bake.probes[0].prometheus.as_mut().unwrap().url = "prometheus:9090".into());
    world.reconcile();
    assert_eq!(world.plan.effects.bake.clone().unwrap().runs.len(), 1);
    world.edit(|spec| spec.bake.probes[0].prometheus.as_mut().unwrap().url = "http://prometheus:9090".into());
    world.reconcile();
    let set = world.set("v2").uid.clone();
    world.snapshot.probes.push(crate::release::ProbeObservation {
        set_uid: set,
        probes: asked.probes,
        probe: "errors".into(),
        pod: None,
        target: "prometheus:9090".into(),
        result: crate::api::ProbeResult::Failed,
        attempts: 3,
        message: "the query to prometheus:9090: answered 0.2, expected at most 0.01".into(),
        at: world.now().wall,
    });
    world.reconcile();
    assert_eq!(world.active(), "v1");
    let rejected = world.status().rejected.clone().unwrap();
    assert!(rejected.message.contains("answered 0.2, expected at most 0.01"), "{rejected:?}");
}

/// What the probes of the bake show of every pod of v2, as one of `attempts`.
fn shows(world: &mut World, result: ProbeResult, message: &str, attempts: i32) {
    let at = world.now().wall;
    for known in world.snapshot.probes.iter_mut().filter(|known| bake::is_of_bake(known)) {
        if known.result != result {
            known.at = at;
        }
        (known.result, known.message, known.attempts) = (result, message.into(), attempts);
    }
}

#[test]
fn status_tells_what_the_probes_of_a_bake_show_and_is_not_written_at_each_attempt() {
    let mut world = baking();
    let smoke = world.status().smoke_probes.clone();
    world.idle = true;
    let rows = |world: &World| -> Vec<(ProbeResult, i32, String)> {
        world.status().bake_probes.iter().map(|row| (row.result, row.attempts, row.message.clone())).collect()
    };
    world.reconcile();
    assert_eq!(rows(&world), vec![(ProbeResult::Passed, 3, String::new()); 3]);
    // They go on, and say the same.
    shows(&mut world, ProbeResult::Passed, "", 30);
    let version = world.snapshot.object.resource_version.clone();
    world.reconcile();
    assert_eq!(world.snapshot.object.resource_version, version, "status was written for a mere attempt");
    shows(&mut world, ProbeResult::Running, "status 500", 31);
    world.reconcile();
    assert_eq!(rows(&world), vec![(ProbeResult::Running, 31, "status 500".to_owned()); 3]);
    for kind in [ConditionType::Ready, ConditionType::Reconciling] {
        let said = message(world.status(), kind);
        let pod = world.pods("v2").iter().map(|pod| pod.name.clone()).min().unwrap();
        assert!(said.ends_with(&format!("; probe \"errors\" of the bake on {pod}: status 500")), "{said}");
    }
    let version = world.snapshot.object.resource_version.clone();
    shows(&mut world, ProbeResult::Running, "status 500", 32);
    world.reconcile();
    assert_eq!(world.snapshot.object.resource_version, version, "status was written for a mere attempt");
    assert_eq!(world.status().smoke_probes, smoke, "a probe of the bake is taken for a smoke probe");
}

#[test]
fn rows_of_a_bake_stay_until_the_next_move() {
    let mut world = baking();
    world.until("complete", |world| world.phase() == PhaseName::Complete);
    assert!(world.snapshot.probes.is_empty(), "nobody tests any more");
    let rows = world.status().bake_probes.clone();
    assert!(rows.len() == 3 && rows.iter().all(|row| row.result == ProbeResult::Passed), "{rows:?}");
    let version = world.snapshot.object.resource_version.clone();
    world.run(100);
    assert_eq!((&world.status().bake_probes, &world.snapshot.object.resource_version), (&rows, &version));
    world.edit(|spec| spec.bake = crate::api::Bake::default());
    world.apply_version("v3");
    world.until("v3 serves", |world| world.active() == "v3");
    world.settle();
    assert_eq!(world.status().bake_probes, vec![]);
}
