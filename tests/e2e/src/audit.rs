//! The API server's audit log: who asked for what.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;
use simulation::fidelity;

use crate::failure::{Failure, Result, io};
use crate::world::{RELEASE, SYSTEM, World};

/// A request, as the log has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    request_received_timestamp: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    subresource: String,
}

/// The log from a moment on.
pub struct Audit {
    path: PathBuf,
    from: u64,
}

impl Audit {
    /// From now on.
    pub fn now(world: &World) -> Result<Self> {
        let path = world.cluster.audit_log().ok_or_else(|| Failure::Claim("the cluster writes no audit log".into()))?;
        let from = std::fs::metadata(&path).map_err(io("looking at the audit log"))?.len();
        Ok(Self { path, from })
    }

    /// From the beginning.
    pub fn all(world: &World) -> Result<Self> {
        Ok(Self { from: 0, ..Self::now(world)? })
    }

    /// What the controller has asked for in a namespace since: `patch services/shop`.
    pub fn controller(&self, namespace: &str) -> Result<Vec<String>> {
        let asked = self.requests()?.into_iter().filter_map(|request| {
            let ObjectRef { resource, namespace: place, name, subresource } = request.object_ref.unwrap_or_default();
            (place == namespace).then(|| format!("{} {resource}/{name} {subresource}", request.verb).trim_end().to_owned())
        });
        Ok(asked.collect())
    }

    /// What one pod of the controller has written since, with success.
    pub fn writes_of(&self, pod: &str) -> Result<Vec<String>> {
        let wrote = self.requests()?.into_iter().filter(|request| {
            let name = request.user.extra.get("authentication.kubernetes.io/pod-name").and_then(|names| names.first());
            let code = request.response_status.clone().unwrap_or_default().code;
            name.is_some_and(|name| name == pod) && !["get", "list", "watch"].contains(&request.verb.as_str()) && code < 400
        });
        Ok(wrote
            .map(|request| format!("{} {:?} at {}", request.verb, request.object_ref.unwrap_or_default(), request.request_received_timestamp))
            .collect())
    }

    /// Kinds of the controller's requests with their answers, as far as those are compared with the simulation's.
    pub fn answers(&self) -> Result<BTreeSet<fidelity::Kind>> {
        let kinds = self.requests()?.into_iter().filter_map(|request| {
            let code = request.response_status.unwrap_or_default().code;
            // What is about no object, as the schemas are, is not in the store.
            let ObjectRef { resource, subresource, .. } = request.object_ref?;
            // A pod's log, and what it answers itself, is not the API server's.
            let pods = matches!(subresource.as_str(), "log" | "proxy");
            let compared = fidelity::COMPARED.contains(&code) && request.verb != "watch" && !resource.is_empty() && resource != "events" && !pods;
            compared.then(|| fidelity::kind(&request.verb, &resource, &subresource, code))
        });
        Ok(kinds.collect())
    }

    /// The controller's requests that were answered.
    fn requests(&self) -> Result<Vec<Request>> {
        let mut file = std::fs::File::open(&self.path).map_err(io("opening the audit log"))?;
        file.seek(SeekFrom::Start(self.from)).map_err(io("reading the audit log"))?;
        let controller = format!("system:serviceaccount:{SYSTEM}:{RELEASE}");
        let mut asked = vec![];
        for line in BufReader::new(file).lines().map_while(std::result::Result::ok) {
            // A line may just be being written.
            let Ok(request) = serde_json::from_str::<Request>(&line) else { continue };
            if request.stage == "ResponseComplete" && request.user.username == controller {
                asked.push(request);
            }
        }
        Ok(asked)
    }
}
