//! Configuration that is kept with revisions: what is known of it, and the requests that copy it. What a ConfigMap or Secret holds is in memory
//! only while one is read or copied, and goes nowhere else.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::keys;
use crate::release::config::{Config, ConfigKind, ConfigName, Configs, Copy, Snapshots, copies};
use crate::release::revision::config_digest;
use crate::release::{Object, Pod, Set};

use super::api::{ApiError, ApiServer, Dependents, Resource, Which};
use super::context::Context;
use super::manifest::owner_reference;
use super::memory::Remembered;
use super::trim;
use super::world::World;

/// What is known of the configuration of an object whose sets and pods these are. Its template is still the one that is written in the spec.
pub fn read(
    world: &World,
    remembered: &mut Remembered,
    allowed: Option<Snapshots>,
    (object, sets, pods): (&Object, &[Set], &[Pod]),
    now: Duration,
) -> Configs {
    let unread: BTreeSet<_> = ConfigKind::ALL.into_iter().filter(|kind| world.config_unread(*kind, &object.namespace)).collect();
    // What is old is not taken for what is there now.
    let look = |id: &ConfigName| if unread.contains(&id.kind) { None } else { world.config(&object.namespace, id) };
    let mut configs = Configs::new(allowed, &object.name, &object.spec.config_snapshots, &object.spec.template, look);
    configs.unread = unread;
    let copies = world.copies(&object.namespace, &object.name);
    remembered.unused.retain(|uid, _| copies.iter().any(|copy| copy.uid == *uid));
    for copy in copies {
        let near = sets.iter().any(|set| set.configs.contains(&copy.id))
            || pods.iter().any(|pod| pod.configs.contains(&copy.id))
            || configs.sources.iter().any(|source| source.copy.as_ref() == Some(&copy.id));
        // Pods that are nobody's may need it, too: looked for only where it matters.
        let unused_since = if near || world.refers(&object.namespace, &copy.id) {
            remembered.unused.remove(&copy.uid);
            None
        } else {
            Some(*remembered.unused.entry(copy.uid.clone()).or_insert(now))
        };
        configs.copies.push(Copy { config: copy.clone(), unused_since });
    }
    configs
}

/// Makes a copy, of what the source holds now, if that is still what the decision rests on.
pub async fn copy<A: ApiServer>(context: &Context<A>, object: &Object, source: &ConfigName, copy: &str, digest: &str) -> Result<(), ApiError> {
    let resource = Resource::from(source.kind);
    let live = context.api.get(resource, &object.namespace, &source.name).await?;
    // Changed or deleted since: the watch tells of it.
    let live = live.filter(|live| config_digest(live) == digest).ok_or(ApiError::Conflict)?;
    match context.api.create(resource, &object.namespace, manifest(object, source, copy, &live), false).await {
        Ok(created) => {
            context.wrote(resource, &created);
            Ok(())
        }
        Err(ApiError::AlreadyExists) => taken(context, object, &ConfigName { kind: source.kind, name: copy.into() }, digest).await,
        Err(error) => Err(error),
    }
}

/// A copy of an object, to be created.
fn manifest(object: &Object, source: &ConfigName, name: &str, live: &Value) -> Value {
    let mut copy = json!({
        "apiVersion": "v1",
        "kind": source.kind.name(),
        "metadata": {
            "name": name,
            "namespace": object.namespace,
            "labels": {keys::NAME: object.name},
            "annotations": {keys::COPY_OF: source.name},
            "ownerReferences": [owner_reference(object)],
        },
        "immutable": true,
    });
    for field in ["data", "binaryData", "type"] {
        if let (Some(held), Some(copy)) = (live.get(field), copy.as_object_mut()) {
            copy.insert(field.into(), held.clone());
        }
    }
    copy
}

/// The name of a copy is taken: by ourselves, a moment ago, or by somebody else.
async fn taken<A: ApiServer>(context: &Context<A>, object: &Object, id: &ConfigName, digest: &str) -> Result<(), ApiError> {
    let resource = Resource::from(id.kind);
    let Some(live) = context.api.get(resource, &object.namespace, &id.name).await? else {
        return Err(ApiError::Conflict);
    };
    let Some(found) = trim::config(id.kind, &live) else { return Err(ApiError::Conflict) };
    // On its way out, or of an earlier object of this name, with which it goes.
    let theirs = trim::controller(&live).is_some_and(|(kind, name, uid)| kind == "BlueGreenDeployment" && name == object.name && uid != object.uid);
    if found.deleting || theirs {
        return Err(ApiError::Conflict);
    }
    let ours = found.copy_for.as_ref() == Some(&object.name) && found.owner.as_ref().is_none_or(|owner| *owner == object.uid);
    if ours && found.digest == digest {
        context.wrote(resource, &live);
        return Ok(());
    }
    let other = if ours { "holds something else than what it was made of" } else { "is somebody else's" };
    Err(ApiError::Invalid(format!("{id} exists already and {other}; delete it")))
}

/// Deletes a copy, unless a ReplicaSet refers to it now.
pub async fn delete<A: ApiServer>(context: &Context<A>, object: &Object, config: &Config) -> Result<(), ApiError> {
    let Config { id, uid, resource_version, .. } = config;
    let which = Which { labels: Some(keys::REVISION.into()), ..Which::default() };
    let sets = context.api.list(Resource::ReplicaSet, &object.namespace, which).await?;
    let refers = |set: &Value| set.pointer("/spec/template/spec").is_some_and(|spec| copies(spec).contains(id));
    if sets.iter().any(refers) {
        // The watch tells of it, and counting begins anew.
        context.remember(&object.uid, |remembered| remembered.unused.remove(uid));
        return Err(ApiError::Conflict);
    }
    let resource = Resource::from(id.kind);
    context.api.delete(resource, &object.namespace, &id.name, (uid, Some(resource_version)), Dependents::Deleted).await?;
    context.forgot(resource, uid);
    Ok(())
}

#[cfg(test)]
#[path = "tests/config.rs"]
mod tests;
