//! Invariant 1, second half: traffic begins to move only to a set with as many ready pods as leaving the old one needs.

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::{NAMESPACE, Sim};

/// Judged at the first Service of a move, by what had been delivered to the process when it sent the request: what happens to pods
/// later nobody can know. A move that has begun is finished, and an edited selector put back, with whatever pods there are.
pub const INVARIANT: Invariant = Invariant { name: "1 enough pods before the move", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    let (Resource::Service, Some(before)) = (write.call.resource, &write.before) else { return Ok(()) };
    let revision = |object: &serde_json::Value| json::selects(object).unwrap_or_default().to_owned();
    let (from, to) = (revision(before), revision(&write.after));
    let mine = json::annotation(&write.after, keys::SELECTED);
    if !sim.is_active_service(&write.call.name)
        || from == to
        || to.is_empty()
        || to == keys::REVISION_NONE
        || json::annotation(before, keys::SELECTED) == mine
    {
        return Ok(());
    }
    let begun =
        sim.scenario.services.iter().filter(|name| **name != write.call.name).filter_map(|name| sim.store.get(Resource::Service, NAMESPACE, name));
    let settled = sim.intent().is_some_and(|intent| intent.get("completedAt").is_some());
    if settled || begun.into_iter().any(|other| json::annotation(other, keys::SELECTED) == mine) {
        return Ok(());
    }
    let Some(ready) = &write.basis.ready else { return Ok(()) };
    // Any recent value counts: the process may not have heard of the latest one.
    let since = sim.now().saturating_sub(std::time::Duration::from_secs(60));
    let recent = sim.history.replicas.iter().rev().scan(false, |done, (at, replicas)| {
        let take = !*done;
        *done |= *at < since;
        take.then_some(*replicas)
    });
    let replicas = recent.chain(sim.object().map(|object| json::number(&object, "/spec/replicas"))).min().unwrap_or(1);
    let needed = replicas.min(ready.from).max(1);
    if replicas > 0 && ready.to < needed {
        return Err(format!(
            "traffic leaves {} with {} ready pods for {} with {}, where {needed} are needed",
            sim.named(&from),
            ready.from,
            sim.named(&to),
            ready.to
        ));
    }
    Ok(())
}
