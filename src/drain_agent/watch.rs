//! The agent's side of the API: follows the `ConnectionWatch` of its node and writes reports into its status.

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tracing::{info, warn};

use crate::api::{ConnectionWatch, ConnectionWatchSpec, ConnectionWatchStatus};
use crate::pauses::Pauses;

/// Who the reports' fields belong to.
pub const FIELD_MANAGER: &str = "bluegreen-drain-agent";

/// How long one report may take. The client has no time limit of its own and tries some errors again for minutes.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked of this node; none while the object does not exist.
pub type Asked = Option<Task>;

/// The content of the node's `ConnectionWatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// UID of the object: an object made anew is another one.
    pub object: String,
    /// What to count.
    pub spec: ConnectionWatchSpec,
}

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The object is gone, or another one has its name, and the watch will say so.
    #[error("the ConnectionWatch of this node does not exist any more; nothing to do")]
    Gone,
    /// The API server refuses.
    #[error(
        "the API server refuses the report: {0}; check the agent's Role (patch connectionwatches/status) and the \
         ValidatingAdmissionPolicy, which needs tokens that name the node (Kubernetes 1.32 or newer)"
    )]
    Forbidden(String),
    /// No answer in time.
    #[error("the API server did not answer a report within {} s; it is tried again", REPORT_TIMEOUT.as_secs())]
    TimedOut,
    /// Anything else.
    #[error("the report could not be written: {0}; it is tried again")]
    Other(String),
}

/// The `ConnectionWatch` of one node.
#[derive(Clone)]
pub struct NodeWatch {
    api: Api<ConnectionWatch>,
    node: String,
}

impl NodeWatch {
    /// That of `node` in the operator's namespace.
    pub fn new(client: Client, namespace: &str, node: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), node: node.to_owned() }
    }

    /// What is asked, now and with every change. Never ends; while the API server cannot be reached nothing comes, and
    /// what was asked last stays in force.
    pub fn asked(&self) -> impl Stream<Item = Asked> + Send + 'static {
        // The server sends a watch of one name only what concerns that name, whatever the number of nodes.
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.node));
        let mut listed = None;
        let mut trouble: Option<String> = None;
        watcher(self.api.clone(), config).backoff(Pauses::default()).filter_map(move |event| {
            let asked = match event {
                Ok(event) => {
                    if trouble.take().is_some() {
                        info!("the ConnectionWatch can be read again");
                    }
                    changed(event, &mut listed)
                }
                Err(error) => {
                    let error = error.to_string();
                    if trouble.as_ref() != Some(&error) {
                        warn!(%error, "cannot read the ConnectionWatch of this node; it is tried again");
                        trouble = Some(error);
                    }
                    None
                }
            };
            async move { asked }
        })
    }

    /// Writes a report into the object with the UID `object`, and into no other one of its name: an object made anew may ask
    /// for the same pod in a round of the same number, and what was counted for the former one must not answer it.
    ///
    /// # Errors
    /// [`ReportError`]; whether the report has been written is then not known.
    pub async fn report(self, object: String, status: ConnectionWatchStatus) -> Result<(), ReportError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = patch(&object, &status)?;
        match tokio::time::timeout(REPORT_TIMEOUT, self.api.patch_status(&self.node, &params, &patch)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(ReportError::Gone),
            // A test of a JSON patch that fails is answered 422 without details; a report that is refused as such has some.
            Ok(Err(kube::Error::Api(status))) if status.code == 422 && status.details.as_ref().is_none_or(|details| details.causes.is_empty()) => {
                Err(ReportError::Gone)
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(ReportError::Forbidden(status.message)),
            Ok(Err(kube::Error::Api(status))) => Err(ReportError::Other(status.message)),
            Ok(Err(error)) => Err(ReportError::Other(error.to_string())),
            Err(_) => Err(ReportError::TimedOut),
        }
    }
}

/// A JSON patch that tests the UID: a merge patch of the status leaves the metadata out of account.
fn patch(object: &str, status: &ConnectionWatchStatus) -> Result<Patch<()>, ReportError> {
    let steps = serde_json::json!([
        {"op": "test", "path": "/metadata/uid", "value": object},
        {"op": "add", "path": "/status", "value": status},
    ]);
    serde_json::from_value(steps).map(Patch::Json).map_err(|error| ReportError::Other(error.to_string()))
}

/// What an event of the watch changes; `listed` is what the list under way has brought so far.
fn changed(event: watcher::Event<ConnectionWatch>, listed: &mut Option<Task>) -> Option<Asked> {
    match event {
        watcher::Event::Init => {
            *listed = None;
            None
        }
        watcher::Event::InitApply(object) => {
            *listed = Some(Task::of(object));
            None
        }
        watcher::Event::InitDone => Some(listed.take()),
        watcher::Event::Apply(object) => Some(Some(Task::of(object))),
        watcher::Event::Delete(_) => Some(None),
    }
}

impl Task {
    fn of(object: ConnectionWatch) -> Self {
        Self { object: object.uid().unwrap_or_default(), spec: object.spec }
    }
}
