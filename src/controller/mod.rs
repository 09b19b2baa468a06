//! The controller: an imperative shell round [`crate::release::plan`].
//!
//! Watches feed the caches ([`world`]), changes wake the [`queue`], and each object is observed, planned and acted on in [`reconcile`].

pub mod api;
pub mod apply;
pub mod args;
mod attempt;
mod budget;
pub mod config;
pub mod context;
mod exec;
#[cfg(test)]
#[path = "tests/fake.rs"]
mod fake;
pub mod fenced;
pub mod health;
pub mod hooks;
mod job_log;
pub mod keeper;
pub mod late;
pub mod lease;
pub mod manifest;
pub mod memory;
pub mod observe;
mod part;
pub mod peers;
mod pod_metadata;
pub mod prober;
mod proxy;
pub mod queue;
pub mod reach;
mod readings;
pub mod reconcile;
pub mod route;
pub mod schema;
pub mod status;
pub mod store;
pub mod sweep;
pub mod tasks;
pub mod trim;
mod warm_up;
pub mod watches;
pub mod work;
pub mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

pub use args::Args;

use api::{ApiServer, KubeApi};
use context::{Clock, Context, Outlets, SystemClock};
use fenced::{Fenced, Leadership};
use lease::{Candidate, Outcome};
use prober::Network;
use schema::Needs;
use work::{Inlets, Work};
use world::World;

/// Longest time for the caches to be complete at the start.
const SYNC: Duration = Duration::from_secs(120);
/// Longest time that configuration is waited for besides.
const CONFIG_SYNC: Duration = Duration::from_secs(5);

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
    /// The installed CustomResourceDefinitions would drop what this build has to remember.
    #[error(
        "the installed CustomResourceDefinitions are older than this operator, or not there: they lack {0}; apply those of this version (crds/, or the chart with crds.install=true), or go back to the operator that they belong to"
    )]
    OlderCrds(String),
    /// The CustomResourceDefinitions of this build can't be written: a mistake in the code.
    #[error(transparent)]
    Crds(#[from] crate::api::CrdError),
    /// The lease was lost: another process leads, or the API server could not be reached.
    #[error("the lease could not be renewed in {} s; ending, so that another process may lead", lease::GIVE_UP.as_secs())]
    LeaseLost,
    /// A part of the controller ended. Without it the others would go on as if nothing were amiss, on caches that nobody feeds.
    #[error("a part of the controller ended, which is a bug; ending, so that a whole process goes on (the panic stands above)")]
    PartEnded,
}

/// Runs the controller until SIGTERM or until it no longer leads.
pub async fn run(args: Args) -> Result<(), ControllerError> {
    run_as(args, Needs::of(&crate::api::crds()?)).await
}

/// As [`run`], for a build that needs this of the installed CustomResourceDefinitions.
pub async fn run_as(args: Args, needs: Needs) -> Result<(), ControllerError> {
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
        outcome = lead(&args, client, health, &needs, &mut stop) => outcome,
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
    needs: &Needs,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<(), ControllerError> {
    tokio::select! {
        () = &mut *stop => return Ok(()),
        checked = schema::check(&client, needs, schema::PATIENCE) => checked?,
    }
    let network = Network {
        key_file: args.webhook_key_file.clone(),
        client: args.allow_exec.then(|| client.clone()),
        proxy: if args.allow_proxy { Some(proxy::client().await?) } else { None },
    };
    if let Err(error) = network.signing_key().await {
        // Releases without a webhook go on.
        tracing::warn!("--webhook-key-file: {error}; no webhook is called before that is mended");
    }
    let leadership = Arc::new(Leadership::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let raw = KubeApi::new(client.clone(), &args.identity);
    let api = Fenced::new(raw.clone(), leadership.clone(), clock.clone());
    let (wake, mut wakes) = unbounded_channel();
    let (want, wishes) = unbounded_channel();
    let (tell, told) = unbounded_channel();
    let nodes = args.watch_namespaces.is_empty() || args.agent.is_some();
    let world = World::new(args.watch_namespaces.clone(), nodes).with_configs(args.config_snapshots);
    let scopes = world.scopes();
    let outlets = Outlets { wake, wanted: want, events: tell };
    let context = Arc::new(Context::new(api, clock.clone(), Arc::new(network), args.installation(), world, outlets));
    context.tasks.at_home(context.clone());
    let mut feeds = JoinSet::new();
    for watch in watches::all(&scopes, &args.namespace, args.agent.as_deref(), nodes, args.config_snapshots) {
        feeds.spawn(watches::feed(context.clone(), client.clone(), watch));
    }
    tokio::select! {
        () = &mut *stop => return Ok(()),
        Some(_) = feeds.join_next() => return Err(ControllerError::PartEnded),
        complete = caches(&context) => complete?,
    }
    health.ready.store(true, Ordering::Relaxed);
    tracing::info!(objects = context.world().keys().len(), "caches are complete");

    let mut candidate = Candidate::new(&args.namespace, &args.lease, &args.identity);
    tokio::select! {
        () = &mut *stop => return Ok(()),
        Some(_) = feeds.join_next() => return Err(ControllerError::PartEnded),
        () = route::discard(&mut wakes, acquire(&raw, &client, args, &mut candidate, &leadership, clock.as_ref())) => {}
    }
    tracing::info!(identity = args.identity, "leads");

    let mut work = Work::start(&context, &args.namespace, Inlets { wakes, wishes, told });
    let outcome = tokio::select! {
        () = &mut *stop => Ok(()),
        Some(_) = feeds.join_next() => Err(ControllerError::PartEnded),
        () = work.broken() => Err(ControllerError::PartEnded),
        older = schema::watch(&client, needs, &context.dropped) => Err(older),
        () = candidate.keep(&raw, &leadership, clock.as_ref()) => Err(ControllerError::LeaseLost),
    };
    if outcome.is_ok() {
        tracing::info!("stopping: work under way comes to its end");
        work.finish().await;
        leadership.resign();
        if let Err(error) = candidate.release(&raw).await {
            tracing::warn!(%error, "the lease could not be given back; the next leader waits until it ends");
        }
    }
    outcome
}

/// Waits until what decisions rest on has been read completely. For configuration only a little: everything else goes on without it, but nobody is
/// to be told at each start, for a moment, that it can't be read.
async fn caches<A: ApiServer>(context: &Context<A>) -> Result<(), ControllerError> {
    let until = async |complete: fn(&World) -> bool| {
        while !complete(&context.world()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SYNC, until(World::synced)).await.map_err(|_| ControllerError::Sync)?;
    if tokio::time::timeout(CONFIG_SYNC, until(World::configs_synced)).await.is_err() {
        tracing::warn!("ConfigMaps or Secrets can't be read yet; only releases with spec.configSnapshots wait for them");
    }
    Ok(())
}

/// Waits until this process leads. A lease that is given back is seen by its watch event, not by asking again and again.
async fn acquire(api: &KubeApi, client: &Client, args: &Args, candidate: &mut Candidate, leadership: &Leadership, clock: &dyn Clock) {
    let leases: kube::Api<kube::api::DynamicObject> =
        kube::Api::namespaced_with(client.clone(), &args.namespace, &api::Resource::Lease.api_resource());
    let config = watcher::Config::default().fields(&format!("metadata.name={}", args.lease));
    let mut changes = std::pin::pin!(watcher(leases, config).backoff(crate::pauses::Pauses::default()));
    let mut said = false;
    let mut blind = false;
    loop {
        let now = clock.now();
        let wait = match candidate.try_lead(api, now.mono, now.wall).await {
            Ok(Outcome::Leads) => return leadership.renewed(now.mono),
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
        let mut until = tokio::time::Instant::now() + wait;
        loop {
            match tokio::time::timeout_at(until, changes.next()).await {
                Ok(Some(Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)))) => {
                    let lease = serde_json::to_value(lease).unwrap_or_default();
                    if lease.pointer("/spec/holderIdentity").and_then(serde_json::Value::as_str).is_none_or(str::is_empty) {
                        break;
                    }
                    // Renewed: taken for its whole duration from now on, and not from when it is next looked at.
                    if let Some(taken) = candidate.saw(&lease, clock.now().mono) {
                        until = tokio::time::Instant::now() + taken;
                    }
                }
                Ok(Some(Ok(watcher::Event::Delete(_)))) | Err(_) => break,
                Ok(Some(Err(error))) if !std::mem::replace(&mut blind, true) => {
                    tracing::warn!(%error, "the lease can't be watched; that it is given back is noticed late");
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    tokio::time::sleep_until(until).await;
                    break;
                }
            }
        }
    }
}
