//! Which configuration is kept with each revision.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// ConfigMaps and Secrets of the same namespace that are kept with each revision: the operator makes a copy that never changes and has the pods
/// refer to that, so a change of the content is a release, and a way back brings its own content back. What is not named stays shared.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSnapshots {
    /// Names of ConfigMaps that spec.template refers to. The operator must have been installed with leave to copy them (`configSnapshots`).
    #[serde(default)]
    #[schemars(length(max = 16), extend("items" = {"type": "string", "minLength": 1, "maxLength": 253}, "x-kubernetes-list-type" = "set"))]
    pub config_maps: Vec<String>,
    /// Names of Secrets that spec.template refers to. The operator must have been installed with leave to copy them (`configSnapshots`).
    #[serde(default)]
    #[schemars(length(max = 16), extend("items" = {"type": "string", "minLength": 1, "maxLength": 253}, "x-kubernetes-list-type" = "set"))]
    pub secrets: Vec<String>,
}

impl ConfigSnapshots {
    /// Whether it names anything.
    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }
}
