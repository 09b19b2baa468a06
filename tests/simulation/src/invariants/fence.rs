//! Invariant 7, second half, and what it is for: two processes that both believe they lead do not break the others by their writes (9).

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

/// A role is never overwritten by one of a lower attempt; a set that served goes to 0 only from `retiring`; and no Service is moved to a set
/// that has been scaled to 0.
pub const INVARIANT: Invariant = Invariant { name: "7 the fence between two leaders", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    match (write.call.resource, &write.before) {
        (Resource::ReplicaSet, Some(before)) => role(before, &write.after),
        (Resource::Service, Some(before)) if sim.is_active_service(&write.call.name) => target(sim, before, &write.after),
        _ => Ok(()),
    }
}

fn role(before: &serde_json::Value, after: &serde_json::Value) -> Result<(), String> {
    let read = |object| {
        json::annotation(object, keys::ROLE).and_then(|role| role.split_once('@')).map(|(kind, attempt)| (kind, attempt.parse::<i64>().unwrap_or(0)))
    };
    let (Some((was, had)), Some((is, has))) = (read(before), read(after)) else { return Ok(()) };
    if has < had {
        return Err(format!("{}: {was}@{had} is overwritten by {is}@{has}", json::name(before)));
    }
    if is == "retired" && was != "retiring" && was != "retired" {
        return Err(format!("{}: from {was}@{had} to {is}@{has} at once", json::name(before)));
    }
    Ok(())
}

fn target(sim: &Sim, before: &serde_json::Value, after: &serde_json::Value) -> Result<(), String> {
    let revision = |object| json::selects(object).unwrap_or_default();
    let to = revision(after);
    let moved = json::annotation(before, keys::SELECTED) != json::annotation(after, keys::SELECTED);
    let set = sim.first_set(to);
    let nothing = sim.object().is_none_or(|object| json::number(&object, "/spec/replicas") == 0)
        || sim.history.replicas.iter().any(|(_, replicas)| *replicas == 0);
    match set {
        Some(set) if moved && json::number(set, "/spec/replicas") == 0 && !nothing => {
            Err(format!("traffic moves to {}, which has been scaled to 0", sim.named(to)))
        }
        _ => Ok(()),
    }
}
