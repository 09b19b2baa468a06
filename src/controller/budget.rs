//! The PodDisruptionBudget of the pods that serve: as it is read, and its writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use serde_json::{Map, Value, json};

use crate::api::keys;
use crate::release::Object;
use crate::release::budget::{Budget, Wanted};

use super::api::{ApiError, ApiServer, Change, Dependents, Resource};
use super::context::Context;
use super::manifest::{guarded, owner_reference};
use super::trim;

/// What of a PodDisruptionBudget is used.
pub fn trimmed(object: &Value) -> Option<Budget> {
    let (uid, resource_version) = trim::identity(object)?;
    let spec = object.pointer("/spec").cloned().unwrap_or_default();
    let selector = spec.get("selector").filter(|selector| !selector.is_null());
    Some(Budget {
        name: trim::text(object, "/metadata/name")?,
        uid,
        resource_version,
        owner: trim::controller(object).map(|(.., uid)| uid),
        made_for: trim::label(object, keys::NAME).map(str::to_owned),
        selector: selector.and_then(selector_of),
        rules: serde_json::from_value(spec).ok(),
        deleting: trim::time(object, "/metadata/deletionTimestamp"),
    })
}

/// A selector. The API server takes one that it can't read for one that matches nothing.
fn selector_of(written: &Value) -> Option<Selector> {
    serde_json::from_value::<LabelSelector>(written.clone()).ok()?.try_into().ok()
}

/// Makes the budget, or changes it at the version that was read.
pub async fn write<A: ApiServer>(context: &Context<A>, object: &Object, found: Option<&Budget>, wanted: &Wanted) -> Result<(), ApiError> {
    let kind = Resource::PodDisruptionBudget;
    let answer = match found {
        None => context.api.create(kind, &object.namespace, manifest(object, wanted), false).await,
        Some(found) => context.api.patch(kind, &object.namespace, &found.name, false, Change::Merge(patch(object, found, wanted))).await,
    };
    let written = match answer {
        // Of one that came meanwhile the watch tells.
        Err(ApiError::AlreadyExists) => return Err(ApiError::Conflict),
        // An admission webhook that does not answer is told of as one that refuses: it may be so for long.
        Err(ApiError::Transient(message)) if message.contains("failed calling webhook") => return Err(ApiError::Forbidden(message)),
        answer => answer?,
    };
    context.wrote(kind, &written);
    match trimmed(&written).is_some_and(|written| wanted.is(object, &written)) {
        true => Ok(()),
        // It would be written again and again.
        false => Err(ApiError::Invalid("an admission webhook makes another one of it".into())),
    }
}

/// Deletes a budget of this object.
pub async fn delete<A: ApiServer>(context: &Context<A>, object: &Object, budget: &Budget) -> Result<(), ApiError> {
    // Its status changes its version all the time; what it is deleted for is its owner, whom nobody changes.
    context.api.delete(Resource::PodDisruptionBudget, &object.namespace, &budget.name, (&budget.uid, None), Dependents::Deleted).await?;
    context.forgot(Resource::PodDisruptionBudget, &budget.uid);
    Ok(())
}

fn manifest(object: &Object, wanted: &Wanted) -> Value {
    let mut spec = Map::new();
    spec.extend(fields(wanted).into_iter().filter(|(_, value)| !value.is_null()));
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "namespace": object.namespace,
            "name": object.name,
            "labels": {keys::NAME: object.name},
            "ownerReferences": [owner_reference(object)],
        },
        "spec": spec,
    })
}

/// A merge patch merges maps, so what must go is named; the guard makes sure that this is all.
fn patch(object: &Object, found: &Budget, wanted: &Wanted) -> Value {
    let mut metadata = guarded(&found.uid, &found.resource_version);
    metadata.insert("ownerReferences".into(), json!([owner_reference(object)]));
    metadata.insert("labels".into(), json!({keys::NAME: object.name}));
    let mut spec = fields(wanted);
    let before = found.selector.clone().map(LabelSelector::from).unwrap_or_default();
    let LabelSelector { match_labels, match_expressions } = wanted.selector.clone().into();
    let mut labels = Map::new();
    labels.extend(before.match_labels.into_iter().flatten().map(|(key, _)| (key, Value::Null)));
    labels.extend(match_labels.into_iter().flatten().map(|(key, value)| (key, json!(value))));
    spec.insert("selector".into(), json!({"matchLabels": labels, "matchExpressions": match_expressions}));
    json!({"metadata": metadata, "spec": spec})
}

/// Each field of the spec; null where it is to be absent.
fn fields(wanted: &Wanted) -> Map<String, Value> {
    let Wanted { selector, rules } = wanted;
    Map::from_iter([
        ("selector".to_owned(), json!(LabelSelector::from(selector.clone()))),
        ("minAvailable".to_owned(), json!(rules.min_available)),
        ("maxUnavailable".to_owned(), json!(rules.max_unavailable)),
        ("unhealthyPodEvictionPolicy".to_owned(), json!(rules.unhealthy_pod_eviction_policy)),
    ])
}

#[cfg(test)]
#[path = "tests/budget.rs"]
mod tests;
