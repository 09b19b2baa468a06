//! While the new revision bakes, the one that it left stays as it was: the traffic may have to go back to it.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

/// Judged by when traffic really moved, and not by what is on record about the bake.
pub const INVARIANT: Invariant = Invariant { name: "the way back stays while it bakes", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    let Some(before) = &write.before else { return Ok(()) };
    let label = json::label(before, keys::REVISION).unwrap_or_default();
    let revision = label.strip_prefix(keys::LEFT_PREFIX).unwrap_or(label);
    let replicas = |object| json::number(object, "/spec/replicas");
    let goes = match (write.call.resource, &write.call.request) {
        (Resource::Pod | Resource::ReplicaSet, Request::Delete { .. }) => replicas(before) > 0 || write.call.resource == Resource::Pod,
        (Resource::ReplicaSet, _) => replicas(&write.after) < replicas(before),
        _ => false,
    };
    let (Some(intent), Some(object)) = (sim.intent(), sim.object()) else { return Ok(()) };
    // Pods without a set are no way back: it went in an earlier move, or a person deleted it. When the operator does, that is judged by itself.
    let mark = json::annotation(before, keys::LEFT).and_then(|mark| serde_json::from_str::<serde_json::Value>(mark).ok());
    if write.call.resource == Resource::Pod && mark.is_some_and(|mark| !sim.store.exists(json::text(&mark, "/set"))) {
        return Ok(());
    }
    let bakes = json::text(&intent, "/cause") == "Release" && json::text(&intent, "/from") == revision;
    let seconds = u64::try_from(json::number(&object, "/spec/bake/seconds")).unwrap_or(0);
    let Some(left) = sim.history.left_at.get(revision).filter(|_| goes && bakes && seconds > 0) else { return Ok(()) };
    let slack = Duration::from_millis(2 * sim.history.wrong + 1500);
    if sim.now() + slack >= *left + Duration::from_secs(seconds) {
        return Ok(());
    }
    Err(format!("{} is given up {:.1} s after it was left", sim.named(revision), sim.now().saturating_sub(*left).as_secs_f64()))
}
