//! What anybody who reaches the port learns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::serve::tests::tells_only;

#[tokio::test]
async fn whether_it_lives_and_is_ready_and_nothing_else() {
    let health = Arc::new(Health::default());
    tells_only(routes(health.clone()), &[("/healthz", "ok\n"), ("/readyz", "caches are not complete yet\n")]).await;
    health.ready.store(true, Ordering::Relaxed);
    tells_only(routes(health), &[("/healthz", "ok\n"), ("/readyz", "ok\n"), ("/readyz?verbose", "ok\n")]).await;
}
