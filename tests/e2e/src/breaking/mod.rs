//! `make faults`: every fault in every phase of a release, under load, on a real cluster, as often as one likes.
//!
//! A round of one fault is five releases side by side, each of which stands in another phase when it happens.

mod acts;
mod applier;
mod control;
mod fault;
mod leaders;
mod parted;
mod release;
mod table;
mod upgrade;

use std::sync::Arc;

use bluegreen::api::PhaseName;
use jiff::Timestamp;
use tokio::sync::{Barrier, OnceCell};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::failure::{Failure, Result};
use crate::stage::Stage;
use crate::traffic::Notes;
use crate::world::World;
use control::Control;
use fault::{Fault, name};
use release::{Happened, LIMIT, Release};
use table::{Measured, Table};

/// Name of the cluster.
const CLUSTER: &str = "e2e-faults";

/// Removes the cluster.
pub fn clear() {
    let _ = cluster::down(CLUSTER);
}

/// Breaks everything everywhere, once in each of these rounds. `filter`: only cells whose names contain one of the words.
///
/// # Errors
/// If the cluster can't be had.
pub async fn run(rounds: std::ops::Range<u32>, filter: Vec<String>, keep: bool) -> Result<bool> {
    let wanted = |cell: &str| filter.is_empty() || filter.iter().any(|word| cell.to_lowercase().contains(&word.to_lowercase()));
    let begun = Instant::now();
    let world = World::up(CLUSTER, 2, &["replicas=3"]).await?;
    let mut table = Table::default();
    let mut told = (0_usize, 0_u32);
    for number in rounds {
        for story in Story::ALL.into_iter().filter(|story| wanted(story.name())) {
            let notes = Notes::default();
            let outcome = story.told(&world, number, notes.clone()).await;
            let word = if outcome.is_ok() { "ok" } else { "FAILED" };
            told = (told.0 + outcome.as_ref().copied().unwrap_or(1), told.1 + u32::from(outcome.is_err()));
            println!("round {number}  {word:6} {}  {}{}", story.name(), notes.all().join("; "), outcome.err().unwrap_or_default());
        }
        for fault in Fault::ALL {
            let phases: Vec<PhaseName> = fault.phases().into_iter().filter(|phase| wanted(&name(fault, *phase))).collect();
            for outcome in round(&world, fault, phases, number).await {
                let cell = table.cell(fault, outcome.phase);
                let notes = outcome.notes.all().join("; ");
                let (word, why) = match outcome.measured {
                    Ok(measured) => {
                        cell.passed.push(measured);
                        ("ok", String::new())
                    }
                    Err((failure, diagnosis)) => {
                        cell.failed += 1;
                        ("FAILED", format!("\n    {failure}\n{diagnosis}"))
                    }
                };
                println!("round {number}  {word:6} {}  {notes}{why}", name(fault, outcome.phase));
            }
        }
        println!("\n{}", table.markdown());
    }
    if !keep {
        world.down()?;
    }
    let (releases, failed) = table.sums();
    let (releases, failed) = (releases + told.0, failed + told.1);
    println!("{releases} releases, {failed} failed, in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(failed == 0)
}

/// What takes several releases, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// The leader is stopped for longer than its Lease and wakes up again; the next one is killed.
    LeaderLost,
    /// The operator becomes another build with other definitions, and back.
    Upgraded,
    /// An applier forces its own selector on the Service every second.
    Applied,
    /// Pods that leave one by one, while the controller manager stands still, and with a controller that is killed after each write.
    Parted,
}

impl Story {
    const ALL: [Self; 4] = [Self::LeaderLost, Self::Upgraded, Self::Applied, Self::Parted];

    fn name(self) -> &'static str {
        match self {
            Self::LeaderLost => "LeaderLost",
            Self::Upgraded => "Upgraded",
            Self::Applied => "Applied",
            Self::Parted => "Parted",
        }
    }

    /// Tells it, and how many releases were in it besides the first install; a failure comes with what the cluster saw.
    async fn told(self, world: &World, number: u32, notes: Notes) -> Result<usize, String> {
        let namespace = format!("r{number}-{}", self.name()).to_lowercase();
        let stage = Arc::new(Stage::new(world.clone(), namespace, notes).await.map_err(|failure| failure.to_string())?);
        let story = async {
            match self {
                Self::LeaderLost => leaders::lost(&stage).await.map(|()| 2),
                Self::Upgraded => upgrade::midway(&stage).await.map(|()| 4),
                Self::Applied => applier::forced(stage.clone()).await.map(|()| 1),
                Self::Parted => parted::apart(&stage).await,
            }
        };
        let limit = std::time::Duration::from_secs(900);
        let outcome = timeout(limit, story).await.unwrap_or(Err(Failure::Deadline(limit)));
        let outcome = outcome.map_err(|failure| format!("\n    {failure}\n{}", crate::diagnosis::of(&stage)));
        let _ = stage.clear().await;
        outcome
    }
}

struct Outcome {
    phase: PhaseName,
    notes: Notes,
    measured: Result<Measured, (Failure, String)>,
}

/// What the releases of a round share.
struct Round {
    world: World,
    fault: Fault,
    number: u32,
    /// What it does to a Service that nobody touches.
    control: Result<Control, String>,
    gate: Barrier,
    /// What became of the fault, if it is one of the cluster: the node that went with it.
    broken: OnceCell<(Instant, Timestamp, Result<Option<usize>, String>)>,
}

/// One fault, in these phases at once.
async fn round(world: &World, fault: Fault, phases: Vec<PhaseName>, number: u32) -> Vec<Outcome> {
    let gate = Barrier::new(phases.len());
    let beside = format!("r{number}-{fault:?}-control").to_lowercase();
    let control =
        if phases.is_empty() { Err(String::new()) } else { Control::prepare(world, beside, fault).await.map_err(|failure| failure.to_string()) };
    let round = Arc::new(Round { world: world.clone(), fault, number, control, gate, broken: OnceCell::new() });
    let mut running = JoinSet::new();
    for phase in phases {
        let round = round.clone();
        running.spawn(async move { round.cell(phase).await });
    }
    let mut outcomes = running.join_all().await;
    if let Some(Round { control: Ok(control), .. }) = Arc::into_inner(round)
        && let Ok(failed @ 1..) = control.end().await
    {
        println!("round {number}         {fault:?}: {failed} requests to a Service that nobody touches failed");
    }
    outcomes.sort_by_key(|outcome| fault::PHASES.iter().position(|phase| *phase == outcome.phase));
    outcomes
}

impl Round {
    async fn cell(&self, phase: PhaseName) -> Outcome {
        let notes = Notes::default();
        let namespace = format!("r{}-{:?}-{phase:?}", self.number, self.fault).to_lowercase();
        let prepared = within(async {
            let stage = Stage::new(self.world.clone(), namespace.clone(), notes.clone()).await?;
            // Every second cell, and the others in the next round; pods that have left their ReplicaSet don't go with it.
            let place = fault::PHASES.iter().position(|known| *known == phase).unwrap_or_default();
            let one_by_one = self.fault != Fault::OldSetDeleted && (place + self.number as usize) % 2 == 1;
            Release::prepare(stage, self.fault, phase, one_by_one).await
        });
        let mut release = prepared.await;
        self.gate.wait().await;
        for step in 0..4 {
            release = match release {
                Ok(mut release) => within(async {
                    match step {
                        0 => release.approach().await,
                        1 => release.test().await,
                        2 => release.enter().await,
                        _ => release.stands().await,
                    }
                })
                .await
                .map(|()| release),
                Err(failure) => Err(failure),
            };
            // A release that has failed keeps the others company: they wait for it.
            self.gate.wait().await;
        }
        let happened = self.breaks(release.as_ref().ok()).await;
        let measured = match (release, happened, &self.control) {
            (Ok(release), Ok((at, happened)), Ok(control)) => within(release.finish(at, &happened, control)).await,
            (Err(failure), ..) | (_, Err(failure), _) => Err(failure),
            (.., Err(why)) => Err(Failure::Claim(format!("the Service that nobody touches could not be made: {why}"))),
        };
        let stage = Stage { world: self.world.clone(), namespace, notes: notes.clone() };
        let measured = measured.map_err(|failure| (failure, crate::diagnosis::of(&stage)));
        let _ = stage.clear().await;
        Outcome { phase, notes, measured }
    }

    /// Breaks what is to be broken: a part of the cluster once for all, a part of a release for each.
    async fn breaks(&self, release: Option<&Release>) -> Result<(Instant, Happened)> {
        if !self.fault.of_the_cluster() {
            let at = Instant::now();
            let Some(release) = release else { return Ok((at, Happened::default())) };
            return Ok((at, within(acts::of_one(release)).await?));
        }
        let once = async {
            let (at, since) = (Instant::now(), Timestamp::now());
            (at, since, within(acts::of_the_cluster(&self.world, self.fault)).await.map_err(|failure| failure.to_string()))
        };
        let (at, since, broken) = self.broken.get_or_init(|| once).await;
        match (broken, release) {
            (Err(failure), _) => Err(Failure::Claim(format!("{:?} could not be done: {failure}", self.fault))),
            (Ok(Some(node)), Some(release)) => Ok((*at, within(acts::with_node(release, *node, *since)).await?)),
            (Ok(_), _) => Ok((*at, Happened::default())),
        }
    }
}

/// Something with a limit.
async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LIMIT, work).await.unwrap_or(Err(Failure::Deadline(LIMIT)))
}
