//! What must never happen, whatever goes wrong: the invariants of the design, each in a file of its own, checked against the store and
//! the pods' real connections, and not against what the controller believes.

mod approval;
mod attempts;
mod availability;
mod baked;
mod drained;
mod failed_reads;
mod fence;
mod group;
mod guards;
mod history;
mod hooks;
mod liveness;
mod never_shrinks;
mod overlap;
mod repair;
mod selectors;
mod steady;
mod tested;

pub use group::Decisions;
pub use liveness::look;
pub use repair::repaired;
pub use steady::is_steady;

use crate::bystander;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

/// One property.
pub struct Invariant {
    /// Its name; the number is that of the design.
    pub name: &'static str,
    /// Looks at a write that was carried out; an error tells what is wrong with it.
    pub check: fn(&Sim, &Write) -> Result<(), String>,
}

/// Every property of a write.
pub const ALL: [Invariant; 13] = [
    tested::INVARIANT,
    availability::INVARIANT,
    selectors::INVARIANT,
    never_shrinks::INVARIANT,
    overlap::INVARIANT,
    drained::INVARIANT,
    baked::INVARIANT,
    approval::INVARIANT,
    failed_reads::INVARIANT,
    guards::INVARIANT,
    fence::INVARIANT,
    attempts::INVARIANT,
    hooks::INVARIANT,
];

/// After each write of the operator.
pub fn at_each_write(sim: &mut Sim, write: &Write) {
    if let Err(story) = group::check(sim, write) {
        sim.violated(group::NAME, story);
    }
    group::remember(sim, write);
    if bystander::is_its(json::name(&write.after)) {
        if let Err(story) = bystander::serves(sim, write) {
            sim.violated("3 the active set stays", story);
        }
        return;
    }
    for Invariant { name, check } in &ALL {
        if let Err(story) = check(sim, write) {
            let who = sim.processes.get(write.process).map(|process| process.name.clone()).unwrap_or_default();
            let what = sim.describe(&write.call);
            sim.violated(name, format!("{story}; {who} {what}"));
        }
    }
    history::remember(sim, write);
}

/// After each step of the world.
pub fn at_each_step(sim: &mut Sim) {
    history::follow(sim);
}
