//! Smoke probes, the proof they leave, and whose word the switch waits for.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True, Unknown};
use crate::api::{ConditionType, PhaseName, ProbeResult, ProbeStatus, keys::command};
use crate::release::action::Action;
use crate::release::{Identity, ProbeObservation, Service};

#[test]
fn a_rejected_revision_leaves_in_time_although_the_next_template_is_refused() {
    let mut world = World::installed("v1", &json!({"onFailure": {"keepSeconds": 30}}));
    world.failing.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.phase(), PhaseName::Rejected);
    world.apply_version("v3");
    world.snapshot.identity = Identity::Refused { reason: "TemplateRefused".into(), message: "a misspelt field".into() };
    world.run(20);
    assert_eq!(world.set("v2").desired, 3);
    world.run(20);
    assert_eq!((world.phase(), world.set("v2").desired), (PhaseName::Blocked, 0));
}

#[test]
fn a_failed_probe_rejects_the_revision_and_touches_no_traffic() {
    let mut world = World::installed("v1", &json!({}));
    world.failing.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.transcript, ["create v2 green x3", "rejected v2: SmokeFailed"]);
    assert_eq!(world.phase(), PhaseName::Rejected);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "SmokeFailed".into()));
    assert_eq!(condition(world.status(), ConditionType::Reconciling), (False, "Stalled".into()));
    assert_eq!(condition(world.status(), ConditionType::SmokeTested), (False, "SmokeFailed".into()));
    assert_eq!(condition(world.status(), ConditionType::Available), (True, "AllAvailable".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.starts_with("smoke probe \"home\" on ") && said.ends_with(" failed 3 times: status 500"), "{said}");
    assert_eq!(world.selected("shop"), "v1");
    // The pods stay for a look.
    world.run(299);
    assert_eq!(world.pods("v2").len(), 3);
    world.run(2);
    assert!(world.pods("v2").is_empty());
    assert_eq!(world.transcript.last().unwrap(), "patch v2 x0 without proof");
    // It is not tried again by itself, not even by another process.
    world.restart();
    world.run(1000);
    assert!(world.pods("v2").is_empty());
}

#[test]
fn retry_tests_anew_and_a_new_template_forgets() {
    let mut world = World::installed("v1", &json!({}));
    world.failing.insert(revision("v2"));
    world.apply_version("v2");
    world.run(1);
    world.failing.clear();
    world.command(command::RETRY, revision("v2"));
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    assert!(world.snapshot.object.commands.is_empty());

    world.failing.insert(revision("v3"));
    world.apply_version("v3");
    world.run(5);
    assert_eq!(world.phase(), PhaseName::Rejected);
    world.apply_version("v4");
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v4");
    assert_eq!(world.status().rejected, None);
}

#[test]
fn every_pod_must_pass() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    // Two of three have passed.
    for known in world.snapshot.probes.iter_mut().take(2) {
        known.result = crate::api::ProbeResult::Passed;
    }
    world.settle();
    assert_eq!(world.phase(), PhaseName::Smoke);
    assert_eq!(condition(world.status(), ConditionType::SmokeTested), (Unknown, "Running".into()));
    assert!(message(world.status(), ConditionType::SmokeTested).starts_with("2 of 3"));
    assert_eq!(world.selected("shop"), "v1");
}

#[test]
fn a_pass_of_one_set_or_of_other_probes_says_nothing_about_another() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    let plan = |world: &World, how: &dyn Fn(&mut crate::release::ProbeObservation)| {
        let mut snapshot = world.snapshot.clone();
        for known in &mut snapshot.probes {
            known.result = crate::api::ProbeResult::Passed;
            how(known);
        }
        crate::release::plan(&snapshot, world.now())
    };
    let switches =
        |plan: &crate::release::Plan| plan.actions.iter().any(|action| matches!(action, Action::PatchSet { change, .. } if change.proof.is_some()));
    assert!(switches(&plan(&world, &|_| {})), "the test of the test");
    assert!(!switches(&plan(&world, &|known| known.set_uid = "another".into())));
    assert!(!switches(&plan(&world, &|known| known.probes = "another".into())));
    assert!(!switches(&plan(&world, &|known| known.probe = "another".into())));
    assert!(!switches(&plan(&world, &|known| known.pod = Some("another".into()))));
}

#[test]
fn other_probes_need_another_proof() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.phase(), PhaseName::AwaitPromotion);
    world.failing.insert(revision("v2"));
    world.edit(|spec| spec.smoke_probes[0].http_get.as_mut().unwrap().path = "/deep".into());
    world.command(command::PROMOTE, revision("v2"));
    world.settle();
    assert_eq!(world.phase(), PhaseName::Rejected);
    assert_eq!(world.active(), "v1");
}

#[test]
fn the_proof_is_on_record_before_the_switch_rests_on_it() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.settle();
    let proof = world.transcript.iter().position(|line| line == "patch v2 proof of 3").expect("a proof");
    let intent = world.transcript.iter().position(|line| line == "fence v2@2").unwrap();
    assert!(proof < intent);
}

#[test]
fn a_pod_that_comes_after_the_proof_is_tested_before_it_counts() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.phase(), PhaseName::AwaitPromotion);
    world.undecided.insert(revision("v2"));
    let gone = world.pods("v2")[0].uid.clone();
    world.snapshot.pods.retain(|pod| pod.uid != gone);
    world.command(command::PROMOTE, revision("v2"));
    world.settle();
    assert_eq!(world.active(), "v1", "two of three tested pods are not enough");
    world.undecided.clear();
    world.settle();
    assert_eq!(world.active(), "v2");
}

#[test]
fn a_pod_must_be_ready_for_min_ready_seconds() {
    let mut world = World::new("v1", &json!({"minReadySeconds": 20}));
    world.settle();
    assert_eq!(world.active(), "none");
    assert!(world.plan.again.is_some_and(|again| (20.0..20.1).contains(&again)), "{:?}", world.plan.again);
    world.run(19);
    assert_eq!(world.active(), "none");
    world.run(1);
    assert_eq!(world.active(), "v1");
}

#[test]
fn without_probes_availability_is_the_test() {
    let mut world = World::new("v1", &json!({"smokeProbes": []}));
    world.broken.insert(revision("v1"));
    world.settle();
    assert_eq!(world.active(), "none");
    world.broken.clear();
    world.settle();
    assert_eq!(world.active(), "v1");
    assert_eq!(condition(world.status(), ConditionType::SmokeTested), (Unknown, "NoProbes".into()));
}

#[test]
fn through_the_preview_service_only_ready_pods_of_the_incoming_revision_are_tested() {
    let mut world = World::installed(
        "v1",
        &json!({"traffic": {"previewServices": ["shop-preview"]}, "smokeProbes": [{"name": "home", "httpGet": {"port": 80}, "target": "PreviewService"}]}),
    );
    assert_eq!(world.selected(PREVIEW), "v1", "with nothing incoming the preview shows the active revision");
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.selected(PREVIEW), "v2");
    let runs = |world: &mut World| {
        world.reconcile();
        world.plan.effects.smoke.as_ref().unwrap().runs.clone()
    };
    let run = runs(&mut world);
    assert_eq!((run.len(), run[0].target.as_str(), run[0].address.unwrap().to_string().as_str()), (1, PREVIEW, "10.0.0.9:80"));
    // Slices still hold an old pod, then one that is not ready, then nobody.
    let right = world.snapshot.endpoints[PREVIEW].clone();
    let old = world.pods("v1")[0].uid.clone();
    world.snapshot.endpoints.get_mut(PREVIEW).unwrap().pods.insert(old, true);
    assert!(runs(&mut world).is_empty());
    world.snapshot.endpoints.insert(PREVIEW.into(), right.clone());
    *world.snapshot.endpoints.get_mut(PREVIEW).unwrap().pods.values_mut().next().unwrap() = false;
    assert!(runs(&mut world).is_empty());
    world.snapshot.endpoints.get_mut(PREVIEW).unwrap().pods.clear();
    assert!(runs(&mut world).is_empty());
    world.snapshot.endpoints.insert(PREVIEW.into(), right.clone());
    assert_eq!(runs(&mut world).len(), 1);
    // A slice written by hand, which names a pod of the set and an address that it does not have.
    let pod = world.pods("v2")[0].clone();
    let own: std::net::IpAddr = pod.addresses[0].parse().unwrap();
    world.snapshot.endpoints.get_mut(PREVIEW).unwrap().addresses.insert((pod.uid.clone(), own));
    assert_eq!(runs(&mut world).len(), 1);
    world.snapshot.endpoints.get_mut(PREVIEW).unwrap().addresses.insert((pod.uid, "10.250.0.1".parse().unwrap()));
    assert!(runs(&mut world).is_empty());
    world.snapshot.endpoints.insert(PREVIEW.into(), right);
    // The Service changes under the probe: only its own ports, by TCP, are ever called.
    let service = world.service_mut(PREVIEW).clone();
    let changes: [fn(&mut Service); 3] =
        [|service| service.ports[0].port = 81, |service| service.ports[0].protocol = "UDP".into(), |service| service.kind = "ExternalName".into()];
    for change in changes {
        change(world.service_mut(PREVIEW));
        assert!(runs(&mut world).is_empty());
        *world.service_mut(PREVIEW) = service.clone();
    }
    assert_eq!(runs(&mut world).len(), 1);
    world.undecided.clear();
    world.settle();
    assert_eq!(world.active(), "v2");
}

#[test]
fn a_preview_shows_the_rejected_pods_while_they_stay() {
    let mut world = World::installed("v1", &json!({"traffic": {"previewServices": ["shop-preview"]}}));
    world.failing.insert(revision("v2"));
    world.apply_version("v2");
    world.run(10);
    assert_eq!((world.phase(), world.selected(PREVIEW)), (PhaseName::Rejected, "v2"));
    world.run(300);
    assert_eq!(world.selected(PREVIEW), "v1");
}

#[test]
fn manual_promotion_waits_says_what_to_type_and_asks_nobody_twice() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.run(1000);
    assert_eq!((world.phase(), world.active()), (PhaseName::AwaitPromotion, "v1"));
    let said = message(world.status(), ConditionType::Ready);
    assert!(said.ends_with(&format!("kubectl annotate bgd shop -n web bluegreen.dev/promote={}", revision("v2"))), "{said}");
    // A word for another revision is none.
    world.command(command::PROMOTE, revision("v9"));
    world.settle();
    assert_eq!(world.active(), "v1");
    assert_eq!(world.notices.last().unwrap().reason, "CommandIgnored");
    assert!(world.snapshot.object.commands.is_empty());
    world.command(command::PROMOTE, revision("v2"));
    world.settle();
    assert_eq!(world.active(), "v2");
    assert!(world.snapshot.object.commands.is_empty());
    // The way back needs no second word.
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.settle();
    assert_eq!(world.active(), "v1");
}

#[test]
fn an_early_word_counts_as_soon_as_the_probes_passed_and_not_before() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.command(command::PROMOTE, revision("v2"));
    world.run(5);
    assert_eq!(world.active(), "v1");
    assert_eq!(world.snapshot.object.commands.len(), 1);
    world.undecided.clear();
    world.settle();
    assert_eq!(world.active(), "v2");
}

#[test]
fn a_word_for_an_older_release_does_not_promote_the_newer_one() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    world.apply_version("v3");
    world.command(command::PROMOTE, revision("v2"));
    world.run(5);
    assert_eq!(world.active(), "v1");
}

#[test]
fn pods_needed_are_frozen_when_the_probes_passed() {
    let mut world = World::installed("v1", &json!({"replicas": 2}));
    world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.set("v2").proof.as_ref().unwrap().needed, 2);
    // Growing is scaling, and no new test; what serves is as small as it was.
    world.broken.insert(revision("v2"));
    world.idle = true;
    world.edit(|spec| spec.replicas = 5);
    world.command(command::PROMOTE, revision("v2"));
    world.settle();
    assert_eq!(world.set("v2").desired, 5);
    assert_eq!(world.active(), "v2");
}

#[test]
fn a_revision_that_does_not_come_up_in_time_is_stalled_and_recovers() {
    let mut world = World::installed("v1", &json!({"progressDeadlineSeconds": 60}));
    world.broken.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    for pod in &mut world.snapshot.pods {
        pod.trouble = (!pod.ready).then(|| "ImagePullBackOff: no such image".into());
    }
    world.run(59);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (False, "Progressing".into()));
    world.run(2);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ProgressDeadlineExceeded".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.contains("0 of 3 pods are available; pod ") && said.contains("ImagePullBackOff: no such image"), "{said}");
    assert_eq!(world.status().rejected, None);
    world.run(100);
    assert_eq!(world.active(), "v1");
    world.broken.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
    assert_eq!(condition(world.status(), ConditionType::Stalled), (False, "Progressing".into()));
}

#[test]
fn the_progress_deadline_is_looked_at_even_if_nothing_ever_happens() {
    let mut world = World::installed("v1", &json!({"progressDeadlineSeconds": 60}));
    world.idle = true;
    world.apply_version("v2");
    world.reconcile();
    assert!(world.plan.again.is_some_and(|again| again <= 60.1), "{:?}", world.plan.again);
}

#[test]
fn the_progress_deadline_does_not_count_the_wait_for_other_sets_to_drain() {
    let mut world = World::installed("v1", &json!({"progressDeadlineSeconds": 60, "drain": {"maxSets": 1}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(20);
    world.broken.insert(revision("v3"));
    world.apply_version("v3");
    world.run(200);
    world.open.clear();
    world.until("v3 starts", |world| world.transcript.iter().any(|line| line.starts_with("create v3")));
    world.run(30);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (False, "Progressing".into()));
    world.run(40);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ProgressDeadlineExceeded".into()));
}

#[test]
fn what_the_probes_of_the_serving_revision_showed_is_told_although_the_switch_followed_at_once() {
    let mut world = World::installed("v1", &json!({}));
    let set = world.set("v1").clone();
    let row = |result, attempts| ProbeStatus {
        name: "home".into(),
        target: "shop-v1-0".into(),
        result,
        attempts,
        message: String::new(),
        at: world.now().wall,
    };
    let running = row(ProbeResult::Running, 1);
    let passed = row(ProbeResult::Passed, 12);
    let observation = ProbeObservation {
        set_uid: set.uid.clone(),
        probes: "the hash".into(),
        probe: "home".into(),
        pod: Some("pod".into()),
        target: "shop-v1-0".into(),
        result: ProbeResult::Passed,
        attempts: 12,
        message: String::new(),
        at: world.now().wall,
    };
    world.snapshot.object.status.smoke_probes = vec![running.clone()];
    world.snapshot.probes = vec![observation];
    let told = crate::release::plan(&world.snapshot, world.now());
    assert_eq!(told.status.smoke_probes, vec![passed.clone()]);
    // They are kept until then, and no longer.
    assert_eq!(told.effects.smoke.map(|run| (run.set_uid, run.runs.len())), Some((set.uid, 0)));
    world.snapshot.object.status.smoke_probes = vec![passed];
    assert_eq!(crate::release::plan(&world.snapshot, world.now()).effects.smoke, None);
    // A process that knows nothing of them any more: they must have passed.
    world.snapshot.object.status.smoke_probes = vec![running];
    world.snapshot.probes.clear();
    let rows = crate::release::plan(&world.snapshot, world.now()).status.smoke_probes;
    assert_eq!(rows.iter().map(|row| row.result).collect::<Vec<_>>(), [ProbeResult::Passed]);
}
