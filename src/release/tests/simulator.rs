//! A world in memory for pure stories: it carries out plans as the API server does, with its guards, beside ideal peers ([`super::peers`]).
//! Every write is checked against the invariants ([`super::invariants`]), in every story.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::fixtures::*;
use super::invariants;
use super::jobs::Jobs;
use super::peers::Count;
use crate::api::{BlueGreenDeploymentSpec, BlueGreenDeploymentStatus, PhaseName, RoleMetadata, keys};
use crate::release::action::{Notice, Plan, RoleChange};
use crate::release::plan::durable;
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
    /// Revisions whose probes fail after the switch.
    pub ill: BTreeSet<String>,
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
    /// Whether the endpoints controller does nothing.
    pub late_endpoints: bool,
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
    /// Since when pods are ready endpoints of every Service that is moved, by UID.
    pub joined_at: BTreeMap<String, f64>,
    /// Sets that have had the traffic, by UID.
    pub served: BTreeSet<String>,
    /// Names of versions by revision, for the transcript.
    pub versions: BTreeMap<String, String>,
    /// What the agents have counted, by pod.
    pub counts: BTreeMap<String, Count>,
    /// UIDs of sets that were deleted without their pods.
    pub orphaned: BTreeSet<String>,
    /// Pods that lost their set and are none of the operator's business.
    pub nobodys: Vec<Pod>,
    /// Whether the garbage collector does nothing.
    pub littered: bool,
    /// Open connections on single pods, by UID.
    pub holding: BTreeMap<String, i64>,
    /// Numbers that pods tell of themselves, by UID; 0 where nothing stands.
    pub numbers: BTreeMap<String, Result<f64, String>>,
    /// Pods that were there when a set was first found being left, by set, with the attempt.
    pub present: BTreeMap<String, (i64, BTreeSet<String>)>,
    /// The answer to the last dry run.
    pub answer: Option<(String, Identity)>,
    /// Jobs of hooks.
    pub jobs: Jobs,
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
            ill: BTreeSet::new(),
            undecided: BTreeSet::new(),
            open: BTreeMap::new(),
            arriving: BTreeMap::new(),
            silent: false,
            idle: false,
            late_endpoints: false,
            writes_left: None,
            stale: false,
            transcript: vec![],
            notices: vec![],
            told: BTreeMap::new(),
            passed: BTreeSet::new(),
            passed_pods: BTreeSet::new(),
            left_at: BTreeMap::new(),
            joined_at: BTreeMap::new(),
            served: BTreeSet::new(),
            versions: BTreeMap::new(),
            counts: BTreeMap::new(),
            orphaned: BTreeSet::new(),
            nobodys: vec![],
            littered: false,
            holding: BTreeMap::new(),
            numbers: BTreeMap::new(),
            present: BTreeMap::new(),
            answer: None,
            jobs: Jobs::default(),
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
        invariants::set_of(&self.snapshot, &revision(version)).unwrap_or_else(|| panic!("no set of {version}"))
    }

    /// The same, to be changed behind the controller's back.
    pub fn set_mut(&mut self, version: &str) -> &mut Set {
        let uid = self.set(version).uid.clone();
        self.set_mut_of(&uid)
    }

    /// The same, by UID.
    pub fn set_mut_of(&mut self, uid: &str) -> &mut Set {
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

    pub fn version<'a>(&'a self, revision: &'a str) -> &'a str {
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

    /// The object has a new version.
    pub fn touch(&mut self) {
        self.number += 1;
        self.snapshot.object.resource_version = self.number.to_string();
    }

    /// The controller is started anew: what only the process knew is lost.
    pub fn restart(&mut self) {
        let snapshot = &mut self.snapshot;
        (snapshot.probes, snapshot.reports, snapshot.begun) = Default::default();
        (snapshot.repairs, snapshot.owners, snapshot.late_pods) = Default::default();
        (snapshot.jobs, snapshot.hooks_checked, snapshot.absent_since, snapshot.readings) = Default::default();
        snapshot.present_since.clear();
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
            let wanted = |known: &ProbeObservation| plan.effects.probes().any(|run| known.set_uid == run.set_uid && known.probes == run.probes);
            self.snapshot.probes.retain(wanted);
            if plan.status != planned.object.status {
                self.killed()?;
                self.write_status(planned, &plan.status)?;
            }
            if !plan.metadata.is_empty() {
                self.dress(&plan.metadata);
                return Ok(false);
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

    /// Writes on pods what they bear because of their roles.
    fn dress(&mut self, changes: &[RoleChange]) {
        for RoleChange { role, wanted, pods } in changes {
            let record = metadata::Record { role: *role, hash: revision::metadata_hash(wanted), labels: vec![], annotations: vec![] };
            let bare = *wanted == RoleMetadata::default();
            for pod in self.snapshot.pods.iter_mut().filter(|known| pods.iter().any(|pod| pod.uid == known.uid)) {
                pod.metadata = (!bare).then(|| record.clone());
            }
        }
    }

    /// Whether the process may still write.
    pub fn killed(&mut self) -> Result<(), Conflict> {
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
            what += switch.narrowed_at.map_or("", |_| " alone");
            what += switch.completed_at.map_or("", |_| " completed");
            what += switch.converged_at.map_or("", |_| " converged");
            self.transcript.push(what);
            if switch.narrowed_at.is_some() && before.switch.as_ref().is_none_or(|known| known.narrowed_at != switch.narrowed_at) {
                invariants::of_narrowing(self, switch);
            }
            if let Some(at) = switch.completed_at.filter(|at| before.switch.as_ref().is_none_or(|known| known.completed_at != Some(*at))) {
                for set in self.snapshot.sets.iter().filter(|set| set.desired > 0 && (set.revision != switch.to || set.loose.is_some())) {
                    self.left_at.entry(set.uid.clone()).or_insert(at);
                    self.served.insert(set.uid.clone());
                }
            }
            if let Some(set) = invariants::set_of(&self.snapshot, &switch.to) {
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

    /// Seconds of silence after which an agent counts as silent.
    pub fn stale(&self) -> Duration {
        Duration::from_secs(6)
    }
}
