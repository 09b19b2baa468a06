//! Invariant 7, first half: each write that can't be undone carries the version it was decided on.

use bluegreen::controller::api::{Change, Resource};

use super::Invariant;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

/// Patches of ReplicaSets, Services and of the object's status name UID and resourceVersion; so do deletions of ReplicaSets.
pub const INVARIANT: Invariant = Invariant { name: "7 guarded writes", check };

fn check(_: &Sim, write: &Write) -> Result<(), String> {
    if !matches!(write.call.resource, Resource::ReplicaSet | Resource::Service | Resource::BlueGreenDeployment) {
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
    match &write.call.request {
        Request::Delete { version: None, .. } => Err("a deletion names no version".into()),
        _ => Ok(()),
    }
}
