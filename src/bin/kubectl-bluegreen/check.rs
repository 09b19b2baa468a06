//! What can be said about a manifest before it is applied: the operator's own rules, over a world that was just read.

use std::time::Duration;

use bluegreen::api::BlueGreenDeployment;
use bluegreen::controller::api::Resource;
use bluegreen::controller::memory::{Remembered, Reports};
use bluegreen::controller::observe::{Installation, observe};
use bluegreen::controller::trim;
use bluegreen::controller::world::{Key, World};
use bluegreen::release::revision::template_identity;
use bluegreen::release::{Now, Owner, OwnerState, Set, Snapshot, preflight};
use jiff::Timestamp;
use kube::core::Status;
use serde_json::{Value, json};

/// Everything that the rules look at.
pub struct Seen {
    /// The object as it would be stored.
    pub object: Value,
    /// ReplicaSets, pods, Services and EndpointSlices of its namespace.
    pub others: Vec<(Resource, Value)>,
}

/// A snapshot as the operator would take it.
pub fn snapshot(seen: &Seen, now: Timestamp) -> Option<Snapshot> {
    let key = Key { namespace: trim::text(&seen.object, "/metadata/namespace")?, name: trim::text(&seen.object, "/metadata/name")? };
    let mut world = World::new(vec![key.namespace.clone()], false);
    world.insert(Resource::BlueGreenDeployment, &stored(&seen.object), Duration::ZERO);
    for (resource, object) in &seen.others {
        world.insert(*resource, &stored(object), Duration::ZERO);
    }
    world.relisted(Resource::PodDisruptionBudget, &key.namespace);
    let now = Now { wall: now, mono: Duration::ZERO };
    let mut snapshot = observe(&world, &mut Remembered::default(), &mut Reports::default(), &Installation::default(), &key, now)?;
    // All was read just now, and nobody watches.
    snapshot.unread.clear();
    // Others count old pods, too, where none is asked for.
    snapshot.budgets = world.budgets(&key.namespace, |_| true);
    Some(snapshot)
}

/// What a dry run answers has no version yet, without which nothing is taken for an object.
fn stored(object: &Value) -> Value {
    let mut object = object.clone();
    if trim::text(&object, "/metadata/resourceVersion").is_none()
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("resourceVersion".into(), json!("1"));
    }
    object
}

/// Owners of Services, of whom it is to be looked up whether they live.
pub fn owners(snapshot: &Snapshot) -> Vec<Owner> {
    let others = snapshot.services.values().filter_map(|service| service.owner.as_ref());
    others.filter(|owner| owner.uid != snapshot.object.uid).cloned().collect()
}

/// Takes down whether an owner lives: `found` is the object that has its name now.
pub fn looked_up(snapshot: &mut Snapshot, owner: &Owner, found: Option<&Value>) {
    let lives = found.and_then(|found| trim::text(found, "/metadata/uid")).as_ref() == Some(&owner.uid);
    snapshot.owners.insert(owner.uid.clone(), if lives { OwnerState::Alive } else { OwnerState::Gone });
}

/// What the operator would complain about.
pub fn problems(snapshot: &Snapshot) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for block in preflight::problems(snapshot) {
        let line = format!("{} ({})", block.message, block.reason);
        if !all.contains(&line) {
            all.push(line);
        }
    }
    all
}

/// What the API server complains about, each with the path of its field.
pub fn causes(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut lines: Vec<String> = causes
        // It says so beside every error of the schema, and it is none of the manifest.
        .filter(|cause| !cause.message.contains("some validation rules were not checked"))
        .map(|cause| match cause.field.as_str() {
            "" | "<nil>" => cause.message.clone(),
            // Some of its paths begin with a dot.
            field => format!("{}: {}", field.trim_start_matches('.'), cause.message),
        })
        .collect();
    if let (true, Some((_, fields))) = (lines.is_empty(), status.message.split_once("strict decoding error: ")) {
        lines.extend(fields.split(", ").map(str::to_owned));
    }
    if lines.is_empty() {
        lines.push(undeclared(&status.message).unwrap_or(&status.message).to_owned());
    }
    lines
}

/// Path and complaint about a field that the schema does not have, out of the sentence round them.
fn undeclared(message: &str) -> Option<&str> {
    message.strip_prefix("failed to create typed patch object (")?.split_once("): .").map(|(_, complaint)| complaint)
}

/// The same about a pod template that was tried as a ReplicaSet's: its paths are those of `spec.template` as well.
pub fn causes_of_template(status: &Status) -> Option<Vec<String>> {
    // The person's own rights say nothing about the operator's.
    let missing_right = status.code == 403 && status.message.contains("cannot create resource");
    (!missing_right).then(|| causes(status))
}

/// What applying the template would begin.
pub fn begins(object: &BlueGreenDeployment, sets: &[Set], tried: &Value) -> String {
    let identity = tried.pointer("/spec/template").map(template_identity).unwrap_or_default();
    let active = object.status.as_ref().and_then(|status| status.switch.as_ref()).map(|switch| switch.to.as_str());
    let asked_for = object.status.as_ref().and_then(|status| status.revision.as_ref());
    match sets.iter().find(|set| set.template_identity == identity) {
        Some(set) if Some(set.revision.as_str()) == active => {
            format!("the template is that of the active revision {}: no release begins", set.revision)
        }
        Some(set) if Some(&set.revision) == asked_for => {
            format!("the template is that of revision {}, which is asked for already: no other release begins", set.revision)
        }
        Some(set) => format!("the template is that of revision {}, which is released anew", set.revision),
        None if active.is_none() => "the template is a new revision: the first one".into(),
        None => "the template is a new revision: a release begins".into(),
    }
}

/// The manager by which an object was applied on the server's side, if there is just one: only in its name a dry run takes away what the
/// manifest does not have any more.
pub fn applier(object: Option<&Value>) -> Option<String> {
    let entries = object?.pointer("/metadata/managedFields")?.as_array()?;
    let applies = |entry: &&Value| {
        entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
    };
    let mut managers = entries.iter().filter(applies).filter_map(|entry| entry.get("manager")?.as_str());
    managers.next().filter(|_| managers.next().is_none()).map(str::to_owned)
}

/// A manifest as what replaces an object that was not applied on the server's side.
pub fn successor(manifest: &Value, live: &Value) -> Value {
    let mut successor = manifest.clone();
    if let (Some(metadata), Some(version)) =
        (successor.get_mut("metadata").and_then(Value::as_object_mut), trim::text(live, "/metadata/resourceVersion"))
    {
        metadata.insert("resourceVersion".into(), version.into());
    }
    successor
}

/// What is to be known about a Service's manifest that has a selector, though nothing may be wrong with it.
pub fn hint(service: &Value) -> Option<String> {
    let name = trim::text(service, "/metadata/name")?;
    (!trim::strings(service, "/spec/selector").is_empty()).then(|| {
        format!(
            "Service {name} has a selector in the manifest. kubectl apply leaves the operator's part of it alone, but whoever applies by server-side apply (Flux, Argo CD, Helm 4) would remove it at every sync; without a selector in the manifest both are fine"
        )
    })
}

#[cfg(test)]
#[path = "tests/check.rs"]
mod tests;
