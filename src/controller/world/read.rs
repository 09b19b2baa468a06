//! The caches as they are read: everything a snapshot is made from, and whom a change concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::api::BlueGreenDeployment;
use crate::release::{Endpoints, Node, Pod, RoleKind, Service, Set};

use super::{Feed, Heard, In, Key, World};

impl World {
    /// Whether every kind that all decisions rest on has been read completely once. Each other one is unknown by itself.
    pub fn synced(&self) -> bool {
        let scopes = &self.scopes();
        self.objects.synced(scopes)
            && self.sets.synced(scopes)
            && self.pods.synced(scopes)
            && self.services.synced(scopes)
            && self.slices.synced(scopes)
    }

    /// One object.
    pub fn object(&self, key: &Key) -> Option<&BlueGreenDeployment> {
        self.by_key.get(key).and_then(|uid| self.objects.get(uid))
    }

    /// Whether an object with this UID is known.
    pub fn knows(&self, uid: &str) -> bool {
        self.objects.get(uid).is_some()
    }

    /// Every object's key.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.by_key.keys().cloned().collect()
    }

    /// ReplicaSets of an owner.
    pub fn sets(&self, owner: &str) -> Vec<&Set> {
        let mut sets: Vec<&Set> = self.sets_of.get(owner).into_iter().flatten().filter_map(|uid| self.sets.get(uid)).map(|set| &set.value).collect();
        sets.sort_by(|one, other| one.name.cmp(&other.name));
        sets
    }

    /// ReplicaSets of a namespace without an owner that are named as those of this object are.
    pub fn orphans(&self, namespace: &str, name: &str) -> Vec<&Set> {
        let mine = |set: &&In<Set>| set.namespace == namespace && set.owner.is_none() && super::heir(&set.value) == Some(name);
        self.sets.values().filter(mine).map(|set| &set.value).collect()
    }

    /// Pods of a ReplicaSet.
    pub fn pods(&self, set: &str) -> Vec<&Pod> {
        let mut pods: Vec<&Pod> = self.pods_of.get(set).into_iter().flatten().filter_map(|uid| self.pods.get(uid)).map(|pod| &pod.value).collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        pods
    }

    /// Whether any pod of a revision is left in a namespace, be its ReplicaSet gone or not.
    pub fn has_pods(&self, namespace: &str, revision: &str) -> bool {
        self.pods.values().any(|pod| pod.namespace == namespace && pod.revision.as_deref() == Some(revision))
    }

    /// Services of a namespace, by name.
    pub fn services(&self, namespace: &str) -> impl Iterator<Item = &Service> {
        self.services_in.get(namespace).into_iter().flat_map(BTreeMap::values).filter_map(|uid| self.services.get(uid)).map(|service| &service.value)
    }

    /// Endpoints of a Service; `None` where it has no slice.
    pub fn endpoints(&self, namespace: &str, service: &str) -> Option<Endpoints> {
        let slices = self.slices_of.get(&(namespace.to_owned(), service.to_owned()))?;
        let mut sum: Option<Endpoints> = None;
        for slice in slices.iter().filter_map(|uid| self.slices.get(uid)) {
            let sum = sum.get_or_insert_default();
            sum.foreign |= slice.value.1.foreign;
            sum.addresses.extend(slice.value.1.addresses.iter().cloned());
            for (uid, ready) in &slice.value.1.pods {
                *sum.pods.entry(uid.clone()).or_default() |= ready;
            }
        }
        sum
    }

    /// A node by name; one that is missing from a complete list does not exist.
    pub fn node(&self, name: &str) -> Option<Node> {
        match self.node_names.get(name).and_then(|uid| self.nodes.get(uid)) {
            Some((_, node)) => Some(node.clone()),
            // A list that is old lacks whatever has joined since.
            None if self.nodes_readable && self.nodes.synced(&[String::new()]) && !self.fails(Feed::Nodes, "") => {
                Some(Node { exists: false, linux: true, unreachable: true, ready: false, addresses: vec![] })
            }
            None => None,
        }
    }

    /// Every node that exists.
    pub fn nodes(&self) -> impl Iterator<Item = &(String, Node)> {
        self.nodes.values()
    }

    /// The node that has an address, as words for status.
    pub fn node_at(&self, address: IpAddr) -> Option<String> {
        let here = |(_, node): &&(String, Node)| node.addresses.iter().any(|known| same(known, address));
        self.nodes.values().find(here).map(|(name, _)| format!("the address of node \"{name}\""))
    }

    /// The Service that has an address, as words for status.
    pub fn service_at(&self, address: IpAddr) -> Option<String> {
        let here = |service: &&In<Service>| service.value.cluster_ips.iter().any(|known| same(known, address));
        self.services.values().find(here).map(|service| format!("the address of Service \"{}/{}\"", service.namespace, service.value.name))
    }

    /// UID of the BlueGreenDeployment that a pod belongs to.
    pub fn owner_of_pod(&self, pod: &str) -> Option<&str> {
        let pod = self.pods.get(pod)?;
        self.sets.get(&pod.value.set_uid).and_then(|set| set.owner.as_deref()).or(pod.owner.as_deref())
    }

    /// Objects of a namespace.
    pub fn objects_in(&self, namespace: &str) -> impl Iterator<Item = &BlueGreenDeployment> {
        self.by_key.iter().filter(move |(key, _)| key.namespace == namespace).filter_map(|(_, uid)| self.objects.get(uid))
    }

    /// UIDs of all objects.
    pub fn uids(&self) -> BTreeSet<String> {
        self.by_key.values().cloned().collect()
    }

    /// UID of a node.
    pub fn node_uid(&self, name: &str) -> Option<&str> {
        self.node_names.get(name).map(String::as_str)
    }

    /// What a node's agent reported.
    pub fn watch(&self, node: &str) -> Option<&Heard> {
        self.watch_names.get(node).and_then(|uid| self.watches.get(uid))
    }

    /// Every ConnectionWatch.
    pub fn watches(&self) -> impl Iterator<Item = &Heard> {
        self.watches.values()
    }

    pub(super) fn key_of(&self, uid: &str) -> Option<Key> {
        let object = self.objects.get(uid)?;
        Some(Key { namespace: object.metadata.namespace.clone()?, name: object.metadata.name.clone()? })
    }

    pub(super) fn key_of_set(&self, set: &str) -> Option<Key> {
        self.sets.get(set).and_then(|set| set.owner.as_ref()).and_then(|owner| self.key_of(owner))
    }

    pub(super) fn keys_in(&self, namespace: &str) -> BTreeSet<Key> {
        self.by_key.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    pub(super) fn keys_naming(&self, namespace: &str, service: &str) -> BTreeSet<Key> {
        let names = |key: &&Key| {
            self.object(key).is_some_and(|object| {
                let traffic = &object.spec.traffic;
                traffic.services.iter().chain(&traffic.preview_services).any(|name| name == service)
            })
        };
        self.by_key.keys().filter(|key| key.namespace == namespace).filter(names).cloned().collect()
    }

    /// Objects with something to drain on a node: pods of a set that served and is being left.
    pub(super) fn keys_on(&self, node: &str) -> BTreeSet<Key> {
        let here = |uid: &String| self.pods.get(uid).is_some_and(|pod| pod.value.node.as_deref() == Some(node));
        let left = self.sets.values().filter(|set| set.value.role.is_some_and(|role| role.kind != RoleKind::Retired));
        left.filter(|set| self.pods_of.get(&set.value.uid).is_some_and(|pods| pods.iter().any(here)))
            .filter_map(|set| {
                let object = set.owner.as_ref().and_then(|owner| self.objects.get(owner))?;
                let serves = object.status.as_ref().and_then(|status| status.switch.as_ref()).is_some_and(|switch| switch.to == set.value.revision);
                if serves { None } else { self.key_of(set.owner.as_ref()?) }
            })
            .chain(self.leaving_on(here))
            .collect()
    }
}

/// Whether a text is an address, however it is written.
fn same(text: &str, address: IpAddr) -> bool {
    text.parse::<IpAddr>().is_ok_and(|known| known.to_canonical() == address.to_canonical())
}
