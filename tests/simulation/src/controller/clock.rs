//! A process' clocks: both begin somewhere else in each process, and the wall clock may be set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bluegreen::controller::context::Clock;
use bluegreen::release::Now;
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::store::wall;

/// The clocks of one process.
#[derive(Clone, Debug)]
pub struct SimClock {
    world: Instant,
    /// What the monotonic clock showed when the world began.
    head_start: Duration,
    /// By how many milliseconds the wall clock is wrong. Shared by all processes of a machine.
    wrong: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock of a machine whose wall clock is `wrong` by so many milliseconds.
    pub fn new(world: Instant, head_start: Duration, wrong: Arc<AtomicI64>) -> Self {
        Self { world, head_start, wrong }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let elapsed = self.world.elapsed();
        let wrong = SignedDuration::from_millis(self.wrong.load(Ordering::SeqCst));
        let right = wall(elapsed);
        Now { wall: right.checked_add(wrong).unwrap_or(right), mono: self.head_start + elapsed }
    }
}
