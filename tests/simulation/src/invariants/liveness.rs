//! Once nothing goes wrong any more: the release is finished, or stalled for a reason that really holds (8, 11).

use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::keys::{self, command};
use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use super::is_steady;
use crate::agenda::Happening;
use crate::bystander::is_its;
use crate::group;
use crate::json;
use crate::scenario::version_of;
use crate::sim::{NAMESPACE, Sim};

/// How long it may take until everything is at rest: deadlines of bring-up and drain, and pauses between tries.
const PATIENCE: Duration = Duration::from_secs(600);

/// Looks whether everything has come to its end.
pub fn look(sim: &mut Sim) {
    let rested = settled(sim);
    let late = sim.now() > Duration::from_secs(sim.scenario.busy_seconds) + PATIENCE;
    match rested {
        Ok(()) => {
            if is_steady(sim) {
                sim.over = true;
                return;
            }
        }
        Err(why) if late => {
            let object = sim.object().unwrap_or_default();
            let stalled = json::condition(&object, "Stalled").map(Value::to_string).unwrap_or_default();
            sim.violated("11 it comes to an end", format!("{why}; phase {}, {stalled}", json::text(&object, "/status/phase")));
            return;
        }
        Err(_) => sim.history.steady = None,
    }
    sim.later(Duration::from_secs(5), Happening::Over);
}

fn settled(sim: &Sim) -> Result<(), String> {
    sim.bystander_rests()?;
    let object = sim.object().ok_or("the object is gone")?;
    group::rests(&object, sim.bystander().as_deref())?;
    let status = object.get("status").cloned().unwrap_or_default();
    if json::number(&status, "/observedGeneration") != json::number(&object, "/metadata/generation") {
        return Err("the latest spec has not been looked at".into());
    }
    let to = json::text(&status, "/switch/to").to_owned();
    if json::items(&status, "/draining").next().is_some() {
        return Err("a set still drains".into());
    }
    let stays = |pod: &&Arc<Value>| json::text(pod, "/metadata/namespace") == NAMESPACE && json::alive(pod) && live_set(sim, pod).is_none();
    if let Some(pod) = sim.store.all(Resource::Pod).filter(stays).find(|pod| !nobodys(sim, pod)) {
        return Err(format!("pod {} belongs to no ReplicaSet and is still there", json::name(pod)));
    }
    super::hooks::rest(sim)?;
    serving(sim, &object, &to)?;
    dressed(sim, &object, &to)?;
    let expecting = expected(sim, &object, &to)?;
    let refused = object.pointer("/spec/template/spec/contaners").is_some();
    for set in sim.store.all(Resource::ReplicaSet).filter(|set| !is_its(json::name(set))) {
        let revision = json::label(set, keys::REVISION).unwrap_or_default();
        // What a refused template supersedes is not known.
        let serves = json::annotation(set, keys::ROLE).is_some_and(|role| !role.starts_with("retired"));
        let unknown = refused && !serves && json::text(&status, "/rejected/revision") != revision;
        // Where the set that serves is gone for good, what a Service still selects stays.
        let lost = sim.first_set(&to).is_none()
            && sim.scenario.services.iter().any(|name| {
                let service = sim.store.get(Resource::Service, NAMESPACE, name);
                service.is_some_and(|service| json::selects(service) == Some(revision))
            });
        if revision != to && !unknown && !lost && Some(revision) != expecting.as_deref() && json::number(set, "/spec/replicas") > 0 {
            return Err(format!("the set of {} still has {} replicas", sim.named(revision), json::number(set, "/spec/replicas")));
        }
    }
    Ok(())
}

/// Whether a pod is of a ReplicaSet that a person deleted without its pods, and was not marked before that, or serves again since.
fn nobodys(sim: &Sim, pod: &Value) -> bool {
    let set_free = sim.history.set_free.iter().any(|set| json::name(pod).starts_with(&format!("{set}-")));
    let services = sim.scenario.services.iter().filter_map(|name| sim.store.get(Resource::Service, NAMESPACE, name));
    let revision = json::label(pod, keys::REVISION);
    let serves = services.into_iter().any(|service| json::selects(service) == revision);
    set_free && json::controller(pod).is_none() && (serves || json::annotation(pod, keys::LEFT).is_none()) && json::alive(pod)
}

/// Pods bear what belongs to the active role, and nothing of another.
fn dressed(sim: &Sim, object: &Value, to: &str) -> Result<(), String> {
    let active = |pod: &&Arc<Value>| json::label(pod, keys::REVISION) == Some(to) && json::alive(pod) && live_set(sim, pod).is_some();
    let wanted = json::member(object, "/spec/podMetadata/active/labels", "role");
    let wrong = |pod: &Arc<Value>| json::label(pod, "role") != wanted || json::annotation(pod, "karpenter.sh/do-not-disrupt").is_some();
    match sim.store.all(Resource::Pod).filter(active).find(|pod| wrong(pod)) {
        Some(pod) => Err(format!("pod {} bears {}", json::name(pod), pod.pointer("/metadata").cloned().unwrap_or_default())),
        None => Ok(()),
    }
}

/// The ReplicaSet that controls a pod.
fn live_set<'a>(sim: &Sim, pod: &'a Value) -> Option<&'a str> {
    json::controller(pod).filter(|controller| sim.store.by_uid(Resource::ReplicaSet, controller).is_some())
}

/// Everyone is served by the active revision, at full size.
fn serving(sim: &Sim, object: &Value, to: &str) -> Result<(), String> {
    // Nobody is served before a first revision has passed.
    let revision = if to.is_empty() { keys::REVISION_NONE } else { to };
    // Where the active set was deleted by hand there is nobody to serve, and nothing to put a selector back for.
    let lost = to.is_empty() || sim.history.by_hand && sim.store.all(Resource::ReplicaSet).all(|set| json::label(set, keys::REVISION) != Some(to));
    for name in sim.scenario.services.iter().filter(|_| !lost || to.is_empty()) {
        let service = sim.store.get(Resource::Service, NAMESPACE, name).ok_or_else(|| format!("Service {name} does not exist"))?;
        let selector = service.pointer("/spec/selector").cloned().unwrap_or_default();
        // What an earlier object has left behind stays as it is until this one can begin.
        let behind = to.is_empty() && sim.history.remade && !sim.leads(service);
        if !behind && selector != json!({"app": "shop", keys::REVISION: revision}) {
            return Err(format!("Service {name} selects {selector} and not {}", sim.named(to)));
        }
    }
    let ready =
        sim.store.all(Resource::Pod).filter(|pod| json::label(pod, keys::REVISION) == Some(to) && json::alive(pod) && json::ready(pod)).count();
    let wanted = json::number(object, "/spec/replicas");
    if i64::try_from(ready).unwrap_or(0) != wanted && !lost {
        return Err(format!("{ready} of {wanted} pods of {} are ready", sim.named(to)));
    }
    Ok(())
}

/// Whether what status says is true; answers the revision that is still expected to come up, if any.
fn expected(sim: &Sim, object: &Value, to: &str) -> Result<Option<String>, String> {
    let status = object.get("status").cloned().unwrap_or_default();
    let condition = |kind: &str| json::condition(object, kind).cloned().unwrap_or_default();
    let (phase, revision) = (json::text(&status, "/phase"), json::text(&status, "/revision"));
    let (stalled, reason) = (json::text(&condition("Stalled"), "/status").to_owned(), json::text(&condition("Stalled"), "/reason").to_owned());
    let bystander = sim.bystander();
    if phase == "Complete" {
        let asked = version_of(object.pointer("/spec/template").unwrap_or(&Value::Null));
        if revision != to || sim.names.get(to).map(String::as_str) != Some(asked) {
            return Err(format!("Complete with {} although {asked} was asked for", sim.named(to)));
        }
        let ready = json::text(&condition("Ready"), "/status").to_owned();
        // It can't go back where another of its group did.
        let alone = reason == "GroupWentBack" && !sim.history.group.undone.is_empty();
        let kept = group::keeps_for(sim, object, bystander.as_deref());
        return if ready == "True" && stalled == "False" || alone {
            Ok(kept)
        } else {
            Err(format!("Complete, but Ready={ready} and Stalled={stalled} {reason}"))
        };
    }
    if group::waits(object, bystander.as_deref()) {
        return Ok(Some(revision.to_owned()));
    }
    if group::bears(sim, object, bystander.as_deref()) {
        return Ok(Some(json::text(&status, "/switch/from").to_owned()));
    }
    if stalled != "True" {
        return Err(format!("{phase} without an end"));
    }
    let commanded = |key: &str, value: &str| sim.history.commands.iter().any(|(known, named)| *known == key && named.starts_with(value));
    let holds = match reason.as_str() {
        "SmokeFailed" => sim.history.failed.contains(revision) || sim.history.hooks_failed.contains(revision),
        "HookFailed" => sim.history.hooks_failed.contains(revision),
        "Aborted" => commanded(command::ABORT, revision),
        "RolledBack" => commanded(command::ROLLBACK, ""),
        "LostAllReadyPods" => true,
        "GroupWentBack" => !sim.history.group.undone.is_empty(),
        "BakeFailed" => sim.history.ill.contains(json::text(&status, "/rejected/revision")) || sim.history.ill.contains(to),
        "TemplateRefused" => object.pointer("/spec/template/spec/contaners").is_some(),
        "ProgressDeadlineExceeded" => !sim.peers.pods.values().any(|pod| pod.revision == revision && pod.listens),
        "RevisionGone" => sim.history.by_hand,
        // A pod that a person set free serves, through a Service that was given back when the object was deleted.
        "ServiceServesOthers" => !sim.history.set_free.is_empty() && sim.store.all(Resource::Pod).any(|pod| nobodys(sim, pod)),
        _ => false,
    };
    if !holds {
        return Err(format!("stalled as {reason}, which is not so"));
    }
    // A way back to a revision that does not come up, or does not pass its probes, is tried until a person decides otherwise.
    let back = json::text(&status, "/rejected/returnTo");
    Ok(match reason.as_str() {
        "ProgressDeadlineExceeded" => Some(revision.to_owned()),
        // What could not be gone back to at once stays for it.
        "BakeFailed" | "GroupWentBack" if phase == "Bake" => Some(json::text(&status, "/switch/from").to_owned()),
        "RolledBack" if sim.history.failed.contains(back) || !sim.peers.pods.values().any(|pod| pod.revision == back && pod.listens) => {
            Some(back.to_owned())
        }
        _ => None,
    })
}
