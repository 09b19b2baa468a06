//! Writes on a pod what it bears because of its role, and takes off what it bore because of another.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::{RoleMetadata, keys};
use crate::release::action::PodRef;
use crate::release::metadata::{PodRole, Record};
use crate::release::{Object, revision};

use super::api::{ApiError, ApiServer};
use super::context::Context;
use super::part;
use super::trim;

/// Reads the pod live, as its version changes with every word of its kubelet, and writes it at that version.
pub async fn set<A: ApiServer>(context: &Context<A>, object: &Object, pod: &PodRef, role: PodRole, wanted: &RoleMetadata) -> Result<(), ApiError> {
    match part::alive(context, object, pod).await? {
        Some(live) => part::write(context, object, pod, patch(&live, role, wanted)).await,
        None => Ok(()),
    }
}

fn patch(live: &Value, role: PodRole, wanted: &RoleMetadata) -> Value {
    let had = trim::metadata(live);
    let none = vec![];
    let (had_labels, had_annotations) = had.as_ref().map_or((&none, &none), |record| (&record.labels, &record.annotations));
    let (labels, added) = change(&trim::strings(live, "/metadata/labels"), had_labels, &wanted.labels);
    let (mut annotations, noted) = change(&trim::strings(live, "/metadata/annotations"), had_annotations, &wanted.annotations);
    let record = Record { role, hash: revision::metadata_hash(wanted), labels: added, annotations: noted };
    let bare = *wanted == RoleMetadata::default();
    annotations.insert(keys::METADATA.into(), if bare { Value::Null } else { json!(json!(record).to_string()) });
    let mut metadata = part::guard(live);
    metadata.insert("labels".into(), Value::Object(labels));
    metadata.insert("annotations".into(), Value::Object(annotations));
    json!({"metadata": metadata})
}

/// What is to change, and what is ours then. A key that the pod has from elsewhere stays as it is.
fn change(has: &BTreeMap<String, String>, had: &[String], wanted: &BTreeMap<String, String>) -> (Map<String, Value>, Vec<String>) {
    let mut change: Map<String, Value> = had.iter().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Value::Null)).collect();
    let mut ours = vec![];
    for (key, value) in wanted.iter().filter(|(key, _)| had.contains(key) || !has.contains_key(*key)) {
        change.insert(key.clone(), json!(value));
        ours.push(key.clone());
    }
    (change, ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(labels: &Value, annotations: &Value) -> Value {
        json!({"metadata": {"uid": "u", "resourceVersion": "7", "labels": labels, "annotations": annotations}})
    }

    fn metadata(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> RoleMetadata {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        RoleMetadata { labels: map(labels), annotations: map(annotations) }
    }

    /// As the API server carries it out.
    fn patched(mut pod: Value, patch: &Value) -> Value {
        for of in ["labels", "annotations"] {
            let has = pod["metadata"][of].as_object_mut().unwrap();
            for (key, value) in patch["metadata"][of].as_object().unwrap() {
                if value.is_null() { drop(has.remove(key)) } else { drop(has.insert(key.clone(), value.clone())) }
            }
        }
        pod
    }

    #[test]
    fn what_a_role_brought_goes_with_it_and_nothing_else() {
        let first = pod(&json!({"app": "shop", "tier": "own"}), &json!({"safe": "true"}));
        let wanted = metadata(&[("role", "active"), ("tier", "other")], &[("safe", "false"), ("note", "x")]);
        let active = patched(first.clone(), &patch(&first, PodRole::Active, &wanted));
        // What the template says stays.
        assert_eq!(active["metadata"]["labels"], json!({"app": "shop", "tier": "own", "role": "active"}));
        assert_eq!((&active["metadata"]["annotations"]["safe"], &active["metadata"]["annotations"]["note"]), (&json!("true"), &json!("x")));
        assert_eq!(trim::metadata(&active).unwrap().labels, ["role"]);
        let left = metadata(&[("role", "draining")], &[]);
        let draining = patched(active.clone(), &patch(&active, PodRole::Draining, &left));
        assert_eq!(draining["metadata"]["labels"], json!({"app": "shop", "tier": "own", "role": "draining"}));
        assert!(draining["metadata"]["annotations"].get("note").is_none());
        let bare = patched(draining.clone(), &patch(&draining, PodRole::Active, &RoleMetadata::default()));
        assert_eq!(bare, first);
    }

    #[test]
    fn a_pod_is_written_as_it_was_read() {
        let patch = patch(&pod(&json!({}), &json!({})), PodRole::Active, &metadata(&[], &[]));
        assert_eq!((&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]), (&json!("u"), &json!("7")));
    }
}
