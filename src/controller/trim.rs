//! From the API server's JSON to what the release needs. Everything else is dropped before it is cached: managed fields alone
//! are most of an object's memory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::api::{Switch, keys};
use crate::release::config::{Config, ConfigKind, ConfigName, copies};
use crate::release::metadata::Record;
use crate::release::revision::{config_digest, template_identity};
use crate::release::set::images;
use crate::release::{Color, Control, Endpoints, Left, Marks, Node, OwnProbe, Owner, Pod, Proof, Role, Selected, Service, ServicePort, Set};

use super::api::FIELD_MANAGER;

/// `metadata.uid` and `metadata.resourceVersion`.
pub fn identity(object: &Value) -> Option<(String, String)> {
    Some((text(object, "/metadata/uid")?, text(object, "/metadata/resourceVersion")?))
}

/// A string at a JSON pointer.
pub fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn number(object: &Value, pointer: &str) -> i32 {
    object.pointer(pointer).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok()).unwrap_or(0)
}

/// A point in time.
pub fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.pointer(pointer)?.as_str()?.parse().ok()
}

/// What a list holds; nothing where there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A map of strings; other values in it are left out.
pub fn strings(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let entries = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// An annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// A label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// The controlling owner: kind, name and UID.
pub fn controller(object: &Value) -> Option<(String, String, String)> {
    let owner = list(object, "/metadata/ownerReferences").find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    Some((text(owner, "/kind")?, text(owner, "/name")?, text(owner, "/uid")?))
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A ReplicaSet that carries a revision.
pub fn set(object: &Value) -> Option<Set> {
    let (uid, resource_version) = identity(object)?;
    let failure = list(object, "/status/conditions").find(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("ReplicaFailure") && condition.get("status").and_then(Value::as_str) == Some("True")
    });
    let mark = |key: &str| annotation(object, key).map(str::to_owned);
    let marks = Marks { role: mark(keys::ROLE), proof: mark(keys::PROOF), drain_begun: mark(keys::DRAIN_BEGUN) };
    Some(Set {
        name: text(object, "/metadata/name")?,
        uid,
        resource_version,
        created: time(object, "/metadata/creationTimestamp").unwrap_or_default(),
        revision: label(object, keys::REVISION)?.to_owned(),
        issue: label(object, keys::ISSUE).map_or(Some(1), |issue| issue.parse().ok())?,
        color: label(object, keys::COLOR).and_then(Color::parse).unwrap_or(Color::Blue),
        desired: number(object, "/spec/replicas"),
        min_ready_seconds: number(object, "/spec/minReadySeconds"),
        selector: pod_labels(object),
        replicas: number(object, "/status/replicas"),
        counted: object.get("status").map(|_| number(object, "/status/readyReplicas")),
        observed: object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation"),
        role: marks.role.as_deref().and_then(Role::parse),
        switch: annotation(object, keys::SWITCH).and_then(|text| serde_json::from_str::<Switch>(text).ok()),
        proof: marks.proof.as_deref().and_then(|text| serde_json::from_str::<Proof>(text).ok()),
        restarts: restarts(object),
        template_hashes: annotation(object, keys::TEMPLATE_HASHES)
            .map(|text| text.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        template_identity: template_identity(object.pointer("/spec/template")?),
        drain_begun: marks.drain_begun.as_deref().map(words),
        failure: failure.and_then(|condition| text(condition, "/message")),
        images: object.pointer("/spec/template").map(images).unwrap_or_default(),
        configs: object.pointer("/spec/template/spec").map(copies).unwrap_or_default(),
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
        loose: None,
        marks,
    })
}

/// What all pods of a ReplicaSet have: the labels of its selector, which can't be changed, and the revision, which a set that a Deployment
/// made has in its template only.
pub fn pod_labels(set: &Value) -> BTreeMap<String, String> {
    let mut labels = strings(set, "/spec/selector/matchLabels");
    if let Some(revision) = set.pointer("/spec/template/metadata/labels").and_then(|labels| labels.get(keys::REVISION)?.as_str()) {
        labels.entry(keys::REVISION.to_owned()).or_insert_with(|| revision.to_owned());
    }
    labels
}

/// How often the template of a ReplicaSet had been started anew when it was made.
pub fn restarts(set: &Value) -> i64 {
    annotation(set, keys::RESTARTS).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The mark of a pod that leaves its ReplicaSet.
pub fn left(pod: &Value) -> Option<Left> {
    serde_json::from_str(annotation(pod, keys::LEFT)?).ok()
}

/// What was written on a pod because of its role.
pub fn metadata(pod: &Value) -> Option<Record> {
    serde_json::from_str(annotation(pod, keys::METADATA)?).ok()
}

/// UID of the BlueGreenDeployment that is an owner of a pod, controlling or not.
pub fn owner_of_pod(pod: &Value) -> Option<String> {
    let owners = list(pod, "/metadata/ownerReferences");
    owners.filter(|owner| text(owner, "/kind").as_deref() == Some("BlueGreenDeployment")).find_map(|owner| text(owner, "/uid"))
}

/// Who controls a pod, which ReplicaSet it is or was of, and its mark; `None` for everybody else's. Of a pod that nobody controls and that
/// is not marked it is not known here whose it was.
fn place(pod: &Value) -> Option<(Control, String, Option<Left>)> {
    let left = left(pod);
    match controller(pod) {
        Some((kind, _, uid)) if kind == "ReplicaSet" => {
            let left = left.filter(|left| left.set == uid);
            Some((Control::Set, uid, left))
        }
        Some((kind, _, uid)) if kind == "BlueGreenDeployment" => left.map(|left| (Control::Object(uid), left.set.clone(), Some(left))),
        Some(_) => None,
        None => {
            let set = left.as_ref().map(|left| left.set.clone()).unwrap_or_default();
            Some((Control::Nobody(strings(pod, "/metadata/labels")), set, left))
        }
    }
}

/// A pod of such a ReplicaSet, or one that has left it.
pub fn pod(object: &Value) -> Option<Pod> {
    let (uid, _) = identity(object)?;
    let (control, set_uid, left) = place(object)?;
    let ready = list(object, "/status/conditions").find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    let addresses: Vec<String> = list(object, "/status/podIPs").filter_map(|address| text(address, "/ip")).collect();
    let containers: Vec<&Value> = long_running(object).collect();
    let mesh = containers.iter().filter_map(|container| container.get("name").and_then(Value::as_str)).flat_map(mesh_ports);
    Some(Pod {
        name: text(object, "/metadata/name")?,
        uid,
        created: time(object, "/metadata/creationTimestamp").unwrap_or_default(),
        set_uid,
        control,
        left,
        serving: label(object, keys::SERVING).map(str::to_owned),
        metadata: metadata(object),
        addresses,
        node: text(object, "/spec/nodeName"),
        ready: ready.is_some_and(|condition| condition.get("status").and_then(Value::as_str) == Some("True")),
        ready_since: ready.and_then(|condition| time(condition, "/lastTransitionTime")),
        terminating: object.pointer("/metadata/deletionTimestamp").is_some(),
        finished: matches!(object.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed")),
        trouble: trouble(object),
        ports: containers
            .iter()
            .flat_map(|container| list(container, "/ports"))
            .filter_map(|port| Some((text(port, "/name")?, number(port, "/containerPort"))))
            .collect(),
        mesh_ports: mesh.copied().collect(),
        own_probes: containers.iter().flat_map(|container| own_probes(container)).collect(),
        host_network: object.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false),
        runtime_class: text(object, "/spec/runtimeClassName"),
        configs: object.get("spec").map(copies).unwrap_or_default(),
    })
}

/// Containers, and init containers that go on running beside them (KEP-753).
fn long_running(pod: &Value) -> impl Iterator<Item = &Value> {
    let sidecars = list(pod, "/spec/initContainers").filter(|container| container.get("restartPolicy").and_then(Value::as_str) == Some("Always"));
    list(pod, "/spec/containers").chain(sidecars)
}

/// Ports on which the proxies of well-known meshes accept what comes in (istio: 15006, with HBONE 15008; Linkerd: 4143).
fn mesh_ports(container: &str) -> &'static [i32] {
    match container {
        "istio-proxy" => &[15006, 15008],
        "linkerd-proxy" => &[4143],
        _ => &[],
    }
}

fn own_probes(container: &Value) -> Vec<OwnProbe> {
    let named = |name: &str| {
        list(container, "/ports").find(|port| port.get("name").and_then(Value::as_str) == Some(name)).map(|port| number(port, "/containerPort"))
    };
    ["livenessProbe", "readinessProbe", "startupProbe"]
        .iter()
        .filter_map(|kind| container.get(kind))
        .filter_map(|probe| {
            let action = ["httpGet", "tcpSocket", "grpc"].iter().find_map(|kind| probe.get(kind))?;
            let port = match action.get("port")? {
                Value::String(name) => named(name)?,
                port => i32::try_from(port.as_i64()?).ok()?,
            };
            Some(OwnProbe { port, period: number(probe, "/periodSeconds").max(1) })
        })
        .collect()
}

/// Why a pod does not start, in the words of whoever keeps it from doing so.
fn trouble(pod: &Value) -> Option<String> {
    let unscheduled = list(pod, "/status/conditions").find(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("PodScheduled") && condition.get("status").and_then(Value::as_str) == Some("False")
    });
    if let Some(condition) = unscheduled {
        return Some(format!("{}: {}", text(condition, "/reason")?, text(condition, "/message").unwrap_or_default()));
    }
    let statuses = list(pod, "/status/initContainerStatuses").chain(list(pod, "/status/containerStatuses"));
    statuses.into_iter().find_map(|status| {
        let waiting = status.pointer("/state/waiting")?;
        let reason = text(waiting, "/reason").filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing")?;
        let message = text(waiting, "/message").unwrap_or_default();
        Some(format!("container {}: {reason}: {message}", text(status, "/name")?))
    })
}

/// A Service.
pub fn service(object: &Value) -> Option<Service> {
    let (uid, resource_version) = identity(object)?;
    let headless = object.pointer("/spec/clusterIP").and_then(Value::as_str) == Some("None");
    let mut cluster_ips: Vec<String> = list(object, "/spec/clusterIPs").filter_map(Value::as_str).map(str::to_owned).collect();
    if cluster_ips.is_empty() {
        cluster_ips.extend(text(object, "/spec/clusterIP"));
    }
    cluster_ips.retain(|address| !address.is_empty() && address != "None");
    let owners = selector_owners(object);
    Some(Service {
        name: text(object, "/metadata/name")?,
        uid,
        resource_version,
        selector: strings(object, "/spec/selector"),
        owner: annotation(object, keys::OWNER).and_then(Owner::parse),
        selected: annotation(object, keys::SELECTED).and_then(Selected::parse),
        switch: annotation(object, keys::SWITCH).and_then(|text| serde_json::from_str(text).ok()),
        withdrawn: annotation(object, keys::WITHDRAWN).map(words).unwrap_or_default(),
        kind: text(object, "/spec/type").unwrap_or_else(|| "ClusterIP".into()),
        headless,
        internal_local: text(object, "/spec/internalTrafficPolicy").as_deref() == Some("Local"),
        external_local: text(object, "/spec/externalTrafficPolicy").as_deref() == Some("Local"),
        cluster_ips,
        addresses_pods: addresses_pods(object),
        ports: list(object, "/spec/ports")
            .map(|port| ServicePort {
                name: text(port, "/name").unwrap_or_default(),
                port: number(port, "/port"),
                target: match port.get("targetPort") {
                    Some(Value::String(name)) => name.clone(),
                    Some(target) => target.to_string(),
                    None => number(port, "/port").to_string(),
                },
                protocol: text(port, "/protocol").unwrap_or_else(|| "TCP".into()),
            })
            .collect(),
        applier: owners.iter().find(|(_, operation, _)| operation == "Apply").map(|(manager, ..)| manager.clone()),
        editor: owners.into_iter().max_by_key(|(.., at)| *at).map(|(manager, ..)| manager),
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
    })
}

/// The annotation of a Service by which a load balancer sends traffic to its pods themselves, and not to nodes: of the AWS Load Balancer Controller
/// ("Service annotations" and "Ingress annotations": target types `ip` and `nlb-ip`) and of GKE ("Container-native load balancing": NEGs).
fn addresses_pods(service: &Value) -> Option<&'static str> {
    const TARGETS: [(&str, &str); 3] = [
        ("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "ip"),
        ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb-ip"),
        ("alb.ingress.kubernetes.io/target-type", "ip"),
    ];
    // On clusters of GKE each Service may bear the wish for such groups; only where there are some does it bear their status.
    const NEG: &str = "cloud.google.com/neg-status";
    let targets = TARGETS.into_iter().find(|(key, value)| annotation(service, key) == Some(value)).map(|(key, _)| key);
    targets.or_else(|| annotation(service, NEG).is_some().then_some(NEG))
}

/// Managers other than this operator that own `spec.selector`: name, operation and time.
fn selector_owners(service: &Value) -> Vec<(String, String, Option<Timestamp>)> {
    list(service, "/metadata/managedFields")
        .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:selector").is_some())
        .filter_map(|entry| Some((text(entry, "/manager")?, text(entry, "/operation")?, time(entry, "/time"))))
        .filter(|(manager, ..)| manager != FIELD_MANAGER)
        .collect()
}

/// An EndpointSlice: the Service it is for, and what it holds.
pub fn slice(object: &Value) -> Option<(String, Endpoints)> {
    let labels = object.pointer("/metadata/labels")?;
    let service = labels.get("kubernetes.io/service-name")?.as_str()?.to_owned();
    let managed = labels.get("endpointslice.kubernetes.io/managed-by").and_then(Value::as_str) == Some("endpointslice-controller.k8s.io");
    let mut endpoints = Endpoints { foreign: !managed, ..Endpoints::default() };
    for endpoint in list(object, "/endpoints") {
        let is_pod = endpoint.pointer("/targetRef/kind").and_then(Value::as_str) == Some("Pod");
        // Absent means unknown, which kube-proxy reads as ready (the API's own advice).
        let ready = endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
        match text(endpoint, "/targetRef/uid").filter(|_| is_pod) {
            Some(uid) => {
                for address in list(endpoint, "/addresses") {
                    match address.as_str().and_then(|address| address.parse().ok()) {
                        Some(address) => drop(endpoints.addresses.insert((uid.clone(), address))),
                        None => endpoints.foreign = true,
                    }
                }
                let known = endpoints.pods.entry(uid).or_default();
                *known |= ready;
            }
            None => endpoints.foreign = true,
        }
    }
    // A slice somebody else manages but has left empty serves nobody.
    endpoints.foreign &= list(object, "/endpoints").next().is_some();
    Some((service, endpoints))
}

/// A ConfigMap or Secret: what it is called, and a hash of what it holds. Nothing of the content itself is kept.
pub fn config(kind: ConfigKind, object: &Value) -> Option<Config> {
    let (uid, resource_version) = identity(object)?;
    let copied = annotation(object, keys::COPY_OF).is_some();
    Some(Config {
        id: ConfigName { kind, name: text(object, "/metadata/name")? },
        uid,
        resource_version,
        digest: config_digest(object),
        copy_for: label(object, keys::NAME).filter(|_| copied).map(str::to_owned),
        owner: controller(object).map(|(_, _, uid)| uid),
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
    })
}

/// A Node.
pub fn node(object: &Value) -> Option<Node> {
    let os = object.pointer("/metadata/labels").and_then(|labels| labels.get("kubernetes.io/os")).and_then(Value::as_str);
    Some(Node {
        exists: true,
        linux: os.is_none_or(|os| os == "linux"),
        unreachable: list(object, "/spec/taints").any(|taint| taint.get("key").and_then(Value::as_str) == Some("node.kubernetes.io/unreachable")),
        ready: list(object, "/status/conditions")
            .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"))
            .is_none_or(|condition| condition.get("status").and_then(Value::as_str) == Some("True")),
        addresses: list(object, "/status/addresses")
            .filter(|address| matches!(address.get("type").and_then(Value::as_str), Some("InternalIP" | "ExternalIP")))
            .filter_map(|address| text(address, "/address"))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_load_balancer_that_addresses_pods_is_known_by_its_annotation() {
        for (key, value, found) in [
            ("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "ip", true),
            ("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "instance", false),
            ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb-ip", true),
            ("service.beta.kubernetes.io/aws-load-balancer-type", "external", false),
            ("alb.ingress.kubernetes.io/target-type", "ip", true),
            ("alb.ingress.kubernetes.io/target-type", "instance", false),
            ("cloud.google.com/neg-status", "{}", true),
            // Only the wish for one, which clusters of GKE put on each Service.
            ("cloud.google.com/neg", r#"{"ingress":true}"#, false),
        ] {
            let service = json!({"metadata": {"annotations": {key: value}}});
            assert_eq!(addresses_pods(&service), found.then_some(key), "{key}: {value}");
        }
        assert_eq!(addresses_pods(&json!({"metadata": {}})), None);
    }

    #[test]
    fn a_service_knows_who_applies_its_selector() {
        let object = json!({
            "metadata": {"name": "shop", "uid": "u", "resourceVersion": "5",
                "annotations": {"bluegreen.dev/owner": "shop/1-2", "bluegreen.dev/selected": "abc@3"},
                "managedFields": [
                    {"manager": "flux", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:selector": {}}}},
                    {"manager": "other", "operation": "Update", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:ports": {}}}}]},
            "spec": {"clusterIP": "10.0.0.1", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster", "selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": "http"}, {"port": 9000, "targetPort": 9000}]}
        });
        let service = service(&object).unwrap();
        assert_eq!(service.applier.as_deref(), Some("flux"));
        assert_eq!(service.owner, Some(Owner { name: "shop".into(), uid: "1-2".into() }));
        assert_eq!(service.selected, Some(Selected { revision: "abc".into(), attempt: 3 }));
        assert_eq!((service.external_local, service.internal_local), (true, false));
        assert_eq!(service.ports.iter().map(|port| port.target.as_str()).collect::<Vec<_>>(), ["http", "9000"]);
    }

    #[test]
    fn endpoints_without_a_pod_are_foreign_and_an_absent_readiness_counts_as_ready() {
        let object = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "shop", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
            "endpoints": [{"targetRef": {"kind": "Pod", "uid": "a"}}, {"targetRef": {"kind": "Pod", "uid": "b"}, "conditions": {"ready": false}}]
        });
        let (name, endpoints) = slice(&object).unwrap();
        assert_eq!((name.as_str(), endpoints.foreign), ("shop", false));
        assert_eq!(endpoints.pods, BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]));
        let by_hand = json!({"metadata": {"labels": {"kubernetes.io/service-name": "shop"}}, "endpoints": [{"addresses": ["10.0.0.9"]}]});
        assert!(slice(&by_hand).unwrap().1.foreign);
    }

    #[test]
    fn a_pod_knows_the_probes_the_kubelet_runs_on_it() {
        let object = json!({
            "metadata": {"name": "p", "uid": "u", "resourceVersion": "1", "ownerReferences": [{"kind": "ReplicaSet", "name": "s", "uid": "su", "controller": true}]},
            "spec": {"containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 2}, "livenessProbe": {"exec": {"command": ["true"]}}}]},
            "status": {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}]}
        });
        let pod = pod(&object).unwrap();
        assert_eq!(pod.own_probes, vec![OwnProbe { port: 8080, period: 2 }]);
        assert_eq!(pod.trouble.as_deref(), Some("container app: ImagePullBackOff: Back-off"));
        assert_eq!(pod.set_uid, "su");
    }
}

#[cfg(test)]
#[path = "tests/hostile.rs"]
mod hostile;
