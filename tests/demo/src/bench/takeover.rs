//! How long nobody leads when the leader is told to end.

use std::time::Duration;

use demo::failure::{Failure, Result};
use demo::install::{RELEASE, SYSTEM};
use demo::place::Place;
use demo::programs::run;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, timeout_at};

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Deletes the leader's pod and returns the time from that request's answer until another pod held the Lease.
///
/// # Errors
/// If nobody takes over, or the Deployment does not get whole before.
pub async fn measure(place: &Place, client: &Client) -> Result<Duration> {
    let whole = ["--namespace", SYSTEM, "rollout", "status", "--timeout=90s", &format!("deployment/{RELEASE}")];
    run(place.kubectl().args(whole))?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    let config = watcher::Config::default().fields(&format!("metadata.name={RELEASE}"));
    let mut changes = std::pin::pin!(watcher(leases, config).default_backoff().applied_objects());
    let deadline = Instant::now() + WITHIN;
    let late = || Failure::Late { what: "another leader".into(), within: WITHIN, seen: "the Lease as it was".into() };
    let mut deleted: Option<(String, Instant)> = None;
    while let Some(change) = timeout_at(deadline, changes.next()).await.map_err(|_| late())? {
        let Some(holder) = change.ok().and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()) else {
            continue;
        };
        match &deleted {
            Some((before, at)) if *before != holder => return Ok(at.elapsed()),
            Some(_) => {}
            None => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
                // Controllers go by their pods' names.
                pods.delete(&holder, &DeleteParams::default()).await?;
                deleted = Some((holder, Instant::now()));
            }
        }
    }
    Err(late())
}
