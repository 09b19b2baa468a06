//! Hooks: Jobs at the points of a release, each once, and what follows from their ends.

use serde_json::{Value, json};

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
use crate::api::{ConditionType, HookResult, PhaseName, keys::command};
use crate::release::action::Action;
use crate::release::*;

fn hook(name: &str) -> Value {
    json!({"name": name, "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "it", "image": "tool"}]}}}}})
}

fn all() -> Value {
    json!({"hooks": {
        "beforeBringUp": [hook("migrate"), hook("warn")],
        "beforeSwitch": [hook("check")],
        "afterSwitch": [hook("purge")],
        "afterDrain": [hook("clean")],
        "onRollback": [hook("tell")],
    }})
}

fn jobs(world: &World) -> Vec<&str> {
    let points = ["beforeBringUp", "beforeSwitch", "afterSwitch", "afterDrain", "onRollback"];
    world.transcript.iter().map(String::as_str).filter(|line| points.iter().any(|point| line.starts_with(&format!("{point} ")))).collect()
}

/// A world in which v1 serves, and its own hooks have run.
fn serving(changes: &Value) -> World {
    let mut world = World::new("v1", changes);
    world.settle();
    world.until("v1 serves and its hooks have run", |world| world.phase() == PhaseName::Complete && ended(world));
    world.transcript.clear();
    world
}

fn ended(world: &World) -> bool {
    !world.status().hooks.iter().any(|row| row.result == HookResult::Running)
}

fn complete(world: &mut World, version: &str) {
    world.until("complete", |world| world.active() == version && world.phase() == PhaseName::Complete && ended(world));
    world.run(5);
}

#[test]
fn each_runs_once_at_its_place_in_the_order_of_the_spec() {
    let mut world = serving(&all());
    assert_eq!(world.jobs.made.len(), 4, "the first release has hooks, too, and nothing that drains");
    world.apply_version("v2");
    complete(&mut world, "v2");
    assert_eq!(
        jobs(&world),
        ["beforeBringUp migrate of v2", "beforeBringUp warn of v2", "beforeSwitch check of v2", "afterSwitch purge of v2", "afterDrain clean of v1"]
    );
    let at = |what: &str| world.transcript.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no {what}"));
    assert!(at("beforeBringUp warn") < at("create v2") && at("create v2") < at("beforeSwitch check"));
    assert!(at("beforeSwitch check") < at("select shop v2") && at("intent v2@2 completed converged") < at("afterSwitch purge"));
    assert!(at("retire v1") < at("afterDrain clean"));
    // What it was told.
    let check = world.jobs.there.values().find(|job| job.of.1 == "check" && job.of.2 == revision("v2")).unwrap();
    let told = |key: &str| check.told[key].as_str();
    assert_eq!((told("BLUEGREEN_HOOK"), told("BLUEGREEN_REVISION"), told("BLUEGREEN_FROM")), ("beforeSwitch", &*revision("v2"), &*revision("v1")));
    assert_eq!((told("BLUEGREEN_COLOR"), told("BLUEGREEN_RELEASE"), told("BLUEGREEN_NAME")), ("green", "2", SHOP));
}

#[test]
fn the_next_release_runs_them_anew_and_jobs_of_the_last_but_one_go() {
    let mut world = serving(&all());
    for (version, release) in [("v2", 2), ("v1", 3), ("v2", 4)] {
        world.apply_version(version);
        complete(&mut world, version);
        assert_eq!(jobs(&world).iter().filter(|line| line.contains(&format!("migrate of {version}"))).count(), 1, "release {release}");
        world.transcript.clear();
        assert!(world.status().hooks.iter().all(|row| row.attempt == release), "{:#?}", world.status().hooks);
        assert_eq!(world.jobs.there.len(), world.status().hooks.len());
    }
}

#[test]
fn one_that_fails_before_the_first_pod_rejects_the_revision_and_starts_none() {
    let mut world = serving(&all());
    world.jobs.failing.insert("migrate".into());
    world.apply_version("v2");
    world.until("rejected", |world| world.status().rejected.is_some());
    world.run(20);
    let rejected = world.status().rejected.clone().unwrap();
    assert_eq!(rejected.reason, "HookFailed");
    assert!(rejected.message.starts_with("hook \"migrate\" of beforeBringUp failed: BackoffLimitExceeded: Job has reached"), "{}", rejected.message);
    assert!(rejected.message.ends_with(&format!("kubectl annotate bgd shop -n web {}={}", command::RETRY, revision("v2"))), "{}", rejected.message);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "HookFailed".into()));
    assert_eq!(jobs(&world), ["beforeBringUp migrate of v2"]);
    assert!(!world.snapshot.sets.iter().any(|set| set.revision == revision("v2")));
    assert_eq!(world.notices.iter().filter(|notice| notice.reason == "HookFailed").count(), 1);
    // Mended: all of them run once more, in Jobs of their own.
    world.jobs.failing.clear();
    world.transcript.clear();
    world.command(command::RETRY, revision("v2"));
    complete(&mut world, "v2");
    assert_eq!(jobs(&world)[..2], ["beforeBringUp migrate of v2", "beforeBringUp warn of v2"]);
}

#[test]
fn one_that_fails_before_the_switch_leaves_the_traffic_where_it_is() {
    let mut world = serving(&all());
    world.jobs.failing.insert("check".into());
    world.apply_version("v2");
    world.until("rejected", |world| world.status().rejected.is_some());
    world.run(60);
    assert_eq!((world.selected("shop"), world.active()), ("v1", "v1"));
    assert_eq!(world.set("v2").desired, 3, "its pods stay for a look");
    world.jobs.failing.clear();
    world.transcript.clear();
    world.command(command::RETRY, revision("v2"));
    complete(&mut world, "v2");
    assert_eq!(jobs(&world)[..2], ["beforeSwitch check of v2", "afterSwitch purge of v2"]);
}

#[test]
fn those_after_the_switch_hold_up_nothing_and_are_told_of() {
    let mut world = serving(&all());
    world.jobs.failing.extend(["purge".into(), "clean".into()]);
    world.apply_version("v2");
    complete(&mut world, "v2");
    assert_eq!(condition(world.status(), ConditionType::Ready).0, True);
    assert_eq!(condition(world.status(), ConditionType::Stalled).0, False);
    assert_eq!(world.notices.iter().filter(|notice| notice.reason == "HookFailed" && notice.warning).count(), 2);
    assert_eq!(world.status().hooks.iter().filter(|row| row.result == HookResult::Failed && !row.message.is_empty()).count(), 2);
}

#[test]
fn the_way_back_waits_for_none_and_runs_its_own_afterwards() {
    let mut world = serving(&all());
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("v2 serves", |world| world.active() == "v2" && world.status().switch.as_ref().unwrap().converged_at.is_some() && ended(world));
    world.run(10);
    world.transcript.clear();
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.settle();
    assert_eq!(world.selected("shop"), "v1", "at once");
    world.until("it has run", |world| jobs(world).len() == 2 && ended(world));
    let at = |what: &str| world.transcript.iter().position(|line| line.starts_with(what)).unwrap();
    assert!(at("select shop v1") < at("onRollback tell of v1"));
    assert_eq!(jobs(&world), ["onRollback tell of v1", "afterDrain clean of v2"]);
}

#[test]
fn whoever_comes_next_finds_the_same_job() {
    for writes in 0..14 {
        let mut world = serving(&all());
        world.apply_version("v2");
        world.writes_left = Some(writes);
        world.settle();
        world.run(1);
        // What it knew is lost, but for what is in objects; each Job is made once, which the world watches.
        world.writes_left = None;
        world.restart();
        complete(&mut world, "v2");
        assert_eq!(jobs(&world).len(), 5, "killed after {writes} writes");
    }
}

#[test]
fn a_job_that_is_deleted_before_it_ended_has_failed() {
    let mut world = serving(&all());
    world.jobs.seconds = 30.0;
    world.apply_version("v2");
    world.until("it runs", |world| !jobs(world).is_empty());
    world.run(2);
    let name = world.jobs.made.last().unwrap().clone();
    world.jobs.delete(&name);
    world.until("rejected", |world| world.status().rejected.is_some());
    assert!(world.status().rejected.as_ref().unwrap().message.contains("its Job was deleted before it ended"));
}

#[test]
fn a_newer_template_waits_for_a_job_that_runs_and_has_its_own() {
    let mut world = serving(&all());
    world.jobs.seconds = 20.0;
    world.apply_version("v2");
    world.until("it runs", |world| !jobs(world).is_empty());
    world.apply_version("v3");
    world.run(5);
    assert_eq!(jobs(&world), ["beforeBringUp migrate of v2"], "never two at a time");
    assert!(message(world.status(), ConditionType::Reconciling).contains("hook \"migrate\" of beforeBringUp waits for the end of Job"));
    complete(&mut world, "v3");
    assert_eq!(jobs(&world)[..2], ["beforeBringUp migrate of v2", "beforeBringUp migrate of v3"]);
    assert!(world.status().hooks.iter().all(|row| row.revision != revision("v2")));
}

#[test]
fn what_the_api_server_would_refuse_is_known_before_anything_starts() {
    let mut world = serving(&all());
    let text = "spec.hooks.beforeSwitch[0].jobTemplate: the API server refuses this Job: spec.template.spec.containers: Required value";
    world.jobs.refusal = Some(text.into());
    // Asked about again, since they have changed.
    world.edit(|spec| spec.hooks.before_switch[0].job_template = json!({"spec": {"template": {"spec": {}}}}));
    world.apply_version("v2");
    world.settle();
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "HookRefused".into()));
    assert_eq!(message(world.status(), ConditionType::Stalled), text);
    assert_eq!((jobs(&world).len(), world.phase()), (0, PhaseName::Blocked));
    world.jobs.refusal = None;
    world.edit(|spec| spec.hooks.before_switch.clear());
    complete(&mut world, "v2");
}

#[test]
fn pods_of_a_job_must_not_look_like_pods_of_the_app() {
    let mut world = serving(&all());
    let labels = json!({"spec": {"template": {"metadata": {"labels": {"app": SHOP, "job": "x"}}, "spec": {}}}});
    world.edit(|spec| spec.hooks.before_bring_up[1].job_template = labels);
    world.apply_version("v2");
    world.settle();
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.starts_with("spec.hooks.beforeBringUp[1].jobTemplate.spec.template.metadata.labels: "), "{said}");
}

#[test]
fn a_pause_begins_none() {
    let mut world = serving(&all());
    world.edit(|spec| spec.paused = true);
    world.apply_version("v2");
    world.run(30);
    assert!(jobs(&world).is_empty());
    let before = world.jobs.there.len();
    world.edit(|spec| spec.hooks.after_switch.clear());
    world.run(10);
    assert_eq!(world.jobs.there.len(), before, "nothing is deleted either");
    world.edit(|spec| spec.paused = false);
    complete(&mut world, "v2");
}

#[test]
fn one_that_is_taken_out_of_the_spec_before_its_job_is_made_is_not_waited_for() {
    let mut world = serving(&all());
    world.apply_version("v2");
    world.observe();
    // On record, and the process is killed before it creates the Job.
    world.writes_left = Some(2);
    world.settle();
    assert!(world.status().hooks.iter().any(|row| row.result == HookResult::Running && row.uid.is_none()), "{:#?}", world.status().hooks);
    world.writes_left = None;
    world.edit(|spec| spec.hooks.before_bring_up.clear());
    complete(&mut world, "v2");
    assert!(!jobs(&world).iter().any(|line| line.contains("migrate")));
}

#[test]
fn what_is_added_after_a_move_is_for_the_next_one() {
    let mut world = World::new("v1", &json!({}));
    world.settle();
    world.apply_version("v2");
    complete(&mut world, "v2");
    world.edit(|spec| spec.hooks = serde_json::from_value(all()["hooks"].clone()).unwrap());
    world.run(10);
    assert!(jobs(&world).is_empty() && world.status().hooks.is_empty());
    world.apply_version("v3");
    complete(&mut world, "v3");
    assert_eq!(jobs(&world).last(), Some(&"afterDrain clean of v2"));
    assert_eq!(jobs(&world).len(), 5);
}

#[test]
fn old_pods_that_stay_longer_than_the_next_release_have_their_hook_all_the_same() {
    let mut world = serving(&all());
    world.edit(|spec| spec.drain.deadline_seconds = 3000);
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("v2 serves", |world| world.active() == "v2" && world.status().switch.as_ref().unwrap().converged_at.is_some() && ended(world));
    world.apply_version("v3");
    world.until("v3 serves", |world| world.active() == "v3" && world.status().switch.as_ref().unwrap().converged_at.is_some() && ended(world));
    world.run(60);
    assert!(!jobs(&world).contains(&"afterDrain clean of v1"));
    world.open.clear();
    complete(&mut world, "v3");
    world.until("its hook has run", |world| jobs(world).contains(&"afterDrain clean of v1"));
    assert_eq!(jobs(&world).iter().filter(|line| line.starts_with("afterDrain")).count(), 2);
}

#[test]
fn one_whose_place_does_not_come_any_more_is_skipped_and_told_of() {
    let mut world = serving(&all());
    world.edit(|spec| spec.traffic.quiet_seconds = 30);
    world.apply_version("v2");
    world.until("v2 has the traffic", |world| world.active() == "v2" && world.status().switch.as_ref().unwrap().completed_at.is_some());
    let second = world.set("v2").uid.clone();
    assert!(!second.is_empty());
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.until("v1 serves", |world| world.active() == "v1" && world.phase() == PhaseName::Rejected && ended(world));
    world.run(60);
    assert!(!jobs(&world).iter().any(|line| line.starts_with("afterSwitch")), "{:#?}", jobs(&world));
    let skipped: Vec<&str> = world.notices.iter().filter(|notice| notice.reason == "HookSkipped").map(|notice| notice.message.as_str()).collect();
    assert!(
        skipped[0].contains("\"purge\" of afterSwitch did not run") && skipped[0].ends_with("the next move of traffic came first"),
        "{skipped:?}"
    );
    assert!(skipped[1].ends_with("the revision serves again"), "{skipped:?}");
}

#[test]
fn a_job_that_was_on_record_and_never_made_is_not_made_for_a_newer_release() {
    for there in [false, true] {
        let mut world = serving(&all());
        world.apply_version("v2");
        world.observe();
        // Killed right before the Job was made, or right after.
        world.writes_left = Some(if there { 3 } else { 2 });
        world.settle();
        world.writes_left = None;
        let row = world.status().hooks.iter().find(|row| row.revision == revision("v2")).cloned().unwrap();
        assert_eq!((row.result, row.uid.is_none(), world.jobs.there.contains_key(&row.job)), (HookResult::Running, true, there));
        world.apply_version("v3");
        complete(&mut world, "v3");
        assert_eq!(jobs(&world).contains(&"beforeBringUp migrate of v2"), there);
        assert!(jobs(&world).contains(&"beforeBringUp migrate of v3"));
        assert_eq!(world.jobs.there.len(), world.status().hooks.iter().filter(|row| row.uid.is_some()).count(), "a Job was forgotten");
    }
}

#[test]
fn names_of_jobs_fit_and_differ() {
    let object = Object { name: "x".repeat(80), ..World::new("v1", &json!({})).snapshot.object };
    let name = |hook: &str, run: i32| revision::job_name(&object, crate::api::HookPoint::AfterDrain, hook, ("r", 1, run));
    assert!(name("migrate", 0).len() <= 52);
    assert_ne!(name("migrate", 0), name("migrate", 1));
    assert_ne!(name("migrate", 0), name("other", 0));
    assert_eq!(name("migrate", 0), name("migrate", 0));
    let steady = serving(&all());
    let actions = plan(&steady.snapshot, steady.now()).actions;
    assert!(!actions.iter().any(|action| matches!(action, Action::RunHook { .. } | Action::CheckHooks { .. })), "a steady object costs nothing");
}
