//! Releases that go well, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use bluegreen::api::{ConditionStatus, ConditionType, keys};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::audit::Audit;
use crate::claim;
use crate::failure::Result;
use crate::manifest::shop;
use crate::stage::{Stage, because, is, revision};
use crate::traffic::Load;
use crate::wait::{Look, wait_for, when};

/// A Service without a selector serves nobody before the smoke probes have passed, and then the first revision.
pub async fn first_install(stage: Arc<Stage>) -> Result {
    stage.service("shop").await?;
    stage.apply(&shop("v1").env("APP_READY_AFTER", "2").spec("/smokeProbes/0/successThreshold", 5)).await?;
    untested_serves_nobody(&stage).await?;
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
    stage.said("Ready", "serves everyone", 10).await?;
    claim!(stage.events("Ready").await?.len() == 1, "not one Event tells that it serves");
    // Nothing is written once nothing changes.
    let before = stage.shop().await?.resource_version();
    tokio::time::sleep(Duration::from_secs(4)).await;
    claim!(stage.shop().await?.resource_version() == before, "the status changes although nothing happens");
    Ok(())
}

/// Looks at the Service all the time until it selects a revision: before, nobody is behind it, also while pods are ready
/// already; then the proof that all of them passed is on record.
async fn untested_serves_nobody(stage: &Stage) -> Result {
    let while_ready = AtomicI32::new(0);
    let proven = wait_for("the Service selects a revision", 60, || async {
        let ready = stage.sets().await?.iter().filter_map(|set| set.status.as_ref()?.ready_replicas).sum::<i32>();
        let slices = stage.api::<EndpointSlice>().list(&ListParams::default().labels("kubernetes.io/service-name=shop")).await?;
        let behind = slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten()).count();
        // Read last: what was seen before was seen while it still selected nobody.
        let selected = stage.selected("shop").await?;
        if !selected.is_empty() && selected != "none" {
            return Ok(Look::Done(selected));
        }
        claim!(behind == 0, "{behind} pods are behind the Service before anything was tested");
        while_ready.fetch_add(i32::from(ready == 2), Ordering::Relaxed);
        Ok(Look::NotYet(format!("{ready} pods are ready")))
    })
    .await?;
    claim!(while_ready.into_inner() > 0, "the pods served as soon as they were ready");
    let proof = stage.set(&proven).await?.annotations().get(keys::PROOF).cloned().unwrap_or_default();
    for pod in stage.pods(&proven).await? {
        let uid = pod.uid().unwrap_or_default();
        claim!(proof.contains(&uid), "pod {} serves without a proof: {proof:?}", pod.name_any());
    }
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
    claim!(summary.versions.contains_key("v2"), "nobody saw the new version");
    claim!(stage.desired(&first).await? == 0, "the old set is still there");
    stage.notes.say(format!("{} requests, 0 failed; {} connections were asked to close", summary.ok, summary.connections.told_to_close));
    Ok(())
}

/// The same by a label, which the application reads from a file of a downward API volume: clients that would keep their connections are asked to
/// close them, and nothing waits for the deadline.
pub async fn release_kept_told_by_label(stage: Arc<Stage>) -> Result {
    let told = |version: &str| shop(version).told_by_label().spec("/drain/deadlineSeconds", 600);
    let first = stage.installed(&told("v1")).await?;
    let users = stage.users_of("shop", &["--rate", "10", "--keepalive", "8"]).await?;
    stage.apply(&told("v2")).await?;
    stage.until("connections hold v1", 60, |status| status.draining.iter().any(|row| row.open_connections.is_some_and(|open| open > 0))).await?;
    let begun = Instant::now();
    let marked = |pods: &[Pod]| pods.iter().all(|pod| pod.labels().get("example.com/draining").is_some_and(|value| value == "true"));
    wait_for("the old pods are told", 60, || async {
        let pods = stage.pods(&first).await?;
        Ok(when(!pods.is_empty() && marked(&pods), || format!("{:?}", pods.iter().map(ResourceExt::labels).collect::<Vec<_>>())))
    })
    .await?;
    let_go(&stage, &first, users, begun).await
}

/// The old set goes long before its deadline, once its kept connections were asked to close, and nobody notices.
pub async fn let_go(stage: &Stage, first: &str, users: Load, begun: Instant) -> Result {
    stage.gone(first, 150).await?;
    stage.notes.say(format!("the old set was gone {:.1} s after connections were seen there; its deadline is 600 s", begun.elapsed().as_secs_f64()));
    stage.complete(30).await?;
    users.only("v2", 15).await?;
    let summary = users.stop_clean()?;
    claim!(summary.connections.told_to_close > 0, "no connection was asked to close");
    stage.notes.say(format!("{} requests, 0 failed; {} connections were asked to close", summary.ok, summary.connections.told_to_close));
    Ok(())
}

/// A gRPC channel and a websocket, in steady use by libraries as people have them, end politely when the app, told by `drain.begin`, asks them to,
/// and go on with the new version: no call and no text is lost, and nothing waits for the deadline.
pub async fn channels_and_websockets_are_let_go(stage: Arc<Stage>) -> Result {
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": "http"}, {"name": "grpc", "port": 90, "targetPort": "grpc"},
        {"name": "websocket", "port": 91, "targetPort": 9001},
    ]);
    stage.service_with("shop", json!({"ports": ports})).await?;
    let told = |version: &str| shop(version).told().spec("/drain/deadlineSeconds", 300);
    stage.apply(&told("v1")).await?;
    let first = revision(&stage.complete(60).await?)?;
    let (calls, texts) = (stage.address("shop", 90).await?, stage.address("shop", 91).await?);
    stage.reachable(2, &calls).await?;
    stage.reachable(2, &texts).await?;
    let grpc = Load::start(&stage.world, 2, &["grpc", "--target", &format!("http://{calls}/"), "--every", "50ms"])?;
    let websocket = Load::start(&stage.world, 2, &["websocket", "--target", &format!("tcp://{texts}"), "--every", "50ms"])?;
    grpc.open()?;
    websocket.open()?;
    stage.apply(&told("v2")).await?;
    stage.until("they are seen on v1", 60, |status| status.draining.iter().any(|row| row.open_connections.is_some_and(|open| open >= 2))).await?;
    let begun = Instant::now();
    stage.gone(&first, 60).await?;
    stage.notes.say(format!("the old set was gone {:.1} s after they were counted there; its deadline is 300 s", begun.elapsed().as_secs_f64()));
    stage.complete(30).await?;
    websocket.only("v2", 15).await?;
    grpc.more(20).await?;
    let (calls, texts) = (grpc.stop_clean()?, websocket.stop_clean()?);
    claim!(texts.connections.told_to_close == 1 && texts.connections.opened == 2, "the websocket: {:?}", texts.connections);
    stage.notes.say(format!("{} calls and {} texts, 0 failed", calls.ok, texts.ok));
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
    claim!(summary.versions.contains_key("v2"), "nobody saw the new version");
    claim!(stage.desired(&first).await? == 0, "the old set is still there");
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}

/// An upload, a stream and an echo that began before the switch come to their own ends, and the old set stays for them.
pub async fn upload_and_stream_survive(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let upload = stage.long(1, &["upload", "--target", "http://{http}/upload", "--seconds", "60"]).await?;
    let stream = stage.long(2, &["stream", "--target", "http://{http}/stream?seconds=60"]).await?;
    let echo = stage.long(2, &["echo", "--target", "tcp://{echo}", "--duration", "75s"]).await?;
    for long in [&stream, &echo] {
        let open = long.open()?;
        claim!(open.version.as_deref() == Some("v1"), "not on the old version: {open:?}");
    }
    upload.open()?;
    stage.apply(&shop("v2")).await?;
    let status = stage.until("the old set drains", 60, |status| status.draining.iter().any(|set| set.open_connections == Some(3))).await?;
    claim!(stage.selected("shop").await? == revision(&status)?, "the traffic has not moved");
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
    wait_for("the active set grows with it", 20, || async {
        let (active, coming) = (stage.desired(&first).await?, stage.desired(&revision(&status)?).await?);
        Ok(when(active == 4 && coming == 4, || format!("{active} active, {coming} coming")))
    })
    .await?;
    claim!(stage.selected("shop").await? == first, "it was scaled after the switch");
    let status = stage.complete(90).await?;
    claim!(status.ready_desired == "4/4", "ready {}", status.ready_desired);
    claim!(status.selector.contains(&revision(&status)?), "the scale subresource selects {}", status.selector);
    users.only("v2", 15).await?;
    users.stop_clean()?;
    Ok(())
}

/// Scaling without a release, up and down, as of a Deployment: pods come and go one by one, and their app's own pause before the end spares users.
pub async fn scale_only(stage: Arc<Stage>) -> Result {
    let pause = serde_json::json!({"preStop": {"sleep": {"seconds": 3}}});
    let first = stage.installed(&shop("v1").container("/lifecycle", pause)).await?;
    let before = stage.shop().await?.status.and_then(|status| status.switch);
    let users = stage.users().await?;
    for replicas in [4, 1, 2] {
        stage.world.kubectl(&["scale", "bgd/shop", &format!("--replicas={replicas}"), "-n", &stage.namespace])?;
        let wanted = format!("{replicas}/{replicas}");
        stage.until("it has that size", 40, |status| status.ready_desired == wanted && status.replicas == replicas).await?;
        users.more(50).await?;
    }
    let status = stage.complete(30).await?;
    claim!(stage.selected("shop").await? == first && status.switch == before, "traffic moved: {:?}", status.switch);
    claim!(stage.sets().await?.len() == 1, "it was taken for a release");
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
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
    let mut releases = vec![];
    for version in ["v2", "v3"] {
        let audit = Audit::now(&stage.world)?;
        stage.apply(&shop(version)).await?;
        stage.complete(60).await?;
        let asked = audit.controller(&stage.namespace)?;
        let aside = |request: &&String| ["events/", "leases/"].iter().any(|kind| request.contains(kind));
        let events = asked.iter().filter(aside).count();
        claim!(
            (1..=30).contains(&(asked.len() - events)),
            "the release of {version} cost {} requests beside {events} Events: {asked:?}",
            asked.len() - events
        );
        releases.push(format!("{} and {events} Events", asked.len() - events));
    }
    stage.notes.say(format!("requests: install {install}, rest 0, releases {}", releases.join(", ")));
    Ok(())
}
