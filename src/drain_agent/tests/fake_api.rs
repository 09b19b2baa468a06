//! As much of an API server as one `ConnectionWatch` needs: list, watch, and JSON patch of its status.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::api::{ConnectionWatchSpec, ConnectionWatchStatus};

pub const NODE: &str = "node-1";
pub const NAMESPACE: &str = "operator";

/// A patch that arrived: when, and what it said.
#[derive(Clone, Debug)]
pub struct Report {
    pub at: std::time::Instant,
    pub status: ConnectionWatchStatus,
}

#[derive(Clone)]
pub struct FakeApi {
    content: Arc<Mutex<Content>>,
    events: broadcast::Sender<Value>,
}

#[derive(Default)]
struct Content {
    object: Option<Value>,
    version: u64,
    reports: Vec<Report>,
    /// Requests that were not as they should be.
    faults: Vec<String>,
    /// What reports are answered with, if not with success.
    refuse: Option<StatusCode>,
    refused: Vec<Report>,
    /// Answer no report at all.
    hang: bool,
}

type Parameters = Query<Vec<(String, String)>>;

impl FakeApi {
    /// Starts on a free port of this machine.
    pub async fn start() -> (Self, kube::Client) {
        let api = Self { content: Arc::default(), events: broadcast::channel(1000).0 };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let base = format!("/apis/bluegreen.dev/v1alpha1/namespaces/{NAMESPACE}/connectionwatches");
        let routes =
            Router::new().route(&base, get(Self::list)).route(&format!("{base}/{{name}}/status"), patch(Self::patch)).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let mut config = kube::Config::new(url.parse().unwrap());
        config.default_retry = false;
        (api, kube::Client::try_from(config).unwrap())
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// Creates or changes the object.
    pub fn ask(&self, uid: &str, spec: &ConnectionWatchSpec) {
        let mut content = self.content();
        content.version += 1;
        let object = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "ConnectionWatch", "spec": spec,
            "metadata": {"name": NODE, "namespace": NAMESPACE, "uid": uid, "resourceVersion": content.version.to_string()},
        });
        content.object = Some(object.clone());
        let _ = self.events.send(json!({"type": "MODIFIED", "object": object}));
    }

    pub fn delete(&self) {
        let object = self.content().object.take().unwrap();
        let _ = self.events.send(json!({"type": "DELETED", "object": object}));
    }

    pub fn refuse(&self, with: Option<StatusCode>) {
        self.content().refuse = with;
    }

    pub fn hang(&self, hang: bool) {
        self.content().hang = hang;
    }

    pub fn reports(&self) -> Vec<Report> {
        let content = self.content();
        assert_eq!(content.faults, Vec::<String>::new());
        content.reports.clone()
    }

    pub fn refused(&self) -> Vec<Report> {
        self.content().refused.clone()
    }

    async fn list(State(api): State<Self>, Query(parameters): Parameters) -> Response {
        let has = |key: &str, value: &str| parameters.iter().any(|(name, is)| name == key && is == value);
        if !has("fieldSelector", &format!("metadata.name={NODE}")) {
            api.content().faults.push(format!("all objects are read: {parameters:?}"));
        }
        if has("watch", "true") || has("watch", "1") {
            let events = api.events.subscribe();
            // What happened between the list and now.
            let first = api.content().object.clone().map(|object| json!({"type": "MODIFIED", "object": object}));
            let body = stream::unfold((first, events), |(first, mut events)| async move {
                let event = match first {
                    Some(event) => event,
                    None => events.recv().await.ok()?,
                };
                Some((Ok::<_, Infallible>(format!("{event}\n")), (None, events)))
            });
            return ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response();
        }
        let content = api.content();
        let list = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "ConnectionWatchList",
            "metadata": {"resourceVersion": content.version.to_string()},
            "items": content.object.iter().collect::<Vec<_>>(),
        });
        axum::response::IntoResponse::into_response(([(header::CONTENT_TYPE, "application/json")], list.to_string()))
    }

    async fn patch(State(api): State<Self>, Path(name): Path<String>, Query(parameters): Parameters, request: Request) -> Response {
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        if api.content().hang {
            std::future::pending::<()>().await;
        }
        let mut patch: Value = serde_json::from_slice(&body).unwrap();
        let status = patch[1]["value"].take();
        let report = Report { at: std::time::Instant::now(), status: serde_json::from_value(status.clone()).unwrap() };
        let mut content = api.content();
        let manager = parameters.iter().any(|(key, value)| key == "fieldManager" && value == "bluegreen-drain-agent");
        let uid = patch[0]["value"].clone();
        let steps = json!([{"op": "test", "path": "/metadata/uid", "value": uid}, {"op": "add", "path": "/status", "value": null}]);
        if name != NODE || kind.as_deref() != Some("application/json-patch+json") || !manager || patch != steps {
            content.faults.push(format!("{name} {kind:?} {parameters:?} {patch}"));
        }
        let another = content.object.as_ref().is_some_and(|object| object["metadata"]["uid"] != uid);
        let missing = content.object.is_none().then_some(StatusCode::NOT_FOUND);
        let refuse = content.refuse.or(missing).or(another.then_some(StatusCode::UNPROCESSABLE_ENTITY));
        if let Some(code) = refuse {
            content.refused.push(report);
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": "Forbidden", "message": "refused"});
            return (code, body.to_string()).into_response();
        }
        content.reports.push(report);
        content.version += 1;
        let version = content.version.to_string();
        let object = content.object.as_mut().unwrap();
        object["status"] = status;
        object["metadata"]["resourceVersion"] = version.into();
        let object = object.clone();
        let _ = api.events.send(json!({"type": "MODIFIED", "object": object}));
        ([(header::CONTENT_TYPE, "application/json")], object.to_string()).into_response()
    }
}
