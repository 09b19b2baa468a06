//! HTTP for whoever asks how this process is: the kubelet, and anybody else who reaches the port.
//!
//! Nobody has to say who they are, and the process has more to do than to answer. So connections are few, short and alone:
//! when there are too many the oldest one goes, as the kubelet's has always just begun.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// What one server takes on.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at the same time.
    connections: usize,
    /// Longest time for one of them, from its first byte to its last.
    time: Duration,
}

const LIMITS: Limits = Limits { connections: 64, time: Duration::from_secs(5) };
/// Most bytes of a request's head. Probes need a tenth of it.
const HEAD: usize = 8 * 1024;
/// How long accepting rests when there is no descriptor or memory for another connection.
const REST: Duration = Duration::from_millis(100);

/// Answers with `router` until dropped: one request a connection.
pub async fn serve(listener: TcpListener, router: Router) -> Infallible {
    within(LIMITS, listener, router).await
}

async fn within(limits: Limits, listener: TcpListener, router: Router) -> Infallible {
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD);
    // Ends with this future, and every connection with it.
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // That one has gone again before it was its turn.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(error) => {
                tracing::warn!(%error, "no further connection to the health endpoints for a moment");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        oldest.retain(|connection| !connection.is_finished());
        if oldest.len() >= limits.connections
            && let Some(connection) = oldest.pop_front()
        {
            connection.abort();
        }
        let exchange = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        oldest.push_back(connections.spawn(async move {
            // How a stranger's connection ends is nobody's concern.
            let _ = tokio::time::timeout(limits.time, exchange).await;
        }));
    }
}

#[cfg(test)]
#[path = "tests/serve.rs"]
pub(crate) mod tests;
