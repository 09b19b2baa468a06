//! The one error type of this crate.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// What went wrong, and where there is something to do about it, what.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are what the messages name them
pub enum Error {
    /// Something this machine lacks; the sentence names the command that brings it.
    #[error("{0}")]
    Requirement(String),
    /// A cluster's name that can't become part of a path, a host name and a control group.
    #[error("{0:?} can't name a cluster: use 1 to 20 lower-case letters, digits and dashes, beginning with a letter and not ending with a dash")]
    Name(String),
    /// A number of nodes outside 1 to 9.
    #[error("a cluster has 1 to 9 nodes, not {0}")]
    Nodes(usize),
    /// A node the cluster does not have.
    #[error("cluster {cluster} has the nodes 1 to {nodes}, not {node}")]
    NoSuchNode { cluster: String, node: usize, nodes: usize },
    /// There is no such cluster.
    #[error("there is no cluster {0}: start it with `cluster up --name {0}`")]
    NoSuchCluster(String),
    /// A cluster of that name runs with other options.
    #[error("cluster {name} already runs with {running}: use it so, or end it first with `cluster down --name {name}`")]
    OtherOptions { name: String, running: String },
    /// A cluster of that name runs other programs, or with other settings, than it would be started with now.
    #[error("cluster {0} was started by another version: end it with `cluster down --name {0}`, and it can be started anew")]
    OtherVersion(String),
    /// A component that does not run on that node.
    #[error("{component} does not run on node {node}: the control plane and CoreDNS run on node 1 only")]
    NotThere { component: &'static str, node: usize },
    /// A system call or file operation.
    #[error("{doing}: {source}")]
    Io {
        doing: String,
        #[source]
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {output}")]
    Command { command: String, status: ExitStatus, output: String },
    /// A build failed.
    #[error("building {what} failed; the last lines of its output:\n{output}")]
    Build { what: String, output: String },
    /// Something did not come in time.
    #[error("{what} did not come within {} s; the logs are in {}", .after.as_secs(), .logs.display())]
    Timeout { what: String, after: Duration, logs: PathBuf },
    /// A node's first process refused or could not be asked.
    #[error("node {node}: {message}")]
    Node { node: usize, message: String },
    /// A node or the hub did not start.
    #[error("{what} did not start: {message}")]
    Start { what: String, message: String },
    /// The API server refused a request of `up`.
    #[error("the API server answered {status} to {request}: {message}")]
    Api { request: String, status: u16, message: String },
    /// No answer from the API server.
    #[error("no answer from the API server: {0}")]
    NoAnswer(String),
    /// Certificates could not be made.
    #[error("making certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// A state file this version of the crate can't read.
    #[error("{} is not a state file of this version ({source}): clear it with `cluster down --all`", .path.display())]
    State {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// Something is left of clusters that should be gone.
    #[error("{0} things are left of clusters: clear them with `cluster down --name NAME`, or `cluster down --all`")]
    Left(usize),
    /// The self-check found something that is not as it must be.
    #[error("self-check: {0}")]
    Check(String),
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what was being done when an operation of the system failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: what(), source })
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::Io { doing: what(), source: errno.into() })
    }
}
