//! What `adopt` writes: a BlueGreenDeployment in place of a Deployment, and the marks by which the operator knows its ReplicaSets for revisions
//! that have served. The serving ReplicaSet goes on as it is, so no pod is started and none ends.

use std::collections::BTreeMap;

use bluegreen::api::keys;
use bluegreen::controller::trim;
use bluegreen::controller::world::heir;
use bluegreen::release::revision::{bare, template_identity};
use bluegreen::release::services::matches_template;
use bluegreen::release::{Color, Role};
use serde_json::{Map, Value, json};

use crate::hand::{self, copied};

/// Why a Deployment can't be taken over as it stands, if so: while it moves pods, nobody can say which of them are to serve.
pub fn held_up(deployment: &Value) -> Option<String> {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    if let Some((kind, name, _)) = trim::controller(deployment) {
        return Some(format!("{kind} \"{name}\" controls it, and would make it again; take it out of that first"));
    }
    if deployment.pointer("/metadata/deletionTimestamp").is_some() {
        return Some("it is being deleted".into());
    }
    if deployment.pointer("/spec/selector/matchExpressions").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Some("its spec.selector has matchExpressions, which a BlueGreenDeployment can't have".into());
    }
    if deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return Some("it is paused; kubectl rollout resume it first".into());
    }
    let wanted = number("/spec/replicas");
    let behind = number("/status/observedGeneration") < number("/metadata/generation");
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    let moving = counts.iter().any(|count| number(&format!("/status/{count}")) != wanted);
    (behind || moving).then(|| {
        format!(
            "its rollout is not complete: {} of {wanted} pods are of its template, {} are available; kubectl rollout status waits for it",
            number("/status/updatedReplicas"),
            number("/status/availableReplicas"),
        )
    })
}

/// Names of the Services that lead to pods of a template.
pub fn services(template: &Value, services: &[Value]) -> Vec<String> {
    let labels = trim::strings(template, "/metadata/labels");
    let labels: BTreeMap<&str, &str> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let leads = services.iter().filter(|service| matches_template(&trim::strings(service, "/spec/selector"), &labels));
    let mut names: Vec<String> = leads.filter_map(|service| trim::text(service, "/metadata/name")).collect();
    names.sort();
    names
}

/// Why a Service can't be taken over, if somebody applies its selector on the server's side. What the operator says of it does not do here: a
/// selector that its only owner takes out of the manifest is gone, with all of the traffic.
pub fn applied(service: &Value) -> Option<String> {
    let service = trim::service(service)?;
    let applier = service.applier?;
    Some(format!(
        "the selector of Service \"{}\" is owned by \"{applier}\" through server-side apply, which would undo this at its next sync. Do not just remove it from the manifest: traffic would end. Give it a second owner first, as docs/migrate.md shows (SelectorOwnedBy)",
        service.name
    ))
}

/// The BlueGreenDeployment that says what a Deployment says.
pub fn manifest(deployment: &Value, services: &[String]) -> Value {
    let mut metadata = Map::from_iter([("name".to_owned(), deployment.pointer("/metadata/name").cloned().unwrap_or_default())]);
    copied(deployment, &mut metadata);
    let mut spec = Map::new();
    for field in ["replicas", "minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit", "selector"] {
        if let Some(value) = deployment.pointer(&format!("/spec/{field}")) {
            spec.insert(field.into(), value.clone());
        }
    }
    spec.insert("template".into(), bare(deployment.pointer("/spec/template").cloned().unwrap_or_default()));
    spec.insert("traffic".into(), json!({"services": services}));
    json!({"apiVersion": hand::OURS.0, "kind": hand::OURS.1, "metadata": metadata, "spec": spec})
}

/// The same while the ReplicaSets change hands: the operator only looks on.
pub fn held(mut manifest: Value, deployment: &str) -> Value {
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".into(), json!({keys::ADOPTING: deployment}));
    }
    if let Some(spec) = manifest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("paused".into(), true.into());
    }
    manifest
}

/// A ReplicaSet that changes hands.
#[derive(Clone, Debug, PartialEq)]
pub struct Heir {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The revision that it is from now on.
    pub revision: String,
    /// Whether it has the template of the Deployment; the others are history.
    pub serves: bool,
}

/// The ReplicaSets of a Deployment `name` that are nobody's, or those of `owner` already; `identity` is that of its template. Revisions are
/// named as the Deployment controller has named the ReplicaSets: what comes after the name of the Deployment.
pub fn heirs(sets: &[Value], name: &str, owner: &str, selector: &BTreeMap<String, String>, identity: &str) -> Vec<Heir> {
    let of = |set: &Value| {
        let theirs = trim::controller(set).is_some_and(|(_, _, uid)| uid != owner);
        let labels = trim::strings(set, "/metadata/labels");
        if theirs || set.pointer("/metadata/deletionTimestamp").is_some() || !selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            return None;
        }
        let own = trim::text(set, "/metadata/name")?;
        // One that was a revision before is it again. A label alone says nothing: a Deployment that was made of a BlueGreenDeployment may
        // have it in its template, and with it all ReplicaSets that it has made since.
        let before = trim::set(set).filter(|before| heir(before) == Some(name));
        let revision = match before {
            Some(before) => before.revision,
            None => own.strip_prefix(name)?.strip_prefix('-')?.to_owned(),
        };
        let serves = template_identity(set.pointer("/spec/template")?) == identity;
        Some(Heir { name: own, uid: trim::text(set, "/metadata/uid")?, revision, serves })
    };
    sets.iter().filter_map(of).collect()
}

/// The labels of a revision, on a ReplicaSet and in its template: pods that it starts from now on have them. One that has served and has no
/// pods is history. `None` where it has all of it.
pub fn set_patch(set: &Value, heir: &Heir, name: &str) -> Option<Value> {
    let color = if heir.serves { Color::Blue } else { Color::Green };
    let mut labels = json!({keys::REVISION: heir.revision, keys::NAME: name, keys::COLOR: color.name()});
    let mut inner = json!({keys::REVISION: heir.revision});
    if format!("{name}-{}", heir.revision) == heir.name {
        // The first of its revision, whatever the template of an earlier Deployment says.
        for labels in [&mut labels, &mut inner].into_iter().filter_map(Value::as_object_mut) {
            labels.insert(keys::ISSUE.into(), Value::Null);
        }
    }
    let mut metadata = json!({"uid": heir.uid, "labels": labels});
    if !heir.serves
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.insert("annotations".into(), json!({keys::ROLE: Role::retired(0).text()}));
    }
    let patch = json!({"metadata": metadata, "spec": {"template": {"metadata": {"labels": inner}}}});
    (merged(set, &patch) != *set).then_some(patch)
}

/// The fence that says which ReplicaSet serves: with it the operator knows whom traffic goes to. Written when every pod has its label.
pub fn serving(heir: &Heir) -> Value {
    json!({"metadata": {"uid": heir.uid, "annotations": {keys::ROLE: Role::serving(1).text()}}})
}

/// A pod's label.
pub fn pod_patch(pod: &Value, revision: &str) -> Option<Value> {
    let has = trim::label(pod, keys::REVISION) == Some(revision);
    (!has).then(|| json!({"metadata": {"uid": trim::text(pod, "/metadata/uid"), "labels": {keys::REVISION: revision}}}))
}

/// An object as it is after a merge patch (RFC 7386).
pub fn merged(object: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            merged.remove(key);
        } else {
            let old = merged.get(key).cloned().unwrap_or_default();
            merged.insert(key.clone(), self::merged(&old, value));
        }
    }
    Value::Object(merged)
}

/// A ReplicaSet and its pods as they will be: what the operator would find wrong then, it can be asked now.
pub fn foreseen(set: &Value, pods: &[Value], heir: &Heir, object: &Value) -> (Value, Vec<Value>) {
    let name = trim::text(object, "/metadata/name").unwrap_or_default();
    let owner = json!({"metadata": {"ownerReferences": [{
        "apiVersion": hand::OURS.0, "kind": hand::OURS.1, "name": name, "uid": trim::text(object, "/metadata/uid"), "controller": true,
    }]}});
    let set = set_patch(set, heir, &name).map_or_else(|| set.clone(), |patch| merged(set, &patch));
    let pods = pods.iter().map(|pod| pod_patch(pod, &heir.revision).map_or_else(|| pod.clone(), |patch| merged(pod, &patch)));
    (merged(&set, &owner), pods.collect())
}

#[cfg(test)]
#[path = "tests/adopt.rs"]
mod tests;
