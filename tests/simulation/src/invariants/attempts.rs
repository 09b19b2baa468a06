//! Invariant 9, as the object shows it: fencing numbers only rise, and each means one revision.

use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

/// `status.switch.attempt` never falls, and there one attempt never names two revisions. Two leaders may begin moves with the same
/// number; all then choose the same of them, and only one gets into status.
pub const INVARIANT: Invariant = Invariant { name: "9 attempts rise", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    let (Resource::BlueGreenDeployment, Some(before)) = (write.call.resource, &write.before) else { return Ok(()) };
    let attempt = |object| json::number(object, "/status/switch/attempt");
    let to = json::text(&write.after, "/status/switch/to");
    let (had, has) = (attempt(before), attempt(&write.after));
    if has < had {
        return Err(format!("attempt {had} is followed by {has}"));
    }
    match sim.history.stored.iter().find(|(attempt, named)| *attempt == has && named != to && has > 0) {
        Some((_, named)) => Err(format!("attempt {has} means {} and {}", sim.named(named), sim.named(to))),
        None => Ok(()),
    }
}
