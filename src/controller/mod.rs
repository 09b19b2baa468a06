//! The controller: an imperative shell round [`crate::release::plan`].
//!
//! Watches feed the caches ([`world`]), changes wake the [`queue`], and each object is observed, planned and acted on in [`reconcile`].

pub mod api;
pub mod apply;
pub mod args;
pub mod context;
#[cfg(test)]
#[path = "tests/fake.rs"]
mod fake;
pub mod fenced;
pub mod health;
pub mod keeper;
pub mod lease;
pub mod manifest;
pub mod memory;
pub mod observe;
pub mod peers;
pub mod queue;
pub mod reconcile;
pub mod route;
pub mod status;
pub mod store;
pub mod sweep;
pub mod tasks;
pub mod trim;
pub mod watches;
pub mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use args::Args;

use api::KubeApi;
use context::{Clock, Context, Outlets, SystemClock};
use fenced::{Fenced, Leadership};
use lease::{Candidate, Outcome};
use world::World;

/// Objects that are looked at at the same time.
const AT_ONCE: usize = 8;
/// Longest time for the caches to be complete at the start.
const SYNC: Duration = Duration::from_secs(120);
/// Longest time for work under way to come to its end on SIGTERM.
const FAREWELL: Duration = Duration::from_secs(5);

/// Longest time for the last Events to be written after that.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the controller ended.
#[derive(thiserror::Error, Debug)]
pub enum ControllerError {
    /// No kubeconfig, and not inside a cluster.
    #[error("no way to the API server was found: {0}; run inside a cluster, or set KUBECONFIG")]
    Client(#[from] kube::Error),
    /// Credentials could not be read.
    #[error("the kubeconfig could not be used: {0}")]
    Config(String),
    /// The health endpoints could not be served.
    #[error("{address} could not be listened on: {error}; choose another --health-address")]
    Health {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The caches did not become complete.
    #[error("the cluster could not be read completely in {} s; look above for the watch that fails, and at the RBAC rules and CRDs of the chart", SYNC.as_secs())]
    Sync,
    /// The lease was lost: another process leads, or the API server could not be reached.
    #[error("the lease could not be renewed in {} s; ending, so that another process may lead", lease::GIVE_UP.as_secs())]
    LeaseLost,
    /// A part of the controller ended. Without it the others would go on as if nothing were amiss, on caches that nobody feeds.
    #[error("a part of the controller ended, which is a bug; ending, so that a whole process goes on (the panic stands above)")]
    PartEnded,
}

/// Runs the controller until SIGTERM or until it no longer leads.
pub async fn run(args: Args) -> Result<(), ControllerError> {
    let args = args.tidied();
    let health = Arc::new(health::Health::default());
    let (failed, mut failure) = tokio::sync::oneshot::channel();
    let endpoints = tokio::spawn({
        let (health, address) = (health.clone(), args.health_address);
        async move { failed.send(health::serve(address, health).await.err()).ok() }
    });
    let mut stop = std::pin::pin!(crate::signal::stop());
    let client = Client::try_default().await?;
    let outcome = tokio::select! {
        outcome = lead(&args, client, health, &mut stop) => outcome,
        error = &mut failure => match error.ok().flatten() {
            Some(error) => Err(ControllerError::Health { address: args.health_address, error }),
            None => Ok(()),
        },
    };
    endpoints.abort();
    outcome
}

async fn lead(
    args: &Args,
    client: Client,
    health: Arc<health::Health>,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<(), ControllerError> {
    let leadership = Arc::new(Leadership::default());
    let clock = SystemClock::default();
    let started = std::time::Instant::now();
    let raw = KubeApi::new(client.clone(), &args.identity);
    let api = Fenced::new(raw.clone(), leadership.clone(), started);
    let (wake, mut wakes) = unbounded_channel();
    let (want, wishes) = unbounded_channel();
    let (tell, told) = unbounded_channel();
    let nodes = args.watch_namespaces.is_empty() || args.agent.is_some();
    let world = World::new(args.watch_namespaces.clone(), nodes);
    let scopes = world.scopes();
    let context = Arc::new(Context::new(api, Box::new(clock), args.installation(), world, Outlets { wake, wanted: want, events: tell }));
    context.tasks.at_home(context.clone());
    let mut parts = JoinSet::new();
    for watch in watches::all(&scopes, &args.namespace, args.agent.as_deref(), nodes) {
        parts.spawn(watches::feed(context.clone(), client.clone(), watch));
    }
    let synced = async {
        while !context.world().synced() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = &mut *stop => return Ok(()),
        Some(_) = parts.join_next() => return Err(ControllerError::PartEnded),
        synced = tokio::time::timeout(SYNC, synced) => synced.map_err(|_| ControllerError::Sync)?,
    }
    health.ready.store(true, Ordering::Relaxed);
    tracing::info!(objects = context.world().keys().len(), "caches are complete");

    let mut candidate = Candidate::new(&args.namespace, &args.lease, &args.identity);
    tokio::select! {
        () = &mut *stop => return Ok(()),
        Some(_) = parts.join_next() => return Err(ControllerError::PartEnded),
        () = route::discard(&mut wakes, acquire(&raw, &client, args, &mut candidate, &leadership, started)) => {}
    }
    tracing::info!(identity = args.identity, "leads");

    let (look, looks) = unbounded_channel();
    let (orphan, orphans) = unbounded_channel();
    route::begin(&context.world(), &look, &orphan);
    parts.spawn(route::run(wakes, look, orphan));
    parts.spawn(keeper::run(context.clone(), args.namespace.clone(), wishes));
    parts.spawn(sweep::run(context.clone(), orphans));
    let (hush, hushed) = watch::channel(false);
    let mut herald = tokio::spawn(context::herald(context.clone(), told, signalled(hushed)));
    let (end, ended) = watch::channel(false);
    let work = {
        let context = context.clone();
        move |key| {
            let context = context.clone();
            async move { reconcile::reconcile(&context, &key).await }
        }
    };
    let mut queue = tokio::spawn(queue::run(looks, AT_ONCE, work, signalled(ended)));
    let outcome = tokio::select! {
        () = &mut *stop => Ok(()),
        Some(_) = parts.join_next() => Err(ControllerError::PartEnded),
        _ = &mut queue => Err(ControllerError::PartEnded),
        _ = &mut herald => Err(ControllerError::PartEnded),
        () = renew(&raw, &mut candidate, &leadership, started) => Err(ControllerError::LeaseLost),
    };
    end.send(true).ok();
    if outcome.is_ok() {
        tracing::info!("stopping: work under way comes to its end");
        if tokio::time::timeout(FAREWELL, queue).await.is_err() {
            tracing::warn!("work under way did not end in {} s and is cut off; the next leader goes on from there", FAREWELL.as_secs());
        }
        // What has happened is told while this process may still write.
        hush.send(true).ok();
        if tokio::time::timeout(LAST_WORDS, &mut herald).await.is_err() {
            tracing::warn!("the last Events could not be written in {} s and are lost", LAST_WORDS.as_secs());
        }
        leadership.resign();
        if let Err(error) = candidate.release(&raw).await {
            tracing::warn!(%error, "the lease could not be given back; the next leader waits until it ends");
        }
    }
    herald.abort();
    outcome
}

/// Ends when the signal is given, or can't be given any more.
async fn signalled(mut signal: watch::Receiver<bool>) {
    signal.wait_for(|given| *given).await.ok();
}

/// Waits until this process leads. A lease that is given back is seen by its watch event, not by asking again and again.
async fn acquire(api: &KubeApi, client: &Client, args: &Args, candidate: &mut Candidate, leadership: &Leadership, started: std::time::Instant) {
    let leases: kube::Api<kube::api::DynamicObject> =
        kube::Api::namespaced_with(client.clone(), &args.namespace, &api::Resource::Lease.api_resource());
    let config = watcher::Config::default().fields(&format!("metadata.name={}", args.lease));
    let mut changes = std::pin::pin!(watcher(leases, config).default_backoff());
    let mut said = false;
    loop {
        let now = started.elapsed();
        let wait = match candidate.try_lead(api, now, jiff::Timestamp::now()).await {
            Ok(Outcome::Leads) => return leadership.renewed(now),
            Ok(Outcome::Waits(wait)) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!("another process leads; waiting");
                }
                wait.max(Duration::from_millis(50))
            }
            Err(error) => {
                tracing::warn!(%error, "the lease could not be read");
                Duration::from_secs(1)
            }
        };
        // Renewals of the present leader are events, too: they must not make the wait longer than the lease.
        tokio::time::timeout(wait, async {
            while let Some(event) = changes.next().await {
                let free = |lease: &kube::api::DynamicObject| {
                    lease.data.pointer("/spec/holderIdentity").and_then(serde_json::Value::as_str).is_none_or(str::is_empty)
                };
                match event {
                    Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) if free(&lease) => {
                        return;
                    }
                    Ok(watcher::Event::Delete(_)) => return,
                    _ => {}
                }
            }
        })
        .await
        .ok();
    }
}

/// Renews the lease; comes back when that was not possible for too long.
async fn renew(api: &KubeApi, candidate: &mut Candidate, leadership: &Leadership, started: std::time::Instant) {
    let clock = SystemClock::default();
    let mut last = started.elapsed();
    loop {
        tokio::time::sleep(lease::RENEW).await;
        // Counted from before the request: the lease may begin to run from then on.
        let before = started.elapsed();
        match tokio::time::timeout(lease::RENEW, candidate.try_lead(api, before, clock.now().wall)).await {
            Ok(Ok(Outcome::Leads)) => {
                last = before;
                leadership.renewed(before);
            }
            Ok(Ok(Outcome::Waits(_))) => return leadership.resign(),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
            Err(_) => tracing::warn!("the lease could not be renewed: no answer"),
        }
        if started.elapsed().saturating_sub(last) > lease::GIVE_UP {
            return leadership.resign();
        }
    }
}
