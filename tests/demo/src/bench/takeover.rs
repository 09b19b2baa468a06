//! How long nobody leads when the leader is told to end.

use std::time::Duration;

use demo::failure::{Failure, Result};
use demo::install::{RELEASE, SYSTEM};
use demo::place::Place;
use demo::programs::run;
use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(60);

/// What the leader says when it is told to end.
const STOPPING: &str = "stopping:";

/// How long it took until another pod held the Lease.
#[derive(Clone, Copy, Debug)]
pub struct Takeover {
    /// From the answered DELETE of the leader's pod.
    pub deleted: Duration,
    /// From the line of its log that says that it was told to end: without the kubelet's part.
    pub told: Duration,
}

/// Deletes the leader's pod, and waits until another one leads.
///
/// # Errors
/// If nobody takes over, or the Deployment does not get whole before.
pub async fn measure(place: &Place, client: &Client) -> Result<Takeover> {
    let whole = ["--namespace", SYSTEM, "rollout", "status", "--timeout=90s", &format!("deployment/{RELEASE}")];
    run(place.kubectl().args(whole))?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    let config = watcher::Config::default().fields(&format!("metadata.name={RELEASE}"));
    let mut changes = std::pin::pin!(watcher(leases, config).default_backoff().applied_objects());
    let deadline = Instant::now() + WITHIN;
    let late = || Failure::Late { what: "another leader".into(), within: WITHIN, seen: "the Lease as it was".into() };
    let mut deleted: Option<(String, Instant, JoinHandle<Option<Timestamp>>)> = None;
    while let Some(change) = timeout_at(deadline, changes.next()).await.map_err(|_| late())? {
        let Some(holder) = change.ok().and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()) else {
            continue;
        };
        match &mut deleted {
            Some((before, at, stopping)) if *before != holder => {
                let (deleted, now) = (at.elapsed(), Timestamp::now());
                let told = timeout_at(deadline, stopping).await.ok().and_then(|stopping| stopping.ok().flatten());
                let told = told.ok_or_else(|| Failure::Said(format!("the log of {before} does not say \"{STOPPING}\"")))?;
                return Ok(Takeover { deleted, told: Duration::try_from(now.duration_since(told)).unwrap_or_default() });
            }
            Some(_) => {}
            None => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
                let follow = LogParams { follow: true, timestamps: true, ..LogParams::default() };
                let log = pods.log_stream(&holder, &follow).await?;
                let stopping = tokio::spawn(stopped(log));
                // Controllers go by their pods' names.
                pods.delete(&holder, &DeleteParams::default()).await?;
                deleted = Some((holder, Instant::now(), stopping));
            }
        }
    }
    Err(late())
}

/// When a log says that its process was told to end; the kubelet puts the time before each line.
async fn stopped(log: impl AsyncBufRead) -> Option<Timestamp> {
    let mut lines = std::pin::pin!(log.lines());
    while let Some(Ok(line)) = lines.next().await {
        if line.contains(STOPPING) {
            return line.split(' ').next()?.parse().ok();
        }
    }
    None
}
