//! Releases that do not go well: users must not notice, and status must say why.

use std::sync::Arc;

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName};
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::stage::{Stage, because, revision};
use crate::wait::{stays, wait_for, when};

/// A new revision that loses its readiness before the switch gets no traffic, also when it was promoted; it goes on when ready.
pub async fn unready_before_switch(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let manual = shop("v2").spec("/promotion/mode", "Manual");
    stage.apply(&manual).await?;
    let status = stage.until("it waits for a person", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    let pods = stage.pods(&second).await?;
    for pod in &pods {
        stage.tell(pod, "/fail?what=ready&on=true")?;
    }
    wait_for("the new pods are not ready", 30, || async {
        let ready = stage.set(&second).await?.status.and_then(|status| status.ready_replicas).unwrap_or(0);
        Ok(when(ready == 0, || format!("{ready} ready")))
    })
    .await?;
    stage.command("bluegreen.dev/promote", &second).await?;
    stays("the old revision keeps the traffic", 4, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == first, || format!("the Service selects {selected}")))
    })
    .await?;
    for pod in &pods {
        stage.tell(pod, "/fail?what=ready&on=false")?;
    }
    stage.complete(60).await?;
    users.more(20).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v2"), "the promotion was lost");
    Ok(())
}

/// A new revision that loses all ready pods after the switch, while the old one is still whole: traffic goes back by itself.
pub async fn lost_all_ready(stage: Arc<Stage>) -> Result {
    // Right after the last patch, long before the move counts as done.
    let slow = |version: &str| shop(version).spec("/traffic/quietSeconds", 20);
    let first = stage.installed(&slow("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&slow("v2")).await?;
    let status = stage.until("the traffic has just moved", 60, |status| status.phase == Some(PhaseName::Converge)).await?;
    let second = revision(&status)?;
    for pod in stage.pods(&second).await? {
        stage.tell(&pod, "/fail?what=ready&on=true")?;
    }
    let broken = tokio::time::Instant::now();
    stage.serves(&first, 30).await?;
    stage.notes.say(format!("traffic back {:.1} s after readiness was lost (probe: 3 failures, 1 s apart)", broken.elapsed().as_secs_f64()));
    let message = stage.stalled("LostAllReadyPods", 10).await?;
    let expected = format!("revision {second} lost its last ready pod after the switch; traffic went back to {first}");
    claim!(message == expected, "the message is {message:?}");
    // Nodes follow the selector with a delay, in which pods that are no longer ready still answer.
    let users = stage.users().await?;
    users.only("v1", 15).await?;
    users.stop()?;
    let summary = stage.users().await?.stop_clean()?;
    claim!(summary.versions.keys().eq(["v1"]), "users see {:?}", summary.versions);
    held.stop_clean()?;
    Ok(())
}

/// One of two new pods that loses its readiness after the switch is an ordinary failure: users go to the other one.
pub async fn one_unready_after_switch(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&shop("v2")).await?;
    let status = stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    let second = revision(&status)?;
    let users = stage.users().await?;
    let pods = stage.pods(&second).await?;
    let pod = pods.first().ok_or_else(|| Failure::Claim("no new pod".into()))?;
    stage.tell(pod, "/fail?what=ready&on=true")?;
    stage.until("one is missing", 30, |status| status.ready_desired == "1/2").await?;
    stays("the new revision keeps the traffic", 3, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == second, || format!("the Service selects {selected}")))
    })
    .await?;
    users.stop_clean()?;
    held.stop_clean()?;
    Ok(())
}

/// A revision that does not become available in time is reported, with its pod's trouble, and goes on when the cause is gone.
pub async fn progress_deadline(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "18").spec("/progressDeadlineSeconds", 10)).await?;
    let message = stage.stalled("ProgressDeadlineExceeded", 40).await?;
    claim!(message.contains("has not become available in 10 s: 0 of 2 pods are available"), "the message is {message:?}");
    let status = stage.complete(60).await?;
    claim!(because(&status, ConditionType::Stalled, ConditionStatus::False, "Progressing"), "it is still stalled");
    users.stop_clean()?;
    Ok(())
}

/// Everything but `spec.replicas` rests while paused, and goes on afterwards.
pub async fn paused(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v1").spec("/paused", true)).await?;
    stage.apply(&shop("v2").spec("/paused", true)).await?;
    let status = stage.until("the phase is Paused", 20, |status| status.phase == Some(PhaseName::Paused)).await?;
    let second = revision(&status)?;
    stays("no new pods start", 3, || async {
        let sets = stage.sets().await?;
        let running = sets.iter().filter(|set| set.spec.replicas != Some(0)).count();
        Ok(when(running == 1, || format!("{running} sets have pods")))
    })
    .await?;
    // Somebody else's change of the selector is only reported.
    stage.apply(&shop("v1").spec("/paused", true)).await?;
    let shop_service: kube::Api<k8s_openapi::api::core::v1::Service> = stage.api();
    let change = json!({"spec": {"selector": {"app": "shop", "bluegreen.dev/revision": "nowhere"}}});
    let users_so_far = users.stop_clean()?;
    claim!(users_so_far.ok > 0, "no users");
    shop_service.patch("shop", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&change)).await?;
    stage.stalled("SelectorChanged", 20).await?;
    stays("nothing is put back while paused", 2, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == "nowhere", || format!("the Service selects {selected}")))
    })
    .await?;
    // It is put back when the pause ends; from then on users are there until the release is complete.
    stage.apply(&shop("v1").spec("/paused", false)).await?;
    stage.serves(&first, 20).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").spec("/paused", true)).await?;
    stage.until("the phase is Paused again", 20, |status| status.phase == Some(PhaseName::Paused)).await?;
    stage.apply(&shop("v2").spec("/paused", false)).await?;
    let status = stage.complete(60).await?;
    claim!(revision(&status)? == second && second != first, "the release did not go on");
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// Only so many earlier revisions are kept.
pub async fn history_limit(stage: Arc<Stage>) -> Result {
    let quick = |version: &str| shop(version).spec("/replicas", 1).spec("/revisionHistoryLimit", 1).spec("/traffic/quietSeconds", 1);
    stage.installed(&quick("v1")).await?;
    let mut revisions = vec![];
    for version in ["v2", "v3"] {
        stage.apply(&quick(version)).await?;
        revisions.push(revision(&stage.complete(60).await?)?);
    }
    wait_for("two ReplicaSets are left", 20, || async {
        let mut left: Vec<String> = stage.sets().await?.into_iter().filter_map(|set| set.metadata.name).collect();
        left.sort();
        let mut wanted: Vec<String> = revisions.iter().map(|revision| format!("shop-{revision}")).collect();
        wanted.sort();
        Ok(when(left == wanted, || format!("{left:?}")))
    })
    .await
}
