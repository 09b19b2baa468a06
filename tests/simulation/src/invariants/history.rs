//! What the invariants keep of each write, once it has been looked at.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::drained::{finished, timed};
use crate::controller::api::Request;
use crate::controller::serve::Write;
use crate::intent::{attempt, recorded};
use crate::json;
use crate::sim::{NAMESPACE, Sim};

/// After a write.
pub fn remember(sim: &mut Sim, write: &Write) {
    let now = sim.now();
    if let Some(switch) = recorded(write)
        && sim.history.intents.insert((attempt(&switch), json::text(&switch, "/to").to_owned()))
    {
        sim.history.releases += 1;
    }
    match write.call.resource {
        Resource::BlueGreenDeployment => {
            let attempt = json::number(&write.after, "/status/switch/attempt");
            let to = json::text(&write.after, "/status/switch/to").to_owned();
            if attempt > 0 {
                sim.history.stored.insert((attempt, to));
            }
        }
        Resource::Service if sim.is_active_service(&write.call.name) => {
            // What it has written it knows, and the endpoints may have been there before. Where another Service leads to both they counted already.
            let others = |sim: &Sim| {
                let others = sim.scenario.services.iter().filter(|name| **name != write.call.name);
                others.filter_map(|name| sim.store.get(Resource::Service, NAMESPACE, name)).any(|service| json::overlaps(service))
            };
            if json::overlaps(&write.after) && !write.before.as_ref().is_some_and(|before| json::overlaps(before)) && !others(sim) {
                sim.now_endpoints(write.process);
            }
            // By what the operator meant to select: a selector put back after somebody else's edit gives nobody more time.
            let selected = |object: &serde_json::Value| {
                json::annotation(object, keys::SELECTED).and_then(|text| text.rsplit_once('@')).map(|(revision, _)| revision.to_owned())
            };
            let (from, to) =
                (write.before.as_ref().and_then(|before| selected(before)).unwrap_or_default(), selected(&write.after).unwrap_or_default());
            // Left is the old one of two that serve together when that ends.
            let ended = write.before.as_ref().is_some_and(|before| json::overlaps(before)) && !json::overlaps(&write.after);
            let other = sim.intent().map(|intent| json::text(&intent, "/from").to_owned()).filter(|_| ended && from == to);
            let left = if from == to { other } else { Some(from.clone()).filter(|_| !json::overlaps(&write.after)) };
            if let Some(left) = left {
                sim.history.left_at.insert(left, now);
            }
            // Who goes from two to a third leaves both.
            let third = write.before.as_ref().filter(|before| json::overlaps(before) && from != to);
            for revision in third.map(|before| sim.together(before)).unwrap_or_default() {
                sim.history.left_at.insert(revision, now);
            }
            sim.history.left_at.remove(&to);
        }
        Resource::Job if matches!(write.call.request, Request::Create { .. }) => {
            sim.history.jobs_made.insert(write.call.name.clone());
        }
        // The same hook of the same release may be asked for again, where a newer template came in between.
        Resource::Job => drop(sim.history.jobs_made.remove(&write.call.name)),
        Resource::Pod if matches!(write.call.request, Request::Delete { .. }) => {
            let uid = json::uid(&write.after).to_owned();
            if let (Some(glance), Some(left), Some(object)) = (&write.basis.glance, sim.history.parted.get(&uid), sim.object()) {
                let seconds = seconds(sim, &object);
                let slack = Duration::from_millis(2 * sim.history.wrong + 1500);
                let label = json::label(&write.after, keys::REVISION).unwrap_or_default();
                let ended = finished(sim, label.strip_prefix(keys::LEFT_PREFIX).unwrap_or(label));
                let over = ended || glance.at + slack >= *left + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                sim.history.alone.insert(uid, (glance.at, over));
            }
        }
        Resource::Pod => {
            let mark = json::annotation(&write.after, keys::LEFT).and_then(|mark| serde_json::from_str::<serde_json::Value>(mark).ok());
            let revision = mark.map(|mark| json::text(&mark, "/revision").to_owned()).unwrap_or_default();
            if let Some(left) = sim.history.left_at.get(&revision).copied() {
                let uid = json::uid(&write.after).to_owned();
                // Marked again after a return to its set and another leave, it was left later.
                let back = json::label(&write.after, keys::REVISION) == Some(revision.as_str());
                if back || !sim.history.parted.contains_key(&uid) {
                    sim.history.parted.insert(uid, left);
                }
            }
        }
        Resource::ReplicaSet => {
            let replicas = |object: &serde_json::Value| json::number(object, "/spec/replicas");
            let served =
                write.before.as_ref().is_some_and(|before| json::annotation(before, keys::ROLE).is_some_and(|role| !role.starts_with("retired")));
            if served && write.before.as_ref().is_some_and(|before| replicas(before) > 0) && replicas(&write.after) == 0 {
                sim.history.retired += 1;
                let set = json::uid(&write.after).to_owned();
                // A set that is brought up again is retired again.
                sim.history.drained.remove(&set);
                sim.history.overdue.remove(&set);
                match retirement(sim, write) {
                    Some((at, false)) => drop(sim.history.drained.insert(set, at)),
                    Some((_, true)) => drop(sim.history.overdue.insert(set)),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// When the retirement of a set was decided, and whether its deadline was over by then, or a person had ended its drain.
fn retirement(sim: &Sim, write: &Write) -> Option<(Duration, bool)> {
    let retirement = write.basis.retirement.as_ref()?;
    let revision = json::label(&write.after, keys::REVISION)?;
    let left = sim.history.left_at.get(revision).copied().unwrap_or_default();
    let object = sim.object()?;
    let seconds = seconds(sim, &object);
    let slack = Duration::from_millis(2 * sim.history.wrong + 1500);
    Some((retirement.at, finished(sim, revision) || retirement.at + slack >= left + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
}

/// Seconds after which pods may go with whatever is open: the deadline, or the timer where nothing is measured.
fn seconds(sim: &Sim, object: &serde_json::Value) -> i64 {
    let timer = timed(sim, object);
    let deadline = json::number(object, "/spec/drain/deadlineSeconds");
    if timer { deadline.min(json::number(object, "/spec/drain/fallbackSeconds")) } else { deadline }
}

/// After a step: which pods have been endpoints, and how wrong clocks have been.
pub fn follow(sim: &mut Sim) {
    let wrong = sim.faults.wrong_clocks.iter().map(|wrong| wrong.load(std::sync::atomic::Ordering::SeqCst).unsigned_abs()).max().unwrap_or(0);
    sim.history.wrong = sim.history.wrong.max(wrong);
    let revision = sim.store.revision();
    if sim.history.looked == revision {
        return;
    }
    sim.history.looked = revision;
    for service in sim.scenario.services.clone() {
        let Some(slice) = sim.store.get(Resource::EndpointSlice, NAMESPACE, &format!("{service}-slice")) else { continue };
        let uids: Vec<String> = json::items(slice, "/endpoints").map(|endpoint| json::text(endpoint, "/targetRef/uid").to_owned()).collect();
        sim.history.endpoints.extend(uids);
    }
}
