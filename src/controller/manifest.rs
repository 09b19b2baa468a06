//! What the operator writes, as JSON: pure, so that every write can be looked at without an API server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::api::{Switch, keys};
use crate::release::action::{SetChange, SetRef};
use crate::release::{Color, Marks, Object, Owner, Role, Selected, Service};

/// The ReplicaSet of a revision. Without a `name` it is for a dry run.
pub fn replica_set(object: &Object, revision: &str, color: Color, replicas: i32, raw_hash: &str, name: Option<&str>) -> Value {
    let mut template = object.spec.template.clone();
    add_label(&mut template, revision);
    let mut selector: BTreeMap<&str, &str> = object.spec.selector.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    selector.insert(keys::REVISION, revision);
    let mut labels: BTreeMap<&str, &str> = selector.clone();
    labels.insert(keys::NAME, &object.name);
    labels.insert(keys::COLOR, color.name());
    let mut metadata = json!({
        "namespace": object.namespace,
        "labels": labels,
        "annotations": {keys::TEMPLATE_HASHES: raw_hash},
        "ownerReferences": [owner_reference(object)],
    });
    if let Some(metadata) = metadata.as_object_mut() {
        match name {
            Some(name) => metadata.insert("name".into(), json!(name)),
            None => metadata.insert("generateName".into(), json!(format!("{}-", object.name))),
        };
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "minReadySeconds": object.spec.min_ready_seconds,
            "selector": {"matchLabels": selector},
            "template": template,
        },
    })
}

/// Notes on a new ReplicaSet how often its template has been started anew.
pub fn restarted(set: &mut Value, restarts: i64) {
    if restarts > 0
        && let Some(annotations) = set.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.insert(keys::RESTARTS.into(), json!(restarts.to_string()));
    }
}

pub(super) fn owner_reference(object: &Object) -> Value {
    json!({
        "apiVersion": "bluegreen.dev/v1alpha1",
        "kind": "BlueGreenDeployment",
        "name": object.name,
        "uid": object.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

fn add_label(template: &mut Value, revision: &str) {
    let Some(template) = template.as_object_mut() else {
        return;
    };
    let metadata = template.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(keys::REVISION.into(), json!(revision));
    }
}

/// Guards a merge patch: it fails (409) when the object changed since, and (422) when it is another object of that name.
pub(super) fn guarded(uid: &str, version: &str) -> Map<String, Value> {
    Map::from_iter([("uid".to_owned(), json!(uid)), ("resourceVersion".to_owned(), json!(version))])
}

/// A merge patch of a ReplicaSet.
pub fn set_patch(set: &SetRef, change: &SetChange) -> Value {
    let SetChange { replicas, min_ready_seconds, proof, drop_proof, color, template_hashes, drain_begun } = change;
    let mut annotations = Map::new();
    if let Some(proof) = proof {
        annotations.insert(keys::PROOF.into(), json!(json!(proof).to_string()));
    }
    if *drop_proof {
        annotations.insert(keys::PROOF.into(), Value::Null);
    }
    if let Some(hashes) = template_hashes {
        annotations.insert(keys::TEMPLATE_HASHES.into(), json!(hashes.join(" ")));
    }
    if let Some(told) = drain_begun {
        annotations.insert(keys::DRAIN_BEGUN.into(), json!(told.join(" ")));
    }
    let mut metadata = guarded(&set.uid, &set.resource_version);
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), Value::Object(annotations));
    }
    if let Some(color) = color {
        metadata.insert("labels".into(), json!({keys::COLOR: color.name()}));
    }
    let mut spec = Map::new();
    if let Some(replicas) = replicas {
        spec.insert("replicas".into(), json!(replicas));
    }
    if let Some(seconds) = min_ready_seconds {
        spec.insert("minReadySeconds".into(), json!(seconds));
    }
    let mut patch = Map::from_iter([("metadata".to_owned(), Value::Object(metadata))]);
    if !spec.is_empty() {
        patch.insert("spec".into(), Value::Object(spec));
    }
    Value::Object(patch)
}

/// The fence with the record of a move: a JSON patch that fails (422) unless the set is still what it was. The API server applies it anew
/// to what other writers, such as the ReplicaSet controller, make of the object meanwhile.
pub fn fence_patch(set: &SetRef, replicas: i32, marks: &Marks, switch: &Switch) -> Value {
    let at = |key: &str| format!("/metadata/annotations/{}", key.replace('/', "~1"));
    // What is not there equals null.
    json!([
        {"op": "test", "path": "/metadata/uid", "value": set.uid},
        {"op": "test", "path": "/metadata/deletionTimestamp", "value": null},
        {"op": "test", "path": "/spec/replicas", "value": replicas},
        {"op": "test", "path": at(keys::ROLE), "value": marks.role},
        {"op": "test", "path": at(keys::PROOF), "value": marks.proof},
        {"op": "test", "path": at(keys::DRAIN_BEGUN), "value": marks.drain_begun},
        {"op": "add", "path": at(keys::ROLE), "value": Role::serving(switch.attempt).text()},
        {"op": "add", "path": at(keys::SWITCH), "value": json!(switch).to_string()},
    ])
}

/// The first write of the retirement: the fence.
pub fn retiring(set: &SetRef, attempt: i64) -> Value {
    let mut metadata = guarded(&set.uid, &set.resource_version);
    metadata.insert("annotations".into(), json!({keys::ROLE: Role::retiring(attempt).text()}));
    json!({"metadata": metadata})
}

/// The last write of the retirement: to zero. What was known about its pods goes with them, and the move that brought it the traffic.
pub fn retired(set: &SetRef, attempt: i64) -> Value {
    let mut metadata = guarded(&set.uid, &set.resource_version);
    let role = Role::retired(attempt).text();
    metadata.insert("annotations".into(), json!({keys::ROLE: role, keys::SWITCH: null, keys::PROOF: null, keys::DRAIN_BEGUN: null}));
    json!({"metadata": metadata, "spec": {"replicas": 0}})
}

/// Takes over a ReplicaSet without an owner.
pub fn adopted(set: &SetRef, object: &Object) -> Value {
    let mut metadata = guarded(&set.uid, &set.resource_version);
    metadata.insert("ownerReferences".into(), json!([owner_reference(object)]));
    json!({"metadata": metadata})
}

/// Makes a Service select a revision. A merge patch merges maps, so keys that must go are named; the guard makes sure that these are all.
pub fn service_patch(
    service: &Service,
    selector: &BTreeMap<String, String>,
    owner: &Owner,
    selected: &Selected,
    record: Option<&Switch>,
    withdrawn: &BTreeSet<String>,
) -> Value {
    let mut metadata = guarded(&service.uid, &service.resource_version);
    let mut annotations =
        Map::from_iter([(keys::OWNER.to_owned(), json!(owner.text())), (keys::SELECTED.to_owned(), json!(selected.text())), withdrawal(withdrawn)]);
    // The record of an earlier move is over; that of this one stays until status has it.
    if record.is_some() || service.switch.as_ref().is_some_and(|switch| switch.attempt != selected.attempt) {
        annotations.insert(keys::SWITCH.into(), record.map_or(Value::Null, |record| json!(json!(record).to_string())));
    }
    metadata.insert("annotations".into(), Value::Object(annotations));
    let mut wanted: Map<String, Value> = selector.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    for key in service.selector.keys().filter(|key| !selector.contains_key(*key)) {
        wanted.insert(key.clone(), Value::Null);
    }
    json!({"metadata": metadata, "spec": {"selector": wanted}})
}

fn withdrawal(withdrawn: &BTreeSet<String>) -> (String, Value) {
    let words: Vec<&str> = withdrawn.iter().map(String::as_str).collect();
    (keys::WITHDRAWN.to_owned(), if words.is_empty() { Value::Null } else { json!(words.join(" ")) })
}

/// Says on a Service which revisions it may not be moved to without the fence.
pub fn withdraw_patch(service: &Service, withdrawn: &BTreeSet<String>) -> Value {
    let mut metadata = guarded(&service.uid, &service.resource_version);
    metadata.insert("annotations".into(), Value::Object(Map::from_iter([withdrawal(withdrawn)])));
    json!({"metadata": metadata})
}

/// Gives a Service back: without our annotations, and, once no pod of the revision is left, without the revision.
pub fn release_patch(service: &Service, unpin: bool) -> Value {
    let mut metadata = guarded(&service.uid, &service.resource_version);
    metadata.insert("annotations".into(), json!({keys::OWNER: null, keys::SELECTED: null, keys::SWITCH: null, keys::WITHDRAWN: null}));
    let mut patch = json!({"metadata": metadata});
    if unpin && let Some(patch) = patch.as_object_mut() {
        patch.insert("spec".into(), json!({"selector": {keys::REVISION: null, keys::SERVING: null}}));
    }
    patch
}

/// Makes a Service that leads to two revisions lead to one.
pub fn narrow_patch(service: &Service, revision: &str) -> Value {
    let metadata = guarded(&service.uid, &service.resource_version);
    json!({"metadata": metadata, "spec": {"selector": {keys::SERVING: null, keys::REVISION: revision}}})
}

/// A merge patch that turns `old` into `new`; `None` where they are equal.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in after {
        match before.get(key) {
            Some(earlier) => {
                if let Some(change) = difference(earlier, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_replaced_and_not_merged() {
        let service = Service {
            name: "shop".into(),
            uid: "u".into(),
            resource_version: "7".into(),
            selector: BTreeMap::from([("app".into(), "shop".into()), ("stray".into(), "x".into())]),
            owner: None,
            selected: None,
            switch: None,
            withdrawn: BTreeSet::new(),
            kind: "ClusterIP".into(),
            cluster_ips: vec![],
            headless: false,
            internal_local: false,
            external_local: false,
            addresses_pods: None,
            ports: vec![],
            applier: None,
            editor: None,
            deleting: false,
        };
        let selector = BTreeMap::from([("app".to_owned(), "shop".to_owned()), (keys::REVISION.to_owned(), "abc".to_owned())]);
        let owner = Owner { name: "shop".into(), uid: "o".into() };
        let patch = service_patch(&service, &selector, &owner, &Selected { revision: "abc".into(), attempt: 4 }, None, &BTreeSet::new());
        assert_eq!(patch["spec"]["selector"], json!({"app": "shop", "stray": null, keys::REVISION: "abc"}));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["metadata"]["annotations"][keys::SELECTED], "abc@4");
    }

    #[test]
    fn a_difference_names_what_goes() {
        let old = json!({"a": 1, "gone": {"x": 1}, "list": [1, 2], "same": {"y": 2}});
        let new = json!({"a": 2, "list": [1], "same": {"y": 2}, "new": true});
        assert_eq!(difference(&old, &new), Some(json!({"a": 2, "gone": null, "list": [1], "new": true})));
        assert_eq!(difference(&new, &new), None);
    }
}
