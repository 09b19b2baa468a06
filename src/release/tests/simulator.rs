//! A world in memory for pure stories: it carries out plans as the API server does, with its guards, and plays ideal peers:
//! the ReplicaSet controller, kubelets, the endpoints controller, the probe runner and the drain agents.
//! Every write is checked against the invariants ([`super::invariants`]), in every story.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::fixtures::*;
use super::invariants;
use crate::api::{BlueGreenDeploymentSpec, BlueGreenDeploymentStatus, PhaseName, ProbeResult, keys};
use crate::release::plan::{Action, SelectWhy, durable};
use crate::release::revision::{raw_hash, revision_name};
use crate::release::*;

/// A write was refused because somebody else wrote since.
#[derive(Debug)]
pub struct Conflict;

/// Connections of one watched pod, as an agent counts them.
#[derive(Clone, Debug, Default)]
struct Count {
    epoch: i64,
    samples: i64,
    arrivals: i64,
    zero_since: Option<f64>,
}

/// Everything there is.
pub struct World {
    /// What a controller without any lag reads.
    pub snapshot: Snapshot,
    /// Seconds since the story began.
    pub seconds: f64,
    /// The latest plan.
    pub plan: Plan,
    /// Revisions whose pods are not ready.
    pub broken: BTreeSet<String>,
    /// Revisions whose smoke probes fail.
    pub failing: BTreeSet<String>,
    /// Revisions whose smoke probes come to no verdict.
    pub undecided: BTreeSet<String>,
    /// Open connections on each pod of a revision.
    pub open: BTreeMap<String, i64>,
    /// New connections a second on each pod of a revision.
    pub arriving: BTreeMap<String, i64>,
    /// Whether the drain agents are silent.
    pub silent: bool,
    /// Whether the ReplicaSet controller and the kubelets do nothing.
    pub idle: bool,
    /// Plans of which the next writes are carried out only so many, as by a process that is killed then.
    pub writes_left: Option<usize>,
    /// What was written, in words.
    pub transcript: Vec<String>,
    /// Events.
    pub notices: Vec<Notice>,
    /// How often each pod was told to drain.
    pub told: BTreeMap<String, u32>,
    /// Sets of which a pod has really passed every probe of its time, by UID.
    pub passed: BTreeSet<String>,
    /// Pods that really passed, with the hash of the probes.
    pub passed_pods: BTreeSet<(String, String)>,
    /// When the traffic was really moved away from a set, by UID.
    pub left_at: BTreeMap<String, Timestamp>,
    /// Names of versions by revision, for the transcript.
    pub versions: BTreeMap<String, String>,
    counts: BTreeMap<String, Count>,
    present: BTreeMap<String, (i64, BTreeSet<String>)>,
    answer: Option<(String, Identity)>,
    number: i64,
}

use crate::release::plan::{Notice, Plan};

impl World {
    /// A world with one object, before the controller has seen it.
    pub fn new(version: &str, changes: &serde_json::Value) -> Self {
        let mut world = Self {
            snapshot: snapshot(version, changes),
            seconds: 0.0,
            plan: Plan::default(),
            broken: BTreeSet::new(),
            failing: BTreeSet::new(),
            undecided: BTreeSet::new(),
            open: BTreeMap::new(),
            arriving: BTreeMap::new(),
            silent: false,
            idle: false,
            writes_left: None,
            transcript: vec![],
            notices: vec![],
            told: BTreeMap::new(),
            passed: BTreeSet::new(),
            passed_pods: BTreeSet::new(),
            left_at: BTreeMap::new(),
            versions: BTreeMap::new(),
            counts: BTreeMap::new(),
            present: BTreeMap::new(),
            answer: None,
            number: 1,
        };
        world.versions.insert(revision(version), version.into());
        world
    }

    /// A world in which a version is installed and nothing is left to do.
    pub fn installed(version: &str, changes: &serde_json::Value) -> Self {
        let mut world = Self::new(version, changes);
        world.settle();
        assert_eq!(world.status().phase, Some(PhaseName::Complete), "{:#?}", world.status().conditions);
        world.transcript.clear();
        world
    }

    /// The time.
    pub fn now(&self) -> Now {
        at(self.seconds)
    }

    /// Status as it is stored.
    pub fn status(&self) -> &BlueGreenDeploymentStatus {
        &self.snapshot.object.status
    }

    /// Where the release stands.
    pub fn phase(&self) -> PhaseName {
        self.status().phase.unwrap()
    }

    /// The version that the recorded intent names.
    pub fn active(&self) -> &str {
        self.status().switch.as_ref().map_or("none", |switch| self.version(&switch.to))
    }

    /// What the Service selects, in versions.
    pub fn selected(&self, service: &str) -> &str {
        self.snapshot.services[service].selector.get(keys::REVISION).map_or("everything", |revision| self.version(revision))
    }

    /// The ReplicaSet of a version.
    pub fn set(&self, version: &str) -> &Set {
        self.snapshot.sets.iter().find(|set| set.revision == revision(version)).unwrap_or_else(|| panic!("no set of {version}"))
    }

    /// The same, to be changed behind the controller's back.
    pub fn set_mut(&mut self, version: &str) -> &mut Set {
        self.number += 1;
        let number = self.number;
        let set = self.snapshot.sets.iter_mut().find(|set| set.revision == revision(version)).unwrap();
        set.resource_version = number.to_string();
        set
    }

    /// A Service, to be changed behind the controller's back.
    pub fn service_mut(&mut self, name: &str) -> &mut Service {
        self.number += 1;
        let number = self.number;
        let service = self.snapshot.services.get_mut(name).unwrap();
        service.resource_version = number.to_string();
        service
    }

    /// Pods of a version that are neither ended nor being deleted.
    pub fn pods(&self, version: &str) -> Vec<&Pod> {
        let uid = &self.set(version).uid;
        self.snapshot.pods.iter().filter(|pod| &pod.set_uid == uid && pod.alive()).collect()
    }

    fn version<'a>(&'a self, revision: &'a str) -> &'a str {
        self.versions.get(revision).map_or(revision, String::as_str)
    }

    /// A person edits the spec.
    pub fn edit(&mut self, how: impl FnOnce(&mut BlueGreenDeploymentSpec)) {
        how(&mut self.snapshot.object.spec);
        self.snapshot.object.generation += 1;
        self.touch();
    }

    /// A person applies another version.
    pub fn apply_version(&mut self, version: &str) {
        self.versions.insert(revision(version), version.into());
        self.edit(|spec| spec.template = template(version));
    }

    /// A person writes a command.
    pub fn command(&mut self, key: &str, value: impl Into<String>) {
        self.snapshot.object.commands.insert(key.into(), value.into());
        self.touch();
    }

    fn touch(&mut self) {
        self.number += 1;
        self.snapshot.object.resource_version = self.number.to_string();
    }

    /// The controller is started anew: what only the process knew is lost.
    pub fn restart(&mut self) {
        let snapshot = &mut self.snapshot;
        (snapshot.probes, snapshot.reports, snapshot.begun) = Default::default();
        (snapshot.repairs, snapshot.owners, snapshot.late_pods) = Default::default();
        self.counts.clear();
        self.present.clear();
        self.answer = None;
        self.plan = Plan::default();
    }

    /// Runs the controller and its peers until nothing happens any more without time passing.
    pub fn settle(&mut self) {
        for _ in 0..60 {
            self.reconcile();
            if self.writes_left == Some(0) || !self.peers() {
                return;
            }
        }
        panic!("the peers never come to rest: {:#?}", self.transcript);
    }

    /// Lets time pass, a second at a time.
    pub fn run(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.seconds += 1.0;
            self.agents();
            self.settle();
        }
    }

    /// Lets time pass until a condition holds; no longer than two hours.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..7200 {
            if holds(self) {
                return;
            }
            self.run(1);
        }
        panic!("never: {what}; {:#?}", self.status());
    }

    /// The reconciler: plan, write, again, until a plan is at rest.
    pub fn reconcile(&mut self) {
        for _ in 0..24 {
            self.observe();
            let planned = self.snapshot.clone();
            let plan = plan(&planned, self.now());
            match self.carry_out(&planned, plan) {
                Ok(false) => {}
                Ok(true) | Err(Conflict) => return,
            }
        }
        panic!("a plan does not come to rest: {:#?}", &self.transcript[self.transcript.len().saturating_sub(30)..]);
    }

    /// Carries out a plan that was made from `planned`, which may be an older reading. True if the plan is at rest.
    pub fn carry_out(&mut self, planned: &Snapshot, plan: Plan) -> Result<bool, Conflict> {
        invariants::of_plan(planned, &plan);
        let remember = durable(&plan.status, &planned.object.status);
        if remember {
            self.killed()?;
            self.write_status(planned, &plan.status)?;
        }
        self.notices.extend(plan.notices.iter().cloned());
        for action in &plan.actions {
            self.killed()?;
            self.apply(planned, action)?;
        }
        if remember || !plan.actions.is_empty() {
            return Ok(false);
        }
        if !planned.object.deleting {
            match &plan.effects.smoke {
                None => self.snapshot.probes.clear(),
                Some(run) => self.snapshot.probes.retain(|known| known.set_uid == run.set_uid && known.probes == run.probes),
            }
            if plan.status != planned.object.status {
                self.killed()?;
                self.write_status(planned, &plan.status)?;
            }
            self.observe();
            if planned.object.resource_version == self.snapshot.object.resource_version || plan.status != planned.object.status {
                invariants::at_rest(&self.snapshot, self.now());
            }
        }
        self.plan = plan;
        Ok(true)
    }

    fn killed(&mut self) -> Result<(), Conflict> {
        match &mut self.writes_left {
            Some(0) => Err(Conflict),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write_status(&mut self, planned: &Snapshot, status: &BlueGreenDeploymentStatus) -> Result<(), Conflict> {
        if planned.object.resource_version != self.snapshot.object.resource_version {
            return Err(Conflict);
        }
        let before = self.snapshot.object.status.clone();
        invariants::of_status(self, &before, status);
        if before.switch != status.switch
            && let Some(switch) = &status.switch
        {
            let mut what = format!("intent {}@{}", self.version(&switch.to), switch.attempt);
            what += switch.completed_at.map_or("", |_| " completed");
            what += switch.converged_at.map_or("", |_| " converged");
            self.transcript.push(what);
            if let Some(at) = switch.completed_at.filter(|at| before.switch.as_ref().is_none_or(|known| known.completed_at != Some(*at))) {
                for set in self.snapshot.sets.iter().filter(|set| set.desired > 0 && set.revision != switch.to) {
                    self.left_at.entry(set.uid.clone()).or_insert(at);
                }
            }
            if let Some(set) = self.snapshot.sets.iter().find(|set| set.revision == switch.to) {
                self.left_at.remove(&set.uid);
            }
        }
        if before.rejected != status.rejected {
            let what = status
                .rejected
                .as_ref()
                .map_or("rejection lifted".into(), |rejected| format!("rejected {}: {}", self.version(&rejected.revision), rejected.reason));
            self.transcript.push(what);
        }
        self.snapshot.object.status = status.clone();
        self.touch();
        Ok(())
    }

    /// One write, guarded as the API server guards it.
    fn apply(&mut self, planned: &Snapshot, action: &Action) -> Result<(), Conflict> {
        invariants::of_action(self, planned, action);
        let what = self.describe(action);
        match action {
            Action::Identify { raw_hash } => {
                let template = &planned.object.spec.template;
                let named = revision_name(SHOP, template, 0);
                self.answer = Some((raw_hash.clone(), Identity::Known { raw_hash: raw_hash.clone(), revision: named }));
                return Ok(());
            }
            Action::Adopt { set } => {
                let place = self.snapshot.orphans.iter().position(|orphan| orphan.uid == set.uid).ok_or(Conflict)?;
                let orphan = self.snapshot.orphans.remove(place);
                self.snapshot.sets.push(orphan);
            }
            Action::LookUpOwner { owner } => {
                self.snapshot.owners.insert(owner.uid.clone(), OwnerState::Gone);
            }
            Action::CreateSet { revision, color, replicas, raw_hash } => {
                if self.snapshot.sets.iter().any(|set| &set.revision == revision) {
                    return Err(Conflict);
                }
                self.number += 1;
                let mut made = set(revision, *color, *replicas);
                made.uid = format!("set-{}", self.number);
                made.created = self.now().wall;
                made.min_ready_seconds = planned.object.spec.min_ready_seconds;
                made.template_hashes = vec![raw_hash.clone()];
                self.snapshot.sets.push(made);
            }
            Action::PatchSet { set, change: how } => {
                self.guarded(&set.uid, &set.resource_version)?;
                let set = self.snapshot.sets.iter_mut().find(|known| known.uid == set.uid).unwrap();
                change(set, how);
            }
            Action::Retire { set, attempt, services } => {
                self.guarded(&set.uid, &set.resource_version)?;
                let role = |kind| Some(Role { kind, attempt: *attempt });
                let place = self.snapshot.sets.iter().position(|known| known.uid == set.uid).unwrap();
                self.snapshot.sets[place].role = role(RoleKind::Retiring);
                let selects = |service: &Service| {
                    !service.selector.is_empty() && service.selector.get(keys::REVISION).is_none_or(|revision| *revision == set.revision)
                };
                if services.iter().filter_map(|name| self.snapshot.services.get(name)).any(selects) {
                    return Err(Conflict);
                }
                // A process killed here leaves the fence behind.
                self.killed()?;
                let set = &mut self.snapshot.sets[place];
                (set.role, set.proof, set.drain_begun, set.desired) = (role(RoleKind::Retired), None, None, 0);
            }
            Action::DeleteSet { set } => {
                self.guarded(&set.uid, &set.resource_version)?;
                self.snapshot.sets.retain(|known| known.uid != set.uid);
                self.snapshot.pods.retain(|pod| pod.set_uid != set.uid);
            }
            Action::Select { service, selector, owner, selected, why } => {
                let known = self.snapshot.services.get_mut(&service.name).filter(|known| known.resource_version == service.resource_version);
                let known = known.ok_or(Conflict)?;
                known.selector.clone_from(selector);
                known.owner = Some(owner.clone());
                known.selected = Some(selected.clone());
                self.service_mut(&service.name);
                if matches!(why, SelectWhy::Repair { .. }) {
                    let now = self.now().mono;
                    let repairs = self.snapshot.repairs.entry(service.name.clone()).or_insert(Repairs { count: 0, last: now });
                    *repairs = Repairs { count: repairs.count + 1, last: now };
                }
            }
            Action::Release { service } => {
                let known = self.snapshot.services.get_mut(&service.name).filter(|known| known.resource_version == service.resource_version);
                let known = known.ok_or(Conflict)?;
                (known.owner, known.selected) = (None, None);
                self.service_mut(&service.name);
            }
            Action::RemoveCommand { key, value } => {
                if self.snapshot.object.commands.get(*key) == Some(value) {
                    self.snapshot.object.commands.remove(*key);
                    self.touch();
                }
            }
        }
        self.transcript.push(what);
        Ok(())
    }

    fn guarded(&mut self, uid: &str, version: &str) -> Result<(), Conflict> {
        self.number += 1;
        let number = self.number.to_string();
        let set = self.snapshot.sets.iter_mut().find(|set| set.uid == uid && set.resource_version == version).ok_or(Conflict)?;
        set.resource_version = number;
        Ok(())
    }

    fn describe(&self, action: &Action) -> String {
        match action {
            Action::Identify { .. } => "identify".into(),
            Action::Adopt { set } => format!("adopt {}", self.version(&set.revision)),
            Action::LookUpOwner { owner } => format!("look up {}", owner.name),
            Action::CreateSet { revision, color, replicas, .. } => format!("create {} {} x{replicas}", self.version(revision), color.name()),
            Action::PatchSet { set, change } => {
                let mut words = vec![format!("patch {}", self.version(&set.revision))];
                words.extend(change.replicas.map(|replicas| format!("x{replicas}")));
                words.extend(change.role.map(Role::text));
                words.extend(change.proof.as_ref().map(|proof| format!("proof of {}", proof.pods.len())));
                words.extend(change.drop_proof.then(|| "without proof".to_owned()));
                words.extend(change.color.map(|color| color.name().to_owned()));
                words.extend(change.drain_begun.as_ref().map(|told| format!("told {}", told.len())));
                words.join(" ")
            }
            Action::Retire { set, attempt, .. } => format!("retire {}@{attempt}", self.version(&set.revision)),
            Action::DeleteSet { set } => format!("delete {}", self.version(&set.revision)),
            Action::Select { service, selected, why, .. } => {
                let why = match why {
                    SelectWhy::Switch => "",
                    SelectWhy::Park => " park",
                    SelectWhy::Preview => " preview",
                    SelectWhy::Repair { .. } => " repair",
                };
                format!("select {} {}@{}{why}", service.name, self.version(&selected.revision), selected.attempt)
            }
            Action::Release { service } => format!("release {}", service.name),
            Action::RemoveCommand { key, .. } => format!("remove {}", key.trim_start_matches(keys::PREFIX)),
        }
    }

    /// What a controller derives while it reads: identity and pods born late.
    pub fn observe(&mut self) {
        let snapshot = &mut self.snapshot;
        let raw_hash = raw_hash(&snapshot.object.spec.template);
        if !matches!(&snapshot.identity, Identity::Refused { .. }) {
            let known = snapshot.sets.iter().find(|set| !set.deleting && set.template_hashes.contains(&raw_hash));
            snapshot.identity = match (known, &self.answer) {
                (Some(set), _) => Identity::Known { raw_hash, revision: set.revision.clone() },
                (None, Some((asked, answer))) if *asked == raw_hash => answer.clone(),
                _ => Identity::Unknown { raw_hash },
            };
        }
        snapshot.late_pods.clear();
        let Some(switch) = &snapshot.object.status.switch else { return };
        for set in snapshot.sets.iter().filter(|set| set.revision != switch.to && set.role.is_some_and(|role| role.kind != RoleKind::Retired)) {
            let there: BTreeSet<String> = snapshot.pods.iter().filter(|pod| pod.set_uid == set.uid).map(|pod| pod.uid.clone()).collect();
            let known = self.present.entry(set.uid.clone()).or_insert_with(|| (switch.attempt, there.clone()));
            if known.0 != switch.attempt {
                *known = (switch.attempt, there.clone());
            }
            snapshot.late_pods.extend(there.difference(&known.1).cloned());
        }
    }

    /// One step of everybody else; whether anything changed.
    fn peers(&mut self) -> bool {
        let mut changed = false;
        if !self.idle {
            changed |= self.replica_sets();
            changed |= self.kubelets();
        }
        changed |= self.endpoints();
        changed |= self.probe_runner();
        changed |= self.tell();
        changed
    }

    fn replica_sets(&mut self) -> bool {
        let mut changed = false;
        let now = self.now().wall;
        for place in 0..self.snapshot.sets.len() {
            let set = self.snapshot.sets[place].clone();
            let mine = |pod: &&Pod| pod.set_uid == set.uid && pod.alive();
            let mut alive: Vec<(bool, String)> = self.snapshot.pods.iter().filter(mine).map(|pod| (pod.ready, pod.uid.clone())).collect();
            let desired = usize::try_from(set.desired).unwrap();
            while alive.len() < desired {
                self.number += 1;
                let mut made = pod(&self.number.to_string(), &set.uid);
                made.node = Some(if self.number % 2 == 0 { "node-1".into() } else { "node-2".into() });
                made.addresses = vec![format!("10.2.{}.{}", self.number / 250, self.number % 250 + 1)];
                made.ready = false;
                made.ready_since = Some(now);
                alive.push((false, made.uid.clone()));
                self.snapshot.pods.push(made);
                changed = true;
            }
            // Pods that are not ready go first.
            alive.sort();
            for (_, uid) in alive.drain(..alive.len() - desired) {
                self.snapshot.pods.retain(|pod| pod.uid != uid);
                changed = true;
            }
            let replicas = count(alive.len());
            if set.replicas != replicas {
                self.number += 1;
                let set = &mut self.snapshot.sets[place];
                (set.replicas, set.resource_version) = (replicas, self.number.to_string());
                changed = true;
            }
        }
        let uids: BTreeSet<&String> = self.snapshot.sets.iter().map(|set| &set.uid).collect();
        let before = self.snapshot.pods.len();
        self.snapshot.pods.retain(|pod| uids.contains(&pod.set_uid));
        changed || before != self.snapshot.pods.len()
    }

    fn kubelets(&mut self) -> bool {
        let now = self.now().wall;
        let mut changed = false;
        for pod in self.snapshot.pods.iter_mut().filter(|pod| pod.alive() && pod.node.is_some()) {
            let set = self.snapshot.sets.iter().find(|set| set.uid == pod.set_uid);
            let ready = set.is_some_and(|set| !self.broken.contains(&set.revision));
            if pod.ready != ready {
                (pod.ready, pod.ready_since) = (ready, Some(now));
                changed = true;
            }
        }
        changed
    }

    fn endpoints(&mut self) -> bool {
        let mut changed = false;
        let snapshot = &mut self.snapshot;
        // An emptied selector leaves the slices as they are.
        for service in snapshot.services.values().filter(|service| !service.selector.is_empty()) {
            let wanted = service.selector.get(keys::REVISION);
            let reached = |pod: &&Pod| {
                let set = snapshot.sets.iter().find(|set| set.uid == pod.set_uid);
                pod.alive() && set.is_some_and(|set| wanted.is_none_or(|revision| *revision == set.revision))
            };
            let pods: BTreeMap<String, bool> = snapshot.pods.iter().filter(reached).map(|pod| (pod.uid.clone(), pod.ready)).collect();
            let known = snapshot.endpoints.entry(service.name.clone()).or_default();
            if known.pods != pods {
                known.pods = pods;
                changed = true;
            }
        }
        changed
    }

    fn probe_runner(&mut self) -> bool {
        let Some(run) = &self.plan.effects.smoke else { return false };
        let at = self.now().wall;
        let Some(set) = self.snapshot.sets.iter().find(|set| set.uid == run.set_uid) else { return false };
        let result = if self.failing.contains(&set.revision) {
            ProbeResult::Failed
        } else if self.undecided.contains(&set.revision) {
            ProbeResult::Running
        } else {
            ProbeResult::Passed
        };
        let mut changed = false;
        for probe in &run.runs {
            let known = self.snapshot.probes.iter_mut().find(|known| {
                known.set_uid == run.set_uid && known.probes == run.probes && known.probe == probe.probe.name && known.pod == probe.pod
            });
            let message = if result == ProbeResult::Passed { String::new() } else { "status 500".into() };
            let found = ProbeObservation {
                set_uid: run.set_uid.clone(),
                probes: run.probes.clone(),
                probe: probe.probe.name.clone(),
                pod: probe.pod.clone(),
                target: probe.target.clone(),
                result,
                attempts: 3,
                message,
                at,
            };
            match known {
                Some(known) if known.result != ProbeResult::Running || known.result == result => {}
                Some(known) => {
                    *known = found;
                    changed = true;
                }
                None => {
                    self.snapshot.probes.push(found);
                    changed = true;
                }
            }
        }
        changed |= self.note_passes();
        changed
    }

    /// Keeps the truth about who passed, for the invariants.
    fn note_passes(&mut self) -> bool {
        for known in self.snapshot.probes.iter().filter(|known| known.result == ProbeResult::Passed) {
            self.passed.insert(known.set_uid.clone());
            if let Some(pod) = &known.pod {
                self.passed_pods.insert((pod.clone(), known.probes.clone()));
            }
        }
        false
    }

    fn tell(&mut self) -> bool {
        let mut changed = false;
        for call in &self.plan.effects.begin {
            if self.snapshot.begun.insert(call.pod.clone(), Begun::Told).is_none() {
                *self.told.entry(call.pod.clone()).or_default() += 1;
                changed = true;
            }
        }
        changed
    }

    /// Every agent reports once.
    fn agents(&mut self) {
        let now = self.now().mono;
        let watched = self.plan.effects.watch.clone();
        self.counts.retain(|uid, count| watched.iter().any(|pod| pod.uid == *uid && pod.epoch == count.epoch));
        self.snapshot.reports.retain(|uid, _| self.counts.contains_key(uid));
        if self.silent {
            return;
        }
        for pod in &watched {
            let Some(revision) = self.revision_of(&pod.uid) else { continue };
            let open = self.open.get(&revision).copied().unwrap_or(0);
            let count = self.counts.entry(pod.uid.clone()).or_insert(Count { epoch: pod.epoch, ..Count::default() });
            if count.samples > 0 {
                count.arrivals += self.arriving.get(&revision).copied().unwrap_or(0);
            }
            count.samples += 1;
            count.zero_since = if open > 0 { None } else { count.zero_since.or(Some(self.seconds)) };
            #[allow(clippy::cast_possible_truncation, reason = "milliseconds of a story")]
            let zero = count.zero_since.map(|since| ((self.seconds - since) * 1000.0) as i64);
            let mut report = report(&pod.uid, open, &[("10.9.9.9", count.arrivals)], zero);
            report.round = pod.epoch;
            report.samples = count.samples;
            report.ports[0].port = pod.ports[0];
            let samples = self.snapshot.reports.entry(pod.uid.clone()).or_default();
            samples.push(Sample { received: now, boot_id: "boot".into(), report, stale_after: 6, heard: now });
            let excess = samples.len().saturating_sub(64);
            samples.drain(..excess);
        }
    }

    fn revision_of(&self, pod: &str) -> Option<String> {
        let pod = self.snapshot.pods.iter().find(|known| known.uid == pod)?;
        self.snapshot.sets.iter().find(|set| set.uid == pod.set_uid).map(|set| set.revision.clone())
    }

    /// Seconds of silence after which an agent counts as silent.
    pub fn stale(&self) -> Duration {
        Duration::from_secs(6)
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap()
}
