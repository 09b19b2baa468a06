//! What a plan is made from: one consistent reading of everything that concerns one BlueGreenDeployment.
//!
//! Plain data, trimmed to what is used. Whatever could not be read is said in [`Snapshot::unread`], never left out silently.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::budget::Budgets;
use super::config::{ConfigName, Configs};
use super::metadata::Record;
use super::metric::Reading;
use super::peer::Peer;
use super::set::{Left, Set, parse_attempt};
use crate::api::{BlueGreenDeploymentSpec, BlueGreenDeploymentStatus, PodReport, ProbeResult, Switch};
use crate::probe::Endpoint;

/// The time, twice: `wall` for what is written into objects, `mono` for durations, which a clock that is set must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock.
    pub wall: Timestamp,
    /// Monotonic clock of this process, from an arbitrary start.
    pub mono: Duration,
}

impl Now {
    /// Seconds from `since` to now by the wall clock; negative when `since` lies in the future.
    pub fn seconds_since(&self, since: Timestamp) -> f64 {
        self.wall.duration_since(since).as_secs_f64()
    }
}

/// One reading of everything that concerns one BlueGreenDeployment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The object itself.
    pub object: Object,
    /// Which revision `spec.template` is.
    pub identity: Identity,
    /// The ReplicaSets it owns.
    pub sets: Vec<Set>,
    /// ReplicaSets without an owner that an earlier object of the same name left behind.
    pub orphans: Vec<Set>,
    /// Their pods.
    pub pods: Vec<Pod>,
    /// Every Service of the namespace that is declared, that belongs to the object, or whose selector matches its pods.
    pub services: BTreeMap<String, Service>,
    /// The endpoints of those Services.
    pub endpoints: BTreeMap<String, Endpoints>,
    /// The PodDisruptionBudgets of the namespace; where none is asked for, only that of the object's name.
    pub budgets: Budgets,
    /// Whether owners named by Services still live. An owner that is not listed has not been looked up.
    pub owners: BTreeMap<String, OwnerState>,
    /// What the smoke probes of the incoming revision have shown so far.
    pub probes: Vec<ProbeObservation>,
    /// What the drain agents reported about pods that are being left.
    pub reports: BTreeMap<String, Vec<Sample>>,
    /// Where measuring is possible at all.
    pub agents: Agents,
    /// Nodes of the pods in `pods`, as far as known.
    pub nodes: BTreeMap<String, Node>,
    /// Pods that were asked to drain since this process began, with the outcome.
    pub begun: BTreeMap<String, Begun>,
    /// What the numbers were that pods tell of themselves.
    pub readings: BTreeMap<String, Reading>,
    /// Pods seen to be born after their set had been left: they never were an endpoint.
    pub late_pods: BTreeSet<String>,
    /// Since when pods are not among the endpoints of a declared Service, on the controller's clock, as far as this process has seen it.
    pub absent_since: BTreeMap<String, Duration>,
    /// Since when pods are ready endpoints of every declared Service, likewise.
    pub present_since: BTreeMap<String, Duration>,
    /// Selector repairs since this process began, by Service.
    pub repairs: BTreeMap<String, Repairs>,
    /// Addresses of pods matched by `drain.ignorePeers[].podLabels`, by position in that list.
    pub ignored_addresses: BTreeMap<usize, Vec<String>>,
    /// Addresses of holders that were looked up, with the name of the pod that has them, if any.
    pub peer_names: BTreeMap<String, Option<String>>,
    /// Where queries may go; `None` where that is not known.
    pub allowed_urls: Option<Vec<Endpoint>>,
    /// Below which places webhooks may be; `None` where that is not known.
    pub allowed_webhooks: Option<Vec<Endpoint>>,
    /// Whether commands may be run in pods; `None` where that is not known.
    pub allowed_exec: Option<bool>,
    /// The configuration that is kept with revisions.
    pub configs: Configs,
    /// Whether probes may go through the API server; `None` where that is not known.
    pub allowed_proxy: Option<bool>,
    /// Jobs of hooks that were looked at, by name.
    pub jobs: BTreeMap<String, JobSeen>,
    /// The hooks that the API server was last asked about, by hash, and what it has against them.
    pub hooks_checked: Option<(String, Result<(), String>)>,
    /// Other members of its group, and whoever a promise ties it to.
    pub peers: Vec<Peer>,
    /// The write that the API server last refused, with its words, until one goes through.
    pub refused: Option<Refusal>,
    /// What could not be read; no irreversible write follows while it is not empty.
    pub unread: Vec<String>,
}

/// A write that the API server refused and will refuse again until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `QuotaExceeded`, `Forbidden` or `Refused`.
    pub reason: &'static str,
    /// What was to be done, and the API server's words.
    pub message: String,
    /// The key of a command that was dealt with and could not be taken off; absent where it was another write.
    pub command: Option<&'static str>,
}

/// The BlueGreenDeployment.
#[derive(Clone, Debug)]
pub struct Object {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The spec. Its template is the effective one: where configuration is kept with revisions, it refers to copies ([`super::config`]).
    pub spec: BlueGreenDeploymentSpec,
    /// The status as last written, with the intent that is on record ([`super::intent::on_record`]).
    pub status: BlueGreenDeploymentStatus,
    /// `status.switch` as last written: behind the intent on record while a move has only begun.
    pub stored_switch: Option<Switch>,
    /// Commands by annotation key.
    pub commands: BTreeMap<String, String>,
    /// Whether its pods are still being taken over from a Deployment ([`crate::api::keys::ADOPTING`]).
    pub adopting: bool,
    /// Whether its pods are being given to a Deployment ([`crate::api::keys::EJECTING`]).
    pub ejecting: bool,
}

impl Object {
    /// The status as the API server has it.
    pub fn stored_status(&self) -> BlueGreenDeploymentStatus {
        BlueGreenDeploymentStatus { switch: self.stored_switch.clone(), ..self.status.clone() }
    }
}

/// Which revision `spec.template` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It has to be asked: this raw template has not been compared yet.
    Unknown {
        /// Hash of the raw template.
        raw_hash: String,
    },
    /// This revision, whether its ReplicaSet exists or not.
    Known {
        /// Hash of the raw template.
        raw_hash: String,
        /// Name of the revision.
        revision: String,
    },
    /// The API server refuses a ReplicaSet with this template.
    Refused {
        /// `TemplateRefused`, `QuotaExceeded` or `Forbidden`; or what is wrong with the configuration that the template refers to.
        reason: String,
        /// Its own words, or what is to be done.
        message: String,
    },
}

/// A pod of one of the ReplicaSets.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.creationTimestamp`, by the API server's clock.
    pub created: Timestamp,
    /// UID of its ReplicaSet; of one that has left it, of that which it left.
    pub set_uid: String,
    /// Who controls it.
    pub control: Control,
    /// The mark of a pod that leaves its ReplicaSet.
    pub left: Option<Left>,
    /// The move in which it serves beside pods of another revision ([`crate::api::keys::SERVING`]).
    pub serving: Option<String>,
    /// What was written on it because of its role.
    pub metadata: Option<Record>,
    /// `status.podIPs`.
    pub addresses: Vec<String>,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// Condition Ready.
    pub ready: bool,
    /// When Ready last changed.
    pub ready_since: Option<Timestamp>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it has ended (phase Succeeded or Failed).
    pub finished: bool,
    /// Why a container waits, or why the pod could not be scheduled: `<reason>: <message>`.
    pub trouble: Option<String>,
    /// Named container ports.
    pub ports: BTreeMap<String, i32>,
    /// Inbound ports of a service mesh's proxy in the pod: there the proxy, not the application, accepts the connections.
    pub mesh_ports: Vec<i32>,
    /// The kubelet's own probes of it.
    pub own_probes: Vec<OwnProbe>,
    /// Whether it shares its node's network.
    pub host_network: bool,
    /// `spec.runtimeClassName`.
    pub runtime_class: Option<String>,
    /// What it refers to that may be copies of configuration.
    pub configs: BTreeSet<ConfigName>,
}

impl Pod {
    /// Whether it counts at all: neither ended nor being deleted.
    pub fn alive(&self) -> bool {
        !self.terminating && !self.finished
    }
}

/// Who controls a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Its ReplicaSet.
    Set,
    /// The BlueGreenDeployment with this UID: no Service that selects the revision leads to the pod any more.
    Object(String),
    /// Nobody: the garbage collector has taken its ReplicaSet out of it. Its labels tell whose it was.
    Nobody(BTreeMap<String, String>),
}

/// A probe that the kubelet runs, which opens connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnProbe {
    /// Container port.
    pub port: i32,
    /// Seconds between two tries.
    pub period: i32,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `spec.selector`; empty where absent.
    pub selector: BTreeMap<String, String>,
    /// Who moves it.
    pub owner: Option<Owner>,
    /// What its owner last selected.
    pub selected: Option<Selected>,
    /// The move that began with it.
    pub switch: Option<Switch>,
    /// Revisions that it may not be moved to without the fence.
    pub withdrawn: BTreeSet<String>,
    /// `spec.type`.
    pub kind: String,
    /// `spec.clusterIPs`, the one it is usually called by first; none if headless.
    pub cluster_ips: Vec<String>,
    /// Whether `spec.clusterIP` is `None`.
    pub headless: bool,
    /// Whether `spec.internalTrafficPolicy` is `Local`.
    pub internal_local: bool,
    /// Whether `spec.externalTrafficPolicy` is `Local`.
    pub external_local: bool,
    /// The annotation by which a load balancer sends traffic to its pods themselves.
    pub addresses_pods: Option<&'static str>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// Another manager that owns the selector by server-side apply.
    pub applier: Option<String>,
    /// The manager that last wrote the selector in any way, if it was not this operator.
    pub editor: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// Which BlueGreenDeployment moves a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name, in the Service's namespace.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// As it stands in the annotation.
    pub fn text(&self) -> String {
        format!("{}/{}", self.name, self.uid)
    }

    /// From the annotation.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, uid) = text.split_once('/')?;
        Some(Self { name: name.into(), uid: uid.into() })
    }
}

/// What the owner of a Service last selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The revision, or `none`.
    pub revision: String,
    /// The fencing number.
    pub attempt: i64,
}

impl Selected {
    /// As it stands in the annotation.
    pub fn text(&self) -> String {
        format!("{}@{}", self.revision, self.attempt)
    }

    /// From the annotation.
    pub fn parse(text: &str) -> Option<Self> {
        let (revision, attempt) = text.rsplit_once('@')?;
        Some(Self { revision: revision.into(), attempt: parse_attempt(attempt)? })
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where absent.
    pub name: String,
    /// The port of the Service.
    pub port: i32,
    /// The container port, by number or name.
    pub target: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// The endpoints of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Whether each endpoint pod is ready, by pod UID.
    pub pods: BTreeMap<String, bool>,
    /// Where traffic for each endpoint pod goes.
    pub addresses: BTreeSet<(String, IpAddr)>,
    /// Endpoints that are no pods or have no addresses, or slices that the endpointslice controller does not manage.
    pub foreign: bool,
}

/// Whether an owner named by a Service still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// It does.
    Alive,
    /// A live read found no object of that name, or one with another UID.
    Gone,
}

/// What one smoke probe has shown on one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeObservation {
    /// UID of the ReplicaSet under test.
    pub set_uid: String,
    /// Hash of all probes of the spec at the time it started.
    pub probes: String,
    /// Name of the probe.
    pub probe: String,
    /// UID of the pod; `None` for the preview Service.
    pub pod: Option<String>,
    /// Name of the pod or the Service.
    pub target: String,
    /// The verdict so far.
    pub result: ProbeResult,
    /// Attempts made.
    pub attempts: i32,
    /// What the latest attempt showed, if it failed.
    pub message: String,
    /// When the verdict last changed.
    pub at: Timestamp,
}

/// One report about one pod, with the time at which it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// This process' monotonic clock.
    pub received: Duration,
    /// Which agent process counted.
    pub boot_id: String,
    /// The counters.
    pub report: PodReport,
    /// Seconds after which the agent counts as silent.
    pub stale_after: i32,
    /// The clock reading at which the agent's sequence last changed.
    pub heard: Duration,
}

/// Where measuring is possible at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents {
    /// Whether the drain agent is part of this installation.
    pub enabled: bool,
    /// Whether its DaemonSet has settled, so that a node without an agent pod is meant to have none.
    pub settled: bool,
    /// Nodes with an agent pod.
    pub nodes: BTreeSet<String>,
    /// Values of runtimeClassName behind which sockets are visible; pods without one always count.
    pub runtime_classes: BTreeSet<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Whether it exists; false only after a complete read of all nodes.
    pub exists: bool,
    /// Label kubernetes.io/os.
    pub linux: bool,
    /// Taint node.kubernetes.io/unreachable.
    pub unreachable: bool,
    /// Condition Ready, where it says anything.
    pub ready: bool,
    /// Its addresses, which are never ignored.
    pub addresses: Vec<String>,
}

/// The outcome of telling a pod to drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It answered with 2xx.
    Told,
    /// It could not be told; no further try.
    Failed(String),
}

/// A Job as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSeen {
    /// `metadata.uid`; absent where there is none.
    pub uid: Option<String>,
    /// How it stands.
    pub state: JobState,
    /// When it was looked at.
    pub at: Duration,
}

/// How a Job stands (`status.conditions` of batch/v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It has not ended.
    Running,
    /// Condition Complete.
    Succeeded,
    /// Condition Failed, in its words.
    Failed(String),
    /// It was there, and is not any more.
    Gone,
}

/// How often a Service's selector had to be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repairs {
    /// Repairs without a calm spell in between.
    pub count: u32,
    /// When the last one was made.
    pub last: Duration,
    /// Field manager who made it necessary; absent where that could not be told. Right after a repair the Service no longer says it.
    pub editor: Option<String>,
}

impl Repairs {
    /// Whether somebody keeps moving the Service: three repairs without a calm spell.
    pub fn fought(&self) -> bool {
        self.count >= 3
    }
}
