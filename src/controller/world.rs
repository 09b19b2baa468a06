//! Everything that is observed, indexed, and fed synchronously: by the watches, and by the answers to this process' own writes.
//!
//! Each change names the BlueGreenDeployments it concerns, so that work grows with what changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use serde_json::Value;

use crate::api::{BlueGreenDeployment, BlueGreenDeploymentStatus, ConnectionWatch, keys};
use crate::release::budget::Budget;
use crate::release::config::{ConfigKind, Snapshots};
use crate::release::{Endpoints, Node, Peer, Pod, Service, Set};

use super::api::Resource;
use super::store::Store;
use super::trim;

mod agents;
mod budgets;
mod configs;
mod failing;
mod leaving;
mod peers;
mod read;
mod remove;

pub use failing::Feed;

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
    /// The revision it carries as a label.
    pub revision: Option<String>,
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
    budgets: Store<In<Budget>>,
    nodes: Store<(String, Node)>,
    watches: Store<Heard>,
    agent_pods: Store<String>,
    configs: configs::Configs,
    /// How many nodes are to have an agent, once the DaemonSet has settled.
    agents_wanted: Option<i64>,
    failing: BTreeSet<(Feed, String)>,
    by_key: HashMap<Key, String>,
    sets_of: HashMap<String, HashSet<String>>,
    pods_of: HashMap<String, HashSet<String>>,
    leaving: HashMap<Leaving, HashSet<String>>,
    services_in: HashMap<String, BTreeMap<String, String>>,
    slices_of: HashMap<(String, String), HashSet<String>>,
    budgets_in: HashMap<String, HashSet<String>>,
    node_names: HashMap<String, String>,
    watch_names: HashMap<String, String>,
    namespaces: Vec<String>,
    nodes_readable: bool,
}

/// Whose a pod is that leaves its ReplicaSet, or has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leaving {
    /// That of the BlueGreenDeployment with this UID, which it names as an owner.
    Of(String),
    /// Nobody's: its namespace and the revision of which it is.
    Free(String, String),
}

/// What a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// These objects are to be looked at.
    pub keys: BTreeSet<Key>,
    /// Services that may have to be given back (namespace and name).
    pub orphans: Vec<(String, String)>,
}

/// Reads an object. A status that lacks what an older CustomResourceDefinition dropped is read without what is only shown; but what is on
/// record must be whole.
fn read(object: &Value) -> Result<BlueGreenDeployment, serde_json::Error> {
    let error = match serde_json::from_value::<BlueGreenDeployment>(object.clone()) {
        Ok(parsed) => return Ok(parsed),
        Err(error) => error,
    };
    let mut readable = object.clone();
    let Some(status) = readable.get_mut("status").and_then(Value::as_object_mut) else { return Err(error) };
    BlueGreenDeploymentStatus::readable(status);
    // The first error says most.
    let parsed = serde_json::from_value(readable).map_err(|_| error)?;
    let name = trim::text(object, "/metadata/name").unwrap_or_default();
    tracing::warn!(name, "a part of this BlueGreenDeployment's status can't be read; it is found out and written anew");
    Ok(parsed)
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

    /// With these kinds of configuration, which are watched.
    #[must_use]
    pub fn with_configs(mut self, watched: Snapshots) -> Self {
        self.configs.watched = watched;
        self
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
        let owner = if resource == Resource::Pod { trim::owner_of_pod(object) } else { trim::controller(object).map(|(_, _, uid)| uid) };
        let revision = trim::label(object, keys::REVISION).map(str::to_owned);
        let scope = &self.scope(&namespace);
        match resource {
            Resource::BlueGreenDeployment => self.insert_object(&uid, &version, object),
            Resource::ReplicaSet => {
                let Some(set) = trim::set(object) else {
                    return Concerned::default();
                };
                // Without an owner it may be one that an earlier object of that name left behind.
                let heir = heir(&set).map(|name| Key { namespace: namespace.clone(), name: name.into() });
                let Some(before) = self.sets.insert(&uid, &version, scope, In { namespace, value: set, owner: owner.clone(), revision }) else {
                    return Concerned::default();
                };
                let former = before.and_then(|before| before.owner).filter(|former| owner.as_ref() != Some(former));
                if let Some(former) = &former {
                    unlink(&mut self.sets_of, former, &uid);
                }
                if let Some(owner) = &owner {
                    self.sets_of.entry(owner.clone()).or_default().insert(uid);
                }
                let heir = heir.filter(|key| owner.is_none() && self.by_key.contains_key(key));
                Concerned::of(owner.iter().chain(&former).filter_map(|owner| self.key_of(owner)).chain(heir))
            }
            Resource::Pod => {
                let Some(pod) = trim::pod(object) else {
                    // Taken by another controller: it is none of ours now.
                    let lost = self.pods.lose(&uid, &version);
                    return lost.map_or_else(Concerned::default, |lost| self.left_set(&lost, &uid));
                };
                let new = In { namespace, value: pod, owner, revision };
                match self.pods.insert(&uid, &version, scope, new.clone()) {
                    // Nothing that matters has changed: most updates of a pod are of this kind.
                    Some(Some(before)) if before.value == new.value && before.owner == new.owner => Concerned::default(),
                    Some(before) => {
                        let mut concerned = before.map_or_else(Concerned::default, |before| self.left_set(&before, &uid));
                        concerned.keys.extend(self.joined_set(&new, &uid).keys);
                        concerned
                    }
                    None => Concerned::default(),
                }
            }
            Resource::Service => {
                let Some(service) = trim::service(object) else {
                    return Concerned::default();
                };
                let name = service.name.clone();
                match self.services.insert(&uid, &version, scope, In { namespace: namespace.clone(), value: service, owner, revision }) {
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
                    In { namespace: namespace.clone(), value: (service.clone(), endpoints.clone()), owner, revision },
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
            Resource::DaemonSet => self.insert_agents(Some(object)),
            Resource::ConfigMap => self.insert_config(ConfigKind::ConfigMap, &namespace, object),
            Resource::Secret => self.insert_config(ConfigKind::Secret, &namespace, object),
            Resource::PodDisruptionBudget => self.insert_budget(&uid, &version, object),
            Resource::Lease | Resource::Event | Resource::Job => Concerned::default(),
        }
    }

    /// Takes the answer to a write of this process.
    pub fn wrote(&mut self, resource: Resource, object: &Value, now: Duration) -> Concerned {
        let Some((uid, version)) = trim::identity(object) else {
            return Concerned::default();
        };
        let news = match resource {
            Resource::BlueGreenDeployment => self.objects.lacks(&uid, &version),
            Resource::ReplicaSet => self.sets.lacks(&uid, &version),
            Resource::Service => self.services.lacks(&uid, &version),
            Resource::PodDisruptionBudget => self.budgets.lacks(&uid, &version),
            Resource::ConnectionWatch => self.watches.lacks(&uid, &version),
            Resource::ConfigMap => self.configs.of(ConfigKind::ConfigMap).lacks(&uid, &version),
            Resource::Secret => self.configs.of(ConfigKind::Secret).lacks(&uid, &version),
            Resource::Pod | Resource::EndpointSlice | Resource::Node | Resource::DaemonSet | Resource::Lease | Resource::Event | Resource::Job => {
                false
            }
        };
        let concerned = self.insert(resource, object, now);
        match resource {
            _ if !news => {}
            Resource::BlueGreenDeployment => self.objects.wrote(&uid),
            Resource::ReplicaSet => self.sets.wrote(&uid),
            Resource::Service => self.services.wrote(&uid),
            Resource::PodDisruptionBudget => self.budgets.wrote(&uid),
            Resource::ConnectionWatch => self.watches.wrote(&uid),
            Resource::ConfigMap => self.configs.of_mut(ConfigKind::ConfigMap).wrote(&uid),
            Resource::Secret => self.configs.of_mut(ConfigKind::Secret).wrote(&uid),
            Resource::Pod | Resource::EndpointSlice | Resource::Node | Resource::DaemonSet | Resource::Lease | Resource::Event | Resource::Job => {}
        }
        concerned
    }

    fn insert_object(&mut self, uid: &str, version: &str, object: &Value) -> Concerned {
        let mut parsed = match read(object) {
            Ok(parsed) => parsed,
            Err(error) => {
                // One malformed object must not stall the watch of all others. It is left alone, not acted on as it was before.
                let name = trim::text(object, "/metadata/name").unwrap_or_default();
                tracing::error!(name, %error, "this BlueGreenDeployment can't be read and is left alone; apply it again with the current CRD");
                if self.objects.lose(uid, version).is_some() {
                    self.by_key.retain(|_, known| known != uid);
                }
                return Concerned::default();
            }
        };
        parsed.metadata.managed_fields = None;
        let (Some(namespace), Some(name)) = (parsed.metadata.namespace.clone(), parsed.metadata.name.clone()) else {
            return Concerned::default();
        };
        let key = Key { namespace, name };
        let seen = Peer::of(&parsed);
        let Some(before) = self.objects.insert(uid, version, &self.scope(&key.namespace), parsed) else {
            return Concerned::default();
        };
        self.by_key.insert(key.clone(), uid.to_owned());
        let peers = self.keys_beside(&key, before.as_ref().and_then(Peer::of).as_ref(), seen.as_ref());
        Concerned::of(peers.into_iter().chain([key]))
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
}

/// Name of the object of which a ReplicaSet is, by its own name.
pub fn heir(set: &Set) -> Option<&str> {
    let first = if set.issue > 1 { set.name.strip_suffix(&format!("-{}", set.issue))? } else { &set.name };
    first.strip_suffix(&set.revision)?.strip_suffix('-')
}

/// Takes an entry out of an index; a key without entries goes, too: a long-lived process must not keep every name that ever was.
fn unlink<K: Eq + Hash>(index: &mut HashMap<K, HashSet<String>>, key: &K, uid: &str) {
    if let Some(uids) = index.get_mut(key) {
        uids.remove(uid);
        if uids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
#[path = "tests/world.rs"]
mod tests;
