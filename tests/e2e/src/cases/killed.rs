//! A controller that is killed between any two of its writes.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, PhaseName};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::json;

use super::after::{baked, is_rejected};
use super::hooks::hook;
use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::outside::{Controller, inside};
use crate::stage::{Stage, revision};
use crate::wait::{Look, wait_for, when};

/// A controller that is killed right after its k-th write was stored, for every k of a release: the next one ends the release, and nobody notices.
pub async fn killed_after_every_write(stage: Arc<Stage>) -> Result {
    inside(&stage.world, 0).await?;
    let quick = |version: String| {
        shop(&version)
            .spec("/replicas", 1)
            .spec("/traffic/quietSeconds", 1)
            .spec("/drain/minimumSeconds", 0)
            .spec("/revisionHistoryLimit", 2)
            .spec("/hooks/beforeSwitch", json!([hook("check", true)]))
            .told()
    };
    let controller = Controller::start(&stage, 0)?;
    stage.installed(&quick("v0".into())).await.map_err(|error| controller.explain("", &error))?;
    let users = stage.users_of("shop", &["--rate", "20", "--keepalive", "2"]).await?;
    drop(controller);
    let mut writes = vec![];
    for k in 1..=60 {
        let controller = Controller::start(&stage, k)?;
        let manifest = quick(format!("v{k}"));
        stage.apply(&manifest).await?;
        let complete = wait_for(format!("write {k} or the end of the release"), 60, || async {
            if controller.killed().is_some() {
                return Ok(Look::Done(false));
            }
            let object = stage.shop().await?;
            let status = object.status.unwrap_or_default();
            let over = status.phase == Some(PhaseName::Complete) && status.observed_generation == object.metadata.generation.unwrap_or_default();
            Ok(if over { Look::Done(true) } else { Look::NotYet(format!("{:?}", status.phase)) })
        })
        .await
        .map_err(|error| controller.explain("", &error))?;
        if complete {
            // History is cut after that; a write may still come.
            let _ = wait_for("one more write", 2, || async { Ok(when(controller.killed().is_some(), String::new)) }).await;
        }
        let killed = controller.killed();
        drop(controller);
        let Some(line) = killed else {
            // A release takes more than that, so fewer would mean that the proxy did not count.
            claim!(writes.len() >= 8, "a release took only {writes:?}");
            stage.notes.say(format!("killed after each of {} writes", writes.len()));
            let summary = users.stop_clean()?;
            stage.notes.say(format!("{} requests, 0 failed", summary.ok));
            return Ok(());
        };
        writes.push(line);
        let controller = Controller::start(&stage, 0)?;
        let status = stage.complete(60).await.map_err(|error| controller.explain(&format!("after being {:?}: ", writes.last()), &error))?;
        let now = revision(&status)?;
        claim!(stage.selected("shop").await? == now, "after being {:?} the Service does not select {now}", writes.last());
        let jobs = stage.api::<Job>().list(&ListParams::default().labels(&format!("bluegreen.dev/revision={now}"))).await?.items;
        claim!(jobs.len() == 1, "after being {:?} the hook has {} Jobs", writes.last(), jobs.len());
        let failures = users.failures();
        claim!(failures.is_empty(), "after being {:?}: {:?}", writes.last(), failures.first());
        drop(controller);
    }
    Err(Failure::Claim(format!("a release takes more than 60 writes: {writes:?}")))
}

/// A controller that is killed while a new version bakes: the next one lets it bake for as long as was asked for, counted from the switch, and
/// finds out what happened while nobody looked.
pub async fn killed_in_mid_bake(stage: Arc<Stage>) -> Result {
    inside(&stage.world, 0).await?;
    let controller = Controller::start(&stage, 0)?;
    stage.installed(&shop("v1")).await.map_err(|error| controller.explain("", &error))?;
    let users = stage.users().await?;
    let in_bake = |status: &BlueGreenDeploymentStatus| status.phase == Some(PhaseName::Bake);
    stage.apply(&baked("v2", 20)).await?;
    stage.until("v2 bakes", 60, in_bake).await.map_err(|error| controller.explain("", &error))?;
    drop(controller);
    let controller = Controller::start(&stage, 0)?;
    let status = stage.complete(120).await.map_err(|error| controller.explain("", &error))?;
    let second = revision(&status)?;
    let times = status.switch.as_ref().and_then(|switch| switch.completed_at.zip(switch.baked_at));
    let took = times.map(|(moved, baked)| baked.duration_since(moved).as_secs_f64());
    claim!(took.is_some_and(|took| (20.0..100.0).contains(&took)), "it baked for {took:?} s");
    stage.apply(&baked("v3", 300)).await?;
    let status = stage.until("v3 bakes", 60, in_bake).await.map_err(|error| controller.explain("", &error))?;
    let third = revision(&status)?;
    drop(controller);
    let pods = stage.pods(&third).await?;
    stage.tell(pods.first().ok_or_else(|| Failure::Claim("v3 has no pods".into()))?, "/fail?what=grpc&on=true")?;
    let controller = Controller::start(&stage, 0)?;
    stage.serves(&second, 60).await.map_err(|error| controller.explain("", &error))?;
    stage.until("v3 is rejected", 20, |status| is_rejected(status, "BakeFailed")).await?;
    users.only("v2", 20).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed; v2 baked for {:.1} s of 20", summary.ok, took.unwrap_or_default()));
    Ok(())
}
