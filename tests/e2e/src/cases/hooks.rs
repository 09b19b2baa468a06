//! Jobs at the points of a release.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, HookPoint, HookResult, HookStatus, PhaseName};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{APP_IMAGE, Manifest, shop};
use crate::stage::{Stage, because, revision};

/// A hook whose Job ends at once, well or not.
pub fn hook(name: &str, good: bool) -> Value {
    let word = if good { "--help" } else { "--no-such-flag" };
    let container = json!({"name": "it", "image": APP_IMAGE, "imagePullPolicy": "Never", "args": [word]});
    json!({"name": name, "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}}}})
}

fn hooked(version: &str) -> Manifest {
    let hooks = json!({
        "beforeBringUp": [hook("migrate", true)],
        "beforeSwitch": [hook("check", true)],
        "afterSwitch": [hook("purge", true)],
        "afterDrain": [hook("clean", true)],
        "onRollback": [hook("tell", true)],
    });
    shop(version).spec("/hooks", hooks)
}

async fn jobs(stage: &Stage) -> Result<Vec<Job>> {
    Ok(stage.api::<Job>().list(&ListParams::default()).await?.items)
}

fn row<'a>(status: &'a BlueGreenDeploymentStatus, point: HookPoint, revision: &str) -> Option<&'a HookStatus> {
    status.hooks.iter().find(|row| row.point == point && row.revision == revision)
}

fn succeeded(status: &BlueGreenDeploymentStatus, point: HookPoint, revision: &str) -> bool {
    row(status, point, revision).is_some_and(|row| row.result == HookResult::Succeeded)
}

fn told<'a>(job: &'a Job, name: &str) -> Option<&'a str> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.env.as_ref()?.iter().find(|variable| variable.name == name)?.value.as_deref()
}

/// One at each point of a release, in order, each once and told what it is about; none of the way back but its own.
pub async fn hooks_in_order(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&hooked("v2")).await?;
    let second = revision(&stage.complete(90).await?)?;
    let over = |status: &BlueGreenDeploymentStatus| succeeded(status, HookPoint::AfterDrain, &first);
    let status = stage.until("the last of them has run", 60, over).await?;
    for point in [HookPoint::BeforeBringUp, HookPoint::BeforeSwitch, HookPoint::AfterSwitch] {
        claim!(succeeded(&status, point, &second), "{point:?}: {:?}", status.hooks);
    }
    let ended = |point| row(&status, point, &second).and_then(|row| row.finished_at);
    let set = stage.set(&second).await?;
    let born = set.metadata.creation_timestamp.map(|time| time.0);
    // Creation times have no fractions.
    let before = |point, at: Option<jiff::Timestamp>| ended(point).zip(at).is_some_and(|(ended, at)| ended.as_second() <= at.as_second());
    claim!(before(HookPoint::BeforeBringUp, born), "pods were created at {born:?}, and the hook ended at {:?}", ended(HookPoint::BeforeBringUp));
    let switch = status.switch.clone().ok_or_else(|| Failure::Claim("nothing was moved".into()))?;
    claim!(before(HookPoint::BeforeSwitch, Some(switch.started_at)), "the switch began at {}: {:?}", switch.started_at, status.hooks);
    let purge = row(&status, HookPoint::AfterSwitch, &second).map(|row| row.started_at);
    claim!(purge >= switch.converged_at, "it began at {purge:?}, and the switch converged at {:?}", switch.converged_at);
    claim!(row(&status, HookPoint::AfterSwitch, &first).is_none(), "a hook ran for a move from before it was asked for: {:?}", status.hooks);
    let all = jobs(&stage).await?;
    claim!(all.len() == 4, "{:?}", all.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
    let check = all.iter().find(|job| job.labels().get("bluegreen.dev/hook").is_some_and(|point| point == "beforeSwitch"));
    let check = check.ok_or_else(|| Failure::Claim("no Job of beforeSwitch".into()))?;
    let wanted = [("REVISION", second.as_str()), ("FROM", &first), ("COLOR", "green"), ("IMAGES", APP_IMAGE), ("NAME", "shop"), ("RELEASE", "2")];
    for (name, value) in wanted {
        let found = told(check, &format!("BLUEGREEN_{name}"));
        claim!(found == Some(value), "BLUEGREEN_{name} is {found:?} and not {value}");
    }
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 40).await?;
    let status = stage.until("the hook of the way back", 60, |status| succeeded(status, HookPoint::OnRollback, &first)).await?;
    claim!(row(&status, HookPoint::BeforeSwitch, &first).is_none(), "the way back had hooks before it: {:?}", status.hooks);
    users.only("v1", 15).await?;
    users.stop_clean().map(drop)
}

/// A hook that fails before the switch leaves users where they are, says why, and runs once more when a person asks for that. What the API
/// server would refuse is told before a pod starts.
pub async fn hook_fails(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let with = |hook: Value| shop("v2").spec("/hooks/beforeSwitch", json!([hook]));
    let mut wrong = hook("check", true);
    if let Some(pod) = wrong.pointer_mut("/jobTemplate/spec/template/spec") {
        *pod = json!({"contaners": []});
    }
    stage.apply(&with(wrong)).await?;
    let said = stage.stalled("HookRefused", 30).await?;
    claim!(said.starts_with("spec.hooks.beforeSwitch[0].jobTemplate: ") && said.contains("contaners"), "it says {said:?}");
    claim!(stage.sets().await?.len() == 1 && jobs(&stage).await?.is_empty(), "something was started");
    stage.apply(&with(hook("check", false))).await?;
    let failed = |status: &BlueGreenDeploymentStatus| {
        status.phase == Some(PhaseName::Rejected) && because(status, ConditionType::Stalled, ConditionStatus::True, "HookFailed")
    };
    let status = stage.until("it is rejected", 90, failed).await?;
    let second = revision(&status)?;
    let said = status.rejected.map(|rejected| rejected.message).unwrap_or_default();
    claim!(said.contains("hook \"check\" of beforeSwitch failed: BackoffLimitExceeded") && said.contains("bluegreen.dev/retry"), "it says {said:?}");
    let job = row(&stage.until("a row", 1, |_| true).await?, HookPoint::BeforeSwitch, &second).map(|row| row.job.clone()).unwrap_or_default();
    stage.said("HookFailed", &format!("kubectl logs -n {} job/{job}", stage.namespace), 10).await?;
    claim!(stage.selected("shop").await? == first && stage.pods(&second).await?.len() == 2, "traffic was touched, or its pods are gone");
    stage.apply(&with(hook("check", true))).await?;
    stage.command("bluegreen.dev/retry", &second).await?;
    stage.complete(90).await?;
    stage.serves(&second, 10).await?;
    let status = stage.shop().await?.status.unwrap_or_default();
    let runs: Vec<(i32, HookResult)> = status.hooks.iter().map(|row| (row.run, row.result)).collect();
    claim!(runs.contains(&(1, HookResult::Succeeded)), "{runs:?}");
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// A hook that does not come to its end by the deadline of its Job fails, says so and what to do, and users stay where they are.
pub async fn hook_runs_out_of_time(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    // A server never ends by itself.
    let mut endless = hook("migrate", true);
    if let Some(spec) = endless.pointer_mut("/jobTemplate/spec") {
        let container = json!({"name": "it", "image": APP_IMAGE, "imagePullPolicy": "Never"});
        *spec = json!({"activeDeadlineSeconds": 4, "template": {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}});
    }
    stage.apply(&shop("v2").spec("/hooks/beforeBringUp", json!([endless]))).await?;
    let status = stage.until("it is rejected", 60, |status| status.phase == Some(PhaseName::Rejected)).await?;
    let rejected = status.rejected.ok_or_else(|| Failure::Claim("nothing is rejected".into()))?;
    let said = &rejected.message;
    claim!(said.contains("hook \"migrate\" of beforeBringUp failed: DeadlineExceeded") && said.contains("bluegreen.dev/retry"), "it says {said:?}");
    claim!(stage.selected("shop").await? == first && stage.pods(&rejected.revision).await?.is_empty(), "traffic was touched, or pods were started");
    users.only("v1", 15).await?;
    users.stop_clean().map(drop)
}
