//! Members of a group switch together, or not at all: a decision is recorded only when all whom it names have promised to follow, who has
//! promised follows, and who has switched keeps its way back as long as another one bakes.

use std::collections::{BTreeMap, BTreeSet};

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::Value;

use super::drained::finished;
use crate::bystander::is_its;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::intent::of;
use crate::json;
use crate::sim::Sim;

/// Its name.
pub const NAME: &str = "a group switches together";

/// Who called, and the number of the call.
type Id = (String, i64);

/// What the group has decided.
#[derive(Debug, Default)]
pub struct Decisions {
    /// Common moves, and the UIDs of those who have recorded them.
    pub decided: BTreeMap<Id, BTreeSet<String>>,
    /// Those from which a member has gone back.
    pub undone: BTreeSet<Id>,
}

fn id(of: &Value) -> Option<Id> {
    let by = json::text(of, "/by");
    (!by.is_empty()).then(|| (by.to_owned(), json::number(of, "/number")))
}

/// The decision in the intent that an object bears.
fn decision(write: &Write, object: &Value) -> Option<(Value, Value)> {
    let switch = of(write, object)?;
    let group = switch.get("group").filter(|group| group.is_object())?.clone();
    Some((switch, group))
}

/// The UID of the member that a write is about.
fn member(sim: &Sim, write: &Write) -> String {
    let object = if is_its(json::name(&write.after)) { sim.bystander() } else { sim.object() };
    object.map(|object| json::uid(&object).to_owned()).unwrap_or_default()
}

/// Looks at a write of the operator.
pub fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    if !sim.scenario.group {
        return Ok(());
    }
    let (member, decisions) = (member(sim, write), &sim.history.group);
    if let Some((switch, group)) = decision(write, &write.after)
        && let Some(id) = id(&group)
        && json::items(&group, "/members").count() > 1
        && !decisions.decided.get(&id).is_some_and(|followed| followed.contains(&member))
    {
        promised(sim, &switch, &group, &id, &member)?;
    }
    match write.call.resource {
        Resource::ReplicaSet => return kept(sim, write),
        Resource::BlueGreenDeployment => {}
        _ => return Ok(()),
    }
    // Whoever takes a promise back has followed it, or there is nothing to be followed.
    let joined = |object: &Value| object.pointer("/status/group/joined").and_then(id);
    let Some(before) = write.before.as_ref().and_then(|before| joined(before)) else { return Ok(()) };
    if joined(&write.after).as_ref() == Some(&before) || decisions.undone.contains(&before) {
        return Ok(());
    }
    let follows = decision(write, &write.after).is_some_and(|(_, group)| id(&group).as_ref() == Some(&before));
    match decisions.decided.get(&before) {
        Some(followed) if !follows && !followed.contains(&member) => {
            Err(format!("{} takes back its promise although {before:?} was decided", json::name(&write.after)))
        }
        _ => Ok(()),
    }
}

fn promised(sim: &Sim, switch: &Value, group: &Value, id: &Id, member: &str) -> Result<(), String> {
    let to = json::text(switch, "/to");
    for named in json::items(group, "/members") {
        let (uid, revision) = (json::text(named, "/uid"), json::text(named, "/revision"));
        if uid == member && revision != to {
            return Err(format!("{} goes to {} where {} was decided", json::text(named, "/name"), sim.named(to), sim.named(revision)));
        }
        // Of those who have followed already, and of those who are gone, nothing is asked any more.
        let followed = sim.history.group.decided.get(id).is_some_and(|followed| followed.contains(uid));
        let Some(peer) = sim.store.by_uid(Resource::BlueGreenDeployment, uid).filter(|_| uid != id.0 && uid != member && !followed) else { continue };
        let joined = peer.pointer("/status/group/joined");
        if joined.and_then(self::id).as_ref() != Some(id) || joined.map(|joined| json::text(joined, "/revision")) != Some(revision) {
            return Err(format!("{id:?} is decided, and {} has not promised to follow", json::name(peer)));
        }
    }
    Ok(())
}

/// The set that a member has left stays whole while another one, which switched by the same decision, has not borne it for long enough.
fn kept(sim: &Sim, write: &Write) -> Result<(), String> {
    let Some(before) = &write.before else { return Ok(()) };
    let replicas = |object: &Value| json::number(object, "/spec/replicas");
    let revision = json::label(before, keys::REVISION).unwrap_or_default();
    let goes = replicas(before) > 0 && (replicas(&write.after) == 0 || matches!(write.call.request, Request::Delete { .. }));
    let (one, other) = (sim.object(), sim.bystander());
    let (Some(one), Some(other)) = (if is_its(json::name(before)) { (other, one) } else { (one, other) }) else { return Ok(()) };
    let decided = |object: &Value| object.pointer("/status/switch/group").and_then(id);
    let left = json::text(&one, "/status/switch/from") == revision && json::text(&one, "/status/switch/cause") == "Release";
    let same = decided(&one).is_some_and(|mine| decided(&other) == Some(mine));
    let went_back = json::items(&other, "/status/switch/group/members").next().is_none();
    let bears = other.pointer("/status/switch/bakedAt").is_none_or(Value::is_null) && !json::truth(&other, "/status/group/borne");
    if !goes || !left || !same || went_back || !bears || finished(sim, revision) || json::number(&one, "/spec/replicas") == 0 {
        return Ok(());
    }
    Err(format!("{} goes, which {} had left, while {} still bakes", sim.named(revision), json::name(&one), json::name(&other)))
}

/// After a write.
pub fn remember(sim: &mut Sim, write: &Write) {
    let Some((_, group)) = decision(write, &write.after) else { return };
    let Some(id) = id(&group) else { return };
    let member = member(sim, write);
    match json::items(&group, "/members").count() {
        0 => drop(sim.history.group.undone.insert(id)),
        1 => {}
        _ => drop(sim.history.group.decided.entry(id).or_default().insert(member)),
    }
}
