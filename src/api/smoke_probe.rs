//! Smoke probes: what the incoming revision must show before any traffic moves.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One test of the incoming revision. Exactly one of httpGet, tcpSocket and grpc is set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.httpGet), has(self.tcpSocket), has(self.grpc)].filter(x, x).size() == 1").message("exactly one of httpGet, tcpSocket, grpc must be set")
)]
pub struct SmokeProbe {
    /// Name of the probe, unique in the list; it stands in status and Events.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An HTTP GET; passes by its status code and, if asked for, a text in the body. Redirects are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// A TCP connection that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// The gRPC health protocol; passes when the answer is SERVING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Grpc>,
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

/// An HTTP GET request.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet {
    /// Path with its query.
    #[serde(default = "slash")]
    #[schemars(length(max = 2048))]
    pub path: String,
    /// Port by number or name.
    pub port: IntOrString,
    /// `HTTP` or `HTTPS`; the certificate is not verified, as with the kubelet's probes.
    #[serde(default)]
    pub scheme: Scheme,
    /// Headers of the request, such as Host.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub http_headers: Vec<HttpHeader>,
    /// What a good answer looks like. Without it any status from 200 to 399 passes.
    #[serde(default)]
    pub expect: Expect,
}

/// `HTTP` or `HTTPS`.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Scheme {
    /// Plain text.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// TLS; the certificate is not verified.
    #[serde(rename = "HTTPS")]
    Https,
}

/// One header of a request.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct HttpHeader {
    /// Name of the header.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// What a good answer looks like.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// Status codes that pass; empty: 200 to 399.
    #[serde(default)]
    #[schemars(length(max = 32), extend("items" = {"type": "integer", "format": "int32", "minimum": 100, "maximum": 599}))]
    pub status: Vec<i32>,
    /// Text that must stand in the first 64 KiB of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub body_contains: Option<String>,
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
fn slash() -> String {
    "/".into()
}
