//! Leader election on a Lease: guarded by its version, timed by this machine's monotonic clock only, given back on SIGTERM.
//!
//! It keeps two controllers from working at the same time as a rule. What must hold even if both believe they lead
//! is kept by the fences on the objects themselves.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{ApiError, ApiServer, Change, Resource};
use super::context::Clock;
use super::fenced::Leadership;
use super::trim;

/// For how long a Lease that is not renewed stays taken.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed.
pub const RENEW: Duration = Duration::from_secs(3);
/// A leader that could not renew for so long ends itself, well before another may begin.
pub const GIVE_UP: Duration = Duration::from_secs(10);

/// One candidate's view of the Lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    namespace: String,
    name: String,
    identity: String,
    /// What the Lease looked like, and when that was first seen.
    seen: Option<(String, Duration)>,
}

/// What a try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This candidate leads.
    Leads,
    /// Somebody else does; the Lease may be free after this time.
    Waits(Duration),
}

impl Candidate {
    /// A candidate. `identity` must be unique among living processes: the pod's name, since a container is only started again when its former process has ended.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), identity: identity.into(), seen: None }
    }

    /// Tries to get, or to renew, the Lease.
    pub async fn try_lead<A: ApiServer>(&mut self, api: &A, now: Duration, wall: jiff::Timestamp) -> Result<Outcome, ApiError> {
        let Some(lease) = api.get(Resource::Lease, &self.namespace, &self.name).await? else {
            let spec = self.spec(None, wall);
            let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name, "namespace": self.namespace}, "spec": spec});
            return match api.create(Resource::Lease, &self.namespace, body, false).await {
                Ok(_) => Ok(Outcome::Leads),
                Err(ApiError::AlreadyExists) => Ok(Outcome::Waits(Duration::ZERO)),
                Err(error) => Err(error),
            };
        };
        let version = trim::text(&lease, "/metadata/resourceVersion").unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => {
                self.seen = Some((version.clone(), now));
                now
            }
        };
        let holder = trim::text(&lease, "/spec/holderIdentity").unwrap_or_default();
        let duration = length(&lease);
        // Another machine's clock is never compared with ours: a Lease is over when it has looked the same for its whole duration.
        let over = now.saturating_sub(since) >= duration;
        if !holder.is_empty() && holder != self.identity && !over {
            return Ok(Outcome::Waits(duration.saturating_sub(now.saturating_sub(since))));
        }
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": self.spec(Some(&lease), wall)});
        match api.patch(Resource::Lease, &self.namespace, &self.name, false, Change::Merge(patch)).await {
            Ok(_) => Ok(Outcome::Leads),
            Err(ApiError::Conflict) => Ok(Outcome::Waits(Duration::ZERO)),
            Err(error) => Err(error),
        }
    }

    /// Takes a change of the Lease that a watch told of. `Some` is how long it stays taken from then on. Looking at it only when it may be over
    /// would find it renewed since, and begin to wait for its whole duration there: twice as long in all.
    pub fn saw(&mut self, lease: &Value, now: Duration) -> Option<Duration> {
        let version = trim::text(lease, "/metadata/resourceVersion")?;
        if self.seen.as_ref().is_some_and(|(seen, _)| *seen == version) {
            return None;
        }
        self.seen = Some((version, now));
        Some(length(lease))
    }

    fn spec(&self, before: Option<&Value>, wall: jiff::Timestamp) -> Value {
        let held = before.is_some_and(|lease| trim::text(lease, "/spec/holderIdentity").as_deref() == Some(&self.identity));
        let transitions = before.and_then(|lease| lease.pointer("/spec/leaseTransitions")).and_then(Value::as_i64).unwrap_or(0);
        let stamp = wall.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let acquired = before.filter(|_| held).and_then(|lease| trim::text(lease, "/spec/acquireTime")).unwrap_or_else(|| stamp.clone());
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION.as_secs(),
            "acquireTime": acquired,
            "renewTime": stamp,
            "leaseTransitions": if held || before.is_none() { transitions } else { transitions + 1 },
        })
    }

    /// Renews the Lease; comes back when that was not possible for too long.
    pub async fn keep<A: ApiServer>(&mut self, api: &A, leadership: &Leadership, clock: &dyn Clock) {
        let mut last = clock.now().mono;
        loop {
            tokio::time::sleep(RENEW).await;
            // Counted from before the request: the lease may begin to run from then on.
            let before = clock.now();
            match tokio::time::timeout(RENEW, self.try_lead(api, before.mono, before.wall)).await {
                Ok(Ok(Outcome::Leads)) => {
                    last = before.mono;
                    leadership.renewed(before.mono);
                }
                // Written between our reading and writing: by an earlier renewal of ours that came late, or else the next reading says so.
                Ok(Ok(Outcome::Waits(Duration::ZERO))) => {}
                Ok(Ok(Outcome::Waits(_))) => return leadership.resign(),
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => tracing::warn!("the lease could not be renewed: no answer"),
            }
            if clock.now().mono.saturating_sub(last) > GIVE_UP {
                return leadership.resign();
            }
        }
    }

    /// Gives the Lease back, so that another candidate need not wait for its end. A renewal that was under way when this process was
    /// told to end may be carried out in between; that is read anew, once.
    pub async fn release<A: ApiServer>(&self, api: &A) -> Result<(), ApiError> {
        match self.give_back(api).await {
            Err(ApiError::Conflict) => self.give_back(api).await,
            answer => answer,
        }
    }

    async fn give_back<A: ApiServer>(&self, api: &A) -> Result<(), ApiError> {
        let Some(lease) = api.get(Resource::Lease, &self.namespace, &self.name).await? else {
            return Ok(());
        };
        if trim::text(&lease, "/spec/holderIdentity").as_deref() != Some(&self.identity) {
            return Ok(());
        }
        let version = trim::text(&lease, "/metadata/resourceVersion").unwrap_or_default();
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
        api.patch(Resource::Lease, &self.namespace, &self.name, false, Change::Merge(patch)).await.map(drop)
    }
}

/// For how long a Lease says that it stays taken.
fn length(lease: &Value) -> Duration {
    lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).map_or(DURATION, Duration::from_secs)
}

#[cfg(test)]
#[path = "tests/lease.rs"]
mod tests;
