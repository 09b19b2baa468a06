//! `status`: what is observed, and the little that must be remembered.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Condition, Cutover, DrainSource, GroupMove, GroupStatus, HookStatus};

/// What the operator observed, and what it must remember.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenDeploymentStatus {
    /// The generation of the spec that this status is about.
    #[serde(default = "not_yet")]
    pub observed_generation: i64,
    /// Where the release stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// The revision of spec.template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Ready, Reconciling, Stalled and one for each step.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The recorded intent: which revision the Services are to select. For the moment of a move its record is on the ReplicaSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Switch>,
    /// The revision that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<SetStatus>,
    /// The revision that is being brought up, tested or waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive: Option<SetStatus>,
    /// Revisions that are being left.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub draining: Vec<DrainingStatus>,
    /// The revision that was given up and is not tried again until the template changes or `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// Results of the smoke probes, at most 20; failures first.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub smoke_probes: Vec<ProbeStatus>,
    /// Results of the probes of spec.bake, at most 20, failures first: of the bake that goes on, or of the last one of the revision that serves.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub bake_probes: Vec<ProbeStatus>,
    /// Hooks, and smoke probes that are Jobs, of the current release and of the last one: also what has run already, so that nothing runs twice.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub hooks: Vec<HookStatus>,
    /// Where it stands in spec.promotion.group, and what it has promised the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupStatus>,
    /// Pods of the active revision, for the scale subresource.
    #[serde(default)]
    pub replicas: i32,
    /// Ready pods of the active revision.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the active revision's pods, for the scale subresource.
    #[serde(default)]
    pub selector: String,
    /// Ready and wanted pods of the active revision, as `2/3`.
    #[serde(default)]
    pub ready_desired: String,
    /// Open connections to pods that are being left; absent while none drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_connections: Option<i64>,
    /// Images of the active revision.
    #[serde(default)]
    pub images: String,
    /// Who holds connections to pods that are being left, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

impl BlueGreenDeploymentStatus {
    /// What of a status, as JSON, can't be found out anew. The rest is only shown.
    pub const RECORDED: [&str; 3] = ["switch", "rejected", "group"];

    /// Takes out the fields that are only shown and can't be read: a CustomResourceDefinition older than this build has cut them.
    pub fn readable(stored: &mut Map<String, Value>) {
        let read = |field: &str, value: &Value| serde_json::from_value::<Self>(json!({field: value})).is_ok();
        stored.retain(|field, value| Self::RECORDED.contains(&field.as_str()) || read(field, value));
    }
}

/// Where a release stands.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum PhaseName {
    /// Nothing can be done before something is corrected; conditions say what.
    Blocked,
    /// The incoming revision's pods are starting.
    BringUp,
    /// Its smoke probes run.
    Smoke,
    /// It waits for a person's word.
    AwaitPromotion,
    /// The Services are being moved.
    Switch,
    /// The Services are moved; old pods may still be reached.
    Converge,
    /// The new revision serves everyone; the old one stays as it was until that has gone well for a while.
    Bake,
    /// Old pods end their connections.
    Drain,
    /// The revision asked for serves and nothing is left to do.
    Complete,
    /// The revision asked for was given up; the earlier one serves.
    Rejected,
    /// Held by spec.paused.
    Paused,
}

/// The recorded intent: on record before the first Service is touched, on the ReplicaSet that is to serve.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Switch {
    /// The revision that is left; absent at the first install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The revision that is to serve: the active one.
    pub to: String,
    /// The fencing number: nobody overwrites a ReplicaSet's role or a Service with a higher one.
    pub attempt: i64,
    /// The Services of this move.
    #[serde(default)]
    pub services: Vec<SwitchedService>,
    /// Target ports of earlier moves, by number or name, on which pods that are still being left may have connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub earlier_ports: Vec<String>,
    /// Why traffic moved.
    #[serde(default)]
    pub cause: SwitchCause,
    /// How the Services are moved.
    #[serde(default, skip_serializing_if = "Cutover::is_atomic")]
    pub cutover: Cutover,
    /// When the intent was recorded.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// With `Overlap`: when enough new pods had been endpoints for long enough, and the old ones were to leave; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub narrowed_at: Option<Timestamp>,
    /// When the last Service was moved; deadlines count from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub completed_at: Option<Timestamp>,
    /// When traffic was found to reach new pods only, or the search for that was given up; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub converged_at: Option<Timestamp>,
    /// When the new revision had borne the traffic for long enough (`spec.bake`), or converged where nothing bakes; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub baked_at: Option<Timestamp>,
    /// The decision of the group of which this move is a part; of a move back from it only which decision that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupMove>,
}

/// Why traffic moved.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum SwitchCause {
    /// A new template, or the return to an old one.
    #[default]
    Release,
    /// A person asked for it: rollback, or abort after the switch.
    Rollback,
    /// The new revision lost its last ready pod, or an interrupted move was undone.
    Failure,
}

/// One Service of a move, with the container ports it targeted when it selected the old pods.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchedService {
    /// `metadata.name` of the Service.
    pub name: String,
    /// Its target ports, by number or name, at the time of the switch.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub target_ports: Vec<String>,
}

/// One revision's ReplicaSet.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetStatus {
    /// Name of the revision.
    pub revision: String,
    /// `blue` or `green`.
    pub color: String,
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Since when it has this place.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
}

/// A revision that is being left.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainingStatus {
    /// Name of the revision.
    pub revision: String,
    /// `blue` or `green`.
    pub color: String,
    /// Pods that are left.
    pub pods: i32,
    /// Pods of these that have drained.
    pub drained_pods: i32,
    /// Open connections to them; at least so many while a pod's count is unknown. Absent where no pod could be counted, and in place of a 0 that is not sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_connections: Option<i64>,
    /// With source Metric: what the numbers of its pods come to, while all of them are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub metric: Option<String>,
    /// With source Metric: which pod's number can't be read, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The oldest of them is at least as old as this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub oldest_since: Option<Timestamp>,
    /// What ends the drain: the count of connections, a number of the pods, or, for pods that can't be counted, the clock.
    pub source: DrainSource,
    /// Why it is still here, in one word: the least certain of its pods.
    pub reason: String,
    /// The peers with most open connections, at most five.
    #[serde(default)]
    #[schemars(length(max = 5))]
    pub holders: Vec<Holder>,
    /// Since when it is being left.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// When it ends at the latest.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub deadline: Timestamp,
}

/// Who holds connections.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// IP address of the peer.
    pub address: String,
    /// `namespace/name` of the pod with that address, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The container port it is connected to.
    pub port: i32,
    /// Its open connections.
    pub connections: i64,
}

/// A revision that was given up.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Name of the revision.
    pub revision: String,
    /// `SmokeFailed`, `HookFailed`, `Aborted`, `RolledBack`, `LostAllReadyPods`, `BakeFailed` or `GroupWentBack`.
    pub reason: String,
    /// What happened, in a sentence.
    #[schemars(length(max = 512))]
    pub message: String,
    /// When it was given up.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The revision that is to serve instead, where that is not simply the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
}

/// The result of one probe on one pod or on the preview Service.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// Name of the probe.
    pub name: String,
    /// Name of the pod, or of the preview Service.
    pub target: String,
    /// `Running`, `Passed` or `Failed`.
    pub result: ProbeResult,
    /// Attempts made.
    pub attempts: i32,
    /// What the latest attempt showed, if it failed.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub message: String,
    /// When the result last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// The result of a smoke probe.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum ProbeResult {
    /// Rejected the revision.
    Failed,
    /// Not decided.
    Running,
    /// Enough consecutive passes.
    Passed,
}

fn not_yet() -> i64 {
    -1
}
