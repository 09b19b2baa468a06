//! The public HTTP port.
//!
//! - `GET /` who answers, as JSON.
//! - `GET /stream?seconds=60&every=100ms` one line a time, numbered from 0; the last is `end <count of lines before>`, so
//!   that a client can tell a whole stream from a cut one even without looking at the framing.
//! - `POST|PUT /upload` reads the body to its end, however slowly it comes, and answers its length.
//! - `GET /slow?ms=500` who answers, late.
//! - `GET /bytes?n=8388608` so many bytes, then the server closes, with `Connection: close`.
//! - `GET /api/v1/query?query=3` an answer in the form of Prometheus: the query as the value, or none if it is no number.
//! - `GET /healthz` alive; `GET /readyz` ready.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, Request, State as Shared},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::state::State;

/// No answer takes longer than this, whatever the query asks.
const LONGEST: Duration = Duration::from_secs(3600);
/// No answer of `/bytes` is longer.
const MOST_BYTES: u64 = 256 << 20;
/// The bytes `/bytes` sends, over and over.
static FILLER: [u8; 64 << 10] = [b'x'; 64 << 10];

/// The routes of the public port.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/stream", get(stream_lines))
        .route("/upload", post(upload).put(upload))
        .route("/slow", get(slow))
        .route("/bytes", get(bytes))
        .route("/api/v1/query", get(number))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn_with_state(state.clone(), mark))
        .with_state(state)
}

/// Says in each answer who gave it, and, once told to drain, that the connection ends with it.
async fn mark(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    set(headers, "x-version", &state.identity.version);
    set(headers, "x-pod", &state.identity.pod);
    if state.told().drain > 0 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

async fn home(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    // What an API server adds to a request that it passes on to a pod.
    state.asked(headers.contains_key("x-forwarded-uri"));
    sleep(state.delay()).await;
    if state.told().home {
        return (StatusCode::INTERNAL_SERVER_ERROR, "broken on purpose\n").into_response();
    }
    identity(&state)
}

fn identity(state: &State) -> Response {
    let identity = &state.identity;
    json_line(&json!({"app": identity.app, "version": identity.version, "pod": identity.pod}))
}

pub(crate) fn json_line(value: &serde_json::Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], format!("{value}\n")).into_response()
}

async fn ready(Shared(state): Shared<Arc<State>>) -> (StatusCode, &'static str) {
    if state.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

#[derive(Deserialize)]
struct Pace {
    #[serde(default = "a_minute")]
    seconds: f64,
    #[serde(default = "a_tenth", deserialize_with = "duration")]
    every: Duration,
}

fn a_minute() -> f64 {
    60.0
}

fn a_tenth() -> Duration {
    Duration::from_millis(100)
}

/// `100ms`, `2s` or plain milliseconds.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => match text.strip_suffix('s') {
            Some(number) => (number, 1000),
            None => (text.as_str(), 1),
        },
    };
    number
        .parse::<u64>()
        .map(|number| Duration::from_millis(number.saturating_mul(unit)))
        .map_err(|_| D::Error::custom("write a duration as 100ms, 2s or 100"))
}

async fn stream_lines(Shared(state): Shared<Arc<State>>, Query(Pace { seconds, every }): Query<Pace>) -> Response {
    let length = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST);
    let who = format!("{} {}", state.identity.version, state.identity.pod);
    Body::from_stream(lines(who, length, every.max(Duration::from_millis(1)))).into_response()
}

fn lines(who: String, length: Duration, every: Duration) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let start = Instant::now();
    stream::unfold(Some((0_u32, start)), move |next| {
        let who = who.clone();
        async move {
            let (number, at) = next?;
            let end = start + length;
            sleep_until(at.min(end)).await;
            if at >= end {
                return Some((Ok(Bytes::from(format!("end {number}\n"))), None));
            }
            let line = Bytes::from(format!("{number} {who}\n"));
            Some((Ok(line), Some((number + 1, at + every))))
        }
    })
}

async fn upload(Shared(state): Shared<Arc<State>>, body: Body) -> Result<Response, (StatusCode, &'static str)> {
    let mut pieces = body.into_data_stream();
    let mut count = 0_u64;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| (StatusCode::BAD_REQUEST, "the body was cut\n"))?;
        count += u64::try_from(piece.len()).unwrap_or(u64::MAX);
    }
    let identity = &state.identity;
    Ok(json_line(&json!({"bytes": count, "version": identity.version, "pod": identity.pod})))
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

async fn slow(Shared(state): Shared<Arc<State>>, Query(Slow { ms }): Query<Slow>) -> Response {
    sleep(Duration::from_millis(ms).min(LONGEST)).await;
    identity(&state)
}

#[derive(Deserialize)]
struct Asked {
    query: String,
}

/// What the first word of the query names: a number, or one that it was told by its faults: `home` is 1 while `/` is to fail.
async fn number(Shared(state): Shared<Arc<State>>, Query(Asked { query }): Query<Asked>) -> Response {
    let word = query.split(|letter: char| letter.is_whitespace() || letter == '{').next().unwrap_or_default();
    let value = match word {
        "home" => Some(f64::from(u8::from(state.told().home))),
        // Whoever asks should have put something in their places.
        _ if query.contains("{{") => None,
        number => number.parse().ok(),
    };
    let samples: Vec<_> = value.iter().map(|value: &f64| json!({"metric": {"asked": query}, "value": [0, value.to_string()]})).collect();
    json_line(&json!({"status": "success", "data": {"resultType": "vector", "result": samples}}))
}

#[derive(Deserialize)]
struct Size {
    n: u64,
}

async fn bytes(Query(Size { n }): Query<Size>) -> Result<Response, (StatusCode, &'static str)> {
    if n > MOST_BYTES {
        return Err((StatusCode::BAD_REQUEST, "n is at most 268435456\n"));
    }
    let body = stream::unfold(n, |left| async move {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(FILLER.len());
        let piece = FILLER.get(..size).filter(|piece| !piece.is_empty())?;
        let sent = u64::try_from(piece.len()).unwrap_or(left);
        Some((Ok::<_, io::Error>(Bytes::from_static(piece)), left - sent))
    });
    let headers = [(header::CONTENT_LENGTH, HeaderValue::from(n)), (header::CONNECTION, HeaderValue::from_static("close"))];
    Ok((headers, Body::from_stream(body)).into_response())
}
