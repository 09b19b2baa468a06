//! Drain by a number that the pods tell of themselves.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, DrainSource, HookPoint, HookResult, PhaseName};
use serde_json::{Value, json};

use super::hooks::hook;
use super::plugin::says;
use crate::claim;
use crate::failure::Result;
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, revision};
use crate::wait::{stays, when};

fn by_metric(version: &str, metric: Value) -> Manifest {
    shop(version).spec("/drain/source", "Metric").spec("/drain/metric", metric)
}

fn sessions(version: &str) -> Manifest {
    by_metric(version, json!({"port": "admin", "series": "app_sessions{version=\"v1\"}", "periodSeconds": 1}))
}

/// Tells each pod of a revision how many sessions it has.
async fn have(stage: &Stage, revision: &str, open: u32) -> Result {
    for pod in stage.pods(revision).await? {
        stage.tell(&pod, &format!("/sessions?open={open}"))?;
    }
    Ok(())
}

fn waits(status: &BlueGreenDeploymentStatus, reason: &str, number: Option<&str>) -> bool {
    let row = status.draining.first();
    because(status, ConditionType::Drained, ConditionStatus::False, reason)
        && row.is_some_and(|row| row.source == DrainSource::Metric && row.metric.as_deref() == number)
}

/// Old pods with sessions stay, though nobody is connected to them, and leave when the last session is over. What can't be read is not zero.
pub async fn drain_by_metric(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&sessions("v1")).await?;
    have(&stage, &first, 2).await?;
    let users = stage.users().await?;
    stage.apply(&sessions("v2")).await?;
    let status = stage.until("v1 has sessions", 60, |status| waits(status, "MetricTooHigh", Some("4"))).await?;
    let second = revision(&status)?;
    let kept = async || Ok(when(stage.desired(&first).await? == 2, || "they went".into()));
    stays("they stay, with nobody connected", 6, kept).await?;
    says(&stage, &["status", "shop"], "the metric comes to 4")?;
    let pods = stage.pods(&first).await?;
    if let Some(pod) = pods.first() {
        stage.tell(pod, "/sessions?open=0")?;
    }
    stage
        .until("one of them has none", 20, |status| {
            waits(status, "MetricTooHigh", Some("2")) && status.draining.iter().all(|row| row.drained_pods == 1)
        })
        .await?;
    // Another page is asked for, which is none of numbers; and then the right one again.
    stage.patch(json!({"spec": {"drain": {"metric": {"path": "/drain"}}}})).await?;
    let status = stage.until("it can't be read", 20, |status| waits(status, "MetricUnreadable", None)).await?;
    let why = status.draining.first().and_then(|row| row.message.clone()).unwrap_or_default();
    claim!(why.ends_with("GET /drain on port 8081: the answer has no such series, which does not mean zero; let the application show a 0"), "{why}");
    have(&stage, &first, 0).await?;
    stays("unknown is not zero", 4, kept).await?;
    stage.patch(json!({"spec": {"drain": {"metric": {"path": "/metrics"}}}})).await?;
    stage.gone(&first, 30).await?;
    stage.complete(30).await?;
    users.only("v2", 15).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));

    // Each leaves with its own number, read from JSON.
    let json = |version: &str| by_metric(version, json!({"port": "admin", "path": "/drain", "jsonPointer": "/sessions", "periodSeconds": 1}));
    have(&stage, &second, 1).await?;
    if let Some(pod) = stage.pods(&second).await?.first() {
        stage.tell(pod, "/sessions?open=0")?;
    }
    stage.apply(&json("v3").spec("/drain/scaleDown", "PerPod")).await?;
    stage
        .until("the other one has left", 60, |status| status.draining.first().is_some_and(|row| row.pods == 1 && row.metric.as_deref() == Some("1")))
        .await?;
    for pod in stage.pods(&format!("left.{second}")).await? {
        stage.tell(&pod, "/sessions?open=0")?;
    }
    stage.complete(60).await.map(drop)
}

/// Pods that no Service addresses: their jobs in hand decide, and the next release tells the old ones first.
pub async fn workers_drain_by_metric(stage: Arc<Stage>) -> Result {
    let workers = |version: &str| {
        let metric = json!({"port": "admin", "path": "/drain", "jsonPointer": "/sessions", "periodSeconds": 1});
        by_metric(version, metric).told().spec("/traffic", json!({"services": []}))
    };
    stage.apply(&workers("v1")).await?;
    let first = revision(&stage.complete(60).await?)?;
    have(&stage, &first, 3).await?;
    let old = stage.pods(&first).await?;
    let hooks = json!({"beforeSwitch": [hook("check", true)], "afterDrain": [hook("clean", true)]});
    stage.apply(&workers("v2").spec("/promotion/mode", "Manual").spec("/hooks", hooks)).await?;
    let status = stage.until("v2 waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    claim!(stage.pods(&second).await?.len() == 2 && stage.pods(&first).await?.len() == 2, "both are not at full size");
    stage.command("bluegreen.dev/promote", &second).await?;
    let status = stage.until("the old workers have jobs", 60, |status| waits(status, "MetricTooHigh", Some("6"))).await?;
    claim!(status.active.as_ref().is_some_and(|active| active.revision == second), "v2 is not the active one");
    stays("they stay while they work", 5, || async { Ok(when(stage.desired(&first).await? == 2, || "they went".into())) }).await?;
    have(&stage, &first, 0).await?;
    stage.gone(&first, 30).await?;
    stage.complete(30).await?;
    let ran = |status: &BlueGreenDeploymentStatus, point| status.hooks.iter().any(|row| row.point == point && row.result == HookResult::Succeeded);
    let both = |status: &BlueGreenDeploymentStatus| ran(status, HookPoint::BeforeSwitch) && ran(status, HookPoint::AfterDrain);
    stage.until("both hooks have run", 60, both).await?;
    claim!(old.len() == 2, "there were {} old workers", old.len());
    Ok(())
}
