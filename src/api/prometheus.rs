//! Probes by a Prometheus query: what is asked, and which values are good.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A Prometheus query, asked about the revision as a whole.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.atMost) || has(self.atLeast)").message("atMost or atLeast must be set, or both"))]
pub struct Prometheus {
    /// Where Prometheus answers, such as `http://prometheus.monitoring:9090`. The operator must have been installed with leave to ask there (`allowedUrls`).
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// An instant query in PromQL. `{{name}}`, `{{namespace}}` and `{{revision}}` stand for those of the release; pods are called `{{name}}-{{revision}}-` and five letters.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// No value of the answer may be greater than this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^-?[0-9]+([.][0-9]+)?$')").message("write a number such as 0.01"))]
    pub at_most: Option<String>,
    /// No value of the answer may be less than this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^-?[0-9]+([.][0-9]+)?$')").message("write a number such as 0.01"))]
    pub at_least: Option<String>,
    /// What an answer without a value means. NaN is no value.
    #[serde(default)]
    pub no_data: NoData,
}

/// What an answer without a value means.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum NoData {
    /// Nothing: it is asked again. A new revision has no rate before it was scraped twice.
    #[default]
    Wait,
    /// A pass.
    Pass,
    /// A failure.
    Fail,
}
