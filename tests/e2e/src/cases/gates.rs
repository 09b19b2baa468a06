//! What stands between a tested revision and the switch: its size, the time, and where the traffic comes in.

use std::collections::BTreeSet;
use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, PhaseName};
use jiff::{Timestamp, ToSpan, Unit};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};
use crate::wait::{stays, wait_for, when};

fn nodes(pods: &[Pod]) -> BTreeSet<&str> {
    pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect()
}

/// A Service that keeps traffic on the node where it arrives: a revision that leaves a node without a pod waits, and says why. Allowed to
/// go on, it loses what arrives there, which is what the users are spared.
pub async fn local_policy_gap(stage: Arc<Stage>) -> Result {
    let spread = |version: &str| shop(version).one_a_node();
    let near = stage.world.cluster.node_name(1);
    let first = stage.installed(&spread("v1")).await?;
    claim!(nodes(&stage.pods(&first).await?).len() == 2, "the pods are not one on each node");
    let local = json!({"spec": {"internalTrafficPolicy": "Local"}});
    stage.api::<Service>().patch("shop", &PatchParams::default(), &Patch::Merge(&local)).await?;
    let short = ["--rate", "25", "--keepalive", "0"];
    let users = [stage.users_from(1, "shop", &short).await?, stage.users_from(2, "shop", &short).await?];

    stage.apply(&shop("v2").on_node(near.clone())).await?;
    let told = stage.stalled("LocalPolicyGap", 60).await?;
    let expected = "spec.traffic.services[0]: Service \"shop\" has internalTrafficPolicy Local, and node ";
    claim!(told.starts_with(expected) && told.contains(&format!("a ready pod of revision {first} but none of ")), "it says {told:?}");
    claim!(stage.selected("shop").await? == first, "traffic moved");

    stage.apply(&spread("v3")).await?;
    let third = revision(&stage.complete(90).await?)?;
    claim!(nodes(&stage.pods(&third).await?).len() == 2, "the pods of v3 are not one on each node");
    for load in users {
        load.only("v3", 15).await?;
        load.stop_clean()?;
    }

    let fourth = shop("v4").on_node(near).spec("/traffic/allowLocalGap", true);
    stage.apply(&fourth).await?;
    let known = |status: &BlueGreenDeploymentStatus| status.revision.as_ref().is_some_and(|known| *known != third);
    let status = stage.until("v4 is known", 30, known).await?;
    stage.serves(&revision(&status)?, 90).await?;
    let address = stage.address("shop", 80).await?;
    wait_for("what arrives at node 2 is lost", 30, || async { Ok(when(stage.refused(2, &address)?.is_some(), || "it answers".into())) }).await?;
    stage.reachable(1, &address).await?;
    stays("it stays so", 5, || async { Ok(when(stage.refused(2, &address)?.is_some(), || "it answers".into())) }).await
}

/// `bringUp.previewReplicas`: one pod is tested while a person decides; the others are there and tested before anybody is sent to them.
pub async fn preview_replicas(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1").spec("/replicas", 3)).await?;
    let users = stage.users().await?;
    let small = shop("v2").spec("/replicas", 3).spec("/bringUp/previewReplicas", 1).spec("/promotion/mode", "Manual");
    stage.apply(&small).await?;
    let status = stage.until("it waits for a person", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    claim!(stage.desired(&second).await? == 1, "{} pods are wanted for the tests", stage.desired(&second).await?);
    claim!(stage.selected("shop").await? == first, "traffic moved without a word");
    stage.command("bluegreen.dev/promote", &second).await?;
    let moved =
        |status: &BlueGreenDeploymentStatus| status.switch.as_ref().is_some_and(|switch| switch.to == second && switch.completed_at.is_some());
    let status = stage.until("v2 serves", 60, moved).await?;
    let tested: BTreeSet<&str> = status.smoke_probes.iter().map(|probe| probe.target.as_str()).collect();
    claim!(tested.len() == 3, "tested were {tested:?}");
    stage.complete(60).await?;
    claim!(stage.pods(&second).await?.len() == 3, "there are not three pods");
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// While a release waits for a person the revision that serves grows, as by an autoscaler: nobody is moved to the smaller one before it has grown, too.
pub async fn grows_while_it_waits(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "15").spec("/promotion/mode", "Manual")).await?;
    let status = stage.until("it waits for a person", 90, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    stage.world.kubectl(&["scale", "bgd/shop", "--replicas=4", "-n", &stage.namespace])?;
    let grown = |status: &BlueGreenDeploymentStatus| status.active.as_ref().is_some_and(|active| active.ready_replicas == 4);
    let status = stage.until("v1 has grown", 30, grown).await?;
    claim!(status.inactive.as_ref().is_some_and(|inactive| inactive.ready_replicas < 4), "v2 has grown already: {:?}", status.inactive);
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.told(&format!("of 4 pods are ready, and 4 of revision {first} serve now"), 10).await?;
    claim!(stage.selected("shop").await? == first, "traffic moved to fewer pods than serve");
    let begun = |status: &BlueGreenDeploymentStatus| status.switch.as_ref().is_some_and(|switch| switch.to == second);
    let status = stage.until("the switch", 60, begun).await?;
    let ready = status.active.as_ref().map_or(0, |active| active.ready_replicas);
    claim!(ready == 4, "{ready} pods of v2 were ready when the traffic moved");
    stage.complete(60).await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// A window that opens at a full minute, far enough away that the tests are over by then.
fn window(now: Timestamp) -> Result<(Timestamp, Manifest)> {
    let clock = |error: jiff::Error| Failure::Claim(format!("the clock: {error}"));
    let soon = now.checked_add(95.seconds()).map_err(clock)?;
    let opens = soon.round(jiff::TimestampRound::new().smallest(Unit::Minute).mode(jiff::RoundMode::Ceil)).map_err(clock)?;
    let local = opens.in_tz("Asia/Kolkata").map_err(clock)?;
    let schedule = format!("{} {} * * *", local.minute(), local.hour());
    let window = json!([{"schedule": schedule, "timeZone": "Asia/Kolkata", "durationSeconds": 600}]);
    Ok((opens, shop("v2").spec("/promotion/windows", window)))
}

/// `promotion.windows`: a tested revision waits for the minute at which a window opens, in its own time zone.
pub async fn promoted_in_a_window(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let (opens, manifest) = window(Timestamp::now())?;
    stage.apply(&manifest).await?;
    let status = stage.until("it waits", 90, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let second = revision(&status)?;
    claim!(stage.selected("shop").await? == first, "traffic moved at once");
    stage.serves(&second, 200).await?;
    let switch = stage.complete(60).await?.switch.ok_or_else(|| Failure::Claim("status.switch is empty".into()))?;
    let late = switch.started_at.duration_since(opens).as_secs_f64();
    stage.notes.say(format!("the switch began {late:.2} s after the window opened"));
    claim!(late >= 0.0, "it began before the window opened");
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}
