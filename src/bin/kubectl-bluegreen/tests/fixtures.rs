//! Objects for tests, at fixed times.

use bluegreen::api::BlueGreenDeployment;
use bluegreen::release::Set;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::report::Selections;

/// The time of all tests.
pub fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "shop", "image": "registry.example.com/shop:v2"}]}})
}

fn raw(spec: &str, status: Option<Value>) -> Value {
    let mut merged = json!({"replicas": 2, "selector": {"matchLabels": {"app": "shop"}}, "template": template(), "traffic": {"services": ["shop"]},
        "smokeProbes": [{"name": "home", "tcpSocket": {"port": 80}}]});
    let more: Map<String, Value> = serde_json::from_str(spec).unwrap();
    merged.as_object_mut().unwrap().extend(more);
    let mut object = json!({
        "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
        "metadata": {"name": "shop", "namespace": "shops", "uid": "u", "generation": 3, "resourceVersion": "7"},
        "spec": merged,
    });
    if let Some(status) = status {
        object["status"] = status;
    }
    object
}

/// An object without a status; `spec` replaces fields.
pub fn object(spec: &str) -> BlueGreenDeployment {
    serde_json::from_value(raw(spec, None)).unwrap()
}

/// An object with a status about its present spec; `conditions` are those that are True.
pub fn status(status: &str, conditions: &[(&str, &str, &str)]) -> BlueGreenDeployment {
    with("{}", status, conditions)
}

/// An object with fields of its spec, a status, and the conditions that are True.
pub fn with(spec: &str, status: &str, conditions: &[(&str, &str, &str)]) -> BlueGreenDeployment {
    let mut status: Value = serde_json::from_str(status).unwrap();
    status["observedGeneration"] = 3.into();
    let condition = |(kind, reason, message): &(&str, &str, &str)| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message, "observedGeneration": 3,
            "lastTransitionTime": "2026-01-01T00:09:00Z"})
    };
    status["conditions"] = conditions.iter().map(condition).collect();
    serde_json::from_value(raw(spec, Some(status))).unwrap()
}

/// The record of a move.
pub fn switch(from: Option<&str>, to: &str) -> Value {
    json!({"from": from, "to": to, "attempt": 2, "services": [], "cause": "Release", "startedAt": "2026-01-01T00:08:00Z",
        "completedAt": "2026-01-01T00:08:00Z"})
}

/// A revision as status has it.
pub fn row(revision: &str, color: &str, ready: i32) -> Value {
    json!({"revision": revision, "color": color, "replicas": 2, "readyReplicas": ready, "since": "2026-01-01T00:09:30Z"})
}

/// A revision that drains.
pub fn draining(revision: &str, open: Option<i64>) -> Value {
    let mut row = json!({"revision": revision, "color": "blue", "pods": 2, "drainedPods": 1, "source": "Auto", "reason": "OpenConnections",
        "oldestSince": "2026-01-01T00:05:00Z", "since": "2026-01-01T00:09:00Z", "deadline": "2026-01-01T00:19:00Z",
        "holders": [{"address": "10.0.0.9", "pod": "web/client-0", "port": 8080, "connections": 2}, {"address": "10.0.0.7", "port": 9000, "connections": 1}]});
    if let Some(open) = open {
        row["openConnections"] = open.into();
    }
    row
}

/// `new` has replaced `old`, and nothing is left to do.
pub fn released() -> BlueGreenDeployment {
    let fields = json!({"phase": "Complete", "revision": "new", "switch": switch(Some("old"), "new"), "active": row("new", "green", 2)});
    status(
        &fields.to_string(),
        &[
            ("Ready", "Serving", "revision new serves everyone"),
            ("Switched", "Moved", "shop select revision new"),
            ("Drained", "NothingDraining", ""),
        ],
    )
}

/// `new` has the traffic, and `old` drains.
pub fn left(open: Option<i64>) -> BlueGreenDeployment {
    let fields = json!({"phase": "Drain", "revision": "new", "switch": switch(Some("old"), "new"), "active": row("new", "green", 2),
        "draining": [draining("old", open)], "openConnections": open});
    status(&fields.to_string(), &[("Ready", "Serving", "revision new serves everyone"), ("Switched", "Moved", "shop select revision new")])
}

/// `old` serves, and `new` is on its way in a phase.
pub fn coming(spec: &str, phase: &str, message: &str) -> BlueGreenDeployment {
    let fields = json!({"phase": phase, "revision": "new", "switch": switch(None, "old"), "active": row("old", "blue", 2),
        "inactive": row("new", "green", 1)});
    with(spec, &fields.to_string(), &[("Reconciling", phase, message)])
}

/// `new` was given up, and `old` serves.
pub fn rejected(reason: &str, return_to: Option<&str>) -> BlueGreenDeployment {
    let message = format!("revision new was given up because of {reason}");
    let fields = json!({"phase": "Rejected", "revision": "new", "switch": switch(None, "old"), "active": row("old", "blue", 2),
        "rejected": {"revision": "new", "reason": reason, "message": message, "at": "2026-01-01T00:09:00Z", "returnTo": return_to}});
    status(&fields.to_string(), &[("Stalled", reason, &message)])
}

/// A ReplicaSet of the object, as JSON.
pub fn replica_set(revision: &str, role: &str, replicas: i32) -> Value {
    let mut set = json!({
        "metadata": {"name": format!("shop-{revision}"), "uid": revision, "resourceVersion": "1", "namespace": "shops", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"bluegreen.dev/revision": revision, "bluegreen.dev/color": "blue", "bluegreen.dev/name": "shop"},
            "annotations": {"bluegreen.dev/role": role},
            "ownerReferences": [{"kind": "BlueGreenDeployment", "name": "shop", "uid": "u", "controller": true}]},
        "spec": {"replicas": replicas, "template": template()},
        "status": {"replicas": replicas, "readyReplicas": replicas},
    });
    set["spec"]["template"]["metadata"]["labels"]["bluegreen.dev/revision"] = revision.into();
    set
}

/// ReplicaSets: revision, role and replicas.
pub fn sets(all: &[(&str, &str, i32)]) -> Vec<Set> {
    all.iter().map(|(revision, role, replicas)| bluegreen::controller::trim::set(&replica_set(revision, role, *replicas)).unwrap()).collect()
}

/// With an annotation.
pub fn annotated(mut object: BlueGreenDeployment, key: &str, value: &str) -> BlueGreenDeployment {
    object.metadata.annotations.get_or_insert_default().insert(key.into(), value.into());
    object
}

/// As it is when the operator has not looked at the latest change.
pub fn stale(mut object: BlueGreenDeployment) -> BlueGreenDeployment {
    object.metadata.generation = Some(4);
    object
}

/// What the Service selects.
pub fn selected(revision: &str) -> Selections {
    selecting(&[("shop", "bluegreen.dev/revision", revision)])
}

/// What Services select: name, key and value.
pub fn selecting(services: &[(&str, &str, &str)]) -> Selections {
    services.iter().map(|(name, key, value)| ((*name).to_owned(), [((*key).to_owned(), (*value).to_owned())].into())).collect()
}
