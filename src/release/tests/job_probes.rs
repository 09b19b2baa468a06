//! Smoke probes that are Jobs: they come after all other probes, once a release, and decide as those do.

use serde_json::{Value, json};

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{True, Unknown};
use crate::api::{ConditionType, HookPoint, HookResult, PhaseName, keys::command};
use crate::release::hooks;

fn job(name: &str) -> Value {
    json!({"name": name, "job": {"spec": {"template": {"spec": {"containers": [{"name": "it", "image": "suite"}]}}}}})
}

/// Two Jobs around a probe of each pod.
fn tests() -> Value {
    json!({"smokeProbes": [job("suite"), {"name": "home", "httpGet": {"port": "http"}}, job("more")]})
}

fn jobs(world: &World) -> Vec<&str> {
    world.transcript.iter().map(String::as_str).filter(|line| line.starts_with("smokeProbes ")).collect()
}

fn serving() -> World {
    let mut world = World::new("v1", &tests());
    world.settle();
    complete(&mut world, "v1");
    world.transcript.clear();
    world
}

fn complete(world: &mut World, version: &str) {
    world.until("complete", |world| world.active() == version && world.phase() == PhaseName::Complete);
    world.run(5);
}

#[test]
fn they_run_one_by_one_when_the_pods_have_passed_and_hold_up_the_switch() {
    let mut world = serving();
    world.apply_version("v2");
    world.until("the first runs", |world| !jobs(world).is_empty());
    let proven = world.set("v2").proof.is_some();
    assert!(!proven && world.passed.contains(&world.set("v2").uid), "the pods have passed, and the whole has not");
    assert_eq!(condition(world.status(), ConditionType::SmokeTested), (Unknown, "Running".into()));
    let said = message(world.status(), ConditionType::SmokeTested);
    assert!(said.starts_with("the pods passed, and smoke probe \"suite\" is "), "{said}");
    assert_eq!((world.phase(), world.active()), (PhaseName::Smoke, "v1"));
    complete(&mut world, "v2");
    assert_eq!(jobs(&world), ["smokeProbes suite of v2", "smokeProbes more of v2"]);
    assert!(world.hooks_passed(HookPoint::SmokeProbes, &revision("v2"), 2));
    assert!(!world.notices.iter().any(|notice| notice.reason.starts_with("Hook")), "{:?}", world.notices);
}

#[test]
fn one_that_fails_rejects_the_revision_and_retry_runs_it_once_more() {
    let mut world = serving();
    world.jobs.failing.insert("suite".into());
    world.apply_version("v2");
    world.until("rejected", |world| world.status().rejected.is_some());
    world.run(30);
    let rejected = world.status().rejected.clone().unwrap();
    assert_eq!(rejected.reason, "SmokeFailed");
    let row = world.status().hooks.iter().find(|row| row.revision == revision("v2")).unwrap();
    let said = format!(
        "smoke probe \"suite\" failed: BackoffLimitExceeded: Job has reached the specified backoff limit; see: kubectl logs -n web job/{}; when that is mended: kubectl annotate bgd shop -n web {}={}",
        row.job,
        command::RETRY,
        revision("v2")
    );
    assert_eq!(rejected.message, said);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "SmokeFailed".into()));
    assert_eq!((world.selected("shop"), jobs(&world).len()), ("v1", 1), "what comes after it does not run");
    world.jobs.failing.clear();
    world.transcript.clear();
    world.command(command::RETRY, revision("v2"));
    complete(&mut world, "v2");
    assert_eq!(jobs(&world), ["smokeProbes suite of v2", "smokeProbes more of v2"]);
}

#[test]
fn a_test_that_was_changed_is_another_one_and_one_that_was_not_is_not_run_again() {
    let mut world = serving();
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.until("passed", |world| world.phase() == PhaseName::AwaitPromotion);
    assert_eq!(jobs(&world).len(), 2);
    world.run(30);
    world.restart();
    world.run(30);
    assert_eq!(jobs(&world).len(), 2, "whoever comes next finds the proof");
    world.transcript.clear();
    world.edit(|spec| spec.smoke_probes[2].job = Some(json!({"spec": {"template": {"spec": {"containers": [{"name": "it", "image": "suite:2"}]}}}})));
    world.run(1);
    world
        .until("passed again", |world| world.phase() == PhaseName::AwaitPromotion && !world.jobs.there.values().any(|job| job.until > world.seconds));
    assert_eq!(jobs(&world), ["smokeProbes more of v2"]);
    world.run(5);
    // The Job of the former one is gone with its row.
    assert_eq!(world.status().hooks.iter().filter(|row| row.revision == revision("v2")).count(), 2, "{:#?}", world.status().hooks);
    assert!(world.status().hooks.iter().all(|row| row.result == HookResult::Succeeded));
}

#[test]
fn whoever_comes_next_finds_the_same_job() {
    for writes in 0..14 {
        let mut world = serving();
        world.apply_version("v2");
        world.writes_left = Some(writes);
        world.settle();
        world.run(1);
        world.writes_left = None;
        world.restart();
        complete(&mut world, "v2");
        assert_eq!(jobs(&world).len(), 2, "killed after {writes} writes");
    }
}

#[test]
fn the_way_back_runs_none() {
    let mut world = serving();
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("v2 serves", |world| world.active() == "v2" && world.status().switch.as_ref().unwrap().converged_at.is_some());
    world.transcript.clear();
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.settle();
    assert_eq!(world.selected("shop"), "v1", "at once");
    world.run(60);
    assert!(jobs(&world).is_empty());
}

#[test]
fn what_the_api_server_would_refuse_names_the_probe() {
    let mut world = serving();
    let text = "spec.smokeProbes[0].job: the API server refuses this Job: spec.template.spec.containers: Required value";
    world.jobs.refusal = Some(text.into());
    world.edit(|spec| spec.smoke_probes[0].job = Some(json!({"spec": {"template": {"spec": {}}}})));
    world.apply_version("v2");
    world.settle();
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "HookRefused".into()));
    assert_eq!((message(world.status(), ConditionType::Stalled), jobs(&world).len()), (text.to_owned(), 0));
    let labels = json!({"spec": {"template": {"metadata": {"labels": {"app": SHOP}}, "spec": {}}}});
    world.jobs.refusal = None;
    world.edit(|spec| spec.smoke_probes[2].job = Some(labels));
    world.settle();
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.starts_with("spec.smokeProbes[2].job.spec.template.metadata.labels: "), "{said}");
}

#[test]
fn what_a_person_is_to_type_is_never_cut_off_by_what_a_job_says() {
    let mut world = serving();
    world.jobs.failing.insert("suite".into());
    world.jobs.words = format!("{}{}", hooks::LOG_ENDS, "x".repeat(300));
    world.apply_version("v2");
    world.until("rejected", |world| world.status().rejected.is_some());
    let said = world.status().rejected.clone().unwrap().message;
    assert!(said.contains(&format!("bluegreen.dev/retry={}; its log ends: xxx", revision("v2"))), "{said}");
}

#[test]
fn the_time_of_a_long_job_is_no_lack_of_progress() {
    let mut world = serving();
    world.edit(|spec| spec.bring_up.preview_replicas = Some(1));
    world.jobs.seconds = 900.0;
    world.apply_version("v2");
    let mut told = false;
    for _ in 0..2500 {
        world.run(1);
        told |= condition(world.status(), ConditionType::Stalled).1 == "ProgressDeadlineExceeded";
    }
    assert_eq!((world.active(), told), ("v2", false));
    // One that can't be made is one.
    world.jobs.seconds = 3.0;
    world.jobs.lacking = true;
    world.apply_version("v3");
    world.run(700);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ProgressDeadlineExceeded".into()));
    let said = message(world.status(), ConditionType::SmokeTested);
    assert!(said.ends_with("smoke probe \"suite\" is about to run"), "{said}");
    world.jobs.lacking = false;
    complete(&mut world, "v3");
}

#[test]
fn they_begin_when_the_preview_service_leads_to_the_revision_and_nodes_have_followed() {
    let mut world = World::new("v1", &json!({"smokeProbes": [job("suite")], "traffic": {"services": [SHOP], "previewServices": ["shop-preview"]}}));
    world.settle();
    complete(&mut world, "v1");
    world.transcript.clear();
    world.apply_version("v2");
    world.until("it is on record", |world| world.status().hooks.iter().any(|row| row.revision == revision("v2")));
    assert_eq!(world.selected("shop-preview"), "v2");
    assert!(jobs(&world).is_empty());
    world.run(2);
    assert!(jobs(&world).is_empty(), "nodes may not have followed");
    complete(&mut world, "v2");
    assert_eq!(jobs(&world), ["smokeProbes suite of v2"]);
}

#[test]
fn a_way_back_that_tests_anew_says_nothing_of_jobs() {
    let mut world = World::new("v1", &json!({"smokeProbes": [{"name": "home", "httpGet": {"port": "http"}}]}));
    world.settle();
    complete(&mut world, "v1");
    world.apply_version("v2");
    complete(&mut world, "v2");
    world.until("v1 is gone", |world| world.set("v1").desired == 0);
    world.run(5);
    world.edit(|spec| spec.smoke_probes = serde_json::from_value(tests()["smokeProbes"].clone()).unwrap());
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.until("v1 serves", |world| world.active() == "v1" && world.phase() == PhaseName::Rejected);
    assert!(world.set("v1").proof.is_none() && jobs(&world).is_empty());
}

#[test]
fn retry_leaves_what_all_pods_have_passed() {
    let mut world = serving();
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.until("passed", |world| world.phase() == PhaseName::AwaitPromotion);
    world.command(command::ABORT, revision("v2"));
    world.until("aborted", |world| world.status().rejected.is_some());
    world.command(command::RETRY, revision("v2"));
    world.until("passed", |world| world.phase() == PhaseName::AwaitPromotion);
    world.run(5);
    let rows: Vec<HookResult> = world.status().hooks.iter().filter(|row| row.revision == revision("v2")).map(|row| row.result).collect();
    assert_eq!((rows, jobs(&world).len()), (vec![HookResult::Succeeded; 2], 2));
}
