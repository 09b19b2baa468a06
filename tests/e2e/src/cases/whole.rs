//! Releases as teams make them: everything at once, given up and replaced, gated from the very first one, waited for in scripts.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, HookPoint, HookResult, HookStatus, PhaseName};
use kube::ResourceExt;
use serde_json::json;

use super::hooks::hook;
use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, is, revision};
use crate::wait::{stays, wait_for, when};

fn awaits(status: &BlueGreenDeploymentStatus) -> bool {
    status.phase == Some(PhaseName::AwaitPromotion)
}

/// Every gate and everything after the switch in one object: a Job first, one pod for the tests, probes of each pod and through the preview, a wait,
/// another Job, the switch, another one, a bake, the drain of a held connection, a last Job, and a warm way back. Then it is taken back in one step.
pub async fn all_gates_at_once(stage: Arc<Stage>) -> Result {
    let everything = |version: &str| {
        let hooks = json!({
            "beforeBringUp": [hook("migrate", true)], "beforeSwitch": [hook("check", true)], "afterSwitch": [hook("purge", true)],
            "onRollback": [hook("tell", true)],
        });
        shop(version)
            .spec("/hooks", hooks)
            .spec("/traffic/previewServices", json!(["shop-preview"]))
            .spec("/bringUp/previewReplicas", 1)
            .spec("/smokeProbes/1", json!({"name": "preview", "target": "PreviewService", "httpGet": {"path": "/", "port": "http"}}))
            .spec("/smokeProbes/2", json!({"name": "health", "grpc": {"port": "grpc"}}))
            .spec("/promotion", json!({"afterSeconds": 3}))
            .spec("/bake", json!({"seconds": 5, "probes": [{"name": "home", "httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}]}))
            .spec("/drain/keepWarmSeconds", 90)
            .spec("/podMetadata", json!({"active": {"labels": {"role": "active"}}, "draining": {"labels": {"role": "old"}}}))
    };
    stage.service("shop-preview").await?;
    let first = stage.installed(&everything("v1")).await?;
    let users = stage.users().await?;
    let kept = stage.users_of("shop", &["--rate", "10", "--keepalive", "2", "--retire-after", "3s"]).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&everything("v2")).await?;
    let drains = |status: &BlueGreenDeploymentStatus| {
        status.phase == Some(PhaseName::Drain) && status.draining.iter().any(|row| row.open_connections == Some(1))
    };
    let status = stage.until("v1 drains", 120, drains).await?;
    let second = revision(&status)?;
    let done = |status: &BlueGreenDeploymentStatus, point| {
        let row = |row: &&HookStatus| row.point == point && row.revision == second && row.result == HookResult::Succeeded;
        status.hooks.iter().find(row).and_then(|row| Some((row.started_at, row.finished_at?)))
    };
    // The times that are on record, and not the phases that a look every now and then shows: a busy machine converges no sooner than it has baked.
    let (Some(migrate), Some(check), Some(switch)) =
        (done(&status, HookPoint::BeforeBringUp), done(&status, HookPoint::BeforeSwitch), status.switch.clone())
    else {
        return Err(Failure::Claim(format!("it drains after {:?} and {:?}", status.hooks, status.switch)));
    };
    let (Some(moved), Some(baked)) = (switch.completed_at, switch.baked_at) else {
        return Err(Failure::Claim(format!("it drains after {switch:?}")));
    };
    let order = [migrate.1, check.0, check.1, switch.started_at, moved, baked];
    claim!(order.is_sorted(), "not in the order of a release: {order:?}");
    let seconds = [check.0.duration_since(migrate.1), baked.duration_since(moved)].map(|passed| passed.as_secs_f64());
    claim!(seconds[0] >= 3.0 && seconds[1] >= 5.0, "before promotion and in the bake there passed {seconds:?} s");
    stage.until("the Job after the switch", 60, |status| done(status, HookPoint::AfterSwitch).is_some()).await?;
    let old = stage.pods(&first).await?;
    claim!(old.len() == 2 && old.iter().all(|pod| pod.labels().get("role").is_some_and(|role| role == "old")), "the old pods are not marked");
    held.stop_clean()?;
    stage.until("v1 is warm", 60, |status| because(status, ConditionType::Drained, ConditionStatus::True, "KeptWarm")).await?;
    users.only("v2", 15).await?;
    kept.only("v2", 15).await?;
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.serves(&first, 10).await?;
    users.only("v1", 15).await?;
    let told = |status: &BlueGreenDeploymentStatus| {
        status.hooks.iter().any(|row| row.point == HookPoint::OnRollback && row.revision == first && row.result == HookResult::Succeeded)
    };
    stage.until("the hook of the way back", 60, told).await?;
    claim!(stage.pods(&first).await?.iter().filter_map(ResourceExt::uid).eq(old.iter().filter_map(ResourceExt::uid)), "they are other pods");
    let summaries = [users.stop_clean()?, kept.stop_clean()?];
    stage.notes.say(format!("{} requests, 0 failed", summaries.iter().map(|summary| summary.ok).sum::<u64>()));
    Ok(())
}

/// A revision that was given up is followed by another one, without a word about the first.
pub async fn abort_and_update(stage: Arc<Stage>) -> Result {
    let manual = |version: &str| shop(version).spec("/promotion/mode", "Manual").spec("/onFailure/keepSeconds", 0);
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&manual("v2")).await?;
    let second = revision(&stage.until("v2 waits", 60, awaits).await?)?;
    stage.command("bluegreen.dev/abort", &second).await?;
    stage.until("v2 is given up", 20, |status| status.rejected.is_some()).await?;
    stage.apply(&manual("v3")).await?;
    let status = stage.until("v3 waits", 60, awaits).await?;
    let third = revision(&status)?;
    claim!(status.rejected.is_none(), "v3 is taken for given up: {:?}", status.rejected);
    claim!(stage.selected("shop").await? == first && third != second, "the Service selects {}", stage.selected("shop").await?);
    // What was said about v2 is not about v3, nor about v2 when it comes again.
    stage.apply(&manual("v2")).await?;
    let status = stage.until("v2 waits again", 60, awaits).await?;
    claim!(revision(&status)? == second, "it is another revision");
    stays("nobody aborts it again", 3, || async {
        let status = stage.shop().await?.status.unwrap_or_default();
        Ok(when(awaits(&status) && status.rejected.is_none(), || format!("{:?}: {:?}", status.phase, status.rejected)))
    })
    .await?;
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.complete(60).await?;
    stage.gone(&third, 30).await?;
    users.only("v2", 15).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.keys().all(|version| version != "v3"), "users saw {:?}", summary.versions.keys());
    Ok(())
}

/// To wait for a person is no lack of progress, however long it takes.
pub async fn waiting_is_no_lack_of_progress(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let second: Manifest = shop("v2").spec("/promotion/mode", "Manual").spec("/progressDeadlineSeconds", 10);
    stage.apply(&second).await?;
    let second = revision(&stage.until("v2 waits", 60, awaits).await?)?;
    stays("it waits beyond its deadline", 12, || async {
        let status = stage.shop().await?.status.unwrap_or_default();
        Ok(when(awaits(&status) && is(&status, ConditionType::Stalled, ConditionStatus::False), || format!("{:?}", status.conditions)))
    })
    .await?;
    stage.command("bluegreen.dev/promote", &second).await?;
    stage.complete(60).await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// The very first version is tested like any: nobody reaches it before, and a better one takes its place.
pub async fn first_version_is_gated(stage: Arc<Stage>) -> Result {
    stage.service("shop").await?;
    let broken = |version: &str| shop(version).env("APP_FAIL", "home").spec("/onFailure/keepSeconds", 0);
    stage.apply(&broken("v1")).await?;
    let status = stage.until("v1 is given up", 60, |status| status.rejected.is_some()).await?;
    let first = revision(&status)?;
    claim!(status.active.is_none() && is(&status, ConditionType::Ready, ConditionStatus::False), "it serves: {:?}", status.active);
    let address = stage.address("shop", 80).await?;
    stays("nobody reaches it", 3, || async {
        let selected = stage.selected("shop").await?;
        let refused = stage.refused(2, &address)?.is_some();
        Ok(when(selected == "none" && refused, || format!("the Service selects {selected:?}")))
    })
    .await?;
    stage.gone(&first, 30).await?;
    stage.apply(&shop("v2")).await?;
    let second = revision(&stage.complete(60).await?)?;
    claim!(stage.selected("shop").await? == second, "v2 does not serve");
    let users = stage.users().await?;
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}

/// `kubectl wait`, as scripts use it: what was true of the version before is not taken for the one that was just applied.
pub async fn kubectl_waits(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    let wait = |condition: &str, seconds: u32| {
        let (what, timeout) = (format!("--for=condition={condition}"), format!("--timeout={seconds}s"));
        stage.world.kubectl(&["wait", "bgd/shop", "-n", &stage.namespace, &what, &timeout])
    };
    stage.world.kubectl_apply(&json!({
        "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "metadata": {"name": "shop", "namespace": stage.namespace},
        "spec": shop("v2").env("APP_READY_AFTER", "6").0.get("spec"),
    }))?;
    wait("Ready", 60)?;
    let second = stage.selected("shop").await?;
    claim!(second != first, "it came back before the release");
    wait("Drained", 60)?;
    stage.gone(&first, 5).await?;
    stage.apply(&shop("v3").env("APP_FAIL", "home")).await?;
    wait("Stalled", 60)?;
    let late = wait("Ready", 2);
    claim!(matches!(&late, Err(Failure::Command { .. })), "of a revision that was given up it says {late:?}");
    wait_for("users saw v2 alone since", 15, || async {
        let tick = users.tick();
        Ok(when(tick.as_ref().is_some_and(|tick| tick.versions.keys().eq(["v2"])), || format!("{tick:?}")))
    })
    .await?;
    users.stop_clean().map(drop)
}
