//! Invariant 5: nothing learned about one revision is used for another.

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::Value;

use super::Invariant;
use crate::controller::serve::Write;
use crate::intent::{attempt, recorded};
use crate::json;
use crate::sim::Sim;

/// A proof on a ReplicaSet names pods of that very set which really passed; a release that needs a person's word has that word, for that
/// very revision, on the object as the process knew it when it decided.
pub const INVARIANT: Invariant = Invariant { name: "5 nothing is used for another revision", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    match write.call.resource {
        Resource::ReplicaSet => proof(sim, write).and_then(|()| word(sim, write)),
        Resource::BlueGreenDeployment => word(sim, write),
        _ => Ok(()),
    }
}

fn proof(sim: &Sim, write: &Write) -> Result<(), String> {
    let text = |object: &Value| json::annotation(object, keys::PROOF).unwrap_or_default().to_owned();
    let has = text(&write.after);
    if has.is_empty() || write.before.as_ref().is_some_and(|before| text(before) == has) {
        return Ok(());
    }
    let Ok(proof) = serde_json::from_str::<Value>(&has) else { return Err(format!("a proof that can't be read: {has}")) };
    let probed = sim.object().is_some_and(|object| json::items(&object, "/spec/smokeProbes").any(|probe| json::text(probe, "/target") == "EachPod"));
    for uid in json::items(&proof, "/pods").filter_map(Value::as_str) {
        if let Some(pod) = sim.peers.pods.get(uid)
            && pod.set != json::uid(&write.after)
        {
            return Err(format!("the proof of {} names pod {} of another set", json::name(&write.after), pod.name));
        }
        if probed && !sim.history.passed.iter().any(|(passed, _)| passed == uid) {
            return Err(format!("the proof of {} names pod {uid}, which never passed", json::name(&write.after)));
        }
    }
    Ok(())
}

fn word(sim: &Sim, write: &Write) -> Result<(), String> {
    let Some(switch) = recorded(write) else { return Ok(()) };
    let to = json::text(&switch, "/to");
    let known = sim.history.intents.contains(&(attempt(&switch), to.to_owned()));
    let Some(object) = write.basis.known.as_ref().map(|known| &known.object) else { return Err("nobody decided it".into()) };
    if known || json::text(&switch, "/cause") != "Release" || json::text(object, "/spec/promotion/mode") != "Manual" {
        return Ok(());
    }
    match json::annotation(object, keys::command::PROMOTE) {
        Some(named) if named == to => Ok(()),
        Some(named) => Err(format!("the switch to {} follows a person's word about {}", sim.named(to), sim.named(named))),
        None => Err(format!("the switch to {} follows nobody's word", sim.named(to))),
    }
}
