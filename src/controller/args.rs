//! The controller's command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::probe::Endpoint;
use crate::release::config::Snapshots;

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
    /// Where Prometheus queries of probes may go, such as http://prometheus.monitoring:9090, separated by commas; nowhere if empty.
    #[arg(long, value_delimiter = ',', value_parser = place)]
    pub allow_urls: Vec<Endpoint>,
    /// Below which URLs webhooks of probes may be, such as https://tests.example.com/blue-green, separated by commas; nowhere if empty.
    #[arg(long, value_delimiter = ',', value_parser = Endpoint::parse)]
    pub allow_webhooks: Vec<Endpoint>,
    /// A file with the key, of at least 16 bytes, with which requests to webhooks are signed; without it they are not.
    #[arg(long)]
    pub webhook_key_file: Option<PathBuf>,
    /// Run the commands of probes and of drain.begin in the pods of releases. It needs the right to `pods/exec`.
    #[arg(long)]
    pub allow_exec: bool,
    /// Show the end of the log of a Job that failed in status and Events. It needs the right to `pods/log`.
    #[arg(long)]
    pub job_logs: bool,
    /// Which kinds of configuration are copied for revisions: None, ConfigMaps or ConfigMapsAndSecrets. It needs the rights to them.
    #[arg(long, default_value = "None")]
    pub config_snapshots: Snapshots,
    /// Send probes that ask for it through the API server's proxy. It needs the right to `pods/proxy`.
    #[arg(long)]
    pub allow_proxy: bool,
    /// Where /healthz and /readyz are served.
    #[arg(long, default_value = "[::]:8080")]
    pub health_address: SocketAddr,
}

impl Args {
    /// Without the empty names that a list such as `--watch-namespaces=` or an empty WATCH_NAMESPACES leaves behind: the
    /// empty name means all namespaces to the API server, and none of them to a Role.
    #[must_use]
    pub fn tidied(mut self) -> Self {
        for names in [&mut self.watch_namespaces, &mut self.runtime_classes] {
            *names = names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        }
        self
    }

    /// What of it matters to a release.
    pub fn installation(&self) -> Installation {
        Installation {
            agent: self.agent.is_some(),
            runtime_classes: self.runtime_classes.clone(),
            cluster_wide: self.watch_namespaces.is_empty(),
            allowed_urls: Some(self.allow_urls.clone()),
            allowed_webhooks: Some(self.allow_webhooks.clone()),
            allowed_exec: Some(self.allow_exec),
            job_logs: self.job_logs,
            config_snapshots: Some(self.config_snapshots),
            allowed_proxy: Some(self.allow_proxy),
        }
    }
}

/// A place that queries may go to: all that is below its host and port.
fn place(url: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::parse(url)?;
    if endpoint.base.is_empty() { Ok(endpoint) } else { Err("it has a path; write scheme, host and port only".into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn parse(more: &[&str]) -> Args {
        let line = ["controller", "--identity", "a"].iter().chain(more);
        Program::try_parse_from(line).unwrap().args.tidied()
    }

    #[test]
    fn queries_go_nowhere_but_where_it_was_said() {
        assert_eq!(parse(&[]).installation().allowed_urls, Some(vec![]));
        let allowed = parse(&["--allow-urls=http://prometheus:9090,https://Metrics.example.com"]).installation().allowed_urls.unwrap();
        let may = |url: &str| allowed.iter().any(|allowed| allowed.same_origin(&Endpoint::parse(url).unwrap()));
        assert!(may("http://prometheus:9090/path") && may("https://metrics.example.com:443"));
        assert!(!may("http://prometheus") && !may("https://prometheus:9090") && !may("http://metrics.example.com:443"));
        for wrong in ["--allow-urls=prometheus:9090", "--allow-urls=http://prometheus:9090/api", "--allow-urls=http://"] {
            assert!(Program::try_parse_from(["controller", "--identity", "a", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn configuration_is_copied_only_where_that_was_said() {
        let allowed = |more: &[&str]| parse(more).installation().config_snapshots;
        assert_eq!(allowed(&[]), Some(Snapshots::None));
        assert_eq!(allowed(&["--config-snapshots=ConfigMaps"]), Some(Snapshots::ConfigMaps));
        assert_eq!(allowed(&["--config-snapshots=ConfigMapsAndSecrets"]), Some(Snapshots::ConfigMapsAndSecrets));
        for wrong in ["", "Secrets", "configmaps", "true"] {
            let argument = format!("--config-snapshots={wrong}");
            assert!(Program::try_parse_from(["controller", "--identity", "a", &argument]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_empty_list_of_namespaces_means_all_of_them() {
        let args = parse(&["--watch-namespaces=", "--runtime-classes="]);
        assert_eq!((args.watch_namespaces.len(), args.runtime_classes.len()), (0, 0));
        assert!(args.installation().cluster_wide);
        let args = parse(&["--watch-namespaces=a, b,", "--runtime-classes=runc"]);
        assert_eq!(args.watch_namespaces, ["a", "b"]);
        assert_eq!(args.runtime_classes, ["runc"]);
        assert!(!args.installation().cluster_wide);
    }
}
