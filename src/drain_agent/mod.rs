//! The drain agent: counts, on its own node, the TCP connections of the pods that are being left, and reports the raw
//! counts in the status of the node's [`crate::api::ConnectionWatch`]. It judges nothing: the controller does.
//!
//! It needs `hostPID: true` and no privilege besides: a uid nobody else uses, no capabilities, a read-only root. It counts
//! only while something is asked of it.
//!
//! - [`table`] and [`proc`] read one network namespace, [`pods`] finds those of a pod, [`sampler`] does both in time.
//! - [`count`] folds samples into counters, with [`connection`] and [`ports`]; [`report`] decides when they are worth
//!   writing. These are pure.
//! - [`watch`] talks to the API server, [`agent`] is the loop, [`health`] says whether it turns.

mod agent;
mod connection;
pub mod count;
mod health;
mod pods;
mod ports;
pub mod proc;
pub mod report;
mod sampler;
pub mod table;
mod watch;

#[cfg(test)]
#[path = "tests/fixture.rs"]
mod fixture;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kube::Client;
use tracing::info;

/// Where `/proc` is on every Linux.
const PROC: &str = "/proc";

/// Command line of `bluegreen drain-agent`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the node this agent runs on
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// The operator's namespace, where the ConnectionWatch of the node is
    #[arg(long, env = "NAMESPACE")]
    pub namespace: String,
    /// Where the host's processes are seen
    #[arg(long, default_value = PROC)]
    pub proc: PathBuf,
    /// Where /healthz is answered
    #[arg(long, default_value = "[::]:8081")]
    pub health_address: SocketAddr,
}

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Neither a ServiceAccount nor a kubeconfig.
    #[error("cannot find out how to reach the API server: {0}; run in a pod with a ServiceAccount token, or set KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    /// No client could be made.
    #[error("cannot make a client for the API server: {0}; check its certificate authority and the token")]
    Client(#[from] kube::Error),
    /// Processes cannot be listed.
    #[error("cannot list processes in {path}: {source}; the agent needs Linux and a readable proc file system")]
    Proc {
        /// Where.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Only the agent's own processes are visible.
    #[error("the agent sees only its own container; run its pod with hostPID: true")]
    NoHostPid,
    /// `/healthz` cannot be served.
    #[error("cannot answer health checks on {address}: {source}; choose another --health-address")]
    Health {
        /// Where.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
}

/// Counts and reports until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start; once it runs, whatever goes wrong is logged and tried again.
pub async fn run(args: Args) -> Result<(), AgentError> {
    let Args { node_name, namespace, proc: path, health_address } = args;
    // Process 1 is the host's unless this container has its own process numbers.
    if path == Path::new(PROC) && std::process::id() == 1 {
        return Err(AgentError::NoHostPid);
    }
    let proc = proc::Proc::new(&path);
    proc.pids().map_err(|source| AgentError::Proc { path, source })?;
    let client = Client::try_from(kube::Config::infer().await?)?;
    let start = Instant::now();
    let pulse = health::Pulse::new(start);
    let node = watch::NodeWatch::new(client, &namespace, &node_name);
    info!(node = node_name, namespace, "counting connections of pods that are being left");
    // Nothing has to be ended in order: a report that is cut off is as good as none, and the next agent starts anew.
    tokio::select! {
        () = agent::Agent::new(node, proc, pulse.clone(), start).run() => Ok(()),
        result = health::serve(health_address, pulse) => result.map(|never| match never {}),
        () = crate::signal::stop() => Ok(()),
    }
}
