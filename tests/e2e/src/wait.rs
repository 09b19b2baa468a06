//! Waiting for conditions, with a deadline, and what was last seen in the message if they never come.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Result};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(120);

/// What a look showed.
pub enum Look<T> {
    /// It is there.
    Done(T),
    /// It is not; this is what there is instead.
    NotYet(String),
}

/// `Done(())` or not, by a bool.
pub fn when(holds: bool, seen: impl FnOnce() -> String) -> Look<()> {
    if holds { Look::Done(()) } else { Look::NotYet(seen()) }
}

/// Looks again and again until it is there.
///
/// # Errors
/// When the deadline is over, or a look fails.
pub async fn wait_for<T, F>(what: impl Into<String>, seconds: u64, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Look<T>>>,
{
    let within = Duration::from_secs(seconds);
    let deadline = Instant::now() + within;
    loop {
        let seen = match look().await? {
            Look::Done(found) => return Ok(found),
            Look::NotYet(seen) => seen,
        };
        if Instant::now() >= deadline {
            return Err(Failure::Late { what: what.into(), within, seen });
        }
        sleep(PAUSE).await;
    }
}

/// Makes sure that something stays as it is for a while.
///
/// # Errors
/// When it does not, or a look fails.
pub async fn stays<F>(what: &str, seconds: u64, mut look: impl FnMut() -> F) -> Result
where
    F: Future<Output = Result<Look<()>>>,
{
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if let Look::NotYet(seen) = look().await? {
            return Err(Failure::Claim(format!("{what}: no longer so: {seen}")));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
