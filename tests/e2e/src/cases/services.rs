//! Services, and others who write them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::stage::{Stage, revision};
use crate::wait::{wait_for, when};

fn manifest(selector: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "echo", "port": 9000, "targetPort": "echo"}], "selector": selector},
    })
}

/// A selector that somebody changes is put back within a second, and an Event names the field manager.
pub async fn drift_is_repaired(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let services: kube::Api<Service> = stage.api();
    let change = json!({"spec": {"selector": {"bluegreen.dev/revision": "elsewhere"}}});
    let begun = Instant::now();
    services.patch("shop", &PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() }, &Patch::Merge(&change)).await?;
    loop {
        let selected = stage.selected("shop").await?;
        if selected == first {
            break;
        }
        claim!(begun.elapsed().as_secs() < 10, "the Service still selects {selected}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    stage.notes.say(format!("put back after {} ms", took.as_millis()));
    // Ten times the promise: the machine is shared.
    claim!(took.as_secs() < 10, "it took {took:?}");
    wait_for("an Event names the field manager", 10, || async {
        let events = stage.api::<k8s_openapi::api::core::v1::Event>().list(&ListParams::default()).await?;
        let said: Vec<String> = events.items.into_iter().filter_map(|event| event.message).collect();
        Ok(when(said.iter().any(|message| message.contains("\"somebody\"")), || format!("{said:?}")))
    })
    .await
}

/// An applier that owns the selector under server-side apply is found before anything starts, and the remedy works.
pub async fn selector_owned_by_an_applier(stage: Arc<Stage>) -> Result {
    stage.apply_as("flux", manifest(&json!({"app": "shop"})), true).await?;
    stage.apply(&shop("v1")).await?;
    let message = stage.stalled("SelectorOwnedBy", 20).await?;
    claim!(message.contains("\"flux\"") && message.contains("remove spec.selector"), "the message is {message:?}");
    let pods = stage.api::<Pod>().list(&ListParams::default()).await?.items.len();
    claim!(pods == 0, "{pods} pods were started");
    let mut remedy = manifest(&Value::Null);
    if let Some(spec) = remedy.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("selector");
    }
    stage.apply_as("flux", remedy.clone(), true).await?;
    stage.complete(60).await?;
    // Now it may sync as often as it likes.
    let users = stage.users().await?;
    for _ in 0..5 {
        stage.apply_as("flux", remedy.clone(), true).await?;
    }
    users.more(20).await?;
    users.stop_clean()?;
    Ok(())
}

/// An applier that takes the selector again and again is named, and before the switch untested pods go.
pub async fn selector_fought_over(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let fought = manifest(&json!({"app": "shop"}));
    let reason = wait_for("it is said who fights", 60, || async {
        stage.apply_as("flux", fought.clone(), true).await?;
        let status = stage.shop().await?.status.unwrap_or_default();
        let stalled = crate::stage::condition(&status, bluegreen::api::ConditionType::Stalled).cloned();
        Ok(match stalled {
            Some(stalled) if ["Contended", "SelectorOwnedBy"].contains(&stalled.reason.as_str()) && stalled.message.contains("\"flux\"") => {
                crate::wait::Look::Done(stalled.reason)
            }
            other => crate::wait::Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    stage.notes.say(format!("said as {reason}"));
    // The fight ends: the operator's selector stands.
    let mut remedy = fought.clone();
    if let Some(spec) = remedy.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("selector");
    }
    stage.apply_as("flux", remedy, true).await?;
    wait_for("the operator's selector is back", 90, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == first, || format!("it selects {selected:?}")))
    })
    .await
}

/// Deleting in the background removes everything that was made, and gives the Service back.
pub async fn delete_in_the_background(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    stage.api::<bluegreen::api::BlueGreenDeployment>().delete("shop", &DeleteParams::background()).await?;
    wait_for("pods and ReplicaSets are gone", 60, || async {
        let pods = stage.api::<Pod>().list(&ListParams::default()).await?.items.len();
        let sets = stage.sets().await?.len();
        Ok(when(pods + sets == 0, || format!("{pods} pods, {sets} ReplicaSets")))
    })
    .await?;
    wait_for("the Service is given back", 30, || async {
        let service = stage.api::<Service>().get("shop").await?;
        let ours: Vec<String> =
            service.metadata.annotations.unwrap_or_default().into_keys().filter(|key| key.starts_with("bluegreen.dev/")).collect();
        let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        Ok(when(ours.is_empty() && !selector.contains_key("bluegreen.dev/revision"), || format!("{ours:?} {selector:?}")))
    })
    .await
}

/// `kubectl delete --cascade=orphan` and a new object of the same name: the same pods go on serving all the time.
pub async fn orphaned_and_made_again(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let names = |pods: Vec<Pod>| pods.into_iter().filter_map(|pod| pod.metadata.name).collect::<Vec<_>>();
    let before = names(stage.pods(&first).await?);
    stage.api::<bluegreen::api::BlueGreenDeployment>().delete("shop", &DeleteParams::orphan()).await?;
    wait_for("the object is gone", 20, || async {
        let gone = stage.api::<bluegreen::api::BlueGreenDeployment>().get_opt("shop").await?.is_none();
        Ok(when(gone, || "it is there".into()))
    })
    .await?;
    users.more(50).await?;
    stage.apply(&shop("v1")).await?;
    let status = stage.complete(60).await?;
    claim!(revision(&status)? == first, "it became revision {:?}", status.revision);
    claim!(names(stage.pods(&first).await?) == before, "pods were replaced");
    stage.apply(&shop("v2")).await?;
    stage.complete(60).await?;
    users.more(20).await?;
    users.stop_clean()?;
    Ok(())
}

/// A Service added to the spec later joins at once; one removed is given back.
pub async fn services_edited_later(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    stage.service("extra").await?;
    stage.apply(&shop("v1").spec("/traffic/services", json!(["shop", "extra"]))).await?;
    wait_for("the added Service selects the active revision", 20, || async {
        let selected = stage.selected("extra").await?;
        Ok(when(selected == first, || selected))
    })
    .await?;
    stage.apply(&shop("v1")).await?;
    wait_for("the removed Service is given back", 20, || async {
        let service = stage.api::<Service>().get("extra").await?;
        let owner = service.metadata.annotations.unwrap_or_default().remove("bluegreen.dev/owner");
        Ok(when(owner.is_none(), || format!("owned by {owner:?}")))
    })
    .await?;
    // A deleted one that is made again takes the active revision.
    stage.api::<Service>().delete("shop", &DeleteParams::default()).await?;
    stage.stalled("ServiceMissing", 20).await.or_else(|error| match error {
        // With nothing to release it need not be a stall; Switched says it in any case.
        Failure::Late { .. } => Ok(String::new()),
        other => Err(other),
    })?;
    stage.service("shop").await?;
    wait_for("the new Service selects the active revision", 20, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == first, || selected))
    })
    .await
}

/// Preview Services follow the incoming revision, and the active one otherwise; a probe may go through them.
pub async fn preview_follows(stage: Arc<Stage>) -> Result {
    stage.service("shop-preview").await?;
    let previewed = |version: &str| {
        shop(version).spec("/traffic/previewServices", json!(["shop-preview"])).spec("/promotion/mode", "Manual").spec(
            "/smokeProbes/1",
            json!({"name": "preview", "target": "PreviewService", "httpGet": {"path": "/", "port": "http"}, "successThreshold": 1}),
        )
    };
    stage.service("shop").await?;
    stage.apply(&previewed("v1")).await?;
    let waits = |status: &bluegreen::api::BlueGreenDeploymentStatus| status.phase == Some(bluegreen::api::PhaseName::AwaitPromotion);
    let first = revision(&stage.until("v1 waits", 60, waits).await?)?;
    stage.command("bluegreen.dev/promote", &first).await?;
    stage.complete(60).await?;
    stage.apply(&previewed("v2")).await?;
    let second = revision(&stage.until("v2 waits", 60, waits).await?)?;
    claim!(stage.selected("shop-preview").await? == second && stage.selected("shop").await? == first, "the preview does not show v2");
    let words = ["--rate", "10", "--keepalive", "0"];
    let early = stage.users_of("shop-preview", &words).await?;
    early.only("v2", 15).await?;
    early.stop_clean()?;
    let preview = stage.users_of("shop-preview", &words).await?.stop_clean()?;
    claim!(preview.versions.keys().all(|version| version == "v2"), "the preview shows {:?}", preview.versions);
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.complete(60).await?;
    claim!(stage.selected("shop-preview").await? == second, "the preview does not follow the active revision");
    Ok(())
}
