//! The sweep: a Service whose BlueGreenDeployment is gone is given back, once no pod of its revision is left.
//!
//! There is no finalizer, so a deleted object never hangs; this is what comes after it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::api::keys;
use crate::release::Service;

use super::api::{ApiError, ApiServer, Change, Resource, Which};
use super::context::Context;
use super::manifest;
use super::trim;

/// How soon a Service that still has pods is looked at again. Only the caches are asked until the pods are gone.
const AGAIN: Duration = Duration::from_secs(2);

/// Looks after Services left behind, for as long as the controller runs.
pub async fn run<A: ApiServer>(context: Arc<Context<A>>, mut wakes: UnboundedReceiver<(String, String)>) {
    let mut left: BTreeSet<(String, String)> = BTreeSet::new();
    loop {
        if left.is_empty() {
            match wakes.recv().await {
                Some(name) => left.insert(name),
                None => return,
            };
        } else if let Ok(name) = tokio::time::timeout(AGAIN, wakes.recv()).await {
            match name {
                Some(name) => left.insert(name),
                None => return,
            };
        }
        while let Ok(name) = wakes.try_recv() {
            left.insert(name);
        }
        for name in left.clone() {
            match give_back(&context, &name.0, &name.1).await {
                Ok(true) => {
                    left.remove(&name);
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(namespace = name.0, service = name.1, %error, "a Service left behind could not be given back yet")
                }
            }
        }
    }
}

/// Answers true when nothing is left to do about a Service.
async fn give_back<A: ApiServer>(context: &Context<A>, namespace: &str, name: &str) -> Result<bool, ApiError> {
    let Some((service, waits)) = candidate(context, namespace, name) else {
        return Ok(true);
    };
    if waits {
        return Ok(false);
    }
    // Nothing is concluded from the caches alone: both absences are read live.
    if let Some(owner) = &service.owner {
        let found = context.api.get(Resource::BlueGreenDeployment, namespace, &owner.name).await?;
        if found.is_some_and(|found| trim::text(&found, "/metadata/uid").as_deref() == Some(&owner.uid)) {
            return Ok(false);
        }
    }
    if let Some(revision) = service.selector.get(keys::REVISION).filter(|revision| *revision != keys::REVISION_NONE) {
        let which = Which { labels: Some(format!("{}={revision}", keys::REVISION)), limit: Some(1), ..Which::default() };
        if !context.api.list(Resource::Pod, namespace, which).await?.is_empty() {
            return Ok(false);
        }
    }
    let patch = manifest::release_patch(&service, true);
    match context.api.patch(Resource::Service, namespace, name, false, Change::Merge(patch)).await {
        Ok(written) => {
            context.wrote(Resource::Service, &written);
            tracing::info!(namespace, service = name, "given back: its BlueGreenDeployment is gone");
            Ok(true)
        }
        Err(ApiError::NotFound) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A Service that carries our marks while no living object declares it; and whether its pods are still there.
fn candidate<A: ApiServer>(context: &Context<A>, namespace: &str, name: &str) -> Option<(Service, bool)> {
    let world = context.world();
    let service = world.services(namespace).find(|service| service.name == name)?.clone();
    let marked = service.owner.is_some() || service.selector.contains_key(keys::REVISION);
    let owned = service.owner.as_ref().is_some_and(|owner| world.knows(&owner.uid));
    let declared = world.objects_in(namespace).any(|object| {
        let traffic = &object.spec.traffic;
        traffic.services.iter().chain(&traffic.preview_services).any(|declared| declared == name)
    });
    if !marked || owned || declared || service.deleting {
        return None;
    }
    let waits = service.selector.get(keys::REVISION).is_some_and(|revision| world.has_pods(namespace, revision));
    Some((service, waits))
}
