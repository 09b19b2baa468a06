//! Leaders that are lost in the middle of a release, with two others that stand by.

use bluegreen::api::PhaseName;
use cluster::{Component, Signal};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::acts::{another, leaders, signal};
use crate::audit::Audit;
use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};
use crate::traffic::Load;
use crate::wait::{stays, wait_for, when};
use crate::world::{SYSTEM, World, leader};

/// The two releases, one after the other.
pub async fn lost(stage: &Stage) -> Result {
    paused(stage).await?;
    killed(stage).await
}

/// The leader, its processes, its node, and the other node.
struct Leader {
    name: String,
    pids: Vec<i32>,
    node: usize,
    other: usize,
}

impl Leader {
    async fn of(world: &World) -> Result<Self> {
        let name = leader(world).await?;
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), SYSTEM);
        let on = pods.get(&name).await?.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        let node = if on == world.cluster.node_name(1) { 1 } else { 2 };
        Ok(Self { pids: leaders(&name)?, name, node, other: 3 - node })
    }
}

/// A version on one node, whose kubelet works.
fn version(stage: &Stage, version: &str, node: usize) -> Manifest {
    shop(version).on_node(stage.world.cluster.node_name(node)).env("APP_READY_AFTER", "3")
}

/// Begins a release of which nobody must notice anything.
async fn begun(stage: &Stage, manifest: &Manifest, node: usize) -> Result<Load> {
    let users = stage.users_from(node, "shop", &["--rate", "25", "--keepalive", "0"]).await?;
    stage.apply(manifest).await?;
    stage.until("it is brought up", 30, |status| status.phase == Some(PhaseName::BringUp)).await?;
    Ok(users)
}

/// The leader is stopped for longer than its Lease, another one ends the release, and then the first one wakes up.
async fn paused(stage: &Stage) -> Result {
    let world = &stage.world;
    let Leader { name, pids, node, other } = Leader::of(world).await?;
    let first = stage.installed(&version(stage, "v1", other)).await?;
    let held = stage.long(other, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = begun(stage, &version(stage, "v2", other), other).await?;
    // Its kubelet would kill what does not answer.
    block_in_place(|| world.cluster.stop(Component::Kubelet, node, Signal::SIGSTOP))?;
    signal(&pids, Signal::SIGSTOP)?;
    let stopped = Instant::now();
    let outcome = async {
        another(world, &name, 60).await?;
        stage.notes.say(format!("leader stopped: another one after {:.1} s", stopped.elapsed().as_secs_f64()));
        stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
        held.stop_clean()?;
        stage.complete(60).await
    };
    let outcome = outcome.await;
    let audit = Audit::now(world)?;
    let before = versions(stage).await;
    signal(&pids, Signal::SIGCONT)?;
    let ended = wait_for("who led before ends", 30, || async {
        let left = leaders(&name).unwrap_or_default().into_iter().filter(|pid| pids.contains(pid)).count();
        Ok(when(left == 0, || format!("{left} processes")))
    });
    let ended = ended.await;
    block_in_place(|| world.cluster.start(Component::Kubelet, node))?;
    let second = revision(&outcome?)?;
    ended?;
    stays("who led before takes nothing back", 3, || async {
        let (selected, desired) = (stage.selected("shop").await?, stage.desired(&first).await?);
        Ok(when(selected == second && desired == 0, || format!("the Service selects {selected}; {desired} old pods wanted")))
    })
    .await?;
    let wrote = audit.writes_of(&name)?;
    claim!(wrote.is_empty(), "who led before wrote {wrote:?}");
    claim!(versions(stage).await? == before?, "a Service or a ReplicaSet was written");
    stands_by(world, &name).await?;
    stage.notes.say("woken, it wrote nothing, ended, and stands by");
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// The leader is killed (-9), and nobody starts it again before another one leads.
async fn killed(stage: &Stage) -> Result {
    let world = &stage.world;
    let Leader { name, pids, node, other } = Leader::of(world).await?;
    let users = begun(stage, &version(stage, "v3", other), other).await?;
    block_in_place(|| world.cluster.stop(Component::Kubelet, node, Signal::SIGSTOP))?;
    let killed = Instant::now();
    let next = match signal(&pids, Signal::SIGKILL) {
        Ok(()) => another(world, &name, 60).await,
        Err(error) => Err(error),
    };
    let took = killed.elapsed();
    block_in_place(|| world.cluster.start(Component::Kubelet, node))?;
    let next = next?;
    stage.notes.say(format!("leader killed: another one after {:.1} s", took.as_secs_f64()));
    stage.complete(90).await?;
    claim!(leader(world).await? == next, "the leader changed again");
    stands_by(world, &name).await?;
    users.only("v3", 15).await?;
    users.stop_clean().map(drop)
}

/// Versions of the Service and the ReplicaSets.
async fn versions(stage: &Stage) -> Result<Vec<String>> {
    let service = stage.api::<k8s_openapi::api::core::v1::Service>().get("shop").await?;
    let sets = stage.sets().await?;
    let mut all: Vec<String> = sets.iter().map(|set| format!("{} {:?}", set.name_any(), set.metadata.generation)).collect();
    all.push(format!("shop {:?}", service.metadata.resource_version));
    Ok(all)
}

/// Waits until a pod of the controller is ready again.
async fn stands_by(world: &World, name: &str) -> Result {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), SYSTEM);
    wait_for("it stands by", 60, || async {
        let pod = pods.get(name).await.map_err(Failure::from)?;
        let status = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let ready = status.iter().any(|container| container.ready && container.restart_count > 0);
        Ok(when(ready, || format!("{status:?}")))
    })
    .await
}
