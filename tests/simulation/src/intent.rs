//! The intent on record, read from the store and not by the operator's code: in status, beside the selector of a Service, or beside the
//! fence of a ReplicaSet.

use std::sync::Arc;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::Value;

use crate::bystander::is_its;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

impl Sim {
    /// The intent on record, in the form of `status.switch`.
    pub fn intent(&self) -> Option<Value> {
        let stored = self.object().and_then(|object| object.pointer("/status/switch").cloned());
        let ours = |set: &&Arc<Value>| !is_its(json::name(set));
        let fences = self.store.all(Resource::ReplicaSet).filter(ours).filter_map(|set| {
            let switch = written(set)?;
            let stands = json::annotation(set, keys::ROLE) == Some(&format!("serving@{}", attempt(&switch)));
            stands.then_some(switch)
        });
        let uid = self.object().map(|object| json::uid(&object).to_owned()).unwrap_or_default();
        let moves = self.store.all(Resource::Service).filter_map(|service| {
            let (_, owner) = json::annotation(service, keys::OWNER)?.split_once('/')?;
            let switch = written(service).filter(|_| owner == uid)?;
            let selected = format!("{}@{}", json::text(&switch, "/to"), attempt(&switch));
            (json::annotation(service, keys::SELECTED) == Some(&selected)).then_some(switch)
        });
        let newest = fences.chain(moves).max_by_key(|switch| (attempt(switch), json::text(switch, "/to").to_owned()));
        match (stored, newest) {
            (Some(stored), Some(newest)) if attempt(&newest) > attempt(&stored) => Some(newest),
            (None, newest) => newest,
            (stored, _) => stored,
        }
    }
}

/// The move that a write puts on record, if it is about another than before.
pub fn recorded(write: &Write) -> Option<Value> {
    let same = |one: &Value, other: &Value| attempt(one) == attempt(other) && json::text(one, "/to") == json::text(other, "/to");
    let before = write.before.as_ref().and_then(|before| of(write, before));
    of(write, &write.after).filter(|after| before.is_none_or(|before| !same(&before, after)))
}

/// The move that an object bears, before or after a write.
pub fn of(write: &Write, object: &Value) -> Option<Value> {
    match write.call.resource {
        Resource::ReplicaSet | Resource::Service => written(object),
        Resource::BlueGreenDeployment => object.pointer("/status/switch").cloned(),
        _ => None,
    }
}

/// The fencing number of a move.
pub fn attempt(switch: &Value) -> i64 {
    json::number(switch, "/attempt")
}

fn written(object: &Value) -> Option<Value> {
    json::annotation(object, keys::SWITCH).and_then(|text| serde_json::from_str(text).ok())
}
