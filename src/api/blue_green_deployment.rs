//! `BlueGreenDeployment`: the one object a user writes.
#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a name and a type of its own")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bake, BlueGreenDeploymentStatus, ConfigSnapshots, DisruptionBudget, Drain, Group, Hooks, PodMetadata, SmokeProbe, Traffic};

/// What should run, and how a new version of it takes over the traffic.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "bluegreen.dev",
    version = "v1alpha1",
    kind = "BlueGreenDeployment",
    plural = "bluegreendeployments",
    shortname = "bgd",
    category = "all",
    namespaced,
    status = "BlueGreenDeploymentStatus",
    derive = "PartialEq",
    doc = "Runs pods in two colours: a new revision is brought up and smoke-tested beside the active one, the Services are moved to it, and the old pods leave when their connections have drained.",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where the release stands."),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.active.revision", description = "The revision that serves."),
    printcolumn(name = "Color", type_ = "string", json_path = ".status.active.color", description = "Its colour."),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.readyDesired", description = "Ready and wanted pods of the active revision."),
    printcolumn(
        name = "Draining",
        type_ = "integer",
        json_path = ".status.openConnections",
        description = "Open connections to pods that are being left."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Since it was created."),
    printcolumn(name = "Images", type_ = "string", json_path = ".status.images", priority = 1, description = "Images of the active revision."),
    printcolumn(
        name = "Held by",
        type_ = "string",
        json_path = ".status.heldBy",
        priority = 1,
        description = "Who holds connections to pods that are being left."
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.selector == oldSelf.selector").message("selector is immutable; delete the BlueGreenDeployment and create it again").field_path(".selector").reason(Reason::FieldValueForbidden),
    validation = Rule::new("has(self.template.metadata) && has(self.template.metadata.labels) && self.selector.matchLabels.all(k, k in self.template.metadata.labels && self.template.metadata.labels[k] == self.selector.matchLabels[k])").message("every label of spec.selector.matchLabels must be in spec.template.metadata.labels with the same value").field_path(".template.metadata"),
    validation = Rule::new("!has(self.template.metadata) || !has(self.template.metadata.labels) || self.template.metadata.labels.all(k, !k.startsWith('bluegreen.dev/') && k != 'pod-template-hash')").message("labels that begin with bluegreen.dev/ and the label pod-template-hash belong to controllers; remove them from the template").field_path(".template.metadata"),
    validation = Rule::new("self.traffic.services.all(s, !(s in self.traffic.previewServices))").message("a Service can't be in both services and previewServices; remove it from one of them").field_path(".traffic.previewServices"),
    validation = Rule::new("!self.smokeProbes.exists(p, p.target == 'PreviewService') || self.traffic.previewServices.size() > 0").message("a probe with target PreviewService needs a Service in spec.traffic.previewServices").field_path(".smokeProbes"),
    validation = Rule::new("!has(self.template.spec) || !has(self.template.spec.hostNetwork) || !self.template.spec.hostNetwork || self.drain.source == 'Timer'").message("pods with hostNetwork share their node's connections, which can't be told apart; set spec.drain.source to Timer").field_path(".template.spec.hostNetwork"),
    validation = Rule::new("!has(self.template.spec) || !has(self.template.spec.hostNetwork) || !self.template.spec.hostNetwork || !has(self.drain.begin) || !has(self.drain.begin.http)").message("pods with hostNetwork have their node's address, to which nothing is sent; use label or exec in spec.drain.begin, or remove it").field_path(".drain.begin"),
    validation = Rule::new("!has(self.drain.begin) || !has(self.drain.begin.label) || !(self.drain.begin.label.key in self.selector.matchLabels)").message("a label of spec.selector keeps a pod in its ReplicaSet; use another key").field_path(".drain.begin.label.key"),
    validation = Rule::new("!has(self.template.spec) || !has(self.template.spec.hostNetwork) || !self.template.spec.hostNetwork || !self.smokeProbes.exists(p, p.target == 'EachPod' && !has(p.exec) && !has(p.prometheus) && !has(p.webhook))").message("pods with hostNetwork have their node's address, which is never probed; use the target PreviewService, or exec").field_path(".smokeProbes"),
    validation = Rule::new("!has(self.template.spec) || !has(self.template.spec.hostNetwork) || !self.template.spec.hostNetwork || !self.bake.probes.exists(p, !has(p.exec) && !has(p.prometheus) && !has(p.webhook))").message("pods with hostNetwork have their node's address, which is never probed; use exec in the probes of the bake, or remove them").field_path(".bake.probes"),
)]
pub struct BlueGreenDeploymentSpec {
    /// Pods of the active revision. While a release is under way the incoming revision is brought up in the same size.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("self >= 0").message("must be zero or more"))]
    pub replicas: i32,
    /// Which labels the pods of all revisions have in common. Immutable.
    pub selector: Selector,
    /// The pods to run, as in a Deployment. A change that the API server does not consider the same starts a release.
    #[schemars(schema_with = "super::pod_template_schema")]
    pub template: Value,
    /// Seconds for which a pod must have been ready without interruption before it counts as available.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0").message("must be zero or more seconds"))]
    pub min_ready_seconds: i32,
    /// Seconds after which a revision that is still not available is reported as stalled. It goes on by itself when the cause is gone.
    #[serde(default = "progress_deadline")]
    #[x_kube(validation = Rule::new("self >= 10").message("must be at least 10 seconds"))]
    pub progress_deadline_seconds: i32,
    /// How many earlier revisions, scaled to zero, are kept to return to.
    #[serde(default = "history_limit")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("must be between 0 and 100"))]
    pub revision_history_limit: i32,
    /// While true no Service is written, nothing is scaled down or deleted, and no new pods start but for replicas. Changes by others are only reported.
    #[serde(default)]
    pub paused: bool,
    /// Which Services follow the release, and when the move counts as done.
    #[serde(default)]
    pub traffic: Traffic,
    /// How the incoming revision is brought up.
    #[serde(default)]
    pub bring_up: BringUpSpec,
    /// Tests that the incoming revision must pass before any traffic moves to it.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub smoke_probes: Vec<SmokeProbe>,
    /// When the switch may happen.
    #[serde(default)]
    pub promotion: Promotion,
    /// What the new revision must bear after the switch, before the old one may go.
    #[serde(default)]
    pub bake: Bake,
    /// What happens to a revision that was rejected.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How the pods that are being left come to an end.
    #[serde(default)]
    pub drain: Drain,
    /// Configuration that is kept with each revision.
    #[serde(default)]
    pub config_snapshots: ConfigSnapshots,
    /// How many pods of the revision that serves may be evicted at a time. Absent: nothing is kept about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,
    /// Labels and annotations that pods bear as long as they have a role.
    #[serde(default)]
    pub pod_metadata: PodMetadata,
    /// Jobs that run at certain points of a release.
    #[serde(default)]
    pub hooks: Hooks,
}

/// The labels that all pods of a BlueGreenDeployment have. A Service selects by equality only, so this is no full label selector.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// At least one label with its value; each must be in spec.template.metadata.labels.
    #[schemars(extend("maxProperties" = 32, "minProperties" = 1), schema_with = "label_map")]
    pub match_labels: BTreeMap<String, String>,
}

/// How the incoming revision is brought up.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BringUpSpec {
    /// Pods of the incoming revision while it is tested and waits for promotion. Before the switch it grows to its full size, and every pod is tested. Absent: full size at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1").message("must be at least 1: a revision without pods can't be tested"))]
    pub preview_replicas: Option<i32>,
}

/// When the switch may happen.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.afterSeconds == 0 || self.mode == 'Automatic'").message("with mode Manual a person decides, however long that takes; remove afterSeconds, or set mode to Automatic").field_path(".afterSeconds"),
    validation = Rule::new("self.windows.size() == 0 || self.mode == 'Automatic'").message("with mode Manual a person decides, at any time; remove windows, or set mode to Automatic").field_path(".windows")
)]
pub struct Promotion {
    /// `Automatic`: when the smoke probes have passed, with afterSeconds and windows. `Manual`: when a person sets the annotation bluegreen.dev/promote to the revision.
    #[serde(default)]
    pub mode: PromotionMode,
    /// Seconds after the smoke probes passed until the switch, with mode Automatic. Meanwhile a person can look at the preview, abort, or promote at once.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 604800").message("must be between 0 and 604800 seconds"))]
    pub after_seconds: i32,
    /// Times at which a switch may happen by itself, with mode Automatic. Absent: at any time. A person can promote at any time.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub windows: Vec<Window>,
    /// The BlueGreenDeployments of the namespace that switch together, or not at all. A person's word is for one of them; the group still waits for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// A time at which a switch may happen by itself.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it opens, as in a crontab: minute, hour, day of month, month, day of week.
    #[schemars(length(min = 1, max = 128))]
    pub schedule: String,
    /// The time zone of schedule, by its name in the IANA list, such as Europe/Berlin.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// Seconds for which it stays open.
    #[x_kube(validation = Rule::new("self >= 60 && self <= 604800").message("must be between 60 and 604800 seconds"))]
    pub duration_seconds: i32,
}

/// Who decides about the switch.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum PromotionMode {
    /// The smoke probes alone, with afterSeconds and windows.
    #[default]
    Automatic,
    /// A person, by annotation.
    Manual,
}

/// What happens to a revision that was rejected.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnFailure {
    /// Seconds for which the pods of a rejected revision stay, for a look at them.
    #[serde(default = "keep")]
    #[x_kube(validation = Rule::new("self >= 0").message("must be zero or more seconds"))]
    pub keep_seconds: i32,
}

impl Default for OnFailure {
    fn default() -> Self {
        Self { keep_seconds: keep() }
    }
}

fn one() -> i32 {
    1
}
fn progress_deadline() -> i32 {
    600
}
fn history_limit() -> i32 {
    5
}
fn utc() -> String {
    "UTC".into()
}
fn keep() -> i32 {
    300
}

/// A map of labels with the bounds that CEL's cost estimate needs.
fn label_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63}
    })
}
