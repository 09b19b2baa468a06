//! Who leads, and for how long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::fake::Fake;
use super::*;
use crate::release::Now;

/// The runtime's own clock, which stands still until everybody waits.
struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> Now {
        let mono = self.0.elapsed();
        let wall: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Now { wall: wall.checked_add(jiff::SignedDuration::try_from(mono).unwrap()).unwrap(), mono }
    }
}

fn paused() -> Paused {
    Paused(tokio::time::Instant::now())
}

fn candidate(identity: &str) -> Candidate {
    Candidate::new("bluegreen-system", "bluegreen", identity)
}

async fn tries(api: &Fake, candidate: &mut Candidate, clock: &Paused) -> Outcome {
    let now = clock.now();
    candidate.try_lead(api, now.mono, now.wall).await.unwrap()
}

fn holder(api: &Fake) -> Value {
    api.now(Resource::Lease, "bluegreen")["spec"]["holderIdentity"].clone()
}

/// Answers the first write after this with a conflict.
fn one_conflict(api: &Fake) {
    let asked = AtomicUsize::new(0);
    api.refuse(move |_| (asked.fetch_add(1, Ordering::Relaxed) == 0).then_some(ApiError::Conflict));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_over_when_it_has_looked_the_same_for_its_duration_and_not_before() {
    let (api, clock) = (Fake::default(), paused());
    let (mut first, mut second) = (candidate("first"), candidate("second"));
    assert_eq!(tries(&api, &mut first, &clock).await, Outcome::Leads);
    assert_eq!(tries(&api, &mut second, &clock).await, Outcome::Waits(DURATION));
    tokio::time::sleep(DURATION - Duration::from_secs(1)).await;
    assert_eq!(tries(&api, &mut first, &clock).await, Outcome::Leads, "renewed");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(tries(&api, &mut second, &clock).await, Outcome::Waits(DURATION), "it looks different, so its time begins anew");
    tokio::time::sleep(DURATION).await;
    assert_eq!(tries(&api, &mut second, &clock).await, Outcome::Leads);
    assert_eq!(api.now(Resource::Lease, "bluegreen")["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_given_back_is_free_at_once() {
    let (api, clock) = (Fake::default(), paused());
    let (mut first, mut second) = (candidate("first"), candidate("second"));
    tries(&api, &mut first, &clock).await;
    second.release(&api).await.unwrap();
    assert_eq!(holder(&api), "first", "only its holder gives it back");
    first.release(&api).await.unwrap();
    assert_eq!(tries(&api, &mut second, &clock).await, Outcome::Leads);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_carried_out_in_between_does_not_keep_the_lease_from_being_given_back() {
    let (api, clock) = (Fake::default(), paused());
    let mut first = candidate("first");
    tries(&api, &mut first, &clock).await;
    one_conflict(&api);
    first.release(&api).await.unwrap();
    assert_eq!(holder(&api), "");
}

#[tokio::test(start_paused = true)]
async fn one_conflict_does_not_end_a_leader_and_another_holder_does() {
    let (api, clock) = (Fake::default(), paused());
    let mut first = candidate("first");
    let leadership = Leadership::default();
    tries(&api, &mut first, &clock).await;
    leadership.renewed(clock.now().mono);
    one_conflict(&api);
    let kept = tokio::time::timeout(Duration::from_secs(60), first.keep(&api, &leadership, &clock)).await;
    assert!(kept.is_err(), "still kept");
    assert!(leadership.holds(clock.now().mono));
    let mut lease = api.now(Resource::Lease, "bluegreen");
    lease["spec"]["holderIdentity"] = json!("second");
    api.put(Resource::Lease, lease);
    first.keep(&api, &leadership, &clock).await;
    assert!(!leadership.holds(clock.now().mono));
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_answers_gives_up_before_another_may_begin() {
    let (api, clock) = (Fake::default(), paused());
    let mut first = candidate("first");
    let leadership = Leadership::default();
    tries(&api, &mut first, &clock).await;
    leadership.renewed(clock.now().mono);
    api.refuse(|_| Some(ApiError::Transient("no route".into())));
    first.keep(&api, &leadership, &clock).await;
    assert!(!leadership.holds(clock.now().mono));
    assert!(clock.now().mono < DURATION);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_the_watch_tells_of_count_from_then_on() {
    let (api, clock) = (Fake::default(), paused());
    let (mut first, mut second) = (candidate("first"), candidate("second"));
    assert_eq!(tries(&api, &mut first, &clock).await, Outcome::Leads);
    assert_eq!(tries(&api, &mut second, &clock).await, Outcome::Waits(DURATION));
    for _ in 0..4 {
        tokio::time::sleep(RENEW).await;
        assert_eq!(tries(&api, &mut first, &clock).await, Outcome::Leads);
        let lease = api.now(Resource::Lease, "bluegreen");
        assert_eq!(second.saw(&lease, clock.now().mono), Some(DURATION));
        assert_eq!(second.saw(&lease, clock.now().mono), None, "the same once more");
    }
    // That was its last one.
    tokio::time::sleep(DURATION - Duration::from_millis(1)).await;
    assert_eq!(tries(&api, &mut second, &clock).await, Outcome::Waits(Duration::from_millis(1)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(tries(&api, &mut second, &clock).await, Outcome::Leads);
}
