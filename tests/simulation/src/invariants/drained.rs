//! Invariant 4: no pod of a set that served and is being left begins to end while a connection that was told of is open, or while it is
//! unknown, before the deadline; such a set never shrinks but to 0.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::Value;

use super::Invariant;
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::history::Retirement;
use crate::json;
use crate::peers::kubelet::Running;
use crate::sim::Sim;

/// Checked against the connections that the pods really have, at the moment at which the operator decided: none may be open that was
/// already open when the agent took the sample which the operator had last been told of; and that sample must not be old.
pub const INVARIANT: Invariant = Invariant { name: "4 nobody is cut off", check };

/// Older than this no sample counts: three report intervals, the longest travel of a report, and the longest delay of a watch.
const OLD: Duration = Duration::from_secs(6 + 9 + 6 + 2);

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    if let (Resource::Pod, Request::Delete { .. }, Some(before)) = (write.call.resource, &write.call.request, &write.before) {
        return alone(sim, write, before);
    }
    let (Resource::ReplicaSet, Some(before)) = (write.call.resource, &write.before) else { return Ok(()) };
    let replicas = |object: &Value| json::number(object, "/spec/replicas");
    let revision = json::label(before, keys::REVISION).unwrap_or_default();
    let role = json::annotation(before, keys::ROLE).unwrap_or_default();
    let active = sim.intent().is_some_and(|intent| json::text(&intent, "/to") == revision);
    if role.is_empty() || role.starts_with("retired") || replicas(&write.after) >= replicas(before) || active {
        return Ok(());
    }
    let name = sim.named(revision);
    if replicas(&write.after) > 0 {
        let asked = sim.history.replicas.iter().any(|(_, replicas)| *replicas == json::number(&write.after, "/spec/replicas"));
        // A process that has not heard that traffic moved on still takes it for the active one: that is for spec.replicas.
        return if asked && !role.starts_with("retiring") {
            Ok(())
        } else {
            Err(format!("the set of {name} is being left and shrinks to {}", replicas(&write.after)))
        };
    }
    let Some(retirement) = &write.basis.retirement else {
        // Scaled to zero as the active one, since spec.replicas is 0.
        let asked = sim.history.replicas.iter().any(|(_, replicas)| *replicas == 0);
        return if asked { Ok(()) } else { Err(format!("the set of {name} goes to 0 without having been retired")) };
    };
    let reached = |(uid, pod): &(&String, &Running)| {
        pod.set == json::uid(before) && retirement.reached.contains(*uid) && sim.store.by_uid(Resource::Pod, uid).is_some_and(|pod| json::alive(pod))
    };
    if let Some((_, pod)) = sim.peers.pods.iter().find(reached) {
        return Err(format!("pod {} of {name} ends while users may be sent there: it is an endpoint, or was a moment ago, as was told", pod.name));
    }
    if finished(sim, revision) {
        return Ok(());
    }
    let Some(object) = sim.object() else { return Ok(()) };
    let left = sim.history.left_at.get(revision).copied().unwrap_or(retirement.at);
    let slack = Duration::from_millis(2 * sim.history.wrong + 1500);
    let over = |seconds: i64| retirement.at + slack >= left + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    if over(json::number(&object, "/spec/drain/deadlineSeconds")) {
        return Ok(());
    }
    let timer = timed(sim, &object);
    for (uid, pod) in sim.peers.pods.iter().filter(|(_, pod)| pod.set == json::uid(before)) {
        let ending = sim.store.by_uid(Resource::Pod, uid).is_none_or(|pod| !json::alive(pod));
        if ending || sim.peers.nodes.get(&pod.node).is_none_or(|node| !node.up) {
            continue;
        }
        if timer {
            if !over(json::number(&object, "/spec/drain/fallbackSeconds")) && sim.history.endpoints.contains(uid) {
                return Err(format!("pod {} of {name}, which nobody measures, ends before its time", pod.name));
            }
            continue;
        }
        measured(sim, retirement, uid, pod).map_err(|why| format!("pod {} of {name} ends {why}", pod.name))?;
    }
    Ok(())
}

/// Whether a person ended the drain of a revision.
pub(super) fn finished(sim: &Sim, revision: &str) -> bool {
    sim.history.commands.iter().any(|(key, named)| *key == keys::command::FINISH_DRAIN && named == revision)
}

/// Whether the clock decides, as nothing is measured.
pub(super) fn timed(sim: &Sim, object: &Value) -> bool {
    match json::text(object, "/spec/drain/source") {
        "Timer" => true,
        "Metric" => false,
        _ => !sim.scenario.agent,
    }
}

/// A pod that goes alone.
fn alone(sim: &Sim, write: &Write, before: &Value) -> Result<(), String> {
    let (uid, name) = (json::uid(before), json::name(before));
    let revision = json::label(before, keys::REVISION).unwrap_or_default();
    if sim
        .scenario
        .services
        .iter()
        .filter_map(|service| sim.store.get(Resource::Service, &write.call.namespace, service))
        .any(|service| json::annotation(service, keys::SELECTED).is_some() && sim.leads_to(service, revision))
    {
        return Err(format!("pod {name} is deleted, which a Service selects"));
    }
    let (Some(glance), Some(left)) = (&write.basis.glance, sim.history.parted.get(uid)) else {
        // One that was made while its set went away, and was never marked before that.
        return if sim.history.endpoints.contains(uid) { Err(format!("pod {name} is deleted without a mark")) } else { Ok(()) };
    };
    if glance.reached.contains(uid) {
        return Err(format!("pod {name} ends alone while users may be sent there: it is an endpoint, or was a moment ago, as was told"));
    }
    if finished(sim, revision.strip_prefix(keys::LEFT_PREFIX).unwrap_or(revision)) {
        return Ok(());
    }
    let Some(object) = sim.object() else { return Ok(()) };
    let slack = Duration::from_millis(2 * sim.history.wrong + 1500);
    let over = |seconds: i64| glance.at + slack >= *left + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let Some(pod) = sim.peers.pods.get(uid) else { return Ok(()) };
    if over(json::number(&object, "/spec/drain/deadlineSeconds")) || sim.peers.nodes.get(&pod.node).is_none_or(|node| !node.up) {
        return Ok(());
    }
    if timed(sim, &object) {
        let early = !over(json::number(&object, "/spec/drain/fallbackSeconds")) && sim.history.endpoints.contains(uid);
        return if early { Err(format!("pod {name}, which nobody measures, ends before its time")) } else { Ok(()) };
    }
    measured(sim, glance, uid, pod).map_err(|why| format!("pod {name} ends alone {why}"))
}

fn measured(sim: &Sim, retirement: &Retirement, uid: &str, pod: &Running) -> Result<(), String> {
    let Some(told) = retirement.told.get(uid) else {
        return if sim.history.endpoints.contains(uid) { Err("without a single report about it".into()) } else { Ok(()) };
    };
    if told.unreadable {
        // A pod that never was behind a Service, such as one that is just starting, has nothing to lose.
        return if sim.history.endpoints.contains(uid) { Err("while its connections can't be read".into()) } else { Ok(()) };
    }
    if told.open > 0 {
        return Err(format!("with {} open connections, as was told", told.open));
    }
    if retirement.at.saturating_sub(told.sampled) > OLD {
        return Err(format!("on a sample of {:.1} s ago", retirement.at.saturating_sub(told.sampled).as_secs_f64()));
    }
    match pod.sockets.values().find(|socket| socket.opened < told.sampled) {
        Some(socket) => Err(format!("with a connection of {} that is open since {:.3}", socket.peer, socket.opened.as_secs_f64())),
        None => Ok(()),
    }
}
