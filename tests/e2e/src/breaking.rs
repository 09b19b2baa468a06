//! `make faults`: every fault in every phase of a release, under load, on a real cluster, as often as one likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bluegreen::api::PhaseName;
use cluster::{Component, Signal};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::failure::{Failure, Result, io};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};
use crate::traffic::Notes;
use crate::wait::{wait_for, when};
use crate::world::{World, leader, processes};

/// Name of the cluster.
const CLUSTER: &str = "e2e-faults";
/// A release that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(240);

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    OperatorKilled,
    ApiServerAway,
    EtcdKilled,
    ControllersKilled,
    KubeletStopped,
    AgentKilled,
    SelectorEdited,
    SelectorEmptied,
    NewPodDeleted,
    NewSetDeleted,
}

const FAULTS: [Fault; 10] = [
    Fault::OperatorKilled,
    Fault::ApiServerAway,
    Fault::EtcdKilled,
    Fault::ControllersKilled,
    Fault::KubeletStopped,
    Fault::AgentKilled,
    Fault::SelectorEdited,
    Fault::SelectorEmptied,
    Fault::NewPodDeleted,
    Fault::NewSetDeleted,
];

/// Where the release stands when it happens.
const PHASES: [PhaseName; 5] = [PhaseName::BringUp, PhaseName::Smoke, PhaseName::AwaitPromotion, PhaseName::Converge, PhaseName::Drain];

/// Removes the cluster.
pub fn clear() {
    let _ = cluster::down(CLUSTER);
}

/// Where a fault makes sense: whoever deletes the pods that serve cuts their users off, whatever an operator does.
fn cells_of(fault: Fault) -> Vec<(Fault, PhaseName)> {
    let deletes = matches!(fault, Fault::NewPodDeleted | Fault::NewSetDeleted);
    PHASES.into_iter().filter(|phase| !deletes || !matches!(phase, PhaseName::Converge | PhaseName::Drain)).map(|phase| (fault, phase)).collect()
}

/// What came of a cell, over all rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    passed: u32,
    failed: u32,
}

/// Breaks everything everywhere, so many times. `filter`: only cells whose names contain one of the words.
///
/// # Errors
/// If the cluster can't be had.
pub async fn run(rounds: u32, filter: Vec<String>, keep: bool) -> Result<bool> {
    let name = |fault: Fault, phase: PhaseName| format!("{fault:?}/{phase:?}");
    let wanted = |cell: &str| filter.is_empty() || filter.iter().any(|word| cell.to_lowercase().contains(&word.to_lowercase()));
    let cells: Vec<(Fault, PhaseName)> = FAULTS.into_iter().flat_map(cells_of).filter(|(fault, phase)| wanted(&name(*fault, *phase))).collect();
    let of = cells.len() * usize::try_from(rounds).unwrap_or(1);
    let begun = Instant::now();
    let world = World::up(CLUSTER, 2, &[]).await?;
    let mut table: BTreeMap<(Fault, String), Cell> = BTreeMap::new();
    let mut number = 0;
    for round in 1..=rounds {
        for (fault, phase) in &cells {
            number += 1;
            let since = Instant::now();
            let namespace = format!("round-{round}-{number}");
            let notes = Notes::default();
            let outcome = match Stage::new(world.clone(), namespace, notes.clone()).await {
                Ok(stage) => {
                    let stage = Arc::new(stage);
                    let outcome = tokio::time::timeout(LIMIT, release(&stage, *fault, *phase)).await.unwrap_or(Err(Failure::Deadline(LIMIT)));
                    if let Err(failure) = &outcome {
                        println!("    {failure}\n{}", crate::diagnosis::of(&stage));
                    }
                    let _ = stage.clear().await;
                    outcome
                }
                Err(error) => Err(error),
            };
            let cell = table.entry((*fault, format!("{phase:?}"))).or_default();
            let word = if outcome.is_ok() { "ok" } else { "FAILED" };
            *(if outcome.is_ok() { &mut cell.passed } else { &mut cell.failed }) += 1;
            let notes = notes.all().join("; ");
            println!("{number:>4} of {of}  {word:6} {} ({:.0} s)  {notes}", name(*fault, *phase), since.elapsed().as_secs_f64());
        }
    }
    if !keep {
        world.down()?;
    }
    println!("\n{}", markdown(&table));
    let failed: u32 = table.values().map(|cell| cell.failed).sum();
    println!("{number} releases, {failed} failed, in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(failed == 0)
}

fn markdown(table: &BTreeMap<(Fault, String), Cell>) -> String {
    let mut text = format!("| Fault | {} |\n| --- |{}\n", PHASES.map(|phase| format!("{phase:?}")).join(" | "), " ---: |".repeat(PHASES.len()));
    for fault in FAULTS {
        let cells = PHASES.map(|phase| match table.get(&(fault, format!("{phase:?}"))) {
            Some(Cell { passed, failed: 0 }) => passed.to_string(),
            Some(Cell { passed, failed }) => format!("{passed}, **{failed} failed**"),
            None => "–".into(),
        });
        text += &format!("| {fault:?} | {} |\n", cells.join(" | "));
    }
    text
}

/// A version whose release stands long enough in each phase for something to happen there.
fn slow(version: &str) -> Manifest {
    shop(version).env("APP_READY_AFTER", "4").spec("/smokeProbes/0/successThreshold", 5).spec("/traffic/quietSeconds", 4)
}

/// One release, in which it happens.
async fn release(stage: &Stage, fault: Fault, phase: PhaseName) -> Result {
    let manual = phase == PhaseName::AwaitPromotion;
    let second = slow("v2").spec("/promotion/mode", if manual { "Manual" } else { "Automatic" });
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&second).await?;
    let status = stage.until(&format!("the phase is {phase:?}"), 60, |status| status.phase == Some(phase)).await?;
    let new = revision(&status)?;
    breaks(stage, fault, &new).await?;
    if manual {
        stage.until("it waits for a person", 90, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
        stage.command("bluegreen.dev/promote", &new).await?;
    }
    stage.serves(&new, 120).await?;
    held.stop_clean()?;
    stage.complete(120).await?;
    users.only("v2", 20).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}

/// Something breaks, and is whole again when this returns.
async fn breaks(stage: &Stage, fault: Fault, new: &str) -> Result {
    let cluster = &stage.world.cluster;
    let away = |component: Component, seconds: u64| async move {
        block_in_place(|| cluster.stop(component, 1, Signal::SIGKILL))?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        block_in_place(|| cluster.start(component, 1))?;
        wait_for("the API server answers", 60, || async { Ok(when(stage.shop().await.is_ok(), || "no answer".into())) }).await
    };
    match fault {
        Fault::OperatorKilled => kill_all(&processes("controller", &format!("POD_NAME={}", leader(&stage.world).await?))?),
        Fault::AgentKilled => kill_all(&processes("drain-agent", &format!("NODE_NAME={}", cluster.node_name(2)))?),
        Fault::ApiServerAway => away(Component::KubeApiserver, 30).await,
        Fault::EtcdKilled => away(Component::Etcd, 3).await,
        Fault::ControllersKilled => away(Component::KubeControllerManager, 3).await,
        Fault::KubeletStopped => {
            block_in_place(|| cluster.stop(Component::Kubelet, 2, Signal::SIGSTOP))?;
            tokio::time::sleep(Duration::from_secs(8)).await;
            Ok(block_in_place(|| cluster.start(Component::Kubelet, 2))?)
        }
        Fault::SelectorEdited => select(stage, json!({"bluegreen.dev/revision": null})).await,
        Fault::SelectorEmptied => select(stage, Value::Null).await,
        Fault::NewPodDeleted => {
            let pods = stage.pods(new).await?;
            let pod = pods.first().ok_or_else(|| Failure::Claim("there is no new pod".into()))?;
            stage.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default()).await?;
            Ok(())
        }
        Fault::NewSetDeleted => {
            stage.api::<ReplicaSet>().delete(&format!("shop-{new}"), &DeleteParams::background()).await?;
            Ok(())
        }
    }
}

fn kill_all(pids: &[i32]) -> Result {
    pids.iter().try_for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL)).map_err(|errno| io("killing a process")(errno.into()))
}

async fn select(stage: &Stage, selector: Value) -> Result {
    let somebody = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
    let change = json!({"spec": {"selector": selector}});
    stage.api::<Service>().patch("shop", &somebody, &Patch::Merge(&change)).await?;
    Ok(())
}
