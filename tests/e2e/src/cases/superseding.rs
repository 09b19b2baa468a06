//! A template that changes while a release is under way.

use std::sync::Arc;

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName};
use kube::ResourceExt;

use crate::claim;
use crate::failure::Result;
use crate::manifest::shop;
use crate::stage::{Stage, because, revision};
use crate::wait::{stays, when};

/// Names of a revision's pods.
async fn names(stage: &Stage, revision: &str) -> Result<Vec<String>> {
    Ok(stage.pods(revision).await?.iter().map(ResourceExt::name_any).collect())
}

/// A newer template takes the place of a release that is under way, whether that is brought up or waits for a person; those in
/// between never serve.
pub async fn supersede_midway(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "60")).await?;
    let status = stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let second = revision(&status)?;
    stage.apply(&shop("v3").spec("/promotion/mode", "Manual")).await?;
    let status = stage.until("v3 waits for a person", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let third = revision(&status)?;
    stage.gone(&second, 10).await?;
    stage.apply(&shop("v4")).await?;
    let fourth = revision(&stage.complete(90).await?)?;
    claim!(stage.selected("shop").await? == fourth && fourth != third && third != second, "the Service selects something else");
    stage.gone(&third, 10).await?;
    users.only("v4", 15).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.keys().eq(["v1", "v4"]), "users saw {:?}", summary.versions.keys());
    Ok(())
}

/// Back to the template that serves: the release is forgotten, and no new pod starts.
pub async fn revert_to_running_set(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let before = names(&stage, &first).await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "60")).await?;
    let second = revision(&stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?)?;
    stage.apply(&shop("v1")).await?;
    let status = stage.complete(30).await?;
    claim!(revision(&status)? == first && status.rejected.is_none(), "status is about {:?}", status.revision);
    stage.gone(&second, 15).await?;
    claim!(names(&stage, &first).await? == before, "pods were replaced");
    users.stop_clean()?;
    Ok(())
}

/// Back to the template whose set still drains: its pods take the traffic again at once, and whoever held on notices nothing.
pub async fn revert_after_switch(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let before = names(&stage, &first).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    stage.apply(&shop("v2")).await?;
    let second = revision(&stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?)?;
    users.only("v2", 15).await?;
    let begun = tokio::time::Instant::now();
    stage.apply(&shop("v1")).await?;
    stage.serves(&first, 10).await?;
    stage.notes.say(format!("traffic back after {:.1} s", begun.elapsed().as_secs_f64()));
    let status = stage.complete(60).await?;
    claim!(revision(&status)? == first && status.rejected.is_none(), "status is about {:?}", status.revision);
    claim!(names(&stage, &first).await? == before, "pods were replaced");
    claim!(stage.desired(&second).await? == 0, "the set that was left is still there");
    users.only("v1", 15).await?;
    users.stop_clean()?;
    held.stop_clean()?;
    Ok(())
}

/// Two sets may drain at the same time; a third release waits, and says for what, until one of them has ended.
pub async fn third_release_waits(stage: Arc<Stage>) -> Result {
    let one = |version: &str| shop(version).spec("/replicas", 1);
    let first = stage.installed(&one("v1")).await?;
    let users = stage.users().await?;
    let held_first = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held_first.open()?;
    stage.apply(&one("v2")).await?;
    let second = revision(&stage.until("v1 drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?)?;
    users.only("v2", 15).await?;
    let held_second = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    let open = held_second.open()?;
    claim!(open.version.as_deref() == Some("v2"), "not on the second version: {open:?}");
    stage.apply(&one("v3")).await?;
    stage
        .until("both of them drain", 60, |status| {
            let open: Vec<_> = status.draining.iter().map(|set| set.open_connections).collect();
            status.phase == Some(PhaseName::Drain) && open == [Some(1), Some(1)] && status.open_connections == Some(2)
        })
        .await?;
    stage.apply(&one("v4")).await?;
    let expected = "2 earlier revisions still drain (spec.drain.maxSets is 2); the release goes on when one of them has ended";
    stage
        .until("the third release waits", 20, |status| {
            let reconciling = crate::stage::condition(status, ConditionType::Reconciling);
            because(status, ConditionType::Reconciling, ConditionStatus::True, "BringUp")
                && reconciling.is_some_and(|condition| condition.message.ends_with(expected))
        })
        .await?;
    stays("the third release starts no pods, and nothing that is held goes", 2, || async {
        let mut running: Vec<String> = stage.sets().await?.iter().filter(|set| set.spec.replicas != Some(0)).map(ResourceExt::name_any).collect();
        running.retain(|name| *name != format!("shop-{first}") && *name != format!("shop-{second}"));
        Ok(when(running.len() == 1, || format!("{running:?} have pods beside those that drain")))
    })
    .await?;
    held_first.stop_clean()?;
    stage.gone(&first, 20).await?;
    users.only("v4", 60).await?;
    claim!(stage.desired(&second).await? == 1, "the second set went with the first");
    held_second.stop_clean()?;
    stage.complete(40).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.keys().eq(["v1", "v2", "v3", "v4"]), "users saw {:?}", summary.versions.keys());
    Ok(())
}
