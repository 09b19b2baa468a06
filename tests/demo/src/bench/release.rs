//! One measured release.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bluegreen::api::{BlueGreenDeployment, keys};
use demo::failure::{Failure, Result};
use demo::install::{Images, RELEASE, SYSTEM};
use demo::place::Place;
use demo::shop::{SHOP, Shop, brief, is_complete, manifest};
use demo::users::{Long, Purpose};
use demo::watch::{Thing, Watches};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

use super::audit::{self, Log};
use super::process::usage;

/// How long a release may take.
const WITHIN: Duration = Duration::from_secs(90);
/// How long after convergence the old connection ends: by then it is all that holds the old pods.
const HELD: Duration = Duration::from_secs(3);

/// What one release showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// From the last Ready to the last Service patch, in milliseconds.
    pub switch_ms: f64,
    /// From the end of the last old connection until the ReplicaSet was seen at 0, in milliseconds.
    pub scale_down_ms: f64,
    /// The controller's requests, by verb and resource.
    pub requests: BTreeMap<String, u32>,
    /// CPU time of the controller.
    pub controller_cpu: Duration,
    /// CPU time of both agents.
    pub agent_cpu: Duration,
}

/// The user as which the controller asks.
#[must_use]
pub fn controller() -> String {
    format!("system:serviceaccount:{SYSTEM}:{RELEASE}")
}

/// The spec of measured releases: no probes, and times short enough to measure many.
#[must_use]
pub fn spec() -> Value {
    json!({"traffic": {"services": [SHOP], "quietSeconds": 2}, "drain": {"minimumSeconds": 1}})
}

/// Releases the next version while an echo is connected, and ends the echo when nothing else holds the old pods.
///
/// # Errors
/// If something does not happen in time, or the echo is cut.
pub async fn measure(place: &Place, shop: &Shop, images: &Images, log: &Path, version: u32) -> Result<Measured> {
    let (http, echo) = (shop.address(80).await?, shop.address(9000).await?);
    let mut long = Long::begin(place, &http, &echo, &[Purpose::Echo])?;
    let cpu = [usage(&shop.client, "controller").await?.cpu, usage(&shop.client, "agent").await?.cpu];
    let log = Log::from_now(log)?;
    let mut watches = Watches::begin(shop);
    let (from, to) = (format!("v{version}"), format!("v{}", version + 1));
    shop.apply::<BlueGreenDeployment>(SHOP, &manifest(&images.app, &to, &spec())).await?;

    let mut versions = BTreeMap::new();
    let mut new_pods = BTreeSet::new();
    let mut converged: Option<Instant> = None;
    let (mut ended_ms, mut scaled_ms) = (None, None);
    let mut complete = false;
    let mut looks = interval(Duration::from_millis(50));
    let deadline = Instant::now() + WITHIN;
    while !(complete && scaled_ms.is_some()) {
        tokio::select! {
            biased;
            Some(seen) = watches.seen.recv() => match seen.what {
                Thing::Set(set) => {
                    let template = serde_json::to_value(&set.spec.template)?;
                    let version = demo::shop::version(&template).unwrap_or_default();
                    if version == from && set.spec.replicas == Some(0) {
                        scaled_ms.get_or_insert(seen.at_ms);
                    }
                    versions.insert(set.labels().get(keys::REVISION).cloned().unwrap_or_default(), version);
                }
                Thing::Pod(pod) => {
                    let revision = pod.labels().get(keys::REVISION).cloned().unwrap_or_default();
                    if versions.get(&revision) == Some(&to) {
                        new_pods.insert(pod.name_any());
                    }
                }
                Thing::Shop(shop) => {
                    let status = shop.status.clone().unwrap_or_default();
                    let current = demo::shop::version(&shop.spec.template).as_ref() == Some(&to) && Some(status.observed_generation) == shop.metadata.generation;
                    complete = current && is_complete(&shop);
                    let switch = status.switch.as_ref().filter(|switch| versions.get(&switch.to) == Some(&to));
                    if current && switch.is_some_and(|switch| switch.converged_at.is_some()) {
                        converged.get_or_insert_with(Instant::now);
                    }
                }
                Thing::PodGone(_) | Thing::Service(_) => {}
            },
            _ = looks.tick() => {
                if ended_ms.is_none() && converged.is_some_and(|at| at.elapsed() >= HELD) {
                    for one in &mut long {
                        one.stop()?;
                        ended_ms = one.ended.as_ref().map(|ended| ended.summary.ended_ms);
                    }
                }
            }
        }
        if Instant::now() >= deadline {
            let seen = brief(&shop.api().get(SHOP).await?);
            return Err(Failure::Late { what: format!("the end of the release of {to}"), within: WITHIN, seen });
        }
    }
    if let Some(cut) = long.iter().find(|one| one.was_whole() != Some(true)) {
        return Err(Failure::Said(format!("the echo did not survive the release of {to}: {}", cut.story())));
    }
    // What the controller asks once all is over belongs to the release too.
    sleep(Duration::from_secs(2)).await;
    let requests = log.requests()?;
    let pods: Vec<String> = new_pods.into_iter().collect();
    let switch_ms = audit::ready_to_switched_ms(&requests, &controller(), SHOP, &pods)
        .ok_or_else(|| Failure::Said("the audit log does not show when the pods got ready and the Service was patched".into()))?;
    let scale_down = scaled_ms.unwrap_or_default().saturating_sub(ended_ms.unwrap_or_default());
    let [controller_cpu, agent_cpu] = cpu;
    Ok(Measured {
        switch_ms,
        scale_down_ms: Duration::from_millis(scale_down).as_secs_f64() * 1000.0,
        requests: audit::counts(&requests, &controller()),
        controller_cpu: usage(&shop.client, "controller").await?.cpu.saturating_sub(controller_cpu),
        agent_cpu: usage(&shop.client, "agent").await?.cpu.saturating_sub(agent_cpu),
    })
}
