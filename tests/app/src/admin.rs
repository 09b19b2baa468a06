//! The admin port: what a platform tells an app.
//!
//! - `POST /drain` the pod is being left: end connections gently, soon. `GET /drain` how often that was said.
//! - `POST /fail?what=home&on=true` turns a [`Fault`] on or off. `GET /fail` shows the switches.
//!
//! Both answer `{"ready":false,"home":true,"slow":false,"grpc":false,"drain":0}`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State as Shared},
    response::Response,
    routing::get,
};
use serde::Deserialize;
use serde_json::json;

use crate::{config::Fault, http::json_line, state::State};

/// The routes of the admin port.
pub fn router(state: Arc<State>) -> Router {
    Router::new().route("/drain", get(show).post(drain)).route("/fail", get(show).post(fail)).with_state(state)
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
