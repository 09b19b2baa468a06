//! Old pods that leave one by one (`drain.scaleDown: PerPod`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};
use crate::wait::{stays, wait_for, when};

fn alone(version: &str) -> Manifest {
    shop(version).spec("/drain/scaleDown", "PerPod")
}

/// Pods of a revision that have left their ReplicaSet and are not ending.
async fn loose(stage: &Stage, revision: &str) -> Result<Vec<Pod>> {
    stage.pods(&format!("left.{revision}")).await
}

/// Waits until no pod of a revision that has left its ReplicaSet is there any more.
async fn all_left(stage: &Stage, revision: &str) -> Result {
    wait_for("the last one has left", 40, || async {
        let left = loose(stage, revision).await?.len();
        Ok(when(left == 0, || format!("{left} are left")))
    })
    .await
}

/// Idle old pods go, and the one that somebody holds stays alone until he lets go; back in between, new pods serve beside it.
pub async fn drain_one_by_one(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&alone("v1")).await?;
    let before: Vec<String> = stage.pods(&first).await?.iter().map(ResourceExt::name_any).collect();
    claim!(before.len() > 1, "one pod can't leave before another");
    let users = stage.users().await?;
    let echo = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    echo.open()?;
    stage.apply(&alone("v2")).await?;
    wait_for("the idle pods have left", 60, || async {
        let (with, without) = (stage.pods(&first).await?.len(), loose(&stage, &first).await?.len());
        Ok(when((with, without) == (0, 1), || format!("{with} pods with their set, {without} without")))
    })
    .await?;
    let held = loose(&stage, &first).await?.first().map(ResourceExt::name_any).ok_or_else(|| Failure::Claim("no pod is left".into()))?;
    claim!(before.contains(&held), "{held} is none of the pods that served: {before:?}");
    let status = stage.until("status tells of one pod", 20, |status| status.draining.first().is_some_and(|row| row.pods == 1)).await?;
    let second = revision(&status)?;
    stays("nobody replaces those that left, and the held one stays", 2, || async {
        let (with, without) = (stage.pods(&first).await?.len(), loose(&stage, &first).await?.len());
        Ok(when((with, without) == (0, 1), || format!("{with} pods with a set, {without} without")))
    })
    .await?;
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 60).await?;
    let names: Vec<String> = stage.pods(&first).await?.iter().map(ResourceExt::name_any).collect();
    claim!(!names.contains(&held) && names.len() == before.len(), "the old pod serves again beside {names:?}");
    claim!(echo.failures().is_empty(), "the held connection was cut: {:?}", echo.failures().first());
    echo.stop_clean()?;
    all_left(&stage, &first).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed; {held} left last", summary.ok));
    Ok(())
}

/// While the new version bakes none of the old pods leaves; after that they do, each when it has drained.
pub async fn one_by_one_after_the_bake(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&alone("v1")).await?;
    let whole = stage.pods(&first).await?.len();
    claim!(whole > 1, "one pod can't leave before another");
    let users = stage.users().await?;
    let echo = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    echo.open()?;
    stage.apply(&alone("v2").spec("/bake/seconds", 8)).await?;
    wait_for("the idle pods have left", 90, || async {
        let (with, without) = (stage.pods(&first).await?.len(), loose(&stage, &first).await?.len());
        // Read after the pods: what had not baked by now had not when they were looked at.
        let switch = stage.shop().await?.status.and_then(|status| status.switch);
        let baked = switch.as_ref().is_some_and(|switch| switch.to != first && switch.baked_at.is_some());
        claim!(baked || (with, without) == (whole, 0), "before the end of the bake {with} pods are with their set, {without} without: {switch:?}");
        Ok(when((with, without) == (0, 1), || format!("{with} pods with their set, {without} without")))
    })
    .await?;
    let switch = stage.shop().await?.status.and_then(|status| status.switch).ok_or_else(|| Failure::Claim("status.switch is empty".into()))?;
    let (Some(moved), Some(baked)) = (switch.completed_at, switch.baked_at) else {
        return Err(Failure::Claim(format!("status.switch is {switch:?}")));
    };
    let took = baked.duration_since(moved).as_secs_f64();
    claim!(took >= 8.0, "it baked for {took:.1} s");
    echo.stop_clean()?;
    all_left(&stage, &first).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("baked for {took:.1} s; {} requests, 0 failed", summary.ok));
    Ok(())
}
