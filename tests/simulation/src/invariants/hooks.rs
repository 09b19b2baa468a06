//! Hooks: each Job once, on record before it is made, one at a time; and nothing passes a point whose Jobs did not succeed for that very revision.

use bluegreen::controller::api::Resource;
use serde_json::Value;

use super::Invariant;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::history::Hook;
use crate::intent::{attempt, recorded};
use crate::json;
use crate::peers::jobs;
use crate::sim::{NAME, NAMESPACE, Sim};

/// Judged by the Jobs, and not by what status says of them.
pub const INVARIANT: Invariant = Invariant { name: "each hook once, and before what it gates", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    match (write.call.resource, &write.call.request) {
        (Resource::Job, Request::Create { .. }) => made(sim, write),
        (Resource::Job, Request::Delete { .. }) => gone(write),
        (Resource::ReplicaSet, Request::Create { .. }) if json::number(&write.after, "/spec/replicas") > 0 => first_pods(sim, write),
        (Resource::Service | Resource::ReplicaSet | Resource::BlueGreenDeployment, _) => switch(sim, write),
        _ => Ok(()),
    }
}

fn made(sim: &Sim, write: &Write) -> Result<(), String> {
    let job = &write.after;
    let name = json::name(job);
    let Some(object) = sim.object().filter(|object| Some(json::uid(object)) == json::controller(job)) else {
        // The garbage collector sees to it.
        return Ok(());
    };
    let row = json::items(&object, "/status/hooks").find(|row| json::text(row, "/job") == name);
    if row.is_none_or(|row| json::text(row, "/result") != "Running") {
        return Err(format!("Job {name} is made, and is not on record"));
    }
    if sim.history.jobs_made.contains(name) {
        return Err(format!("Job {name} is made a second time"));
    }
    let other = sim
        .store
        .all(Resource::Job)
        .find(|other| json::name(other) != name && json::controller(other) == json::controller(job) && !jobs::ended(other));
    other.map_or(Ok(()), |other| Err(format!("Job {name} is made while {} runs", json::name(other))))
}

fn gone(write: &Write) -> Result<(), String> {
    let running = write.before.as_ref().is_some_and(|job| !jobs::ended(job));
    if running { Err(format!("Job {} is ended before its time", write.call.name)) } else { Ok(()) }
}

fn first_pods(sim: &Sim, write: &Write) -> Result<(), String> {
    let revision = json::label(&write.after, bluegreen::api::keys::REVISION).unwrap_or_default();
    let Some(object) = sim.object().filter(|object| Some(json::uid(object)) == json::controller(&write.after)) else { return Ok(()) };
    let passed =
        |name: &str| sim.history.hooks_passed.iter().any(|hook| (&*hook.point, &*hook.name, &*hook.revision) == ("beforeBringUp", name, revision));
    match names(&object, "beforeBringUp").find(|name| !passed(name)) {
        Some(name) => Err(format!("pods of {} start before hook {name} has succeeded", sim.named(revision))),
        None => Ok(()),
    }
}

fn switch(sim: &Sim, write: &Write) -> Result<(), String> {
    let Some(switch) = recorded(write) else { return Ok(()) };
    let (to, attempt) = (json::text(&switch, "/to"), attempt(&switch));
    if json::text(&switch, "/cause") != "Release" || sim.history.intents.contains(&(attempt, to.to_owned())) {
        return Ok(());
    }
    let Some(object) = write.basis.known.as_ref().map(|known| &known.object) else { return Ok(()) };
    let passed =
        |name: &str| sim.history.hooks_passed.contains(&Hook { point: "beforeSwitch".into(), name: name.into(), revision: to.into(), attempt });
    // What has passed once for a revision is not run again for it.
    let tested = |name: &str| sim.history.hooks_passed.iter().any(|job| (&*job.point, &*job.name, &*job.revision) == ("smokeProbes", name, to));
    let mut suites = json::items(object, "/spec/smokeProbes").filter(|probe| probe.get("job").is_some()).map(|probe| json::text(probe, "/name"));
    if let Some(name) = suites.find(|name| !tested(name)) {
        return Err(format!("the switch to {} is decided before the Job {name} has succeeded for it", sim.named(to)));
    }
    match names(object, "beforeSwitch").find(|name| !passed(name)) {
        Some(name) => Err(format!("the switch to {} is decided before hook {name} has succeeded for it", sim.named(to))),
        None => Ok(()),
    }
}

fn names<'a>(object: &'a Value, point: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    json::items(object, &format!("/spec/hooks/{point}")).map(|hook| json::text(hook, "/name"))
}

/// At the end none runs any more, and those of the last move have run.
pub fn rest(sim: &Sim) -> Result<(), String> {
    let Some(object) = sim.store.get(Resource::BlueGreenDeployment, NAMESPACE, NAME) else { return Ok(()) };
    if let Some(row) = json::items(object, "/status/hooks").find(|row| json::text(row, "/result") == "Running") {
        return Err(format!("hook {} of {} still runs", json::text(row, "/name"), json::text(row, "/point")));
    }
    let rows = json::items(object, "/status/hooks").count();
    let jobs = sim.store.all(Resource::Job).filter(|job| json::controller(job) == Some(json::uid(object))).count();
    if jobs > rows {
        return Err(format!("{jobs} Jobs are there, and {rows} on record"));
    }
    let (number, release) = (json::number(object, "/status/switch/attempt"), json::text(object, "/status/switch/cause") == "Release");
    let over = !json::text(object, "/status/switch/convergedAt").is_empty();
    let has = |point: &str, name: &str| {
        let of = |row: &Value| (json::text(row, "/point").to_owned(), json::text(row, "/name").to_owned(), json::number(row, "/attempt"));
        json::items(object, "/status/hooks").any(|row| of(row) == (point.to_owned(), name.to_owned(), number))
    };
    let (field, point) = if release { ("afterSwitch", "AfterSwitch") } else { ("onRollback", "OnRollback") };
    if let Some(row) = json::items(object, "/status/hooks")
        .find(|row| json::text(row, "/result") == "Waiting" && !json::text(object, "/status/active/revision").is_empty())
    {
        return Err(format!("hook {} of {} waits for ever", json::text(row, "/name"), json::text(row, "/point")));
    }
    match names(object, field).find(|name| over && !has(point, name)) {
        Some(name) => Err(format!("hook {name} of {field} has not run for the move {number}")),
        None => Ok(()),
    }
}
