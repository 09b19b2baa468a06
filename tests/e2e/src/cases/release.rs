//! Releases that go well, under load.

use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::{ConditionStatus, ConditionType};
use kube::ResourceExt;

use crate::audit::Audit;
use crate::claim;
use crate::failure::Result;
use crate::manifest::shop;
use crate::stage::{Stage, because, is, revision};

/// A Service without a selector serves nobody before the smoke probes have passed, and then the first revision.
pub async fn first_install(stage: Arc<Stage>) -> Result {
    stage.service("shop").await?;
    stage.apply(&shop("v1").env("APP_READY_AFTER", "3")).await?;
    stage.until("the first revision is brought up", 20, |status| status.inactive.is_some()).await?;
    let parked = stage.selected("shop").await?;
    claim!(parked == "none" || parked.is_empty(), "the Service selects {parked} before anything was tested");
    let status = stage.complete(60).await?;
    let first = revision(&status)?;
    claim!(stage.selected("shop").await? == first, "the Service does not select {first}");
    let active = status.active.as_ref().map(|active| (active.color.clone(), active.ready_replicas));
    claim!(active == Some(("blue".into(), 2)), "active is {active:?}");
    for (kind, reason) in [
        (ConditionType::Ready, "Serving"),
        (ConditionType::Available, "AllAvailable"),
        (ConditionType::SmokeTested, "Passed"),
        (ConditionType::Switched, "Moved"),
        (ConditionType::Converged, "Converged"),
        (ConditionType::Drained, "NothingDraining"),
    ] {
        claim!(because(&status, kind, ConditionStatus::True, reason), "{kind:?} is not True because of {reason}: {status:?}");
    }
    claim!(is(&status, ConditionType::Stalled, ConditionStatus::False), "it is stalled");
    claim!(status.ready_desired == "2/2" && status.replicas == 2, "readyDesired {}", status.ready_desired);
    let users = stage.users().await?;
    users.stop_clean()?;
    claim!(stage.events("Ready").await?.len() == 1, "not one Event tells that it serves");
    // Nothing is written once nothing changes.
    let before = stage.shop().await?.resource_version();
    tokio::time::sleep(Duration::from_secs(4)).await;
    claim!(stage.shop().await?.resource_version() == before, "the status changes although nothing happens");
    Ok(())
}

/// Clients that connect for every request do not notice a release.
pub async fn release_new_connections(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1").spec("/replicas", 3)).await?;
    let users = stage.users_of("shop", &["--rate", "50", "--keepalive", "0"]).await?;
    stage.apply(&shop("v2").spec("/replicas", 3)).await?;
    let status = stage.complete(90).await?;
    let second = revision(&status)?;
    claim!(first != second, "a new version is no new revision");
    users.more(50).await?;
    let summary = users.stop_clean()?;
    let (Some(old), Some(new)) = (summary.versions.get("v1"), summary.versions.get("v2")) else {
        return Err(crate::failure::Failure::Claim(format!("both versions should have answered: {:?}", summary.versions)));
    };
    let overlap = i64::try_from(old.last_ms).unwrap_or(0) - i64::try_from(new.first_ms).unwrap_or(0);
    stage.notes.say(format!("{} requests, 0 failed; both versions answered for {overlap} ms; longest gap {} ms", summary.ok, summary.longest_gap_ms));
    claim!(stage.desired(&first).await? == 0, "the old set is still there");
    claim!(status.active.is_some_and(|active| active.color == "green"), "the second revision is not green");
    Ok(())
}

/// Kept connections in steady use leave when the app, told by `drain.begin`, asks them to.
pub async fn release_kept_with_drain_begin(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1").told()).await?;
    let users = stage.users_of("shop", &["--rate", "10", "--keepalive", "8"]).await?;
    stage.apply(&shop("v2").told()).await?;
    stage.complete(90).await?;
    users.more(50).await?;
    let summary = users.stop_clean()?;
    claim!(summary.connections.told_to_close > 0, "no connection was asked to close");
    claim!(stage.desired(&first).await? == 0, "the old set is still there");
    stage.notes.say(format!("{} requests, 0 failed; {} connections were asked to close", summary.ok, summary.connections.told_to_close));
    Ok(())
}

/// Kept connections that clients retire by themselves are waited for, without telling anybody anything.
pub async fn release_kept_retiring_clients(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users_of("shop", &["--rate", "10", "--keepalive", "8", "--retire-after", "5s"]).await?;
    stage.apply(&shop("v2")).await?;
    stage.complete(90).await?;
    users.more(50).await?;
    let summary = users.stop_clean()?;
    claim!(summary.connections.retired > 0, "no connection was retired");
    claim!(stage.desired(&first).await? == 0, "the old set is still there");
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}

/// An upload, a stream and an echo that began before the switch come to their own ends, and the old set stays for them.
pub async fn upload_and_stream_survive(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let upload = stage.long(1, &["upload", "--target", "http://{http}/upload", "--seconds", "60"]).await?;
    let stream = stage.long(2, &["stream", "--target", "http://{http}/stream?seconds=60"]).await?;
    let echo = stage.long(2, &["echo", "--target", "tcp://{echo}", "--duration", "65s"]).await?;
    for long in [&stream, &echo] {
        let open = long.open()?;
        claim!(open.version.as_deref() == Some("v1"), "not on the old version: {open:?}");
    }
    upload.open()?;
    stage.apply(&shop("v2")).await?;
    let status = stage.until("the old set drains", 60, |status| status.draining.iter().any(|set| set.open_connections == Some(3))).await?;
    claim!(is(&status, ConditionType::Ready, ConditionStatus::True) || status.switch.is_some(), "not switched");
    let users = stage.users().await?;
    let upload = upload.ends_well(90)?;
    let stream = stream.ends_well(90)?;
    claim!(stage.desired(&first).await? == 2, "the old set went before the echo ended");
    let echo = echo.ends_well(90)?;
    let closed = tokio::time::Instant::now();
    stage.gone(&first, 30).await?;
    stage.notes.say(format!(
        "upload of {} bytes, stream of {}, {} echoes; scaled down {:.1} s after the last close",
        upload.bytes.sent,
        stream.bytes.received,
        echo.ok,
        closed.elapsed().as_secs_f64()
    ));
    stage.complete(30).await?;
    users.stop_clean()?;
    Ok(())
}

/// All Services of a release move together.
pub async fn two_services(stage: Arc<Stage>) -> Result {
    stage.service("shop-internal").await?;
    let two = |version: &str| shop(version).spec("/traffic/services", serde_json::json!(["shop", "shop-internal"]));
    let first = stage.installed(&two("v1")).await?;
    let one = stage.users().await?;
    let other = stage.users_of("shop-internal", &["--rate", "25", "--keepalive", "0"]).await?;
    stage.apply(&two("v2")).await?;
    let second = revision(&stage.complete(90).await?)?;
    for service in ["shop", "shop-internal"] {
        let selected = stage.selected(service).await?;
        claim!(selected == second && second != first, "{service} selects {selected}");
    }
    one.more(20).await?;
    other.more(20).await?;
    let (one, other) = (one.stop_clean()?, other.stop_clean()?);
    let moved = |summary: &load::report::Summary| summary.versions.get("v2").map_or(0, |seen| seen.first_ms);
    stage.notes.say(format!("the Services moved {} ms apart as users saw it", moved(&one).abs_diff(moved(&other))));
    Ok(())
}

/// Scaling in the middle of a release changes both sets upwards and holds nothing up.
pub async fn scale_during_release(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "6")).await?;
    let status = stage.until("the new revision is brought up", 30, |status| status.inactive.is_some()).await?;
    stage.world.kubectl(&["scale", "bgd/shop", "--replicas=4", "-n", &stage.namespace])?;
    crate::wait::wait_for("the active set grows with it", 20, || async {
        let (active, coming) = (stage.desired(&first).await?, stage.desired(&revision(&status)?).await?);
        Ok(crate::wait::when(active == 4 && coming == 4, || format!("{active} active, {coming} coming")))
    })
    .await?;
    let status = stage.complete(90).await?;
    claim!(status.ready_desired == "4/4", "ready {}", status.ready_desired);
    claim!(status.selector.contains(&revision(&status)?), "the scale subresource selects {}", status.selector);
    users.stop_clean()?;
    Ok(())
}

/// A BlueGreenDeployment that rests costs no request, and a release a bounded number of them.
pub async fn work_grows_with_change(stage: Arc<Stage>) -> Result {
    let audit = Audit::now(&stage.world)?;
    stage.installed(&shop("v1")).await?;
    let install = audit.controller(&stage.namespace)?.len();
    // Nobody drains any more; what is still on its way may come.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let audit = Audit::now(&stage.world)?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let asked = audit.controller(&stage.namespace)?;
    claim!(asked.is_empty(), "a resting BlueGreenDeployment cost {asked:?}");
    let audit = Audit::now(&stage.world)?;
    stage.apply(&shop("v2")).await?;
    stage.complete(60).await?;
    let asked = audit.controller(&stage.namespace)?;
    stage.notes.say(format!("install {install} requests, rest 0, release {} (Events included)", asked.len()));
    claim!((1..80).contains(&asked.len()), "a release cost {} requests: {asked:?}", asked.len());
    Ok(())
}
