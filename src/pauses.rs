//! Pauses between the tries of a watch that fails.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;

/// The longest pause. client-go, and the library by itself, wait up to 30 s, here with as much again at random, and a restarted API server takes
/// two tries: it no longer knows the version that a watch would go on from. So for up to two minutes nobody would count connections. A
/// kubelet, of which there are as many as of agents, tries to renew its node's Lease every 7 s at least, whatever the API server does.
const LONGEST: Duration = Duration::from_secs(5);

/// Those of the library, but none longer than [`LONGEST`].
#[derive(Default)]
pub struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0.next()?;
        // Spread by its own jitter: all watches of all processes would come at the same moment otherwise.
        Some(if pause <= LONGEST { pause } else { LONGEST.mul_f64(0.5 + pause.as_secs_f64().fract() / 2.0) })
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_watch_that_fails_is_tried_again_within_seconds_however_long_it_has_failed() {
        let pauses: Vec<Duration> = Pauses::default().take(30).collect();
        assert_eq!(pauses.len(), 30, "it never gives up");
        assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(500) && *pause <= LONGEST), "{pauses:?}");
        let spread: std::collections::BTreeSet<Duration> = pauses.iter().skip(10).copied().collect();
        assert!(spread.len() > 10, "all watches would come at once: {spread:?}");
    }
}
