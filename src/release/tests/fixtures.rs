//! Small builders, so that a test says only what it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::{BlueGreenDeploymentSpec, BlueGreenDeploymentStatus, ConditionStatus, ConditionType, PeerReport, PodReport, PortReport, keys};
use crate::release::action::SetChange;
use crate::release::revision::{raw_hash, revision_name};
use crate::release::*;

/// UID of the object under test.
pub const UID: &str = "uid-shop";
/// Name of the object under test, and of its Service.
pub const SHOP: &str = "shop";
/// Its preview Service.
pub const PREVIEW: &str = "shop-preview";
/// The container port that the Services target.
pub const PORT: i32 = 8080;

/// The time `seconds` after the beginning of a story.
pub fn at(seconds: f64) -> Now {
    let wall = Timestamp::from_second(1_800_000_000).unwrap();
    Now { wall: wall.checked_add(SignedDuration::from_secs_f64(seconds)).unwrap(), mono: Duration::from_secs_f64(1000.0 + seconds) }
}

/// A pod template that differs from others by its image only.
pub fn template(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": SHOP}},
        "spec": {"containers": [{"name": "web", "image": format!("shop:{version}"), "ports": [{"name": "http", "containerPort": PORT}]}]}
    })
}

/// Name of the revision that [`template`] makes.
pub fn revision(version: &str) -> String {
    revision_name(SHOP, &template(version), 0)
}

/// What the API server finds the template of a spec to be.
pub fn identity(template: &Value) -> Identity {
    Identity::Known { raw_hash: raw_hash(template), revision: revision_name(SHOP, template, 0) }
}

/// A spec of three pods behind one Service with one smoke probe; `changes` are merged into it.
pub fn spec(version: &str, changes: &Value) -> BlueGreenDeploymentSpec {
    let mut spec = json!({
        "replicas": 3,
        "selector": {"matchLabels": {"app": SHOP}},
        "template": template(version),
        "traffic": {"services": [SHOP]},
        "smokeProbes": [{"name": "home", "httpGet": {"port": "http"}}],
    });
    merge(&mut spec, changes);
    serde_json::from_value(spec).unwrap()
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value.clone(),
    }
}

/// A Service that nobody has touched yet.
pub fn service(name: &str) -> Service {
    Service {
        switch: None,
        withdrawn: std::collections::BTreeSet::new(),
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
        selector: BTreeMap::new(),
        owner: None,
        selected: None,
        kind: "ClusterIP".into(),
        cluster_ips: vec!["10.0.0.9".into()],
        headless: false,
        internal_local: false,
        external_local: false,
        addresses_pods: None,
        ports: vec![ServicePort { name: "http".into(), port: 80, target: "http".into(), protocol: "TCP".into() }],
        applier: None,
        editor: None,
        deleting: false,
    }
}

/// A selector.
pub fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The selector that the operator writes for a revision.
pub fn selector(revision: &str) -> BTreeMap<String, String> {
    labels(&[("app", SHOP), (keys::REVISION, revision)])
}

/// An object and its Service, before anything has happened.
pub fn snapshot(version: &str, changes: &Value) -> Snapshot {
    let spec = spec(version, changes);
    let names = spec.traffic.services.iter().chain(&spec.traffic.preview_services);
    let services = names.map(|name| (name.clone(), service(name))).collect();
    Snapshot {
        identity: identity(&spec.template),
        object: Object {
            name: SHOP.into(),
            namespace: "web".into(),
            uid: UID.into(),
            resource_version: "1".into(),
            generation: 1,
            deleting: false,
            spec,
            status: BlueGreenDeploymentStatus { observed_generation: -1, ..BlueGreenDeploymentStatus::default() },
            stored_switch: None,
            commands: BTreeMap::new(),
            adopting: false,
            ejecting: false,
        },
        sets: vec![],
        orphans: vec![],
        pods: vec![],
        services,
        endpoints: BTreeMap::new(),
        budgets: budget::Budgets::Known(BTreeMap::new()),
        owners: BTreeMap::new(),
        probes: vec![],
        reports: BTreeMap::new(),
        agents: Agents { enabled: true, settled: true, nodes: BTreeSet::from(["node-1".into(), "node-2".into()]), runtime_classes: BTreeSet::new() },
        nodes: BTreeMap::from([("node-1".into(), node("10.1.0.1")), ("node-2".into(), node("10.1.0.2"))]),
        begun: BTreeMap::new(),
        readings: BTreeMap::new(),
        late_pods: BTreeSet::new(),
        absent_since: BTreeMap::new(),
        present_since: BTreeMap::new(),
        repairs: BTreeMap::new(),
        ignored_addresses: BTreeMap::new(),
        peer_names: BTreeMap::new(),
        allowed_urls: Some(vec![]),
        allowed_webhooks: Some(vec![]),
        allowed_exec: Some(false),
        configs: config::Configs::default(),
        allowed_proxy: Some(false),
        jobs: BTreeMap::new(),
        hooks_checked: None,
        peers: vec![],
        refused: None,
        unread: vec![],
    }
}

/// A healthy Linux node.
pub fn node(address: &str) -> Node {
    Node { exists: true, linux: true, unreachable: false, ready: true, addresses: vec![address.into()] }
}

/// A ReplicaSet without pods or marks.
pub fn set(revision: &str, color: Color, desired: i32) -> Set {
    Set {
        name: format!("{SHOP}-{revision}"),
        uid: format!("set-{revision}"),
        resource_version: "1".into(),
        created: at(0.0).wall,
        revision: revision.into(),
        issue: 1,
        color,
        desired,
        min_ready_seconds: 0,
        selector: selector(revision),
        replicas: 0,
        counted: None,
        observed: true,
        marks: Marks::default(),
        role: None,
        switch: None,
        proof: None,
        restarts: 0,
        template_hashes: vec![],
        template_identity: format!("identity-{revision}"),
        drain_begun: None,
        failure: None,
        images: "shop".into(),
        configs: BTreeSet::new(),
        deleting: false,
        loose: None,
    }
}

/// A running, ready pod on the first node.
pub fn pod(name: &str, set_uid: &str) -> Pod {
    Pod {
        name: name.into(),
        uid: format!("pod-{name}"),
        created: at(0.0).wall,
        set_uid: set_uid.into(),
        control: Control::Set,
        left: None,
        serving: None,
        metadata: None,
        addresses: vec!["10.2.0.1".into()],
        node: Some("node-1".into()),
        ready: true,
        ready_since: Some(at(0.0).wall),
        terminating: false,
        finished: false,
        trouble: None,
        ports: BTreeMap::from([("http".into(), PORT)]),
        mesh_ports: vec![],
        own_probes: vec![],
        host_network: false,
        runtime_class: None,
        configs: BTreeSet::new(),
    }
}

/// A report about one pod: open connections, and those that arrived since the round began.
pub fn report(pod: &str, open: i64, arrivals: &[(&str, i64)], zero_millis: Option<i64>) -> PodReport {
    let total = arrivals.iter().map(|(_, number)| *number).sum();
    let peers = arrivals.iter().map(|(address, number)| PeerReport { address: (*address).into(), open: 0, arrivals: *number }).collect();
    PodReport {
        uid: pod.into(),
        round: 1,
        samples: 10,
        unreadable: None,
        zero_millis,
        oldest_millis: None,
        passive_opens: total,
        elsewhere: 0,
        ports: vec![PortReport { port: PORT, open, arrivals: total, peers }],
    }
}

/// A report as it came in `seconds` after the beginning.
pub fn sample(seconds: f64, report: PodReport) -> Sample {
    Sample { received: at(seconds).mono, boot_id: "boot".into(), report, stale_after: 6, heard: at(seconds).mono }
}

/// Status and reason of a condition.
pub fn condition(status: &BlueGreenDeploymentStatus, kind: ConditionType) -> (ConditionStatus, String) {
    let found = status.conditions.iter().find(|condition| condition.kind == kind).unwrap_or_else(|| panic!("no condition {kind:?}"));
    (found.status, found.reason.clone())
}

/// Message of a condition.
pub fn message(status: &BlueGreenDeploymentStatus, kind: ConditionType) -> String {
    status.conditions.iter().find(|condition| condition.kind == kind).map(|condition| condition.message.clone()).unwrap_or_default()
}

/// Carries out a change of a ReplicaSet as the API server would.
pub fn change(set: &mut Set, change: &SetChange) {
    let SetChange { replicas, min_ready_seconds, proof, drop_proof, color, template_hashes, drain_begun } = change.clone();
    set.desired = replicas.unwrap_or(set.desired);
    set.min_ready_seconds = min_ready_seconds.unwrap_or(set.min_ready_seconds);
    set.proof = if drop_proof { None } else { proof.or(set.proof.take()) };
    set.color = color.unwrap_or(set.color);
    set.template_hashes = template_hashes.unwrap_or(std::mem::take(&mut set.template_hashes));
    set.drain_begun = drain_begun.map(|told| told.into_iter().collect()).or(set.drain_begun.take());
}
