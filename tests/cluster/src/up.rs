//! How a cluster comes up: everything that does not depend on each other at once.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::component::Component;
use crate::error::{Doing, Error, Result};
use crate::layout::{API_SERVICE, Layout};
use crate::node::control::{Request, ask};
use crate::process::Process;
use crate::progress::Progress;
use crate::{config, helper, hub, network, node, pki};

/// What every wait of `up` ends with at the latest. Far more than a slow machine needs.
const WITHIN: Duration = Duration::from_secs(120);
const STEPS: usize = 5;

/// Starts all of it. Nothing of this cluster may be there; the caller holds its lock.
pub(crate) fn start(cluster: &Cluster, listener: TcpListener, progress: &mut dyn Progress) -> Result<()> {
    let (layout, nodes) = (&cluster.layout, cluster.nodes());
    progress.step(1, STEPS, &format!("making {nodes} nodes"));
    layout.make_dirs(nodes)?;
    pki::write(layout, nodes, cluster.record.port)?;
    if cluster.record.audit {
        config::write_audit_policy(layout)?;
    }
    cluster.write_record()?;
    hub::start(layout, listener)?;
    on_all_nodes(nodes, |node| make_node(cluster, node))?;
    for component in [Component::Etcd, Component::KubeApiserver] {
        start_component(cluster, component, 1)?;
    }

    progress.step(2, STEPS, "starting the control plane");
    let images = {
        let cluster = cluster.clone();
        std::thread::spawn(move || on_all_nodes(cluster.nodes(), |node| load_pause(&cluster, node)))
    };
    cluster.wait_ready(WITHIN)?;
    for component in [Component::KubeControllerManager, Component::KubeScheduler, Component::Coredns] {
        start_component(cluster, component, 1)?;
    }

    progress.step(3, STEPS, "starting the nodes' programs");
    images.join().unwrap_or_else(|_| Err(Error::Start { what: "loading the pause image".into(), message: "it panicked".into() }))?;
    for node in 1..=nodes {
        for component in [Component::Kubelet, Component::KubeProxy] {
            start_component(cluster, component, node)?;
        }
    }
    let api = cluster.api()?;
    for (path, object) in config::dns_objects() {
        api.create(path, &object)?;
    }

    progress.step(4, STEPS, "waiting for the nodes");
    for node in 1..=nodes {
        wait_node_ready(cluster, node, None)?;
    }

    progress.step(5, STEPS, "waiting for ServiceAccounts and DNS");
    cluster.wait("the default ServiceAccount", WITHIN, || Ok(api.get("/api/v1/namespaces/default/serviceaccounts/default")))?;
    wait_dns(cluster)?;
    std::fs::write(layout.started(), []).doing(|| "noting that the cluster is up".into())
}

/// Starts a killed node again.
pub(crate) fn restart_node(cluster: &Cluster, node: usize) -> Result<()> {
    if let Some(hub) = hub::running(&cluster.layout) {
        // It fails if the kernel was faster.
        let _ = network::inside(hub, || network::ip(&network::unplug(node)));
    }
    make_node(cluster, node)?;
    load_pause(cluster, node)?;
    let mut stale = None;
    for component in Component::ALL.into_iter().filter(|component| component.runs_on(node) && *component != Component::Containerd) {
        if component == Component::Kubelet {
            // The API server may not have noticed yet that the node was dead, so Ready must be said anew.
            stale = cluster.api()?.get(&node_path(cluster, node)).as_ref().and_then(heartbeat);
        }
        start_component(cluster, component, node)?;
        if component == Component::KubeApiserver {
            cluster.wait_ready(WITHIN)?;
        }
    }
    wait_node_ready(cluster, node, stale.as_deref())
}

/// Namespaces, network and containerd of one node.
fn make_node(cluster: &Cluster, node: usize) -> Result<()> {
    let layout = &cluster.layout;
    config::write(layout, &cluster.record.dist, node)?;
    let init = node::start(layout, node)?;
    let hub = hub::running(layout).ok_or_else(|| Error::Start { what: "the hub".into(), message: "it has ended".into() })?;
    network::inside(hub, || network::ip(&network::plug(node, init.pid)))?;
    network::inside(init, || network::ip(&network::node(node, cluster.nodes())))?;
    start_component(cluster, Component::Containerd, node)
}

/// Starts a component that is not running.
pub(crate) fn start_component(cluster: &Cluster, component: Component, node: usize) -> Result<()> {
    let dist = &cluster.record.dist;
    let path = format!("{}:{}", dist.runtime_bin().display(), helper::SYSTEM_PATH);
    let request = Request::Start {
        name: component.name().into(),
        argv: component.argv(&cluster.layout, dist, node, cluster.record.audit),
        env: vec![("PATH".into(), path), ("HOME".into(), "/root".into())],
        log: cluster.layout.log(node, component.name()),
    };
    ask(&cluster.layout, node, &request).map(|_| ())
}

/// The image every pod begins with. Containerd takes a moment before it takes images.
fn load_pause(cluster: &Cluster, node: usize) -> Result<()> {
    let archive = cluster.record.dist.pause_image();
    let mut last = None;
    let loaded = cluster.wait(&format!("containerd on node {node}"), WITHIN, || match cluster.load_image_on(node, &archive) {
        Ok(()) => Ok(Some(())),
        Err(error) => {
            last = Some(error);
            Ok(None)
        }
    });
    // What containerd said is worth more than that it did not come.
    loaded.map_err(|timeout| last.unwrap_or(timeout))
}

fn node_path(cluster: &Cluster, node: usize) -> String {
    format!("/api/v1/nodes/{}", cluster.node_name(node))
}

/// Waits for a node to be Ready, by a heartbeat other than `stale`.
fn wait_node_ready(cluster: &Cluster, node: usize, stale: Option<&str>) -> Result<()> {
    let (api, path) = (cluster.api()?, node_path(cluster, node));
    cluster.wait(&format!("node {node} Ready"), WITHIN, || {
        let beat = api.get(&path).as_ref().and_then(heartbeat);
        Ok(beat.filter(|beat| stale != Some(beat)).map(|_| ()))
    })
}

/// The last heartbeat of a node that is Ready; none otherwise.
fn heartbeat(node: &Value) -> Option<String> {
    let conditions = node.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|condition| condition.get("type").is_some_and(|kind| kind == "Ready"))?;
    let time = ready.get("lastHeartbeatTime")?.as_str()?;
    (ready.get("status")? == "True").then(|| time.to_string())
}

fn wait_dns(cluster: &Cluster) -> Result<()> {
    let init = init(&cluster.layout, 1)?;
    cluster.wait("an answer of the cluster's DNS", WITHIN, || {
        let answer = network::inside(init, || Ok(network::resolve("kubernetes.default.svc.cluster.local")))?;
        Ok(answer.filter(|address: &Ipv4Addr| *address == API_SERVICE).map(|_| ()))
    })
}

fn init(layout: &Layout, node: usize) -> Result<Process> {
    Process::recorded(&layout.init(node)).ok_or_else(|| Error::Node { node, message: "has ended".into() })
}

/// Does `work` for nodes 1 to `nodes` at the same time; the first failing node's error is the result.
pub(crate) fn on_all_nodes(nodes: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=nodes)
            .map(|node| {
                (
                    node,
                    scope.spawn({
                        let work = &work;
                        move || work(node)
                    }),
                )
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|(node, thread)| thread.join().unwrap_or_else(|_| Err(Error::Node { node, message: "a thread panicked".into() })))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_ready_node_has_a_heartbeat() {
        let node = |status| {
            json!({"status": {"conditions": [
                {"type": "MemoryPressure", "status": "True", "lastHeartbeatTime": "a"},
                {"type": "Ready", "status": status, "lastHeartbeatTime": "b"},
            ]}})
        };
        assert_eq!(heartbeat(&node("True")).as_deref(), Some("b"));
        assert_eq!(heartbeat(&node("Unknown")), None);
        assert_eq!(heartbeat(&json!({})), None);
    }

    #[test]
    fn the_first_failing_node_fails_the_whole() {
        assert!(on_all_nodes(3, |_| Ok(())).is_ok());
        let result = on_all_nodes(3, |node| if node == 2 { Err(Error::Nodes(2)) } else { Ok(()) });
        assert!(matches!(result, Err(Error::Nodes(2))));
    }
}
