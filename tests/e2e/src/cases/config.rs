//! Configuration that is kept with each revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use bluegreen::api::{ConditionStatus, ConditionType};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::audit::Audit;
use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, is, revision};
use crate::wait::{wait_for, when};

/// That the shared cluster's operator may copy configuration, as a value of its chart.
pub const ALLOWED: &str = "configSnapshots=ConfigMapsAndSecrets";

/// The app says the version that stands in a ConfigMap. One that says that it is not ready is out of the endpoints long before its kubelet
/// starts it anew.
fn configured() -> Manifest {
    let from = json!([{"name": "APP_VERSION", "valueFrom": {"configMapKeyRef": {"name": "shop-config", "key": "version"}}}]);
    shop("")
        .container("/env", from)
        .container("/readinessProbe/failureThreshold", 1)
        .container("/livenessProbe", json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2, "failureThreshold": 3}))
        .spec("/configSnapshots", json!({"configMaps": ["shop-config"]}))
        .spec("/promotion", json!({"mode": "Manual"}))
        .spec("/revisionHistoryLimit", 1)
}

async fn says(stage: &Stage, version: &str) -> Result {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-config"}, "data": {"version": version}});
    stage.apply_as("e2e", map, true).await.map(drop)
}

/// Versions that stand in the copies, by the copies' names.
async fn copies(stage: &Stage) -> Result<BTreeMap<String, String>> {
    let list = stage.api::<ConfigMap>().list(&ListParams::default().labels("bluegreen.dev/name=shop")).await?;
    let held = |map: ConfigMap| (map.name_any(), map.data.unwrap_or_default().remove("version").unwrap_or_default());
    Ok(list.items.into_iter().map(held).collect())
}

/// Waits until the copies hold these versions and no others.
async fn hold(stage: &Stage, versions: &[&str], seconds: u64) -> Result {
    wait_for(format!("copies that hold {versions:?}"), seconds, || async {
        let held = copies(stage).await?;
        let mut all: Vec<&str> = held.values().map(String::as_str).collect();
        all.sort_unstable();
        Ok(when(all == versions, || format!("{held:?}")))
    })
    .await
}

/// Waits for a revision other than these to be ready for promotion, and returns it.
async fn next(stage: &Stage, earlier: &[&str]) -> Result<String> {
    let status = stage
        .until("another revision is tested", 60, |status| {
            status.revision.as_deref().is_some_and(|revision| !earlier.contains(&revision))
                && is(status, ConditionType::SmokeTested, ConditionStatus::True)
        })
        .await?;
    revision(&status)
}

async fn promote(stage: &Stage, revision: &str) -> Result {
    stage.command("bluegreen.dev/promote", revision).await?;
    stage.serves(revision, 60).await?;
    stage.complete(60).await.map(drop)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).sum()
}

/// A change of a ConfigMap alone is a release; what runs keeps what it had, also when a container starts anew; a rollback brings the earlier content
/// back; copies go with the history, and one that somebody deletes comes back.
pub async fn config_comes_back_with_a_rollback(stage: Arc<Stage>) -> Result {
    says(&stage, "v1").await?;
    let first = stage.installed(&configured().spec("/promotion", json!({"mode": "Automatic"}))).await?;
    stage.patch(json!({"spec": {"promotion": {"mode": "Manual"}}})).await?;
    stage.complete(60).await?;
    let users = stage.users().await?;
    users.only("v1", 20).await?;

    says(&stage, "v2").await?;
    let second = next(&stage, &[&first]).await?;
    hold(&stage, &["v1", "v2"], 5).await?;
    // An old pod starts its container anew: it reads what it was released with.
    let pods = stage.pods(&first).await?;
    let pod = pods.first().ok_or_else(|| Failure::Claim("v1 has no pods".into()))?;
    stage.tell(pod, "/fail?what=ready&on=true")?;
    wait_for("a container that was started anew and is ready", 60, || async {
        let pods = stage.pods(&first).await?;
        let anew = pods.iter().any(|known| known.name_any() == pod.name_any() && restarts(known) > 0);
        let ready = stage.shop().await?.status.and_then(|status| status.active).is_some_and(|active| active.ready_replicas == 2);
        Ok(when(anew && ready, || format!("started anew: {anew}, all ready: {ready}")))
    })
    .await?;
    users.more(50).await?;
    users.only("v1", 20).await?;
    promote(&stage, &second).await?;
    users.only("v2", 20).await?;

    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 60).await?;
    users.only("v1", 20).await?;
    // What was left last is what history keeps.
    stage.gone(&second, 60).await?;
    // The latest content is what was left: only another one begins a release.
    says(&stage, "v3").await?;
    let third = next(&stage, &[&first, &second]).await?;
    promote(&stage, &third).await?;
    users.only("v3", 20).await?;
    // One revision is kept beside the one that serves.
    hold(&stage, &["v1", "v3"], 90).await?;

    let lost = copies(&stage).await?.into_iter().find(|(_, version)| version == "v3").map(|(name, _)| name).unwrap_or_default();
    stage.api::<ConfigMap>().delete(&lost, &DeleteParams::default()).await?;
    hold(&stage, &["v1", "v3"], 10).await?;
    let copy = stage.api::<ConfigMap>().get(&lost).await?;
    claim!(copy.immutable == Some(true), "a copy that can be changed");
    claim!(copy.owner_references().iter().any(|owner| owner.name == "shop" && owner.controller == Some(true)), "a copy that is nobody's");

    // Without a source there is no release, and what runs is left alone.
    stage.api::<ConfigMap>().delete("shop-config", &DeleteParams::default()).await?;
    stage.stalled("ConfigMissing", 20).await?;
    users.more(50).await?;
    says(&stage, "v3").await?;
    stage.complete(20).await?;
    claim!(stage.selected("shop").await? == third, "the traffic moved");
    users.only("v3", 20).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}

/// Secrets are kept as ConfigMaps are, with their type; what the template does not refer to is told; with the object its copies go.
pub async fn secrets_are_kept_and_what_is_missing_is_told(stage: Arc<Stage>) -> Result {
    let keys = |version: &str| json!({"metadata": {"name": "shop-keys"}, "type": "example.com/keys", "stringData": {"APP_VERSION": version}});
    stage.create::<Secret>(keys("v1")).await?;
    let with = shop("")
        .container("/env", json!([]))
        .container("/envFrom", json!([{"secretRef": {"name": "shop-keys"}}]))
        .spec("/template/spec/volumes", json!([{"name": "keys", "projected": {"sources": [{"secret": {"name": "shop-keys"}}]}}]))
        .container("/volumeMounts", json!([{"name": "keys", "mountPath": "/keys"}]))
        .spec("/configSnapshots", json!({"secrets": ["shop-keys"]}));
    let first = stage.installed(&with).await?;
    let users = stage.users().await?;
    users.only("v1", 20).await?;
    stage.api::<Secret>().patch("shop-keys", &PatchParams::default(), &Patch::Merge(&keys("v2"))).await?;
    wait_for("the Secret's change is released", 60, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected != first, || format!("{selected} serves")))
    })
    .await?;
    users.only("v2", 20).await?;
    let status = stage.complete(60).await?;
    let second = revision(&status)?;
    let labelled = ListParams::default().labels("bluegreen.dev/name=shop");
    let copies = stage.api::<Secret>().list(&labelled).await?.items;
    let kept = |secret: &Secret| secret.immutable == Some(true) && secret.type_.as_deref() == Some("example.com/keys");
    claim!(copies.len() == 2 && copies.iter().all(kept), "{} copies", copies.len());

    stage.apply(&with.clone().spec("/configSnapshots", json!({"secrets": ["shop-keys", "others"]}))).await?;
    let told = stage.stalled("ConfigUnused", 20).await?;
    claim!(told == "spec.configSnapshots.secrets[1]: spec.template does not refer to Secret \"others\"; refer to it, or remove it here", "{told}");
    stage.apply(&with).await?;
    stage.complete(20).await?;
    // Without it the template is another one: its references are those that were written.
    stage.apply(&with.spec("/configSnapshots", json!({"secrets": []}))).await?;
    stage.until("another revision serves", 60, |status| status.switch.as_ref().is_some_and(|switch| switch.to != second)).await?;
    stage.complete(60).await?;
    users.only("v2", 20).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));

    stage.world.kubectl(&["delete", "bgd", "shop", "-n", &stage.namespace])?;
    wait_for("the copies go with it", 60, || async {
        let left = stage.api::<Secret>().list(&labelled).await?.items.len();
        Ok(when(left == 0, || format!("{left} are left")))
    })
    .await?;
    claim!(stage.api::<Secret>().get("shop-keys").await?.name_any() == "shop-keys", "what was copied is gone");
    Ok(())
}

/// As it is installed by default nothing is copied: that is told, what runs goes on, and the operator has not even asked for a ConfigMap or Secret.
pub async fn nothing_is_copied_without_leave(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    says(&stage, "v2").await?;
    stage.apply(&configured()).await?;
    let told = stage.stalled("SnapshotsNotAllowed", 20).await?;
    let words =
        "spec.configSnapshots.configMaps[0]: this operator may not copy ConfigMaps; whoever installs it can set configSnapshots to ConfigMaps";
    claim!(told == words, "{told}");
    users.more(50).await?;
    claim!(stage.selected("shop").await? == first && stage.sets().await?.len() == 1, "a release begins all the same");
    let audit = Audit::all(&stage.world)?;
    for namespace in ["", &stage.namespace] {
        let asked = audit.controller(namespace)?;
        let theirs = asked.iter().find(|asked| asked.contains(" configmaps/") || asked.contains(" secrets/"));
        claim!(theirs.is_none(), "it asked: {theirs:?}");
    }
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}
