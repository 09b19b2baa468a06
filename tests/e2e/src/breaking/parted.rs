//! Old pods that leave one by one (`drain.scaleDown: PerPod`), while those stop whom that depends on.

use bluegreen::api::PhaseName;
use cluster::{Component, Signal};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::task::block_in_place;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::outside::{Controller, inside};
use crate::stage::{Stage, revision};
use crate::traffic::Load;
use crate::wait::{Look, stays, wait_for, when};

/// Controllers of the cluster of `make faults`.
const REPLICAS: u32 = 3;

fn alone(version: &str) -> Manifest {
    shop(version).spec("/drain/scaleDown", "PerPod").spec("/traffic/quietSeconds", 1).spec("/promotion/mode", "Manual")
}

/// First without a controller manager for a while, then with a controller that is killed. Answers how many releases these were.
pub async fn apart(stage: &Stage) -> Result<usize> {
    let first = stage.installed(&alone("v0").spec("/promotion/mode", "Automatic")).await?;
    let users = stage.users_from(1, "shop", &["--rate", "20", "--keepalive", "0"]).await?;
    without_manager(stage, &first).await?;
    inside(&stage.world, 0).await?;
    let outcome = killed(stage, &users).await;
    inside(&stage.world, REPLICAS).await?;
    let writes = outcome?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("killed after each of {writes} writes since the promotion; {} requests, 0 failed, 0 cut", summary.ok));
    Ok(writes + 2)
}

/// The pods of a revision, with their ReplicaSet and without it.
async fn pods(stage: &Stage, revision: &str) -> Result<(Vec<Pod>, Vec<Pod>)> {
    Ok((stage.pods(revision).await?, stage.pods(&format!("left.{revision}")).await?))
}

/// Waits until only the pod is left that somebody holds, without its ReplicaSet.
async fn one_left(stage: &Stage, revision: &str, held: &str) -> Result {
    wait_for(format!("of revision {revision} only pod {held} is left"), 60, || async {
        let (with, without) = pods(stage, revision).await?;
        let names: Vec<String> = without.iter().map(ResourceExt::name_any).collect();
        Ok(when(with.is_empty() && names == [held], || format!("{} pods with a set, without: {names:?}", with.len())))
    })
    .await
}

/// Begins a release whose switch waits for a person; answers the new revision, and a connection to an old pod.
async fn brought_up(stage: &Stage, version: &str) -> Result<(String, Load, String)> {
    let held = stage.long(1, &["echo", "--target", "tcp://{echo}"]).await?;
    let pod = held.open()?.pod.unwrap_or_default();
    stage.apply(&alone(version)).await?;
    let status = stage.until("it waits for a person", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    Ok((revision(&status)?, held, pod))
}

/// The controller manager stands still when the ReplicaSet is to go, and is then killed: nobody replaces a pod, and the parting goes on.
async fn without_manager(stage: &Stage, first: &str) -> Result {
    let cluster = &stage.world.cluster;
    let (second, held, pod) = brought_up(stage, "v1").await?;
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    block_in_place(|| cluster.stop(Component::KubeControllerManager, 1, Signal::SIGSTOP))?;
    let still = async {
        wait_for("the ReplicaSet is to go without its pods", 60, || async {
            let set = stage.api::<ReplicaSet>().get(&format!("shop-{first}")).await?;
            let (ends, finalizers) = (set.metadata.deletion_timestamp.is_some(), set.finalizers());
            Ok(when(ends && finalizers.contains(&"orphan".to_owned()), || format!("deleted: {ends}, finalizers {finalizers:?}")))
        })
        .await?;
        stays("nothing becomes of the pods", 5, || async {
            let (with, without) = pods(stage, first).await?;
            Ok(when(with.len() == 2 && without.is_empty(), || format!("{} pods with their set, {} without", with.len(), without.len())))
        })
        .await
    };
    let outcome = still.await;
    // It hears nothing while it is stopped, and whatever it knew is lost.
    block_in_place(|| cluster.stop(Component::KubeControllerManager, 1, Signal::SIGKILL))?;
    block_in_place(|| cluster.start(Component::KubeControllerManager, 1))?;
    outcome?;
    one_left(stage, first, &pod).await?;
    held.stop_clean()?;
    stage.complete(60).await?;
    stage.notes.say("controller manager stopped and killed: the pods stayed, then went one by one");
    Ok(())
}

/// A controller that is killed right after its k-th write since the promotion, for every k. Answers how many these were.
async fn killed(stage: &Stage, users: &Load) -> Result<usize> {
    let mut old = stage.selected("shop").await?;
    for k in 1..=80 {
        let begins = Controller::start(stage, 0)?;
        let (new, held, pod) = brought_up(stage, &format!("k{k}")).await.map_err(|error| begins.explain("", &error))?;
        drop(begins);
        let controller = Controller::start(stage, k)?;
        stage.command("bluegreen.dev/promote", &new).await?;
        let (killed, held) = to_the_end(stage, &controller, &old, &pod, held).await.map_err(|error| controller.explain("", &error))?;
        drop(controller);
        let Some(line) = killed else {
            // Switch, fences, successor, marks, and the end of two pods: fewer would mean that the proxy did not count.
            claim!(k > 12, "a release took only {k} writes");
            return Ok(k - 1);
        };
        let last = Controller::start(stage, 0)?;
        let about = format!("after being {line:?}: ");
        let rest = async {
            if let Some(held) = held {
                stage.serves(&new, 30).await?;
                one_left(stage, &old, &pod).await?;
                held.stop_clean()?;
            }
            stage.complete(60).await?;
            let (with, without) = pods(stage, &old).await?;
            claim!(with.is_empty() && without.is_empty(), "{} old pods with a set, {} without", with.len(), without.len());
            let failures = users.failures();
            claim!(failures.is_empty(), "{:?}", failures.first());
            Ok(())
        };
        rest.await.map_err(|error| last.explain(&about, &error))?;
        old = new;
    }
    Err(Failure::Claim("a release takes more than 80 writes".into()))
}

/// Until the controller was killed, or the release has ended: what it was killed after, and the connection that is still held.
async fn to_the_end(stage: &Stage, controller: &Controller, old: &str, pod: &str, held: Load) -> Result<(Option<String>, Option<Load>)> {
    let left = wait_for("one pod is left, or the controller was killed", 60, || async {
        if controller.killed().is_some() {
            return Ok(Look::Done(false));
        }
        let (with, without) = pods(stage, old).await?;
        let names: Vec<String> = without.iter().map(ResourceExt::name_any).collect();
        Ok(if with.is_empty() && names == [pod] { Look::Done(true) } else { Look::NotYet(format!("{} with a set, {names:?}", with.len())) })
    });
    if !left.await? {
        return Ok((controller.killed(), Some(held)));
    }
    held.stop_clean()?;
    let over = wait_for("the release is over, or the controller was killed", 60, || async {
        let status = stage.shop().await?.status.unwrap_or_default();
        let over = status.phase == Some(PhaseName::Complete) && status.draining.is_empty();
        Ok(when(over || controller.killed().is_some(), || format!("{:?}", status.phase)))
    });
    over.await?;
    // History is cut after that; a write may still come.
    let _ = wait_for("one more write", 2, || async { Ok(when(controller.killed().is_some(), String::new)) }).await;
    Ok((controller.killed(), None))
}
