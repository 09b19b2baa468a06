//! Invariant 1, first half: no traffic is meant for, or moved to, a revision that did not pass its smoke probes.

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::serve::Write;
use crate::history::{Known, needed};
use crate::intent::{attempt, recorded};
use crate::json;
use crate::sim::Sim;

/// An intent names a revision of which enough pods, alive as far as the process could know when it decided, really passed every probe of
/// the spec; on the way back, one that once passed.
/// A Service is moved only where an intent on record says.
pub const INVARIANT: Invariant = Invariant { name: "1 tested before served", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    match write.call.resource {
        Resource::BlueGreenDeployment | Resource::ReplicaSet => intent(sim, write),
        Resource::Service if sim.is_active_service(&write.call.name) => {
            // The first Service of a move carries the intent itself.
            intent(sim, write)?;
            selector(sim, write)
        }
        _ => Ok(()),
    }
}

fn intent(sim: &Sim, write: &Write) -> Result<(), String> {
    let Some(switch) = recorded(write) else { return Ok(()) };
    let to = json::text(&switch, "/to");
    // What is rebuilt from annotations, or copied from the fence into status, was decided before.
    if sim.history.intents.contains(&(attempt(&switch), to.to_owned())) {
        return Ok(());
    }
    let Some(Known { pods, object, needed: known }) = &write.basis.known else { return Err("nobody decided it".into()) };
    let name = sim.named(to);
    let forward = json::text(&switch, "/cause") == "Release";
    if !forward {
        let needless = json::items(object, "/spec/smokeProbes").all(|probe| probe.get("job").is_some());
        return if needless || sim.history.passed_once.contains(to) { Ok(()) } else { Err(format!("back to {name}, which never passed a probe")) };
    }
    let paths = |target: &str| -> Vec<String> {
        let probes = json::items(object, "/spec/smokeProbes").filter(|probe| json::text(probe, "/target") == target);
        probes.map(|probe| json::text(probe, "/httpGet/path").to_owned()).collect()
    };
    let each = paths("EachPod");
    let passed = pods.iter().filter(|uid| each.iter().all(|path| sim.history.passed.contains(&((*uid).clone(), path.clone())))).count();
    // Frozen when the probes passed; later growth is scaling.
    let frozen = sim.first_set(to).and_then(|set| needed(set)).or(*known);
    let replicas = json::number(object, "/spec/replicas");
    let needed = frozen.map_or(replicas, |frozen| frozen.min(replicas)).max(1);
    if i64::try_from(passed).unwrap_or(0) < needed {
        return Err(format!("the switch to {name} is decided while {passed} of its pods passed every probe and {needed} are needed"));
    }
    match paths("PreviewService").iter().find(|path| !sim.history.passed_outside.contains(&(to.to_owned(), (*path).clone()))) {
        Some(path) => Err(format!("the switch to {name} is decided without {path} having passed through the preview Service")),
        None => Ok(()),
    }
}

fn selector(sim: &Sim, write: &Write) -> Result<(), String> {
    let revision = json::selects(&write.after).unwrap_or_default();
    let selected = json::annotation(&write.after, keys::SELECTED).unwrap_or_default();
    let Some((named, attempt)) = selected.rsplit_once('@') else { return Ok(()) };
    if revision == keys::REVISION_NONE || revision.is_empty() {
        return Ok(());
    }
    let begins = recorded(write).is_some_and(|switch| json::text(&switch, "/to") == named && attempt.parse() == Ok(self::attempt(&switch)));
    let known = begins || attempt.parse().is_ok_and(|attempt: i64| sim.history.intents.contains(&(attempt, named.to_owned())));
    if named != revision || !known {
        return Err(format!("a Service is moved to {} ({selected}), which no recorded intent names", sim.named(revision)));
    }
    Ok(())
}
