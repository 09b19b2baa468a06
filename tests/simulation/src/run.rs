//! One run: a runtime of one thread whose clock stands still until everybody waits, and a world that happens in it.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::faults::{Fault, Phase};
use crate::sim::{Sim, Violation, lock};
use crate::transcript::Transcript;
use crate::what::What;

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// Which faults happened in which phases, how often.
    pub matrix: Vec<((Fault, Phase), u64)>,
    /// Happenings.
    pub steps: u64,
    /// Writes of the operator.
    pub writes: u64,
    /// Moves of traffic decided.
    pub moves: u64,
    /// Sets that were drained and scaled to 0.
    pub retired: u64,
    /// Old pods deleted one by one.
    pub alone: u64,
    /// Common moves that a group has decided, and those of them that somebody went back from.
    pub together: [u64; 2],
    /// Edits of selectors that had to be put back at once.
    pub repairs: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Connections cut too early, at the deadline of a drain, and with pods that ended otherwise.
    pub cut: [u64; 3],
    /// Connections lost with a node.
    pub lost: u64,
    /// Simulated time.
    pub time: Duration,
    /// How often the release came to stand in each phase.
    pub phases: Vec<(Phase, u64)>,
    /// The transcript, if it was kept.
    pub lines: Vec<String>,
    /// A sum over when and by whom something was done: equal for equal runs.
    pub sum: u64,
}

/// Counts panics of this thread's tasks, which the operator's queue survives; here each is a violation.
pub fn count_panics() {
    let former = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.with(|panics| panics.set(panics.get() + 1));
        former(info);
    }));
}

/// Runs it; the transcript is kept if asked for.
///
/// # Errors
/// If there is no runtime to be had.
pub fn run(what: impl Into<What>, kept: bool) -> std::io::Result<Outcome> {
    let what = what.into();
    PANICS.with(|panics| panics.set(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let mut outcome = runtime.block_on(async move {
        let start = Instant::now();
        let shared = Arc::new_cyclic(|me| Mutex::new(Sim::new(what, start, me.clone(), Transcript::new(kept))));
        lock(&shared).set_up();
        loop {
            let Some(next) = lock(&shared).agenda.next() else { break };
            tokio::time::sleep_until(start + next).await;
            let mut sim = lock(&shared);
            sim.step();
            if sim.over {
                break;
            }
        }
        let mut sim = lock(&shared);
        let outcome = Outcome::of(&sim);
        sim.end_all();
        outcome
    });
    drop(runtime);
    let panics = PANICS.with(Cell::get);
    if panics > 0 {
        let story = format!("{panics} panics in the operator's code");
        outcome.violations.push(Violation { invariant: "no panic", story, at: outcome.time });
    }
    Ok(outcome)
}

impl Outcome {
    fn of(sim: &Sim) -> Self {
        Self {
            seed: sim.what.seed,
            violations: sim.violations.clone(),
            matrix: sim.faults.matrix.iter().map(|(cell, count)| (*cell, *count)).collect(),
            steps: sim.steps,
            writes: sim.faults.writes,
            moves: sim.history.releases,
            retired: sim.history.retired,
            alone: u64::try_from(sim.history.alone.len()).unwrap_or(0),
            together: [sim.history.group.decided.len(), sim.history.group.undone.len()].map(|count| u64::try_from(count).unwrap_or(0)),
            repairs: sim.history.repairs,
            connections: sim.history.connections,
            cut: [sim.history.cut_early, sim.history.cut_late, sim.history.cut],
            lost: sim.history.lost,
            time: sim.now(),
            phases: sim.history.phases.iter().map(|(phase, count)| (*phase, *count)).collect(),
            lines: sim.transcript.lines().to_vec(),
            sum: sim.transcript.sum(),
        }
    }
}
