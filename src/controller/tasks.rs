//! Long-running work outside the plan: smoke probes, and telling pods to drain. Results enter the next snapshot.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::api::{ProbeResult, Scheme, SmokeProbe};
use crate::probe::{self, Check};
use crate::release::action::{BeginCall, ProbeRun, SmokeRun};
use crate::release::{Begun, ProbeObservation};

use super::api::ApiServer;
use super::context::Context;
use super::prober::Prober;
use super::world::Key;

/// Longest time for one try to tell a pod.
const TELL: Duration = Duration::from_secs(5);
/// How long a probe through a Service waits after the Service's endpoints have changed: nodes follow with a delay, a second at most by
/// kube-proxy's defaults, and until then pods of the former revision may answer.
const FOLLOW: Duration = Duration::from_secs(2);
/// Pauses between tries to tell a pod; after the last one it counts as not told.
const TELL_AGAIN: [u64; 4] = [1, 2, 4, 8];

/// Ends with whoever holds it.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a smoke probe is about: set, hash of the probes, probe, pod.
type ProbeKey = (String, String, String, Option<String>);
/// And where it goes: a Service that was made again has another address.
type Place = (ProbeKey, SocketAddr);

/// Work under way, by object.
#[derive(Default)]
pub struct Tasks {
    probes: Mutex<HashMap<String, HashMap<Place, Running>>>,
    calls: Mutex<HashMap<String, HashMap<String, Running>>>,
    /// The context as tasks hold it; set once, when the controller starts.
    home: Mutex<Option<Arc<dyn Home>>>,
}

/// What a task needs of the context, whatever the API server is.
pub trait Home: Send + Sync {
    /// Changes what is remembered about an object, and has it looked at.
    fn report(&self, uid: &str, key: &Key, found: Found);
    /// The time.
    fn wall(&self) -> jiff::Timestamp;
    /// The way to the pods.
    fn prober(&self) -> &dyn Prober;
}

/// What a task found out.
pub enum Found {
    /// About a smoke probe; whether it is worth a look is in the second field.
    Probe(ProbeObservation, bool),
    /// About a pod that was to be told.
    Begun(String, Begun),
}

impl<A: ApiServer> Home for Context<A> {
    fn report(&self, uid: &str, key: &Key, found: Found) {
        let look = self.remember(uid, |remembered| match found {
            Found::Probe(observation, look) => {
                let same = |known: &&mut ProbeObservation| {
                    known.set_uid == observation.set_uid
                        && known.probes == observation.probes
                        && known.probe == observation.probe
                        && known.pod == observation.pod
                };
                match remembered.probes.iter_mut().find(same) {
                    Some(known) => *known = observation,
                    None => remembered.probes.push(observation),
                }
                look
            }
            Found::Begun(pod, outcome) => {
                remembered.begun.insert(pod, outcome);
                true
            }
        });
        if look {
            self.look(key.clone());
        }
    }

    fn wall(&self) -> jiff::Timestamp {
        self.clock.now().wall
    }

    fn prober(&self) -> &dyn Prober {
        self.prober.as_ref()
    }
}

impl Tasks {
    /// Says where results go.
    pub fn at_home(&self, home: Arc<dyn Home>) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(home);
    }

    fn home(&self) -> Option<Arc<dyn Home>> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs exactly these smoke probes; those already decided are not run again, and results of other sets are forgotten.
    pub fn smoke<A: ApiServer>(&self, context: &Context<A>, key: &Key, uid: &str, wanted: Option<&SmokeRun>) {
        let mut all = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wanted) = wanted else {
            all.remove(uid);
            context.remember(uid, |remembered| remembered.probes.clear());
            return;
        };
        let Some(home) = self.home() else { return };
        let about = |run: &ProbeRun| (wanted.set_uid.clone(), wanted.probes.clone(), run.probe.name.clone(), run.pod.clone());
        let keep: Vec<ProbeKey> = wanted.runs.iter().map(about).collect();
        let decided = context.remember(uid, |remembered| {
            remembered.probes.retain(|known| known.set_uid == wanted.set_uid && known.probes == wanted.probes);
            // A target that went away while it was tested starts again from nothing when it comes back.
            remembered.probes.retain(|known| {
                known.result != ProbeResult::Running
                    || keep.contains(&(known.set_uid.clone(), known.probes.clone(), known.probe.clone(), known.pod.clone()))
            });
            remembered
                .probes
                .iter()
                .filter(|known| known.result == ProbeResult::Passed || known.result == ProbeResult::Failed && !wanted.persistent)
                .map(|known| (known.probe.clone(), known.pod.clone()))
                .collect::<Vec<_>>()
        });
        let running = all.entry(uid.to_owned()).or_default();
        let place = |run: &ProbeRun| (about(run), SocketAddr::new(run.address, run.port));
        let places: Vec<Place> = wanted.runs.iter().map(place).collect();
        running.retain(|run, _| places.contains(run));
        for run in &wanted.runs {
            if decided.contains(&(run.probe.name.clone(), run.pod.clone())) {
                continue;
            }
            running.entry(place(run)).or_insert_with(|| {
                let task = smoke_probe(home.clone(), key.clone(), uid.to_owned(), wanted.clone(), run.clone());
                Running(tokio::spawn(task))
            });
        }
    }

    /// Tells exactly these pods; a call under way goes on.
    pub fn begin(&self, key: &Key, uid: &str, wanted: &[BeginCall]) {
        let mut all = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() {
            all.remove(uid);
            return;
        }
        let Some(home) = self.home() else { return };
        let running = all.entry(uid.to_owned()).or_default();
        running.retain(|pod, _| wanted.iter().any(|call| &call.pod == pod));
        for call in wanted {
            running.entry(call.pod.clone()).or_insert_with(|| Running(tokio::spawn(tell(home.clone(), key.clone(), uid.to_owned(), call.clone()))));
        }
    }

    /// Ends everything about objects that are gone.
    pub fn keep(&self, living: &std::collections::BTreeSet<String>) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| living.contains(uid));
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| living.contains(uid));
    }

    /// Ends everything, and forgets where results go: whoever holds these tasks is held by them no longer.
    pub fn end(&self) {
        self.keep(&std::collections::BTreeSet::new());
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One smoke probe on one target, until it is decided.
async fn smoke_probe(home: Arc<dyn Home>, key: Key, uid: String, about: SmokeRun, run: ProbeRun) {
    let SmokeRun { set_uid, probes, runs: _, persistent } = about;
    let ProbeRun { probe, pod, target, address, port } = run;
    let check = check(&probe);
    let timeout = seconds(probe.timeout_seconds);
    let mut observation = ProbeObservation {
        set_uid,
        probes,
        probe: probe.name.clone(),
        pod,
        target,
        result: ProbeResult::Running,
        attempts: 0,
        message: String::new(),
        at: home.wall(),
    };
    let mut passes = 0;
    let mut failures = 0;
    if observation.pod.is_none() {
        tokio::time::sleep(FOLLOW).await;
    }
    let mut ticks = tokio::time::interval(seconds(probe.period_seconds));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = home.prober().attempt(&check, SocketAddr::new(address, port), timeout).await;
        observation.attempts += 1;
        let before = observation.message.clone();
        match outcome {
            Ok(()) => {
                passes += 1;
                failures = 0;
                observation.message.clear();
            }
            // No descriptor or port free here: that says nothing about the pod.
            Err(failure @ probe::Failure::NotTried { .. }) => observation.message = failure.to_string(),
            Err(failure) => {
                failures += 1;
                passes = 0;
                observation.message = failure.to_string();
            }
        }
        observation.result = match () {
            () if failures >= probe.failure_threshold => ProbeResult::Failed,
            () if passes >= probe.success_threshold => ProbeResult::Passed,
            () => ProbeResult::Running,
        };
        let decided = observation.result != ProbeResult::Running;
        if decided {
            observation.at = home.wall();
        }
        // A first failure is worth a look, too: it says why the release takes its time.
        home.report(&uid, &key, Found::Probe(observation.clone(), decided || observation.message != before));
        if observation.result == ProbeResult::Passed || decided && !persistent {
            return;
        }
    }
}

fn seconds(number: i32) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(1).max(1))
}

/// What one attempt of a smoke probe checks.
fn check(probe: &SmokeProbe) -> Check {
    if let Some(http) = &probe.http_get {
        let (host, headers): (Vec<_>, Vec<_>) = http.http_headers.iter().partition(|header| header.name.eq_ignore_ascii_case("host"));
        return Check::Http {
            scheme: match http.scheme {
                Scheme::Http => probe::Scheme::Http,
                Scheme::Https => probe::Scheme::Https,
            },
            host: host.first().map(|header| header.value.clone()).unwrap_or_default(),
            path: http.path.clone(),
            headers: headers.into_iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
            expect_status: http.expect.status.iter().filter_map(|status| u16::try_from(*status).ok()).collect(),
            body_contains: http.expect.body_contains.clone(),
        };
    }
    match &probe.grpc {
        Some(grpc) => Check::Grpc { service: grpc.service.clone() },
        None => Check::Tcp,
    }
}

/// Tells one pod that it is being left.
async fn tell(home: Arc<dyn Home>, key: Key, uid: String, call: BeginCall) {
    let mut last = String::new();
    for pause in TELL_AGAIN.iter().map(Some).chain([None]) {
        match home.prober().tell(&call.path, SocketAddr::new(call.address, call.port), TELL).await {
            Ok(()) => return home.report(&uid, &key, Found::Begun(call.pod, Begun::Told)),
            Err(failure) => last = failure.to_string(),
        }
        if let Some(pause) = pause {
            tokio::time::sleep(Duration::from_secs(*pause)).await;
        }
    }
    tracing::warn!(namespace = key.namespace, name = key.name, pod = call.name, "the pod could not be told to drain: {last}");
    home.report(&uid, &key, Found::Begun(call.pod, Begun::Failed(last)));
}

#[cfg(test)]
#[path = "tests/tasks.rs"]
mod tests;
