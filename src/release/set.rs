//! One revision's ReplicaSet, as far as a release depends on it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::ConfigName;
use crate::api::Switch;

/// Blue or green.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// The first.
    Blue,
    /// The other.
    Green,
}

impl Color {
    /// As it stands in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// The colour after this one.
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// From a label.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "blue" => Some(Self::Blue),
            "green" => Some(Self::Green),
            _ => None,
        }
    }
}

/// One revision's ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// The revision it holds.
    pub revision: String,
    /// Which ReplicaSet of its revision it is ([`crate::api::keys::ISSUE`]): 1, or more for the successor of one whose pods leave one by one.
    pub issue: i64,
    /// Its colour.
    pub color: Color,
    /// `spec.replicas`.
    pub desired: i32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// What all of its pods have: `spec.selector.matchLabels`, which can't be changed, also where an earlier object made it with another
    /// selector, and the revision.
    pub selector: std::collections::BTreeMap<String, String>,
    /// `status.replicas`.
    pub replicas: i32,
    /// `status.readyReplicas`, absent where there is no status: the ready pods that Kubernetes' controllers know of. They fill the
    /// endpoints from the same cache.
    pub counted: Option<i32>,
    /// Whether the ReplicaSet controller has seen the latest spec; before that `replicas` tells nothing.
    pub observed: bool,
    /// The annotations behind the fence, the proof and the pods that were told.
    pub marks: Marks,
    /// The fence.
    pub role: Option<Role>,
    /// The move that the fence was written for, as it began.
    pub switch: Option<Switch>,
    /// The proof that it passed its smoke probes.
    pub proof: Option<Proof>,
    /// How often its template had been started anew when it was made.
    pub restarts: i64,
    /// Raw templates known to mean this revision.
    pub template_hashes: Vec<String>,
    /// Hash of the template as the API server normalised it, without our own label.
    pub template_identity: String,
    /// Pods that were told to drain; present as soon as any was to be told.
    pub drain_begun: Option<BTreeSet<String>>,
    /// Why the ReplicaSet controller could not create pods (condition ReplicaFailure).
    pub failure: Option<String>,
    /// Images of its containers, comma separated.
    pub images: String,
    /// What its template refers to that may be copies of configuration.
    pub configs: BTreeSet<ConfigName>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Of pods that leave one by one and have no ReplicaSet any more ([`super::part`]): since when they are being left.
    pub loose: Option<Timestamp>,
}

/// The mark of a pod that leaves its ReplicaSet: all that must be known of the set when it is gone. Kept as an annotation of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// UID of the ReplicaSet.
    pub set: String,
    /// Its revision.
    pub revision: String,
    /// Which ReplicaSet of its revision it was.
    pub issue: i64,
    /// Its colour.
    pub color: Color,
    /// The fencing number under which it was left.
    pub attempt: i64,
    /// Since when it is being left: deadlines count from here.
    pub since: Timestamp,
}

/// Annotations of a ReplicaSet that say what it may be used for, letter by letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// [`crate::api::keys::ROLE`].
    pub role: Option<String>,
    /// [`crate::api::keys::PROOF`].
    pub proof: Option<String>,
    /// [`crate::api::keys::DRAIN_BEGUN`].
    pub drain_begun: Option<String>,
}

/// The fence on a ReplicaSet: what the controller with this attempt means to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Serving or retiring.
    pub kind: RoleKind,
    /// The fencing number.
    pub attempt: i64,
}

/// What a controller means to do with a ReplicaSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// Traffic goes, or is about to go, to it.
    Serving,
    /// It is about to be scaled to zero.
    Retiring,
    /// It was scaled to zero and is kept for its template.
    Retired,
}

impl Role {
    /// Traffic goes to it.
    pub fn serving(attempt: i64) -> Self {
        Self { kind: RoleKind::Serving, attempt }
    }

    /// It is about to be scaled to zero.
    pub fn retiring(attempt: i64) -> Self {
        Self { kind: RoleKind::Retiring, attempt }
    }

    /// It was scaled to zero.
    pub fn retired(attempt: i64) -> Self {
        Self { kind: RoleKind::Retired, attempt }
    }

    /// As it stands in the annotation.
    pub fn text(self) -> String {
        let kind = match self.kind {
            RoleKind::Serving => "serving",
            RoleKind::Retiring => "retiring",
            RoleKind::Retired => "retired",
        };
        format!("{kind}@{}", self.attempt)
    }

    /// From the annotation; `None` for anything this version did not write.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, attempt) = text.split_once('@')?;
        let kind = match kind {
            "serving" => RoleKind::Serving,
            "retiring" => RoleKind::Retiring,
            "retired" => RoleKind::Retired,
            _ => return None,
        };
        Some(Self { kind, attempt: parse_attempt(attempt)? })
    }
}

/// Images of a pod template's containers, each once.
pub fn images(template: &Value) -> String {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let images: BTreeSet<&str> = containers.filter_map(|container| container.get("image")?.as_str()).collect();
    images.into_iter().collect::<Vec<_>>().join(",")
}

/// Far more moves than any object makes. A higher number was made up, and nothing could be counted on from there.
pub const MOST_ATTEMPTS: i64 = 1 << 53;

/// A fencing number in an annotation: counted from zero.
pub fn parse_attempt(text: &str) -> Option<i64> {
    text.parse().ok().filter(|attempt| *attempt >= 0)
}

/// The proof that a ReplicaSet passed its smoke probes, kept as an annotation of that very ReplicaSet, so that it can't be used for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Hash of the probes that passed: other probes need another proof.
    pub probes: String,
    /// Pods needed for the switch, frozen when the probes passed.
    pub needed: i32,
    /// UIDs of the pods that passed.
    pub pods: BTreeSet<String>,
    /// Whether these are the pods of the size for the tests (`bringUp.previewReplicas`), which are not enough for the switch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// When enough of them had passed; not written where nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}
