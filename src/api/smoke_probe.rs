//! Smoke probes: what the incoming revision must show before any traffic moves.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Exec, HttpGet, HttpPost, Prometheus, Webhook};

/// One test of the incoming revision. Exactly one of httpGet, httpPost, tcpSocket, grpc, exec, job, prometheus and webhook is set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.httpGet), has(self.httpPost), has(self.tcpSocket), has(self.grpc), has(self.exec), has(self.job), has(self.prometheus), has(self.webhook)].filter(x, x).size() == 1").message("exactly one of httpGet, httpPost, tcpSocket, grpc, exec, job, prometheus, webhook must be set"),
    validation = Rule::new("!has(self.exec) || self.target == 'EachPod'").message("a command runs in each pod, and not through a Service; remove the target").field_path(".target"),
    validation = Rule::new("!has(self.job) || self.target == 'EachPod'").message("a Job has no target: it is about the revision as a whole").field_path(".target"),
    validation = Rule::new("!has(self.job) || self.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a probe that is a Job stands in the Job's name: small letters, digits and dashes").field_path(".name"),
    validation = Rule::new("!has(self.prometheus) || self.target == 'EachPod'").message("a query has no target: it is about the revision as a whole").field_path(".target"),
    validation = Rule::new("!has(self.webhook) || self.target == 'EachPod'").message("a webhook has no target: it is about the revision as a whole").field_path(".target"),
    validation = Rule::new("(!has(self.httpGet) || !has(self.httpGet.expect.maxLatencyMillis) || self.httpGet.expect.maxLatencyMillis <= self.timeoutSeconds * 1000) && (!has(self.httpPost) || !has(self.httpPost.expect.maxLatencyMillis) || self.httpPost.expect.maxLatencyMillis <= self.timeoutSeconds * 1000) && (!has(self.webhook) || !has(self.webhook.expect.maxLatencyMillis) || self.webhook.expect.maxLatencyMillis <= self.timeoutSeconds * 1000)").message("maxLatencyMillis must not exceed timeoutSeconds, after which an attempt has failed anyway"),
    validation = Rule::new("!has(self.warmUp) || ((has(self.httpGet) || has(self.httpPost) || has(self.grpc)) && self.target == 'EachPod')").message("a warm-up sends requests to each pod: it needs httpGet, httpPost or grpc, and the target EachPod").field_path(".warmUp"),
    validation = Rule::new("!has(self.through) || self.through == 'Direct' || ((has(self.httpGet) || has(self.httpPost)) && self.target == 'EachPod' && !has(self.warmUp))").message("through ApiServer goes with httpGet or httpPost, with the target EachPod, and without warmUp").field_path(".through")
)]
pub struct SmokeProbe {
    /// Name of the probe, unique in the list; it stands in status and Events.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An HTTP GET; passes by the answer's status code and, if asked for, by headers, text or JSON in the body, and latency. Redirects are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// An HTTP POST with a body; passes as httpGet does. Each attempt sends it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_post: Option<HttpPost>,
    /// A TCP connection that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// The gRPC health protocol; passes when the answer is SERVING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Grpc>,
    /// A command in a container of each pod; passes when it ends with exit code 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// A Job about the revision as a whole, as in a CronJob, such as a suite of tests against the preview Service; passes when it completes. It runs once a release, when the pods have passed all other probes; its own backoffLimit and activeDeadlineSeconds hold in place of the fields below. What its containers get as environment and what is taken out of it is as in hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::hooks::job_template")]
    pub job: Option<Value>,
    /// A Prometheus query about the revision as a whole, asked once its pods are available; passes by the numbers in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// A POST to a service that judges the revision as a whole, such as one that runs a suite of tests, asked once its pods are available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// `EachPod`: every pod must pass, by its own address. `PreviewService`: through the first preview Service, once it selects only ready pods of the revision.
    #[serde(default)]
    pub target: ProbeTarget,
    /// Seconds between two attempts.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("self >= 1").message("must be at least 1 second"))]
    pub period_seconds: i32,
    /// Seconds after which an attempt without an answer has failed.
    #[serde(default = "five")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 300").message("must be between 1 and 300 seconds"))]
    pub timeout_seconds: i32,
    /// Consecutive passes that are needed.
    #[serde(default = "three")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000").message("must be between 1 and 1000"))]
    pub success_threshold: i32,
    /// Consecutive failures that reject the revision.
    #[serde(default = "three")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000").message("must be between 1 and 1000"))]
    pub failure_threshold: i32,
    /// How pods are reached: `Direct`, or `ApiServer`, by the API server's proxy, where the network keeps the operator from pods. That goes with httpGet and
    /// httpPost on each pod, and the operator must have been installed with leave to do it (`allowProxy`).
    #[serde(default, skip_serializing_if = "Through::is_direct")]
    pub through: Through,
    /// Requests that each pod gets first, at a rising rate, so that its caches, compilers and connections are warm before users come. Every answer must be
    /// good. Only in smokeProbes, with httpGet, httpPost or grpc on each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
}

/// The way to pods.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Through {
    /// A connection to the pod's address.
    #[default]
    Direct,
    /// The API server, which passes requests on (`pods/proxy`).
    ApiServer,
}

impl Through {
    fn is_direct(&self) -> bool {
        *self == Self::Direct
    }
}

/// Requests at a rate that rises in a straight line, from one a second to `toPerSecond`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmUp {
    /// Requests a second at the end, for each pod.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 200").message("must be between 1 and 200 requests a second"))]
    pub to_per_second: i32,
    /// Seconds until then.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 600").message("must be between 1 and 600 seconds"))]
    pub seconds: i32,
}

impl SmokeProbe {
    /// Whether somebody else is asked about the revision as a whole.
    pub fn of_the_whole(&self) -> bool {
        self.prometheus.is_some() || self.webhook.is_some()
    }

    /// Whether every pod must pass it by itself.
    pub fn on_each_pod(&self) -> bool {
        !self.of_the_whole() && self.job.is_none() && self.target == ProbeTarget::EachPod
    }
}

/// Against what a probe runs.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ProbeTarget {
    /// Every pod of the incoming revision, by its IP address. Ports are those of the pod.
    #[default]
    EachPod,
    /// The first preview Service, by its clusterIP. Ports are those of the Service.
    PreviewService,
}

/// A TCP connection.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TcpSocket {
    /// Port by number or name.
    pub port: IntOrString,
}

/// A gRPC health check.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Grpc {
    /// Port by number or name.
    pub port: IntOrString,
    /// The service asked about; absent: the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
    /// Whether to speak TLS; the certificate is not verified, as with the scheme `HTTPS`, and no server name is asked for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tls: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn one() -> i32 {
    1
}
fn three() -> i32 {
    3
}
fn five() -> i32 {
    5
}
