//! Pods that leave their ReplicaSet, or have none: the caches find them by their owner, or by their revision.

use std::collections::BTreeSet;

use crate::api::keys;
use crate::release::{Control, Pod};

use super::{Concerned, In, Key, Leaving, World, unlink};

/// By whom such a pod is found; `None` for one that belongs to its ReplicaSet alone.
pub(super) fn whose(pod: &In<Pod>) -> Option<Leaving> {
    match (&pod.owner, &pod.value.control) {
        (Some(owner), _) => Some(Leaving::Of(owner.clone())),
        (None, Control::Nobody(_)) => {
            let label = pod.revision.as_deref()?;
            Some(Leaving::Free(pod.namespace.clone(), label.strip_prefix(keys::LEFT_PREFIX).unwrap_or(label).to_owned()))
        }
        (None, Control::Set | Control::Object(_)) => None,
    }
}

impl World {
    /// Pods found so.
    pub fn leaving(&self, whose: &Leaving) -> Vec<&Pod> {
        let mut pods: Vec<&Pod> = self.leaving.get(whose).into_iter().flatten().filter_map(|uid| self.pods.get(uid)).map(|pod| &pod.value).collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        pods
    }

    /// A pod has become one of a ReplicaSet's, or leaves one.
    pub(super) fn joined_set(&mut self, pod: &In<Pod>, uid: &str) -> Concerned {
        if !pod.value.set_uid.is_empty() {
            self.pods_of.entry(pod.value.set_uid.clone()).or_default().insert(uid.to_owned());
        }
        if let Some(whose) = whose(pod) {
            self.leaving.entry(whose).or_default().insert(uid.to_owned());
        }
        Concerned::of(self.keys_of_pod(pod))
    }

    /// A pod is no longer what it was.
    pub(super) fn left_set(&mut self, pod: &In<Pod>, uid: &str) -> Concerned {
        unlink(&mut self.pods_of, &pod.value.set_uid, uid);
        if let Some(whose) = whose(pod) {
            unlink(&mut self.leaving, &whose, uid);
        }
        Concerned::of(self.keys_of_pod(pod))
    }

    fn keys_of_pod(&self, pod: &In<Pod>) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = self.key_of_set(&pod.value.set_uid).into_iter().collect();
        match whose(pod) {
            Some(Leaving::Of(owner)) => keys.extend(self.key_of(&owner)),
            Some(Leaving::Free(namespace, revision)) => {
                let sets = self.sets.values().filter(|set| set.namespace == namespace && set.value.revision == revision);
                keys.extend(sets.filter_map(|set| set.owner.as_ref()).filter_map(|owner| self.key_of(owner)));
            }
            None => {}
        }
        keys
    }

    /// Objects of which such a pod is on a node.
    pub(super) fn leaving_on(&self, here: impl Fn(&String) -> bool) -> impl Iterator<Item = Key> {
        self.leaving.iter().filter(move |(_, uids)| uids.iter().any(&here)).filter_map(|(whose, _)| match whose {
            Leaving::Of(owner) => self.key_of(owner),
            Leaving::Free(..) => None,
        })
    }
}
