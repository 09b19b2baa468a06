//! The PodDisruptionBudget of the revision that serves.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, keys};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::audit::Audit;
use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, revision};
use crate::wait::{wait_for, when};

fn kept(version: &str) -> Manifest {
    shop(version).spec("/replicas", 3).spec("/disruptionBudget", json!({"minAvailable": 3})).spec("/drain/keepWarmSeconds", 300)
}

/// Pods by a client that does not try again: a refused eviction is an answer.
async fn once(stage: &Stage) -> Result<Api<Pod>> {
    let kubeconfig = Kubeconfig::read_from(stage.world.cluster.kubeconfig())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Api::namespaced(Client::try_from(config)?, &stage.namespace))
}

/// What the API server answers to an eviction, tried out or meant.
async fn evict(pods: &Api<Pod>, pod: &Pod, dry_run: bool) -> Result<u16> {
    let how = EvictParams { post_options: PostParams { dry_run, ..PostParams::default() }, ..EvictParams::default() };
    match pods.evict(&pod.name_any(), &how).await {
        Ok(_) => Ok(200),
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(other) => Err(Failure::Kube(other)),
    }
}

/// Waits until the eviction of each pod of a revision would be answered so. Nobody is evicted by it.
async fn answers(stage: &Stage, what: &str, revision: &str, code: u16) -> Result {
    let pods = &once(stage).await?;
    wait_for(what, 30, || async move {
        let mut seen = vec![];
        for pod in stage.pods(revision).await? {
            seen.push(evict(pods, &pod, true).await?);
        }
        Ok(when(seen.len() == 3 && seen.iter().all(|seen| *seen == code), || format!("{seen:?}")))
    })
    .await
}

/// The revision that the budget covers.
async fn covered(stage: &Stage) -> Result<String> {
    let budget = stage.api::<PodDisruptionBudget>().get("shop").await?;
    let labels = budget.spec.and_then(|spec| spec.selector).and_then(|selector| selector.match_labels).unwrap_or_default();
    Ok(labels.get(keys::REVISION).cloned().unwrap_or_default())
}

pub fn plain() -> Value {
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "plain"},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "shop"}}}})
}

/// It moves before the Service does. Pods that serve can't be evicted beside old ones that can; with a plain budget over both they could all be,
/// and with two budgets nobody. Nobody who uses the shop notices anything.
pub async fn disruption_budget_follows(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&kept("v1")).await?;
    claim!(covered(&stage).await? == first, "the budget is not that of v1");
    let users = stage.users().await?;
    let audit = Audit::now(&stage.world)?;
    stage.apply(&kept("v2")).await?;
    let warm = |status: &BlueGreenDeploymentStatus| because(status, ConditionType::Drained, ConditionStatus::True, "KeptWarm");
    stage.until("the old pods are kept warm", 90, warm).await?;
    let second = stage.selected("shop").await?;
    claim!(second != first && covered(&stage).await? == second, "the budget is not that of v2");
    let asked = audit.controller(&stage.namespace)?;
    let moved = |what: &str| asked.iter().position(|request| request == what);
    let (budget, service) = (moved("patch poddisruptionbudgets/shop"), moved("patch services/shop"));
    claim!(budget.is_some() && budget < service, "the budget was not the first to move: {asked:?}");
    answers(&stage, "no pod that serves can be evicted", &second, 429).await?;
    let once = once(&stage).await?;
    for pod in stage.pods(&second).await? {
        claim!(evict(&once, &pod, false).await? == 429, "a pod that serves was evicted");
    }
    answers(&stage, "old pods can be evicted", &first, 200).await?;
    // Drift is put back.
    let api = stage.api::<PodDisruptionBudget>();
    let drift = json!({"spec": {"minAvailable": 0}});
    api.patch("shop", &PatchParams::default(), &Patch::Merge(drift)).await?;
    wait_for("it is put back", 10, || async {
        let least = api.get("shop").await?.spec.and_then(|spec| spec.min_available);
        Ok(when(least == Some(IntOrString::Int(3)), || format!("{least:?}")))
    })
    .await?;
    // A second one that matches the same pods.
    stage.create::<PodDisruptionBudget>(plain()).await?;
    let said = stage.stalled("BudgetBeside", 30).await?;
    claim!(said.contains("PodDisruptionBudget \"plain\" matches these pods, too"), "{said}");
    answers(&stage, "with two of them nobody can be evicted", &second, 500).await?;
    // Without ours the plain one counts the old pods and lets all go that serve.
    stage.patch(json!({"spec": {"disruptionBudget": null}})).await?;
    answers(&stage, "a plain one lets go what serves", &second, 200).await?;
    claim!(api.get_opt("shop").await?.is_none(), "the budget is still there");
    api.delete("plain", &DeleteParams::default()).await?;
    stage.patch(json!({"spec": {"disruptionBudget": {"minAvailable": 3}}})).await?;
    answers(&stage, "it is back", &second, 429).await?;
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 30).await?;
    answers(&stage, "it has followed on the way back", &first, 429).await?;
    claim!(covered(&stage).await? == first, "the budget has not followed");
    users.only("v1", 15).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}

/// `kubectl drain` of a node under load: the pods that serve there go one by one as the budget allows, and a release goes on while the node is closed.
pub async fn node_drained(stage: Arc<Stage>) -> Result {
    let kept = |version| {
        let pause = json!({"preStop": {"sleep": {"seconds": 3}}});
        shop(version).spec("/replicas", 3).spec("/disruptionBudget", json!({"minAvailable": 2})).container("/lifecycle", pause)
    };
    let first = stage.installed(&kept("v1")).await?;
    let node = stage.world.cluster.node_name(2);
    let on_node = |pods: &[Pod]| pods.iter().filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node)).count();
    let gone = on_node(&stage.pods(&first).await?);
    claim!(gone > 0, "no pod is on the node that is to be drained");
    let users = stage.users().await?;
    let begun = Instant::now();
    stage.world.kubectl(&["drain", &node, "--ignore-daemonsets", "--pod-selector=app=shop", "--timeout=90s"])?;
    stage.notes.say(format!("{gone} of 3 pods left the node in {:.1} s", begun.elapsed().as_secs_f64()));
    stage.until("all are ready elsewhere", 40, |status| status.ready_desired == "3/3").await?;
    stage.apply(&kept("v2")).await?;
    let second = revision(&stage.complete(90).await?)?;
    claim!(on_node(&stage.pods(&second).await?) == 0, "a closed node got pods");
    stage.world.kubectl(&["uncordon", &node])?;
    users.only("v2", 15).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}
