//! Which Services follow a release.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the Services of a move go from one revision to another.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Cutover {
    /// In one write: they select the new revision, and the old one no more. What kube-proxy and service meshes need.
    #[default]
    Atomic,
    /// In two: for a while they select both. For load balancers that send traffic to pods themselves and need time to take in new ones.
    Overlap,
}

impl Cutover {
    /// Whether it is the default.
    pub fn is_atomic(&self) -> bool {
        *self == Self::Atomic
    }
}

/// Which Services follow the release, and when the move counts as done.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.quietSeconds <= self.convergenceTimeoutSeconds").message("quietSeconds must not exceed convergenceTimeoutSeconds, or the move could never count as done").field_path(".quietSeconds")
)]
pub struct Traffic {
    /// Services of the same namespace that serve the active revision; they move together. May be empty for pods that no Service addresses.
    #[serde(default)]
    #[schemars(length(max = 16), extend("items" = {"type": "string", "minLength": 1, "maxLength": 63}, "x-kubernetes-list-type" = "set"))]
    pub services: Vec<String>,
    /// Services that follow the incoming revision while there is one, else a rejected one that still has pods, else the active one.
    #[serde(default)]
    #[schemars(length(max = 16), extend("items" = {"type": "string", "minLength": 1, "maxLength": 63}, "x-kubernetes-list-type" = "set"))]
    pub preview_services: Vec<String>,
    /// Other Services that may select pods of every revision, untested ones too (one that only metrics are read through). Any other Service that matches the pods holds a release up.
    #[serde(default)]
    #[schemars(length(max = 16), extend("items" = {"type": "string", "minLength": 1, "maxLength": 63}, "x-kubernetes-list-type" = "set"))]
    pub allow_other_services: Vec<String>,
    /// Whether traffic moves although a node then has no ready pod for a Service that keeps traffic on the node where it arrives
    /// (`internalTrafficPolicy` or `externalTrafficPolicy` `Local`) and had one before.
    #[serde(default)]
    pub allow_local_gap: bool,
    /// How the Services are moved: in one write (`Atomic`), or so that for a while both revisions serve (`Overlap`), for load balancers that send
    /// traffic to pods themselves. Without it `Atomic`, and a release is held up where such a load balancer can be told by the Service's annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cutover")]
    pub cutover: Option<Cutover>,
    /// With `Overlap`: seconds for which as many new pods as are needed must have been ready endpoints of every Service before the old ones leave:
    /// at least as long as the load balancer takes until it sends traffic to a new target.
    #[serde(default = "overlap")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 3600").message("must be between 1 and 3600 seconds"))]
    pub overlap_seconds: i32,
    /// Seconds without an unexplained new connection on any old pod, after the endpoints moved, before the move counts as done.
    #[serde(default = "quiet")]
    // Not longer than the controller remembers reports that come once a second.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 240").message("must be between 1 and 240 seconds"))]
    pub quiet_seconds: i32,
    /// Seconds after the last Service was moved until the release goes on without that certainty, and says so.
    #[serde(default = "timeout")]
    #[x_kube(validation = Rule::new("self >= 1").message("must be at least 1 second"))]
    pub convergence_timeout_seconds: i32,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            services: vec![],
            preview_services: vec![],
            allow_other_services: vec![],
            allow_local_gap: false,
            cutover: None,
            overlap_seconds: overlap(),
            quiet_seconds: quiet(),
            convergence_timeout_seconds: timeout(),
        }
    }
}

fn overlap() -> i32 {
    60
}
fn quiet() -> i32 {
    10
}
fn timeout() -> i32 {
    60
}
