//! What the API server adds to a ReplicaSet, and what it refuses: only as far as the operator depends on it.
//!
//! Added: `restartPolicy`, each container's `imagePullPolicy` and each port's `protocol`. They let two raw templates mean the same.
//! Refused: members that a pod template or a container does not have, and a container without an image.

use bluegreen::controller::api::ApiError;
use serde_json::{Value, json};

use crate::json::{items, text};

const POD: [&str; 6] = ["containers", "restartPolicy", "nodeName", "terminationGracePeriodSeconds", "runtimeClassName", "hostNetwork"];
const CONTAINER: [&str; 7] = ["name", "image", "imagePullPolicy", "ports", "readinessProbe", "env", "args"];

/// Decodes strictly and validates.
pub fn check(set: &Value) -> Result<(), ApiError> {
    let spec = set.pointer("/spec/template/spec").and_then(Value::as_object);
    for (path, known, found) in spec.map(|spec| ("spec.template.spec".to_owned(), POD.as_slice(), spec)).into_iter().chain(
        items(set, "/spec/template/spec/containers")
            .enumerate()
            .filter_map(|(index, container)| Some((format!("spec.template.spec.containers[{index}]"), CONTAINER.as_slice(), container.as_object()?))),
    ) {
        if let Some(unknown) = found.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(ApiError::Invalid(format!("strict decoding error: unknown field \"{path}.{unknown}\"")));
        }
    }
    for (index, container) in items(set, "/spec/template/spec/containers").enumerate() {
        if text(container, "/image").is_empty() {
            let name = crate::json::name(set);
            return Err(ApiError::Invalid(format!(
                "ReplicaSet.apps \"{name}\" is invalid: spec.template.spec.containers[{index}].image: Required value"
            )));
        }
    }
    Ok(())
}

/// Decodes and validates a Job: only as far as the operator's own writes can be wrong.
pub fn check_job(job: &Value) -> Result<(), ApiError> {
    let known = ["template", "backoffLimit", "activeDeadlineSeconds", "parallelism", "completions"];
    let spec = job.get("spec").and_then(Value::as_object);
    if let Some(unknown) = spec.and_then(|spec| spec.keys().find(|key| !known.contains(&key.as_str()))) {
        return Err(ApiError::Invalid(format!("strict decoding error: unknown field \"spec.{unknown}\"")));
    }
    if items(job, "/spec/template/spec/containers").next().is_none() {
        return Err(ApiError::Invalid(format!("Job.batch \"{}\" is invalid: spec.template.spec.containers: Required value", crate::json::name(job))));
    }
    Ok(())
}

/// Fills in defaults.
pub fn fill(set: &mut Value) {
    let Some(spec) = set.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) else { return };
    spec.entry("restartPolicy").or_insert_with(|| json!("Always"));
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(container) = container.as_object_mut() else { continue };
        container.entry("imagePullPolicy").or_insert_with(|| json!("IfNotPresent"));
        for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.entry("protocol").or_insert_with(|| json!("TCP"));
            }
        }
    }
}
