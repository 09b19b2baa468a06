//! The seam to the API server: five verbs over plain JSON. The controller's code knows nothing else of it, so that a
//! simulation can stand in its place.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

use crate::release::action::Notice;
use crate::release::config::ConfigKind;

/// What the operator writes as `fieldManager`.
pub const FIELD_MANAGER: &str = "bluegreen-operator";
/// Longest time for one request. kube's client has no read timeout of its own.
const REQUEST: Duration = Duration::from_secs(10);

/// Most bytes of a log that are read.
pub const LOG: usize = 128 * 1024;

/// Kinds that are read live or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// bluegreen.dev/v1alpha1
    BlueGreenDeployment,
    /// bluegreen.dev/v1alpha1
    ConnectionWatch,
    /// apps/v1
    ReplicaSet,
    /// apps/v1
    DaemonSet,
    /// v1
    Pod,
    /// v1
    Service,
    /// discovery.k8s.io/v1
    EndpointSlice,
    /// v1
    Node,
    /// coordination.k8s.io/v1
    Lease,
    /// events.k8s.io/v1
    Event,
    /// batch/v1
    Job,
    /// v1
    ConfigMap,
    /// v1
    Secret,
    /// policy/v1
    PodDisruptionBudget,
}

impl From<ConfigKind> for Resource {
    fn from(kind: ConfigKind) -> Self {
        match kind {
            ConfigKind::ConfigMap => Self::ConfigMap,
            ConfigKind::Secret => Self::Secret,
        }
    }
}

impl Resource {
    /// Group, version, kind and plural.
    pub fn api_resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::BlueGreenDeployment => ("bluegreen.dev", "v1alpha1", "BlueGreenDeployment", "bluegreendeployments"),
            Self::ConnectionWatch => ("bluegreen.dev", "v1alpha1", "ConnectionWatch", "connectionwatches"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
            Self::Node => ("", "v1", "Node", "nodes"),
            Self::Lease => ("coordination.k8s.io", "v1", "Lease", "leases"),
            Self::Event => ("events.k8s.io", "v1", "Event", "events"),
            Self::Job => ("batch", "v1", "Job", "jobs"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

/// Why a request failed, as far as it matters to what is done next.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The object changed since it was read (409), or is not what the patch tests for (422 on a JSON patch): read and decide again.
    #[error("changed since it was read; it is read and decided again")]
    Conflict,
    /// 409 AlreadyExists.
    #[error("exists already")]
    AlreadyExists,
    /// 404.
    #[error("does not exist")]
    NotFound,
    /// The API server will never take this object: 422, or the forms in which it refuses what it can't decode.
    #[error("{0}")]
    Invalid(String),
    /// 403: a right is missing, a quota is full, or an admission plugin or webhook refuses.
    #[error("{0}")]
    Forbidden(String),
    /// This process does not lead any more; nothing was sent.
    #[error("this process does not lead; nothing was written")]
    NotLeading,
    /// Everything that may go away by itself.
    #[error("{0}; it is tried again")]
    Transient(String),
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// RFC 7386; carries `metadata.resourceVersion` where it must be guarded.
    Merge(Value),
    /// RFC 6902.
    Json(Value),
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// The garbage collector deletes them afterwards.
    Deleted,
    /// The garbage collector takes the object out of their owners, and only then it is gone.
    Kept,
}

/// Restricts a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector.
    pub fields: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// The API server.
pub trait ApiServer: Send + Sync + 'static {
    /// GET; `None` only when the API server answers 404.
    fn get(&self, resource: Resource, namespace: &str, name: &str) -> impl Future<Output = Result<Option<Value>, ApiError>> + Send;
    /// LIST; an empty namespace means all.
    fn list(&self, resource: Resource, namespace: &str, which: Which) -> impl Future<Output = Result<Vec<Value>, ApiError>> + Send;
    /// POST, with strict field validation.
    fn create(&self, resource: Resource, namespace: &str, object: Value, dry_run: bool) -> impl Future<Output = Result<Value, ApiError>> + Send;
    /// PATCH, of the object or of its status.
    fn patch(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        status: bool,
        change: Change,
    ) -> impl Future<Output = Result<Value, ApiError>> + Send;
    /// DELETE, only of this very object at this very version.
    fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        guard: (&str, Option<&str>),
        dependents: Dependents,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// The last lines of the log of a container, and of those at most the first [`LOG`] bytes.
    fn log_end(&self, namespace: &str, pod: &str, container: &str) -> impl Future<Output = Result<String, ApiError>> + Send;
    /// An Event about an object.
    fn publish(&self, about: &Value, notice: &Notice) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// The real one.
#[derive(Clone)]
pub struct KubeApi {
    client: Client,
    instance: String,
}

impl KubeApi {
    /// Talks through `client`; Events name `instance` as their reporter.
    pub fn new(client: Client, instance: &str) -> Self {
        Self { client, instance: instance.into() }
    }

    fn api(&self, resource: Resource, namespace: &str) -> Api<DynamicObject> {
        let kind = resource.api_resource();
        if namespace.is_empty() { Api::all_with(self.client.clone(), &kind) } else { Api::namespaced_with(self.client.clone(), namespace, &kind) }
    }
}

impl ApiServer for KubeApi {
    async fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let found = within(self.api(resource, namespace).get_opt(name)).await?;
        found.map(value).transpose()
    }

    async fn list(&self, resource: Resource, namespace: &str, which: Which) -> Result<Vec<Value>, ApiError> {
        let parameters = ListParams { label_selector: which.labels, field_selector: which.fields, limit: which.limit, ..ListParams::default() };
        let found = within(self.api(resource, namespace).list(&parameters)).await?;
        found.items.into_iter().map(value).collect()
    }

    async fn create(&self, resource: Resource, namespace: &str, object: Value, dry_run: bool) -> Result<Value, ApiError> {
        let invalid = |error: String| ApiError::Invalid(error);
        let parameters = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
        let body = serde_json::to_vec(&object).map_err(|error| invalid(error.to_string()))?;
        let place = (!namespace.is_empty()).then_some(namespace);
        let url = <DynamicObject as kube::Resource>::url_path(&resource.api_resource(), place);
        let mut request = kube::core::Request::new(url).create(&parameters, body).map_err(|error| invalid(error.to_string()))?;
        // kube's PostParams don't know it: without it a misspelt field of a template would be dropped silently.
        let strict = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() = strict.parse().map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
        within(self.client.request::<Value>(request)).await
    }

    async fn patch(&self, resource: Resource, namespace: &str, name: &str, status: bool, change: Change) -> Result<Value, ApiError> {
        let api = self.api(resource, namespace);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let json = matches!(change, Change::Json(_));
        let patch = match change {
            Change::Merge(body) => Patch::Merge(body),
            Change::Json(body) => Patch::Json(serde_json::from_value(body).map_err(|error| ApiError::Invalid(error.to_string()))?),
        };
        let answer =
            if status { within(api.patch_status(name, &parameters, &patch)).await } else { within(api.patch(name, &parameters, &patch)).await };
        match answer {
            // A JSON patch whose test fails answers 422 without details: it is not what we saw.
            Err(ApiError::Invalid(_)) if json => Err(ApiError::Conflict),
            answer => value(answer?),
        }
    }

    async fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        (uid, version): (&str, Option<&str>),
        dependents: Dependents,
    ) -> Result<(), ApiError> {
        let preconditions = Preconditions { uid: Some(uid.into()), resource_version: version.map(str::to_owned) };
        let way = match dependents {
            Dependents::Deleted => DeleteParams::background(),
            Dependents::Kept => DeleteParams::orphan(),
        };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..way };
        match within(self.api(resource, namespace).delete(name, &parameters)).await {
            Ok(_) | Err(ApiError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn log_end(&self, namespace: &str, pod: &str, container: &str) -> Result<String, ApiError> {
        let parameters =
            LogParams { container: Some(container.into()), tail_lines: Some(5), limit_bytes: i64::try_from(LOG).ok(), ..LogParams::default() };
        within(Api::<Pod>::namespaced(self.client.clone(), namespace).logs(pod, &parameters)).await
    }

    async fn publish(&self, about: &Value, notice: &Notice) -> Result<(), ApiError> {
        let text = |path: &str| about.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let namespace = text("/metadata/namespace");
        let now = jiff::Timestamp::now();
        // Written by hand: kube's Recorder takes Events of one reason for repetitions of each other, and shows the first one's message for ever.
        let event = serde_json::json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{}.{:x}", text("/metadata/name"), now.as_nanosecond())},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            "reportingController": format!("bluegreen.dev/{FIELD_MANAGER}"),
            "reportingInstance": self.instance,
            "type": if notice.warning { "Warning" } else { "Normal" },
            "reason": notice.reason,
            "action": notice.reason,
            "note": note(&notice.message),
            "regarding": {
                "apiVersion": text("/apiVersion"),
                "kind": text("/kind"),
                "namespace": namespace,
                "name": text("/metadata/name"),
                "uid": text("/metadata/uid"),
            },
        });
        self.create(Resource::Event, namespace, event, false).await.map(drop)
    }
}

/// A message that fits into an Event: at most 1024 bytes (`NoteLengthLimit` of the API server, whatever it says about characters).
fn note(message: &str) -> &str {
    let mut end = message.len().min(1024);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default()
}

fn value(object: DynamicObject) -> Result<Value, ApiError> {
    serde_json::to_value(object).map_err(|error| ApiError::Transient(format!("an answer could not be read: {error}")))
}

async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(ApiError::Transient(format!("the API server did not answer in {} s", REQUEST.as_secs()))),
    }
}

fn classify(error: &kube::Error) -> ApiError {
    let kube::Error::Api(status) = error else {
        return ApiError::Transient(error.to_string());
    };
    from_status(status.code, &status.reason, &status.message)
}

/// What an answer of the API server means for us.
pub fn from_status(code: u16, reason: &str, message: &str) -> ApiError {
    // It answers 500 without a reason to what it can't decode; retrying that would go on for ever.
    let undecodable =
        ["failed to create typed patch object", "failed to convert new object", "strict decoding error"].iter().any(|text| message.contains(text));
    match code {
        404 => ApiError::NotFound,
        409 if reason == "AlreadyExists" => ApiError::AlreadyExists,
        409 => ApiError::Conflict,
        403 => ApiError::Forbidden(message.to_owned()),
        400 | 422 => ApiError::Invalid(message.to_owned()),
        _ if undecodable => ApiError::Invalid(message.to_owned()),
        _ => ApiError::Transient(if message.is_empty() { format!("the API server answered {code}") } else { message.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_note_fits_into_an_event_in_any_script() {
        assert_eq!(note("short"), "short");
        for letter in ["x", "\u{f6}", "\u{4e16}", "\u{1f535}"] {
            let long = letter.repeat(2000);
            let note = note(&long);
            assert!(note.len() <= 1024 && note.len() > 1020 && long.starts_with(note), "{letter}: {}", note.len());
        }
    }
}
