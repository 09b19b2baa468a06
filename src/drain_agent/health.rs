//! `/healthz`: whether the agent's loop still turns. It says nothing about the API server: a restart would not help there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::AgentError;

/// A loop that has not turned for so long hangs, in a read of `/proc` most likely.
const STALLED: Duration = Duration::from_secs(20);

/// When the loop last turned.
#[derive(Clone, Debug)]
pub struct Pulse {
    start: Instant,
    beat: Arc<AtomicU64>,
}

impl Pulse {
    /// Beats now.
    pub fn new(start: Instant) -> Self {
        let pulse = Self { start, beat: Arc::default() };
        pulse.beat();
        pulse
    }

    /// The loop turned.
    pub fn beat(&self) {
        self.beat.store(self.millis(), Ordering::Relaxed);
    }

    fn is_alive(&self, limit: Duration) -> bool {
        u128::from(self.millis().saturating_sub(self.beat.load(Ordering::Relaxed))) <= limit.as_millis()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Answers `/healthz` at `address` until dropped.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(address: SocketAddr, pulse: Pulse) -> Result<Infallible, AgentError> {
    let listener = crate::listen::bind(address).await.map_err(|source| AgentError::Health { address, source })?;
    Ok(crate::serve::serve(listener, routes(pulse, STALLED)).await)
}

fn routes(pulse: Pulse, limit: Duration) -> Router {
    let answer = move || async move {
        if pulse.is_alive(limit) { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "the sampling loop does not turn\n") }
    };
    Router::new().route("/healthz", get(answer))
}

#[cfg(test)]
#[path = "tests/health.rs"]
mod tests;
