//! The admin port: what a platform tells an app.
//!
//! - `POST /drain` the pod is being left: end connections gently, soon. `GET /drain` how often that was said.
//! - `POST /sessions?open=3` it has so many sessions from now on. `GET /metrics` shows the number as `app_sessions`, in the Prometheus text format,
//!   and how often `/` was asked for as `app_requests_total`, and how often by
//!   an API server as `app_requests_passed_on_total`.
//! - `POST /fail?what=home&on=true` turns a [`Fault`] on or off. `GET /fail` shows the switches.
//! - `POST /judge` is a webhook, for those who sign with the key; `POST /verdict?status=202` says what it answers. `GET /judge` shows what it was last asked.
//!
//! `POST` and `GET` of the others answer `{"ready":false,"home":true,"slow":false,"grpc":false,"drain":0,"sessions":0}`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State as Shared},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;

use crate::{config::Fault, http::json_line, state::State};

/// The routes of the admin port.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/drain", get(show).post(drain))
        .route("/fail", get(show).post(fail))
        .route("/sessions", post(sessions))
        .route("/metrics", get(metrics))
        .route("/judge", get(judged).post(judge))
        .route("/verdict", post(verdict))
        .with_state(state)
}

async fn show(Shared(state): Shared<Arc<State>>) -> Response {
    json_line(&json!(state.told()))
}

async fn drain(Shared(state): Shared<Arc<State>>) -> Response {
    state.drain();
    json_line(&json!(state.told()))
}

#[derive(Deserialize)]
struct Switch {
    what: Fault,
    on: bool,
}

async fn fail(Shared(state): Shared<Arc<State>>, Query(Switch { what, on }): Query<Switch>) -> Response {
    state.fail(what, on);
    json_line(&json!(state.told()))
}

#[derive(Deserialize)]
struct Sessions {
    open: u64,
}

async fn sessions(Shared(state): Shared<Arc<State>>, Query(Sessions { open }): Query<Sessions>) -> Response {
    state.has(open);
    json_line(&json!(state.told()))
}

#[derive(Deserialize)]
struct Verdict {
    status: u16,
}

async fn verdict(Shared(state): Shared<Arc<State>>, Query(Verdict { status }): Query<Verdict>) -> Response {
    state.judges().verdict = status;
    json_line(&json!(state.told()))
}

/// What it was last asked to judge.
async fn judged(Shared(state): Shared<Arc<State>>) -> String {
    state.judges().last.clone()
}

/// A webhook: answers as it was told to, and to those who know the key only.
async fn judge(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if !state.signed(&format!("{}.{body}", header("bluegreen-timestamp")), &header("bluegreen-signature")) {
        return StatusCode::UNAUTHORIZED;
    }
    let mut judges = state.judges();
    judges.last = body;
    StatusCode::from_u16(judges.verdict).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> String {
    let (version, sessions) = (&state.identity.version, state.told().sessions);
    let sessions = format!("# HELP app_sessions Open sessions.\n# TYPE app_sessions gauge\napp_sessions{{version=\"{version}\"}} {sessions}\n");
    let (asked, passed_on) = state.requests();
    format!(
        "{sessions}# HELP app_requests_total Requests for /.\n# TYPE app_requests_total counter\napp_requests_total {asked}\napp_requests_passed_on_total {passed_on}\n"
    )
}
