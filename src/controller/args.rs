//! The controller's command line.

use std::net::SocketAddr;

use super::observe::Installation;

/// Reconciles BlueGreenDeployments.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Namespace of the operator: its lease and its ConnectionWatches live there.
    #[arg(long, env = "NAMESPACE", default_value = "bluegreen-system")]
    pub namespace: String,
    /// Who this process is among the candidates for the lease: the name of its pod.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
    /// Name of the lease.
    #[arg(long, default_value = "bluegreen-operator")]
    pub lease: String,
    /// Only these namespaces, separated by commas; all of them if empty.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Name of the drain agent's DaemonSet; without it old pods are drained by the timer.
    #[arg(long)]
    pub agent: Option<String>,
    /// Values of runtimeClassName behind which the agent sees a pod's sockets; pods without one always count.
    #[arg(long, value_delimiter = ',')]
    pub runtime_classes: Vec<String>,
    /// Where /healthz and /readyz are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub health_address: SocketAddr,
}

impl Args {
    /// What of it matters to a release.
    pub fn installation(&self) -> Installation {
        Installation { agent: self.agent.is_some(), runtime_classes: self.runtime_classes.clone(), cluster_wide: self.watch_namespaces.is_empty() }
    }
}
