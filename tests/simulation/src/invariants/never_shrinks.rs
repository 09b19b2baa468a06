//! Invariant 3: the active revision is never scaled down or deleted, except for `spec.replicas`.

use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::Value;

use super::Invariant;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::{NAMESPACE, Sim};

/// Active is what the operator itself made a Service select, by the store at this very moment.
pub const INVARIANT: Invariant = Invariant { name: "3 the active set stays", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    if let (Resource::Pod, Request::Patch { .. }, Some(before)) = (write.call.resource, &write.call.request, &write.before) {
        return stays_reached(sim, write, before);
    }
    let (Resource::ReplicaSet, Some(before)) = (write.call.resource, &write.before) else { return Ok(()) };
    let revision = json::label(before, keys::REVISION).unwrap_or_default();
    let serves = |name: &String| {
        sim.store.get(Resource::Service, NAMESPACE, name).is_some_and(|service| {
            let selected = json::annotation(service, keys::SELECTED).and_then(|selected| selected.rsplit_once('@'));
            let meant = selected.is_some_and(|(selected, _)| selected == revision) || json::overlaps(service);
            meant && sim.leads_to(service, revision)
        })
    };
    let Some(service) = sim.scenario.services.iter().find(|name| serves(name)) else { return Ok(()) };
    let name = sim.named(revision);
    if matches!(write.call.request, Request::Delete { .. }) {
        // A successor without pods that was made in vain.
        let first = sim.first_set(revision).is_some_and(|first| json::uid(first) != json::uid(before));
        if first && json::number(before, "/spec/replicas") == 0 {
            return Ok(());
        }
        return Err(format!("the set of {name} is deleted, which Service {service} selects"));
    }
    let (had, has) = (json::number(before, "/spec/replicas"), json::number(&write.after, "/spec/replicas"));
    let since = sim.now().saturating_sub(Duration::from_secs(90));
    let current = sim.object().map(|object| json::number(&object, "/spec/replicas"));
    let asked = sim.history.replicas.iter().filter(|(at, _)| *at >= since).any(|(_, replicas)| *replicas == has) || current == Some(has);
    if has < had && !asked {
        return Err(format!("the set of {name}, which Service {service} selects, shrinks from {had} to {has}"));
    }
    Ok(())
}

/// No pod that a Service leads to is taken out of it by another label, unless ready ones of a ReplicaSet of that revision stay.
fn stays_reached(sim: &Sim, write: &Write, before: &Value) -> Result<(), String> {
    let revision = json::label(before, keys::REVISION).unwrap_or_default();
    if json::label(&write.after, keys::REVISION) == Some(revision) {
        return Ok(());
    }
    let leads = |name: &&String| {
        let service = sim.store.get(Resource::Service, NAMESPACE, name);
        service.is_some_and(|service| sim.leads_to(service, revision))
    };
    let Some(service) = sim.scenario.services.iter().find(leads) else { return Ok(()) };
    let of_a_set = |pod: &&Arc<Value>| {
        let set = json::controller(pod).and_then(|set| sim.store.by_uid(Resource::ReplicaSet, set));
        json::label(pod, keys::REVISION) == Some(revision) && set.is_some() && json::ready(pod) && json::alive(pod)
    };
    if sim.store.all(Resource::Pod).any(|pod| of_a_set(&pod)) {
        return Ok(());
    }
    Err(format!("pod {} is taken out of Service {service}, which has no other", json::name(before)))
}
