//! Everybody else in the cluster, in miniature: each acts on what it has heard of, and takes its time.

pub mod agent;
pub mod autoscaler;
pub mod clients;
pub mod endpoint_slices;
pub mod garbage;
pub mod jobs;
pub mod kubelet;
pub mod replica_sets;

use std::collections::BTreeMap;

/// Their state.
#[derive(Debug, Default)]
pub struct Peers {
    /// Pods as they really are, by UID.
    pub pods: BTreeMap<String, kubelet::Running>,
    /// Nodes as they really are, by name.
    pub nodes: BTreeMap<String, kubelet::Node>,
    /// The ReplicaSet controller.
    pub replica_sets: replica_sets::Controller,
    /// The EndpointSlice controller.
    pub endpoint_slices: endpoint_slices::Controller,
    /// kube-proxy's watch of EndpointSlices, by node.
    pub proxies: BTreeMap<String, usize>,
    /// The drain agents, by node.
    pub agents: BTreeMap<String, agent::Agent>,
    /// Clients.
    pub clients: Vec<clients::Client>,
    /// The latest number of anything.
    pub number: u64,
}

impl Peers {
    /// A number nobody else has.
    pub fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}
