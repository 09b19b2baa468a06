//! What people say to a release: promote, abort, retry, roll back.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, PhaseName, keys};
use kube::ResourceExt;

use crate::claim;
use crate::failure::Result;
use crate::manifest::shop;
use crate::stage::{Stage, because, is, revision};
use crate::wait::{stays, wait_for, when};

/// Waits until a command's annotation is gone: it was carried out.
async fn done(stage: &Stage, key: &str) -> Result {
    wait_for(format!("{key} is carried out"), 20, || async {
        let left = stage.shop().await?.metadata.annotations.unwrap_or_default().remove(key);
        Ok(when(left.is_none(), || format!("it still says {left:?}")))
    })
    .await
}

fn rejected(status: &BlueGreenDeploymentStatus, reason: &str) -> bool {
    status.phase == Some(PhaseName::Rejected) && status.rejected.as_ref().is_some_and(|rejected| rejected.reason == reason)
}

/// With `promotion.mode: Manual` a tested revision waits for its own name; another name does nothing.
pub async fn manual_promote(stage: Arc<Stage>) -> Result {
    let manual = |version: &str| shop(version).spec("/promotion/mode", "Manual");
    stage.service("shop").await?;
    stage.apply(&manual("v1")).await?;
    // The first revision waits, too: nothing is served before somebody says so.
    let status = stage.until("the first revision waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let first = revision(&status)?;
    stage.command("bluegreen.dev/promote", &first).await?;
    stage.complete(60).await?;
    let users = stage.users().await?;
    stage.apply(&manual("v2")).await?;
    let status = stage.until("the second revision waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    stage.command("bluegreen.dev/promote", &first).await?;
    done(&stage, "bluegreen.dev/promote").await?;
    stays("the wrong name promotes nothing", 2, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == first, || selected))
    })
    .await?;
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.complete(60).await?;
    done(&stage, "bluegreen.dev/promote").await?;
    users.more(20).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v2"), "nobody saw the promoted version");
    Ok(())
}

/// Abort before the switch leaves traffic alone; retry tries the same revision again.
pub async fn abort_before_and_retry(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let second = shop("v2").spec("/promotion/mode", "Manual").spec("/onFailure/keepSeconds", 0);
    stage.apply(&second).await?;
    let status = stage.until("it waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    stage.command("bluegreen.dev/abort", &second).await?;
    let status = stage.until("it is rejected", 20, |status| rejected(status, "Aborted")).await?;
    claim!(because(&status, ConditionType::Stalled, ConditionStatus::True, "Aborted"), "Stalled does not say that it was aborted: {status:?}");
    done(&stage, "bluegreen.dev/abort").await?;
    stage.gone(&second, 20).await?;
    claim!(stage.selected("shop").await? == first, "traffic was touched");
    stage.command("bluegreen.dev/retry", &second).await?;
    stage.until("it waits again", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.complete(60).await?;
    stage.serves(&second, 1).await?;
    users.only("v2", 15).await?;
    users.stop_clean()?;
    Ok(())
}

/// Abort after the switch takes the traffic back to the old set, whose pods are still there.
pub async fn abort_after_switch(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    stage.apply(&shop("v2")).await?;
    let status = stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    let second = revision(&status)?;
    stage.command("bluegreen.dev/abort", &second).await?;
    stage.serves(&first, 20).await?;
    let status = stage.until("it is rejected", 20, |status| rejected(status, "Aborted")).await?;
    claim!(is(&status, ConditionType::Ready, ConditionStatus::False), "Ready although the spec's revision does not serve");
    stage.gone(&second, 60).await?;
    users.more(20).await?;
    users.stop_clean()?;
    held.stop_clean()?;
    Ok(())
}

/// Rollback to a revision whose pods are gone: they come up first, then the traffic moves; the spec's own template comes back with `retry`.
pub async fn rollback_cold(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2")).await?;
    let second = revision(&stage.complete(60).await?)?;
    claim!(stage.desired(&first).await? == 0, "the old set is still there");
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 40).await?;
    stage.until("it says that it was rolled back", 20, |status| rejected(status, "RolledBack")).await?;
    // Its pods are new ones, and had to pass like any others.
    let pods: Vec<String> = stage.pods(&first).await?.iter().filter_map(ResourceExt::uid).collect();
    let sets = stage.sets().await?;
    let proofs = sets.iter().filter(|set| set.labels().get(keys::REVISION) == Some(&first)).filter_map(|set| set.annotations().get(keys::PROOF));
    let passed: Vec<&String> = proofs.collect();
    claim!(pods.len() == 2 && pods.iter().all(|pod| passed.iter().any(|proof| proof.contains(pod))), "{pods:?} serve, and passed have {passed:?}");
    stage.gone(&second, 40).await?;
    stage.command("bluegreen.dev/retry", &second).await?;
    stage.serves(&second, 40).await?;
    stage.complete(60).await?;
    users.only("v2", 15).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v1") && summary.versions.contains_key("v2"), "users saw {:?}", summary.versions.keys());
    Ok(())
}
