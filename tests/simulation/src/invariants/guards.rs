//! Invariant 7, first half: each write that can't be undone carries the version it was decided on.

use bluegreen::api::keys;
use bluegreen::controller::api::{Change, Resource};
use serde_json::Value;

use super::Invariant;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

/// Patches of ReplicaSets, pods, Services and of the object's status name UID and resourceVersion; so do deletions of ReplicaSets and pods.
/// What never served is scaled to 0 only where no Service can be moved to it any more.
pub const INVARIANT: Invariant = Invariant { name: "7 guarded writes", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    if !matches!(write.call.resource, Resource::ReplicaSet | Resource::Pod | Resource::Service | Resource::BlueGreenDeployment) {
        return Ok(());
    }
    if let Some(body) = write.call.merge()
        && (json::uid(body).is_empty() || json::text(body, "/metadata/resourceVersion").is_empty())
    {
        return Err("a patch names no UID, or no version".into());
    }
    // The fence is guarded by what was decided on, letter by letter.
    if let (Resource::ReplicaSet, Request::Patch { change: Change::Json(body), .. }) = (write.call.resource, &write.call.request) {
        let tested = |path: &str| json::items(body, "").any(|step| json::text(step, "/op") == "test" && json::text(step, "/path").contains(path));
        let wanted = ["/metadata/uid", "/metadata/deletionTimestamp", "/spec/replicas", "role", "smoke-passed", "drain-begun"];
        if let Some(missing) = wanted.into_iter().find(|path| !tested(path)) {
            return Err(format!("a fence is not guarded by {missing}"));
        }
    }
    if write.call.resource == Resource::ReplicaSet
        && let Some(before) = &write.before
    {
        withdrawn(sim, write, before)?;
    }
    match &write.call.request {
        Request::Delete { version: None, .. } => Err("a deletion names no version".into()),
        _ => Ok(()),
    }
}

/// Before a set that never served, or has no role any more, goes to 0, each active Service of the object says that it is not moved there:
/// each that had been heard of. One that is so new leads to nobody yet.
fn withdrawn(sim: &Sim, write: &Write, before: &Value) -> Result<(), String> {
    let after = &*write.after;
    let size = |set| json::number(set, "/spec/replicas");
    let role = json::annotation(before, keys::ROLE).unwrap_or_default();
    let (Some(revision), Some(object)) = (json::label(before, keys::REVISION), sim.object()) else { return Ok(()) };
    let scaled = json::number(&object, "/spec/replicas") == 0 || sim.intent().is_some_and(|intent| json::text(&intent, "/to") == revision);
    if size(before) == 0 || size(after) > 0 || role.starts_with("serving@") || role.starts_with("retiring@") || scaled {
        return Ok(());
    }
    let owner = format!("/{}", json::uid(&object));
    let heard_of = |service: &&std::sync::Arc<Value>| write.basis.services.contains(json::name(service));
    let active = sim.store.all(Resource::Service).filter(|service| sim.is_active_service(json::name(service))).filter(heard_of);
    let mut ours = active.filter(|service| json::annotation(service, keys::OWNER).is_some_and(|text| text.ends_with(&owner)));
    let marked = |service: &&std::sync::Arc<Value>| {
        json::annotation(service, keys::WITHDRAWN).is_some_and(|revisions| revisions.split(' ').any(|word| word == revision))
    };
    match ours.find(|service| !marked(service)) {
        Some(service) => Err(format!("{} goes to 0 while Service {} could still be moved to it", sim.named(revision), json::name(service))),
        None => Ok(()),
    }
}
