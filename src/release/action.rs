//! What a plan is made of: typed writes, long-running work, Events.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::api::{BlueGreenDeploymentStatus, Exec, HookPoint, RoleMetadata, SmokeProbe, Switch};

use super::budget::{Budget, Wanted};
use super::config::{Config, ConfigName};
use super::metadata::PodRole;
use super::metric::Reads;
use super::set::{Color, Left, Marks, Proof, Set};
use super::snapshot::{Owner, Pod, Selected, Service};

/// What is to be done now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The status to write. Where it differs from the last one in what must be remembered ([`super::plan::durable`]), it is written before any action.
    pub status: BlueGreenDeploymentStatus,
    /// Writes, in order.
    pub actions: Vec<Action>,
    /// Long-running work that is wanted from now on; whatever is not named ends.
    pub effects: Effects,
    /// What pods are to bear because of their roles, those of greatest need first. Nothing waits for it: it is written when all else is done.
    pub metadata: Vec<RoleChange>,
    /// Events that no condition tells about.
    pub notices: Vec<Notice>,
    /// Seconds after which to look again, if nothing is observed before.
    pub again: Option<f64>,
    /// Whether a call to the group that is out was looked at, and is as `status` has it.
    pub stands_by_call: bool,
}

/// Long-running work whose results come back in a later snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Smoke probes.
    pub smoke: Option<SmokeRun>,
    /// Probes of a bake.
    pub bake: Option<SmokeRun>,
    /// Pods whose connections are to be counted.
    pub watch: Vec<WatchPod>,
    /// Pods to be told that they are being left.
    pub begin: Vec<BeginCall>,
    /// Pods whose numbers are to be read.
    pub reads: Vec<Reads>,
}

impl Effects {
    /// All probes.
    pub fn probes(&self) -> impl Iterator<Item = &SmokeRun> {
        self.smoke.iter().chain(&self.bake)
    }
}

/// Probes of one ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub struct SmokeRun {
    /// UID of the ReplicaSet: results of another one are forgotten.
    pub set_uid: String,
    /// Hash of the probes.
    pub probes: String,
    /// One run a probe and target.
    pub runs: Vec<ProbeRun>,
    /// A probe that failed is tried on and on: there is nothing else to go to.
    pub persistent: bool,
    /// One that passes is tried on and on, too: what it shows may change.
    pub endless: bool,
}

/// One smoke probe on one target.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeRun {
    /// The probe.
    pub probe: SmokeProbe,
    /// UID of the pod; `None` for the preview Service and for a query.
    pub pod: Option<String>,
    /// Name of the pod or Service, or who is asked.
    pub target: String,
    /// Where to; `None` for a query or a webhook, whose URL says it, and for a command.
    pub address: Option<SocketAddr>,
    /// What a webhook is told.
    pub body: Option<String>,
}

/// A pod whose connections are to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPod {
    /// Its node.
    pub node: String,
    /// Its UID.
    pub uid: String,
    /// Counts from another epoch are not used: the attempt of the switch that left it.
    pub epoch: i64,
    /// Ports that count.
    pub ports: Vec<i32>,
    /// Networks that don't.
    pub ignore: Vec<String>,
}

/// A pod to be told that it is being left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginCall {
    /// Its UID.
    pub pod: String,
    /// Its name.
    pub name: String,
    /// How.
    pub how: Telling,
}

/// How a pod is told that it is being left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telling {
    /// By a POST.
    Post {
        /// Where to.
        address: IpAddr,
        /// Where to.
        port: u16,
        /// Path with its query.
        path: String,
    },
    /// By a command.
    Run(Exec),
}

/// Pods that do not bear yet what belongs to their role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role.
    pub role: PodRole,
    /// All that they are to bear because of it.
    pub wanted: RoleMetadata,
    /// Which.
    pub pods: Vec<PodRef>,
}

/// A look at the Job of a hook's run, which is created if it is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct HookRun {
    /// Name of the Job.
    pub job: String,
    /// Where in the release.
    pub point: HookPoint,
    /// The revision that it is about.
    pub revision: String,
    /// Its UID, if it was there before: then it is not created again.
    pub uid: Option<String>,
    /// Path of its template in the spec.
    pub path: String,
    /// The template; absent where the hook was removed from the spec.
    pub template: Option<serde_json::Value>,
    /// What its containers are told.
    pub environment: Vec<(&'static str, String)>,
}

/// An Event that no condition tells about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Warning, or Normal.
    pub warning: bool,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

/// A ReplicaSet at the version on which the decision was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRef {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: the write fails if anything has changed since.
    pub resource_version: String,
    /// Its revision, for logs.
    pub revision: String,
}

impl SetRef {
    /// Refers to a set as it was observed.
    pub fn of(set: &Set) -> Self {
        Self { name: set.name.clone(), uid: set.uid.clone(), resource_version: set.resource_version.clone(), revision: set.revision.clone() }
    }
}

/// A pod. Its version changes with every word of its kubelet, so whoever writes it reads it first, live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

impl PodRef {
    /// Refers to a pod as it was observed.
    pub fn of(pod: &Pod) -> Self {
        Self { name: pod.name.clone(), uid: pod.uid.clone() }
    }
}

/// What is to change on a ReplicaSet; `None` leaves it alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetChange {
    /// `spec.replicas`.
    pub replicas: Option<i32>,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: Option<i32>,
    /// The proof of its smoke probes.
    pub proof: Option<Proof>,
    /// Whether the proof goes with its pods.
    pub drop_proof: bool,
    /// Colour.
    pub color: Option<Color>,
    /// Raw template hashes.
    pub template_hashes: Option<Vec<String>>,
    /// Pods told to drain.
    pub drain_begun: Option<Vec<String>>,
}

/// Why a Service's selector is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectWhy {
    /// It takes part in a switch, or joins one that is over.
    Switch,
    /// Nobody may be served yet.
    Park,
    /// A preview Service follows.
    Preview,
    /// Somebody else changed it.
    Repair {
        /// The field manager that did.
        editor: Option<String>,
    },
}

/// One write, idempotent and guarded by what it was decided on.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the API server (dry run) which revision the template is.
    Identify {
        /// Hash of the raw template.
        raw_hash: String,
    },
    /// Ask the API server (dry run) whether the Jobs of the hooks can be created.
    CheckHooks {
        /// Hash of the hooks.
        hash: String,
    },
    /// Look at the Job of a hook, and create it if it is not there. It is on record already.
    RunHook {
        /// Which.
        run: Box<HookRun>,
    },
    /// Delete the Job of a hook that nobody asks about any more.
    DeleteJob {
        /// `metadata.name`.
        name: String,
        /// `metadata.uid`.
        uid: String,
    },
    /// Take over a ReplicaSet that an earlier object of the same name left behind (`kubectl delete --cascade=orphan`).
    Adopt {
        /// Which.
        set: SetRef,
    },
    /// Look whether the owner named by a Service still exists.
    LookUpOwner {
        /// The owner.
        owner: Owner,
    },
    /// Create the ReplicaSet of the spec's template.
    CreateSet {
        /// Its revision.
        revision: String,
        /// Its colour.
        color: Color,
        /// Its size.
        replicas: i32,
        /// Hash of the raw template.
        raw_hash: String,
        /// How often the template has been started anew.
        restarts: i64,
    },
    /// Write the fence on the ReplicaSet that is to serve, which makes another leader's scale-down of it fail, with the move. It is
    /// guarded by what the decision rests on and not by the version: that changes with each pod that gets ready.
    Fence {
        /// Which.
        set: SetRef,
        /// `spec.replicas` as it was read.
        replicas: i32,
        /// Its annotations as they were read.
        marks: Marks,
        /// The move.
        switch: Box<Switch>,
    },
    /// Change a ReplicaSet.
    PatchSet {
        /// Which.
        set: SetRef,
        /// How.
        change: SetChange,
    },
    /// Scale a set that served to zero, by the fencing protocol: role, live read of the Services, scale.
    Retire {
        /// Which.
        set: SetRef,
        /// The fencing number.
        attempt: i64,
        /// Services that must not select it.
        services: Vec<String>,
        /// An Event that is said once it has really been scaled down.
        notice: Option<Notice>,
    },
    /// Begin to take a set apart, by the same protocol: role, live read of the Services, and then the successor that keeps the template.
    Part {
        /// Which.
        set: SetRef,
        /// The fencing number.
        attempt: i64,
        /// Services that must not select it.
        services: Vec<String>,
        /// Which ReplicaSet of its revision the successor is.
        issue: i64,
    },
    /// Mark a pod of a set that is taken apart, and make the BlueGreenDeployment an owner of it: it must not go with the set, nor be forgotten.
    Mark {
        /// Which.
        pod: PodRef,
        /// The mark.
        left: Left,
    },
    /// Delete a set that is taken apart without its pods, once it is quiet and all of them are marked.
    Orphan {
        /// Which.
        set: SetRef,
        /// What its selector asks for.
        labels: BTreeMap<String, String>,
        /// Services that must not select it.
        services: Vec<String>,
    },
    /// Take over a pod that lost its set: it is controlled by the BlueGreenDeployment, and no Service that selects the revision leads to it.
    Own {
        /// Which.
        pod: PodRef,
        /// The mark.
        left: Left,
    },
    /// Delete a pod that was taken over.
    DeletePod {
        /// Which.
        pod: PodRef,
        /// The revision it was of.
        revision: String,
        /// Services that must not select it.
        services: Vec<String>,
        /// An Event that is said once it has been deleted.
        notice: Option<Notice>,
    },
    /// Label a pod that is to serve beside pods of another revision, at the version that is read.
    MarkServing {
        /// Which.
        pod: PodRef,
        /// The move.
        value: String,
    },
    /// Tell a pod by a label that it is being left.
    TellByLabel {
        /// Which.
        pod: PodRef,
        /// Key of the label.
        key: String,
        /// Its value.
        value: String,
    },
    /// Make a copy of a ConfigMap or Secret, if that still holds what the decision rests on.
    CopyConfig {
        /// What is copied.
        source: ConfigName,
        /// What the copy is called.
        copy: String,
        /// Hash of its content.
        digest: String,
    },
    /// Delete a copy that nothing refers to.
    DeleteConfig {
        /// Which.
        config: Config,
    },
    /// Delete a ReplicaSet without pods.
    DeleteSet {
        /// Which.
        set: SetRef,
    },
    /// Make a Service select a revision.
    Select {
        /// The Service as it was observed.
        service: Service,
        /// The whole new selector.
        selector: BTreeMap<String, String>,
        /// Who writes it.
        owner: Owner,
        /// What is written beside it.
        selected: Selected,
        /// The move that begins with this write, to be put on record by it.
        record: Option<Box<Switch>>,
        /// Revisions that it may not be moved to any more without the fence.
        withdrawn: BTreeSet<String>,
        /// Why.
        why: SelectWhy,
    },
    /// Say on a Service which revisions it may not be moved to any more without the fence.
    Withdraw {
        /// The Service as it was observed.
        service: Service,
        /// All of them.
        withdrawn: BTreeSet<String>,
    },
    /// Make the PodDisruptionBudget cover the pods that serve. Whatever comes of it, what follows goes on.
    WriteBudget {
        /// As it was observed; absent where there is none.
        found: Option<Budget>,
        /// What it is to be.
        wanted: Wanted,
    },
    /// Delete the PodDisruptionBudget that is not asked for any more.
    DeleteBudget {
        /// As it was observed.
        budget: Budget,
    },
    /// Give a Service back.
    Release {
        /// The Service as it was observed.
        service: Service,
    },
    /// Remove a command that is done with.
    RemoveCommand {
        /// The annotation.
        key: &'static str,
        /// Only if it still has this value.
        value: String,
    },
}
