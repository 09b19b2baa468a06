//! HTTP probes: what is asked, and what a good answer looks like.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SmokeProbe;

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

/// An HTTP POST request. Every attempt sends it again.
#[derive(JsonSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPost {
    /// Path with its query.
    #[serde(default = "slash")]
    #[schemars(length(max = 2048))]
    pub path: String,
    /// Port by number or name.
    pub port: IntOrString,
    /// `HTTP` or `HTTPS`; the certificate is not verified, as with the kubelet's probes.
    #[serde(default)]
    pub scheme: Scheme,
    /// Headers of the request, such as Host or Content-Type.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub http_headers: Vec<HttpHeader>,
    /// What is sent. It is called application/json if httpHeaders names no other Content-Type.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub body: String,
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

/// What a good answer looks like: all of it must be so.
//
// What came later than the first release is left out while it is not used: an operator that is updated in the middle of a release
// must find the same probes in it, and with them what passed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// Status codes that pass; empty: 200 to 399.
    #[serde(default)]
    #[schemars(length(max = 32), extend("items" = {"type": "integer", "format": "int32", "minimum": 100, "maximum": 599}))]
    pub status: Vec<i32>,
    /// Headers that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<ExpectedHeader>,
    /// Text that must stand in the first 64 KiB of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub body_contains: Option<String>,
    /// Values in the body, which must be JSON of less than 64 KiB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub json_pointer: Vec<ExpectedValue>,
    /// Milliseconds from the beginning of the attempt until the answer is complete, connecting included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 300000").message("must be between 1 and 300000 milliseconds"))]
    pub max_latency_millis: Option<i32>,
}

/// A header of the answer.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ExpectedHeader {
    /// Name of the header, in small or capital letters.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Its value, compared letter by letter; absent: any. If the header is there several times, one of them must have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
}

/// A value in the JSON of the answer.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ExpectedValue {
    /// Where it stands, as a JSON pointer (RFC 6901) such as `/checks/0/status`; `~1` stands for a slash in a name and `~0` for a tilde. Empty: the whole.
    #[schemars(length(max = 512))]
    pub path: String,
    /// What it must be, always as text: `ok`, `"3"`, `"true"`, `"null"`. Numbers are compared by their value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// What httpGet and httpPost have in common.
#[derive(Clone, Copy, Debug)]
pub struct HttpAction<'a> {
    /// The field it stands in.
    pub field: &'static str,
    /// Path with its query.
    pub path: &'a str,
    /// Port by number or name.
    pub port: &'a IntOrString,
    /// In clear or in TLS.
    pub scheme: Scheme,
    /// Headers of the request.
    pub headers: &'a [HttpHeader],
    /// What is posted; none with a GET.
    pub body: Option<&'a str>,
    /// What a good answer looks like.
    pub expect: &'a Expect,
}

impl SmokeProbe {
    /// The request of a probe that makes one by HTTP.
    pub fn http(&self) -> Option<HttpAction<'_>> {
        let get = self.http_get.as_ref().map(|HttpGet { path, port, scheme, http_headers, expect }| HttpAction {
            field: "httpGet",
            path,
            port,
            scheme: *scheme,
            headers: http_headers,
            body: None,
            expect,
        });
        let post = self.http_post.as_ref().map(|HttpPost { path, port, scheme, http_headers, body, expect }| HttpAction {
            field: "httpPost",
            path,
            port,
            scheme: *scheme,
            headers: http_headers,
            body: Some(body),
            expect,
        });
        get.or(post)
    }
}

fn slash() -> String {
    "/".into()
}
