//! Two revisions that serve together (`traffic.cutover: Overlap`): none of their pods is lost on the way in, and the old ones leave only when
//! a load balancer that addresses pods had the time to take in the new ones.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::serve::Write;
use crate::history::needed;
use crate::json;
use crate::sim::{NAMESPACE, Sim};

/// Judged by what had been delivered to the process when it sent the request.
pub const INVARIANT: Invariant = Invariant { name: "1 together before alone", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    match write.call.resource {
        Resource::Service if sim.is_active_service(&write.call.name) => selector(sim, write),
        Resource::BlueGreenDeployment => narrowed(sim, write),
        _ => Ok(()),
    }
}

fn selector(sim: &Sim, write: &Write) -> Result<(), String> {
    if let Some(pod) = &write.basis.bare {
        return Err(format!("a Service asks for a label that pod {pod} lacks"));
    }
    let Some(before) = &write.before else { return Ok(()) };
    let (was, is) = (json::overlaps(before), json::overlaps(&write.after));
    let selected = |service| json::annotation(service, keys::SELECTED).unwrap_or_default();
    let same = selected(before) == selected(&write.after);
    let stored = sim.object().unwrap_or_default();
    let switch = |field: &str| json::text(&stored, &format!("/status/switch/{field}")).to_owned();
    let about = format!("{}@{}", switch("to"), json::number(&stored, "/status/switch/attempt"));
    let narrowed = about == selected(&write.after) && !switch("narrowedAt").is_empty();
    if is && !was && same && narrowed {
        return Err(format!("{} serves beside the one that it had left", sim.named(json::selects(&write.after).unwrap_or_default())));
    }
    // Where the old set is gone, or may not serve any more, there is nobody to be beside.
    let beside = sim.first_set(&switch("from")).is_some_and(|set| json::number(set, "/spec/replicas") > 0);
    if was && !is && same && about == selected(&write.after) && !narrowed && beside {
        return Err(format!("{} serves alone before that is on record", sim.named(json::selects(&write.after).unwrap_or_default())));
    }
    Ok(())
}

fn narrowed(sim: &Sim, write: &Write) -> Result<(), String> {
    let at = |object: &serde_json::Value| json::text(object, "/status/switch/narrowedAt").to_owned();
    if at(&write.after).is_empty() || write.before.as_ref().is_some_and(|before| at(before) == at(&write.after)) {
        return Ok(());
    }
    let (to, from) = (json::text(&write.after, "/status/switch/to"), json::text(&write.after, "/status/switch/from"));
    let seconds = u64::try_from(json::number(&write.after, "/spec/traffic/overlapSeconds")).unwrap_or(0);
    let pods = |revision: &str| {
        let revision = revision.to_owned();
        sim.store.all(Resource::Pod).filter(move |pod| json::label(pod, keys::REVISION) == Some(&revision))
    };
    let long = |uid: &str| write.basis.joined.get(uid).is_some_and(|passed| *passed >= Duration::from_secs(seconds));
    let joined = pods(to).filter(|pod| long(json::uid(pod))).count();
    // Any recent value counts, and of the old pods those that are ready now: the process may have known of fewer.
    let since = sim.now().saturating_sub(Duration::from_secs(60));
    let recent = sim.history.replicas.iter().filter(|(at, _)| *at >= since).map(|(_, replicas)| *replicas);
    let replicas = recent.chain([json::number(&write.after, "/spec/replicas")]).min().unwrap_or(1);
    let left = pods(from).filter(|pod| json::alive(pod) && json::ready(pod)).count();
    let frozen = sim.first_set(to).and_then(|set| needed(set)).unwrap_or(i64::MAX);
    let leads = |name: &String| sim.store.get(Resource::Service, NAMESPACE, name).is_some_and(|service| json::overlaps(service));
    let nobody = replicas == 0 || !sim.scenario.services.iter().any(leads);
    let needed = if nobody { 0 } else { replicas.min(i64::try_from(left).unwrap_or(i64::MAX)).min(frozen).max(1) };
    if i64::try_from(joined).unwrap_or(i64::MAX) < needed {
        return Err(format!(
            "{} leaves {} alone with {joined} of {needed} pods that have been endpoints for {seconds} s",
            sim.named(from),
            sim.named(to)
        ));
    }
    Ok(())
}
