//! The API server's store: objects, versions, and what each verb does to them.

pub mod defaults;
pub mod patch;
pub mod selector;
pub mod verbs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bluegreen::controller::api::{ApiError, Change, Dependents, Resource};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::json::{self, object};

/// The finalizer of an object that goes when the garbage collector has taken it out of its dependents.
pub const ORPHAN: &str = "orphan";

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was created or changed.
    Applied,
    /// It is gone.
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The version it made.
    pub revision: u64,
    /// Of which kind.
    pub resource: Resource,
    /// What became of it.
    pub kind: Kind,
    /// The object after it, or as it last was.
    pub object: Arc<Value>,
    /// The object before it.
    pub before: Option<Arc<Value>>,
}

/// Who writes, as it stands in managed fields, and how.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// The field manager.
    pub name: &'a str,
    /// `Update`, or `Apply` for server-side apply.
    pub operation: &'a str,
}

impl<'a> Manager<'a> {
    /// One that updates.
    pub fn updates(name: &'a str) -> Self {
        Self { name, operation: "Update" }
    }
}

type Key = (Resource, String, String);

/// All objects.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    /// Every change there ever was, oldest first.
    pub log: Vec<Entry>,
    /// Namespaces that do not exist.
    pub absent: BTreeSet<String>,
    revision: u64,
    uids: u64,
}

/// The time of the simulated world's beginning.
pub fn wall(now: Duration) -> Timestamp {
    let begin = Timestamp::from_second(1_900_000_000).unwrap_or(Timestamp::UNIX_EPOCH);
    begin.checked_add(SignedDuration::try_from(now).unwrap_or_default()).unwrap_or(begin)
}

/// As metadata has it: whole seconds.
pub fn stamp(now: Duration) -> Value {
    json!(wall(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

impl Store {
    /// The version of the latest change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(&key(resource, namespace, name))
    }

    /// One object by its UID.
    pub fn by_uid(&self, resource: Resource, uid: &str) -> Option<&Arc<Value>> {
        self.all(resource).find(|object| json::uid(object) == uid)
    }

    /// All objects of a kind, in order of namespace and name.
    pub fn all(&self, resource: Resource) -> impl Iterator<Item = &Arc<Value>> {
        self.objects.range((resource, String::new(), String::new())..).take_while(move |((kind, ..), _)| *kind == resource).map(|(_, object)| object)
    }

    /// All objects that depend on an owner.
    pub fn dependents(&self, owner: &str) -> Vec<(Resource, Arc<Value>)> {
        let owned = |object: &Value| json::items(object, "/metadata/ownerReferences").any(|reference| json::text(reference, "/uid") == owner);
        self.objects.iter().filter(|(_, object)| owned(object)).map(|((resource, ..), object)| (*resource, object.clone())).collect()
    }

    /// The objects of a kind as they were at a version.
    pub fn at(&self, resource: Resource, revision: u64) -> BTreeMap<String, Arc<Value>> {
        let mut found = BTreeMap::new();
        for entry in self.log.iter().take_while(|entry| entry.revision <= revision).filter(|entry| entry.resource == resource) {
            let uid = json::uid(&entry.object).to_owned();
            match entry.kind {
                Kind::Applied => found.insert(uid, entry.object.clone()),
                Kind::Deleted => found.remove(&uid),
            };
        }
        found
    }

    /// POST.
    pub fn create(&mut self, resource: Resource, namespace: &str, mut new: Value, dry_run: bool, now: Duration) -> Result<Arc<Value>, ApiError> {
        if self.absent.contains(namespace) {
            return Err(ApiError::NotFound);
        }
        if resource == Resource::ReplicaSet {
            defaults::check(&new)?;
            defaults::fill(&mut new);
        }
        if resource == Resource::Job {
            defaults::check_job(&new)?;
        }
        let generated = json::text(&new, "/metadata/generateName").to_owned();
        let name = if json::name(&new).is_empty() { format!("{generated}{:05}", self.uids + 1) } else { json::name(&new).to_owned() };
        if self.get(resource, namespace, &name).is_some() {
            return Err(ApiError::AlreadyExists);
        }
        let uid = format!("{}-{}", format!("{resource:?}").to_lowercase(), self.uids + 1);
        if let Some(metadata) = object(&mut new, "metadata") {
            metadata.insert("name".into(), json!(name));
            if !namespace.is_empty() {
                metadata.insert("namespace".into(), json!(namespace));
            }
            metadata.insert("uid".into(), json!(uid));
            metadata.insert("creationTimestamp".into(), stamp(now));
            metadata.insert("generation".into(), json!(1));
        }
        if matches!(resource, Resource::BlueGreenDeployment | Resource::ConnectionWatch)
            && let Some(new) = new.as_object_mut()
        {
            new.remove("status");
        }
        if dry_run {
            return Ok(Arc::new(new));
        }
        self.uids += 1;
        Ok(self.put(resource, Kind::Applied, new, None))
    }

    /// PATCH of an object or its status subresource.
    pub fn patch(
        &mut self,
        resource: Resource,
        (namespace, name): (&str, &str),
        status: bool,
        change: &Change,
        manager: Manager<'_>,
        now: Duration,
    ) -> Result<Arc<Value>, ApiError> {
        let before = self.get(resource, namespace, name).cloned().ok_or(ApiError::NotFound)?;
        let mut after = (*before).clone();
        match change {
            Change::Merge(body) => {
                if let Some(version) = body.pointer("/metadata/resourceVersion").and_then(Value::as_str)
                    && version != json::text(&before, "/metadata/resourceVersion")
                {
                    return Err(ApiError::Conflict);
                }
                if let Some(uid) = body.pointer("/metadata/uid").and_then(Value::as_str)
                    && uid != json::uid(&before)
                {
                    return Err(ApiError::Invalid("metadata.uid: Invalid value: field is immutable".into()));
                }
                patch::merge(&mut after, body);
            }
            // The client makes a conflict of the 422 that a failed test is.
            Change::Json(body) => patch::json(&mut after, body).map_err(|_| ApiError::Conflict)?,
        }
        self.keep_apart(resource, &before, &mut after, status);
        self.store(resource, before, after, manager, now)
    }

    /// A change by somebody who reads and writes in one go.
    pub fn update(
        &mut self,
        resource: Resource,
        (namespace, name): (&str, &str),
        manager: Manager<'_>,
        now: Duration,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        let Some(before) = self.get(resource, namespace, name).cloned() else { return false };
        let mut after = (*before).clone();
        change(&mut after);
        self.store(resource, before, after, manager, now).is_ok()
    }

    /// What has a status subresource is written in halves.
    fn keep_apart(&self, resource: Resource, before: &Value, after: &mut Value, status: bool) {
        if !matches!(resource, Resource::BlueGreenDeployment | Resource::ConnectionWatch | Resource::ReplicaSet) {
            return;
        }
        let Some(map) = after.as_object_mut() else { return };
        for half in if status { ["spec", "metadata"].as_slice() } else { ["status"].as_slice() } {
            match before.get(*half) {
                Some(value) => map.insert((*half).to_owned(), value.clone()),
                None => map.remove(*half),
            };
        }
    }

    fn store(
        &mut self,
        resource: Resource,
        before: Arc<Value>,
        mut after: Value,
        manager: Manager<'_>,
        now: Duration,
    ) -> Result<Arc<Value>, ApiError> {
        for fixed in ["/metadata/resourceVersion", "/metadata/uid", "/metadata/generation"] {
            if let (Some(old), Some(new)) = (before.pointer(fixed).cloned(), after.pointer_mut(fixed)) {
                *new = old;
            }
        }
        without_empty(&mut after);
        if after == *before {
            return Ok(before);
        }
        if before.get("spec") != after.get("spec") {
            let generation = json::number(&before, "/metadata/generation") + 1;
            json::set(&mut after, "metadata", "generation", json!(generation));
        }
        if resource == Resource::Service && before.pointer("/spec/selector") != after.pointer("/spec/selector") {
            // Whoever wrote the selector last owns it; that is all the operator reads of managed fields.
            let at = wall(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            // An applier owns what stands in its manifest, and so nothing of what it has just removed.
            let none = manager.operation == "Apply" && after.pointer("/spec/selector").is_none();
            let entry = json!({"manager": manager.name, "operation": manager.operation, "time": at, "fieldsV1": {"f:spec": {"f:selector": {}}}});
            json::set(&mut after, "metadata", "managedFields", if none { json!([]) } else { json!([entry]) });
        }
        Ok(self.put(resource, Kind::Applied, after, Some(before)))
    }

    /// Whether an object of any kind with this UID is there.
    pub fn exists(&self, uid: &str) -> bool {
        self.objects.values().any(|object| json::uid(object) == uid)
    }

    /// DELETE. A pod only begins to end, and what keeps its dependents waits for the garbage collector; everything else is gone at once.
    /// Answers what was deleted.
    pub fn delete(
        &mut self,
        resource: Resource,
        (namespace, name): (&str, &str),
        (uid, version): (Option<&str>, Option<&str>),
        dependents: Dependents,
        now: Duration,
    ) -> Result<Arc<Value>, ApiError> {
        let before = self.get(resource, namespace, name).cloned().ok_or(ApiError::NotFound)?;
        if uid.is_some_and(|uid| uid != json::uid(&before))
            || version.is_some_and(|version| version != json::text(&before, "/metadata/resourceVersion"))
        {
            return Err(ApiError::Conflict);
        }
        if resource == Resource::Pod && !json::text(&before, "/spec/nodeName").is_empty() {
            if before.pointer("/metadata/deletionTimestamp").is_none() {
                let mut after = (*before).clone();
                json::set(&mut after, "metadata", "deletionTimestamp", stamp(now));
                self.put(resource, Kind::Applied, after, Some(before.clone()));
            }
            return Ok(before);
        }
        if dependents == Dependents::Kept {
            if before.pointer("/metadata/deletionTimestamp").is_none() {
                let mut after = (*before).clone();
                json::set(&mut after, "metadata", "deletionTimestamp", stamp(now));
                json::set(&mut after, "metadata", "finalizers", json!([ORPHAN]));
                json::set(&mut after, "metadata", "generation", json!(json::number(&before, "/metadata/generation") + 1));
                return Ok(self.put(resource, Kind::Applied, after, Some(before)));
            }
            return Ok(before);
        }
        self.remove(resource, namespace, name);
        Ok(before)
    }

    /// Removes an object for good.
    pub fn remove(&mut self, resource: Resource, namespace: &str, name: &str) {
        if let Some(gone) = self.get(resource, namespace, name).cloned() {
            self.put(resource, Kind::Deleted, (*gone).clone(), Some(gone));
        }
    }

    fn put(&mut self, resource: Resource, kind: Kind, mut value: Value, before: Option<Arc<Value>>) -> Arc<Value> {
        self.revision += 1;
        json::set(&mut value, "metadata", "resourceVersion", json!(self.revision.to_string()));
        let key = key(resource, json::text(&value, "/metadata/namespace"), json::name(&value));
        let value = Arc::new(value);
        match kind {
            Kind::Applied => self.objects.insert(key, value.clone()),
            Kind::Deleted => self.objects.remove(&key),
        };
        self.log.push(Entry { revision: self.revision, resource, kind, object: value.clone(), before });
        value
    }
}

/// Maps and lists without members are left out, so that a later patch finds no parent where they were.
fn without_empty(object: &mut Value) {
    for (outer, inner) in [("metadata", "annotations"), ("metadata", "labels"), ("spec", "selector")] {
        if let Some(outer) = object.get_mut(outer).and_then(Value::as_object_mut)
            && outer.get(inner).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
        {
            outer.remove(inner);
        }
    }
    for list in ["ownerReferences", "finalizers"] {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            && metadata.get(list).and_then(Value::as_array).is_some_and(Vec::is_empty)
        {
            metadata.remove(list);
        }
    }
}

fn key(resource: Resource, namespace: &str, name: &str) -> Key {
    (resource, namespace.to_owned(), name.to_owned())
}
