//! Labels and annotations that pods bear as long as they have a role.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations that pods bear as long as they have a role. They are written on the pods themselves, so that a change of role restarts none of them.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Pods of the active revision, from the moment at which traffic begins to move to it.
    #[serde(default)]
    pub active: RoleMetadata,
    /// Pods of a revision that does not serve: one that is tested, waits for promotion, or was given up before it served.
    #[serde(default)]
    pub inactive: RoleMetadata,
    /// Pods that have served and are being left. They also get annotations that keep cluster-autoscaler and Karpenter from evicting them, unless those are named here or in the template.
    #[serde(default)]
    pub draining: RoleMetadata,
}

/// What pods bear in one role. What the template says of the same key stays.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[x_kube(
    validation = Rule::new("self.labels.all(k, !k.startsWith('bluegreen.dev/') && k != 'pod-template-hash')").message("labels that begin with bluegreen.dev/ and the label pod-template-hash belong to controllers").field_path(".labels"),
    validation = Rule::new("self.annotations.all(k, !k.startsWith('bluegreen.dev/'))").message("annotations that begin with bluegreen.dev/ belong to the operator").field_path(".annotations")
)]
pub struct RoleMetadata {
    /// Labels.
    #[serde(default)]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// Bounded as the cost estimate of CEL needs it; the pattern is the API server's own for values of labels.
fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let value = schemars::json_schema!({"type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"});
    schemars::json_schema!({"type": "object", "maxProperties": 16, "default": {}, "additionalProperties": value})
}

fn annotations(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "maxProperties": 16, "default": {}, "additionalProperties": {"type": "string", "maxLength": 1024}})
}
