//! What follows from a snapshot and is used by several steps: which set is active, which is coming, which are being left.

use std::collections::BTreeSet;

use crate::api::{ConditionType, Rejected, Switch, keys};

use super::overlap;
use super::revision::probes_hash;
use super::services;
use super::set::{Proof, RoleKind, Set};
use super::snapshot::{Identity, Now, Pod, Service, Snapshot};

/// Derived facts; cheap to make, never stored.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The time.
    pub now: Now,
    /// The recorded intent.
    pub intent: Option<&'a Switch>,
    /// The revision that was given up, if it is that of the spec.
    pub rejected: Option<&'a Rejected>,
    /// The revision of the spec, if known.
    pub revision: Option<&'a str>,
}

impl<'a> View<'a> {
    /// Derives.
    pub fn new(snapshot: &'a Snapshot, now: Now, intent: Option<&'a Switch>, rejected: Option<&'a Rejected>) -> Self {
        let revision = match &snapshot.identity {
            Identity::Known { revision, .. } => Some(revision.as_str()),
            Identity::Unknown { .. } | Identity::Refused { .. } => None,
        };
        let rejected = rejected.filter(|rejected| revision.is_none_or(|revision| rejected.revision == revision));
        Self { snapshot, now, intent, rejected, revision }
    }

    /// The set of a revision. Of several the first issue: its successor only waits for it to go.
    pub fn set(&self, revision: &str) -> Option<&'a Set> {
        let sets = self.snapshot.sets.iter().filter(|set| set.revision == revision && !set.deleting && set.loose.is_none());
        sets.min_by_key(|set| set.issue)
    }

    /// Whether a set is a successor whose predecessor is still there.
    pub fn spare(&self, set: &Set) -> bool {
        set.loose.is_none() && self.set(&set.revision).is_some_and(|first| first.uid != set.uid)
    }

    /// The active set, by recorded intent.
    pub fn active(&self) -> Option<&'a Set> {
        self.intent.and_then(|intent| self.set(&intent.to))
    }

    /// Whether a revision is the active one.
    pub fn is_active(&self, revision: &str) -> bool {
        self.intent.is_some_and(|intent| intent.to == revision)
    }

    /// Whether every Service of the recorded intent has been moved.
    pub fn settled(&self) -> bool {
        self.intent.is_none_or(|intent| intent.completed_at.is_some())
    }

    /// The revision that is to become active: that of the spec, or, when that was given up, the one to return to.
    pub fn target(&self) -> Option<&'a str> {
        let wanted = match self.rejected {
            Some(rejected) => rejected.return_to.as_deref(),
            None => self.revision,
        };
        wanted.filter(|revision| !self.is_active(revision))
    }

    /// The active set, if it is of the spec's own revision.
    pub fn taken_over(&self) -> Option<&'a Set> {
        self.active().filter(|set| Some(set.revision.as_str()) == self.revision)
    }

    /// Whether the target is the spec's own revision, and not one to return to.
    pub fn forward(&self) -> bool {
        self.rejected.is_none()
    }

    /// Pods of a set that count: neither ended nor being deleted.
    pub fn pods(&self, set: &'a Set) -> impl Iterator<Item = &'a Pod> + use<'a> {
        let uid = set.uid.as_str();
        self.snapshot.pods.iter().filter(move |pod| pod.set_uid == uid && pod.alive())
    }

    /// Ready pods of a set.
    pub fn ready(&self, set: &'a Set) -> i32 {
        count(self.pods(set).filter(|pod| pod.ready).count())
    }

    /// Whether the node of a pod is ready itself, as far as is known.
    pub fn on_ready_node(&self, pod: &Pod) -> bool {
        let node = pod.node.as_ref().and_then(|name| self.snapshot.nodes.get(name));
        node.is_none_or(|node| node.exists && node.ready && !node.unreachable)
    }

    /// Ready pods of the active set. Where that was deleted without them, users still have those, which are nobody's until a new set has
    /// taken them: as many as one Service leads to.
    pub fn ready_active(&self) -> i32 {
        let snapshot = self.snapshot;
        let there = |set_uid: &String| snapshot.sets.iter().any(|set| set.uid == *set_uid && !set.deleting);
        let known = |uid: &String| snapshot.pods.iter().any(|pod| pod.uid == *uid && there(&pod.set_uid));
        let ours = |service: &&Service| {
            let leads = |intent: &Switch| overlap::leads_to(&service.selector, &intent.to, Some(intent));
            services::owned(snapshot, service) && self.intent.is_some_and(leads)
        };
        let declared = snapshot.object.spec.traffic.services.iter().filter_map(|name| snapshot.services.get(name)).filter(ours);
        let endpoints = declared.filter_map(|service| snapshot.endpoints.get(&service.name)).filter(|endpoints| !endpoints.foreign);
        let nobodys = endpoints.map(|endpoints| endpoints.pods.iter().filter(|(uid, ready)| **ready && !known(uid)).count()).max();
        self.active().map_or(0, |active| self.ready(active)) + count(nobodys.unwrap_or(0))
    }

    /// Whether the active set has no ready pod because none was wanted until `spec.replicas` was raised from zero: then none was lost.
    /// The condition Available keeps it in mind until the first one is there.
    pub fn up_from_zero(&self) -> bool {
        let known = self.snapshot.object.status.conditions.iter().find(|condition| condition.kind == ConditionType::Available);
        self.ready_active() == 0 && known.is_some_and(|condition| matches!(condition.reason.as_str(), "ScaledToZero" | "ScalingFromZero"))
    }

    /// Pods of a set that have been ready for minReadySeconds.
    pub fn available(&self, set: &'a Set) -> impl Iterator<Item = &'a Pod> + use<'a> {
        let minimum = f64::from(self.snapshot.object.spec.min_ready_seconds);
        let now = self.now;
        self.pods(set).filter(move |pod| pod.ready && (minimum <= 0.0 || pod.ready_since.is_some_and(|since| now.seconds_since(since) >= minimum)))
    }

    /// Seconds until another ready pod of a set becomes available.
    pub fn next_available(&self, set: &'a Set) -> Option<f64> {
        let minimum = f64::from(self.snapshot.object.spec.min_ready_seconds);
        self.pods(set)
            .filter(|pod| pod.ready)
            .filter_map(|pod| pod.ready_since)
            .map(|since| minimum - self.now.seconds_since(since))
            .filter(|left| *left > 0.0)
            .reduce(f64::min)
    }

    /// The proof that counts for a set: of the probes of the spec as they are now. On the way back to a set that served, whatever
    /// it once passed is enough: a release that changed its probes, too, could otherwise not be taken back.
    pub fn proof(&self, set: &'a Set) -> Option<&'a Proof> {
        let hash = probes_hash(&self.snapshot.object.spec.smoke_probes);
        let back = !self.forward() && self.served(set);
        set.proof.as_ref().filter(|proof| back || proof.probes == hash)
    }

    /// Pods that passed, by the proof on the set itself.
    pub fn proven(&self, set: &'a Set) -> BTreeSet<&'a str> {
        self.proof(set).map(|proof| proof.pods.iter().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Whether the set has been given traffic since it last had no pods.
    pub fn served(&self, set: &Set) -> bool {
        set.role.is_some_and(|role| role.kind != RoleKind::Retired)
    }

    /// Sets that served, are no longer active and still have pods wanted: those being left, also while the target is one of them. Pods that
    /// have lost their ReplicaSet are such a set for good, whatever becomes of their revision.
    pub fn being_left(&self) -> impl Iterator<Item = &'a Set> + use<'a, '_> {
        let left = |set: &&Set| !set.deleting && set.desired > 0 && self.served(set);
        self.snapshot.sets.iter().filter(left).filter(|set| set.loose.is_some() || !self.is_active(&set.revision))
    }

    /// Whether a set may serve as it is: it was not told to drain.
    pub fn warm(&self, set: &Set) -> bool {
        set.drain_begun.is_none()
    }

    /// Whether the set is about to be scaled to zero by somebody with a right to it.
    pub fn retiring(&self, set: &Set) -> bool {
        set.role.is_some_and(|role| role.kind == RoleKind::Retiring)
    }

    /// The selector that a Service needs for a revision.
    pub fn selector(&self, revision: &str) -> std::collections::BTreeMap<String, String> {
        let mut selector = self.snapshot.object.spec.selector.match_labels.clone();
        selector.insert(keys::REVISION.into(), revision.into());
        selector
    }

    /// The attempt that the next intent gets.
    pub fn next_attempt(&self) -> i64 {
        let highest = self.snapshot.sets.iter().filter_map(|set| set.role).map(|role| role.attempt).max().unwrap_or(0);
        self.intent.map_or(0, |intent| intent.attempt).max(highest).saturating_add(1)
    }
}

/// A count as Kubernetes writes it.
pub fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A number of things in words: `1 pod`, `2 pods`.
pub fn counted(number: i64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
