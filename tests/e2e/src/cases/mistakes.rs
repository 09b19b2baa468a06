//! The mistakes that the cases make, and what is said to each.

use bluegreen::api::ConditionType;
use serde_json::json;

use crate::manifest::Manifest;

/// What there is around the mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// Nothing special.
    Nothing,
    /// A Service `web` that selects something else.
    SelectsOther,
    /// A Service `web` that another BlueGreenDeployment moves.
    OwnedByOther,
    /// A Service `web` that selects all pods.
    SelectsAll,
    /// A Service `web` of type ExternalName.
    External,
    /// A Service `web` with an EndpointSlice made by hand.
    ByHand,
    /// A Service `web` whose selector belongs to a server-side applier.
    Applied,
    /// A Service `web` with a pod of something else behind it.
    Serving,
    /// An annotation of the Service by which a load balancer addresses pods.
    Addressed,
    /// A quota that one ReplicaSet fills.
    Quota,
}

/// One mistake.
pub struct Mistake {
    /// Name of its case.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What there is around it.
    pub around: Around,
    /// The mistake itself.
    pub edit: fn(Manifest) -> Manifest,
    /// The condition in which it is said.
    pub kind: ConditionType,
    /// Its reason.
    pub reason: &'static str,
    /// What is said, with `<pod>`, `<revision>`, `<namespace>` and `<random>` in place of names, and `…` for what varies.
    pub message: &'static str,
}

fn web(manifest: Manifest) -> Manifest {
    manifest.spec("/traffic/services", json!(["shop", "web"]))
}

fn unchanged(manifest: Manifest) -> Manifest {
    manifest
}

/// Those that are stored and told in status.
pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "bad_service_missing",
        title: "A Service that does not exist",
        around: Around::Nothing,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceMissing",
        message: "spec.traffic.services[1]: Service \"web\" does not exist in this namespace; create it without a selector, or remove it here",
    },
    Mistake {
        name: "bad_service_selects_other",
        title: "A Service that selects something else",
        around: Around::SelectsOther,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceSelectsOther",
        message: "spec.traffic.services[1]: Service \"web\" selects app=web, which spec.template.metadata.labels does not have; it serves something else: name another Service here, or remove the selector from it",
    },
    Mistake {
        name: "bad_service_owned",
        title: "A Service that another BlueGreenDeployment moves",
        around: Around::OwnedByOther,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceOwnedBy",
        message: "spec.traffic.services[1]: Service \"web\" is moved by BlueGreenDeployment \"<namespace>/other\"; name each Service in one BlueGreenDeployment only",
    },
    Mistake {
        name: "bad_exposed_elsewhere",
        title: "Another Service that selects the same pods",
        around: Around::SelectsAll,
        edit: unchanged,
        kind: ConditionType::Stalled,
        reason: "ExposedElsewhere",
        message: "spec.traffic: Service \"web\" also selects these pods and would send traffic to untested ones; add it to services or previewServices, or to allowOtherServices if that is intended",
    },
    Mistake {
        name: "bad_external_name",
        title: "A Service of type ExternalName",
        around: Around::External,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceUnsuitable",
        message: "spec.traffic.services[1]: Service \"web\" is of type ExternalName, which selects no pods; use another type, or remove it here",
    },
    Mistake {
        name: "bad_endpoints_by_hand",
        title: "A Service with endpoints made by hand",
        around: Around::ByHand,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceUnsuitable",
        message: "spec.traffic.services[1]: Service \"web\" has endpoints that were not made from a selector; remove those EndpointSlices, or name another Service here",
    },
    Mistake {
        name: "bad_selector_owned",
        title: "A Service whose selector a GitOps tool applies",
        around: Around::Applied,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "SelectorOwnedBy",
        message: "spec.traffic.services[1]: the selector of Service \"web\" is owned by \"flux\" through server-side apply, which would remove the revision at every sync; remove spec.selector from the Service's manifest, the operator writes it",
    },
    Mistake {
        name: "bad_serves_others",
        title: "A Service that already serves other pods",
        around: Around::Serving,
        edit: web,
        kind: ConditionType::Stalled,
        reason: "ServiceServesOthers",
        message: "spec.traffic.services[1]: Service \"web\" already serves 1 pod of something else, which a switch would cut off from its users; if they are those of a Deployment, delete this object and take that over with kubectl bluegreen adopt, else name another Service here (docs/migrate.md)",
    },
    Mistake {
        name: "bad_probe_port_name",
        title: "A smoke probe of a port name that no container has",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/httpGet/port", "web"),
        kind: ConditionType::Stalled,
        reason: "PortUnknown",
        message: "spec.smokeProbes[0].httpGet.port: no container port is named \"web\"; the template has http, admin, echo, grpc",
    },
    Mistake {
        name: "bad_probe_path",
        title: "A smoke probe through the API server whose path has `..`",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/through", "ApiServer").spec("/smokeProbes/0/httpGet/path", "/status/../admin"),
        kind: ConditionType::Stalled,
        reason: "PathInvalid",
        message: "spec.smokeProbes[0].httpGet.path: the path can't go through the API server: it has . or .. between slashes; write the path that is meant",
    },
    Mistake {
        name: "bad_probe_url",
        title: "A query to where the operator may not ask",
        around: Around::Nothing,
        edit: |manifest| {
            let query = json!({"url": "http://prometheus.monitoring:9090", "query": "up", "atLeast": "1"});
            manifest.spec("/smokeProbes", json!([{"name": "up", "prometheus": query}]))
        },
        kind: ConditionType::Stalled,
        reason: "UrlNotAllowed",
        message: "spec.smokeProbes[0].prometheus.url: this operator may not ask prometheus.monitoring:9090; whoever installs it can add that to allowedUrls",
    },
    Mistake {
        name: "bad_probe_pointer",
        title: "A smoke probe whose JSON pointer is none",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/httpGet/expect/jsonPointer", json!([{"path": "$.version", "value": "v2"}])),
        kind: ConditionType::Stalled,
        reason: "PathInvalid",
        message: "spec.smokeProbes[0].httpGet.expect.jsonPointer[0].path: \"$.version\" does not begin with /; write a JSON pointer such as /checks/0/status",
    },
    Mistake {
        name: "bad_drain_port",
        title: "A drain port that is no port",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/drain/ports", json!([70000])),
        kind: ConditionType::Stalled,
        reason: "PortUnknown",
        message: "spec.drain.ports[0]: 70000 is not a port; use a number from 1 to 65535",
    },
    Mistake {
        name: "bad_begin_path",
        title: "A path of drain.begin that is no path",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/drain/begin", json!({"http": {"path": "drain", "port": "admin"}})),
        kind: ConditionType::Stalled,
        reason: "PathInvalid",
        message: "spec.drain.begin.http.path: \"drain\" does not begin with /",
    },
    Mistake {
        name: "bad_host_port",
        title: "A host port",
        around: Around::Nothing,
        edit: |manifest| manifest.container("/ports/0/hostPort", 8080),
        kind: ConditionType::Stalled,
        reason: "HostPort",
        message: "spec.template.spec.containers[0].ports[0].hostPort: a host port bypasses the Service and two revisions can't share it on one node; remove it, or set spec.drain.source to Timer",
    },
    Mistake {
        name: "bad_template",
        title: "A template that the API server refuses",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/template/spec/restartPolicy", "Never"),
        kind: ConditionType::Stalled,
        reason: "TemplateRefused",
        message: "the API server refuses spec.template: spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
    },
    Mistake {
        name: "bad_quota",
        title: "A quota that is exhausted",
        around: Around::Quota,
        edit: unchanged,
        kind: ConditionType::Stalled,
        reason: "QuotaExceeded",
        message: "the ReplicaSet of spec.template can't be created: replicasets.apps \"shop-<random>\" is forbidden: exceeded quota: sets, requested: count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1",
    },
    Mistake {
        name: "bad_image",
        title: "An image that can't be pulled",
        around: Around::Nothing,
        edit: |manifest| manifest.container("/image", "localhost/app:missing").container("/imagePullPolicy", "IfNotPresent"),
        kind: ConditionType::Reconciling,
        reason: "BringUp",
        message: "revision <revision> is brought up: 0 of 2 pods are available; pod <pod>: container app: ImagePullBackOff: Back-off pulling image \"localhost/app:missing\"…",
    },
    Mistake {
        name: "bad_load_balancer",
        title: "A load balancer that addresses pods, and a move in one write",
        around: Around::Addressed,
        edit: unchanged,
        kind: ConditionType::Stalled,
        reason: "PodsAddressed",
        message: "spec.traffic.services[0]: by its annotation service.beta.kubernetes.io/aws-load-balancer-nlb-target-type a load balancer sends the traffic of Service \"shop\" to pods themselves, and has no healthy one for some seconds when all of them change at once; set spec.traffic.cutover to Overlap, or to Atomic if that is accepted",
    },
    Mistake {
        name: "bad_node_selector",
        title: "Pods that fit on no node",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/template/spec/nodeSelector", json!({"disk": "ssd"})),
        kind: ConditionType::Reconciling,
        reason: "BringUp",
        message: "revision <revision> is brought up: 0 of 2 pods are available; pod <pod>: Unschedulable: 0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.…",
    },
    Mistake {
        name: "bad_crash",
        title: "A container that ends at once",
        around: Around::Nothing,
        edit: |manifest| manifest.container("/args", json!(["--no-such-flag"])),
        kind: ConditionType::Reconciling,
        reason: "BringUp",
        message: "revision <revision> is brought up: 0 of 2 pods are available; pod <pod>: container app: CrashLoopBackOff: back-off … restarting failed container=app pod=<pod>…",
    },
    Mistake {
        name: "bad_probe_nobody_listens",
        title: "A smoke probe of a port where nobody listens",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/httpGet/port", 7777),
        kind: ConditionType::Stalled,
        reason: "SmokeFailed",
        message: "smoke probe \"home\" on <pod> failed 3 times: GET / on port 7777: connection refused; nothing listens on that port of the pod's address",
    },
    Mistake {
        name: "bad_probe_text",
        title: "A smoke probe that expects another text",
        around: Around::Nothing,
        edit: |manifest| manifest.spec("/smokeProbes/0/httpGet/expect/bodyContains", "welcome"),
        kind: ConditionType::Stalled,
        reason: "SmokeFailed",
        message: "smoke probe \"home\" on <pod> failed 3 times: GET / on port 8080: answered 200, but its body lacks \"welcome\"",
    },
];

/// One that the API server refuses: it is never stored.
pub struct Refused {
    /// For people.
    pub title: &'static str,
    /// The mistake itself.
    pub edit: fn(Manifest) -> Manifest,
    /// What the API server says.
    pub message: &'static str,
}

/// Those that are refused.
pub const REFUSED: &[Refused] = &[Refused {
    title: "A selector that does not match the template",
    edit: |manifest| manifest.spec("/template/metadata/labels", json!({"app": "other"})),
    message: "every label of spec.selector.matchLabels must be in spec.template.metadata.labels with the same value",
}];
