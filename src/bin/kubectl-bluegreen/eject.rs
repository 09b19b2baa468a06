//! What `eject` writes: a Deployment in place of a BlueGreenDeployment. Its template is the serving ReplicaSet's, letter by letter, so the
//! Deployment controller knows that one for its newest and starts nothing.

use bluegreen::api::{BlueGreenDeployment, PodMetadata, keys};
use bluegreen::controller::trim;
use serde_json::{Map, Value, json};

use crate::choose::No;
use crate::hand::{self, copied};
use crate::report::current;

/// The ReplicaSet that serves, where nothing else has pods and nothing is on its way; else what is. `sets` and `pods` are all of the namespace;
/// `successor` is the UID of the Deployment, which may have the ReplicaSet already.
pub fn settled<'a>(object: &BlueGreenDeployment, sets: &'a [Value], pods: &[Value], successor: Option<&str>) -> Result<&'a Value, No> {
    let refused = |why: String| Err(No::Refused(why));
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let ready = format!("kubectl bluegreen wait {name} --for drained waits for it");
    let replicas = |set: &Value| ["/spec/replicas", "/status/replicas"].iter().any(|at| set.pointer(at).and_then(Value::as_i64).unwrap_or(0) > 0);
    let owned = |set: &Value, owner: Option<&str>| owner.is_some() && trim::controller(set).is_some_and(|(_, _, uid)| Some(uid.as_str()) == owner);
    let Some(status) = object.status.as_ref().filter(|_| current(object)) else {
        return Err(No::NotYet);
    };
    let Some(switch) = status.switch.as_ref() else {
        return refused(format!("no revision serves yet; {ready}"));
    };
    if let Some(rejected) = status.rejected.as_ref() {
        let other = format!("spec.template is not what serves, as revision {} was given up", rejected.revision);
        return refused(format!("{other}; apply the template of {}, or kubectl bluegreen retry {name}", switch.to));
    }
    let moved = switch.completed_at.is_some() && switch.converged_at.is_some() && status.revision.as_ref() == Some(&switch.to);
    if !moved {
        return refused(format!("a release is on its way; {ready}"));
    }
    if object.spec.pod_metadata != PodMetadata::default() {
        return refused("spec.podMetadata has put labels or annotations on its pods; remove it first, and the operator takes them off".into());
    }
    if !object.spec.config_snapshots.is_empty() {
        let why = "the pods refer to copies of configuration (spec.configSnapshots), which go with it";
        return refused(format!("{why}; remove that first, which is a release: then they refer to what they are copies of"));
    }
    // Nobody's is one whose Deployment was made anew.
    let mine = |set: &&Value| owned(set, object.metadata.uid.as_deref()) || owned(set, successor) || trim::controller(set).is_none();
    let serves = |set: &&Value| trim::label(set, keys::REVISION) == Some(switch.to.as_str()) && replicas(set);
    let (serving, others): (Vec<&Value>, Vec<&Value>) = sets.iter().filter(mine).partition(serves);
    let [serving] = serving.as_slice() else {
        return refused(format!("revision {} has no pods of its own; scale it up first", switch.to));
    };
    let wanted = |set: &&&Value| set.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0) > 0;
    if let Some(other) = others.iter().find(wanted) {
        let revision = trim::label(other, keys::REVISION).unwrap_or_default();
        let end = format!("kubectl bluegreen drain {name} --finish ends it");
        return refused(format!("revision {revision} still has pods, which would get traffic again; {ready}, and {end}"));
    }
    // Those of a set that was scaled to zero a moment ago may not know of it yet.
    if others.into_iter().any(replicas) {
        return Err(No::NotYet);
    }
    let labels = &object.spec.selector.match_labels;
    let set = trim::text(serving, "/metadata/uid");
    let stray = pods.iter().find(|pod| {
        let has = trim::strings(pod, "/metadata/labels");
        let over = matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
        let ended = over || pod.pointer("/metadata/deletionTimestamp").is_some();
        !ended && labels.iter().all(|(key, value)| has.get(key) == Some(value)) && trim::controller(pod).map(|(_, _, uid)| uid) != set
    });
    match stray {
        Some(pod) => refused(format!(
            "pod \"{}\" has the labels of spec.selector too, and would get traffic; {ready}, or change its labels",
            trim::text(pod, "/metadata/name").unwrap_or_default()
        )),
        None => Ok(serving),
    }
}

/// The Deployment, paused until its ReplicaSet has come to it.
pub fn manifest(object: &Value, set: &Value) -> Value {
    let mut metadata = Map::from_iter([("name".to_owned(), object.pointer("/metadata/name").cloned().unwrap_or_default())]);
    copied(object, &mut metadata);
    metadata.insert("annotations".into(), json!({keys::EJECTING: object.pointer("/metadata/uid")}));
    let mut template = set.pointer("/spec/template").cloned().unwrap_or_default();
    // That of an earlier Deployment; this one ignores it where it compares.
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(keys::POD_TEMPLATE_HASH);
    }
    let mut spec = Map::from_iter([("paused".to_owned(), json!(true)), ("template".to_owned(), template)]);
    for field in ["replicas", "minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit", "selector"] {
        if let Some(value) = object.pointer(&format!("/spec/{field}")) {
            spec.insert(field.into(), value.clone());
        }
    }
    json!({"apiVersion": hand::THEIRS.0, "kind": hand::THEIRS.1, "metadata": metadata, "spec": spec})
}

/// Takes off a ReplicaSet what this operator has written there, or a BlueGreenDeployment of later would take it for its own. The revision stays:
/// it is in the selector. `None` where there is nothing.
pub fn set_patch(set: &Value) -> Option<Value> {
    let ours = |pointer: &str, kept: &[&str]| {
        let all = trim::strings(set, pointer);
        let keys = all.into_keys().filter(|key| key.starts_with(keys::PREFIX) && !kept.contains(&key.as_str()));
        keys.map(|key| (key, Value::Null)).collect::<Map<String, Value>>()
    };
    let (labels, mut annotations) = (ours("/metadata/labels", &[keys::REVISION, keys::ISSUE]), ours("/metadata/annotations", &[]));
    let notes = hand::NOTES.iter().filter(|key| trim::annotation(set, key).is_some());
    annotations.extend(notes.map(|key| ((*key).to_owned(), Value::Null)));
    if labels.is_empty() && annotations.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": trim::text(set, "/metadata/uid"), "labels": labels, "annotations": annotations}}))
}

/// Gives the ReplicaSet that serves to the Deployment, which then has it before any other: of those with no pods it would scale the latest up,
/// paused or not. `None` where it has it.
pub fn given(set: &Value, deployment: &Value) -> Option<Value> {
    let uid = trim::text(deployment, "/metadata/uid");
    if trim::controller(set).map(|(_, _, owner)| owner) == uid {
        return None;
    }
    let owner = json!({
        "apiVersion": hand::THEIRS.0, "kind": hand::THEIRS.1, "name": deployment.pointer("/metadata/name"), "uid": uid,
        "controller": true,
    });
    let guard = |field: &str| set.pointer(&format!("/metadata/{field}")).cloned().unwrap_or_default();
    Some(json!({"metadata": {"uid": guard("uid"), "resourceVersion": guard("resourceVersion"), "ownerReferences": [owner]}}))
}

/// Whether a Deployment that an earlier call has made is not what is wanted now.
pub fn differs(deployment: &Value, wanted: &Value) -> bool {
    let at = |object: &Value, pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    let fields = ["/spec/replicas", "/spec/selector/matchLabels", "/spec/minReadySeconds"];
    let other = |field: &&str| {
        wanted.pointer(field).is_some_and(|wanted| *wanted != at(deployment, field) && !(wanted == 0 && at(deployment, field).is_null()))
    };
    fields.iter().any(other) || !same(&at(deployment, "/spec/template"), &at(wanted, "/spec/template"))
}

/// Whether two pod templates are the same to the Deployment controller (`EqualIgnoreHash`).
pub fn same(one: &Value, other: &Value) -> bool {
    let plain = |template: &Value| {
        let mut template = template.clone();
        if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
            if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
                labels.remove(keys::POD_TEMPLATE_HASH);
            }
        }
        template
    };
    plain(one) == plain(other)
}

/// Whether a Deployment goes on with the ReplicaSet that it was given, and made no other.
pub fn goes_on(deployment: &Value) -> bool {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let wanted = number("/spec/replicas");
    number("/status/observedGeneration") >= number("/metadata/generation")
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|count| number(&format!("/status/{count}")) == wanted)
}

#[cfg(test)]
#[path = "tests/eject.rs"]
mod tests;
