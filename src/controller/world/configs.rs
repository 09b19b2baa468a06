//! ConfigMaps and Secrets, as far as they are watched: by name, without what they hold.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::release::config::{Config, ConfigKind, ConfigName, Snapshots};

use super::super::store::Store;
use super::super::trim;
use super::{Concerned, Feed, In, Key, World};

/// The caches of both kinds, by one index.
#[derive(Debug, Default)]
pub struct Configs {
    /// Which kinds are watched.
    pub watched: Snapshots,
    maps: Store<In<Config>>,
    secrets: Store<In<Config>>,
    /// UIDs by namespace and name.
    named: HashMap<(String, ConfigName), String>,
    /// Copies by namespace and object.
    copies: HashMap<(String, String), BTreeSet<ConfigName>>,
}

impl Configs {
    /// The cache of a kind.
    pub fn of(&self, kind: ConfigKind) -> &Store<In<Config>> {
        match kind {
            ConfigKind::ConfigMap => &self.maps,
            ConfigKind::Secret => &self.secrets,
        }
    }

    /// The cache of a kind.
    pub fn of_mut(&mut self, kind: ConfigKind) -> &mut Store<In<Config>> {
        match kind {
            ConfigKind::ConfigMap => &mut self.maps,
            ConfigKind::Secret => &mut self.secrets,
        }
    }

    fn get(&self, namespace: &str, id: &ConfigName) -> Option<&Config> {
        let uid = self.named.get(&(namespace.to_owned(), id.clone()))?;
        self.of(id.kind).get(uid).map(|config| &config.value)
    }

    /// Indexes name only what exists.
    pub fn reindex(&mut self) {
        let (maps, secrets) = (&self.maps, &self.secrets);
        let there = |kind: ConfigKind, uid: &String| match kind {
            ConfigKind::ConfigMap => maps.get(uid).is_some(),
            ConfigKind::Secret => secrets.get(uid).is_some(),
        };
        self.named.retain(|(_, id), uid| there(id.kind, uid));
        let named = &self.named;
        self.copies.retain(|(namespace, _), ids| {
            ids.retain(|id| named.contains_key(&(namespace.clone(), id.clone())));
            !ids.is_empty()
        });
    }
}

impl World {
    /// A ConfigMap or Secret.
    pub fn config(&self, namespace: &str, id: &ConfigName) -> Option<&Config> {
        self.configs.get(namespace, id)
    }

    /// Copies that were made for an object.
    pub fn copies(&self, namespace: &str, object: &str) -> Vec<&Config> {
        let ids = self.configs.copies.get(&(namespace.to_owned(), object.to_owned())).into_iter().flatten();
        ids.filter_map(|id| self.configs.get(namespace, id)).filter(|config| config.copy_for.as_deref() == Some(object)).collect()
    }

    /// Whether a pod or ReplicaSet of a namespace refers to a ConfigMap or Secret, whosever it is.
    pub fn refers(&self, namespace: &str, id: &ConfigName) -> bool {
        let pods = self.pods.values().any(|pod| pod.namespace == namespace && pod.value.configs.contains(id));
        pods || self.sets.values().any(|set| set.namespace == namespace && set.value.configs.contains(id))
    }

    /// Whether each kind that is watched has been read completely once.
    pub fn configs_synced(&self) -> bool {
        ConfigKind::ALL.into_iter().all(|kind| !self.configs.watched.allow(kind) || self.configs.of(kind).synced(&self.scopes()))
    }

    /// Whether this kind is not read completely, or the watch of it has failed for a while, where there is to be one.
    pub fn config_unread(&self, kind: ConfigKind, namespace: &str) -> bool {
        let feed = match kind {
            ConfigKind::ConfigMap => Feed::ConfigMaps,
            ConfigKind::Secret => Feed::Secrets,
        };
        let scope = self.scope(namespace);
        self.configs.watched.allow(kind) && (self.fails(feed, &scope) || !self.configs.of(kind).synced(&[scope]))
    }

    pub(super) fn insert_config(&mut self, kind: ConfigKind, namespace: &str, object: &Value) -> Concerned {
        let Some(config) = trim::config(kind, object) else {
            return Concerned::default();
        };
        let scope = self.scope(namespace);
        let entry = In { namespace: namespace.to_owned(), value: config.clone(), owner: config.owner.clone(), revision: None };
        let Some(before) = self.configs.of_mut(kind).insert(&config.uid, &config.resource_version, &scope, entry) else {
            return Concerned::default();
        };
        // Others write into ConfigMaps all the time: what they hold is what matters, and of a copy all.
        let same = |before: &In<Config>| before.value.digest == config.digest && before.value.copy_for.is_none() && config.copy_for.is_none();
        self.configs.named.insert((namespace.to_owned(), config.id.clone()), config.uid.clone());
        if let Some(object) = &config.copy_for {
            self.configs.copies.entry((namespace.to_owned(), object.clone())).or_default().insert(config.id.clone());
        }
        if before.as_ref().is_some_and(same) { Concerned::default() } else { Concerned::of(self.keys_with(namespace, &config)) }
    }

    pub(super) fn remove_config(&mut self, kind: ConfigKind, uid: &str, version: &str) -> Concerned {
        let Some(In { namespace, value, .. }) = self.configs.of_mut(kind).remove(uid, version) else {
            return Concerned::default();
        };
        let place = (namespace, value.id.clone());
        // Another one may have taken the name already.
        if self.configs.named.get(&place).is_some_and(|known| known == uid) {
            self.configs.named.remove(&place);
            if let Some(object) = &value.copy_for {
                let index = (place.0.clone(), object.clone());
                if let Some(ids) = self.configs.copies.get_mut(&index) {
                    ids.remove(&value.id);
                    if ids.is_empty() {
                        self.configs.copies.remove(&index);
                    }
                }
            }
        }
        Concerned::of(self.keys_with(&place.0, &value))
    }

    /// Objects that name it, and the one that it was copied for.
    fn keys_with(&self, namespace: &str, config: &Config) -> BTreeSet<Key> {
        let names = |key: &&Key| {
            let named = |object: &crate::api::BlueGreenDeployment| config.id.kind.named(&object.spec.config_snapshots).contains(&config.id.name);
            config.copy_for.as_ref() == Some(&key.name) || self.object(key).is_some_and(named)
        };
        self.by_key.keys().filter(|key| key.namespace == namespace).filter(names).cloned().collect()
    }
}
