//! Metadata: what pods bear because of their role, beside what their template says.
//!
//! It is written on the pods themselves: in the template of a ReplicaSet it would be another revision. What was written is noted on each
//! pod, so that it can be taken off again, and only that.

use serde::{Deserialize, Serialize};

use crate::api::RoleMetadata;

use super::action::{PodRef, RoleChange};
use super::overlap;
use super::revision::metadata_hash;
use super::set::Set;
use super::snapshot::Control;
use super::view::View;

/// Annotations that keep a pod from being evicted to save a node: by cluster-autoscaler (its FAQ, "What types of pods can prevent CA from
/// removing a node?") and by Karpenter ("Pod-level controls"). An eviction would cut the connections that are waited for.
const STAYS: [(&str, &str); 2] = [("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"), ("karpenter.sh/do-not-disrupt", "true")];

/// What a pod is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PodRole {
    /// It serves.
    Active,
    /// It does not serve, and has not.
    Inactive,
    /// It has served, and is being left.
    Draining,
}

/// What was written on a pod, as it is noted there ([`crate::api::keys::METADATA`]).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Record {
    /// For which role.
    pub role: PodRole,
    /// Hash of what was asked for.
    pub hash: String,
    /// Labels that were added.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Annotations that were added.
    #[serde(default)]
    pub annotations: Vec<String>,
}

/// What some pods do not bear yet, or not any more: first those that autoscalers are to leave alone.
pub fn step(view: &View<'_>) -> Vec<RoleChange> {
    if view.snapshot.object.spec.paused {
        return vec![];
    }
    // Of a set at 0 the pods are ending.
    let sets = view.snapshot.sets.iter().filter(|set| !set.deleting && set.desired > 0);
    let mut changes: Vec<RoleChange> = sets.filter_map(|set| change(view, set)).collect();
    changes.sort_by_key(|change| change.role != PodRole::Draining);
    changes
}

fn change(view: &View<'_>, set: &Set) -> Option<RoleChange> {
    let role = role(view, set);
    let wanted = wanted(view, role);
    let hash = metadata_hash(&wanted);
    // By what was asked for, and not by what is there now: who changes it by hand has the last word, and nobody is fought.
    let right = |record: Option<&Record>| match record {
        Some(record) => record.role == role && record.hash == hash,
        None => wanted == RoleMetadata::default(),
    };
    let pods = view.pods(set).filter(|pod| !matches!(pod.control, Control::Nobody(_)) && !right(pod.metadata.as_ref()));
    let pods: Vec<PodRef> = pods.map(PodRef::of).collect();
    (!pods.is_empty()).then_some(RoleChange { role, wanted, pods })
}

fn role(view: &View<'_>, set: &Set) -> PodRole {
    match () {
        () if set.loose.is_some() => PodRole::Draining,
        () if view.is_active(&set.revision) => PodRole::Active,
        // Until the Services have moved it serves beside the other.
        () if view.intent.is_some_and(|intent| overlap::together(view, intent) && intent.from.as_ref() == Some(&set.revision)) => PodRole::Active,
        () if view.served(set) => PodRole::Draining,
        () => PodRole::Inactive,
    }
}

fn wanted(view: &View<'_>, role: PodRole) -> RoleMetadata {
    let metadata = &view.snapshot.object.spec.pod_metadata;
    match role {
        PodRole::Active => metadata.active.clone(),
        PodRole::Inactive => metadata.inactive.clone(),
        PodRole::Draining => {
            let mut wanted = metadata.draining.clone();
            for (key, value) in STAYS {
                wanted.annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
            wanted
        }
    }
}
