//! People: they apply templates, scale, command, pause, and change their minds.

use std::time::Duration;

use bluegreen::api::keys::command;
use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::bystander::is_its;
use crate::faults::Phase;
use crate::json;
use crate::random::Random;
use crate::scenario::{AIMED, probe, template, version};
use crate::sim::{NAME, NAMESPACE, Sim};
use crate::store::Manager;

/// Something that a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Applies another version.
    Release(u64),
    /// Writes out a default of the template: nothing else than before.
    SpellOut,
    /// Applies a template with a misspelt field.
    Misspell,
    /// Changes `spec.replicas`.
    Scale(u64),
    /// Sets `spec.paused` for a while.
    Pause,
    /// Takes it back.
    Unpause,
    /// Gives the revision of the spec up.
    Abort,
    /// Tries the rejected one again.
    Retry,
    /// Goes back to an earlier revision.
    Rollback,
    /// Promotes what the spec asks for.
    Promote,
    /// Promotes a revision that is not the one of the spec.
    PromoteAnother,
    /// Starts the active revision anew.
    Restart,
    /// Ends a drain.
    FinishDrain,
    /// Changes a smoke probe.
    ChangeProbe(u64),
    /// Deletes the ReplicaSet that serves, without its pods.
    DeleteActiveSet,
}

impl Sim {
    /// What people are going to do.
    pub fn plan_acts(&mut self) {
        if let Some(story) = self.what.story {
            for (at, act) in story.acts {
                self.plan_act(Duration::from_millis(*at), *act);
            }
            return;
        }
        let random = &mut Random::new(self.what.seed, "people");
        let end = self.scenario.busy_seconds * 1000;
        let aim = self.what.aim().map(|(_, phase)| phase);
        for number in 0..random.between(1, 3) {
            // The first release comes as soon as the first version serves, most of the time.
            let at = if number == 0 { random.millis(8000, 25_000) } else { random.millis(10_000, end) };
            let version = if random.percent(15) { 1 } else { random.between(2, AIMED) };
            let aimed = number == 0 && matches!(aim, Some(Phase::Converge | Phase::Bake | Phase::Drain | Phase::Rejected));
            self.plan_act(at, Act::Release(if aimed { AIMED } else { version }));
            self.release_together(at, number + 2);
        }
        let at = random.millis(5000, 20_000);
        match aim {
            Some(Phase::Blocked) => self.plan_act(at, Act::Misspell),
            Some(Phase::Paused) => {
                self.plan_act(at, Act::Pause);
                // Where nothing is under way nothing is paused.
                self.plan_act(at + random.millis(300, 1500), Act::Release(AIMED));
                self.plan_act(at + random.millis(8000, 25_000), Act::Unpause);
            }
            _ => {}
        }
        for _ in 0..random.between(0, 4) {
            let at = random.millis(3000, end);
            let act = match random.between(0, 13) {
                0 | 1 => Act::Scale(random.between(0, 4)),
                2 => Act::Pause,
                3 | 4 => Act::Abort,
                5 => Act::Retry,
                6 | 7 => Act::Rollback,
                8 => Act::PromoteAnother,
                9 => Act::ChangeProbe(random.between(1, 3)),
                10 => Act::SpellOut,
                11 => Act::Restart,
                12 => Act::FinishDrain,
                _ => Act::Misspell,
            };
            self.plan_act(at, act);
            if act == Act::Pause {
                let wait = random.millis(2000, 25_000);
                self.plan_act(at + wait, Act::Unpause);
            }
        }
    }

    fn plan_act(&mut self, at: Duration, act: Act) {
        self.acts.push(act);
        self.agenda.add(at, Happening::Person(self.acts.len() - 1));
    }

    /// A person who has been asked to promote does so, sooner or later.
    pub fn asked_to_promote(&mut self, phase: Phase) {
        if phase == Phase::AwaitPromotion && (self.calm || self.random.percent(75)) {
            let wait = self.random.millis(300, 6000);
            let at = self.now() + wait;
            self.plan_act(at, Act::Promote);
        }
    }

    /// Old pods are about to leave one by one. Somebody may want them back just then, and tidy up in the wrong place later.
    pub fn pods_are_leaving(&mut self) {
        if self.what.story.is_some() || self.calm || std::mem::replace(&mut self.history.left, true) {
            return;
        }
        let random = &mut Random::new(self.what.seed, "regret");
        if random.percent(60) {
            let back = self.now() + random.millis(1, 150);
            self.plan_act(back, Act::Rollback);
            if random.percent(80) {
                self.plan_act(back + random.millis(2000, 12_000), Act::DeleteActiveSet);
            }
        }
    }

    /// What is left half done is put right.
    pub fn leave_in_order(&mut self) {
        let now = self.now();
        if self.what.story.is_none() {
            self.plan_act(now, Act::Unpause);
        }
        if self.object().is_some_and(|object| json::number(&object, "/spec/replicas") == 0) {
            self.plan_act(now, Act::Scale(2));
        }
        self.asked_to_promote(self.phase);
    }

    /// A person does something.
    pub fn act(&mut self, number: usize) {
        let Some(act) = self.acts.get(number).copied() else { return };
        let finishing = matches!(act, Act::Unpause | Act::Promote | Act::Scale(2));
        let Some(object) = self.object().filter(|_| !self.calm || finishing) else { return };
        self.say("person", || format!("{act:?}"));
        match act {
            Act::Release(number) => {
                self.edit(|spec| put(spec, "template", template(&version(number))));
                // A Job that somebody has deleted is made again for a revision that comes back after another one.
                let made = std::mem::take(&mut self.history.jobs_made);
                self.history.jobs_made = made.into_iter().filter(|job| self.store.get(Resource::Job, NAMESPACE, job).is_some()).collect();
            }
            Act::SpellOut => self.edit(|spec| {
                if let Some(containers) = spec.pointer_mut("/template/spec") {
                    put(containers, "restartPolicy", json!("Always"));
                }
            }),
            Act::Misspell => self.edit(|spec| {
                if let Some(pod) = spec.pointer_mut("/template/spec") {
                    put(pod, "contaners", json!([]));
                }
            }),
            Act::Scale(replicas) => self.edit(|spec| put(spec, "replicas", json!(replicas))),
            Act::Pause => self.edit(|spec| put(spec, "paused", json!(true))),
            Act::Unpause => {
                let now = self.now();
                self.faults.disturbances.push(now);
                self.edit(|spec| put(spec, "paused", json!(false)));
            }
            Act::ChangeProbe(need) => self.edit(|spec| {
                if let Some(probes) = spec.get_mut("smokeProbes").and_then(Value::as_array_mut)
                    && let Some(first) = probes.first_mut().filter(|first| json::text(first, "/target") == "EachPod")
                {
                    *first = probe("home", "EachPod", need);
                }
            }),
            Act::Abort | Act::Promote => {
                let revision = json::text(&object, "/status/revision").to_owned();
                self.command(if act == Act::Abort { command::ABORT } else { command::PROMOTE }, &revision);
            }
            Act::Retry => {
                let revision = json::text(&object, "/status/rejected/revision").to_owned();
                self.command(command::RETRY, &revision);
            }
            Act::Restart => {
                let active = json::text(&object, "/status/switch/to").to_owned();
                self.command(command::RESTART, &active);
            }
            Act::FinishDrain => {
                let drains = json::text(&object, "/status/draining/0/revision").to_owned();
                self.command(command::FINISH_DRAIN, &drains);
            }
            Act::DeleteActiveSet => {
                let active = json::text(&object, "/status/switch/to").to_owned();
                if let Some(set) = self.first_set(&active).map(|set| json::name(set).to_owned()) {
                    let now = self.now();
                    self.faults.disturbances.push(now);
                    self.delete_set(&set, true);
                }
            }
            Act::PromoteAnother => {
                let spec = json::text(&object, "/status/revision").to_owned();
                let other = self.some_revision(&spec);
                self.command(command::PROMOTE, &other);
            }
            Act::Rollback => {
                let active = json::text(&object, "/status/switch/to").to_owned();
                let other = self.some_revision(&active);
                self.command(command::ROLLBACK, &format!("{active}-{other}"));
            }
        }
    }

    fn some_revision(&mut self, but: &str) -> String {
        let label = bluegreen::api::keys::REVISION;
        let others: Vec<String> = self
            .store
            .all(Resource::ReplicaSet)
            .filter(|set| !is_its(json::name(set)))
            .filter_map(|set| json::label(set, label))
            .filter(|revision| *revision != but)
            .map(str::to_owned)
            .collect();
        self.random.one(&others).cloned().unwrap_or_else(|| "nothing".into())
    }

    fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        self.write(Manager::updates("kubectl"), Resource::BlueGreenDeployment, NAMESPACE, NAME, |object| {
            if let Some(spec) = object.get_mut("spec") {
                change(spec);
            }
        });
        if let Some(object) = self.object() {
            let now = self.now();
            self.history.replicas.push((now, json::number(&object, "/spec/replicas")));
        }
    }

    fn command(&mut self, key: &'static str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.history.commands.push((key, value.to_owned()));
        self.write(Manager::updates("kubectl"), Resource::BlueGreenDeployment, NAMESPACE, NAME, |object| {
            if let Some(annotations) = object.pointer_mut("/metadata").and_then(|metadata| json::object(metadata, "annotations")) {
                annotations.insert(key.into(), json!(value));
            }
        });
    }
}

fn put(of: &mut Value, key: &str, value: Value) {
    if let Some(of) = of.as_object_mut() {
        of.insert(key.to_owned(), value);
    }
}
