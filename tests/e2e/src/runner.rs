//! Runs the cases: those that share a cluster side by side, those that break one each on its own.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use simulation::fidelity::{Kind, covered};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, block_in_place};

use crate::audit::Audit;
use crate::diagnosis;
use crate::failure::{Failure, Result};
use crate::stage::Stage;
use crate::traffic::Notes;
use crate::world::World;

/// Where a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a namespace of its own on the cluster that all of these share.
    Shared,
    /// On a cluster of its own, with so many nodes: it breaks things.
    Own {
        /// Nodes.
        nodes: usize,
        /// Helm values beside the usual ones.
        values: &'static [&'static str],
    },
}

/// A case.
#[derive(Clone)]
pub struct Case {
    /// Its name, for filters.
    pub name: &'static str,
    /// Where it runs.
    pub place: Place,
    /// Seconds after which it has failed.
    pub limit: u64,
    /// What it does.
    pub run: Arc<dyn Fn(Arc<Stage>) -> BoxFuture<'static, Result> + Send + Sync>,
}

/// How to run them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Cases at the same time.
    pub jobs: usize,
    /// Leave clusters and failed namespaces for a look.
    pub keep: bool,
    /// Whether these are all cases: then every kind of answer that the controller got must be one that the simulation is compared by.
    pub all: bool,
    /// What the controller got, on all clusters.
    pub answers: Arc<Mutex<BTreeSet<Kind>>>,
}

impl Plan {
    /// Remembers what the controller of a cluster was answered, before its log goes.
    fn remember(&self, world: &World) -> Result {
        let answers = Audit::all(world)?.answers()?;
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).extend(answers);
        Ok(())
    }

    /// Kinds of answers that the controller got and the simulation is not compared by.
    fn not_compared(&self) -> Result<Vec<Kind>> {
        let covered = covered().map_err(Failure::Claim)?;
        let got = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        println!("the controller got answers of {} kinds; the simulation's API server is compared by {}", got.len(), covered.len());
        Ok(got.difference(&covered).cloned().collect())
    }
}

/// Name of the shared cluster.
pub const SHARED: &str = "e2e";

struct Outcome {
    name: String,
    took: Duration,
    notes: Vec<String>,
    failed: Option<(Failure, String)>,
}

/// Runs the cases and prints a line for each. Answers whether all passed.
pub async fn run(cases: &[Case], plan: &Plan) -> Result<bool> {
    let begun = Instant::now();
    let mut passed = 0;
    let mut failed = vec![];
    let (shared, own): (Vec<Case>, Vec<Case>) = cases.iter().cloned().partition(|case| case.place == Place::Shared);
    if !shared.is_empty() {
        let allowed = [
            crate::cases::queries::ALLOWED,
            crate::cases::webhooks::ALLOWED,
            crate::cases::exec::ALLOWED,
            crate::cases::config::ALLOWED,
            crate::cases::job_probes::LOGS,
            crate::cases::through::ALLOWED,
        ];
        let world = match World::up(SHARED, 2, &allowed).await {
            Ok(world) => world,
            Err(error) => {
                if !plan.keep {
                    let _ = block_in_place(|| cluster::down(SHARED));
                }
                return Err(error);
            }
        };
        println!("cluster {SHARED} is up with the operator after {:.1} s", begun.elapsed().as_secs_f64());
        let jobs = shared.into_iter().map(|case| {
            let world = world.clone();
            let plan = plan.clone();
            move || async move { on(world, case, &plan).await }
        });
        gather(jobs, plan.jobs, &mut passed, &mut failed).await;
        plan.remember(&world)?;
        if !plan.keep {
            world.down()?;
        }
    }
    let jobs = own.into_iter().map(|case| {
        let plan = plan.clone();
        move || async move { alone(case, &plan).await }
    });
    gather(jobs, plan.jobs.min(2), &mut passed, &mut failed).await;
    if plan.all {
        failed.extend(plan.not_compared()?.into_iter().map(|kind| format!("(the simulation is not compared by \"{kind}\")")));
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(" "));
    }
    println!("{passed} passed, {} failed in {:.0} s", failed.len(), begun.elapsed().as_secs_f64());
    Ok(failed.is_empty())
}

/// Runs jobs, so many at a time, and tells of each as it ends.
async fn gather<F>(jobs: impl Iterator<Item = impl FnOnce() -> F>, at_once: usize, passed: &mut usize, failed: &mut Vec<String>)
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let seats = Arc::new(Semaphore::new(at_once.max(1)));
    let mut running = JoinSet::new();
    for job in jobs {
        let seats = seats.clone();
        let job = job();
        running.spawn(async move {
            let _seat = seats.acquire_owned().await;
            job.await
        });
    }
    while let Some(outcome) = running.join_next().await {
        match outcome {
            Ok(outcome) => {
                tell(&outcome);
                if outcome.failed.is_some() {
                    failed.push(outcome.name);
                } else {
                    *passed += 1;
                }
            }
            Err(error) => failed.push(format!("(a case panicked: {error})")),
        }
    }
}

fn tell(outcome: &Outcome) {
    let Outcome { name, took, notes, failed } = outcome;
    let word = if failed.is_some() { "FAILED" } else { "ok" };
    let notes = if notes.is_empty() { String::new() } else { format!("  [{}]", notes.join("; ")) };
    println!("{word:6} {name} ({:.1} s){notes}", took.as_secs_f64());
    if let Some((failure, diagnosis)) = failed {
        println!("    {failure}\n{diagnosis}");
    }
}

/// A case on a cluster of its own.
async fn alone(case: Case, plan: &Plan) -> Outcome {
    let Place::Own { nodes, values } = case.place else {
        return Outcome {
            name: case.name.into(),
            took: Duration::ZERO,
            notes: vec![],
            failed: Some((Failure::Claim("not a case of its own".into()), String::new())),
        };
    };
    let begun = Instant::now();
    let name = cluster_name(case.name);
    let world = match World::up(&name, nodes, values).await {
        Ok(world) => world,
        Err(error) => {
            if !plan.keep {
                let _ = block_in_place(|| cluster::down(&name));
            }
            return Outcome { name: case.name.into(), took: begun.elapsed(), notes: vec![], failed: Some((error, String::new())) };
        }
    };
    let mut outcome = on(world.clone(), case, plan).await;
    if let Err(error) = plan.remember(&world) {
        outcome.failed.get_or_insert((error, String::new()));
    }
    if !plan.keep
        && let Err(error) = world.down()
    {
        outcome.failed.get_or_insert((error, String::new()));
    }
    outcome
}

/// A case on a cluster that is there.
async fn on(world: World, case: Case, plan: &Plan) -> Outcome {
    let begun = Instant::now();
    let notes = Notes::default();
    let namespace = format!("{}-{:x}", case.name.replace('_', "-"), begun_ms() & 0xff_ffff);
    let stage = match Stage::new(world, namespace, notes.clone()).await {
        Ok(stage) => Arc::new(stage),
        Err(error) => return Outcome { name: case.name.into(), took: begun.elapsed(), notes: vec![], failed: Some((error, String::new())) },
    };
    let limit = Duration::from_secs(case.limit);
    // A case that panics has failed like any other: its cluster must go, and its name must be told.
    let running = AssertUnwindSafe((case.run)(stage.clone())).catch_unwind();
    let result = match tokio::time::timeout(limit, running).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(Failure::Claim(format!("it panicked: {}", words_of(panic.as_ref())))),
        Err(_) => Err(Failure::Deadline(limit)),
    };
    let took = begun.elapsed();
    let failed = result.err().map(|failure| {
        let diagnosis = diagnosis::of(&stage);
        (failure, diagnosis)
    });
    if failed.is_none() || !plan.keep {
        // It goes with the cluster at the latest.
        let _ = stage.clear().await;
    }
    Outcome { name: case.name.into(), took, notes: notes.all(), failed }
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".into())
}

/// Milliseconds of the clock, to tell runs apart.
fn begun_ms() -> u64 {
    load::report::now_ms()
}

/// A cluster's name: at most 20 letters, digits and dashes.
fn cluster_name(case: &str) -> String {
    let name: String = format!("{SHARED}-{}", case.replace('_', "-")).chars().take(20).collect();
    name.trim_end_matches('-').to_owned()
}

/// Clears every cluster of these cases.
pub fn clear(cases: &[Case]) {
    let _ = cluster::down(SHARED);
    for case in cases.iter().filter(|case| case.place != Place::Shared) {
        let _ = cluster::down(&cluster_name(case.name));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn names_of_cases_fit() {
        let mut clusters = std::collections::BTreeSet::new();
        let mut names = std::collections::BTreeSet::new();
        for case in crate::cases::all() {
            assert!(names.insert(case.name), "{} twice", case.name);
            assert!(case.name.len() <= 50, "{} is too long for a namespace", case.name);
            if case.place != Place::Shared {
                assert!(clusters.insert(cluster_name(case.name)), "{} shares its cluster's name", case.name);
            }
        }
        assert_eq!(cluster_name("killed_after_every_write"), "e2e-killed-after-eve");
    }
}
