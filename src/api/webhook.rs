//! Probes by somebody else's word: what is posted, and which answers are good.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Expect;

/// A POST to a service that judges the revision as a whole, such as one that runs a suite of tests. It is told which revision; 202 means that it
/// has not come to a verdict, and it is asked again.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Where it answers, such as `https://tests.example.com/blue-green`. The operator must have been installed with leave to ask there (`allowedWebhooks`).
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// What a good answer looks like. Without it any status from 200 to 299 passes, but for 202.
    #[serde(default)]
    pub expect: Expect,
}
