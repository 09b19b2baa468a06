//! Requests that make a pod ready for users before it is judged: caches, compilers and pools of connections are filled by them.
//!
//! They come from the one process that serves all objects, so their sum is bounded on three levels. A pod has so many at once. The pods of one object
//! take turns, by the highest rate that each of them will reach: a pod that has its turn has all of its rate, which a share of it would not warm. And all
//! objects together share a rate, one request after the other, so that none has to wait for the end of another's.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::api::WarmUp;
use crate::probe::{Course, Failure, Pace};
use crate::release::Now;

/// Requests of one pod at the same time. One that answers more slowly than the rate asks gets them at its own pace.
pub const OF_POD: usize = 16;
/// Those of one object: half of its turns, so that its other probes have the other half.
pub const OF_ONE: usize = 32;
/// Those of all objects: half of all turns, likewise.
pub const OF_ALL: usize = 512;
/// Requests a second of one object, counted by the highest rates of the pods that have their turn.
pub const RATE_OF_ONE: u32 = 400;
/// Between two requests of all objects: a thousand a second.
const APART: Duration = Duration::from_millis(1);
/// Between two words about how far it is: each is a write of the status.
pub const TELL: Duration = Duration::from_secs(5);

/// What the warm-ups of one object share.
pub struct Share {
    rate: Semaphore,
    requests: Semaphore,
    all: Arc<Gate>,
}

impl Share {
    /// With nothing taken.
    pub fn new(all: Arc<Gate>) -> Self {
        let rate = Semaphore::new(usize::try_from(RATE_OF_ONE).unwrap_or(OF_ONE));
        Self { rate, requests: Semaphore::new(OF_ONE), all }
    }

    /// Waits until one more pod may be warmed up.
    async fn turn(&self, pace: Pace) -> Option<SemaphorePermit<'_>> {
        // Never closed. More than there is could never be had.
        self.rate.acquire_many(pace.top().min(RATE_OF_ONE)).await.ok()
    }

    /// Waits until one more request may be sent.
    async fn request(&self) -> (Option<SemaphorePermit<'_>>, Option<SemaphorePermit<'_>>) {
        let own = self.requests.acquire().await.ok();
        let all = self.all.under_way.acquire().await.ok();
        self.all.pass().await;
        (own, all)
    }
}

/// Lets the requests of all objects through, one after the other, and so many at the same time.
pub struct Gate {
    next: Mutex<Option<Instant>>,
    under_way: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { next: Mutex::default(), under_way: Semaphore::new(OF_ALL) }
    }
}

impl Gate {
    async fn pass(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(at + APART);
            at
        };
        sleep_until(at).await;
    }
}

/// The pace that a spec asks for.
pub fn pace(warm_up: &WarmUp) -> Pace {
    let number = |number: i32| u32::try_from(number).unwrap_or(1);
    Pace::new(number(warm_up.to_per_second), number(warm_up.seconds))
}

/// How long it is until all pods tell how far they are: they do at the same moments, so that one write tells of them all.
pub fn until_tell(now: Now) -> Duration {
    TELL - Duration::from_millis(u64::try_from(now.mono.as_millis() % TELL.as_millis()).unwrap_or_default())
}

/// Warms one pod up: sends all requests, and returns when all answers were good. `tell` says how far it is.
///
/// # Errors
/// The first answer that was bad, after which nothing more is sent, and how many were good.
pub async fn warm_up<F>(
    pace: Pace,
    share: &Share,
    pause: Duration,
    until_tell: Duration,
    attempt: impl Fn() -> F,
    mut tell: impl FnMut(String),
) -> Result<(), (Failure, u32)>
where
    F: Future<Output = Result<(), Failure>>,
{
    let entered = Instant::now();
    let total = pace.total();
    let mut turn = pin!(share.turn(pace));
    let _turn = tokio::select! {
        biased;
        turn = &mut turn => turn,
        () = tokio::time::sleep(TELL) => {
            tell(format!("to be warmed up by {total} requests, after other pods"));
            turn.await
        }
    };
    let begun = Instant::now();
    let mut not_before = begun;
    let mut course = Course::new(pace);
    let mut under_way = FuturesUnordered::new();
    let mut good = 0;
    let mut held: Option<Failure> = None;
    let mut telling = interval_at(entered + until_tell, TELL);
    telling.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while good < total {
        let next = course.next().filter(|_| under_way.len() < OF_POD).map(|next| (begun + next).max(not_before));
        tokio::select! {
            Some(outcome) = under_way.next() => match outcome {
                Ok(()) => {
                    good += 1;
                    held = None;
                }
                // It says nothing about the pod, and whatever is missing here is not there sooner for being asked for more often.
                Err(failure) if Failure::undecided(&failure) => {
                    course.again();
                    not_before = Instant::now() + pause;
                    held = Some(failure);
                }
                Err(failure) => return Err((failure, good)),
            },
            () = sleep_until(next.unwrap_or(begun)), if next.is_some() => {
                course.begin(begun.elapsed());
                under_way.push(async {
                    let _place = share.request().await;
                    attempt().await
                });
            }
            _ = telling.tick() => {
                let why = held.as_ref().map(|failure| format!("; {failure}")).unwrap_or_default();
                tell(format!("warming up: {good} of {total} requests{why}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests/warm_up.rs"]
mod tests;
