//! Long-running work outside the plan: smoke probes, and telling pods to drain. Results enter the next snapshot.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

use crate::api::{ProbeResult, Through};
use crate::probe::{Check, Failure};
use crate::release::action::{BeginCall, ProbeRun, SmokeRun, Telling};
use crate::release::metric::{Reading, Reads};
use crate::release::reached::FOLLOW;
use crate::release::{Begun, Now, ProbeObservation};

use super::api::ApiServer;
use super::attempt::{check, question};
use super::context::Context;
use super::prober::{PodName, Prober};
use super::reach::Claim;
use super::readings::poll;
use super::warm_up::{self, Gate, Share, warm_up};
use super::world::Key;

/// Longest time for one try to tell a pod.
const TELL: Duration = Duration::from_secs(5);
/// Attempts and calls of one object at the same time. Each may hold 128 KiB of an answer for as long as its timeout allows, and an object may
/// ask for thousands of them.
const OF_ONE: usize = 64;
/// Those of all objects: what fits well into the memory that the chart gives the controller.
const OF_ALL: usize = 1024;
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
type Place = (ProbeKey, Option<SocketAddr>);

/// Who reads a number, by pod, and what.
type Readers = HashMap<String, (Reads, Running)>;

/// Work under way, by object.
pub struct Tasks {
    probes: Mutex<HashMap<String, HashMap<Place, Running>>>,
    calls: Mutex<HashMap<String, HashMap<String, Running>>>,
    reads: Mutex<HashMap<String, Readers>>,
    turns: Mutex<HashMap<String, Turns>>,
    all: Arc<Semaphore>,
    gate: Arc<Gate>,
    /// The context as tasks hold it; set once, when the controller starts.
    home: Mutex<Option<Arc<dyn Home>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            probes: Mutex::default(),
            calls: Mutex::default(),
            reads: Mutex::default(),
            turns: Mutex::default(),
            all: Arc::new(Semaphore::new(OF_ALL)),
            gate: Arc::default(),
            home: Mutex::default(),
        }
    }
}

/// Whose turn it is to send something: one object can't take the place of all others, nor all of them together the controller's memory.
#[derive(Clone)]
pub struct Turns {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    warming: Arc<Share>,
}

impl Turns {
    /// Waits for a turn, which ends with what this returns.
    pub async fn take(&self) -> (Option<SemaphorePermit<'_>>, Option<SemaphorePermit<'_>>) {
        // Neither is ever closed. The own one comes first: who waits for it must not hold a place of all.
        let own = self.own.acquire().await.ok();
        (own, self.all.acquire().await.ok())
    }
}

/// What a task needs of the context, whatever the API server is.
pub trait Home: Send + Sync {
    /// Changes what is remembered about an object, and has it looked at.
    fn report(&self, uid: &str, key: &Key, found: Found);
    /// The time.
    fn now(&self) -> Now;
    /// The way to the pods.
    fn prober(&self) -> &dyn Prober;
}

/// What a task found out.
pub enum Found {
    /// About a smoke probe; whether it is worth a look is in the second field.
    Probe(ProbeObservation, bool),
    /// About a pod that was to be told.
    Begun(String, Begun),
    /// A pod's number; whether it is worth a look is in the last field.
    Reading(String, Reading, bool),
}

impl<A: ApiServer> Home for Context<A> {
    fn report(&self, uid: &str, key: &Key, found: Found) {
        let look = self.remember(uid, |remembered| match found {
            Found::Probe(observation, look) => {
                match remembered.probes.iter_mut().find(|known| key_of(known) == key_of(&observation)) {
                    Some(known) => *known = observation,
                    None => remembered.probes.push(observation),
                }
                look
            }
            Found::Begun(pod, outcome) => {
                remembered.begun.insert(pod, outcome);
                true
            }
            Found::Reading(pod, reading, look) => {
                remembered.readings.insert(pod, reading);
                look
            }
        });
        if look {
            self.look(key.clone());
        }
    }

    fn now(&self) -> Now {
        self.clock.now()
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

    /// Runs exactly these probes; those already decided are not run again, and results of other sets are forgotten.
    pub fn probe<A: ApiServer>(&self, context: &Context<A>, key: &Key, uid: &str, wanted: &[&SmokeRun]) {
        let mut all = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() {
            all.remove(uid);
            context.remember(uid, |remembered| remembered.probes.clear());
            return;
        }
        let Some(home) = self.home() else { return };
        let runs: Vec<(&SmokeRun, &ProbeRun)> = wanted.iter().flat_map(|of| of.runs.iter().map(|run| (*of, run))).collect();
        let keep: Vec<ProbeKey> = runs.iter().map(|(of, run)| about(of, run)).collect();
        let decided: Vec<ProbeKey> = context.remember(uid, |remembered| {
            let of = |known: &ProbeObservation| wanted.iter().find(|of| known.set_uid == of.set_uid && known.probes == of.probes);
            // A target that went away while it was tested starts again from nothing when it comes back.
            remembered.probes.retain(|known| of(known).is_some() && (known.result != ProbeResult::Running || keep.contains(&key_of(known))));
            let settled = |known: &&ProbeObservation| {
                of(known).is_some_and(|of| match known.result {
                    ProbeResult::Passed => !of.endless,
                    ProbeResult::Failed => !of.persistent,
                    ProbeResult::Running => false,
                })
            };
            remembered.probes.iter().filter(settled).map(key_of).collect()
        });
        let running = all.entry(uid.to_owned()).or_default();
        let place = |of: &SmokeRun, run: &ProbeRun| (about(of, run), run.address);
        let places: Vec<Place> = runs.iter().map(|(of, run)| place(of, run)).collect();
        running.retain(|run, _| places.contains(run));
        let turns = self.turns(uid);
        for (of, run) in runs {
            if decided.contains(&about(of, run)) || running.contains_key(&place(of, run)) {
                continue;
            }
            if let Some(why) = refusal(context, run) {
                not_sent(context, home.as_ref(), key, uid, untried(of, run, why, home.now().wall));
                continue;
            }
            // Without the other runs: with all of them in each, they would take memory by their square.
            let about =
                SmokeRun { runs: vec![], set_uid: of.set_uid.clone(), probes: of.probes.clone(), persistent: of.persistent, endless: of.endless };
            let task = smoke_probe(home.clone(), turns.clone(), key.clone(), uid.to_owned(), about, run.clone());
            running.insert(place(of, run), Running(tokio::spawn(task)));
        }
    }

    fn turns(&self, uid: &str) -> Turns {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Turns { own: Arc::new(Semaphore::new(OF_ONE)), all: self.all.clone(), warming: Arc::new(Share::new(self.gate.clone())) };
        turns.entry(uid.to_owned()).or_insert_with(new).clone()
    }

    /// Tells exactly these pods; a call under way goes on.
    pub fn begin<A: ApiServer>(&self, context: &Context<A>, key: &Key, uid: &str, wanted: &[BeginCall]) {
        let mut all = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() {
            all.remove(uid);
            return;
        }
        let Some(home) = self.home() else { return };
        let running = all.entry(uid.to_owned()).or_default();
        running.retain(|pod, _| wanted.iter().any(|call| &call.pod == pod));
        let turns = self.turns(uid);
        for call in wanted.iter().filter(|call| !running.contains_key(&call.pod)).collect::<Vec<_>>() {
            let refused = match &call.how {
                Telling::Post { address, .. } => context.refuses(*address, Claim::Pod),
                Telling::Run(_) => context.refuses_exec(),
            };
            if let Some(why) = refused {
                tracing::warn!(namespace = key.namespace, name = key.name, pod = call.name, "the pod is not told to drain: {why}");
                home.report(uid, key, Found::Begun(call.pod.clone(), Begun::Failed(why)));
                continue;
            }
            let task = tell(home.clone(), turns.clone(), key.clone(), uid.to_owned(), call.clone());
            running.insert(call.pod.clone(), Running(tokio::spawn(task)));
        }
    }

    /// Reads the numbers of exactly these pods, on and on.
    pub fn read<A: ApiServer>(&self, context: &Context<A>, key: &Key, uid: &str, wanted: &[Reads]) {
        let mut all = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let by_pod: HashMap<&str, &Reads> = wanted.iter().map(|reads| (reads.pod.as_str(), reads)).collect();
        let known = context.remember(uid, |remembered| {
            remembered.readings.retain(|pod, reading| by_pod.get(pod.as_str()).is_some_and(|reads| reads.about == reading.about));
            remembered.readings.clone()
        });
        if wanted.is_empty() {
            all.remove(uid);
            return;
        }
        let Some(home) = self.home() else { return };
        let running = all.entry(uid.to_owned()).or_default();
        running.retain(|pod, (reads, _)| by_pod.get(pod.as_str()).is_some_and(|wanted| *wanted == reads));
        let turns = self.turns(uid);
        for reads in wanted {
            // What is at an address may be known later than the pod that says that it has it.
            if let Some(why) = context.refuses(reads.address.ip(), Claim::Pod) {
                running.remove(&reads.pod);
                let outcome = Err(why);
                if known.get(&reads.pod).is_none_or(|reading| reading.outcome != outcome) {
                    let reading = Reading::after(None, reads.about.clone(), home.now().mono, outcome);
                    home.report(uid, key, Found::Reading(reads.pod.clone(), reading, true));
                }
                continue;
            }
            if !running.contains_key(&reads.pod) {
                let task = poll(home.clone(), turns.clone(), key.clone(), uid.to_owned(), reads.clone());
                running.insert(reads.pod.clone(), (reads.clone(), Running(tokio::spawn(task))));
            }
        }
    }

    /// Ends everything about objects that are gone.
    pub fn keep(&self, living: &std::collections::BTreeSet<String>) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| living.contains(uid));
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| living.contains(uid));
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| living.contains(uid));
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| living.contains(uid));
    }

    /// Ends everything about one object.
    pub fn end_of(&self, uid: &str) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Ends everything, and forgets where results go: whoever holds these tasks is held by them no longer.
    pub fn end(&self) {
        self.keep(&std::collections::BTreeSet::new());
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Why a probe is not sent; `None` if it may be.
fn refusal<A: ApiServer>(context: &Context<A>, run: &ProbeRun) -> Option<String> {
    if run.probe.exec.is_some() {
        return context.refuses_exec();
    }
    if run.probe.through == Through::ApiServer
        && let Some(why) = context.refuses_proxy()
    {
        return Some(why);
    }
    let claim = if run.pod.is_some() { Claim::Pod } else { Claim::Service };
    match (run.address, question(run)) {
        (Some(address), _) => context.refuses(address.ip(), claim),
        (None, Some(question)) => context.refuses_question(&question),
        (None, None) => Some("it is not asked: its URL can't be read".into()),
    }
}

fn about(of: &SmokeRun, run: &ProbeRun) -> ProbeKey {
    (of.set_uid.clone(), of.probes.clone(), run.probe.name.clone(), run.pod.clone())
}

fn key_of(known: &ProbeObservation) -> ProbeKey {
    (known.set_uid.clone(), known.probes.clone(), known.probe.clone(), known.pod.clone())
}

/// What is known of a smoke probe before its first attempt.
fn untried(about: &SmokeRun, run: &ProbeRun, message: String, at: jiff::Timestamp) -> ProbeObservation {
    ProbeObservation {
        set_uid: about.set_uid.clone(),
        probes: about.probes.clone(),
        probe: run.probe.name.clone(),
        pod: run.pod.clone(),
        target: run.target.clone(),
        result: ProbeResult::Running,
        attempts: 0,
        message,
        at,
    }
}

/// Says once why a probe does not run. It may yet: an address in a status changes.
fn not_sent<A: ApiServer>(context: &Context<A>, home: &dyn Home, key: &Key, uid: &str, observation: ProbeObservation) {
    let told = context.remember(uid, |remembered| {
        remembered.probes.iter().find(|known| key_of(known) == key_of(&observation)).is_some_and(|known| known.message == observation.message)
    });
    if !told {
        tracing::warn!(namespace = key.namespace, name = key.name, probe = observation.probe, "{}: {}", observation.target, observation.message);
        home.report(uid, key, Found::Probe(observation, true));
    }
}

/// One probe on one target, until it is decided.
async fn smoke_probe(home: Arc<dyn Home>, turns: Turns, key: Key, uid: String, about: SmokeRun, run: ProbeRun) {
    let mut observation = untried(&about, &run, String::new(), home.now().wall);
    let SmokeRun { persistent, endless, .. } = about;
    let question = question(&run);
    let ProbeRun { probe, address, .. } = run;
    let check = check(&probe);
    let timeout = seconds(probe.timeout_seconds);
    let mut passes = 0;
    let mut failures = 0;
    let mut nothing = 0;
    let mut before = Ok(());
    let mut cold = probe.warm_up.as_ref().map(warm_up::pace).zip(address);
    // The endpoints of a Service have just changed: until nodes follow, pods of the former revision may answer.
    if observation.pod.is_none() && address.is_some() {
        tokio::time::sleep(FOLLOW).await;
    }
    let mut ticks = tokio::time::interval(seconds(probe.period_seconds));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut warmed = None;
        if let Some((pace, address)) = cold {
            let attempt = || async {
                let _turn = turns.take().await;
                home.prober().attempt(&check, address, timeout).await
            };
            let mut row = observation.clone();
            let last = observation.message.clone();
            let tell = |message: String| {
                // Why it is done once more stays there.
                row.message = if last.is_empty() { message } else { format!("{message}; before that, {last}") };
                home.report(&uid, &key, Found::Probe(row.clone(), true));
            };
            match warm_up(pace, &turns.warming, seconds(probe.period_seconds), warm_up::until_tell(home.now()), attempt, tell).await {
                Ok(()) => (cold, failures, before) = (None, 0, Ok(())),
                Err(broken) => warmed = Some(broken),
            }
            ticks.reset();
        }
        let outcome = if let Some((failure, _)) = &warmed {
            Err(failure.clone())
        } else {
            let turn = turns.take().await;
            let pod = PodName { namespace: &key.namespace, name: &observation.target };
            let outcome = match (&probe.exec, address, &question) {
                (Some(exec), _, _) => home.prober().run(pod, exec, timeout).await,
                (None, Some(address), _) => match (&check, probe.through) {
                    (Check::Http(check), Through::ApiServer) => home.prober().through(pod, check, address, timeout).await,
                    (check, _) => home.prober().attempt(check, address, timeout).await,
                },
                (None, None, Some(question)) => home.prober().ask(question, timeout).await,
                // Made of a question, always.
                (None, None, None) => return,
            };
            drop(turn);
            outcome
        };
        observation.attempts += 1;
        let was = observation.result;
        // Many of them take a verdict back that was good once: what it rested on is not seen any more.
        let no_verdict = match &outcome {
            Err(Failure::NoDataYet { .. } | Failure::NotYet { .. }) => true,
            // Rights, a kubelet or the API server may be missing for long.
            Err(Failure::NotTried { .. }) => probe.exec.is_some() || probe.through == Through::ApiServer,
            _ => false,
        };
        nothing = if no_verdict { nothing + 1 } else { 0 };
        if nothing >= probe.failure_threshold {
            passes = 0;
        } else if nothing > 0 && (passes > 0 || failures > 0) {
            // Until then it says nothing, also not instead of what was said before.
            continue;
        }
        match &outcome {
            Ok(()) => {
                passes += 1;
                failures = 0;
            }
            // No descriptor or port free here, or no number yet: that says nothing about the pod.
            Err(failure) if failure.undecided() => {}
            Err(_) => {
                failures += 1;
                passes = 0;
            }
        }
        observation.message = match (&outcome, &warmed) {
            (Err(failure), Some((_, good))) => format!("while it was warmed up, after {good} good answers: {failure}"),
            (Err(failure), None) => failure.to_string(),
            (Ok(()), _) => String::new(),
        };
        let news = match (&outcome, &before) {
            (Err(failure), Err(before)) => !failure.repeats(before),
            (now, before) => now.is_ok() != before.is_ok(),
        };
        before = outcome;
        observation.result = match () {
            () if failures >= probe.failure_threshold => ProbeResult::Failed,
            () if passes >= probe.success_threshold => ProbeResult::Passed,
            () => ProbeResult::Running,
        };
        if observation.result != was {
            observation.at = home.now().wall;
        }
        // A first failure is worth a look, too: it says why the release takes its time.
        home.report(&uid, &key, Found::Probe(observation.clone(), news || observation.result != was));
        match observation.result {
            ProbeResult::Passed if !endless => return,
            ProbeResult::Failed if !persistent => return,
            _ => {}
        }
    }
}

fn seconds(number: i32) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(1).max(1))
}

/// Tells one pod that it is being left.
async fn tell(home: Arc<dyn Home>, turns: Turns, key: Key, uid: String, call: BeginCall) {
    let mut last = String::new();
    for pause in TELL_AGAIN.iter().map(Some).chain([None]) {
        let turn = turns.take().await;
        let answer = match &call.how {
            Telling::Post { address, port, path } => home.prober().tell(path, SocketAddr::new(*address, *port), TELL).await,
            Telling::Run(exec) => home.prober().run(PodName { namespace: &key.namespace, name: &call.name }, exec, TELL).await,
        };
        drop(turn);
        match answer {
            // A command that has been begun goes on in its container; to begin it again would be to tell the pod twice.
            Ok(()) | Err(Failure::NotEnded { .. }) => return home.report(&uid, &key, Found::Begun(call.pod, Begun::Told)),
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
