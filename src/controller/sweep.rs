//! The sweep: a Service whose BlueGreenDeployment is gone is given back, once no pod of its revision is left.
//!
//! There is no finalizer, so a deleted object never hangs; this is what comes after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::api::keys;
use crate::release::Service;

use super::api::{ApiError, ApiServer, Change, Resource, Which};
use super::context::Context;
use super::manifest;
use super::trim;

/// How soon a Service that still has pods is looked at again. Only the caches are asked until the pods are gone.
const AGAIN: Duration = Duration::from_secs(2);
/// Longest pause before the API server is asked again what it has just denied; the pause doubles from [`AGAIN`] on.
const LONGEST: Duration = Duration::from_secs(64);
/// How often the caches are asked at all.
const TICK: Duration = Duration::from_secs(2);

/// A Service left behind.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// When it is looked at again.
    due: Instant,
    /// The pause after that, if the API server has to be asked in vain.
    pause: Duration,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nothing is left to do.
    Done,
    /// By the caches it still has pods.
    HasPods,
    /// The API server was asked, and says that it must wait.
    Waits,
}

/// Looks after Services left behind, for as long as the controller runs.
pub async fn run<A: ApiServer>(context: Arc<Context<A>>, mut wakes: UnboundedReceiver<(String, String)>) {
    let mut left: BTreeMap<(String, String), Left> = BTreeMap::new();
    loop {
        let woken = if left.is_empty() { wakes.recv().await } else { tokio::time::timeout(TICK, wakes.recv()).await.unwrap_or(None) };
        if woken.is_none() && wakes.is_closed() {
            return;
        }
        let mut names: Vec<(String, String)> = woken.into_iter().collect();
        while let Ok(name) = wakes.try_recv() {
            names.push(name);
        }
        let now = Instant::now();
        for name in names {
            // Somebody has changed it: a pause is no reason to wait then.
            left.insert(name, Left { due: now, pause: AGAIN });
        }
        let due: Vec<_> = left.iter().filter(|(_, entry)| entry.due <= now).map(|(name, entry)| (name.clone(), *entry)).collect();
        for (name, entry) in due {
            let look = give_back(&context, &name.0, &name.1).await.unwrap_or_else(|error| {
                tracing::warn!(namespace = name.0, service = name.1, %error, "a Service left behind could not be given back yet");
                Look::Waits
            });
            match look {
                Look::Done => left.remove(&name),
                Look::HasPods => left.insert(name, Left { due: now + AGAIN, pause: AGAIN }),
                Look::Waits => left.insert(name, Left { due: now + entry.pause, pause: (entry.pause * 2).min(LONGEST) }),
            };
        }
    }
}

/// Gives a Service back, if that is due.
async fn give_back<A: ApiServer>(context: &Context<A>, namespace: &str, name: &str) -> Result<Look, ApiError> {
    let Some((service, waits)) = candidate(context, namespace, name) else {
        return Ok(Look::Done);
    };
    if waits {
        return Ok(Look::HasPods);
    }
    // Nothing is concluded from the caches alone: both absences are read live.
    if let Some(owner) = &service.owner {
        let found = context.api.get(Resource::BlueGreenDeployment, namespace, &owner.name).await?;
        if found.is_some_and(|found| trim::text(&found, "/metadata/uid").as_deref() == Some(&owner.uid)) {
            return Ok(Look::Waits);
        }
    }
    // Pods that come from now on lack the label of the move: the revision alone keeps them in.
    if let (true, Some(selected)) = (service.selector.contains_key(keys::SERVING), &service.selected) {
        let written =
            context.api.patch(Resource::Service, namespace, name, false, Change::Merge(manifest::narrow_patch(&service, &selected.revision))).await?;
        context.wrote(Resource::Service, &written);
        return Ok(Look::Waits);
    }
    let selected = [keys::REVISION, keys::SERVING].into_iter().filter_map(|key| Some((key, service.selector.get(key)?)));
    for (key, value) in selected.filter(|(_, value)| *value != keys::REVISION_NONE) {
        let which = Which { labels: Some(format!("{key}={value}")), limit: Some(1), ..Which::default() };
        if !context.api.list(Resource::Pod, namespace, which).await?.is_empty() {
            return Ok(Look::Waits);
        }
    }
    let patch = manifest::release_patch(&service, true);
    match context.api.patch(Resource::Service, namespace, name, false, Change::Merge(patch)).await {
        Ok(written) => {
            context.wrote(Resource::Service, &written);
            tracing::info!(namespace, service = name, "given back: its BlueGreenDeployment is gone");
            Ok(Look::Done)
        }
        Err(ApiError::NotFound) => Ok(Look::Done),
        Err(error) => Err(error),
    }
}

/// A Service that carries an owner's mark while no living object declares it; and whether its pods are still there. Who only selects a
/// revision, without that mark, was never ours, or was given back.
fn candidate<A: ApiServer>(context: &Context<A>, namespace: &str, name: &str) -> Option<(Service, bool)> {
    let world = context.world();
    let service = world.services(namespace).find(|service| service.name == name)?.clone();
    let owned = world.knows(&service.owner.as_ref()?.uid);
    let declared = world.objects_in(namespace).any(|object| {
        let traffic = &object.spec.traffic;
        traffic.services.iter().chain(&traffic.preview_services).any(|declared| declared == name)
    });
    if owned || declared || service.deleting {
        return None;
    }
    let waits = service.selector.get(keys::REVISION).is_some_and(|revision| world.has_pods(namespace, revision));
    Some((service, waits))
}

#[cfg(test)]
#[path = "tests/sweep.rs"]
mod tests;
