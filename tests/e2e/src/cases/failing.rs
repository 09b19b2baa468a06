//! Releases that do not go well: users must not notice, and status must say why.

use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName, ProbeResult};
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::stage::{Stage, because, revision};
use crate::wait::{stays, wait_for, when};

/// A revision that fails its smoke probes never gets traffic; status names probe, pod and answer; its pods stay for a look.
pub async fn failed_smoke(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1").spec("/onFailure/keepSeconds", 8)).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_FAIL", "home").spec("/onFailure/keepSeconds", 8)).await?;
    let message = stage.stalled("SmokeFailed", 60).await?;
    let rejected_at = tokio::time::Instant::now();
    let status = stage.until("the phase is Rejected", 5, |status| status.phase == Some(PhaseName::Rejected)).await?;
    let second = revision(&status)?;
    let pods = stage.pods(&second).await?;
    let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    let named = names.iter().find(|name| message.contains(**name));
    claim!(named.is_some(), "the message names none of {names:?}: {message}");
    let expected = format!("smoke probe \"home\" on {} failed 3 times: ", named.copied().unwrap_or_default());
    claim!(message.starts_with(&expected) && message.contains("500"), "the message is {message:?}");
    claim!(because(&status, ConditionType::SmokeTested, ConditionStatus::False, "SmokeFailed"), "SmokeTested: {status:?}");
    claim!(because(&status, ConditionType::Ready, ConditionStatus::False, "SmokeFailed"), "Ready: {status:?}");
    let row = status.smoke_probes.first();
    claim!(row.is_some_and(|row| row.result == ProbeResult::Failed && row.name == "home" && row.attempts >= 3), "smokeProbes begin with {row:?}");
    claim!(stage.desired(&second).await? > 0, "the pods were not kept for a look");
    stage.gone(&second, 30).await?;
    stage.notes.say(format!("rejected pods went {:.1} s after the verdict, keepSeconds 8", rejected_at.elapsed().as_secs_f64()));
    claim!(rejected_at.elapsed() > Duration::from_secs(5), "the pods went too early");
    claim!(stage.selected("shop").await? == first, "the Service was touched");
    let summary = users.stop_clean()?;
    claim!(!summary.versions.contains_key("v2"), "users saw the rejected version");
    Ok(())
}

/// A newer template takes the place of a release that is under way, and the one in between never serves.
pub async fn supersede_midway(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "60")).await?;
    let status = stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let second = revision(&status)?;
    stage.apply(&shop("v3")).await?;
    let third = revision(&stage.complete(90).await?)?;
    claim!(stage.selected("shop").await? == third && third != second, "the Service selects something else");
    stage.gone(&second, 10).await?;
    users.more(20).await?;
    let summary = users.stop_clean()?;
    claim!(!summary.versions.contains_key("v2") && summary.versions.contains_key("v3"), "users saw {:?}", summary.versions.keys());
    Ok(())
}

/// Back to the template that serves: the release is forgotten, and no new pod starts.
pub async fn revert_to_running_set(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let names = |pods: Vec<k8s_openapi::api::core::v1::Pod>| pods.into_iter().filter_map(|pod| pod.metadata.name).collect::<Vec<_>>();
    let before = names(stage.pods(&first).await?);
    stage.apply(&shop("v2").env("APP_READY_AFTER", "60")).await?;
    let second = revision(&stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?)?;
    stage.apply(&shop("v1")).await?;
    let status = stage.complete(30).await?;
    claim!(revision(&status)? == first && status.rejected.is_none(), "status is about {:?}", status.revision);
    stage.gone(&second, 15).await?;
    claim!(names(stage.pods(&first).await?) == before, "pods were replaced");
    users.stop_clean()?;
    Ok(())
}

/// A new revision that loses its readiness before the switch gets no traffic; the deadline says so; it goes on when ready.
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
    let first = stage.installed(&shop("v1")).await?;
    // A held connection keeps the old set whole.
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&shop("v2")).await?;
    let status = stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    let second = revision(&status)?;
    for pod in stage.pods(&second).await? {
        stage.tell(&pod, "/fail?what=ready&on=true")?;
    }
    let broken = tokio::time::Instant::now();
    wait_for("the traffic is back", 30, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == first, || format!("the Service selects {selected}")))
    })
    .await?;
    stage.notes.say(format!("traffic back {:.1} s after readiness was lost (probe: 3 failures, 1 s apart)", broken.elapsed().as_secs_f64()));
    let message = stage.stalled("LostAllReadyPods", 10).await?;
    let expected = format!("revision {second} lost its last ready pod after the switch; traffic went back to {first}");
    claim!(message == expected, "the message is {message:?}");
    // Nodes follow the selector with a delay, in which pods that are no longer ready still answer.
    let users = stage.users().await?;
    users.only("v1", 15).await?;
    users.stop_clean()?;
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
    claim!(stage.selected("shop").await? == "nowhere", "the selector was put back while paused");
    stage.apply(&shop("v2").spec("/paused", false)).await?;
    let status = stage.complete(60).await?;
    claim!(revision(&status)? == second && second != first, "the release did not go on");
    stage.users().await?.stop_clean()?;
    Ok(())
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
