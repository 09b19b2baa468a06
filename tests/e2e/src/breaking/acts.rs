//! How things are broken, and made whole again.

use std::time::Duration;

use cluster::{Component, Signal};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use load::report::now_ms;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::fault::Fault;
use super::release::{Happened, Release};
use crate::failure::{Failure, Result, io};
use crate::stage::{PORTS, Stage};
use crate::wait::{Look, wait_for, when};
use crate::world::{World, leader, processes};

/// Breaks something of the cluster, which is whole again when this returns. Answers the node whose pods were ended by it, if any.
pub async fn of_the_cluster(world: &World, fault: Fault) -> Result<Option<usize>> {
    let cluster = &world.cluster;
    match fault {
        Fault::OperatorKilled => signal(&leaders(&leader(world).await?)?, Signal::SIGKILL)?,
        Fault::OperatorStopped => stopped_until_another_leads(world).await?,
        Fault::AgentKilled => signal(&processes("drain-agent", &format!("NODE_NAME={}", cluster.node_name(2)))?, Signal::SIGKILL)?,
        Fault::ApiServerAway => away(world, Component::KubeApiserver, 30).await?,
        Fault::EtcdKilled => away(world, Component::Etcd, 3).await?,
        Fault::ControllersKilled => away(world, Component::KubeControllerManager, 3).await?,
        Fault::KubeletStopped => {
            block_in_place(|| cluster.stop(Component::Kubelet, 2, Signal::SIGSTOP))?;
            tokio::time::sleep(Duration::from_secs(8)).await;
            block_in_place(|| cluster.start(Component::Kubelet, 2))?;
        }
        Fault::NodeKilled => {
            block_in_place(|| cluster.kill_node(2).and_then(|()| cluster.start_node(2)))?;
            return Ok(Some(2));
        }
        _ => {}
    }
    Ok(None)
}

/// Processes of a leader.
pub fn leaders(name: &str) -> Result<Vec<i32>> {
    processes("controller", &format!("POD_NAME={name}"))
}

async fn stopped_until_another_leads(world: &World) -> Result {
    let before = leader(world).await?;
    let pids = leaders(&before)?;
    signal(&pids, Signal::SIGSTOP)?;
    let other = another(world, &before, 40).await;
    // Whatever came of it, nothing may stay stopped.
    signal(&pids, Signal::SIGCONT)?;
    other.map(drop)
}

/// Waits until somebody else leads.
pub async fn another(world: &World, than: &str, seconds: u64) -> Result<String> {
    wait_for("another leader", seconds, || async {
        let now = leader(world).await?;
        Ok(if now == than || now.is_empty() { Look::NotYet(format!("{now:?} leads")) } else { Look::Done(now) })
    })
    .await
}

/// Sends a signal to processes.
pub fn signal(pids: &[i32], signal: Signal) -> Result {
    pids.iter().try_for_each(|pid| kill(Pid::from_raw(*pid), signal)).map_err(|errno| io(format!("sending {signal}"))(errno.into()))
}

async fn away(world: &World, component: Component, seconds: u64) -> Result {
    let cluster = &world.cluster;
    block_in_place(|| cluster.stop(component, 1, Signal::SIGKILL))?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    block_in_place(|| cluster.start(component, 1))?;
    wait_for("the API server answers", 60, || async { Ok(when(leader(world).await.is_ok(), || "no answer".into())) }).await
}

/// Breaks something of one release.
pub async fn of_one(release: &Release) -> Result<Happened> {
    let stage = &release.stage;
    let mut happened = Happened::default();
    match release.fault {
        Fault::SelectorEdited => select(stage, json!({"bluegreen.dev/revision": null})).await?,
        Fault::SelectorEmptied => select(stage, Value::Null).await?,
        Fault::ServiceReplaced => {
            let service = service(None, &json!({"app": "shop"}));
            stage.world.kubectl_with(&["replace", "-n", &stage.namespace, "-f", "-"], &service)?;
        }
        Fault::ServiceRemade => happened.out = Some(remade(stage).await?),
        Fault::OldPodDeleted => {
            let pod = release.holder()?.to_owned();
            stage.api::<Pod>().delete(&pod, &DeleteParams::default()).await?;
            happened.ended.insert(pod);
        }
        Fault::NewPodDeleted => {
            let pods = stage.pods(&release.new).await?;
            let pod = pods.first().ok_or_else(|| Failure::Claim("there is no new pod".into()))?;
            stage.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default()).await?;
        }
        Fault::OldSetDeleted => {
            happened.ended = stage.pods(&release.old).await?.iter().map(ResourceExt::name_any).collect();
            delete_set(stage, &release.old).await?;
        }
        Fault::NewSetDeleted => delete_set(stage, &release.new).await?,
        _ => {}
    }
    Ok(happened)
}

/// What the end of a node means for one release.
pub async fn with_node(release: &Release, node: usize, since: Timestamp) -> Result<Happened> {
    let stage = &release.stage;
    let name = stage.world.cluster.node_name(node);
    let there = ListParams::default().fields(&format!("spec.nodeName={name}"));
    let pods = stage.api::<Pod>().list(&there).await?.items;
    // The API server may still show them as they were before.
    wait_for("the pods of that node run again", 90, || async {
        let pods = stage.api::<Pod>().list(&there).await?.items;
        let waiting: Vec<String> = pods.iter().filter(|pod| !again(pod, since)).map(ResourceExt::name_any).collect();
        Ok(when(waiting.is_empty(), || format!("not yet: {waiting:?}")))
    })
    .await?;
    Ok(Happened { ended: pods.iter().map(ResourceExt::name_any).collect(), out: None })
}

/// Whether a pod's containers were started since then, or it is ending.
fn again(pod: &Pod, since: Timestamp) -> bool {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let started = containers.iter().map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|time| time.0));
    let anew = !containers.is_empty() && started.into_iter().all(|started| started.is_some_and(|started| started >= since));
    pod.metadata.deletion_timestamp.is_some() || anew
}

async fn delete_set(stage: &Stage, revision: &str) -> Result {
    stage.api::<ReplicaSet>().delete(&format!("shop-{revision}"), &DeleteParams::background()).await?;
    Ok(())
}

/// The Service as it stands in Git.
fn service(ip: Option<&str>, selector: &Value) -> Value {
    let ports: Vec<Value> = PORTS.iter().map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target})).collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"clusterIP": ip, "ports": ports, "selector": selector}})
}

/// Deletes the Service and makes it again, under the same address. Answers from when to when nobody was selected.
async fn remade(stage: &Stage) -> Result<(u64, u64)> {
    let address = stage.address("shop", 80).await?;
    let ip = address.split(':').next().unwrap_or_default();
    let from = now_ms();
    stage.api::<Service>().delete("shop", &DeleteParams::default()).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.create::<Service>(service(Some(ip), &Value::Null)).await?;
    wait_for("the Service selects somebody again", 30, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(!selected.is_empty(), || "nobody".into()))
    })
    .await?;
    Ok((from, now_ms()))
}

async fn select(stage: &Stage, selector: Value) -> Result {
    let somebody = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
    let change = json!({"spec": {"selector": selector}});
    stage.api::<Service>().patch("shop", &somebody, &Patch::Merge(&change)).await?;
    Ok(())
}
