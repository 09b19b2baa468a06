//! The requests that `adopt` and `eject` have in common.

use std::time::Duration;

use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{ApiResource, Patch};
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{Changed, Cluster};
use crate::failure::{Failure, Result};
use crate::hand::{scaler_patch, scalers};
use crate::terminal::Terminal;

use super::say::TRIES;

/// Pause between two looks.
pub const AGAIN: Duration = Duration::from_millis(200);

/// What `apps/v1` calls it.
pub fn deployments() -> ApiResource {
    ApiResource::erase::<Deployment>(&())
}

/// What waiting has come to.
pub enum Look<T> {
    /// It is there.
    Done(T),
    /// It is not; this was seen.
    NotYet(String),
}

/// Looks again and again.
///
/// # Errors
/// If it is not so before the deadline, with what was seen; or if a look fails.
pub async fn until<T>(what: &str, deadline: Instant, mut look: impl AsyncFnMut() -> Result<Look<T>>) -> Result<T> {
    loop {
        match look().await? {
            Look::Done(found) => return Ok(found),
            Look::NotYet(seen) if Instant::now() >= deadline => {
                return Err(Failure::Late(format!("{what}: not in time; last seen: {seen}. The pods serve on as they did; call it again to go on")));
            }
            Look::NotYet(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Waits until an object is gone and what it owned is nobody's: the garbage collector takes the name of the owner out before it lets it go.
pub async fn gone(cluster: &Cluster, kind: &ApiResource, name: &str, uid: Option<&str>, deadline: Instant) -> Result {
    until(&format!("the end of {} \"{name}\"", kind.kind), deadline, async || {
        let found = cluster.find(kind, name).await?;
        let there = found.is_some_and(|found| trim::text(&found, "/metadata/uid").as_deref() == uid);
        Ok(if there { Look::NotYet("it is still there".into()) } else { Look::Done(()) })
    })
    .await
}

/// Writes what is missing on an object, whoever else changes it; `patch` says what, if anything.
pub async fn write(cluster: &Cluster, kind: &ApiResource, name: &str, patch: impl Fn(&Value) -> Option<Value>) -> Result {
    for _ in 0..TRIES {
        // One that is gone needs nothing.
        let Some(found) = cluster.find(kind, name).await? else { return Ok(()) };
        let Some(patch) = patch(&found) else { return Ok(()) };
        if matches!(cluster.change(kind, name, Patch::Merge(patch)).await?, Changed::Done) {
            return Ok(());
        }
    }
    Err(Failure::Contended(format!("{} {name}", kind.kind)))
}

/// Everything in the namespace of a kind that the operator knows.
pub async fn all(cluster: &Cluster, resource: Resource) -> Result<Vec<Value>> {
    cluster.list(resource, Some(&cluster.namespace), None).await
}

/// Fails where [`scale_by`] would be refused.
pub async fn may_scale(cluster: &Cluster, name: &str, from: (&str, &str), to: (&str, &str)) -> Result {
    let kind = ApiResource::erase::<HorizontalPodAutoscaler>(&());
    let found: Vec<Value> = cluster.list_kind(&kind, Some(&cluster.namespace), None).await?;
    for scaler in scalers(&found, from, name) {
        let owner = found.iter().find(|found| trim::text(found, "/metadata/name").as_ref() == Some(&scaler)).and_then(trim::controller);
        if let Some((kind, owner, _)) = owner {
            let why = format!("HorizontalPodAutoscaler {scaler} belongs to {kind} \"{owner}\", which would point it back at the {}", from.1);
            return Err(Failure::Refused(format!("{why}; let that scale nothing, or something else, first")));
        }
        cluster.dry_change(&kind, &scaler, scaler_patch(to)).await?;
    }
    Ok(())
}

/// Lets the HorizontalPodAutoscalers of one object scale another of its name.
pub async fn scale_by(cluster: &Cluster, terminal: Terminal, name: &str, from: (&str, &str), to: (&str, &str)) -> Result {
    let kind = ApiResource::erase::<HorizontalPodAutoscaler>(&());
    let found: Vec<Value> = cluster.list_kind(&kind, Some(&cluster.namespace), None).await?;
    for scaler in scalers(&found, from, name) {
        write(cluster, &kind, &scaler, |now| (!scalers(std::slice::from_ref(now), from, name).is_empty()).then(|| scaler_patch(to))).await?;
        terminal.say(&format!("HorizontalPodAutoscaler {scaler} scales {} {name} now.", to.1))?;
    }
    Ok(())
}
