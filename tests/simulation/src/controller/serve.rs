//! Serving a request of the operator: the store does it, history remembers it, the invariants look at it.

use std::sync::Arc;

use bluegreen::api::keys;
use bluegreen::controller::api::{ApiError, Change, Resource};
use serde_json::Value;

use super::api::{Answer, Call, Fate, Request, Travel};
use crate::basis::Basis;
use crate::invariants;
use crate::json;
use crate::sim::Sim;

/// A write of the operator that was carried out.
#[derive(Clone, Debug)]
pub struct Write {
    /// Who wrote.
    pub process: usize,
    /// What was asked.
    pub call: Call,
    /// The object before.
    pub before: Option<Arc<Value>>,
    /// The object after; of a deletion, as it last was.
    pub after: Arc<Value>,
    /// What the process went by when it sent this.
    pub basis: Arc<Basis>,
}

impl Sim {
    /// A process sends a request: how it will travel.
    pub fn sent(&mut self, process: usize, call: &Call) -> Travel {
        // A template that was refused is asked about again with growing pauses, which is no work for a steady object.
        // Of Events the time tells.
        if !matches!(call.resource, Resource::Lease | Resource::Event)
            && !matches!(call.request, Request::Create { dry_run: true, .. })
            && let Some(process) = self.processes.get_mut(process)
        {
            process.requests += 1;
        }
        self.decided(process, call);
        let mut travel = self.travel(process, call);
        if call.writes() && !matches!(call.resource, Resource::Lease | Resource::Event) {
            let countdown = self.processes.get_mut(process).and_then(|process| process.dies.as_mut());
            match countdown {
                Some((0, after)) => travel.fate = if *after { Fate::DiesAfter } else { Fate::DiesBefore },
                Some((left, _)) => *left -= 1,
                None => {}
            }
        }
        if travel.fate == Fate::DiesBefore {
            let what = self.words(call);
            self.end_process(process, &format!("killed before: {what}"));
        }
        travel
    }

    /// Serves a request.
    pub fn serve(&mut self, process: usize, call: &Call, Travel { fate, basis, .. }: &Travel) -> Result<Answer, ApiError> {
        let who = self.processes.get(process).map(|process| process.name.clone()).unwrap_or_default();
        if self.over {
            return Err(ApiError::Transient("the world has ended".into()));
        }
        if let Fate::Refused(error) = fate {
            let what = self.words(call);
            self.say(&who, || format!("{what} → {error} (fault)"));
            self.read(process, call, false, None);
            return Err(error.clone());
        }
        let answer = self.carry_out(process, call, basis);
        // Of an Event its own line tells.
        if call.resource != Resource::Lease && (call.writes() && call.resource != Resource::Event || answer.is_err()) {
            let what = self.words(call);
            let sees = self.lag(process);
            self.say(&who, || format!("{what}{}{sees}", answer.as_ref().err().map(|error| format!(" → {error}")).unwrap_or_default()));
        }
        match fate {
            Fate::AnswerLost => {
                self.say(&who, || "… and never hears the answer (fault)".into());
                self.read(process, call, false, None);
                Err(ApiError::Transient("the connection broke".into()))
            }
            Fate::DiesAfter => {
                self.end_process(process, "killed before it heard the answer");
                answer
            }
            _ => {
                let found = match &answer {
                    Ok(Answer::Object(found)) => found.clone(),
                    _ => None,
                };
                self.read(process, call, answer.is_ok(), found);
                answer
            }
        }
    }

    fn carry_out(&mut self, process: usize, call: &Call, basis: &Arc<Basis>) -> Result<Answer, ApiError> {
        let Call { resource, namespace, name, request } = call;
        let now = self.now();
        if let Request::Publish(notice) = request {
            self.history.events.push((now, notice.reason, notice.message.clone()));
            let notice = notice.clone();
            self.say("event", || format!("{}: {}", notice.reason, notice.message));
            return Ok(Answer::Done);
        }
        let before = self.store.get(*resource, namespace, name).cloned();
        let answer = self.store.answer(call, now)?;
        let Answer::Object(Some(after)) = &answer else { return Ok(answer) };
        if !call.writes() {
            return Ok(answer);
        }
        self.faults.writes += 1;
        if before.as_ref() != Some(after) || matches!(request, Request::Delete { .. }) {
            let write = Write { process, call: call.clone(), before, after: after.clone(), basis: basis.clone() };
            invariants::at_each_write(self, &write);
        }
        self.changed();
        Ok(answer)
    }

    /// What has not reached a process yet, for the transcript: what it could not know when it decided.
    fn lag(&self, process: usize) -> String {
        let Some(watchers) = self.processes.get(process).filter(|_| self.transcript.kept()).map(|process| process.watchers.clone()) else {
            return String::new();
        };
        let late: Vec<String> = watchers
            .iter()
            .filter_map(|id| self.watchers.get(*id))
            .filter_map(|watcher| {
                let behind = watcher.waiting();
                (behind > 0).then(|| format!("{behind} of {:?}", watcher.resource))
            })
            .collect();
        if late.is_empty() { String::new() } else { format!("   [has not heard of {}]", late.join(", ")) }
    }

    /// A request in words, where somebody wants to read them.
    fn words(&self, call: &Call) -> String {
        if self.transcript.kept() { self.describe(call) } else { String::new() }
    }

    /// A request in words.
    pub fn describe(&self, call: &Call) -> String {
        let what = format!("{:?} {}", call.resource, call.name);
        match &call.request {
            Request::Get => format!("reads {what}"),
            Request::List(_) => format!("lists {:?}", call.resource),
            Request::Create { dry_run: true, .. } => format!("asks about {what}"),
            Request::Create { object, .. } if call.resource == Resource::ConnectionWatch => {
                format!("creates {what}: {} pods", json::items(object, "/spec/pods").count())
            }
            Request::Create { object, .. } => format!("creates {what} with {} replicas", json::number(object, "/spec/replicas")),
            Request::Delete { .. } => format!("deletes {what}"),
            Request::Publish(notice) => format!("says {}", notice.reason),
            Request::Patch { change: Change::Json(body), .. } => format!("patches {what}: {}", steps(body)),
            Request::Patch { status, change: Change::Merge(body) } => {
                format!("patches {what}{}: {}", if *status { "/status" } else { "" }, self.summary(call.resource, body))
            }
        }
    }

    fn summary(&self, resource: Resource, body: &Value) -> String {
        let mut parts = vec![];
        match resource {
            Resource::Service => {
                if body.pointer("/spec/selector").is_some() {
                    let revision = json::selects(body).unwrap_or("without a revision");
                    let beside = if json::overlaps(body) { "and what it leaves " } else { "" };
                    parts.push(format!("→ {} {beside}({})", self.named(revision), json::annotation(body, keys::SELECTED).unwrap_or("released")));
                }
                for key in [keys::SWITCH, keys::WITHDRAWN] {
                    if let Some(value) = json::annotation(body, key) {
                        parts.push(format!("{} {value:?}", key.trim_start_matches(keys::PREFIX)));
                    }
                }
            }
            Resource::ReplicaSet => {
                if let Some(replicas) = body.pointer("/spec/replicas") {
                    parts.push(format!("replicas {replicas}"));
                }
                for key in [keys::ROLE, keys::PROOF, keys::DRAIN_BEGUN] {
                    if let Some(value) = body.pointer("/metadata/annotations").and_then(|annotations| annotations.get(key)) {
                        parts.push(format!("{} {value}", key.trim_start_matches(keys::PREFIX)));
                    }
                }
            }
            Resource::BlueGreenDeployment => {
                for key in ["phase", "switch", "rejected"] {
                    if let Some(value) = body.pointer("/status").and_then(|status| status.get(key)) {
                        parts.push(format!("{key} {value}"));
                    }
                }
                for condition in
                    json::items(body, "/status/conditions").filter(|condition| matches!(json::text(condition, "/type"), "Stalled" | "Ready"))
                {
                    parts.push(format!(
                        "{}={} {}",
                        json::text(condition, "/type"),
                        json::text(condition, "/status"),
                        json::text(condition, "/reason")
                    ));
                }
            }
            Resource::ConnectionWatch => {
                let pods = json::items(body, "/spec/pods").map(|pod| format!("{} round {}", json::text(pod, "/uid"), json::number(pod, "/round")));
                parts.push(pods.collect::<Vec<_>>().join(", "));
            }
            _ => {}
        }
        parts.join("; ")
    }
}

/// The steps of a JSON patch: what is written, and what must be as it was read.
fn steps(body: &Value) -> String {
    let of = |tests: bool| json::items(body, "").filter(move |step| (json::text(step, "/op") == "test") == tests);
    let last = |step: &Value| json::text(step, "/path").rsplit('/').next().unwrap_or_default().replace("bluegreen.dev~1", "");
    let written: Vec<String> = of(false).map(|step| format!("{} {}", last(step), step.get("value").unwrap_or(&Value::Null))).collect();
    let tested: Vec<String> = of(true).map(last).collect();
    format!("{}; if as read: {}", written.join("; "), tested.join(", "))
}
