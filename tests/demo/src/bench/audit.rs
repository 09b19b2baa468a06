//! The API server's audit log: who asked for what, and when it was answered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use demo::failure::{Result, io};
use jiff::Timestamp;
use serde::Deserialize;

/// One answered request, in the form of `audit.k8s.io/v1` Event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `get`, `patch` and so on.
    pub verb: String,
    /// Who asked.
    pub user: User,
    /// What it was about.
    #[serde(default)]
    pub object_ref: Object,
    /// When the API server got it.
    pub request_received_timestamp: Timestamp,
    /// When its answer was complete.
    pub stage_timestamp: Timestamp,
}

/// Who asked.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Such as `system:node:bench-n1`.
    pub username: String,
}

/// What a request was about.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Object {
    /// Such as `pods`.
    #[serde(default)]
    pub resource: String,
    /// Such as `status`.
    #[serde(default)]
    pub subresource: String,
    /// The object's name.
    #[serde(default)]
    pub name: String,
}

/// The log from some point on.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
    from: u64,
}

impl Log {
    /// The log from now on.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn from_now(path: &Path) -> Result<Self> {
        let from = std::fs::metadata(path).map_err(io(format!("reading {}", path.display())))?.len();
        Ok(Self { path: path.into(), from })
    }

    /// All requests answered since.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let doing = || format!("reading {}", self.path.display());
        let mut file = std::fs::File::open(&self.path).map_err(io(doing()))?;
        file.seek(SeekFrom::Start(self.from)).map_err(io(doing()))?;
        let mut requests = vec![];
        for line in BufReader::new(file).lines() {
            // The last line may be half written.
            if let Ok(request) = serde_json::from_str(&line.map_err(io(doing()))?) {
                requests.push(request);
            }
        }
        Ok(requests)
    }
}

/// Requests of a user, by verb and resource, without watches, Leases and Events.
#[must_use]
pub fn counts(requests: &[Request], user: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for request in requests.iter().filter(|request| request.user.username == user && request.verb != "watch") {
        let Object { resource, subresource, .. } = &request.object_ref;
        if matches!(resource.as_str(), "leases" | "events" | "") {
            continue;
        }
        let gap = if subresource.is_empty() { "" } else { "/" };
        *counts.entry(format!("{} {resource}{gap}{subresource}", request.verb)).or_insert(0) += 1;
    }
    counts
}

/// Milliseconds from the moment the kubelets had told of the last pod's readiness until the last patch of the Service was
/// answered. The readiness is told with the last status of each of the pods that arrived before that patch did.
#[must_use]
pub fn ready_to_switched_ms(requests: &[Request], user: &str, service: &str, pods: &[String]) -> Option<f64> {
    let about = |request: &&Request, resource: &str, name: &str| request.object_ref.resource == resource && request.object_ref.name == name;
    let patch = requests.iter().rfind(|request| request.user.username == user && request.verb == "patch" && about(request, "services", service))?;
    let told = |pod: &String| {
        let statuses = requests.iter().filter(|request| {
            request.user.username.starts_with("system:node:") && about(request, "pods", pod) && request.object_ref.subresource == "status"
        });
        statuses.map(|request| request.stage_timestamp).filter(|at| *at <= patch.request_received_timestamp).max()
    };
    let ready = pods.iter().map(told).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    Some(patch.stage_timestamp.duration_since(ready).as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use serde_json::json;

    fn request(user: &str, verb: &str, resource: &str, name: &str, subresource: &str, ms: u32) -> Request {
        let object = json!({"resource": resource, "name": name, "subresource": subresource});
        let at = |ms: u32| format!("2025-01-01T00:00:00.{ms:03}000Z");
        serde_json::from_value(json!({"verb": verb, "user": {"username": user}, "objectRef": object,
            "requestReceivedTimestamp": at(ms), "stageTimestamp": at(ms + 2)}))
        .unwrap()
    }

    #[test]
    fn a_users_requests_are_counted_without_what_is_always_there() {
        let requests = [
            request("me", "patch", "services", "shop", "", 1),
            request("me", "patch", "services", "shop", "", 2),
            request("me", "update", "replicasets", "a", "scale", 3),
            request("me", "watch", "pods", "", "", 4),
            request("me", "update", "leases", "l", "", 5),
            request("me", "create", "events", "", "", 6),
            request("you", "patch", "services", "shop", "", 7),
        ];
        let counts = counts(&requests, "me");
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("patch services".to_owned(), 2), ("update replicasets/scale".to_owned(), 1)]);
    }

    #[test]
    fn the_switch_is_timed_from_the_last_pod_that_got_ready() {
        let node = "system:node:n1";
        let requests = [
            request(node, "patch", "pods", "a", "status", 10),
            request(node, "patch", "pods", "b", "status", 20),
            request("me", "patch", "services", "preview", "", 25),
            request("me", "patch", "services", "shop", "", 30),
            request(node, "patch", "pods", "a", "status", 40),
        ];
        let pods = ["a".to_owned(), "b".to_owned()];
        let time = ready_to_switched_ms(&requests, "me", "shop", &pods).unwrap();
        assert!((time - 10.0).abs() < 0.01, "{time}: from the answer at 22 to the answer at 32");
        assert_eq!(ready_to_switched_ms(&requests, "me", "shop", &["c".to_owned()]), None);
        assert_eq!(ready_to_switched_ms(&requests, "you", "shop", &pods), None);
    }
}
