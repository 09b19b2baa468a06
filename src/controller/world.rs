//! Everything that is observed, indexed, and fed synchronously: by the watches, and by the answers to this process' own writes.
//!
//! Each change names the BlueGreenDeployments it concerns, so that work grows with what changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use crate::api::{BlueGreenDeployment, ConnectionWatch};
use crate::release::{Endpoints, Node, Pod, Service, Set};

use super::api::Resource;
use super::store::Store;
use super::trim;

mod read;

/// Namespace and name of a BlueGreenDeployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// An object with its namespace.
#[derive(Clone, Debug)]
pub struct In<T> {
    /// `metadata.namespace`.
    pub namespace: String,
    /// The object.
    pub value: T,
    /// UID of its controlling owner.
    pub owner: Option<String>,
}

/// A report as it came in.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The object.
    pub watch: ConnectionWatch,
    /// When its boot id or sequence last changed, by this process' monotonic clock.
    pub at: Duration,
}

/// The caches.
#[derive(Debug, Default)]
pub struct World {
    objects: Store<BlueGreenDeployment>,
    sets: Store<In<Set>>,
    pods: Store<In<Pod>>,
    services: Store<In<Service>>,
    slices: Store<In<(String, Endpoints)>>,
    nodes: Store<(String, Node)>,
    watches: Store<Heard>,
    agent_pods: Store<String>,
    agent_settled: Option<bool>,
    by_key: HashMap<Key, String>,
    sets_of: HashMap<String, HashSet<String>>,
    pods_of: HashMap<String, HashSet<String>>,
    services_in: HashMap<String, BTreeMap<String, String>>,
    slices_of: HashMap<(String, String), HashSet<String>>,
    node_names: HashMap<String, String>,
    watch_names: HashMap<String, String>,
    namespaces: Vec<String>,
    nodes_readable: bool,
}

/// What a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// These objects are to be looked at.
    pub keys: BTreeSet<Key>,
    /// Services that may have to be given back (namespace and name).
    pub orphans: Vec<(String, String)>,
}

impl Concerned {
    fn of(keys: impl IntoIterator<Item = Key>) -> Self {
        Self { keys: keys.into_iter().collect(), orphans: vec![] }
    }
}

impl World {
    /// An empty one. `namespaces` are those that are watched, none of them meaning all. Where nodes can't be read, none is ever taken for gone.
    pub fn new(namespaces: Vec<String>, nodes_readable: bool) -> Self {
        Self { namespaces, nodes_readable, ..Self::default() }
    }

    /// What the watch that covers a namespace is called.
    fn scope(&self, namespace: &str) -> String {
        if self.namespaces.is_empty() { String::new() } else { namespace.to_owned() }
    }

    /// Every scope of namespaced kinds.
    pub fn scopes(&self) -> Vec<String> {
        if self.namespaces.is_empty() { vec![String::new()] } else { self.namespaces.clone() }
    }

    /// Takes an object of a watched kind, from a watch or from the answer to a write.
    pub fn insert(&mut self, resource: Resource, object: &Value, now: Duration) -> Concerned {
        let Some((uid, version)) = trim::identity(object) else {
            return Concerned::default();
        };
        let namespace = trim::text(object, "/metadata/namespace").unwrap_or_default();
        let owner = trim::controller(object).map(|(_, _, uid)| uid);
        let scope = &self.scope(&namespace);
        match resource {
            Resource::BlueGreenDeployment => self.insert_object(&uid, &version, object),
            Resource::ReplicaSet => {
                let Some(set) = trim::set(object) else {
                    return Concerned::default();
                };
                if self.sets.insert(&uid, &version, scope, In { namespace, value: set, owner: owner.clone() }).is_none() {
                    return Concerned::default();
                }
                let Some(owner) = owner else {
                    return Concerned::default();
                };
                self.sets_of.entry(owner.clone()).or_default().insert(uid);
                Concerned::of(self.key_of(&owner))
            }
            Resource::Pod => {
                let Some(pod) = trim::pod(object) else {
                    return Concerned::default();
                };
                let set = pod.set_uid.clone();
                match self.pods.insert(&uid, &version, scope, In { namespace, value: pod.clone(), owner }) {
                    // Nothing that matters has changed: most updates of a pod are of this kind.
                    Some(Some(before)) if before.value == pod => Concerned::default(),
                    Some(_) => {
                        self.pods_of.entry(set.clone()).or_default().insert(uid);
                        Concerned::of(self.key_of_set(&set))
                    }
                    None => Concerned::default(),
                }
            }
            Resource::Service => {
                let Some(service) = trim::service(object) else {
                    return Concerned::default();
                };
                let name = service.name.clone();
                match self.services.insert(&uid, &version, scope, In { namespace: namespace.clone(), value: service, owner }) {
                    None => Concerned::default(),
                    Some(_) => {
                        self.services_in.entry(namespace.clone()).or_default().insert(name.clone(), uid);
                        Concerned { keys: self.keys_in(&namespace), orphans: vec![(namespace, name)] }
                    }
                }
            }
            Resource::EndpointSlice => {
                let Some((service, endpoints)) = trim::slice(object) else {
                    return Concerned::default();
                };
                match self.slices.insert(
                    &uid,
                    &version,
                    scope,
                    In { namespace: namespace.clone(), value: (service.clone(), endpoints.clone()), owner },
                ) {
                    Some(Some(before)) if before.value.1 == endpoints => Concerned::default(),
                    Some(_) => {
                        self.slices_of.entry((namespace.clone(), service.clone())).or_default().insert(uid);
                        Concerned::of(self.keys_naming(&namespace, &service))
                    }
                    None => Concerned::default(),
                }
            }
            Resource::Node => {
                let (Some(name), Some(node)) = (trim::text(object, "/metadata/name"), trim::node(object)) else {
                    return Concerned::default();
                };
                match self.nodes.insert(&uid, &version, "", (name.clone(), node.clone())) {
                    Some(Some((_, before))) if before == node => Concerned::default(),
                    Some(_) => {
                        self.node_names.insert(name.clone(), uid);
                        Concerned::of(self.keys_on(&name))
                    }
                    None => Concerned::default(),
                }
            }
            Resource::ConnectionWatch => self.insert_watch(&uid, &version, object, now),
            Resource::DaemonSet => {
                self.agent_settled = Some(settled(object));
                Concerned::of(self.keys())
            }
            Resource::Lease | Resource::Event => Concerned::default(),
        }
    }

    /// Takes one of the drain agent's own pods.
    pub fn insert_agent_pod(&mut self, object: &Value) -> Concerned {
        let (Some((uid, version)), Some(node)) = (trim::identity(object), trim::text(object, "/spec/nodeName")) else {
            return Concerned::default();
        };
        match self.agent_pods.insert(&uid, &version, "", node.clone()) {
            Some(None) => Concerned::of(self.keys_on(&node)),
            _ => Concerned::default(),
        }
    }

    /// Forgets one of the drain agent's own pods.
    pub fn remove_agent_pod(&mut self, object: &Value) -> Concerned {
        let node = trim::identity(object).and_then(|(uid, _)| self.agent_pods.remove(&uid));
        Concerned::of(node.into_iter().flat_map(|node| self.keys_on(&node)))
    }

    fn insert_object(&mut self, uid: &str, version: &str, object: &Value) -> Concerned {
        let parsed = serde_json::from_value::<BlueGreenDeployment>(object.clone());
        let mut parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                // One malformed object must not stall the watch of all others.
                let name = trim::text(object, "/metadata/name").unwrap_or_default();
                tracing::error!(name, %error, "this BlueGreenDeployment can't be read and is left alone; apply it again with the current CRD");
                return Concerned::default();
            }
        };
        parsed.metadata.managed_fields = None;
        let (Some(namespace), Some(name)) = (parsed.metadata.namespace.clone(), parsed.metadata.name.clone()) else {
            return Concerned::default();
        };
        let key = Key { namespace, name };
        if self.objects.insert(uid, version, &self.scope(&key.namespace), parsed).is_none() {
            return Concerned::default();
        }
        self.by_key.insert(key.clone(), uid.to_owned());
        Concerned::of([key])
    }

    fn insert_watch(&mut self, uid: &str, version: &str, object: &Value, now: Duration) -> Concerned {
        let Ok(mut watch) = serde_json::from_value::<ConnectionWatch>(object.clone()) else {
            return Concerned::default();
        };
        watch.metadata.managed_fields = None;
        let Some(name) = watch.metadata.name.clone() else {
            return Concerned::default();
        };
        let stamp = |watch: &ConnectionWatch| watch.status.as_ref().map(|status| (status.boot_id.clone(), status.sequence));
        let at = match self.watches.get(uid) {
            Some(before) if stamp(&before.watch) == stamp(&watch) => before.at,
            _ => now,
        };
        if self.watches.insert(uid, version, "", Heard { watch, at }).is_none() {
            return Concerned::default();
        }
        self.watch_names.insert(name.clone(), uid.to_owned());
        Concerned::of(if at == now { self.keys_on(&name) } else { BTreeSet::new() })
    }

    /// Forgets a deleted object.
    pub fn remove(&mut self, resource: Resource, object: &Value) -> Concerned {
        let Some((uid, _)) = trim::identity(object) else {
            return Concerned::default();
        };
        self.forget(resource, &uid)
    }

    fn forget(&mut self, resource: Resource, uid: &str) -> Concerned {
        match resource {
            Resource::BlueGreenDeployment => {
                let Some(gone) = self.objects.remove(uid) else {
                    return Concerned::default();
                };
                let (Some(namespace), Some(name)) = (gone.metadata.namespace, gone.metadata.name) else {
                    return Concerned::default();
                };
                let key = Key { namespace: namespace.clone(), name };
                // Another object may have taken the name already.
                if self.by_key.get(&key).is_some_and(|known| known == uid) {
                    self.by_key.remove(&key);
                }
                Concerned { keys: self.keys_in(&namespace), orphans: self.left_behind(&namespace) }
            }
            Resource::ReplicaSet => {
                let owner = self.sets.remove(uid).and_then(|set| set.owner);
                let Some(owner) = owner else {
                    return Concerned::default();
                };
                if let Some(sets) = self.sets_of.get_mut(&owner) {
                    sets.remove(uid);
                }
                Concerned::of(self.key_of(&owner))
            }
            Resource::Pod => {
                let Some(pod) = self.pods.remove(uid) else {
                    return Concerned::default();
                };
                let set = pod.value.set_uid;
                if let Some(pods) = self.pods_of.get_mut(&set) {
                    pods.remove(uid);
                    if pods.is_empty() {
                        self.pods_of.remove(&set);
                    }
                }
                Concerned::of(self.key_of_set(&set))
            }
            Resource::Service => {
                let Some(service) = self.services.remove(uid) else {
                    return Concerned::default();
                };
                if let Some(names) = self.services_in.get_mut(&service.namespace)
                    && names.get(&service.value.name).is_some_and(|known| known == uid)
                {
                    names.remove(&service.value.name);
                }
                Concerned::of(self.keys_in(&service.namespace))
            }
            Resource::EndpointSlice => {
                let Some(slice) = self.slices.remove(uid) else {
                    return Concerned::default();
                };
                let name = (slice.namespace, slice.value.0);
                if let Some(slices) = self.slices_of.get_mut(&name) {
                    slices.remove(uid);
                }
                Concerned::of(self.keys_naming(&name.0, &name.1))
            }
            Resource::Node => {
                let Some((name, _)) = self.nodes.remove(uid) else {
                    return Concerned::default();
                };
                if self.node_names.get(&name).is_some_and(|known| known == uid) {
                    self.node_names.remove(&name);
                }
                Concerned::of(self.keys_on(&name))
            }
            Resource::ConnectionWatch => {
                let name = self.watches.remove(uid).and_then(|heard| heard.watch.metadata.name);
                let Some(name) = name else {
                    return Concerned::default();
                };
                if self.watch_names.get(&name).is_some_and(|known| known == uid) {
                    self.watch_names.remove(&name);
                }
                Concerned::of(self.keys_on(&name))
            }
            Resource::DaemonSet => {
                self.agent_settled = None;
                Concerned::of(self.keys())
            }
            Resource::Lease | Resource::Event => Concerned::default(),
        }
    }

    /// A watch lists anew.
    pub fn relist(&mut self, resource: Resource, scope: &str) {
        match resource {
            Resource::BlueGreenDeployment => self.objects.relist(scope),
            Resource::ReplicaSet => self.sets.relist(scope),
            Resource::Pod => self.pods.relist(scope),
            Resource::Service => self.services.relist(scope),
            Resource::EndpointSlice => self.slices.relist(scope),
            Resource::Node => self.nodes.relist(scope),
            Resource::ConnectionWatch => self.watches.relist(scope),
            Resource::DaemonSet | Resource::Lease | Resource::Event => {}
        }
    }

    /// The list is complete; what it lacks was deleted while nobody watched.
    pub fn relisted(&mut self, resource: Resource, scope: &str) -> Concerned {
        match resource {
            Resource::BlueGreenDeployment => drop(self.objects.relisted(scope)),
            Resource::ReplicaSet => drop(self.sets.relisted(scope)),
            Resource::Pod => drop(self.pods.relisted(scope)),
            Resource::Service => drop(self.services.relisted(scope)),
            Resource::EndpointSlice => drop(self.slices.relisted(scope)),
            Resource::Node => drop(self.nodes.relisted(scope)),
            Resource::ConnectionWatch => drop(self.watches.relisted(scope)),
            Resource::DaemonSet | Resource::Lease | Resource::Event => {}
        }
        self.reindex();
        let orphans = self.services_in.keys().flat_map(|namespace| self.left_behind(namespace)).collect();
        Concerned { keys: self.keys(), orphans }
    }

    /// Services of a namespace whose owner is not known (any more).
    fn left_behind(&self, namespace: &str) -> Vec<(String, String)> {
        self.services(namespace)
            .filter(|service| service.owner.as_ref().is_some_and(|owner| !self.knows(&owner.uid)))
            .map(|service| (namespace.to_owned(), service.name.clone()))
            .collect()
    }

    /// A watch of the agent's own pods lists anew, or is done with it.
    pub fn agent_pods(&mut self, done: bool) -> Concerned {
        if done {
            self.agent_pods.relisted("");
        } else {
            self.agent_pods.relist("");
        }
        Concerned::of(if done { self.keys() } else { BTreeSet::new() })
    }

    /// Indexes name only what exists.
    fn reindex(&mut self) {
        let objects = &self.objects;
        self.by_key.retain(|_, uid| objects.get(uid).is_some());
        let (sets, pods, services, slices, nodes, watches) = (&self.sets, &self.pods, &self.services, &self.slices, &self.nodes, &self.watches);
        self.sets_of.values_mut().for_each(|uids| uids.retain(|uid| sets.get(uid).is_some()));
        self.pods_of.values_mut().for_each(|uids| uids.retain(|uid| pods.get(uid).is_some()));
        self.services_in.values_mut().for_each(|names| names.retain(|_, uid| services.get(uid).is_some()));
        self.slices_of.values_mut().for_each(|uids| uids.retain(|uid| slices.get(uid).is_some()));
        self.node_names.retain(|_, uid| nodes.get(uid).is_some());
        self.watch_names.retain(|_, uid| watches.get(uid).is_some());
    }
}

/// Whether a DaemonSet has settled: what it wants is there, so that a node without its pod is meant to have none.
fn settled(object: &Value) -> bool {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    number("/status/observedGeneration") == number("/metadata/generation")
        && number("/status/updatedNumberScheduled") == number("/status/desiredNumberScheduled")
        && number("/status/currentNumberScheduled") == number("/status/desiredNumberScheduled")
        && number("/status/numberMisscheduled") == 0
}
