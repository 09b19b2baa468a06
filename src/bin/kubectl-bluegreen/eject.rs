//! What `eject` writes: a Deployment in place of a BlueGreenDeployment. Its template is the serving ReplicaSet's, letter by letter, so the
//! Deployment controller knows that one for its newest and starts nothing.

use bluegreen::api::{BlueGreenDeployment, keys};
use bluegreen::controller::trim;
use serde_json::{Map, Value, json};

use crate::hand::{self, copied};
use crate::report::current;

/// The ReplicaSet that serves, where nothing else has pods and nothing is on its way; else what is. `sets` and `pods` are all of the namespace.
pub fn settled<'a>(object: &BlueGreenDeployment, sets: &'a [Value], pods: &[Value]) -> Result<&'a Value, String> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let ready = format!("kubectl bluegreen wait {name} --for drained waits for it");
    let Some(status) = object.status.as_ref().filter(|_| current(object)) else {
        return Err("the operator has not looked at the latest change yet".into());
    };
    let Some(switch) = status.switch.as_ref() else {
        return Err(format!("no revision serves yet; {ready}"));
    };
    if switch.completed_at.is_none() || switch.converged_at.is_none() || status.revision.as_ref() != Some(&switch.to) {
        return Err(format!("a release is on its way; {ready}"));
    }
    let uid = object.metadata.uid.as_deref();
    let mine = |set: &&Value| trim::controller(set).is_some_and(|(_, _, owner)| Some(owner.as_str()) == uid);
    let replicas = |set: &Value| ["/spec/replicas", "/status/replicas"].iter().any(|at| set.pointer(at).and_then(Value::as_i64).unwrap_or(0) > 0);
    let serves = |set: &&Value| trim::label(set, keys::REVISION) == Some(switch.to.as_str()) && replicas(set);
    let (serving, others): (Vec<&Value>, Vec<&Value>) = sets.iter().filter(mine).partition(serves);
    let [serving] = serving.as_slice() else {
        return Err(format!("revision {} has no pods of its own; scale it up first", switch.to));
    };
    if let Some(other) = others.into_iter().find(|set| replicas(set)) {
        let revision = trim::label(other, keys::REVISION).unwrap_or_default();
        return Err(format!(
            "revision {revision} still has pods, which would get traffic again; {ready}, and kubectl bluegreen drain {name} --finish ends it"
        ));
    }
    let labels = &object.spec.selector.match_labels;
    let set = trim::text(serving, "/metadata/uid");
    let stray = pods.iter().find(|pod| {
        let has = trim::strings(pod, "/metadata/labels");
        let ended = pod.pointer("/metadata/deletionTimestamp").is_some();
        !ended && labels.iter().all(|(key, value)| has.get(key) == Some(value)) && trim::controller(pod).map(|(_, _, uid)| uid) != set
    });
    match stray {
        Some(pod) => Err(format!(
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
    let (labels, annotations) = (ours("/metadata/labels", &[keys::REVISION, keys::ISSUE]), ours("/metadata/annotations", &[]));
    if labels.is_empty() && annotations.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": trim::text(set, "/metadata/uid"), "labels": labels, "annotations": annotations}}))
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
