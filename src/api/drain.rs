//! How the pods that are being left come to an end.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DrainMetric, Exec};

/// How the pods that are being left come to an end.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minimumSeconds <= self.deadlineSeconds").message("minimumSeconds must not exceed deadlineSeconds").field_path(".minimumSeconds"),
    validation = Rule::new("has(self.metric) == (self.source == 'Metric')").message("metric goes with source Metric: set both, or none").field_path(".source"),
    validation = Rule::new("self.keepWarmSeconds == 0 || !has(self.begin)").message("pods that were told to drain never serve again, so there is nothing to keep warm; remove begin, or set keepWarmSeconds to 0").field_path(".keepWarmSeconds")
)]
pub struct Drain {
    /// Tells each old pod once, after the traffic has moved, that it should end its connections politely. By default nothing is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Begin>,
    /// What tells that a pod has drained.
    #[serde(default)]
    pub source: DrainSource,
    /// The number that each old pod tells of itself, with source Metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<DrainMetric>,
    /// Seconds that old pods stay at least after the move counted as done.
    #[serde(default = "minimum")]
    #[x_kube(validation = Rule::new("self >= 0").message("must be zero or more seconds"))]
    pub minimum_seconds: i32,
    /// Seconds after the last Service was moved at which old pods are ended with whatever is still connected.
    #[serde(default = "deadline")]
    #[x_kube(validation = Rule::new("self >= 1").message("must be at least 1 second"))]
    pub deadline_seconds: i32,
    /// Seconds that old pods stay where measuring is structurally impossible, and with source Timer.
    #[serde(default = "fallback")]
    #[x_kube(validation = Rule::new("self >= 0").message("must be zero or more seconds"))]
    pub fallback_seconds: i32,
    /// Container ports, by number or name, whose connections count. By default those that the moved Services targeted.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub ports: Vec<IntOrString>,
    /// Peers whose connections never count, such as a Prometheus that never lets go.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub ignore_peers: Vec<IgnoredPeer>,
    /// `Together`: the old pods leave in one step when the last of them has drained. `PerPod`: each leaves when it has drained itself.
    #[serde(default)]
    pub scale_down: ScaleDown,
    /// Seconds after a release for which the old pods stay at full size although they have drained: until then the way back is one write.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 604800").message("must be between 0 and 604800 seconds"))]
    pub keep_warm_seconds: i32,
    /// How many old revisions may drain at once; with that many the next release waits.
    #[serde(default = "max_sets")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 10").message("must be between 1 and 10"))]
    pub max_sets: i32,
}

/// Tells each old pod once that it is being left.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.http), has(self.label), has(self.exec)].filter(x, x).size() == 1").message("exactly one of http, label and exec is needed"))]
pub struct Begin {
    /// An HTTP POST with an empty body to each old pod. Any 2xx answer is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<BeginHttp>,
    /// A label that each old pod gets, for applications that read their labels from a file of a downward API volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<BeginLabel>,
    /// A command in a container of each old pod, such as one that sends a signal. Exit code 0 is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
}

/// A label that a pod gets when it is being left. It takes the place of a value that the template has.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BeginLabel {
    /// Its key.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(
        validation = Rule::new("self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')").message("must be the key of a label, such as example.com/draining"),
        validation = Rule::new("!self.startsWith('bluegreen.dev/') && self != 'pod-template-hash'").message("labels that begin with bluegreen.dev/ and the label pod-template-hash belong to controllers; use another key")
    )]
    pub key: String,
    /// Its value.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')").message("must be the value of a label: letters, digits, and - _ . in between"))]
    pub value: String,
}

/// An HTTP POST with an empty body.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BeginHttp {
    /// Path with its query.
    #[schemars(length(min = 1, max = 2048))]
    pub path: String,
    /// Container port by number or name.
    pub port: IntOrString,
}

/// What tells that a pod has drained.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum DrainSource {
    /// Sockets where they can be seen, the timer where that is structurally impossible.
    #[default]
    Auto,
    /// Sockets only: where they can't be seen the old pods stay until the deadline.
    Sockets,
    /// A number that the pod tells of itself, whatever is connected to it. What can't be read is unknown: such a pod stays until the deadline.
    Metric,
    /// No measuring: the old pods stay for fallbackSeconds.
    Timer,
}

/// In which order drained pods leave.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ScaleDown {
    /// All at once, when the last one has drained.
    #[default]
    Together,
    /// Each when it has drained itself. From the first of them on the old ReplicaSet is gone, so lost pods are not replaced, and a return
    /// to the revision starts new pods.
    PerPod,
}

/// A peer whose connections never count: a network, or pods by label.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cidr) != has(self.podLabels)").message("exactly one of cidr and podLabels must be set"),
    validation = Rule::new("!has(self.namespace) || has(self.podLabels)").message("namespace goes with podLabels").field_path(".namespace"),
    validation = Rule::new("!has(self.cidr) || isCIDR(self.cidr)").message("must be a network such as 10.1.2.0/24").field_path(".cidr")
)]
pub struct IgnoredPeer {
    /// A network in CIDR notation. Addresses of nodes are never ignored, even inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cidr: Option<String>,
    /// Pods that have all of these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 32, "minProperties" = 1))]
    pub pod_labels: Option<BTreeMap<String, String>>,
    /// The namespace of those pods; by default that of the BlueGreenDeployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            begin: None,
            source: DrainSource::Auto,
            metric: None,
            minimum_seconds: minimum(),
            deadline_seconds: deadline(),
            fallback_seconds: fallback(),
            ports: vec![],
            ignore_peers: vec![],
            scale_down: ScaleDown::Together,
            keep_warm_seconds: 0,
            max_sets: max_sets(),
        }
    }
}

fn minimum() -> i32 {
    5
}
fn deadline() -> i32 {
    600
}
fn fallback() -> i32 {
    300
}
fn max_sets() -> i32 {
    2
}
