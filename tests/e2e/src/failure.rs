//! Why a case failed.

use std::time::Duration;

/// Why a case failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something is not as it must be.
    #[error("{0}")]
    Claim(String),
    /// Something did not come in time.
    #[error("not within {within:?}: {what}; last seen: {seen}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        within: Duration,
        /// What there was instead.
        seen: String,
    },
    /// The case as a whole took too long.
    #[error("the case was not over after {0:?}")]
    Deadline(Duration),
    /// A request to the API server.
    #[error("the API server: {}", api(.0))]
    Kube(#[from] kube::Error),
    /// The kubeconfig.
    #[error("the kubeconfig can't be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The cluster.
    #[error("the cluster: {0}")]
    Cluster(#[from] cluster::Error),
    /// The load generator.
    #[error("the load: {0}")]
    Load(#[from] load::child::ChildError),
    /// A program that ended badly.
    #[error("`{command}` failed: {output}")]
    Command {
        /// Its command line.
        command: String,
        /// What it said.
        output: String,
    },
    /// The system.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that is no JSON of the expected form.
    #[error("not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
}

/// The result of everything in this crate.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The message of the API server alone: kube prints it twice.
fn api(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.message),
        other => other.to_string(),
    }
}

/// Names what was being done when the system refused.
pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::Io { doing: doing.into(), source }
}

/// Ends a case when something is not as it must be.
#[macro_export]
macro_rules! claim {
    ($holds:expr, $($message:tt)+) => {
        let holds: bool = $holds;
        if !holds {
            return Err($crate::failure::Failure::Claim(format!($($message)+)));
        }
    };
}
