//! Whether users may still be sent to a pod, by what the nodes know of a Service's endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use super::snapshot::{Pod, Snapshot};
use super::view::View;

/// So long after an endpoint is gone a node may still send users there: kube-proxy gathers changes for a second by default
/// (`iptables.minSyncPeriod`), and on a busy node it is late.
pub const FOLLOW: Duration = Duration::from_secs(3);

/// Whether a pod is still an endpoint of a declared Service. Nodes go on sending users there, whatever the selector says: after an outage of the
/// API server Kubernetes' controllers may hear of the move a minute later, and give up all nodes meanwhile, so that nobody calls for a while.
pub fn is_endpoint(snapshot: &Snapshot, pod: &str) -> bool {
    let declared = snapshot.object.spec.traffic.services.iter().filter(|name| snapshot.services.contains_key(*name));
    declared.filter_map(|name| snapshot.endpoints.get(name)).any(|endpoints| endpoints.pods.contains_key(pod))
}

/// Notes since when pods are no endpoints. One that is new to this process may have been one until just now.
pub fn note(absent: &mut BTreeMap<String, Duration>, snapshot: &Snapshot, now: Duration) {
    absent.retain(|uid, _| snapshot.pods.iter().any(|pod| pod.uid == *uid));
    if snapshot.object.spec.traffic.services.is_empty() {
        return absent.clear();
    }
    for pod in &snapshot.pods {
        if is_endpoint(snapshot, &pod.uid) {
            absent.remove(&pod.uid);
        } else {
            absent.entry(pod.uid.clone()).or_insert(now);
        }
    }
}

/// Whether users may be sent to a pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// It is an endpoint.
    Endpoint,
    /// It was until a moment ago; so many seconds are left.
    Late(f64),
    /// No node sends anybody there.
    No,
}

/// Looks whether users may still be sent to a pod.
pub fn reach(view: &View<'_>, pod: &Pod) -> Reach {
    if is_endpoint(view.snapshot, &pod.uid) {
        return Reach::Endpoint;
    }
    let since = view.snapshot.absent_since.get(&pod.uid);
    let left = since.map(|since| (*since + FOLLOW).saturating_sub(view.now.mono).as_secs_f64());
    left.filter(|left| *left > 0.0).map_or(Reach::No, Reach::Late)
}
