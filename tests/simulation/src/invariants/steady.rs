//! Invariant 12: where nothing changes, nothing is asked.

use std::time::Duration;

use bluegreen::controller::api::Resource;

use crate::sim::Sim;

/// For so long nothing may be asked.
const WATCHED: Duration = Duration::from_secs(60);
/// The Events about the last change may still be under way for so long.
const SAID: Duration = Duration::from_secs(1);

/// Whether the operator has been at rest for a minute: no request but for the Lease. One is a violation.
pub fn is_steady(sim: &mut Sim) -> bool {
    let (now, requests) = (sim.now(), sim.processes.iter().map(|process| process.requests).sum::<u64>());
    // Where something changed there was something to do: the minute begins anew.
    let changes = sim.store.log.iter().filter(|entry| entry.resource != Resource::Lease).count();
    match sim.history.steady {
        Some((_, before, known)) if changes == known && before != requests => {
            sim.violated("12 a steady object costs no request", format!("{} requests although nothing changed", requests - before));
            true
        }
        Some((since, _, known)) if changes == known && sim.history.events.iter().any(|(at, ..)| *at > since + SAID) => {
            sim.violated("12 a steady object costs no request", "an Event although nothing changed".into());
            true
        }
        Some((since, _, known)) if changes == known => now >= since + WATCHED,
        _ => {
            sim.history.steady = Some((now, requests, changes));
            false
        }
    }
}
