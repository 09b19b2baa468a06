//! Jobs that run at certain points of a release.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BlueGreenDeploymentSpec;

/// Jobs that run at certain points of a release. Those of one object run one at a time, in the order in which they stand here, each once a release; the API server's copy of the Job is the proof.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Before the first pod of a revision starts, such as a change of the database. One that fails rejects the revision.
    #[serde(default)]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub before_bring_up: Vec<Hook>,
    /// When the revision has passed its smoke probes and may take the traffic, right before it does. One that fails rejects the revision.
    #[serde(default)]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub before_switch: Vec<Hook>,
    /// When the traffic of a release has moved and converged: those that the spec has when it moves. A failure is told by an Event and in status, and changes nothing else.
    #[serde(default)]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub after_switch: Vec<Hook>,
    /// When no pod of the revision that was left is there any more: those that the spec has when the traffic moves. A failure is told by an Event and in status.
    #[serde(default)]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub after_drain: Vec<Hook>,
    /// When traffic has gone back to an earlier revision, by a person's word or after a failure. It never waits for them. A failure is told by an Event and in status.
    #[serde(default)]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub on_rollback: Vec<Hook>,
}

impl BlueGreenDeploymentSpec {
    /// The Jobs of one point, in their order.
    pub fn jobs_at(&self, point: HookPoint) -> Vec<JobOf<'_>> {
        let hooks = match point {
            HookPoint::BeforeBringUp => &self.hooks.before_bring_up,
            HookPoint::SmokeProbes => {
                let probes = self.smoke_probes.iter().enumerate();
                return probes.filter_map(|(index, probe)| Some(JobOf { point, index, name: &probe.name, template: probe.job.as_ref()? })).collect();
            }
            HookPoint::BeforeSwitch => &self.hooks.before_switch,
            HookPoint::AfterSwitch => &self.hooks.after_switch,
            HookPoint::AfterDrain => &self.hooks.after_drain,
            HookPoint::OnRollback => &self.hooks.on_rollback,
        };
        hooks.iter().enumerate().map(|(index, hook)| JobOf { point, index, name: &hook.name, template: &hook.job_template }).collect()
    }
}

/// A Job that the spec asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobOf<'a> {
    /// Where in the release.
    pub point: HookPoint,
    /// Its place in the list where it stands.
    pub index: usize,
    /// Name of the hook, or of the probe.
    pub name: &'a str,
    /// The Job, as in a CronJob.
    pub template: &'a Value,
}

impl JobOf<'_> {
    /// Path of its template.
    pub fn path(&self) -> String {
        match self.point {
            HookPoint::SmokeProbes => format!("spec.smokeProbes[{}].job", self.index),
            point => format!("spec.hooks.{}[{}].jobTemplate", point.field(), self.index),
        }
    }
}

/// A Job at a point of a release.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Its name, unique in its list. By it a hook is told from others: one that has run for a release is not run again when its Job changes.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The Job, as in a CronJob. Its containers get BLUEGREEN_HOOK, BLUEGREEN_NAME, BLUEGREEN_REVISION, BLUEGREEN_FROM, BLUEGREEN_COLOR, BLUEGREEN_IMAGES and BLUEGREEN_RELEASE as environment. Without restartPolicy it is Never, without activeDeadlineSeconds 600; suspend and ttlSecondsAfterFinished are taken out.
    #[schemars(schema_with = "job_template")]
    pub job_template: Value,
}

/// A whole schema of a Job would cost 60 KB each time; the API server looks at it when the Job is asked about, before the first pod starts.
pub fn job_template(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Where in a release a hook runs.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum HookPoint {
    /// `spec.hooks.beforeBringUp`.
    BeforeBringUp,
    /// Probes of `spec.smokeProbes` that are Jobs.
    SmokeProbes,
    /// `spec.hooks.beforeSwitch`.
    BeforeSwitch,
    /// `spec.hooks.afterSwitch`.
    AfterSwitch,
    /// `spec.hooks.afterDrain`.
    AfterDrain,
    /// `spec.hooks.onRollback`.
    OnRollback,
}

impl HookPoint {
    /// All of them, in the order of a release.
    pub const ALL: [Self; 6] = [Self::BeforeBringUp, Self::SmokeProbes, Self::BeforeSwitch, Self::AfterSwitch, Self::OnRollback, Self::AfterDrain];

    /// The field of `spec.hooks`, or of `spec`.
    pub fn field(self) -> &'static str {
        match self {
            Self::BeforeBringUp => "beforeBringUp",
            Self::SmokeProbes => "smokeProbes",
            Self::BeforeSwitch => "beforeSwitch",
            Self::AfterSwitch => "afterSwitch",
            Self::AfterDrain => "afterDrain",
            Self::OnRollback => "onRollback",
        }
    }

    /// Whether the release waits for it, and ends when it fails.
    pub fn gates(self) -> bool {
        matches!(self, Self::BeforeBringUp | Self::SmokeProbes | Self::BeforeSwitch)
    }
}

/// One run of a hook, or of a probe that is a Job.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Where in the release.
    pub point: HookPoint,
    /// Name of the hook, or of the probe.
    pub name: String,
    /// The revision that it is about.
    pub revision: String,
    /// Number of the move of traffic that it belongs to (`status.switch.attempt`), also while that is still to come.
    pub attempt: i64,
    /// How often it was started anew by `retry`.
    #[serde(default)]
    pub run: i32,
    /// Name of its Job.
    pub job: String,
    /// UID of its Job; absent before it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// How it stands.
    pub result: HookResult,
    /// Why it failed, or was skipped.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub message: String,
    /// When it was put on record, or, after a move of traffic, when its time had come; its Job was created right after that.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// When it was found to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished_at: Option<Timestamp>,
}

/// How a hook stands.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum HookResult {
    /// The move that it belongs to is made, and its time has not come.
    Waiting,
    /// Its Job has not ended.
    Running,
    /// Its Job is complete.
    Succeeded,
    /// Its Job has failed, or was deleted before it ended.
    Failed,
    /// It never ran, as there is no place for it any more: the message says why.
    Skipped,
    /// It ended, and `retry` runs it once more.
    Retried,
}
