//! The object and the bystander as a group, in some runs: they switch together, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::bystander::BYSTANDER;
use crate::json;
use crate::random::Random;
use crate::scenario::{BAKE, Behaviour, probe};
use crate::sim::{NAMESPACE, Sim};

/// Version of the bystander that may not be as good as the others.
const WORSE: u64 = 3;

/// Whether the object is in a group with the bystander. A version of that one may fail then.
pub fn joins(spec: &mut Value, versions: &mut BTreeMap<String, Behaviour>, seed: u64) -> bool {
    let random = &mut Random::new(seed, "group");
    if !random.percent(20) {
        return false;
    }
    json::set(spec, "promotion", "group", json!({"name": "street"}));
    let (fails_smoke, ill) = (random.percent(20), random.percent(50));
    versions.insert(format!("{BYSTANDER}:v{WORSE}"), Behaviour { fails_smoke, ill, ready_after: (300, 4000), ..Behaviour::default() });
    true
}

/// The bystander joins, too.
pub fn join(spec: &mut Value, random: &mut Random) {
    let Some(spec) = spec.as_object_mut() else { return };
    spec.insert("promotion".into(), json!({"group": {"name": "street"}}));
    spec.insert("onFailure".into(), json!({"keepSeconds": random.between(0, 20)}));
    if random.percent(60) {
        spec.insert("bake".into(), json!({"seconds": random.between(8, 30), "probes": [probe(BAKE, "EachPod", 1)]}));
    }
}

impl Sim {
    /// The bystander, where there is one.
    pub fn bystander(&self) -> Option<Arc<Value>> {
        self.store.get(Resource::BlueGreenDeployment, NAMESPACE, BYSTANDER).cloned()
    }

    /// Who releases the one of a group mostly releases the other, too.
    pub fn release_together(&mut self, at: Duration, version: u64) {
        let random = &mut Random::new(self.what.seed ^ version, "released together");
        if self.scenario.group && random.percent(75) {
            let wait = random.millis(0, 5000);
            self.later(at + wait, Happening::Bystander(version));
        }
    }
}

fn state(object: &Value) -> &str {
    json::text(object, "/status/group/state")
}

/// Whether a member is ready and waits for the other, which is not.
pub fn waits(object: &Value, other: Option<&Value>) -> bool {
    json::text(object, "/status/phase") == "AwaitPromotion" && state(object) == "Ready" && other.is_some_and(|other| state(other) == "Preparing")
}

/// Whether a member has borne the switch, and waits for the other, whose bake failed and has no way back: a person must decide.
pub fn bears(sim: &Sim, object: &Value, other: Option<&Value>) -> bool {
    let to = |of: &Value| json::text(of, "/status/switch/to").to_owned();
    let ill = |other: &Value| sim.names.get(&to(other)).is_some_and(|version| sim.scenario.behaviour(version).ill);
    let baked = |other: &Value| other.pointer("/status/switch/bakedAt").is_some_and(Value::is_string);
    sim.scenario.group && json::text(object, "/status/phase") == "Bake" && other.is_some_and(|other| ill(other) && !baked(other))
}

/// The revision that a member without a bake keeps for the other, which is in a bake without an end.
pub fn keeps_for(sim: &Sim, object: &Value, other: Option<&Value>) -> Option<String> {
    let reason = json::condition(object, "Drained").map(|condition| json::text(condition, "/reason").to_owned());
    let other = other.filter(|other| json::text(other, "/status/phase") == "Bake" && json::condition(other, "Stalled").is_some());
    other.filter(|_| sim.scenario.group && reason.as_deref() == Some("Baking")).map(|_| json::text(object, "/status/switch/from").to_owned())
}

/// Nobody waits for an answer any more, and not each for the other.
pub fn rests(object: &Value, other: Option<&Value>) -> Result<(), String> {
    let Some(other) = other else { return Ok(()) };
    for member in [object, other] {
        for left in ["call", "joined"] {
            if member.pointer("/status/group").and_then(|group| group.get(left)).is_some() {
                return Err(format!("{} still has a {left} in its group", json::name(member)));
            }
        }
    }
    if state(object) == "Ready" && state(other) == "Ready" { Err("both of the group are ready, and neither switches".into()) } else { Ok(()) }
}

/// Other ends of the bystander than a finished release, where it is in a group.
pub fn ended(sim: &Sim, bystander: &Value) -> bool {
    if !sim.scenario.group {
        return false;
    }
    let behaviour = |revision: &str| sim.names.get(revision).map(|version| sim.scenario.behaviour(version)).unwrap_or_default();
    let rejected = |pointer| json::text(bystander, pointer);
    let stalled = json::condition(bystander, "Stalled").filter(|condition| json::text(condition, "/status") == "True");
    let given_up = match rejected("/status/rejected/reason") {
        "GroupWentBack" => !sim.history.group.undone.is_empty(),
        "SmokeFailed" => behaviour(rejected("/status/rejected/revision")).fails_smoke,
        "BakeFailed" => behaviour(rejected("/status/rejected/revision")).ill,
        _ => false,
    };
    // Where there is no way back the traffic stays.
    let stays = match stalled.map(|condition| json::text(condition, "/reason")) {
        Some("GroupWentBack") => !sim.history.group.undone.is_empty(),
        Some("BakeFailed") => behaviour(json::text(bystander, "/status/switch/to")).ill,
        _ => false,
    };
    given_up
        || stays
        || sim.object().is_some_and(|object| bears(sim, bystander, Some(&object)))
        || sim.object().is_some_and(|object| waits(bystander, Some(&object)))
}

/// Whether the bystander keeps pods beside those that serve: the ones that wait for the switch, or those for a way back that may not come.
pub fn keeps(sim: &Sim, bystander: &Value) -> bool {
    let Some(object) = sim.object() else { return false };
    let bakes = bears(sim, &object, Some(bystander)) || bears(sim, bystander, Some(&object));
    waits(bystander, Some(&object)) || bakes || keeps_for(sim, bystander, Some(&object)).is_some()
}
