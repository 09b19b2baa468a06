//! Smoke probes that are Jobs.

use std::sync::Arc;

use bluegreen::api::{HookPoint, HookResult, HookStatus, PhaseName};
use serde_json::{Value, json};

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};

use super::hooks::hook;

/// That the shared cluster's operator may show the end of a Job's log, as a value of its chart.
pub const LOGS: &str = "jobLogs=true";

fn suite(good: bool) -> Value {
    json!({"name": "suite", "job": hook("suite", good).get("jobTemplate")})
}

fn tested(version: &str, good: bool) -> Manifest {
    shop(version).spec("/smokeProbes", json!([{"name": "home", "httpGet": {"path": "/", "port": "http"}}, suite(good)]))
}

/// A Job about the revision decides once its pods have passed the other probes. One that fails is told with the end of its log, and the traffic
/// stays; when it is mended, `retry` runs the new one.
pub async fn jobs_decide(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&tested("v1", true)).await?;
    let users = stage.users().await?;
    stage.apply(&tested("v2", false)).await?;
    let status = stage.until("it is given up", 90, |status| status.phase == Some(PhaseName::Rejected)).await?;
    let second = revision(&status)?;
    let Some(rejected) = status.rejected.clone() else { return Err(Failure::Claim("nothing says why".into())) };
    for part in ["smoke probe \"suite\" failed: BackoffLimitExceeded", "its log ends: ", "try '--help'", "kubectl logs -n ", "bluegreen.dev/retry="] {
        claim!(rejected.message.contains(part), "it says {:?} and not {part}", rejected.message);
    }
    claim!(rejected.reason == "SmokeFailed", "{rejected:?}");
    claim!(stage.selected("shop").await? == first && stage.pods(&second).await?.len() == 2, "traffic was touched, or its pods are gone");
    // A test that was changed is another one.
    stage.apply(&tested("v2", true)).await?;
    stage.command("bluegreen.dev/retry", &second).await?;
    let status = stage.complete(90).await?;
    stage.serves(&second, 10).await?;
    let runs: Vec<&HookStatus> = status.hooks.iter().filter(|row| row.point == HookPoint::SmokeProbes).collect();
    claim!(runs.iter().filter(|row| row.result == HookResult::Succeeded).count() == 1, "{runs:?}");
    let passed = runs.iter().find_map(|row| row.finished_at);
    let moved = status.switch.as_ref().map(|switch| switch.started_at);
    claim!(passed.zip(moved).is_some_and(|(passed, moved)| passed <= moved), "it ended at {passed:?}, and the switch began at {moved:?}");
    users.only("v2", 15).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed; rejected with: {}", summary.ok, rejected.message));
    Ok(())
}
