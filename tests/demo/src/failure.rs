//! What can go wrong.

use std::time::Duration;

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A sentence of its own.
    #[error("{0}")]
    Said(String),
    /// Something did not come in time.
    #[error("not within {} s: {what}; last seen: {seen}", within.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        within: Duration,
        /// What there was instead.
        seen: String,
    },
    /// A program that is not there or not built.
    #[error("{path} is missing: run `make build`")]
    NotBuilt {
        /// Where it was looked for.
        path: String,
    },
    /// A program that ended badly.
    #[error("`{command}` failed: {output}")]
    Command {
        /// Its command line.
        command: String,
        /// What it said.
        output: String,
    },
    /// A request to the API server.
    #[error("the API server: {0}")]
    Kube(#[from] kube::Error),
    /// The kubeconfig.
    #[error("the kubeconfig can't be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The embedded cluster.
    #[error("{0}")]
    Cluster(#[from] cluster::Error),
    /// The load generator.
    #[error("{0}")]
    Load(#[from] load::child::ChildError),
    /// JSON of another form than expected.
    #[error("not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
    /// The system.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The result of everything in this crate.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Names what was being done when the system refused.
pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::Io { doing: doing.into(), source }
}
