//! The simulated world, and the loop that lets it happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::{ApiError, Dependents, Resource};
use serde_json::Value;
use tokio::time::Instant;

use crate::agenda::{Agenda, Happening};
use crate::controller::process::Process;
use crate::faults::{Faults, Phase};
use crate::history::History;
use crate::peers::{Peers, garbage};
use crate::people::Act;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::store::{Entry, Kind, Manager, Store};
use crate::transcript::Transcript;
use crate::what::What;
use crate::{intent, json};

/// Namespace of the BlueGreenDeployment.
pub const NAMESPACE: &str = "shop";
/// Its name.
pub const NAME: &str = "shop";
/// Namespace of the operator.
pub const OPERATOR: &str = "bluegreen-system";
/// Name of the agent's DaemonSet.
pub const AGENT: &str = "bluegreen-agent";

/// The world as every task sees it.
pub type Shared = Arc<Mutex<Sim>>;

/// Locks it; never held across an await.
pub fn lock(shared: &Mutex<Sim>) -> MutexGuard<'_, Sim> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A property that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What happened.
    pub story: String,
    /// When.
    pub at: Duration,
}

/// Everything there is.
pub struct Sim {
    /// What is simulated.
    pub what: What,
    start: Instant,
    me: Weak<Mutex<Sim>>,
    /// What is going to happen.
    pub agenda: Agenda,
    /// Chance of everything but faults and watches.
    pub random: Random,
    /// The API server's store.
    pub store: Store,
    announced: usize,
    /// Every watch.
    pub watchers: Vec<crate::watch::Watcher>,
    /// Every process of the operator there ever was.
    pub processes: Vec<Process>,
    /// The miniature peers.
    pub peers: Peers,
    /// What goes wrong.
    pub faults: Faults,
    /// What people do.
    pub acts: Vec<Act>,
    /// The installation, the spec, and how versions behave.
    pub scenario: Scenario,
    /// What the invariants must remember.
    pub history: History,
    /// What happened, for people.
    pub transcript: Transcript,
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// Where the release stands, by the store.
    pub phase: Phase,
    /// From when on nothing goes wrong and nobody changes anything any more.
    pub calm: bool,
    /// Whether the run has come to its end.
    pub over: bool,
    /// Happenings so far.
    pub steps: u64,
    /// Names of versions by revision, for the transcript.
    pub names: BTreeMap<String, String>,
}

impl Sim {
    /// A world in which nothing has happened yet.
    pub fn new(what: What, start: Instant, me: Weak<Mutex<Sim>>, transcript: Transcript) -> Self {
        let scenario = Scenario::new(&what);
        Self {
            what,
            start,
            me,
            agenda: Agenda::default(),
            random: Random::new(what.seed, "world"),
            store: Store::default(),
            announced: 0,
            watchers: vec![],
            processes: vec![],
            peers: Peers::default(),
            faults: Faults::new(&what),
            acts: vec![],
            scenario,
            history: History::default(),
            transcript,
            violations: vec![],
            phase: Phase::default(),
            calm: false,
            over: false,
            steps: 0,
            names: BTreeMap::new(),
        }
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A reference for tasks that outlive a step.
    pub fn me(&self) -> Weak<Mutex<Sim>> {
        self.me.clone()
    }

    /// The beginning of time.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// In so much time from now.
    pub fn later(&mut self, wait: Duration, what: Happening) {
        let at = self.now() + wait;
        self.agenda.add(at, what);
    }

    /// Lets everything happen that is due.
    pub fn step(&mut self) {
        let now = self.now();
        while let Some(what) = self.agenda.due(now) {
            self.steps += 1;
            self.happen(what);
            if self.over {
                return;
            }
        }
        crate::invariants::at_each_step(self);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Deliver(watcher) => self.deliver(watcher),
            Happening::Relist(watcher) => self.list_anew(watcher, self.store.revision()),
            Happening::Collect(owner) => self.collect(&owner),
            Happening::Applier(service) => self.applier(&service),
            Happening::Apply => self.apply_object(),
            Happening::Bystander(version) => self.release_bystander(version),
            Happening::ReplicaSets => self.replica_sets(),
            Happening::EndpointSlices => self.endpoint_slices(),
            Happening::Pod(uid, step) => self.pod_step(&uid, step),
            Happening::Sample(node) => self.sample(&node),
            Happening::Report(node, boot, status) => self.report(&node, &boot, &status),
            Happening::Open(client) => self.open(client),
            Happening::Close(pod, socket) => self.close(&pod, socket),
            Happening::Job(uid) => self.job_ends(&uid),
            Happening::Autoscale => self.autoscale(),
            Happening::Person(act) => self.act(act),
            Happening::Fault(fault) => self.break_something(fault),
            Happening::Mend(fault) => self.mend(fault),
            Happening::Start(place) => self.start_process(place),
            Happening::Repaired(edit) => crate::invariants::repaired(self, edit),
            Happening::Calm => self.calm_down(),
            Happening::Over => crate::invariants::look(self),
        }
    }

    /// The BlueGreenDeployment.
    pub fn object(&self) -> Option<Arc<Value>> {
        self.store.get(Resource::BlueGreenDeployment, NAMESPACE, NAME).cloned()
    }

    /// A peer or a person changes an object.
    pub fn write(&mut self, who: Manager<'_>, resource: Resource, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        let now = self.now();
        let done = self.store.update(resource, (namespace, name), who, now, change);
        self.changed();
        done
    }

    /// A peer or a person creates an object.
    pub fn make(&mut self, resource: Resource, namespace: &str, object: Value) -> Result<Arc<Value>, ApiError> {
        let now = self.now();
        let made = self.store.create(resource, namespace, object, false, now);
        self.changed();
        made
    }

    /// A peer or a person deletes an object.
    pub fn delete(&mut self, resource: Resource, namespace: &str, name: &str) {
        self.delete_with(Dependents::Deleted, resource, namespace, name);
    }

    /// The same, and what becomes of its dependents.
    pub fn delete_with(&mut self, dependents: Dependents, resource: Resource, namespace: &str, name: &str) {
        let now = self.now();
        self.store.delete(resource, (namespace, name), (None, None), dependents, now).ok();
        self.changed();
    }

    /// What follows from what was written since: watchers hear of it, and the world's own course.
    pub fn changed(&mut self) {
        while let Some(entry) = self.store.log.get(self.announced).cloned() {
            self.announced += 1;
            self.announce(&entry);
            self.consequences(&entry);
        }
    }

    fn consequences(&mut self, entry: &Entry) {
        let object = &entry.object;
        match (entry.resource, entry.kind) {
            (Resource::Pod, Kind::Applied) => self.pod_written(object, entry.before.as_deref()),
            (Resource::Job, Kind::Applied) if entry.before.is_none() => self.job_made(object),
            (Resource::Pod, Kind::Deleted) => self.pod_gone(json::uid(object)),
            (Resource::ReplicaSet | Resource::BlueGreenDeployment | Resource::Service | Resource::Node, Kind::Deleted) => {
                let wait = self.random.millis(50, 1500);
                self.later(wait, Happening::Collect(json::uid(object).to_owned()));
            }
            (Resource::ReplicaSet | Resource::BlueGreenDeployment, Kind::Applied)
                if garbage::orphans(object) && !entry.before.as_deref().is_some_and(garbage::orphans) =>
            {
                let wait = self.random.millis(50, 1500);
                self.later(wait, Happening::Collect(json::uid(object).to_owned()));
            }
            (Resource::ReplicaSet, Kind::Applied) if entry.before.is_none() => {
                // An owner that is gone already is found out by the garbage collector.
                if let Some(owner) = json::controller(object).filter(|owner| !self.store.exists(owner)).map(str::to_owned) {
                    let wait = self.random.millis(200, 2000);
                    self.later(wait, Happening::Collect(owner));
                }
                let revision = json::label(object, keys::REVISION).unwrap_or_default().to_owned();
                let image = crate::scenario::version_of(object.pointer("/spec/template").unwrap_or(&Value::Null)).to_owned();
                self.names.entry(revision).or_insert(image);
                if json::label(object, keys::ISSUE).is_some() {
                    self.pods_are_leaving();
                }
            }
            // A move begins on a Service or a ReplicaSet; status tells of it when it is done, or takes longer.
            (Resource::ReplicaSet | Resource::Service, Kind::Applied) if self.moving() => self.stands(Phase::Switch),
            (Resource::BlueGreenDeployment, Kind::Applied) if json::name(object) == NAME => {
                self.stands(Phase::read(json::text(object, "/status/phase")))
            }
            _ => {}
        }
    }

    /// Whether a move is on record that status does not tell of yet.
    pub fn moving(&self) -> bool {
        let stored = self.object().map_or(0, |object| json::number(&object, "/status/switch/attempt"));
        self.intent().is_some_and(|intent| intent::attempt(&intent) > stored)
    }

    fn stands(&mut self, phase: Phase) {
        if phase != self.phase {
            self.phase = phase;
            self.say("phase", || format!("{phase:?}"));
            self.history.entered(phase);
            self.entered(phase);
        }
    }

    /// The ReplicaSet of a revision; not the successor of one that is still there.
    pub fn first_set(&self, revision: &str) -> Option<&Arc<Value>> {
        let there = |set: &&Arc<Value>| json::label(set, keys::REVISION) == Some(revision) && set.pointer("/metadata/deletionTimestamp").is_none();
        let issue = |set: &Arc<Value>| json::label(set, keys::ISSUE).and_then(|issue| issue.parse::<i64>().ok()).unwrap_or(1);
        self.store.all(Resource::ReplicaSet).filter(there).min_by_key(|set| issue(set))
    }

    /// Whether living pods are of the revision that a Service selects.
    pub fn leads(&self, service: &Value) -> bool {
        let revision = json::selects(service).unwrap_or_default();
        self.store.all(Resource::Pod).any(|pod| json::label(pod, keys::REVISION) == Some(revision) && json::alive(pod))
    }

    /// Whether a Service leads to a revision, be it beside another one.
    pub fn leads_to(&self, service: &Value, revision: &str) -> bool {
        let Some(serving) = json::member(service, "/spec/selector", keys::SERVING) else {
            return json::selects(service) == Some(revision);
        };
        let of =
            |pod: &&std::sync::Arc<Value>| json::label(pod, keys::REVISION) == Some(revision) && json::label(pod, keys::SERVING) == Some(serving);
        json::selects(service) == Some(revision) || self.store.all(Resource::Pod).any(|pod| of(&pod) && json::alive(pod))
    }

    /// The revisions to which a Service leads together.
    pub fn together(&self, service: &Value) -> Vec<String> {
        let serving = json::member(service, "/spec/selector", keys::SERVING);
        let of = self.store.all(Resource::Pod).filter(|pod| serving.is_some() && json::label(pod, keys::SERVING) == serving);
        of.filter_map(|pod| json::label(pod, keys::REVISION)).map(str::to_owned).collect()
    }

    /// One line of the transcript.
    pub fn say(&mut self, who: &str, what: impl FnOnce() -> String) {
        let now = self.now();
        self.transcript.add(now, who, what);
    }

    /// Something does not hold.
    pub fn violated(&mut self, invariant: &'static str, story: String) {
        let at = self.now();
        self.say("VIOLATION", || format!("{invariant}: {story}"));
        self.violations.push(Violation { invariant, story, at });
        self.over = true;
    }

    /// A revision as people know it: the version it holds.
    pub fn named<'a>(&'a self, revision: &'a str) -> &'a str {
        self.names.get(revision).map_or(revision, String::as_str)
    }
}
