//! `/healthz`, `/readyz` for the kubelet.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

/// What the endpoints tell.
#[derive(Debug, Default)]
pub struct Health {
    /// The caches are complete: this process could take over.
    pub ready: AtomicBool,
}

/// Serves the endpoints until dropped.
///
/// # Errors
/// If the address can't be listened on.
pub async fn serve(address: SocketAddr, health: Arc<Health>) -> std::io::Result<Infallible> {
    let listener = crate::listen::bind(address).await?;
    Ok(crate::serve::serve(listener, routes(health)).await)
}

fn routes(health: Arc<Health>) -> Router {
    let ready = |State(health): State<Arc<Health>>| async move {
        if health.ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "caches are not complete yet\n")
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(health)
}

#[cfg(test)]
#[path = "tests/health.rs"]
mod tests;
