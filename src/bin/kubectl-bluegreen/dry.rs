//! What the API server makes of a pod template, found out without creating anything.

use std::collections::BTreeMap;

use bluegreen::api::BlueGreenDeployment;
use bluegreen::controller::api::Resource;
use bluegreen::controller::{hooks, manifest};
use bluegreen::release::{Color, Object};
use serde_json::Value;

use crate::cluster::{Cluster, Refusal};

/// Stands for the revision, whose name only the operator gives.
const REVISION: &str = "preview";

/// The ReplicaSet of the template in the spec, as the API server would store it.
///
/// # Errors
/// As the API server says.
pub async fn replica_set(cluster: &Cluster, object: &BlueGreenDeployment) -> Result<Value, Refusal> {
    let body = manifest::replica_set(&seen(object), REVISION, Color::Blue, 0, "", None);
    cluster.dry_create(&Resource::ReplicaSet.api_resource(), &body).await
}

/// What the API server has against the Jobs of hooks, each with the path of its template.
///
/// # Errors
/// If one could not be tried.
pub async fn jobs(cluster: &Cluster, object: &BlueGreenDeployment) -> Result<Vec<String>, Refusal> {
    let mut mistakes = vec![];
    for (path, job) in hooks::asked(&seen(object)) {
        match cluster.dry_create(&Resource::Job.api_resource(), &job).await {
            Err(Refusal::Api(status)) if [400, 422].contains(&status.code) => mistakes.push(hooks::refused(&path, &status.message)),
            answer => drop(answer?),
        }
    }
    Ok(mistakes)
}

/// The object as the operator's own code takes it.
fn seen(object: &BlueGreenDeployment) -> Object {
    let metadata = &object.metadata;
    Object {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
        spec: object.spec.clone(),
        status: object.status.clone().unwrap_or_default(),
        stored_switch: None,
        commands: BTreeMap::new(),
        adopting: false,
        ejecting: false,
    }
}
