//! A real Kubernetes of one to nine nodes on one Linux machine, without a container engine and without a registry.
//!
//! Kubernetes, etcd, CoreDNS, containerd, runc, kubectl and Helm are built from Go modules once and kept. A node is a set
//! of namespaces: its network, mounts, processes, host name, IPC and control groups are its own, so nodes behave as
//! machines do and can be cut off or killed. The cluster's networks have no way out; only the API server is reachable from the
//! host, at a port of 127.0.0.1 that a plain kubeconfig names.
//!
//! ```no_run
//! use cluster::{Cluster, Component, Options, progress::Console};
//! # fn main() -> cluster::Result<()> {
//! let options = Options { name: "demo".into(), nodes: 2, audit: false };
//! let (cluster, _) = Cluster::up(&options, &mut Console::default())?;
//! cluster.load_image("shop.tar".as_ref())?;
//! cluster.kubectl().args(["get", "nodes"]).status().ok();
//! cluster.stop(Component::Kubelet, 2, cluster::Signal::SIGKILL)?;
//! cluster.down()
//! # }
//! ```
//!
//! The same as a program: `cluster --help`. The library starts that program for what must outlive its user, so it must
//! be built too (`cargo build --release -p cluster`). Everything needs root. State is in
//! `/var/lib/bluegreen-cluster/NAME`, built programs are in `.cache/cluster` or `$BLUEGREEN_CACHE`.
//! Nodes mount theirs over `/var/lib/{kubelet,cni}` and `/var/log/{pods,containers}`; which of these were not there before
//! goes with the last cluster.
//! On hosts with control groups of version 2 alone it should work but was not tried; version 1 and mixed ones were.

mod api;
mod cgroup;
mod cluster;
mod component;
mod config;
mod dist;
mod down;
mod error;
mod faults;
mod gobuild;
pub mod helper;
mod hub;
pub mod image;
mod layout;
mod leftovers;
mod network;
mod node;
mod pki;
mod places;
mod process;
pub mod progress;
mod requirements;
mod selfcheck;
mod up;

pub use crate::cluster::{Cluster, Found, Options, State, down, names};
pub use component::Component;
pub use error::{Error, Result};
pub use hub::run as run_hub;
pub use leftovers::leftovers;
pub use nix::sys::signal::Signal;
pub use node::control::Program;
pub use node::{become_program, enter, init, keep};
pub use selfcheck::{answer, run as selfcheck};

/// Builds every program a cluster is made of that is not built yet.
///
/// # Errors
/// When Go or a package is missing (the message names the command that installs it) or a build fails.
pub fn build(progress: &mut dyn progress::Progress) -> Result<()> {
    dist::build(progress).map(|_| ())
}

/// The directory with kubectl and helm, built if need be.
///
/// # Errors
/// As [`build`].
pub fn tools_dir(progress: &mut dyn progress::Progress) -> Result<std::path::PathBuf> {
    dist::build(progress).map(|dist| dist.tools())
}
