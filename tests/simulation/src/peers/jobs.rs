//! The Job controller and the pods of Jobs in one: a Job ends after a while, well or not, or a person deletes it before.

use std::sync::Arc;

use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::history::Hook;
use crate::json;
use crate::scenario::{AIMED, version};
use crate::sim::Sim;
use crate::store::{Manager, stamp};

/// The value that the first container of a Job is given.
fn told<'a>(job: &'a Value, name: &str) -> &'a str {
    let mut variables = json::items(job, "/spec/template/spec/containers/0/env");
    variables.find(|variable| json::text(variable, "/name") == name).map_or("", |variable| json::text(variable, "/value"))
}

/// Which hook a Job is of.
pub fn hook(job: &Value) -> Hook {
    Hook {
        point: told(job, "BLUEGREEN_HOOK").into(),
        name: json::text(job, "/spec/template/spec/containers/0/name").into(),
        revision: told(job, "BLUEGREEN_REVISION").into(),
        attempt: told(job, "BLUEGREEN_RELEASE").parse().unwrap_or(0),
    }
}

/// Whether the release waits for it.
pub fn gates(point: &str) -> bool {
    point.starts_with("before") || point == "smokeProbes"
}

/// Whether a Job has ended.
pub fn ended(job: &Value) -> bool {
    ["Complete", "Failed"].into_iter().any(|kind| json::condition(job, kind).is_some())
}

impl Sim {
    /// A Job was created.
    pub fn job_made(&mut self, job: &Arc<Value>) {
        let wait = self.random.millis(200, 8000);
        self.later(wait, Happening::Job(json::uid(job).to_owned()));
    }

    /// A Job comes to its end.
    pub fn job_ends(&mut self, uid: &str) {
        let Some(job) = self.store.by_uid(Resource::Job, uid).cloned() else { return };
        let (namespace, name) = (json::text(&job, "/metadata/namespace").to_owned(), json::name(&job).to_owned());
        let hook = hook(&job);
        // The first version, and the one that is to come so far as the run aims at, pass.
        let sure = [version(1), version(AIMED)].iter().any(|image| told(&job, "BLUEGREEN_IMAGES") == image);
        let safe = self.calm || sure && gates(&hook.point);
        if !safe && self.random.percent(4) {
            self.say("person", || format!("deletes Job {name}"));
            self.history.hooks_failed.insert(hook.revision);
            self.delete(Resource::Job, &namespace, &name);
            return;
        }
        let fails = !safe && self.random.percent(15);
        let kind = if fails { "Failed" } else { "Complete" };
        if fails {
            self.history.hooks_failed.insert(hook.revision);
        } else {
            self.history.hooks_passed.insert(hook);
        }
        let at = stamp(self.now());
        self.say("job controller", || format!("Job {name} is {kind}"));
        self.write(Manager::updates("job-controller"), Resource::Job, &namespace, &name, |job| {
            json::set(job, "status", "conditions", json!([{"type": kind, "status": "True", "lastTransitionTime": at, "reason": "Simulated"}]));
        });
    }
}
