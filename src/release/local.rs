//! Services that send traffic only to pods of the node where it arrives: a node that had a ready pod must have one after the move too.
//!
//! Kubernetes drops what arrives at a node without an endpoint (`internalTrafficPolicy: Local`), and a load balancer takes such a node out
//! only after its health checks have failed (`externalTrafficPolicy: Local`): requests get lost for as long.

use std::collections::BTreeSet;

use super::services::Block;
use super::set::Set;
use super::snapshot::Service;
use super::view::View;

/// What keeps a set from taking over from another: a node whose users it would leave without a pod.
pub fn gap(view: &View<'_>, active: &Set, incoming: &Set) -> Option<Block> {
    let traffic = &view.snapshot.object.spec.traffic;
    if traffic.allow_local_gap {
        return None;
    }
    let after = nodes(view, incoming);
    let node = nodes(view, active).into_iter().find(|node| !after.contains(node))?;
    let (index, service, field) = traffic.services.iter().enumerate().find_map(|(index, name)| {
        let service = view.snapshot.services.get(name)?;
        Some((index, service, local(service)?))
    })?;
    Some(Block::new(
        "LocalPolicyGap",
        format!(
            "spec.traffic.services[{index}]: Service \"{}\" has {field} Local, and node {node} has a ready pod of revision {} but none of {}: what arrives there would be lost; spread the pods over the nodes, or set spec.traffic.allowLocalGap",
            service.name, active.revision, incoming.revision
        ),
    ))
}

/// The field by which a Service keeps traffic on the node where it arrives. Where nothing comes in from outside, the API server lets
/// `externalTrafficPolicy` not be.
fn local(service: &Service) -> Option<&'static str> {
    if service.internal_local {
        return Some("internalTrafficPolicy");
    }
    service.external_local.then_some("externalTrafficPolicy")
}

/// Nodes on which a set has a ready pod; a node that is lost itself receives nothing.
fn nodes<'a>(view: &View<'a>, set: &'a Set) -> BTreeSet<&'a str> {
    view.pods(set).filter(|pod| pod.ready && view.on_ready_node(pod)).filter_map(|pod| pod.node.as_deref()).collect()
}
