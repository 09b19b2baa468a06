//! What the invariants must remember: the truth about the past, and what each process had been told when it decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use bluegreen::controller::context::Clock;
use jiff::Timestamp;
use serde_json::Value;

use crate::bystander::is_its;
use crate::controller::api::{Call, Request};
use crate::faults::Phase;
use crate::json;
use crate::sim::{NAME, NAMESPACE, Sim};

/// So long kube-proxy may be late.
const FOLLOW: Duration = Duration::from_secs(3);

/// What a process had been told about a pod's connections.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// When the agent really looked.
    pub sampled: Duration,
    /// What it counted.
    pub open: i64,
    /// Whether it could not look.
    pub unreadable: bool,
}

/// A number that was read of a pod, and when it was; none where it could not be read.
type Number = Option<(Duration, i64)>;

/// The decision to retire a set: made when its role is about to be written.
#[derive(Clone, Debug)]
pub struct Retirement {
    /// When.
    pub at: Duration,
    /// By the process' own wall clock.
    pub wall: Timestamp,
    /// What had been told about pods, by UID.
    pub told: BTreeMap<String, Told>,
    /// Services that were read since, and whether the last try worked.
    pub reads: BTreeMap<String, bool>,
    /// Pods to which nodes may send users: endpoints of an active Service, or some until a moment ago, as the process had been told.
    pub reached: BTreeSet<String>,
}

/// Ready pods, as a process had been told, when it sent a Service's move.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// Of the set that traffic moves to.
    pub to: i64,
    /// Of the set that is left.
    pub from: i64,
}

/// What had been delivered to a process when it decided to move traffic.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Living pods of the revision.
    pub pods: BTreeSet<String>,
    /// The object.
    pub object: Arc<Value>,
    /// How many pods were needed when the revision passed, as it stood on its ReplicaSet: that may have been deleted since.
    pub needed: Option<i64>,
}

/// A selector that a person edited.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Of this Service.
    pub service: String,
    /// The revision it selected before.
    pub revision: Option<String>,
    /// Whether traffic was being moved just then: the selector is written anyway.
    pub moving: bool,
    /// When.
    pub at: Duration,
}

/// A hook of a release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hook {
    /// Its field of `spec.hooks`.
    pub point: String,
    /// Its name.
    pub name: String,
    /// The revision that it is about.
    pub revision: String,
    /// The number of the move.
    pub attempt: i64,
}

/// The past.
#[derive(Debug, Default)]
pub struct History {
    /// Pods that passed a probe, by UID and path.
    pub passed: BTreeSet<(String, String)>,
    /// Revisions that passed a probe through the preview Service, with its path.
    pub passed_outside: BTreeSet<(String, String)>,
    /// Revisions of which a pod passed a probe.
    pub passed_once: BTreeSet<String>,
    /// Revisions of which a probe failed.
    pub failed: BTreeSet<String>,
    streaks: BTreeMap<(usize, String, String), u64>,
    /// The last two numbers that a process has read of a pod, the latest last.
    numbers: BTreeMap<(usize, String), [Number; 2]>,
    /// When a report's samples were taken, by boot id and sequence.
    pub sampled: BTreeMap<(String, i64), Duration>,
    /// Events.
    pub events: Vec<(Duration, &'static str, String)>,
    /// Commands that people wrote.
    pub commands: Vec<(&'static str, String)>,
    /// Values of `spec.replicas`.
    pub replicas: Vec<(Duration, i64)>,
    /// Edits of selectors.
    pub edits: Vec<Edit>,
    /// Intents that were ever on record: attempt and revision.
    pub intents: BTreeSet<(i64, String)>,
    /// Revisions of which a probe of a bake failed.
    pub ill: BTreeSet<String>,
    /// When traffic was really moved away from a revision.
    pub left_at: BTreeMap<String, Duration>,
    /// Pods that were ever endpoints of an active Service.
    pub endpoints: BTreeSet<String>,
    /// Until when a process had been told that a pod is an endpoint.
    told_endpoints: BTreeMap<(usize, String), Duration>,
    /// Since when, and until when, a process had been told that a pod is a ready endpoint of every active Service.
    told_ready: BTreeMap<(usize, String), (Duration, Duration)>,
    /// Decisions to retire a set, by process and set.
    pub retirements: BTreeMap<(usize, String), Retirement>,
    /// What a process had been told when it last began to look whether a Service leads to pods: before each of them that goes alone.
    pub glances: BTreeMap<usize, Retirement>,
    /// Since when pods that leave one by one had really been left when they were marked, by UID.
    pub parted: BTreeMap<String, Duration>,
    /// Pods that went alone, with the time of that decision, and whether their deadline was over by then.
    pub alone: BTreeMap<String, (Duration, bool)>,
    /// What a process knew when it sent a new intent.
    pub known: BTreeMap<usize, Known>,
    /// Intents that were ever on record in status.
    pub stored: BTreeSet<(i64, String)>,
    /// ConnectionWatches, pods and BlueGreenDeployments that came as answers to a process' own requests, by process and UID.
    answers: BTreeMap<(usize, String), Arc<Value>>,
    /// A ReplicaSet was deleted by hand.
    pub by_hand: bool,
    /// The first pod was marked, to leave its set alone.
    pub left: bool,
    /// The object was deleted and applied again.
    pub remade: bool,
    /// Names of ReplicaSets that a person deleted without their pods, which belong to nobody then, unless they were marked.
    pub set_free: BTreeSet<String>,
    /// Names of Jobs that were made, and not deleted by the operator since.
    pub jobs_made: BTreeSet<String>,
    /// Hooks whose Jobs have succeeded.
    pub hooks_passed: BTreeSet<Hook>,
    /// Revisions of which a Job has failed, or was deleted by a person.
    pub hooks_failed: BTreeSet<String>,
    /// How often the release came to stand in each phase.
    pub phases: BTreeMap<Phase, u64>,
    /// Edits that had to be put back within a second.
    pub repairs: u64,
    /// Intents recorded.
    pub releases: u64,
    /// Sets retired.
    pub retired: u64,
    /// Connections opened.
    pub connections: u64,
    /// Connections that found nobody.
    pub refused: u64,
    /// Sets that were retired before their deadline, since their pods had drained: when, by UID.
    pub drained: BTreeMap<String, Duration>,
    /// Sets that were retired at their deadline, by UID.
    pub overdue: BTreeSet<String>,
    /// Connections that were older than the retirement of their drained set, and cut with it.
    pub cut_early: u64,
    /// Connections cut at the deadline of the drain.
    pub cut_late: u64,
    /// Connections cut with pods that ended otherwise: deleted by hand, scaled down, of a set that never was to serve.
    pub cut: u64,
    /// Connections lost with a node.
    pub lost: u64,
    /// What the group has decided.
    pub group: crate::invariants::Decisions,
    /// For the steady check: when it began, and the requests and changes until then.
    pub steady: Option<(Duration, u64, usize)>,
    /// Up to which version the slices were looked at.
    pub looked: u64,
    /// By how many milliseconds a wall clock was ever wrong, at most.
    pub wrong: u64,
}

/// How many pods were needed when a revision passed its smoke probes.
pub fn needed(set: &Value) -> Option<i64> {
    let proof: Value = serde_json::from_str(json::annotation(set, keys::PROOF)?).ok()?;
    Some(json::number(&proof, "/needed"))
}

impl History {
    /// The release has come to stand somewhere.
    pub fn entered(&mut self, phase: Phase) {
        *self.phases.entry(phase).or_default() += 1;
    }

    /// What a smoke probe showed.
    pub fn probed(&mut self, process: usize, pod: &str, revision: &str, path: &str, through: bool, passes: bool) {
        let need: u64 = path.rsplit_once('=').and_then(|(_, need)| need.parse().ok()).unwrap_or(1);
        let about = if through { revision } else { pod };
        let streak = self.streaks.entry((process, about.to_owned(), path.to_owned())).or_default();
        *streak = if passes { *streak + 1 } else { 0 };
        if *streak >= need {
            let passed = if through { &mut self.passed_outside } else { &mut self.passed };
            passed.insert((about.to_owned(), path.to_owned()));
            self.passed_once.insert(revision.to_owned());
        }
        if !passes {
            self.failed.insert(revision.to_owned());
        }
    }

    /// A person edited a selector.
    pub fn edited(&mut self, edit: Edit) -> usize {
        self.edits.push(edit);
        self.edits.len() - 1
    }
}

impl Sim {
    /// A process sends something on which it has just decided.
    pub fn decided(&mut self, process: usize, call: &Call) {
        if is_its(&call.name) {
            return;
        }
        if let Some(to) = call.begins() {
            self.decides_on(process, &to);
        }
        if call.resource == Resource::Service && matches!(call.request, Request::Get) && self.scenario.services.first() == Some(&call.name) {
            let (at, told, reached) = (self.now(), self.told_to(process), self.reached(process));
            self.history.glances.insert(process, Retirement { at, wall: Timestamp::default(), told, reads: BTreeMap::new(), reached });
        }
        let Some(body) = call.merge() else { return };
        match call.resource {
            Resource::ReplicaSet if json::annotation(body, keys::ROLE).is_some_and(|role| role.starts_with("retiring@")) => {
                let (at, told, reached) = (self.now(), self.told_to(process), self.reached(process));
                let wall = self.processes.get(process).map(|process| process.clock.now().wall).unwrap_or_default();
                let set = json::uid(body).to_owned();
                self.history.retirements.insert((process, set), Retirement { at, wall, told, reads: BTreeMap::new(), reached });
            }
            Resource::BlueGreenDeployment if body.pointer("/status/switch/attempt").is_some() => {
                // A move back to the revision that the last one on record left names it only by what is not changed.
                let stored = self.delivered(process, Resource::BlueGreenDeployment).find(|object| json::name(object) == NAME);
                let to = json::text(body, "/status/switch/to");
                let to = if to.is_empty() {
                    stored.map(|object| json::text(object, "/status/switch/to")).unwrap_or_default().to_owned()
                } else {
                    to.to_owned()
                };
                self.decides_on(process, &to);
            }
            _ => {}
        }
    }

    fn decides_on(&mut self, process: usize, to: &str) {
        let pods = self.heard(process, Resource::Pod).filter(|pod| json::label(pod, keys::REVISION) == Some(to) && json::alive(pod));
        let pods = pods.map(|pod| json::uid(pod).to_owned()).collect();
        let object = self.heard(process, Resource::BlueGreenDeployment).find(|object| json::name(object) == NAME).cloned().unwrap_or_default();
        let needed =
            self.delivered(process, Resource::ReplicaSet).filter(|set| json::label(set, keys::REVISION) == Some(to)).find_map(|set| needed(set));
        self.history.known.insert(process, Known { pods, object, needed });
    }

    /// An answer, or none, has gone to a process.
    pub fn read(&mut self, process: usize, call: &Call, good: bool, found: Option<Arc<Value>>) {
        match call.resource {
            Resource::Service if !call.writes() => {
                for ((reader, _), retirement) in &mut self.history.retirements {
                    if *reader == process {
                        retirement.reads.insert(call.name.clone(), good);
                    }
                }
            }
            Resource::ConnectionWatch | Resource::Pod | Resource::BlueGreenDeployment => {
                if let Some(found) = found {
                    self.history.answers.insert((process, json::uid(&found).to_owned()), found);
                }
            }
            _ => {}
        }
    }

    /// What a process has been told about pods' connections: by its watch, or in answers to its own writes, whichever is newer.
    fn told_to(&self, process: usize) -> BTreeMap<String, Told> {
        if self.object().is_some_and(|object| json::text(&object, "/spec/drain/source") == "Metric") {
            return self.numbers_of(process);
        }
        let mut told = BTreeMap::new();
        for object in self.heard(process, Resource::ConnectionWatch) {
            let stamp = (json::text(object, "/status/bootId").to_owned(), json::number(object, "/status/sequence"));
            let Some(sampled) = self.history.sampled.get(&stamp).copied() else { continue };
            for report in json::items(object, "/status/pods") {
                let uid = json::text(report, "/uid");
                let asked = json::items(object, "/spec/pods").find(|pod| json::text(pod, "/uid") == uid).map(|pod| json::number(pod, "/round"));
                if asked == Some(json::number(report, "/round")) {
                    let open = json::items(report, "/ports").map(|port| json::number(port, "/open")).sum();
                    told.insert(uid.to_owned(), Told { sampled, open, unreadable: report.get("unreadable").is_some() });
                }
            }
        }
        told
    }

    /// The same of pods' own numbers: both of the last two readings count.
    fn numbers_of(&self, process: usize) -> BTreeMap<String, Told> {
        let own = self.history.numbers.iter().filter(|((reader, _), _)| *reader == process);
        own.map(|((_, uid), [first, last])| {
            let (sampled, before) = first.unwrap_or_default();
            let open = before.max(last.unwrap_or_default().1);
            (uid.clone(), Told { sampled, open, unreadable: first.is_none() || last.is_none() })
        })
        .collect()
    }

    /// A process has read a pod's number, or could not.
    pub fn number_read(&mut self, process: usize, pod: &str, number: Number) {
        let numbers = self.history.numbers.entry((process, pod.to_owned())).or_default();
        let [_, last] = *numbers;
        *numbers = [last, number];
    }

    /// Objects of a kind that have been delivered to a process.
    pub fn delivered(&self, process: usize, resource: Resource) -> impl Iterator<Item = &Arc<Value>> {
        let watchers = self.processes.get(process).map(|process| process.watchers.as_slice()).unwrap_or_default();
        watchers
            .iter()
            .filter_map(|id| self.watchers.get(*id))
            .filter(move |watcher| watcher.resource == resource)
            .flat_map(|watcher| watcher.mirror.values())
    }

    /// Objects of a kind as a process knows them: from its watch, or from an answer to its own request where that is newer.
    fn heard(&self, process: usize, resource: Resource) -> impl Iterator<Item = &Arc<Value>> {
        let version = |object: &Value| json::text(object, "/metadata/resourceVersion").parse::<u64>().unwrap_or(0);
        self.delivered(process, resource).map(move |object| {
            let answer = self.history.answers.get(&(process, json::uid(object).to_owned()));
            answer.filter(|answer| version(answer) > version(object)).unwrap_or(object)
        })
    }

    /// Pods that are endpoints of an active Service, as a process has been told.
    fn believed_endpoints(&self, process: usize) -> BTreeSet<String> {
        let there = |name: &str| self.delivered(process, Resource::Service).any(|service| json::name(service) == name);
        let active = |slice: &&Arc<Value>| {
            let service = json::label(slice, "kubernetes.io/service-name").unwrap_or_default();
            self.scenario.services.iter().any(|name| name == service) && there(service)
        };
        let slices = self.delivered(process, Resource::EndpointSlice).filter(active);
        slices.flat_map(|slice| json::items(slice, "/endpoints")).map(|endpoint| json::text(endpoint, "/targetRef/uid").to_owned()).collect()
    }

    /// A process is about to hear something new of endpoints: those it knows were there until now.
    pub fn still_endpoints(&mut self, process: usize) {
        let now = self.now();
        for uid in self.believed_endpoints(process) {
            self.history.told_endpoints.insert((process, uid), now);
        }
        for uid in self.believed_joined(process) {
            self.history.told_ready.entry((process, uid)).and_modify(|(_, until)| *until = now);
        }
    }

    /// A process has heard something new of endpoints.
    pub fn now_endpoints(&mut self, process: usize) {
        let now = self.now();
        for uid in self.believed_joined(process) {
            let known = self.history.told_ready.entry((process, uid)).or_insert((now, now));
            *known = if known.1 < now { (now, now) } else { *known };
        }
    }

    /// Ready endpoints of every active Service that leads to two revisions, as a process has been told.
    fn believed_joined(&self, process: usize) -> BTreeSet<String> {
        // What a process has written of a Service it knows at once, and not by its watch.
        let there = |name: &&String| self.store.get(Resource::Service, NAMESPACE, name).is_some_and(|service| json::overlaps(service));
        let of = |name: &String| -> BTreeSet<String> {
            let slices = self.delivered(process, Resource::EndpointSlice);
            let slices = slices.filter(|slice| json::label(slice, "kubernetes.io/service-name") == Some(name));
            let ready = |endpoint: &&Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false);
            slices
                .flat_map(|slice| json::items(slice, "/endpoints"))
                .filter(ready)
                .map(|endpoint| json::text(endpoint, "/targetRef/uid").to_owned())
                .collect()
        };
        let all = self.scenario.services.iter().filter(there).map(of);
        all.reduce(|one, other| one.intersection(&other).cloned().collect()).unwrap_or_default()
    }

    /// For how long pods had been ready endpoints of every active Service when a process last looked, at most a second ago.
    pub fn joined(&self, process: usize) -> BTreeMap<String, Duration> {
        let (now, joined) = (self.now(), self.believed_joined(process));
        let told = self
            .history
            .told_ready
            .iter()
            .filter(|((who, uid), (_, until))| *who == process && (joined.contains(uid) || now.saturating_sub(*until) < Duration::from_secs(1)));
        told.map(|((_, uid), (since, _))| (uid.clone(), now.saturating_sub(*since))).collect()
    }

    /// A pod of these revisions that a process has heard of, and that lacks the label.
    pub fn bare(&self, process: usize, label: Option<&str>, revisions: &[&str]) -> Option<String> {
        let of = |pod: &&Arc<Value>| json::alive(pod) && json::label(pod, keys::REVISION).is_some_and(|revision| revisions.contains(&revision));
        // Of a set that is being deleted, or taken apart, nobody asks.
        let of_a_set = |pod: &&Arc<Value>| {
            let set = json::controller(pod).and_then(|set| self.store.by_uid(Resource::ReplicaSet, set));
            set.is_some_and(|set| set.pointer("/metadata/deletionTimestamp").is_none())
        };
        let bare = |pod: &&Arc<Value>| json::label(pod, keys::SERVING) != label;
        self.heard(process, Resource::Pod).filter(of).filter(of_a_set).find(bare).map(|pod| json::name(pod).to_owned())
    }

    /// Pods to which nodes may send users, as a process has been told: nodes hear of it a little later.
    fn reached(&self, process: usize) -> BTreeSet<String> {
        let mut reached = self.believed_endpoints(process);
        let late = |until: &Duration| self.now().saturating_sub(*until) < FOLLOW;
        let told = self.history.told_endpoints.iter().filter(|((who, _), until)| *who == process && late(until));
        reached.extend(told.map(|((_, uid), _)| uid.clone()));
        reached
    }

    /// Ready pods of a revision, as a process has been told.
    pub fn believed_ready(&self, process: usize, revision: &str) -> i64 {
        let ready = self
            .heard(process, Resource::Pod)
            .filter(|pod| json::label(pod, keys::REVISION) == Some(revision) && json::alive(pod) && json::ready(pod));
        i64::try_from(ready.count()).unwrap_or(i64::MAX)
    }
}
