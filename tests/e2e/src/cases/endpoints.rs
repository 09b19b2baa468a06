//! Kubernetes' controllers that hear late of a move.

use std::sync::Arc;

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName};
use cluster::{Component, Signal};
use serde_json::json;

use crate::claim;
use crate::failure::Result;
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, revision};
use crate::wait::{stays, when};

/// While the Service's endpoints are still the old pods, users are sent there whatever its selector says: the old pods stay, although their
/// time is long over, and nobody notices.
pub async fn endpoints_late(stage: Arc<Stage>) -> Result {
    let drain = json!({"source": "Timer", "fallbackSeconds": 2, "minimumSeconds": 0, "deadlineSeconds": 6});
    let version = |version: &str| -> Manifest { shop(version).spec("/drain", drain.clone()).spec("/traffic/convergenceTimeoutSeconds", 3) };
    let first = stage.installed(&version("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&version("v2").spec("/promotion/mode", "Manual")).await?;
    let status = stage.until("v2 waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    let cluster = &stage.world.cluster;
    tokio::task::block_in_place(|| cluster.stop(Component::KubeControllerManager, 1, Signal::SIGSTOP))?;
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.serves(&second, 20).await?;
    let kept = |status: &_| because(status, ConditionType::Drained, ConditionStatus::False, "StillEndpoint");
    stage.until("the old pods stay as endpoints", 30, kept).await?;
    stays("they stay beyond every deadline", 6, || async {
        let desired = stage.desired(&first).await?;
        Ok(when(desired == 2, || format!("{desired} pods wanted")))
    })
    .await?;
    users.only("v1", 5).await?;
    tokio::task::block_in_place(|| cluster.start(Component::KubeControllerManager, 1))?;
    stage.gone(&first, 60).await?;
    stage.complete(60).await?;
    users.only("v2", 15).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v1") && summary.versions.contains_key("v2"), "users saw {:?}", summary.versions.keys());
    Ok(())
}
