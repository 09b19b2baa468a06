//! Objects as others may write them: whatever stands in them, they are read, a plan follows, and nothing panics or grows without bound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};

use super::super::api::Resource;
use super::super::memory::{Remembered, Reports};
use super::super::observe::{Installation, observe};
use super::super::reach::{self, Claim};
use super::super::world::World;
use super::*;
use crate::api::BlueGreenDeployment;
use crate::release::action::Plan;
use crate::release::{Now, plan};

const KINDS: [Resource; 9] = [
    Resource::BlueGreenDeployment,
    Resource::ReplicaSet,
    Resource::Pod,
    Resource::Service,
    Resource::EndpointSlice,
    Resource::Node,
    Resource::ConnectionWatch,
    Resource::DaemonSet,
    Resource::PodDisruptionBudget,
];

/// What stands where something else was expected.
fn strange() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just(String::new()),
        ".{0,40}",
        "[a-z0-9@/:,.-]{0,30}",
        prop::sample::select(vec![
            "serving@1",
            "serving@2",
            "serving@9223372036854775807",
            "retiring@-1",
            "retired@99999999999999999999",
            "serving@",
            "@",
            "new@9007199254740993",
            "none@0",
            "old@2",
            "new@2",
            "shop/u",
            "shop/other",
            "/",
            "old-new",
            "new-old",
            "-",
            "None",
            "ExternalName",
            "127.0.0.1",
            "::1",
            "fe80::1%eth0",
            "::ffff:169.254.169.254",
            "10.0.0.1/33",
            "0.0.0.0/0",
            "2026-01-01T00:00:00Z",
            "+275760-09-13T00:00:00Z",
            "-009999-01-02T01:59:59Z",
            "True",
            "Pod",
            "ReplicaSet",
            "{}",
            "[]",
            "null",
            "{\"probes\":1}",
            "left.old",
            "{\"set\":\"set-old\",\"revision\":\"new\",\"issue\":-9223372036854775808,\"color\":\"blue\",\"attempt\":9223372036854775807,\"since\":\"-009999-01-02T01:59:59Z\"}",
            "{\"probes\":\"h\",\"needed\":-2147483648,\"pods\":[]}",
            "blue",
            "TCP",
            "UDP",
            "http",
            "n1",
        ])
        .prop_map(str::to_owned),
        Just("x".repeat(20_000)),
        Just("\u{0}\r\n\u{1b}[31m\u{202e}\u{feff}".to_owned()),
    ];
    let number = prop_oneof![
        prop::sample::select(vec![0, -1, 1, 80, 65535, 65536, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN, 1 << 53])
            .prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
    ];
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::Bool), number, text.prop_map(Value::String)];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-zA-Z]{1,8}|metadata|name|uid|port", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A change of one object: at the place that `way` leads to, something strange, nothing at all, or the same thing twice.
#[derive(Clone, Debug)]
struct Change {
    object: usize,
    way: Vec<u8>,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Set(Value),
    Remove,
    Twice,
}

fn change() -> impl Strategy<Value = Change> {
    let how = prop_oneof![6 => strange().prop_map(How::Set), 2 => Just(How::Remove), 1 => Just(How::Twice)];
    (any::<usize>(), prop::collection::vec(any::<u8>(), 1..9), how).prop_map(|(object, way, how)| Change { object, way, how })
}

fn alter(value: &mut Value, way: &[u8], how: &How) {
    let Some((step, rest)) = way.split_first() else {
        if let How::Set(new) = how {
            value.clone_from(new);
        }
        return;
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(usize::from(*step) % map.len()).unwrap().clone();
            match how {
                How::Remove if rest.is_empty() => drop(map.remove(&key)),
                _ => alter(map.get_mut(&key).unwrap(), rest, how),
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let place = usize::from(*step) % list.len();
            match how {
                How::Remove if rest.is_empty() => drop(list.remove(place)),
                How::Twice if rest.is_empty() => list.push(list[place].clone()),
                _ => alter(&mut list[place], rest, how),
            }
        }
        leaf => {
            if let How::Set(new) = how {
                leaf.clone_from(new);
            }
        }
    }
}

fn meta(name: &str, uid: &str, more: Value) -> Value {
    let mut meta = json!({"name": name, "namespace": "n", "uid": uid, "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"});
    meta.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    meta
}

/// A release in the middle: v1 is being left, v2 serves, v3 is tested; with everything that has a say in it. Commands come before all else:
/// with one that says nothing about this release, hardly more than its removal is planned.
fn objects(commanded: bool) -> Vec<(Resource, Value)> {
    let commands =
        json!({keys::command::PROMOTE: "next", keys::command::ABORT: "gone", keys::command::RETRY: "next", keys::command::ROLLBACK: "new-old"});
    let template = |version: &str| {
        json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "web", "image": format!("shop:{version}"),
            "ports": [{"name": "http", "containerPort": 8080}], "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 2}}]}})
    };
    let probes = json!([{"name": "home", "httpGet": {"path": "/", "port": "http", "httpHeaders": [{"name": "Host", "value": "shop"}], "expect": {"status": [200]}}},
        {"name": "front", "grpc": {"port": 80, "service": "shop"}, "target": "PreviewService"}]);
    let switch = json!({"from": "old", "to": "new", "attempt": 2, "cause": "Release", "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:00:01Z",
        "services": [{"name": "shop", "targetPorts": ["http"]}], "earlierPorts": ["81"]});
    let set = |revision: &str, role: &str| {
        let owner = json!([{"apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "name": "shop", "uid": "u", "controller": true}]);
        let marks = json!({keys::ROLE: role, keys::PROOF: "{\"probes\":\"h\",\"needed\":1,\"pods\":[\"pod-new\"]}", keys::SWITCH: switch.to_string(),
            keys::DRAIN_BEGUN: "pod-old", keys::TEMPLATE_HASHES: if revision == "next" { crate::release::revision::raw_hash(&template("v3")) } else { "a b".into() }});
        json!({"metadata": meta(&format!("shop-{revision}"), &format!("set-{revision}"), json!({
                "labels": {keys::REVISION: revision, keys::COLOR: "green"}, "annotations": marks, "ownerReferences": owner})),
            "spec": {"replicas": 1, "minReadySeconds": 0, "template": template(revision)},
            "status": {"replicas": 1, "conditions": [{"type": "ReplicaFailure", "status": "False", "message": "m"}]}})
    };
    let pod = |revision: &str, address: &str| {
        json!({"metadata": meta(&format!("pod-{revision}"), &format!("pod-{revision}"), json!({"labels": {keys::REVISION: revision},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "s", "uid": format!("set-{revision}"), "controller": true}]})),
            "spec": {"nodeName": "n1", "hostNetwork": false, "runtimeClassName": null, "containers": template(revision)["spec"]["containers"]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "m"}}}]}})
    };
    // Two pods that have left a ReplicaSet, of which one still belongs to nobody.
    let left = |name: &str, label: &str, owners: Value| {
        let mark = json!({"set": "set-gone", "revision": "gone", "issue": 1, "color": "blue", "attempt": 1, "since": "2026-01-01T00:00:00Z"});
        let mut pod = pod(name, "10.1.0.4");
        pod["metadata"]["labels"] = json!({"app": "shop", keys::REVISION: label});
        pod["metadata"]["annotations"] = json!({keys::LEFT: mark.to_string()});
        pod["metadata"]["ownerReferences"] = owners;
        pod
    };
    let object = |controls: bool| json!([{"kind": "BlueGreenDeployment", "name": "shop", "uid": "u", "controller": controls}]);
    let service = |name: &str, revision: &str| {
        json!({"metadata": meta(name, name, json!({"annotations": {keys::OWNER: "shop/u", keys::SELECTED: format!("{revision}@2")},
                "managedFields": [{"manager": "flux", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:selector": {}}}}]})),
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "selector": {"app": "shop", keys::REVISION: revision},
                "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]}})
    };
    let slice = |name: &str, revision: &str, address: &str| {
        let labels = json!({"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
        json!({"metadata": meta(&format!("{name}-1"), &format!("slice-{name}"), json!({"labels": labels})), "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p", "uid": format!("pod-{revision}")}}]})
    };
    let report = json!({"uid": "pod-old", "round": 2, "samples": 9, "zeroMillis": 2000, "oldestMillis": 5, "passiveOpens": 3, "elsewhere": 1,
        "ports": [{"port": 8080, "open": 0, "arrivals": 2, "peers": [{"address": "10.0.0.9", "open": 0, "arrivals": 1}]}]});
    vec![
        (
            Resource::BlueGreenDeployment,
            json!({
                "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
                "metadata": meta("shop", "u", json!({"generation": 3, "annotations": if commanded { commands } else { json!({}) }})),
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v3"), "smokeProbes": probes,
                    "traffic": {"services": ["shop"], "previewServices": ["shop-preview"]}, "promotion": {"mode": "Manual"}, "onFailure": {"keepSeconds": 3},
                    "drain": {"scaleDown": "PerPod", "begin": {"http": {"path": "/drain", "port": "http"}}, "ports": [8080], "ignorePeers": [{"cidr": "10.1.0.0/16"}, {"podLabels": {"a": "b"}}]}},
                "status": {"observedGeneration": 2, "phase": "Drain", "switch": switch, "conditions": [], "revision": "next",
                    "active": {"revision": "new", "color": "green", "replicas": 1, "readyReplicas": 1, "since": "2026-01-01T00:00:00Z"},
                    "draining": [{"revision": "old", "color": "blue", "pods": 1, "drainedPods": 0, "openConnections": 1, "oldestSince": "2026-01-01T00:00:00Z", "source": "Sockets",
                        "reason": "Open", "holders": [], "since": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:10:00Z"}],
                    "rejected": {"revision": "gone", "reason": "SmokeFailed", "message": "m", "at": "2026-01-01T00:00:00Z"},
                    "smokeProbes": [{"name": "home", "target": "pod-next", "result": "Running", "attempts": 1, "message": "m", "at": "2026-01-01T00:00:00Z"}]},
            }),
        ),
        (Resource::ReplicaSet, set("old", "serving@1")),
        (Resource::ReplicaSet, set("new", "serving@2")),
        (Resource::ReplicaSet, set("next", "")),
        (Resource::Pod, pod("old", "10.1.0.1")),
        (Resource::Pod, pod("new", "10.1.0.2")),
        (Resource::Pod, pod("next", "10.1.0.3")),
        (Resource::Pod, left("taken", "left.gone", object(true))),
        (Resource::Pod, left("nobodys", "gone", object(false))),
        (Resource::Service, service("shop", "new")),
        (Resource::Service, service("shop-preview", "next")),
        (Resource::EndpointSlice, slice("shop", "new", "10.1.0.2")),
        (Resource::EndpointSlice, slice("shop-preview", "next", "10.1.0.3")),
        (
            Resource::Node,
            json!({"metadata": {"name": "n1", "uid": "n1", "resourceVersion": "7", "labels": {"kubernetes.io/os": "linux"}},
            "spec": {"taints": [{"key": "node.kubernetes.io/unreachable"}]}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
        ),
        (
            Resource::ConnectionWatch,
            json!({"apiVersion": "bluegreen.dev/v1alpha1", "kind": "ConnectionWatch",
            "metadata": {"name": "n1", "namespace": "system", "uid": "w", "resourceVersion": "7"},
            "spec": {"reportSeconds": 2, "pods": [{"uid": "pod-old", "round": 2, "ports": [8080], "ignore": []}]},
            "status": {"bootId": "b", "sequence": 5, "pods": [report]}}),
        ),
        (
            Resource::PodDisruptionBudget,
            json!({"metadata": {"name": "shop", "namespace": "n", "uid": "budget", "resourceVersion": "7"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "shop"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}}}),
        ),
        (
            Resource::DaemonSet,
            json!({"metadata": {"name": "agent", "uid": "ds", "resourceVersion": "7", "generation": 1},
            "status": {"observedGeneration": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 1, "updatedNumberScheduled": 1}}),
        ),
    ]
}

fn at(seconds: u64) -> Now {
    let wall = "2026-01-01T00:00:10Z".parse::<jiff::Timestamp>().unwrap();
    Now {
        wall: wall.checked_add(jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap())).unwrap(),
        mono: Duration::from_secs(1000 + seconds),
    }
}

/// Two looks at what came in, some time apart; what they come to.
fn looks(objects: &[(Resource, Value)]) -> Vec<Plan> {
    let mut world = World::new(vec![], true);
    KINDS.iter().for_each(|kind| world.relist(*kind, ""));
    for (kind, object) in objects {
        world.insert(*kind, object, at(0).mono);
    }
    let agent = json!({"metadata": {"name": "a", "uid": "a", "resourceVersion": "7"}, "spec": {"nodeName": "n1"}});
    world.insert_agent_pod(&agent);
    KINDS.iter().for_each(|kind| drop(world.relisted(*kind, "")));
    world.agent_pods(true);
    let (mut remembered, mut reports) = (Remembered::default(), Reports::default());
    let installation = Installation {
        agent: true,
        runtime_classes: vec![],
        cluster_wide: true,
        allowed_urls: Some(vec![]),
        allowed_webhooks: Some(vec![]),
        allowed_exec: Some(false),
        job_logs: false,
        config_snapshots: None,
        allowed_proxy: Some(false),
    };
    let mut plans = vec![];
    for key in world.keys() {
        for seconds in [0, 3, 700] {
            let now = at(seconds);
            let Some(snapshot) = observe(&world, &mut remembered, &mut reports, &installation, &key, now) else { continue };
            let made = plan(&snapshot, now);
            assert_eq!(format!("{:?}", plan(&snapshot, now)), format!("{made:?}"), "the same snapshot makes another plan");
            for run in made.effects.probes().flat_map(|smoke| &smoke.runs) {
                reach::refusal(&world, run.address.unwrap().ip(), if run.pod.is_some() { Claim::Pod } else { Claim::Service });
            }
            plans.push(made);
        }
    }
    // What was taken can be let go.
    for (kind, object) in objects {
        world.remove(*kind, object);
    }
    plans
}

/// What a plan may come to, whatever it was made from.
fn bounded(plan: &Plan, given: usize) {
    assert!(plan.actions.len() < 40, "{} actions", plan.actions.len());
    assert!(plan.again.is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0), "{:?}", plan.again);
    let status = serde_json::to_value(&plan.status).unwrap();
    // What is written is read again.
    serde_json::from_value::<crate::api::BlueGreenDeploymentStatus>(status.clone()).unwrap();
    for condition in &plan.status.conditions {
        assert!(condition.message.chars().count() <= 512 && !condition.reason.is_empty(), "{condition:?}");
    }
    assert!(status.to_string().len() <= 64 * 1024 + 4 * given, "{} bytes of status from {given}", status.to_string().len());
    for network in plan.effects.watch.iter().flat_map(|pod| &pod.ignore) {
        assert!(network.parse::<ipnet::IpNet>().is_ok(), "{network}");
    }
}

fn size(objects: &[(Resource, Value)]) -> usize {
    objects.iter().map(|(_, object)| object.to_string().len()).sum()
}

#[test]
fn the_release_that_is_changed_below_is_one() {
    let objects = objects(false);
    let parsed: BlueGreenDeployment = serde_json::from_value(objects[0].1.clone()).unwrap();
    assert_eq!(parsed.spec.smoke_probes.len(), 2);
    let plans = looks(&objects);
    assert_eq!(plans.len(), 3);
    let draining: Vec<&str> = plans[0].status.draining.iter().map(|row| row.revision.as_str()).collect();
    assert_eq!(draining, ["old", "gone"], "those of the old set, and those that have left theirs");
    for plan in &plans {
        bounded(plan, size(&objects));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, rng_seed: RngSeed::Fixed(11), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_others_write_a_plan_follows(commanded in any::<bool>(), changes in prop::collection::vec(change(), 1..7)) {
        let mut objects = objects(commanded);
        for Change { object, way, how } in &changes {
            let place = object % objects.len();
            alter(&mut objects[place].1, way, how);
        }
        for plan in looks(&objects) {
            bounded(&plan, size(&objects));
        }
    }

    #[test]
    fn any_json_at_all_is_read(kind in prop::sample::select(KINDS.to_vec()), mut object in strange(), named in any::<bool>()) {
        if named {
            let mut map = object.as_object().cloned().unwrap_or_else(Map::new);
            map.insert("metadata".into(), meta("x", "x", json!({"labels": {keys::REVISION: "r"}})));
            object = Value::Object(map);
        }
        let mut world = World::new(vec![], true);
        world.insert(kind, &object, Duration::ZERO);
        world.insert_agent_pod(&object);
        world.remove(kind, &object);
        world.remove_agent_pod(&object);
        prop_assert!(world.keys().is_empty());
    }

    #[test]
    fn any_annotation_is_read_as_written_or_not_at_all(text in "(serving|retiring|retired|[a-z]{0,6})@-?[0-9]{0,21}|.{0,40}") {
        use crate::release::{Owner, Role, Selected};
        if let Some(role) = Role::parse(&text) {
            prop_assert!(role.attempt >= 0);
            prop_assert_eq!(Role::parse(&role.text()), Some(role));
        }
        if let Some(selected) = Selected::parse(&text) {
            prop_assert!(selected.attempt >= 0);
            prop_assert_eq!(Selected::parse(&selected.text()), Some(selected));
        }
        if let Some(owner) = Owner::parse(&text) {
            prop_assert_eq!(owner.text(), text);
        }
    }
}
