//! Jobs of hooks in the world in memory: each ends after a while, well or not.

use std::collections::{BTreeMap, BTreeSet};

use super::fixtures::UID;
use super::simulator::{Conflict, World};
use crate::api::{HookPoint, HookResult};
use crate::release::action::HookRun;
use crate::release::*;

/// One Job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its UID.
    pub uid: String,
    /// When it ends.
    pub until: f64,
    /// What it was told.
    pub told: BTreeMap<String, String>,
    /// Which hook: point, name, revision, attempt.
    pub of: (HookPoint, String, String, i64),
    /// Whether it will fail.
    pub fails: bool,
}

/// All Jobs.
#[derive(Debug)]
pub struct Jobs {
    /// Those that are there, by name.
    pub there: BTreeMap<String, Job>,
    /// Names of all that ever were, in order.
    pub made: Vec<String>,
    /// Hooks whose Jobs fail from now on.
    pub failing: BTreeSet<String>,
    /// Seconds that each takes.
    pub seconds: f64,
    /// What stands at the end of the log of one that fails.
    pub words: String,
    /// Whether none can be made just now.
    pub lacking: bool,
    /// What the API server has against them.
    pub refusal: Option<String>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { there: BTreeMap::new(), made: vec![], failing: BTreeSet::new(), seconds: 3.0, words: String::new(), lacking: false, refusal: None }
    }
}

impl Jobs {
    /// Somebody deletes one.
    pub fn delete(&mut self, name: &str) {
        self.there.remove(name);
    }
}

impl World {
    /// What the controller does with a run of a hook.
    pub fn look_at_job(&mut self, run: &HookRun) -> Result<(), Conflict> {
        let (now, mono) = (self.seconds, self.now().mono);
        if self.jobs.lacking {
            self.snapshot.jobs.insert(run.job.clone(), JobSeen { uid: run.uid.clone(), state: JobState::Running, at: mono });
            return Ok(());
        }
        if !self.jobs.there.contains_key(&run.job) && run.uid.is_none() && run.template.is_some() {
            let Some(row) = self.snapshot.object.status.hooks.iter().find(|row| row.job == run.job) else { return Err(Conflict) };
            if row.result != HookResult::Running || row.uid.is_some() {
                return Err(Conflict);
            }
            assert!(!self.jobs.made.contains(&run.job), "a Job is created twice: {run:?}");
            let running = self.jobs.there.values().any(|job| job.until > now);
            assert!(!running, "two Jobs run at a time");
            self.number += 1;
            self.jobs.made.push(run.job.clone());
            let told = run.environment.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
            let of = (row.point, row.name.clone(), row.revision.clone(), row.attempt);
            let fails = self.jobs.failing.contains(&row.name);
            self.transcript.push(format!("{} {} of {}", row.point.field(), row.name, self.version(&row.revision)));
            self.jobs
                .there
                .insert(run.job.clone(), Job { uid: format!("job-{}-of-{UID}", self.number), until: now + self.jobs.seconds, told, of, fails });
        }
        let seen = match self.jobs.there.get(&run.job) {
            None => JobSeen { uid: None, state: JobState::Gone, at: mono },
            Some(job) => {
                let state = match job.until > now {
                    true => JobState::Running,
                    false if job.fails => {
                        JobState::Failed(format!("BackoffLimitExceeded: Job has reached the specified backoff limit{}", self.jobs.words))
                    }
                    false => JobState::Succeeded,
                };
                JobSeen { uid: Some(job.uid.clone()), state, at: mono }
            }
        };
        self.snapshot.jobs.insert(run.job.clone(), seen);
        Ok(())
    }

    /// Whether the Job of every hook at a point has really succeeded for a revision, in the release that makes this move.
    pub fn hooks_passed(&self, point: HookPoint, revision: &str, attempt: i64) -> bool {
        self.snapshot.object.spec.jobs_at(point).iter().all(|job| {
            let of = (point, job.name.to_owned(), revision.to_owned(), attempt);
            self.jobs.there.values().any(|job| job.of == of && !job.fails && job.until <= self.seconds)
        })
    }
}
