//! Smoke: the incoming revision is tested before any traffic moves to it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::{HookPoint, ProbeResult, ProbeTarget, Prometheus, PromotionMode, SmokeProbe};

use crate::probe::Endpoint;

use super::action::{Action, ProbeRun, SetChange, SetRef, SmokeRun};
use super::bring_up;
use super::hooks::{self, Gate};
use super::preflight::port_of;
use super::revision::probes_hash;
use super::set::{Proof, Set};
use super::snapshot::{Pod, ProbeObservation, Service, ServicePort};
use super::status;
use super::view::{View, count};

/// What a Job about the revision waits for: it may ask through the preview Service.
const FOLLOWS: &str = "the preview Service is to lead to them before the next Job runs";

/// What the smoke probes say of the incoming revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Smoke {
    /// There is nothing to test.
    None,
    /// Not decided yet.
    Running {
        /// Pods that passed.
        passed: i32,
        /// Pods that must pass.
        needed: i32,
    },
    /// The pods passed, and a Job is to come or under way.
    Job {
        /// What it waits for.
        why: String,
        /// Whether the next one may begin.
        may_begin: bool,
    },
    /// Enough pods passed.
    Passed {
        /// Pods needed for the switch, frozen.
        needed: i32,
    },
    /// A probe failed for good.
    Failed {
        /// Which probe, on which pod, and what it showed.
        message: String,
    },
}

/// What follows from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Probes that are to run now.
    pub run: Option<SmokeRun>,
    /// Writes.
    pub actions: Vec<Action>,
}

/// Decides about the smoke probes of the incoming set.
pub fn step(view: &View<'_>) -> (Smoke, Outcome) {
    let Some(set) = view.target().and_then(|revision| view.set(revision)).filter(|set| set.desired > 0 && view.warm(set)) else {
        return (Smoke::None, Outcome { run: status::untold(view), actions: vec![] });
    };
    let spec = &view.snapshot.object.spec;
    let hash = probes_hash(&spec.smoke_probes);
    let seen: Vec<&ProbeObservation> =
        view.snapshot.probes.iter().filter(|observation| observation.set_uid == set.uid && observation.probes == hash).collect();
    let trusted = trusted(view, set);
    let proof = view.proof(set);
    // What was frozen for its first release says nothing about a set that served and takes over again.
    let frozen = proof.filter(|proof| !view.served(set) && !proof.preview).map(|proof| proof.needed);
    let preview_size = bring_up::preview(view);
    let needed = preview_size.unwrap_or_else(|| needed(view, frozen));
    let runs = if trusted { vec![] } else { runs(view, set, needed) };
    let run = Some(SmokeRun { set_uid: set.uid.clone(), probes: hash.clone(), runs, persistent: !view.forward(), endless: false });
    if let Some(failed) = seen.iter().find(|observation| !trusted && observation.result == ProbeResult::Failed && current(view, set, observation)) {
        let message = format!("smoke probe \"{}\" on {} failed {} times: {}", failed.probe, failed.target, failed.attempts, failed.message);
        return (Smoke::Failed { message }, Outcome { run, actions: vec![] });
    }
    let tested: BTreeSet<&str> = tested(view, set, &seen);
    let passed = count(view.available(set).filter(|pod| tested.contains(pod.uid.as_str())).count());
    // Right after the API server was away, Kubernetes' controllers may know the new selector before they know that these pods are
    // ready, and would leave the Service without endpoints until they do.
    let passed = set.counted.map_or(passed, |counted| passed.min(counted));
    let whole = trusted || proof.is_some() || whole_passed(spec.smoke_probes.as_slice(), &seen);
    if passed < needed || !whole {
        return (Smoke::Running { passed, needed }, Outcome { run, actions: vec![] });
    }
    // A suite of tests is not run against pods that fail simpler ones. What is proven for the first release is not asked again.
    let jobs = !spec.jobs_at(HookPoint::SmokeProbes).is_empty();
    if jobs && !trusted && proof.is_none() {
        let gate = hooks::gate(view, HookPoint::SmokeProbes, &set.revision);
        match gate {
            Gate::Open => {}
            Gate::Failed(message) => return (Smoke::Failed { message }, Outcome { run, actions: vec![] }),
            Gate::Waits(_) if hooks::is_lacking(view) && !is_previewed(view, &set.revision) => {
                return (Smoke::Job { why: FOLLOWS.into(), may_begin: false }, Outcome { run, actions: vec![] });
            }
            Gate::Waits(why) => return (Smoke::Job { why, may_begin: true }, Outcome { run, actions: vec![] }),
        }
    }
    // Only what a later decision needs is written: with nothing tested and nobody to wait for, the switch follows at once.
    // On the way back an older proof may count, which must not be written anew as one of the probes of now.
    // Nor does it say anything of Jobs, of which it has none.
    let back = !view.forward() && (view.served(set) || jobs);
    let waits = spec.promotion.mode == PromotionMode::Manual || spec.promotion.after_seconds > 0 || !spec.promotion.windows.is_empty();
    let sized = spec.bring_up.preview_replicas.is_some();
    let keep = !back && (!spec.smoke_probes.is_empty() || waits || sized);
    let known: BTreeSet<&str> = view.proven(set);
    let pods: BTreeSet<&str> = view.pods(set).map(|pod| pod.uid.as_str()).filter(|uid| tested.contains(uid)).collect();
    let mut actions = vec![];
    // The wait before the switch begins when it passed, or when a person asked for a wait at all.
    let at = proof.and_then(|proof| proof.at).or((spec.promotion.after_seconds > 0).then_some(view.now.wall));
    let grown = proof.is_some_and(|proof| proof.preview) && preview_size.is_none();
    if keep && (!pods.is_subset(&known) || proof.is_none_or(|proof| proof.at != at) || grown) {
        let pods = pods.into_iter().map(str::to_owned).collect();
        let proof = Proof { probes: hash, needed: frozen.unwrap_or(needed), pods, preview: preview_size.is_some(), at };
        actions.push(Action::PatchSet { set: SetRef::of(set), change: SetChange { proof: Some(proof), ..SetChange::default() } });
    }
    (Smoke::Passed { needed }, Outcome { run, actions })
}

/// Pods needed for the switch: frozen when the probes passed, so that growing meanwhile is scaling and no new test (that it is not
/// smaller than what serves is another matter: [`super::growth`]); shrinking counts at once.
fn needed(view: &View<'_>, frozen: Option<i32>) -> i32 {
    let replicas = view.snapshot.object.spec.replicas;
    if view.forward() { frozen.map_or(replicas, |frozen| frozen.min(replicas)).max(1) } else { replicas.min(view.ready_active()).max(1) }
}

/// On the way back to a set that has served and was not told to leave, its pods have proved themselves: the probes of the
/// release that is taken back may not even fit them.
fn trusted(view: &View<'_>, set: &Set) -> bool {
    !view.forward() && view.served(set) && view.warm(set)
}

/// A verdict on a pod that is gone does not count.
fn current(view: &View<'_>, set: &Set, observation: &ProbeObservation) -> bool {
    observation.pod.as_ref().is_none_or(|uid| view.pods(set).any(|pod| &pod.uid == uid))
}

/// Pods of the set that passed every probe that runs on each pod.
pub fn tested<'a>(view: &View<'a>, set: &'a Set, seen: &[&ProbeObservation]) -> BTreeSet<&'a str> {
    let proven = view.proven(set);
    let each: Vec<&SmokeProbe> = view.snapshot.object.spec.smoke_probes.iter().filter(|probe| probe.on_each_pod()).collect();
    let trusted = trusted(view, set);
    view.pods(set)
        .filter(|pod| {
            trusted
                || proven.contains(pod.uid.as_str())
                || each.iter().all(|probe| {
                    seen.iter().any(|observation| {
                        observation.probe == probe.name && observation.pod.as_ref() == Some(&pod.uid) && observation.result == ProbeResult::Passed
                    })
                })
        })
        .map(|pod| pod.uid.as_str())
        .collect()
}

/// Whether what is not about single pods has passed.
fn whole_passed(probes: &[SmokeProbe], seen: &[&ProbeObservation]) -> bool {
    probes.iter().filter(|probe| !probe.on_each_pod() && probe.job.is_none()).all(|probe| {
        seen.iter().any(|observation| observation.probe == probe.name && observation.pod.is_none() && observation.result == ProbeResult::Passed)
    })
}

/// Every probe that has a target now. The runner keeps those that have their verdict.
fn runs(view: &View<'_>, set: &Set, needed: i32) -> Vec<ProbeRun> {
    let proven = view.proven(set);
    let mut runs = vec![];
    for probe in &view.snapshot.object.spec.smoke_probes {
        match probe.target {
            _ if probe.job.is_some() => {}
            _ if probe.of_the_whole() => {
                let asks = proven.is_empty() && count(view.available(set).count()) >= needed;
                runs.extend(on_the_whole(view, set, probe).filter(|_| asks));
            }
            ProbeTarget::EachPod => {
                runs.extend(view.pods(set).filter(|pod| pod.ready && !proven.contains(pod.uid.as_str())).filter_map(|pod| on_pod(probe, pod)))
            }
            ProbeTarget::PreviewService if proven.is_empty() => runs.extend(on_preview(view, set, probe)),
            ProbeTarget::PreviewService => {}
        }
    }
    runs
}

/// A probe of one pod, by its own address, or inside of it.
pub fn on_pod(probe: &SmokeProbe, pod: &Pod) -> Option<ProbeRun> {
    let address = if probe.exec.is_some() { None } else { Some(address_of(probe, pod)?) };
    Some(ProbeRun { probe: probe.clone(), pod: Some(pod.uid.clone()), target: pod.name.clone(), address, body: None })
}

/// A pod in its node's network has the node's address, where the port may be anybody's.
fn address_of(probe: &SmokeProbe, pod: &Pod) -> Option<SocketAddr> {
    let (_, port) = port_of(probe).filter(|_| !pod.host_network)?;
    Some(SocketAddr::new(pod.addresses.first()?.parse().ok()?, u16::try_from(resolve(port, pod)?).ok()?))
}

/// A question about a set to somebody else.
pub fn on_the_whole(view: &View<'_>, set: &Set, probe: &SmokeProbe) -> Option<ProbeRun> {
    on_query(view, set, probe).or_else(|| on_webhook(view, set, probe))
}

/// A webhook: what it is told says which revision, and which serves or served beside it.
fn on_webhook(view: &View<'_>, set: &Set, probe: &SmokeProbe) -> Option<ProbeRun> {
    let asked = probe.webhook.as_ref()?;
    let object = &view.snapshot.object;
    let target = Endpoint::parse(&asked.url).map_or_else(|_| asked.url.clone(), |endpoint| endpoint.authority());
    let active = view.is_active(&set.revision);
    let (from, release) = match view.intent {
        Some(intent) if active => (intent.from.as_deref().unwrap_or_default(), intent.attempt),
        other => (other.map_or("", |intent| intent.to.as_str()), view.next_attempt()),
    };
    // Another one after each retry, and for each time in which the revision comes: the same words would get the same answer.
    let inactive = object.status.inactive.as_ref().filter(|inactive| inactive.revision == set.revision).map(|inactive| inactive.since);
    let since = if active { view.intent.map(|intent| intent.started_at) } else { inactive };
    let body = serde_json::json!({
        "probe": probe.name, "name": object.name, "namespace": object.namespace, "revision": set.revision, "from": from,
        "color": set.color.name(), "images": set.images, "release": release, "serves": active, "since": since,
    });
    Some(ProbeRun { probe: probe.clone(), pod: None, target, address: None, body: Some(body.to_string()) })
}

/// A query about a set: with the names of the release in their places.
fn on_query(view: &View<'_>, set: &Set, probe: &SmokeProbe) -> Option<ProbeRun> {
    let asked = probe.prometheus.as_ref()?;
    let object = &view.snapshot.object;
    let names = [("{{name}}", &object.name), ("{{namespace}}", &object.namespace), ("{{revision}}", &set.revision)];
    // All of them are letters, digits and dashes: none can end a string of the query.
    let query = names.iter().fold(asked.query.clone(), |query, (place, name)| query.replace(place, name));
    // One that can't be read is not asked, and has no verdict: without a run nothing would wait for it.
    let target = Endpoint::parse(&asked.url).map_or_else(|_| asked.url.clone(), |endpoint| endpoint.authority());
    let probe = SmokeProbe { prometheus: Some(Prometheus { query, ..asked.clone() }), ..probe.clone() };
    Some(ProbeRun { probe, pod: None, target, address: None, body: None })
}

/// A container port by number or name.
pub fn resolve(port: &IntOrString, pod: &Pod) -> Option<i32> {
    match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => pod.ports.get(name).copied(),
    }
}

/// The port of a Service that is named by number or name; probes speak TCP.
pub fn port_of_service<'a>(service: &'a Service, port: &IntOrString) -> Option<&'a ServicePort> {
    let named = |candidate: &&ServicePort| match port {
        IntOrString::Int(number) => candidate.port == *number,
        IntOrString::String(name) => &candidate.name == name,
    };
    service.ports.iter().filter(|candidate| candidate.protocol == "TCP").find(named)
}

fn has_address(pod: &Pod, address: IpAddr) -> bool {
    pod.addresses.iter().any(|known| known.parse() == Ok(address))
}

/// Through the preview Service, but only while everything behind it is a ready pod of this very set.
fn on_preview(view: &View<'_>, set: &Set, probe: &SmokeProbe) -> Option<ProbeRun> {
    let name = view.snapshot.object.spec.traffic.preview_services.first()?;
    let service = view.snapshot.services.get(name).filter(|_| previews(view, set, name))?;
    let (_, port) = port_of(probe)?;
    // Any other port of that address is not the Service's: with kube-proxy's mode ipvs it would be the node's own.
    let port = port_of_service(service, port)?.port;
    let address = SocketAddr::new(service.cluster_ips.first()?.parse().ok()?, u16::try_from(port).ok()?);
    Some(ProbeRun { probe: probe.clone(), pod: None, target: name.clone(), address: Some(address), body: None })
}

/// Whether the first preview Service leads to a revision, if there is one.
pub fn is_previewed(view: &View<'_>, revision: &str) -> bool {
    let named = view.snapshot.object.spec.traffic.preview_services.first();
    named.is_none_or(|name| view.set(revision).is_some_and(|set| previews(view, set, name)))
}

/// Whether a preview Service leads to ready pods of this very set, and to nobody else.
fn previews(view: &View<'_>, set: &Set, name: &str) -> bool {
    let (Some(service), Some(endpoints)) = (view.snapshot.services.get(name), view.snapshot.endpoints.get(name)) else { return false };
    let ours = super::services::owned(view.snapshot, service) && service.selector == view.selector(&set.revision);
    let only_ready = endpoints.pods.iter().all(|(uid, ready)| *ready && view.pods(set).any(|pod| &pod.uid == uid));
    // Somebody may have written a slice that names a pod of the set and another's address.
    let at_home = endpoints.addresses.iter().all(|(uid, address)| view.pods(set).any(|pod| &pod.uid == uid && has_address(pod, *address)));
    ours && service.kind != "ExternalName" && !endpoints.pods.is_empty() && only_ready && at_home && !endpoints.foreign
}
