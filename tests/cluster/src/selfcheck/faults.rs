//! Each fault is made, seen, undone, and seen to be undone.

use std::net::SocketAddr;

use super::{NODE_PORT, PORT, check, eventually, from_node, node_ready, pods};
use crate::cluster::Cluster;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::progress::Progress;
use nix::sys::signal::Signal;

pub(super) fn all(cluster: &Cluster, progress: &mut dyn Progress) -> Result<()> {
    progress.detail("API server and store");
    for component in [Component::KubeApiserver, Component::Etcd] {
        cluster.stop(component, 1, Signal::SIGKILL)?;
        // The API server itself notices a lost store only at its next look.
        let without = format!("an API server that is not ready without {}", component.name());
        eventually(&without, || check(!cluster.api()?.ready(), || "it is ready".into()))?;
        check(cluster.health().is_err(), || format!("the cluster calls itself well without {}", component.name()))?;
        let twice = cluster.stop(component, 1, Signal::SIGKILL);
        check(twice.is_err(), || format!("{} was stopped twice", component.name()))?;
        cluster.start(component, 1)?;
        eventually("an API server that is ready", || cluster.health())?;
    }
    let elsewhere = cluster.stop(Component::Etcd, 2, Signal::SIGKILL);
    check(matches!(elsewhere, Err(Error::NotThere { .. })), || "node 2 was thought to have a store".into())?;

    progress.detail("a stopped API server");
    cluster.stop(Component::KubeApiserver, 1, Signal::SIGSTOP)?;
    check(cluster.api()?.get("/readyz").is_none(), || "a stopped API server answers".into())?;
    cluster.start(Component::KubeApiserver, 1)?;

    progress.detail("a kubelet");
    cluster.stop(Component::Kubelet, 2, Signal::SIGTERM)?;
    wait_ready(cluster, 2, false)?;
    cluster.start(Component::Kubelet, 2)?;
    wait_ready(cluster, 2, true)?;

    progress.detail("a cut link");
    let there = SocketAddr::from((cluster.node_address(2), NODE_PORT));
    eventually("an answer of node 2", || from_node(cluster, 1, there, "/"))?;
    cluster.cut(2)?;
    check(from_node(cluster, 1, there, "/").is_err(), || "a cut link lets packets pass".into())?;
    wait_ready(cluster, 2, false)?;
    cluster.restore(2)?;
    wait_ready(cluster, 2, true)?;
    eventually("an answer of node 2 after its link is back", || from_node(cluster, 1, there, "/"))?;

    for node in [2, 1] {
        progress.detail("a node that dies");
        dies_and_returns(cluster, node)?;
    }
    Ok(())
}

fn dies_and_returns(cluster: &Cluster, node: usize) -> Result<()> {
    let init = cluster.layout.init(node);
    let process = Process::recorded(&init).ok_or_else(|| Error::Check(format!("node {node} is not running")))?;
    cluster.kill_node(node)?;
    check(!process.alive(), || format!("node {node} lives after it was killed"))?;
    let groups = crate::cgroup::existing()?;
    check(!groups.contains(&cluster.layout.cgroup(node)), || format!("the control group of node {node} is left"))?;
    if node != 1 {
        wait_ready(cluster, node, false)?;
    }
    cluster.start_node(node)?;
    // Its pod is there again, on its disk's image, and answers under its new address.
    let name = cluster.node_name(node);
    eventually(&format!("the pod of {name}"), || {
        let found = pods(cluster)?;
        let pod = found.iter().find(|pod| pod.node == name).ok_or_else(|| Error::Check("no pod".into()))?;
        from_node(cluster, 1, SocketAddr::new(pod.address, PORT), "/")
    })?;
    let twice = cluster.start_node(node);
    check(twice.is_err(), || format!("node {node} was started twice"))
}

fn wait_ready(cluster: &Cluster, node: usize, ready: bool) -> Result<()> {
    eventually(&format!("node {node} ready: {ready}"), || {
        let now = node_ready(cluster, node)?;
        check((now == "True") == ready, || format!("Ready is {now}"))
    })
}
