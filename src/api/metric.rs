//! A number that each old pod tells of itself: how much of its work is left.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A number that each old pod tells of itself, such as how many sessions or jobs it still has. It is asked for by HTTP GET.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.series) != has(self.jsonPointer)").message("exactly one of series and jsonPointer must be set"))]
pub struct DrainMetric {
    /// Container port by number or name.
    pub port: IntOrString,
    /// Path with its query.
    #[serde(default = "path")]
    #[schemars(length(min = 1, max = 2048))]
    pub path: String,
    /// Series of a Prometheus text, by name and, if need be, labels: `sessions{kind="live"}`. The values of all that have these labels are added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub series: Option<String>,
    /// Where the number stands in a JSON text, as a JSON pointer (RFC 6901): `/sessions/open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub json_pointer: Option<String>,
    /// A pod has drained when its number is at most this, twice in a row.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0").message("must be zero or more"))]
    pub at_most: i32,
    /// Seconds between two readings. Each may take so long, and 5 s at most.
    #[serde(default = "period")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 300").message("must be between 1 and 300 seconds"))]
    pub period_seconds: i32,
}

fn path() -> String {
    "/metrics".into()
}

fn period() -> i32 {
    5
}
