//! One attempt of a smoke probe, against one address.
//!
//! An attempt opens a connection of its own and closes it, as the kubelet's probes do: a pooled connection would keep
//! testing the process it was once opened to. How often to try, how many passes are needed and which pods are asked is
//! decided elsewhere; an attempt knows no Kubernetes object.
//!
//! What is asked comes from a namespace's user and what answers is that user's program, while the attempt runs inside
//! the controller. So time and memory are bounded at every stage, no redirect leads elsewhere, and no byte of an answer
//! reaches [`Failure`], which ends up in a status others may read.

mod expect;
mod failure;
mod grpc;
mod http;
mod json;
mod number;
mod pace;
mod proxied;
mod query;
mod request;
mod series;
mod tcp;
mod tls;
mod webhook;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

pub use expect::{Expect, comparable};
pub use failure::Failure;
pub use json::pointer;
pub use number::{Number, number, written};
pub use pace::{Course, Pace};
pub use proxied::{Proxied, beginning, passable, passed_back, passed_on};
pub use query::{Empty, Endpoint, Query, component};
pub use series::Series;
pub use webhook::{SigningKey, Webhook};

/// The name under which attempts appear in an application's access log.
const USER_AGENT: &str = "bluegreen-probe";

/// Most bytes read of an answer's head, and again of its body or gRPC message.
const MOST_BYTES: usize = 64 * 1024;

/// Longest an attempt may take, whatever timeout is asked for; keeps adding to the clock from overflowing.
const LONGEST: Duration = Duration::from_secs(3600);

/// What one attempt checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Send a request and look at the answer.
    Http(HttpCheck),
    /// Open a connection; accepting it is a pass.
    Tcp,
    /// Call `grpc.health.v1.Health/Check`; SERVING is a pass.
    Grpc {
        /// The service asked about. None, or empty: the server as a whole.
        service: Option<String>,
        /// In TLS, with any certificate, or without as the kubelet does.
        tls: bool,
    },
}

/// A request, and what its answer must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpCheck {
    /// GET or POST.
    pub method: Method,
    /// Plain or in TLS.
    pub scheme: Scheme,
    /// The Host header, and in TLS the server name asked for. Empty: the address. A `Host` among `headers` wins.
    pub host: String,
    /// The path with an optional query. What a URL can't hold as it is (spaces, control characters, other than
    /// ASCII) is percent-encoded; a leading slash is added if there is none.
    pub path: String,
    /// More headers, in order. One named like a default (User-Agent, Accept, Connection, Content-Type) replaces it.
    pub headers: Vec<(String, String)>,
    /// What passes.
    pub expect: Expect,
}

/// What is done to the path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Method {
    /// GET, without a body.
    #[default]
    Get,
    /// POST of this text.
    Post(String),
}

/// How HTTP is carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    #[default]
    Http,
    /// In TLS 1.2 or 1.3, with any certificate (see `tls`).
    Https,
}

/// One attempt on a new connection. Never panics, never takes longer than `timeout`, and reads at most 64 KiB of body.
///
/// The connection is closed when this returns or is dropped.
///
/// # Errors
/// A [`Failure`] that names what was asked, the port, and what came instead.
pub async fn attempt(check: &Check, address: SocketAddr, timeout: Duration) -> Result<(), Failure> {
    let deadline = Deadline::new(timeout);
    match check {
        Check::Http(check) => http::exchange(request::of(check, address)?, check.scheme, address, &check.expect, deadline).await,
        Check::Tcp => {
            let what = format!("TCP connection to port {}", address.port());
            tcp::connect(&what, address, deadline).await.map(drop)
        }
        Check::Grpc { service, tls } => grpc::check(service.as_deref().unwrap_or_default(), *tls, address, deadline).await,
    }
}

/// What is asked of somebody who is no pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// Prometheus.
    Query(Query),
    /// A webhook.
    Webhook(Webhook),
}

impl Question {
    /// Who is asked.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Query(query) => &query.endpoint,
            Self::Webhook(webhook) => &webhook.endpoint,
        }
    }

    /// What it is called in sentences.
    pub fn what(&self) -> String {
        match self {
            Self::Query(query) => query.what(),
            Self::Webhook(webhook) => webhook.what(),
        }
    }
}

/// Asks once, on a new connection; a webhook with a signature, if there is a key.
///
/// # Errors
/// A [`Failure`] as for [`attempt`]; of the answer it holds at most one number.
pub async fn ask(question: &Question, key: Option<&SigningKey>, address: SocketAddr, timeout: Duration) -> Result<(), Failure> {
    match question {
        Question::Query(query) => query::ask(query, address, timeout).await,
        Question::Webhook(webhook) => webhook.ask(key, address, timeout).await,
    }
}

/// Tells an application something once (`drain.begin`): POST with an empty body on a new connection; any 2xx is success.
///
/// Returns as soon as the status is known, so an application may go on answering for as long as it likes.
///
/// # Errors
/// A [`Failure`] as for [`attempt`].
pub async fn post(path: &str, address: SocketAddr, timeout: Duration) -> Result<(), Failure> {
    let request = request::post(path, address)?;
    http::tell(request, address, Deadline::new(timeout)).await
}

/// Whether a probe can send this header, known before any attempt.
///
/// # Errors
/// What is wrong with it, in words that hold at most 100 characters of its name and none of its value.
pub fn sendable(name: &str, value: &str) -> Result<(), String> {
    request::header(name, value).map(drop)
}

/// The end of an attempt: one for all of its stages.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    began: Instant,
    at: Instant,
    /// What was allowed, for the sentence in a [`Failure`].
    allowed: Duration,
}

impl Deadline {
    fn new(allowed: Duration) -> Self {
        let allowed = allowed.min(LONGEST);
        let began = Instant::now();
        Self { began, at: began + allowed, allowed }
    }

    /// How long the attempt has taken so far.
    fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// The future's output, or None when time is up first.
    async fn within<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::time::timeout_at(self.at, future).await.ok()
    }
}
