//! Peers: who holds connections to old pods, by name, and which pods are to be ignored.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::BlueGreenDeploymentStatus;
use crate::release::Snapshot;

use super::api::{ApiServer, Resource, Which};
use super::context::Context;
use super::trim;

/// Names kept for one object.
const NAMES: usize = 256;

/// Looks up the holders that status is about to show and the pods to ignore; each address and each selector is asked once.
/// Answers whether anything new was found, so that the plan is to be made again.
pub async fn name<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) -> bool {
    let mut found = ignored(context, snapshot, status).await;
    if !context.installation.cluster_wide {
        return found;
    }
    let unknown = status
        .draining
        .iter()
        .flat_map(|set| &set.holders)
        .filter(|holder| holder.pod.is_none() && !snapshot.peer_names.contains_key(&holder.address));
    for address in unknown.map(|holder| holder.address.clone()).collect::<std::collections::BTreeSet<_>>() {
        let which = Which { fields: Some(format!("status.podIP={address}")), ..Which::default() };
        let Ok(pods) = context.api.list(Resource::Pod, "", which).await else {
            continue;
        };
        // Pods with hostNetwork share their node's address: which of them it is can't be told.
        let name = pods
            .iter()
            .find(|pod| !host_network(pod))
            .and_then(|pod| Some(format!("{}/{}", trim::text(pod, "/metadata/namespace")?, trim::text(pod, "/metadata/name")?)));
        found |= name.is_some();
        context.remember(&snapshot.object.uid, |remembered| {
            if remembered.peers.len() < NAMES {
                remembered.peers.insert(address, name);
            }
        });
    }
    found
}

/// Addresses of the pods that `drain.ignorePeers[].podLabels` names: asked when a drain begins, and when somebody unknown holds it.
async fn ignored<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) -> bool {
    let object = &snapshot.object;
    if status.draining.is_empty() {
        context.remember(&object.uid, |remembered| remembered.ignored.clear());
        return false;
    }
    // Without the right to look names up everybody stays a stranger; then one question a drain has to do.
    let strangers = context.installation.cluster_wide
        && status.draining.iter().flat_map(|set| &set.holders).any(|holder| !snapshot.peer_names.contains_key(&holder.address));
    let mut found = false;
    for (index, peer) in object.spec.drain.ignore_peers.iter().enumerate() {
        let Some(labels) = &peer.pod_labels else {
            continue;
        };
        if snapshot.ignored_addresses.contains_key(&index) && !strangers {
            continue;
        }
        let namespace = peer.namespace.as_deref().unwrap_or(&object.namespace);
        let which = Which { labels: Some(selector(labels)), ..Which::default() };
        let Ok(pods) = context.api.list(Resource::Pod, namespace, which).await else {
            continue;
        };
        let addresses: Vec<String> = pods
            .iter()
            .filter(|pod| !host_network(pod))
            .flat_map(|pod| pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten())
            .filter_map(|address| trim::text(address, "/ip"))
            .collect();
        found |= snapshot.ignored_addresses.get(&index) != Some(&addresses);
        context.remember(&object.uid, |remembered| remembered.ignored.insert(index, addresses));
    }
    found
}

fn host_network(pod: &Value) -> bool {
    pod.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false)
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
