//! Commands that are run in containers of pods.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A command that is run in a container of a pod, by `pods/exec`; exit code 0 is success. The operator must have been installed with leave to run
/// commands (`allowExec`).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The program and its arguments, as in a container's `command`. There is no shell around it, and nothing is substituted.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 4096)))]
    pub command: Vec<String>,
    /// Name of the container that it runs in.
    #[schemars(length(min = 1, max = 63))]
    pub container: String,
}
