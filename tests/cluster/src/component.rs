//! The programs of a node and how each is called.

use std::path::PathBuf;

use crate::dist::Dist;
use crate::layout::{API_PORT, Layout, SERVICES, node_address};

/// A program that runs in a node; on the command line it goes by the program's own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Component {
    /// The store, on node 1.
    Etcd,
    /// The API server, on node 1.
    KubeApiserver,
    /// The controllers, on node 1.
    KubeControllerManager,
    /// The scheduler, on node 1.
    KubeScheduler,
    /// The cluster's DNS server, on node 1.
    Coredns,
    /// The container runtime, on every node.
    Containerd,
    /// The node agent, on every node.
    Kubelet,
    /// The Services' rules, on every node.
    KubeProxy,
}

impl Component {
    /// All, in the order in which they are started.
    pub const ALL: [Self; 8] = [
        Self::Containerd,
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Coredns,
    ];

    /// The program's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Coredns => "coredns",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// Whether it runs on node 1 only.
    #[must_use]
    pub fn on_first_node_only(self) -> bool {
        !matches!(self, Self::Containerd | Self::Kubelet | Self::KubeProxy)
    }

    /// Whether it runs on node `node`.
    #[must_use]
    pub fn runs_on(self, node: usize) -> bool {
        node == 1 || !self.on_first_node_only()
    }

    /// The program and its arguments.
    pub(crate) fn argv(self, layout: &Layout, dist: &Dist, node: usize, audit: bool) -> Vec<String> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let pki = |file: &str| path(layout.pki(file));
        let etc = |file: &str| path(layout.node(node, "etc").join(file));
        let program = match self {
            Self::Containerd => dist.runtime_bin().join(self.name()),
            _ => dist.bin().join(self.name()),
        };
        let mut argv = vec![path(program)];
        argv.extend(match self {
            Self::Etcd => vec![
                format!("--data-dir={}", path(layout.etcd())),
                "--listen-client-urls=http://127.0.0.1:2379".into(),
                "--advertise-client-urls=http://127.0.0.1:2379".into(),
                "--listen-peer-urls=http://127.0.0.1:2380".into(),
                // Only a crash of the whole machine could lose what was not synced, and that ends the cluster anyway.
                "--unsafe-no-fsync".into(),
                "--log-level=warn".into(),
            ],
            Self::KubeApiserver => {
                let mut flags = vec![
                    "--etcd-servers=http://127.0.0.1:2379".into(),
                    "--bind-address=0.0.0.0".into(),
                    format!("--advertise-address={}", node_address(1)),
                    format!("--secure-port={API_PORT}"),
                    format!("--service-cluster-ip-range={SERVICES}"),
                    format!("--client-ca-file={}", pki("ca.crt")),
                    format!("--tls-cert-file={}", pki("apiserver.crt")),
                    format!("--tls-private-key-file={}", pki("apiserver.key")),
                    format!("--service-account-key-file={}", pki("service-accounts.pub")),
                    format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
                    "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
                    format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
                    format!("--kubelet-client-key={}", pki("kubelet-client.key")),
                    "--kubelet-preferred-address-types=InternalIP".into(),
                    "--authorization-mode=Node,RBAC".into(),
                    "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".into(),
                    "--allow-privileged=true".into(),
                    "--v=1".into(),
                ];
                if audit {
                    flags.push(format!("--audit-policy-file={}", path(layout.audit_policy())));
                    flags.push(format!("--audit-log-path={}", path(layout.audit_log())));
                }
                flags
            }
            Self::KubeControllerManager => vec![
                format!("--kubeconfig={}", pki("admin.kubeconfig")),
                format!("--service-account-private-key-file={}", pki("service-accounts.key")),
                format!("--root-ca-file={}", pki("ca.crt")),
                // One identity for all controllers: credentials of their own cost five seconds of the start.
                "--use-service-account-credentials=false".into(),
                "--leader-elect=false".into(),
                "--allocate-node-cidrs=false".into(),
                // A dead node is noticed in seconds, so that tests of it need not take minutes; but not so few that a machine
                // under load, or an API server that is away for a moment, would look like one.
                "--node-monitor-period=1s".into(),
                "--node-monitor-grace-period=20s".into(),
                "--bind-address=127.0.0.1".into(),
                "--v=1".into(),
            ],
            Self::KubeScheduler => vec![
                format!("--kubeconfig={}", pki("kube-scheduler.kubeconfig")),
                "--leader-elect=false".into(),
                "--bind-address=127.0.0.1".into(),
                "--v=1".into(),
            ],
            Self::Coredns => vec!["-conf".into(), etc("Corefile")],
            Self::Containerd => vec!["--config".into(), etc("containerd.toml")],
            Self::Kubelet => vec![
                format!("--config={}", etc("kubelet.json")),
                format!("--kubeconfig={}", pki(&format!("kubelet-{node}.kubeconfig"))),
                format!("--hostname-override={}", layout.node_name(node)),
                format!("--node-ip={}", node_address(node)),
                "--v=2".into(),
            ],
            Self::KubeProxy => vec![format!("--config={}", etc("kube-proxy.json")), "--v=2".into()],
        });
        argv
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use clap::ValueEnum;
    use std::path::Path;

    fn argv(component: Component, node: usize, audit: bool) -> Vec<String> {
        let layout = Layout::under(Path::new("/s"), "demo").unwrap();
        component.argv(&layout, &Dist::at(Path::new("/c"), Path::new("/r")), node, audit)
    }

    #[test]
    fn the_command_line_names_components_as_their_programs_are_named() {
        for component in Component::ALL {
            assert_eq!(component.to_possible_value().unwrap().get_name(), component.name());
        }
        assert_eq!(Component::ALL.len(), Component::value_variants().len());
    }

    #[test]
    fn a_second_node_has_its_own_identity_and_no_control_plane() {
        let kubelet = argv(Component::Kubelet, 2, false);
        assert_eq!(kubelet[0], "/c/bin/kubelet");
        assert!(kubelet.contains(&"--hostname-override=demo-n2".to_string()));
        assert!(kubelet.contains(&"--kubeconfig=/s/demo/pki/kubelet-2.kubeconfig".to_string()));
        assert!(kubelet.contains(&"--node-ip=198.18.0.2".to_string()));
        assert!(Component::Kubelet.runs_on(2) && !Component::Etcd.runs_on(2) && Component::Etcd.runs_on(1));
        assert_eq!(argv(Component::Containerd, 2, false), ["/r/bin/containerd", "--config", "/s/demo/n2/etc/containerd.toml"]);
    }

    #[test]
    fn the_audit_log_is_written_only_when_asked_for() {
        let has = |audit| argv(Component::KubeApiserver, 1, audit).iter().any(|flag| flag.starts_with("--audit"));
        assert!(has(true) && !has(false));
    }
}
