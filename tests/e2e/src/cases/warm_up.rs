//! Requests that pods get before users come.

use std::sync::Arc;

use bluegreen::api::{PhaseName, ProbeResult};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};

/// From one to twenty a second within ten seconds.
const REQUESTS: u64 = 105;

fn warmed(version: &str) -> Manifest {
    shop(version).spec("/smokeProbes/0/warmUp", json!({"toPerSecond": 20, "seconds": 10}))
}

/// A number that the app of a pod counts.
pub fn counted(stage: &Stage, pod: &Pod, name: &str) -> Result<u64> {
    let metrics = stage.ask(pod, "/metrics")?;
    let number = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    number.ok_or_else(|| Failure::Claim(format!("the pod does not count {name}: {metrics}")))
}

/// Each pod of a new revision has had all of its requests, at a rising rate and told on the way, before the first user comes; a bad answer among them
/// is a failure of the probe.
pub async fn warm_up_before_the_switch(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&warmed("v2").spec("/promotion/mode", "Manual")).await?;
    let total = format!("of {REQUESTS} requests");
    stage
        .until("it tells how far it is", 60, |status| {
            status
                .smoke_probes
                .iter()
                .any(|row| row.result == ProbeResult::Running && row.message.starts_with("warming up: ") && row.message.ends_with(&total))
        })
        .await?;
    let status = stage.until("the probes have passed", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    claim!(stage.selected("shop").await? == first, "the traffic moved");
    let mut counts = vec![];
    for pod in stage.pods(&second).await? {
        // And two of the probe itself.
        let asked = counted(&stage, &pod, "app_requests_total")?;
        claim!((REQUESTS + 2..=REQUESTS + 4).contains(&asked), "a pod was asked {asked} times before users came");
        counts.push(asked);
    }
    claim!(counts.len() == 2, "there are {} pods", counts.len());
    stage.apply(&warmed("v2")).await?;
    stage.complete(60).await?;
    users.only("v2", 20).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{counts:?} requests to its pods before the first user; {} requests of users, 0 failed", summary.ok));
    stage.apply(&warmed("v3").env("APP_FAIL", "home")).await?;
    let message = stage.stalled("SmokeFailed", 60).await?;
    claim!(message.contains("failed 3 times: while it was warmed up, after 0 good answers: GET / on port 8080: answered 500"), "{message}");
    claim!(stage.selected("shop").await? == second, "the traffic moved");
    Ok(())
}
