//! No write without the lease: a process that was paused, or cut off, stops writing by its own clock before another one may begin.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::release::action::Notice;

use super::api::{ApiError, ApiServer, Change, Dependents, Resource, Which};
use super::context::Clock;
use super::lease;

/// Until when this process leads, by its own monotonic clock.
#[derive(Debug, Default)]
pub struct Leadership {
    until_millis: AtomicU64,
}

impl Leadership {
    /// The lease was renewed by a request sent at `at`.
    pub fn renewed(&self, at: Duration) {
        let until = at + lease::GIVE_UP;
        self.until_millis.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// It leads no more.
    pub fn resign(&self) {
        self.until_millis.store(0, Ordering::SeqCst);
    }

    /// Whether it leads at `now`.
    pub fn holds(&self, now: Duration) -> bool {
        now.as_millis() < u128::from(self.until_millis.load(Ordering::SeqCst))
    }
}

/// An API server that takes writes from the leader only.
pub struct Fenced<A> {
    inner: A,
    leadership: Arc<Leadership>,
    clock: Arc<dyn Clock>,
}

impl<A> Fenced<A> {
    /// Passes everything on to `inner` while `leadership` holds by the monotonic side of `clock`.
    pub fn new(inner: A, leadership: Arc<Leadership>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, leadership, clock }
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.leadership.holds(self.clock.now().mono) { Ok(()) } else { Err(ApiError::NotLeading) }
    }
}

impl<A: ApiServer> ApiServer for Fenced<A> {
    async fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        self.inner.get(resource, namespace, name).await
    }

    async fn list(&self, resource: Resource, namespace: &str, which: Which) -> Result<Vec<Value>, ApiError> {
        self.inner.list(resource, namespace, which).await
    }

    async fn create(&self, resource: Resource, namespace: &str, object: Value, dry_run: bool) -> Result<Value, ApiError> {
        self.check()?;
        self.inner.create(resource, namespace, object, dry_run).await
    }

    async fn patch(&self, resource: Resource, namespace: &str, name: &str, status: bool, change: Change) -> Result<Value, ApiError> {
        self.check()?;
        self.inner.patch(resource, namespace, name, status, change).await
    }

    async fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        guard: (&str, Option<&str>),
        dependents: Dependents,
    ) -> Result<(), ApiError> {
        self.check()?;
        self.inner.delete(resource, namespace, name, guard, dependents).await
    }

    async fn log_end(&self, namespace: &str, pod: &str, container: &str) -> Result<String, ApiError> {
        self.inner.log_end(namespace, pod, container).await
    }

    async fn publish(&self, about: &Value, notice: &Notice) -> Result<(), ApiError> {
        self.check()?;
        self.inner.publish(about, notice).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leadership_ends_by_itself_before_the_lease_does() {
        let leadership = Leadership::default();
        assert!(!leadership.holds(Duration::ZERO));
        leadership.renewed(Duration::from_secs(100));
        assert!(leadership.holds(Duration::from_secs(109)));
        assert!(!leadership.holds(Duration::from_secs(110)));
        assert!(lease::GIVE_UP < lease::DURATION);
        leadership.renewed(Duration::from_secs(200));
        leadership.resign();
        assert!(!leadership.holds(Duration::from_secs(201)));
    }
}
