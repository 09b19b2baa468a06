//! Where everything is: paths, names and addresses, all functions of the cluster's name and a node's number.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};

/// The directory that holds a directory for each cluster. On disk, not under `/run`: nodes have a `/run` of their own
/// which would hide it from them.
pub(crate) const ROOT: &str = "/var/lib/bluegreen-cluster";

/// What every control group of every cluster begins with.
pub(crate) const CGROUP_PREFIX: &str = "bluegreen-";

/// The most nodes a cluster can have: node, pod and Service networks are laid out for single digits.
pub(crate) const MAX_NODES: usize = 9;

/// The Services' network. 198.18.0.0/15 is set aside for tests of networks (RFC 2544), so a leak could not reach anyone.
pub(crate) const SERVICES: &str = "198.19.0.0/24";
/// The address of the Service `kubernetes`: the first of [`SERVICES`].
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// The address of the Service `kube-dns`.
pub(crate) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 10);
/// All pods' networks together.
pub(crate) const PODS: &str = "198.18.16.0/20";
/// The API server's port on node 1.
pub(crate) const API_PORT: u16 = 6443;

/// The address of node `node` (1 to [`MAX_NODES`]).
pub(crate) fn node_address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, octet(node))
}

/// The network of the pods on node `node`.
pub(crate) fn pod_network(node: usize) -> String {
    format!("198.18.{}.0/24", 15 + octet(node))
}

fn octet(node: usize) -> u8 {
    u8::try_from(node.min(MAX_NODES)).unwrap_or(u8::MAX)
}

/// A cluster's name and the paths that follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    name: String,
    dir: PathBuf,
}

impl Layout {
    /// The paths of the cluster `name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::under(Path::new(ROOT), name)
    }

    pub(crate) fn under(root: &Path, name: &str) -> Result<Self> {
        let letters = name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if name.len() > 20 || !letters || !begins || name.ends_with('-') {
            return Err(Error::Name(name.into()));
        }
        Ok(Self { name: name.into(), dir: root.join(name) })
    }

    /// The layout a helper process finds itself in: its state directory is an argument.
    pub(crate) fn of_dir(dir: &Path) -> Result<Self> {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Self::under(dir.parent().unwrap_or(Path::new("/")), name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Everything the cluster keeps; `down` removes it whole.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What holds the directories of all clusters.
    pub(crate) fn root(&self) -> &Path {
        self.dir.parent().unwrap_or(Path::new("/"))
    }

    /// For the cluster's users: archives and the like, which go with it.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// Beside the directory, so that holding it survives the directory's removal.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.with_extension("lock")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    /// There once a start has come to its end.
    pub(crate) fn started(&self) -> PathBuf {
        self.dir.join("started")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub(crate) fn hub(&self) -> PathBuf {
        self.dir.join("hub.json")
    }

    pub(crate) fn hub_log(&self) -> PathBuf {
        self.logs().join("hub.log")
    }

    pub(crate) fn pki(&self, file: &str) -> PathBuf {
        self.dir.join("pki").join(file)
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.dir.join("etcd")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    pub(crate) fn audit_policy(&self) -> PathBuf {
        self.dir.join("audit-policy.json")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub(crate) fn log(&self, node: usize, program: &str) -> PathBuf {
        self.logs().join(format!("n{node}-{program}.log"))
    }

    /// What belongs to one node.
    pub(crate) fn node(&self, node: usize, file: &str) -> PathBuf {
        self.dir.join(format!("n{node}")).join(file)
    }

    /// Where the first process of a node takes orders. 108 bytes is the limit of such a path: unix(7).
    pub(crate) fn control(&self, node: usize) -> PathBuf {
        self.node(node, "control.sock")
    }

    /// The record of a node's first process, as the host sees it.
    pub(crate) fn init(&self, node: usize) -> PathBuf {
        self.node(node, "init.json")
    }

    /// The node's name in Kubernetes and its host name.
    pub(crate) fn node_name(&self, node: usize) -> String {
        format!("{}-n{node}", self.name)
    }

    pub(crate) fn cgroup(&self, node: usize) -> String {
        format!("{CGROUP_PREFIX}{}-n{node}", self.name)
    }

    pub(crate) fn make_dirs(&self, nodes: usize) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let mut dirs = vec![self.dir.join("pki"), self.logs(), self.scratch()];
        for node in 1..=nodes {
            dirs.extend(NODE_DIRS.iter().map(|dir| self.node(node, dir)));
        }
        // etcd refuses a data directory that others may read.
        dirs.push(self.etcd());
        for dir in &dirs {
            std::fs::create_dir_all(dir).doing(|| format!("making {}", dir.display()))?;
        }
        for private in [self.etcd(), self.dir.join("pki")] {
            std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700))
                .doing(|| format!("closing {} to others", private.display()))?;
        }
        Ok(())
    }
}

/// The directories of a node: configuration, what is mounted over the usual places, and containerd's store.
const NODE_DIRS: [&str; 8] = ["etc", "cni-conf", "cni", "kubelet", "containerd", "pods", "containers", "sysctl"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn names_that_can_be_host_names_are_taken() {
        for name in ["a", "demo", "e2e-1", "a2345678901234567890"] {
            assert!(Layout::new(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "-a", "a-", "A", "a_b", "a/b", "..", "a23456789012345678901"] {
            assert!(matches!(Layout::new(name), Err(Error::Name(_))), "{name}");
        }
    }

    #[test]
    fn the_longest_control_path_fits_a_socket_address() {
        let layout = Layout::new("a2345678901234567890").unwrap();
        assert!(layout.control(MAX_NODES).as_os_str().len() < 108);
    }

    #[test]
    fn a_helper_finds_the_layout_in_its_state_directory() {
        let layout = Layout::under(Path::new("/x/y"), "demo").unwrap();
        assert_eq!(Layout::of_dir(layout.dir()).unwrap(), layout);
        assert_eq!(layout.lock(), Path::new("/x/y/demo.lock"));
    }

    #[test]
    fn addresses_of_nodes_and_pods_do_not_meet() {
        assert_eq!(node_address(2).to_string(), "198.18.0.2");
        assert_eq!(pod_network(1), "198.18.16.0/24");
        assert_eq!(pod_network(MAX_NODES), "198.18.24.0/24");
    }
}
