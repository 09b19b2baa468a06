//! What comes after a switch, and how long it waits: bake, warm pods, a restart, the end of a drain by a person's word.

use std::collections::BTreeSet;
use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, PhaseName, ProbeResult};
use kube::ResourceExt;
use serde_json::json;
use tokio::time::Instant;

use super::plugin::says;
use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, revision};
use crate::traffic::Load;
use crate::wait::{stays, wait_for, when};

/// A version that must bear the traffic for so many seconds, by a probe of its gRPC health.
pub fn baked(version: &str, seconds: i32) -> Manifest {
    let probe = json!({"name": "health", "grpc": {"port": "grpc", "service": "app"}, "successThreshold": 1, "failureThreshold": 2});
    shop(version).spec("/bake", json!({"seconds": seconds, "probes": [probe]}))
}

async fn uids(stage: &Stage, revision: &str) -> Result<BTreeSet<String>> {
    Ok(stage.pods(revision).await?.iter().filter_map(ResourceExt::uid).collect())
}

pub fn is_rejected(status: &BlueGreenDeploymentStatus, reason: &str) -> bool {
    status.phase == Some(PhaseName::Rejected) && status.rejected.as_ref().is_some_and(|rejected| rejected.reason == reason)
}

/// A new version that gets ill after the switch, in a way that users don't notice yet: the traffic goes back by itself, to the very pods
/// that had it before.
pub async fn bake_fails_and_returns(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let before = uids(&stage, &first).await?;
    let users = stage.users().await?;
    stage.apply(&baked("v2", 120)).await?;
    let status = stage.until("it bakes", 60, |status| status.phase == Some(PhaseName::Bake)).await?;
    let second = revision(&status)?;
    claim!(because(&status, ConditionType::Ready, ConditionStatus::False, "Baking"), "Ready: {status:?}");
    users.only("v2", 15).await?;
    stays("the old pods stay", 3, || async {
        let now = uids(&stage, &first).await?;
        Ok(when(now == before, || format!("{now:?} after {before:?}")))
    })
    .await?;
    let pods = stage.pods(&second).await?;
    stage.tell(pods.first().ok_or_else(|| Failure::Claim("v2 has no pods".into()))?, "/fail?what=grpc&on=true")?;
    let ill = Instant::now();
    stage.serves(&first, 30).await?;
    stage.notes.say(format!("traffic went back {:.1} s after the pod got ill, with two failures a second apart", ill.elapsed().as_secs_f64()));
    let status = stage.until("it is rejected", 20, |status| is_rejected(status, "BakeFailed")).await?;
    let said = status.rejected.map(|rejected| rejected.message).unwrap_or_default();
    claim!(said.contains("answered NOT_SERVING") && said.ends_with(&format!("; traffic went back to {first}")), "it says {said:?}");
    claim!(uids(&stage, &first).await? == before, "the old pods were replaced");
    stage.gone(&second, 60).await?;
    users.only("v1", 15).await?;
    users.stop_clean().map(drop)
}

/// A version that bears the traffic is complete after its bake; the old pods stay warm, and the way back is one write, without new pods.
pub async fn bake_passes_and_keeps_warm(stage: Arc<Stage>) -> Result {
    let warm = |version| baked(version, 6).spec("/drain/keepWarmSeconds", 300);
    let first = stage.installed(&warm("v1")).await?;
    let before = uids(&stage, &first).await?;
    let users = stage.users().await?;
    stage.apply(&warm("v2")).await?;
    let kept = |status: &BlueGreenDeploymentStatus| because(status, ConditionType::Drained, ConditionStatus::True, "KeptWarm");
    let status = stage.until("the old pods are kept warm", 60, |status| kept(status) && status.phase == Some(PhaseName::Complete)).await?;
    let second = revision(&status)?;
    let switch = status.switch.clone().ok_or_else(|| Failure::Claim("status.switch is empty".into()))?;
    let (Some(moved), Some(baked)) = (switch.completed_at, switch.baked_at) else {
        return Err(Failure::Claim(format!("status.switch is {switch:?}")));
    };
    let took = baked.duration_since(moved).as_secs_f64();
    claim!((6.0..60.0).contains(&took), "it baked for {took:.1} s");
    let rows = &status.bake_probes;
    claim!(rows.len() == 2 && rows.iter().all(|row| row.result == ProbeResult::Passed), "of the bake's probes status tells {rows:?}");
    claim!(because(&status, ConditionType::Ready, ConditionStatus::True, "Serving"), "Ready: {status:?}");
    claim!(uids(&stage, &first).await? == before, "the old pods did not stay");
    let begun = Instant::now();
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 20).await?;
    stage.notes.say(format!("baked for {took:.1} s; the way back took {:.2} s", begun.elapsed().as_secs_f64()));
    claim!(uids(&stage, &first).await? == before, "the way back needed new pods");
    stage.gone(&second, 60).await?;
    users.only("v1", 15).await?;
    users.stop_clean().map(drop)
}

/// The active revision is started anew: other pods of the same template, and nobody notices. A connection that holds the old ones is cut
/// when a person says so, and not before.
pub async fn restart_and_finish_the_drain(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let before = uids(&stage, &first).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    stage.command("bluegreen.dev/restart", &first).await?;
    let status = stage
        .until("other pods serve, and the old ones are held", 60, |status| {
            let held = status.draining.first().is_some_and(|set| set.revision == first && set.open_connections == Some(1));
            held && status.phase == Some(PhaseName::Drain)
        })
        .await?;
    let second = revision(&status)?;
    claim!(second != first, "the revision is the same");
    stage.serves(&second, 1).await?;
    claim!(uids(&stage, &second).await?.is_disjoint(&before), "an old pod serves on");
    wait_for("the command is done with", 10, || async {
        let left = stage.shop().await?.metadata.annotations.unwrap_or_default();
        Ok(when(!left.contains_key("bluegreen.dev/restart"), || format!("{left:?}")))
    })
    .await?;
    claim!(stage.sets().await?.len() == 2, "it was started anew more than once");
    stays("the old pods stay", 4, || async {
        let now = uids(&stage, &first).await?;
        Ok(when(now == before, || format!("{now:?} after {before:?}")))
    })
    .await?;
    stage.command("bluegreen.dev/finish-drain", &first).await?;
    stage.gone(&first, 10).await?;
    stage.said("DrainFinished", "had its drain ended by finish-drain with 1 open connection", 10).await?;
    stage.complete(30).await?;
    held.ends_cut(30).await?;
    users.more(20).await?;
    users.stop_clean().map(drop)
}

/// A person gives a revision up while it waits for its time: nobody is moved, then or later.
async fn aborted_within_its_time(stage: &Stage, users: &Load) -> Result {
    let before = stage.selected("shop").await?;
    stage.apply(&shop("v4").spec("/promotion/afterSeconds", 15).spec("/onFailure/keepSeconds", 0)).await?;
    let waits = |status: &BlueGreenDeploymentStatus| status.phase == Some(PhaseName::AwaitPromotion);
    let given_up = revision(&stage.until("it waits", 60, waits).await?)?;
    stage.command("bluegreen.dev/abort", &given_up).await?;
    let status = stage.until("it is given up", 12, |status| is_rejected(status, "Aborted")).await?;
    claim!(status.switch.as_ref().is_some_and(|switch| switch.to == before), "traffic moved: {:?}", status.switch);
    stage.gone(&given_up, 30).await?;
    stays("its time comes and it gets no traffic", 16, || async {
        let selected = stage.selected("shop").await?;
        Ok(when(selected == before, || selected))
    })
    .await?;
    users.only("v3", 15).await
}

/// `promotion.afterSeconds`: a tested revision waits that long, or for a person's word, which kubectl bluegreen gives: also that it is given up.
pub async fn promoted_after_a_while(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").spec("/promotion/afterSeconds", 8)).await?;
    let status = stage.until("it waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let waits = Instant::now();
    let second = revision(&status)?;
    claim!(stage.selected("shop").await? == first, "traffic moved at once");
    stage.serves(&second, 30).await?;
    let waited = waits.elapsed().as_secs_f64();
    stage.notes.say(format!("the switch came {waited:.1} s after status said that it waits, afterSeconds 8"));
    claim!(waited > 6.0, "it came after {waited:.1} s");
    stage.complete(60).await?;
    stage.apply(&shop("v3").spec("/promotion/afterSeconds", 590)).await?;
    let status = stage.until("it waits", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let third = revision(&status)?;
    says(&stage, &["status", "shop"], &format!("{third} takes the traffic by itself in "))?;
    says(&stage, &["promote", "shop"], &format!("shop: revision {third} takes the traffic now."))?;
    stage.serves(&third, 20).await?;
    users.only("v3", 15).await?;
    stage.complete(60).await?;
    aborted_within_its_time(&stage, &users).await?;
    let summary = users.stop_clean()?;
    claim!(!summary.versions.contains_key("v4"), "users saw {:?}", summary.versions.keys());
    Ok(())
}
