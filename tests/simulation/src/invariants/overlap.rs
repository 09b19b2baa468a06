//! Two revisions that serve together (`traffic.cutover: Overlap`): none of their pods is lost on the way in, and the old ones leave only when
//! a load balancer that addresses pods had the time to take in the new ones.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use super::Invariant;
use crate::controller::serve::Write;
use crate::json;
use crate::sim::Sim;

/// Judged by what had been delivered to the process when it sent the request.
pub const INVARIANT: Invariant = Invariant { name: "1 together before alone", check };

fn check(sim: &Sim, write: &Write) -> Result<(), String> {
    match write.call.resource {
        Resource::Service if json::overlaps(&write.after) => match &write.basis.bare {
            Some(pod) => Err(format!("a Service asks for a label that pod {pod} lacks")),
            None => Ok(()),
        },
        Resource::BlueGreenDeployment => narrowed(sim, write),
        _ => Ok(()),
    }
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
    let needed = if replicas == 0 { 0 } else { replicas.min(i64::try_from(left).unwrap_or(i64::MAX)).max(1) };
    if i64::try_from(joined).unwrap_or(i64::MAX) < needed {
        return Err(format!(
            "{} leaves {} alone with {joined} of {needed} pods that have been endpoints for {seconds} s",
            sim.named(from),
            sim.named(to)
        ));
    }
    Ok(())
}
