//! A world in memory for pure stories: it carries out plans as the API server does, with its guards, beside ideal peers ([`super::peers`]).
//! Every write is checked against the invariants ([`super::invariants`]), in every story.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::fixtures::*;
use super::invariants;
use super::peers::Count;
use crate::api::{BlueGreenDeploymentSpec, BlueGreenDeploymentStatus, PhaseName, keys};
use crate::release::action::{Action, Notice, Plan, SelectWhy};
use crate::release::plan::durable;
use crate::release::revision::revision_name;
use crate::release::*;

/// A write was refused because somebody else wrote since.
#[derive(Debug)]
pub struct Conflict;

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
    /// Whether the plan that is carried out was made from an older reading, by a process that believes it leads.
    pub stale: bool,
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
    /// Sets that have had the traffic, by UID.
    pub served: BTreeSet<String>,
    /// Names of versions by revision, for the transcript.
    pub versions: BTreeMap<String, String>,
    /// What the agents have counted, by pod.
    pub counts: BTreeMap<String, Count>,
    /// Pods that were there when a set was first found being left, by set, with the attempt.
    pub present: BTreeMap<String, (i64, BTreeSet<String>)>,
    /// The answer to the last dry run.
    pub answer: Option<(String, Identity)>,
    /// The latest number of anything.
    pub number: i64,
}

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
            stale: false,
            transcript: vec![],
            notices: vec![],
            told: BTreeMap::new(),
            passed: BTreeSet::new(),
            passed_pods: BTreeSet::new(),
            left_at: BTreeMap::new(),
            served: BTreeSet::new(),
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

    fn set_mut_of(&mut self, uid: &str) -> &mut Set {
        self.number += 1;
        let number = self.number;
        let set = self.snapshot.sets.iter_mut().find(|set| set.uid == uid).unwrap();
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
        if !planned.object.deleting && !self.stale {
            let known = self.snapshot.probes.len();
            match &plan.effects.smoke {
                None => self.snapshot.probes.clear(),
                Some(run) => self.snapshot.probes.retain(|known| known.set_uid == run.set_uid && known.probes == run.probes),
            }
            if plan.status != planned.object.status {
                self.killed()?;
                self.write_status(planned, &plan.status)?;
            }
            self.observe();
            if known != self.snapshot.probes.len() {
                // Results that nobody waits for any more are forgotten: status says so in the next round.
                self.plan = plan;
                return Ok(false);
            }
            invariants::at_rest(&self.snapshot, self.now());
            self.plan = plan;
        }
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
        invariants::of_status(planned, status);
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
                    self.served.insert(set.uid.clone());
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
        self.guards(planned, action)?;
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
            Action::Fence { set, switch, .. } => {
                let set = self.set_mut_of(&set.uid);
                set.role = Some(Role { kind: RoleKind::Serving, attempt: switch.attempt });
                set.switch = Some((**switch).clone());
            }
            Action::PatchSet { set, change: how } => {
                self.guarded(&set.uid, &set.resource_version)?;
                let set = self.snapshot.sets.iter_mut().find(|known| known.uid == set.uid).unwrap();
                change(set, how);
            }
            Action::Retire { set, attempt, services, notice } => {
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
                self.notices.extend(notice.clone());
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

    /// Whether the API server takes a write that was decided on these versions.
    fn guards(&self, planned: &Snapshot, action: &Action) -> Result<(), Conflict> {
        let same = match action {
            Action::PatchSet { set, .. } | Action::Retire { set, .. } | Action::DeleteSet { set } => {
                self.snapshot.sets.iter().any(|known| known.uid == set.uid && known.resource_version == set.resource_version)
            }
            Action::Fence { set, replicas, .. } => {
                let basis = |set: &Set| (set.role, set.proof.clone(), set.drain_begun.clone());
                let read = planned.sets.iter().find(|known| known.uid == set.uid).map(basis);
                let now = self.snapshot.sets.iter().find(|known| known.uid == set.uid && !known.deleting);
                now.is_some_and(|now| now.desired == *replicas && Some(basis(now)) == read)
            }
            Action::Select { service, .. } | Action::Release { service } => {
                self.snapshot.services.get(&service.name).is_some_and(|known| known.resource_version == service.resource_version)
            }
            Action::CreateSet { revision, .. } => !self.snapshot.sets.iter().any(|known| &known.revision == revision),
            Action::Identify { .. } | Action::Adopt { .. } | Action::LookUpOwner { .. } | Action::RemoveCommand { .. } => true,
        };
        if same { Ok(()) } else { Err(Conflict) }
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
            Action::Fence { set, switch, .. } => format!("fence {}@{}", self.version(&set.revision), switch.attempt),
            Action::PatchSet { set, change } => {
                let mut words = vec![format!("patch {}", self.version(&set.revision))];
                words.extend(change.replicas.map(|replicas| format!("x{replicas}")));
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

    /// Seconds of silence after which an agent counts as silent.
    pub fn stale(&self) -> Duration {
        Duration::from_secs(6)
    }
}
