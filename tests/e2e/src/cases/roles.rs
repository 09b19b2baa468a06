//! What pods bear because of their role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, PhaseName};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::claim;
use crate::failure::Result;
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, revision};
use crate::wait::{wait_for, when};

/// What autoscalers look at.
const STAYS: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

fn dressed(version: &str) -> Manifest {
    let role = |role: &str| json!({"labels": {"role": role, "app": "never"}, "annotations": {"example.com/role": role}});
    shop(version)
        .spec("/podMetadata", json!({"active": role("active"), "inactive": role("preview"), "draining": role("old")}))
        .spec("/drain/keepWarmSeconds", 300)
        .spec("/promotion/mode", "Manual")
}

fn bears(pod: &Pod, role: &str) -> bool {
    let has = |map: &BTreeMap<String, String>, key: &str| map.get(key).is_some_and(|value| value == role);
    let kept = pod.annotations().get(STAYS).is_some_and(|value| value == "false");
    has(pod.labels(), "role") && has(pod.annotations(), "example.com/role") && kept == (role == "old")
}

/// Waits until all pods of a revision bear what belongs to a role; answers their UIDs.
async fn all_bear(stage: &Stage, revision: &str, role: &str) -> Result<BTreeSet<String>> {
    wait_for(&format!("pods of {revision} bear the role {role}"), 30, || async {
        let pods = stage.pods(revision).await?;
        let said = || pods.iter().map(|pod| format!("{:?} {:?}", pod.labels(), pod.annotations())).collect::<Vec<_>>().join("; ");
        Ok(when(!pods.is_empty() && pods.iter().all(|pod| bears(pod, role)), said))
    })
    .await?;
    let pods = stage.pods(revision).await?;
    claim!(pods.iter().all(|pod| pod.labels().get("app").is_some_and(|app| app == "shop")), "a label of the template was changed");
    Ok(pods.iter().filter_map(ResourceExt::uid).collect())
}

/// Labels and annotations follow the role of running pods, there and back, and restart none of them. Pods that drain are marked for
/// autoscalers, as long as they do.
pub async fn pod_metadata_by_role(stage: Arc<Stage>) -> Result {
    stage.service("shop").await?;
    stage.apply(&dressed("v1")).await?;
    let waits = |status: &BlueGreenDeploymentStatus| status.phase == Some(PhaseName::AwaitPromotion);
    let first = revision(&stage.until("v1 waits for a person", 60, waits).await?)?;
    all_bear(&stage, &first, "preview").await?;
    stage.command("bluegreen.dev/promote", &first).await?;
    stage.complete(60).await?;
    let pods = all_bear(&stage, &first, "active").await?;
    let users = stage.users().await?;
    stage.apply(&dressed("v2")).await?;
    let second = revision(&stage.until("v2 waits for a person", 60, waits).await?)?;
    all_bear(&stage, &second, "preview").await?;
    claim!(all_bear(&stage, &first, "active").await? == pods, "pods of v1 were replaced");
    stage.command("bluegreen.dev/promote", &second).await?;
    let kept = |status: &BlueGreenDeploymentStatus| because(status, ConditionType::Drained, ConditionStatus::True, "KeptWarm");
    stage.until("the old pods are kept warm", 60, kept).await?;
    all_bear(&stage, &second, "active").await?;
    claim!(all_bear(&stage, &first, "old").await? == pods, "pods of v1 were replaced");
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 30).await?;
    claim!(all_bear(&stage, &first, "active").await? == pods, "pods of v1 were replaced");
    users.only("v1", 15).await?;
    users.stop_clean().map(drop)
}
