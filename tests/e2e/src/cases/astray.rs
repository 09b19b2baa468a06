//! Situations in which other operators sent users to nobody, or to pods that nobody had tested. Here users must notice nothing of them.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, PhaseName};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::stage::{Stage, revision};
use crate::wait::{stays, wait_for, when};

/// Somebody takes the revision out of the Service's selector, which then selects every pod of the app; it comes back.
async fn loses_its_revision(stage: &Stage, serving: &str) -> Result {
    let change = json!({"spec": {"selector": {"bluegreen.dev/revision": null}}});
    let somebody = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
    stage.api::<Service>().patch("shop", &somebody, &Patch::Merge(&change)).await?;
    stage.serves(serving, 10).await
}

/// For some seconds a revision keeps the traffic and all its pods.
async fn keeps_all(stage: &Stage, serving: &str) -> Result {
    stays(&format!("revision {serving} keeps the traffic and its pods"), 4, || async {
        let (selected, desired) = (stage.selected("shop").await?, stage.desired(serving).await?);
        Ok(when(selected == serving && desired == 2, || format!("the Service selects {selected}; {desired} pods wanted")))
    })
    .await
}

/// Whether every pod of a revision is ready, or none is.
async fn all_ready(stage: &Stage, of: &str, ready: bool) -> Result {
    for pod in stage.pods(of).await? {
        stage.tell(&pod, &format!("/fail?what=ready&on={}", !ready))?;
    }
    let wanted = if ready { 2 } else { 0 };
    wait_for(format!("{wanted} pods of {of} are ready"), 30, || async {
        let now = stage.set(of).await?.status.and_then(|status| status.ready_replicas).unwrap_or(0);
        Ok(when(now == wanted, || format!("{now} are")))
    })
    .await
}

fn rejected(status: &BlueGreenDeploymentStatus, reason: &str) -> bool {
    status.rejected.as_ref().is_some_and(|rejected| rejected.reason == reason && Some(&rejected.revision) == status.revision.as_ref())
}

/// The selector loses its revision while the new pods are not ready yet: the old set is not mistaken for a stable one that can go.
pub async fn selector_lost_in_bring_up(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "8")).await?;
    stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    loses_its_revision(&stage, &first).await?;
    keeps_all(&stage, &first).await?;
    stage.complete(90).await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// The selector loses its revision while the new one waits for a person: that is no promotion.
pub async fn selector_lost_while_waiting(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").spec("/promotion/mode", "Manual")).await?;
    let status = stage.until("it waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    loses_its_revision(&stage, &first).await?;
    keeps_all(&stage, &first).await?;
    stage.until("it still waits", 10, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    stage.command("bluegreen.dev/promote", &revision(&status)?).await?;
    stage.complete(60).await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// The selector loses its revision while the probes of the new one still run: they run to their end, and decide.
pub async fn selector_lost_in_smoke(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").spec("/smokeProbes/0/successThreshold", 12)).await?;
    stage.until("the probes run", 60, |status| status.phase == Some(PhaseName::Smoke)).await?;
    loses_its_revision(&stage, &first).await?;
    keeps_all(&stage, &first).await?;
    let status = stage.complete(90).await?;
    let attempts: Vec<i32> = status.smoke_probes.iter().map(|row| row.attempts).collect();
    claim!(attempts.iter().all(|attempts| *attempts >= 12), "switched after {attempts:?} attempts");
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// Abort after the switch while no old pod is ready: traffic stays where there are ready pods until the old ones are back.
pub async fn abort_to_unready_pods(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    stage.apply(&shop("v2")).await?;
    let status = stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    let second = revision(&status)?;
    all_ready(&stage, &first, false).await?;
    stage.command("bluegreen.dev/abort", &second).await?;
    keeps_all(&stage, &second).await?;
    all_ready(&stage, &first, true).await?;
    stage.serves(&first, 30).await?;
    stage.gone(&second, 60).await?;
    users.only("v1", 15).await?;
    users.stop_clean()?;
    held.stop_clean().map(drop)
}

/// Abort after the switch while one of the new pods is not ready: the set that serves is not scaled down before traffic has left it.
pub async fn abort_with_an_unready_pod(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&shop("v2")).await?;
    let status = stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    let second = revision(&status)?;
    let pods = stage.pods(&second).await?;
    let pod = pods.first().ok_or_else(|| Failure::Claim("no new pod".into()))?;
    stage.tell(pod, "/fail?what=ready&on=true")?;
    stage.until("one is missing", 30, |status| status.ready_desired == "1/2").await?;
    let users = stage.users().await?;
    stage.command("bluegreen.dev/abort", &second).await?;
    stage.serves(&first, 20).await?;
    stage.gone(&second, 60).await?;
    users.only("v1", 15).await?;
    users.stop_clean()?;
    held.stop_clean().map(drop)
}

/// What failed once is tested anew: a release right after a failed one passes none of its probes on the credit of another.
pub async fn tested_again_after_a_failure(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    for version in ["v2", "v3"] {
        stage.apply(&shop(version).env("APP_FAIL", "home")).await?;
        stage.until("it is rejected", 60, |status| rejected(status, "SmokeFailed")).await?;
        claim!(stage.selected("shop").await? == first, "{version} was let through");
    }
    stage.apply(&shop("v4")).await?;
    stage.complete(60).await?;
    users.only("v4", 15).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.keys().eq(["v1", "v4"]), "users saw {:?}", summary.versions.keys());
    Ok(())
}
