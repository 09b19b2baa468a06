//! Invariant 2: from the first switch on, no selector the operator writes is without a revision, and all Services of a release move.

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::Value;

use super::Invariant;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::{NAMESPACE, Sim};

/// Every write of a declared Service's selector has a revision and nothing that the spec does not ask for; a move counts as done only when
/// every Service that exists has been moved by it. What an object that is gone has left behind may be given back, or parked by the next one,
/// once no pod is reached through it any more.
pub const INVARIANT: Invariant = Invariant { name: "2 whole selectors, all Services", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    match write.call.resource {
        Resource::Service if sim.is_active_service(&write.call.name) => {
            let left = write.before.as_ref().is_some_and(|before| left_behind(sim, before));
            if left && json::annotation(&write.after, keys::OWNER).is_none() {
                return Ok(());
            }
            // A mark beside it, while somebody else's selector waits to be put back, says nothing about the selector.
            let untouched = write.before.as_ref().is_some_and(|before| before.pointer("/spec/selector") == write.after.pointer("/spec/selector"));
            if untouched {
                return Ok(());
            }
            let Some(selector) = write.after.pointer("/spec/selector").and_then(Value::as_object) else {
                return Err("a selector without anything".into());
            };
            // Parked is what has never served; a write that took its time may come after the first intent, but not after the first move.
            let had = write
                .before
                .as_ref()
                .and_then(|before| json::annotation(before, keys::SELECTED))
                .is_some_and(|had| !had.starts_with(keys::REVISION_NONE));
            if had && !left && selector.get(keys::REVISION).and_then(Value::as_str) == Some(keys::REVISION_NONE) {
                return Err("a Service that has served is parked".into());
            }
            let keys: Vec<&str> = selector.keys().map(String::as_str).collect();
            if keys == ["app", keys::REVISION] || keys == ["app", keys::SERVING] { Ok(()) } else { Err(format!("a selector with {keys:?}")) }
        }
        Resource::BlueGreenDeployment => done(sim, write),
        _ => Ok(()),
    }
}

/// Whether a Service was an object's that is gone, and leads to nobody.
fn left_behind(sim: &Sim, service: &Value) -> bool {
    let owner = json::annotation(service, keys::OWNER).and_then(|owner| owner.rsplit_once('/')).map(|(_, uid)| uid.to_owned());
    let gone = owner.is_some_and(|uid| sim.store.by_uid(Resource::BlueGreenDeployment, &uid).is_none());
    gone && !sim.leads(service)
}

fn done(sim: &Sim, write: &Write) -> Result<(), String> {
    let at = |object: &Value| json::text(object, "/status/switch/completedAt").to_owned();
    if at(&write.after).is_empty() || write.before.as_ref().is_some_and(|before| at(before) == at(&write.after)) {
        return Ok(());
    }
    let (to, attempt) = (json::text(&write.after, "/status/switch/to"), json::number(&write.after, "/status/switch/attempt"));
    let wanted = format!("{to}@{attempt}");
    for name in &sim.scenario.services {
        // One that was made again a moment ago may not be known yet; it joins when it is.
        let Some(service) = sim.store.get(Resource::Service, NAMESPACE, name).filter(|service| json::annotation(service, keys::OWNER).is_some())
        else {
            continue;
        };
        if json::annotation(service, keys::SELECTED) != Some(wanted.as_str()) {
            let has = json::annotation(service, keys::SELECTED).unwrap_or("nothing");
            return Err(format!("the move to {} counts as done while Service {name} was moved to {has}", sim.named(to)));
        }
    }
    Ok(())
}
