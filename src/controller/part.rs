//! Carries out the steps by which a set is taken apart ([`crate::release::part`]). A pod is read live before it is written or deleted: its
//! version changes with every word of its kubelet.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::keys;
use crate::release::action::{PodRef, SetRef};
use crate::release::part::away;
use crate::release::{Left, Object, Role};

use super::api::{ApiError, ApiServer, Change, Dependents, Resource};
use super::apply::{patch_set, unreached};
use super::context::Context;
use super::manifest;
use super::trim;

/// The fence, the live read of the Services, and the successor. The order is that of a retirement: another leader that moves traffic to this
/// set writes its role first, and then neither this nor [`orphan`] gets any further.
pub async fn part<A: ApiServer>(
    context: &Context<A>,
    object: &Object,
    set: &SetRef,
    attempt: i64,
    services: &[String],
    issue: i64,
) -> Result<(), ApiError> {
    let fenced = patch_set(context, object, set, manifest::retiring(set, attempt)).await?;
    unreached(context, object, &set.revision, &trim::pod_labels(&fenced), services).await?;
    let name = format!("{}-{}-{issue}", object.name, set.revision);
    match context.api.create(Resource::ReplicaSet, &object.namespace, successor(object, &fenced, &name, attempt, issue), false).await {
        Ok(created) => context.wrote(Resource::ReplicaSet, &created),
        Err(ApiError::AlreadyExists) => {
            let found = context.api.get(Resource::ReplicaSet, &object.namespace, &name).await?.ok_or(ApiError::Conflict)?;
            if trim::controller(&found).is_none_or(|(.., uid)| uid != object.uid) {
                return Err(ApiError::Invalid(format!("ReplicaSet \"{name}\" exists and belongs to somebody else")));
            }
            let found = trim::set(&found).filter(|found| !found.deleting).ok_or(ApiError::Conflict)?;
            // Written anew in any case: a deletion that was decided when it was in vain must not find the same version.
            if found.role.is_some_and(|role| role.attempt > attempt) {
                return Err(ApiError::Conflict);
            }
            let found = SetRef::of(&found);
            patch_set(context, object, &found, manifest::retired(&found, attempt)).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Marks a pod, and makes the object an owner of it beside its ReplicaSet.
pub async fn mark<A: ApiServer>(context: &Context<A>, object: &Object, pod: &PodRef, left: &Left) -> Result<(), ApiError> {
    let Some(live) = alive(context, object, pod).await? else { return Ok(()) };
    if trim::controller(&live).is_none_or(|(.., uid)| uid != left.set) || outdated(&live, left) {
        return changed(context, &live);
    }
    write(context, object, pod, marked(object, &live, left)).await
}

/// Deletes a ReplicaSet without its pods, at the version on which that was decided.
pub async fn orphan<A: ApiServer>(
    context: &Context<A>,
    object: &Object,
    set: &SetRef,
    labels: &BTreeMap<String, String>,
    services: &[String],
) -> Result<(), ApiError> {
    unreached(context, object, &set.revision, labels, services).await?;
    let guard = (set.uid.as_str(), Some(set.resource_version.as_str()));
    context.api.delete(Resource::ReplicaSet, &object.namespace, &set.name, guard, Dependents::Kept).await?;
    // It goes when the garbage collector has seen to its pods.
    see(context, object, Resource::ReplicaSet, &set.name, &set.uid).await.map(drop)
}

/// Takes over a pod that nobody controls any more.
pub async fn own<A: ApiServer>(context: &Context<A>, object: &Object, pod: &PodRef, left: &Left) -> Result<(), ApiError> {
    let Some(live) = alive(context, object, pod).await? else { return Ok(()) };
    if trim::controller(&live).is_some() || outdated(&live, left) {
        return changed(context, &live);
    }
    write(context, object, pod, owned(object, &live, left)).await
}

/// Deletes a pod that is still ours and that no Service leads to. Answers whether it was deleted, and not gone by itself.
pub async fn delete<A: ApiServer>(
    context: &Context<A>,
    object: &Object,
    pod: &PodRef,
    revision: &str,
    services: &[String],
) -> Result<bool, ApiError> {
    let Some(live) = alive(context, object, pod).await? else { return Ok(false) };
    let ours = trim::controller(&live).is_some_and(|(.., uid)| uid == object.uid) && trim::label(&live, keys::REVISION) == Some(&away(revision));
    if !ours || trim::left(&live).is_none() {
        return changed(context, &live).map(|()| false);
    }
    unreached(context, object, &away(revision), &trim::strings(&live, "/metadata/labels"), services).await?;
    let (_, version) = trim::identity(&live).ok_or(ApiError::Conflict)?;
    context.api.delete(Resource::Pod, &object.namespace, &pod.name, (&pod.uid, Some(&version)), Dependents::Deleted).await?;
    see(context, object, Resource::Pod, &pod.name, &pod.uid).await?;
    Ok(true)
}

/// A pod as it is now; `None` where it is gone or going, which the caches then know.
pub(super) async fn alive<A: ApiServer>(context: &Context<A>, object: &Object, pod: &PodRef) -> Result<Option<Value>, ApiError> {
    let live = see(context, object, Resource::Pod, &pod.name, &pod.uid).await?;
    Ok(live.filter(|live| live.pointer("/metadata/deletionTimestamp").is_none()))
}

/// Reads an object, for the caches too: the next decision must know what has become of it.
async fn see<A: ApiServer>(context: &Context<A>, object: &Object, resource: Resource, name: &str, uid: &str) -> Result<Option<Value>, ApiError> {
    let live = context.api.get(resource, &object.namespace, name).await?;
    let live = live.filter(|live| trim::text(live, "/metadata/uid").as_deref() == Some(uid));
    match &live {
        Some(live) => context.wrote(resource, live),
        None => context.forgot(resource, uid),
    }
    Ok(live)
}

/// It is not what was decided on; the caches know by now what it is.
fn changed<A: ApiServer>(context: &Context<A>, live: &Value) -> Result<(), ApiError> {
    context.wrote(Resource::Pod, live);
    Err(ApiError::Conflict)
}

/// Whether another leader has marked the pod for a later move.
fn outdated(live: &Value, left: &Left) -> bool {
    trim::left(live).is_some_and(|mark| mark.attempt > left.attempt)
}

pub(super) async fn write<A: ApiServer>(context: &Context<A>, object: &Object, pod: &PodRef, patch: Value) -> Result<(), ApiError> {
    let written = context.api.patch(Resource::Pod, &object.namespace, &pod.name, false, Change::Merge(patch)).await?;
    context.wrote(Resource::Pod, &written);
    Ok(())
}

/// The ReplicaSet that keeps the template of `set`, without pods. The label in its selector and its template keeps it from taking the pods
/// of the first, which lack it.
fn successor(object: &Object, set: &Value, name: &str, attempt: i64, issue: i64) -> Value {
    let mut labels = set.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    let mut spec = set.get("spec").cloned().unwrap_or_else(|| json!({}));
    let issue = json!(issue.to_string());
    label(Some(&mut labels), &issue);
    label(spec.pointer_mut("/selector/matchLabels"), &issue);
    label(spec.pointer_mut("/template/metadata/labels"), &issue);
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("replicas".into(), json!(0));
    }
    let hashes = trim::annotation(set, keys::TEMPLATE_HASHES).unwrap_or_default();
    let mut successor = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "namespace": object.namespace,
            "name": name,
            "labels": labels,
            "annotations": {keys::TEMPLATE_HASHES: hashes, keys::ROLE: Role::retired(attempt).text()},
            "ownerReferences": [manifest::owner_reference(object)],
        },
        "spec": spec,
    });
    manifest::restarted(&mut successor, trim::restarts(set));
    successor
}

fn label(labels: Option<&mut Value>, issue: &Value) {
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.insert(keys::ISSUE.into(), issue.clone());
    }
}

/// The mark, and the object as an owner that does not control.
fn marked(object: &Object, pod: &Value, left: &Left) -> Value {
    let mut metadata = guard(pod);
    metadata.insert("annotations".into(), json!({keys::LEFT: json!(left).to_string()}));
    metadata.insert("ownerReferences".into(), owners(object, pod, false));
    json!({"metadata": metadata})
}

/// The mark, the object as the owner that controls, and the label that takes it out of every Service.
fn owned(object: &Object, pod: &Value, left: &Left) -> Value {
    let mut metadata = guard(pod);
    metadata.insert("annotations".into(), json!({keys::LEFT: json!(left).to_string()}));
    metadata.insert("labels".into(), json!({keys::REVISION: away(&left.revision), keys::SERVING: null}));
    metadata.insert("ownerReferences".into(), owners(object, pod, true));
    json!({"metadata": metadata})
}

pub(super) fn guard(pod: &Value) -> Map<String, Value> {
    let (uid, version) = trim::identity(pod).unwrap_or_default();
    manifest::guarded(&uid, &version)
}

/// The owners of a pod with the object among them. It holds up nobody's deletion.
fn owners(object: &Object, pod: &Value, controller: bool) -> Value {
    let others = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    let mut owners: Vec<Value> = others.filter(|owner| owner.get("uid").and_then(Value::as_str) != Some(&object.uid)).cloned().collect();
    let mut own = manifest::owner_reference(object);
    if let Some(own) = own.as_object_mut() {
        own.insert("controller".into(), json!(controller));
        own.insert("blockOwnerDeletion".into(), json!(false));
    }
    owners.push(own);
    Value::Array(owners)
}

#[cfg(test)]
#[path = "tests/part.rs"]
mod tests;
