//! Configuration that is kept with each revision: what a pod refers to, what copies are called, and the template that refers to copies.
//!
//! Of a ConfigMap or Secret only a hash of its content is ever known here. The copies are named in the template of the ReplicaSet itself, so
//! what a revision needs can be read from it, and a way back to it brings its configuration back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::revision::{copy_name, copy_of};
use super::services::Block;
use crate::api::ConfigSnapshots;

/// A kind of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigKind {
    /// ConfigMap.
    ConfigMap,
    /// Secret.
    Secret,
}

impl ConfigKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ConfigMap, Self::Secret];

    /// As `kind` of an object.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// The field of `spec.configSnapshots` that names such objects.
    pub fn field(self) -> &'static str {
        match self {
            Self::ConfigMap => "configMaps",
            Self::Secret => "secrets",
        }
    }

    /// What of `spec.configSnapshots` is of this kind.
    pub fn named(self, spec: &ConfigSnapshots) -> &[String] {
        match self {
            Self::ConfigMap => &spec.config_maps,
            Self::Secret => &spec.secrets,
        }
    }
}

/// A ConfigMap or Secret of the object's namespace, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigName {
    /// Its kind.
    pub kind: ConfigKind,
    /// `metadata.name`.
    pub name: String,
}

impl std::fmt::Display for ConfigName {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} \"{}\"", self.kind.name(), self.name)
    }
}

/// Which kinds of configuration an operator may copy: decided by whoever installs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Snapshots {
    /// Neither.
    #[default]
    None,
    /// ConfigMaps.
    ConfigMaps,
    /// Both.
    ConfigMapsAndSecrets,
}

impl Snapshots {
    /// Whether it may copy this kind.
    pub fn allow(self, kind: ConfigKind) -> bool {
        match kind {
            ConfigKind::ConfigMap => self >= Self::ConfigMaps,
            ConfigKind::Secret => self == Self::ConfigMapsAndSecrets,
        }
    }
}

impl std::str::FromStr for Snapshots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "None" => Ok(Self::None),
            "ConfigMaps" => Ok(Self::ConfigMaps),
            "ConfigMapsAndSecrets" => Ok(Self::ConfigMapsAndSecrets),
            _ => Err("it is one of None, ConfigMaps and ConfigMapsAndSecrets".into()),
        }
    }
}

/// A ConfigMap or Secret, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Kind and name.
    pub id: ConfigName,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Hash of its content ([`super::revision::config_digest`]).
    pub digest: String,
    /// Of a copy the BlueGreenDeployment it was made for, by name.
    pub copy_for: Option<String>,
    /// UID of its controlling owner.
    pub owner: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// What `spec.configSnapshots` names, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Kind and name.
    pub id: ConfigName,
    /// Its place in the spec.
    pub path: String,
    /// Whether the template refers to it.
    pub used: bool,
    /// Whether it is a copy itself.
    pub copied: bool,
    /// Hash of its content; absent where there is no such object.
    pub digest: Option<String>,
    /// What its copy is called.
    pub copy: Option<ConfigName>,
}

/// A copy that was made for the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The object.
    pub config: Config,
    /// Since when nothing has been seen to refer to it, on the controller's clock; absent where something does.
    pub unused_since: Option<Duration>,
}

/// What is known of the configuration of one BlueGreenDeployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configs {
    /// Which kinds may be copied; `None` where that is not known.
    pub allowed: Option<Snapshots>,
    /// Kinds of which it is not known what there is now.
    pub unread: BTreeSet<ConfigKind>,
    /// What the spec names, in its order.
    pub sources: Vec<Source>,
    /// The copies that there are.
    pub copies: Vec<Copy>,
}

impl Configs {
    /// Whether a kind that is named can't be read at present, so that nobody knows what the template means.
    pub fn unreadable(&self) -> bool {
        self.sources.iter().any(|source| self.unread.contains(&source.id.kind))
    }

    /// What the spec names, as `look` finds it.
    pub fn new<'a>(
        allowed: Option<Snapshots>,
        object: &str,
        spec: &ConfigSnapshots,
        template: &Value,
        look: impl Fn(&ConfigName) -> Option<&'a Config>,
    ) -> Self {
        if spec.is_empty() {
            return Self { allowed, ..Self::default() };
        }
        let used = template.get("spec").map(references).unwrap_or_default();
        let named = ConfigKind::ALL.into_iter().flat_map(|kind| kind.named(spec).iter().enumerate().map(move |(index, name)| (kind, index, name)));
        let sources = named.map(|(kind, index, name)| {
            let id = ConfigName { kind, name: name.clone() };
            let found = look(&id);
            Source {
                path: format!("spec.configSnapshots.{}[{index}]", kind.field()),
                used: used.contains(&id),
                copied: found.is_some_and(|found| found.copy_for.is_some()),
                copy: found.map(|found| ConfigName { kind, name: copy_name(object, &id, &found.digest) }),
                digest: found.map(|found| found.digest.clone()),
                id,
            }
        });
        Self { allowed, sources: sources.collect(), ..Self::default() }
    }

    /// Why the template that refers to copies can't be told.
    pub fn problem(&self) -> Option<Block> {
        self.sources.iter().find_map(|source| self.wrong(source))
    }

    fn wrong(&self, source: &Source) -> Option<Block> {
        let Source { id, path, .. } = source;
        let block = |reason, why: String| Some(Block::new(reason, format!("{path}: {why}")));
        if !self.allowed?.allow(id.kind) {
            let needed = if id.kind == ConfigKind::Secret { "ConfigMapsAndSecrets" } else { "ConfigMaps" };
            let why = format!("this operator may not copy {}s; whoever installs it can set configSnapshots to {needed}", id.kind.name());
            return block("SnapshotsNotAllowed", why);
        }
        if !source.used {
            return block("ConfigUnused", format!("spec.template does not refer to {id}; refer to it, or remove it here"));
        }
        if self.unread.contains(&id.kind) {
            let next = "give the operator the rights of its chart, or look into its log for the reason";
            let why = format!("the {}s of this namespace can't be read, and no release begins before they can; {next}", id.kind.name());
            return block("ConfigUnreadable", why);
        }
        if source.digest.is_none() {
            let other = if id.kind == ConfigKind::Secret { " (those of Helm's releases and of service accounts are not looked at)" } else { "" };
            return block("ConfigMissing", format!("there is no {id} in this namespace{other}; create it, or remove it here"));
        }
        if source.copied {
            return block("ConfigIsCopy", format!("{id} is a copy of an operator's own; name what it is a copy of"));
        }
        None
    }

    /// Has the template refer to copies in place of what they are copies of.
    pub fn put_copies(&self, template: &mut Value) {
        let copies = self.sources.iter().filter_map(|source| Some((source.id.clone(), source.copy.as_ref()?.name.clone()))).collect();
        rewrite(template, &copies);
    }
}

/// Makes each reference of a template to a named object one to its copy. Everything else stays as it is.
pub fn rewrite(template: &mut Value, copies: &BTreeMap<ConfigName, String>) {
    let Some(spec) = template.get_mut("spec").filter(|_| !copies.is_empty()) else { return };
    for (kind, place) in places(spec) {
        let Some(Value::String(name)) = spec.pointer_mut(&place) else { continue };
        if let Some(copy) = copies.get(&ConfigName { kind, name: name.clone() }) {
            name.clone_from(copy);
        }
    }
}

/// What the spec of a pod refers to.
pub fn references(spec: &Value) -> BTreeSet<ConfigName> {
    let names = places(spec).into_iter().filter_map(|(kind, place)| Some(ConfigName { kind, name: spec.pointer(&place)?.as_str()?.to_owned() }));
    names.collect()
}

/// What of it may be copies, by their names.
pub fn copies(spec: &Value) -> BTreeSet<ConfigName> {
    references(spec).into_iter().filter(|id| copy_of(&id.name).is_some()).collect()
}

/// Where in the spec of a pod names of ConfigMaps and Secrets stand, that its containers or volumes refer to. Secrets that are for the kubelet
/// or for the drivers of volumes alone (imagePullSecrets and the like) are none of the application's configuration.
fn places(spec: &Value) -> Vec<(ConfigKind, String)> {
    use ConfigKind::{ConfigMap, Secret};
    let mut found = vec![];
    let mut look = |base: &str, entry: &Value, ways: [(ConfigKind, &str); 2]| {
        for (kind, way) in ways {
            if entry.pointer(way).is_some_and(Value::is_string) {
                found.push((kind, format!("{base}{way}")));
            }
        }
    };
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (base, container) in entries(spec, "", list) {
            for (base, entry) in entries(container, &base, "env") {
                look(&base, entry, [(ConfigMap, "/valueFrom/configMapKeyRef/name"), (Secret, "/valueFrom/secretKeyRef/name")]);
            }
            for (base, entry) in entries(container, &base, "envFrom") {
                look(&base, entry, [(ConfigMap, "/configMapRef/name"), (Secret, "/secretRef/name")]);
            }
        }
    }
    for (base, volume) in entries(spec, "", "volumes") {
        look(&base, volume, [(ConfigMap, "/configMap/name"), (Secret, "/secret/secretName")]);
        let Some(projected) = volume.get("projected") else { continue };
        for (base, entry) in entries(projected, &format!("{base}/projected"), "sources") {
            look(&base, entry, [(ConfigMap, "/configMap/name"), (Secret, "/secret/name")]);
        }
    }
    found
}

/// Entries of a list, each with its JSON pointer.
fn entries<'a>(value: &'a Value, base: &str, list: &str) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    let base = format!("{base}/{list}");
    let entries = value.get(list).and_then(Value::as_array).into_iter().flatten();
    entries.enumerate().map(move |(index, entry)| (format!("{base}/{index}"), entry))
}
