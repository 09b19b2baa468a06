//! `/healthz`, `/readyz` for the kubelet.

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

/// Serves the endpoints until the process ends.
pub async fn serve(address: SocketAddr, health: Arc<Health>) -> std::io::Result<()> {
    let ready = |State(health): State<Arc<Health>>| async move {
        if health.ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "caches are not complete yet\n")
        }
    };
    let router = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(health);
    let listener = crate::listen::bind(address).await?;
    axum::serve(listener, router).await
}
