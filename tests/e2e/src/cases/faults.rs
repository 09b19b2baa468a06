//! Parts of the cluster or of the operator that fail in the middle of a release.

use std::sync::Arc;

use bluegreen::api::PhaseName;
use cluster::{Component, Signal};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::stage::{Stage, revision};
use crate::wait::{Look, stays, wait_for, when};
use crate::world::{SYSTEM, leader};

/// A node that dies while old pods drain there takes their connections with it: an Event says so, and the release ends.
pub async fn node_lost(stage: Arc<Stage>) -> Result {
    let old = shop("v1").on_node(stage.world.cluster.node_name(2));
    let first = stage.installed(&old).await?;
    let held = stage.long(1, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&shop("v2").on_node(stage.world.cluster.node_name(1))).await?;
    stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    tokio::task::block_in_place(|| stage.world.cluster.kill_node(2))?;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(stage.world.client.clone());
    let target = format!("http://{}/", stage.address("shop", 80).await?);
    let users = crate::traffic::Load::start(&stage.world, 1, &["run", "--target", &target, "--rate", "25", "--keepalive", "0"])?;
    // As a cloud's node controller does with a machine that is gone.
    nodes.delete(&stage.world.cluster.node_name(2), &DeleteParams::default()).await?;
    stage.gone(&first, 60).await?;
    let event = stage.said("NodeLost", &format!("revision {first}: 2 of 2 pods were lost with their nodes"), 10).await?;
    claim!(event.type_.as_deref() == Some("Warning"), "the Event is {:?}", event.type_);
    users.more(20).await?;
    users.stop_clean()?;
    held.stop()?;
    Ok(())
}

/// A change of leader in the middle of a release is not noticed, and takes no longer than a moment.
pub async fn leader_change(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "4")).await?;
    stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let before = leader(&stage.world).await?;
    let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    pods.delete(&before, &DeleteParams::default()).await?;
    let begun = tokio::time::Instant::now();
    wait_for("another leader", 30, || async {
        let now = leader(&stage.world).await?;
        Ok(when(now != before && !now.is_empty(), || now))
    })
    .await?;
    stage.notes.say(format!("another leader after {:.1} s", begun.elapsed().as_secs_f64()));
    stage.complete(90).await?;
    users.more(20).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v2"), "nothing was released");
    Ok(())
}

/// The API server is away for a while in the middle of a release: nothing is decided meanwhile, and it goes on afterwards.
pub async fn api_server_away(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "3")).await?;
    stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let cluster = &stage.world.cluster;
    tokio::task::block_in_place(|| cluster.stop(Component::KubeApiserver, 1, Signal::SIGKILL))?;
    // Long enough to be missed, and shorter than the time after which nodes that can't report would be given up.
    users.more(25).await?;
    tokio::task::block_in_place(|| cluster.start(Component::KubeApiserver, 1))?;
    wait_for("the API server is back", 60, || async { Ok(when(stage.shop().await.is_ok(), || "no answer".into())) }).await?;
    stage.complete(120).await?;
    users.more(20).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v2"), "nothing was released");
    Ok(())
}

/// The store is killed and comes back in the middle of a release.
pub async fn etcd_restarted(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "3")).await?;
    stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let cluster = &stage.world.cluster;
    tokio::task::block_in_place(|| cluster.stop(Component::Etcd, 1, Signal::SIGKILL))?;
    users.more(50).await?;
    tokio::task::block_in_place(|| cluster.start(Component::Etcd, 1))?;
    wait_for("the API server answers again", 60, || async { Ok(when(stage.shop().await.is_ok(), || "no answer".into())) }).await?;
    stage.complete(120).await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// A kubelet that is stopped while old pods drain on its node reports nothing; the connections there are counted all the same.
pub async fn kubelet_stopped(stage: Arc<Stage>) -> Result {
    let node = stage.world.cluster.node_name(2);
    let first = stage.installed(&shop("v1").on_node(node.clone())).await?;
    let held = stage.long(1, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").on_node(stage.world.cluster.node_name(1))).await?;
    stage
        .until("the echo is counted", 60, |status| {
            status.phase == Some(PhaseName::Drain) && status.draining.first().is_some_and(|set| set.open_connections == Some(1))
        })
        .await?;
    let cluster = &stage.world.cluster;
    tokio::task::block_in_place(|| cluster.stop(Component::Kubelet, 2, Signal::SIGSTOP))?;
    stays("the old pods stay", 5, || async {
        let desired = stage.desired(&first).await?;
        Ok(when(desired == 2, || format!("{desired} pods wanted")))
    })
    .await?;
    held.stop_clean()?;
    stage.gone(&first, 30).await?;
    tokio::task::block_in_place(|| cluster.start(Component::Kubelet, 2))?;
    stage.complete(60).await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// The leader's node loses its link in the middle of a release: who can't renew the Lease writes nothing more, and the other replica goes on.
pub async fn leader_cut_off(stage: Arc<Stage>) -> Result {
    let cluster = &stage.world.cluster;
    let near = |version: &str| shop(version).on_node(cluster.node_name(1));
    let leaders_node = || async {
        let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
        let name = leader(&stage.world).await?;
        Ok::<_, Failure>((name.clone(), pods.get(&name).await?.spec.and_then(|spec| spec.node_name).unwrap_or_default()))
    };
    stage.installed(&near("v1")).await?;
    // The one that is cut off must not be the one beside the API server.
    wait_for("the leader is on node 2", 90, || async {
        let Ok((name, node)) = leaders_node().await else { return Ok(Look::NotYet("no leader".into())) };
        if node == cluster.node_name(2) {
            return Ok(Look::Done(()));
        }
        let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
        pods.delete(&name, &DeleteParams::default()).await?;
        wait_for("another leader", 30, || async {
            let now = leader(&stage.world).await?;
            Ok(when(now != name && !now.is_empty(), || now))
        })
        .await?;
        Ok(Look::NotYet(format!("{name} on {node}")))
    })
    .await?;
    let users = stage.users_from(1, "shop", &["--rate", "25", "--keepalive", "0"]).await?;
    stage.apply(&near("v2").env("APP_READY_AFTER", "4")).await?;
    stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let before = leader(&stage.world).await?;
    tokio::task::block_in_place(|| cluster.cut(2))?;
    let cut = tokio::time::Instant::now();
    wait_for("another leader", 60, || async {
        let now = leader(&stage.world).await?;
        Ok(when(now != before && !now.is_empty(), || now))
    })
    .await?;
    stage.notes.say(format!("another leader {:.1} s after the cut (a Lease lasts 15 s)", cut.elapsed().as_secs_f64()));
    let status = stage
        .until("the traffic has moved", 60, |status| status.phase == Some(PhaseName::Drain) || status.phase == Some(PhaseName::Complete))
        .await?;
    let second = revision(&status)?;
    tokio::task::block_in_place(|| cluster.restore(2))?;
    stage.complete(120).await?;
    stays("who led before takes nothing back", 5, || async {
        let (selected, now) = (stage.selected("shop").await?, leader(&stage.world).await?);
        Ok(when(selected == second && now != before, || format!("the Service selects {selected}, {now} leads")))
    })
    .await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// A scale-down that the API server refuses is tried again, and status says that it is refused.
pub async fn scale_down_refused(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    stage.apply(&shop("v2")).await?;
    stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    // As a webhook of somebody else would: ReplicaSets of this namespace can't be changed any more.
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": stage.namespace},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
                "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["replicasets"]}],
            },
            "validations": [{"expression": "false", "message": "this namespace is frozen"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": stage.namespace},
        "spec": {"policyName": stage.namespace, "validationActions": ["Deny"]},
    });
    for object in [&policy, &binding] {
        stage.world.kubectl_apply(object)?;
    }
    // A policy holds some moments after it was made.
    let name = format!("shop-{first}");
    wait_for("the policy holds", 30, || async {
        let output = stage.world.kubectl_output(&["annotate", "--overwrite", "replicaset", &name, "-n", &stage.namespace, "try=again"])?;
        Ok(when(!output.status.success(), || "ReplicaSets can be changed".into()))
    })
    .await?;
    held.stop_clean()?;
    let told = stage.told("this namespace is frozen", 40).await?;
    stage.notes.say(format!("status: {told}"));
    claim!(stage.desired(&first).await? == 2, "it was scaled down");
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        stage.world.kubectl(&["delete", kind, &stage.namespace])?;
    }
    stage.gone(&first, 60).await?;
    stage.complete(30).await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}
