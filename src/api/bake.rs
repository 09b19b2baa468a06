//! What a new revision must bear after the switch, before the old one may go.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SmokeProbe;

/// What a new revision must bear after the switch. Meanwhile the old one stays as it was, at full size, and the traffic can go back to it at once.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.probes.size() == 0 || self.seconds > 0").message("probes of a bake need seconds above zero: they run for that long after the switch").field_path(".seconds"),
    validation = Rule::new("self.probes.all(p, !has(p.job))").message("a Job ends, and a bake goes on: use spec.smokeProbes, or spec.hooks.afterSwitch").field_path(".probes"),
    validation = Rule::new("self.probes.all(p, p.target == 'EachPod')").message("the preview Service follows the next revision; use the target EachPod").field_path(".probes"),
    validation = Rule::new("self.probes.all(p, !has(p.warmUp))").message("pods are warmed up before users come, by a probe of spec.smokeProbes").field_path(".probes")
)]
pub struct Bake {
    /// Seconds after the last Service was moved for which the new revision must bear the traffic. 0: no bake.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 86400").message("must be between 0 and 86400 seconds"))]
    pub seconds: i32,
    /// Tests of every pod of the new revision, and Prometheus queries about it, that go on all that time. `failureThreshold` failures in a row take the traffic back.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub probes: Vec<SmokeProbe>,
}
