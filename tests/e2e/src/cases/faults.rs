//! Parts of the cluster or of the operator that fail in the middle of a release.

use std::sync::Arc;

use bluegreen::api::PhaseName;
use cluster::{Component, Signal};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;

use crate::claim;
use crate::failure::Result;
use crate::manifest::shop;
use crate::stage::Stage;
use crate::wait::{wait_for, when};
use crate::world::{RELEASE, SYSTEM};

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
    let before = leader(&stage).await?;
    let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    pods.delete(&before, &DeleteParams::default()).await?;
    let begun = tokio::time::Instant::now();
    wait_for("another leader", 30, || async {
        let now = leader(&stage).await?;
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

async fn leader(stage: &Stage) -> Result<String> {
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    Ok(leases.get(RELEASE).await?.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
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
