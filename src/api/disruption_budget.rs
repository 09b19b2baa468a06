//! How many pods of those that serve may be evicted at a time.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many pods of the revision that serves may be evicted at a time. The operator keeps a PodDisruptionBudget of the object's name for it, and no
/// other one may match the pods. Pods that are being left are not protected by it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.minAvailable) != has(self.maxUnavailable)").message("needs exactly one of minAvailable and maxUnavailable"),
    validation = Rule::new("!has(self.minAvailable) || (type(self.minAvailable) == int ? self.minAvailable >= 0 : self.minAvailable.matches('^(100|[0-9]{1,2})%$'))").message("must be a number from 0, or a percentage from 0% to 100%").field_path(".minAvailable"),
    validation = Rule::new("!has(self.maxUnavailable) || (type(self.maxUnavailable) == int ? self.maxUnavailable >= 0 : self.maxUnavailable.matches('^(100|[0-9]{1,2})%$'))").message("must be a number from 0, or a percentage from 0% to 100%").field_path(".maxUnavailable")
)]
pub struct DisruptionBudget {
    /// So many pods, or such a share of them, stay available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// At most so many pods, or such a share of them, are unavailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Whether pods that run and are not ready may be evicted although the budget is used up. Without it as Kubernetes does: `IfHealthyBudget`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UnhealthyPods")]
    pub unhealthy_pod_eviction_policy: Option<UnhealthyPods>,
}

/// When pods that run and are not ready may be evicted.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum UnhealthyPods {
    /// When enough others are available.
    IfHealthyBudget,
    /// At any time.
    AlwaysAllow,
}
