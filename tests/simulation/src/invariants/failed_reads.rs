//! Invariant 6: no write follows from a failed read.

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::{NAMESPACE, Sim};

/// Before a set that served goes to 0, the process has read every Service, live, since it wrote the role, and each last read worked.
pub const INVARIANT: Invariant = Invariant { name: "6 no write follows from a failed read", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    let (Resource::ReplicaSet, Some(before)) = (write.call.resource, &write.before) else { return Ok(()) };
    let retired = |set| json::annotation(set, keys::ROLE).is_some_and(|role| role.starts_with("retired@"));
    // A successor without pods is written again when its predecessor is left again.
    let again = retired(before) && json::number(before, "/spec/replicas") == 0;
    if !retired(&write.after) || again || json::annotation(before, keys::ROLE) == json::annotation(&write.after, keys::ROLE) {
        return Ok(());
    }
    let Some(retirement) = &write.basis.retirement else {
        return Err(format!("set {} is retired without its role having been written first", json::name(before)));
    };
    for name in sim.scenario.services.iter().filter(|name| sim.store.get(Resource::Service, NAMESPACE, name).is_some()) {
        match retirement.reads.get(name) {
            Some(true) => {}
            Some(false) => return Err(format!("set {} is retired although Service {name} could not be read", json::name(before))),
            None => return Err(format!("set {} is retired without Service {name} having been read", json::name(before))),
        }
    }
    Ok(())
}
