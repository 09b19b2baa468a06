//! What goes: deletions, and what a new list lacks.

use serde_json::Value;

use super::super::api::Resource;
use super::super::trim;
use super::{Concerned, Key, World, leaving, unlink};
use crate::release::config::ConfigKind;

impl World {
    /// Forgets a deleted object.
    pub fn remove(&mut self, resource: Resource, object: &Value) -> Concerned {
        let Some((uid, version)) = trim::identity(object) else {
            return Concerned::default();
        };
        match resource {
            Resource::BlueGreenDeployment => {
                let gone = self.objects.remove(&uid, &version);
                let metadata = gone.map(|gone| (gone.metadata.namespace, gone.metadata.name));
                // One that could not be read is not known, and its Services wait for its end all the same.
                let told = || (trim::text(object, "/metadata/namespace"), trim::text(object, "/metadata/name"));
                let (Some(namespace), Some(name)) = metadata.unwrap_or_else(told) else {
                    return Concerned::default();
                };
                let key = Key { namespace: namespace.clone(), name };
                // Another object may have taken the name already.
                if self.by_key.get(&key).is_some_and(|known| *known == uid) && !self.knows(&uid) {
                    self.by_key.remove(&key);
                }
                Concerned { keys: self.keys_in(&namespace), orphans: self.left_behind(&namespace) }
            }
            Resource::ReplicaSet => {
                let owner = self.sets.remove(&uid, &version).and_then(|set| set.owner);
                let Some(owner) = owner else {
                    return Concerned::default();
                };
                unlink(&mut self.sets_of, &owner, &uid);
                Concerned::of(self.key_of(&owner))
            }
            Resource::Pod => {
                let Some(pod) = self.pods.remove(&uid, &version) else {
                    return Concerned::default();
                };
                self.left_set(&pod, &uid)
            }
            Resource::Service => {
                let Some(service) = self.services.remove(&uid, &version) else {
                    return Concerned::default();
                };
                if let Some(names) = self.services_in.get_mut(&service.namespace) {
                    if names.get(&service.value.name).is_some_and(|known| *known == uid) {
                        names.remove(&service.value.name);
                    }
                    if names.is_empty() {
                        self.services_in.remove(&service.namespace);
                    }
                }
                Concerned::of(self.keys_in(&service.namespace))
            }
            Resource::EndpointSlice => {
                let Some(slice) = self.slices.remove(&uid, &version) else {
                    return Concerned::default();
                };
                let name = (slice.namespace, slice.value.0);
                unlink(&mut self.slices_of, &name, &uid);
                Concerned::of(self.keys_naming(&name.0, &name.1))
            }
            Resource::Node => {
                let Some((name, _)) = self.nodes.remove(&uid, &version) else {
                    return Concerned::default();
                };
                if self.node_names.get(&name).is_some_and(|known| *known == uid) {
                    self.node_names.remove(&name);
                }
                Concerned::of(self.keys_on(&name))
            }
            Resource::ConnectionWatch => {
                let name = self.watches.remove(&uid, &version).and_then(|heard| heard.watch.metadata.name);
                let Some(name) = name else {
                    return Concerned::default();
                };
                if self.watch_names.get(&name).is_some_and(|known| *known == uid) {
                    self.watch_names.remove(&name);
                }
                Concerned::of(self.keys_on(&name))
            }
            Resource::PodDisruptionBudget => self.remove_budget(&uid, &version),
            Resource::DaemonSet => self.insert_agents(None),
            Resource::ConfigMap => self.remove_config(ConfigKind::ConfigMap, &uid, &version),
            Resource::Secret => self.remove_config(ConfigKind::Secret, &uid, &version),
            Resource::Lease | Resource::Event | Resource::Job => Concerned::default(),
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
            Resource::PodDisruptionBudget => self.budgets.relist(scope),
            Resource::Node => self.nodes.relist(scope),
            Resource::ConnectionWatch => self.watches.relist(scope),
            Resource::ConfigMap => self.configs.of_mut(ConfigKind::ConfigMap).relist(scope),
            Resource::Secret => self.configs.of_mut(ConfigKind::Secret).relist(scope),
            Resource::DaemonSet | Resource::Lease | Resource::Event | Resource::Job => {}
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
            Resource::PodDisruptionBudget => drop(self.budgets.relisted(scope)),
            Resource::Node => drop(self.nodes.relisted(scope)),
            Resource::ConnectionWatch => drop(self.watches.relisted(scope)),
            Resource::ConfigMap => drop(self.configs.of_mut(ConfigKind::ConfigMap).relisted(scope)),
            Resource::Secret => drop(self.configs.of_mut(ConfigKind::Secret).relisted(scope)),
            Resource::DaemonSet | Resource::Lease | Resource::Event | Resource::Job => {}
        }
        self.reindex();
        Concerned { keys: self.keys(), orphans: self.orphaned() }
    }

    /// Services whose owner is not known (any more): namespace and name.
    pub fn orphaned(&self) -> Vec<(String, String)> {
        self.services_in.keys().flat_map(|namespace| self.left_behind(namespace)).collect()
    }

    fn left_behind(&self, namespace: &str) -> Vec<(String, String)> {
        self.services(namespace)
            .filter(|service| service.owner.as_ref().is_some_and(|owner| !self.knows(&owner.uid)))
            .map(|service| (namespace.to_owned(), service.name.clone()))
            .collect()
    }

    /// Indexes name only what exists.
    fn reindex(&mut self) {
        self.configs.reindex();
        let (objects, sets, pods, services) = (&self.objects, &self.sets, &self.pods, &self.services);
        let (slices, nodes, watches, budgets) = (&self.slices, &self.nodes, &self.watches, &self.budgets);
        self.by_key.retain(|_, uid| objects.get(uid).is_some());
        self.sets_of.retain(|owner, uids| {
            uids.retain(|uid| sets.get(uid).is_some_and(|set| set.owner.as_ref() == Some(owner)));
            !uids.is_empty()
        });
        self.pods_of.retain(|set, uids| {
            uids.retain(|uid| pods.get(uid).is_some_and(|pod| pod.value.set_uid == *set));
            !uids.is_empty()
        });
        self.leaving.retain(|whose, uids| {
            uids.retain(|uid| pods.get(uid).and_then(leaving::whose).as_ref() == Some(whose));
            !uids.is_empty()
        });
        self.services_in.retain(|_, names| {
            names.retain(|_, uid| services.get(uid).is_some());
            !names.is_empty()
        });
        self.slices_of.retain(|_, uids| {
            uids.retain(|uid| slices.get(uid).is_some());
            !uids.is_empty()
        });
        self.budgets_in.retain(|_, uids| {
            uids.retain(|uid| budgets.get(uid).is_some());
            !uids.is_empty()
        });
        self.node_names.retain(|_, uid| nodes.get(uid).is_some());
        self.watch_names.retain(|_, uid| watches.get(uid).is_some());
    }
}
