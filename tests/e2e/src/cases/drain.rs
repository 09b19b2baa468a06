//! How old pods come to an end: whoever holds them, and whoever only seems to.

use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;
use tokio::time::Instant;

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{APP_IMAGE, Manifest, shop};
use crate::sockets;
use crate::stage::{Stage, because, condition, pod_ip, revision};
use crate::traffic::Load;
use crate::wait::{stays, wait_for, when};

/// One pod, so that it is known who is left, and on node 1, so that load from node 2 comes from another node: on the pod's own
/// one it would have the address of the kubelet and might pass for its probes.
fn single(stage: &Stage, version: &str) -> Manifest {
    shop(version).spec("/replicas", 1).on_node(stage.world.cluster.node_name(1))
}

/// Releases v2 and waits until the move has converged; answers the old revision's pod and the status.
async fn release(stage: &Stage, manifest: &Manifest) -> Result {
    stage.apply(manifest).await?;
    stage
        .until("the traffic has moved", 60, |status| {
            status.phase == Some(PhaseName::Drain) || status.phase == Some(PhaseName::Complete) || status.phase == Some(PhaseName::Converge)
        })
        .await
        .map(drop)
}

async fn old_pod(stage: &Stage, first: &str) -> Result<Pod> {
    stage.pods(first).await?.into_iter().next().ok_or_else(|| Failure::Claim("no old pod".into()))
}

/// The old set stays as it is for some seconds.
async fn stays_up(stage: &Stage, first: &str, why: &str, seconds: u64) -> Result {
    stays(why, seconds, || async {
        let desired = stage.desired(first).await?;
        Ok(when(desired > 0, || "it was scaled down".into()))
    })
    .await
}

/// Short connections to an old pod, never seen twice by a sample, still count as use.
pub async fn drain_sees_a_flood(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&single(&stage, "v1").spec("/traffic/convergenceTimeoutSeconds", 4)).await?;
    let target = format!("http://{}:8080/", pod_ip(&old_pod(&stage, &first).await?));
    let flood = Load::start(&stage.world, 2, &["flood", "--target", &target, "--rate", "50"])?;
    flood.more(20).await?;
    release(&stage, &single(&stage, "v2").spec("/traffic/convergenceTimeoutSeconds", 4)).await?;
    stage
        .until("it is said that old pods are still reached", 30, |status| {
            because(status, ConditionType::Converged, ConditionStatus::Unknown, "NewConnectionOnOld")
        })
        .await?;
    stays_up(&stage, &first, "the flooded old pod stays", 6).await?;
    let summary = flood.stop_clean()?;
    let closed = Instant::now();
    stage.gone(&first, 40).await?;
    stage.notes.say(format!("{} short connections; scaled down {:.1} s after the last (quietSeconds 2)", summary.ok, closed.elapsed().as_secs_f64()));
    stage.complete(20).await?;
    Ok(())
}

/// Somebody who goes on dialling an old pod by its own address keeps it alive until the deadline, though no sample sees him twice.
pub async fn drain_sees_a_direct_dialler(stage: Arc<Stage>) -> Result {
    let short = |version: &str| single(&stage, version).spec("/traffic/convergenceTimeoutSeconds", 4).spec("/drain/deadlineSeconds", 14);
    let first = stage.installed(&short("v1")).await?;
    let target = format!("http://{}:8080/", pod_ip(&old_pod(&stage, &first).await?));
    // Often enough that a stall of the machine leaves no two seconds without a connection.
    let dialler = Load::start(&stage.world, 2, &["dial", "--target", &target, "--every", "300ms"])?;
    dialler.more(2).await?;
    release(&stage, &short("v2")).await?;
    let deadline = stage.until_some("it is said when the drain ends", 20, |status| status.draining.first().map(|set| set.deadline)).await?;
    let dialled = dialler.tick().map_or(0, |tick| tick.total_ok);
    stage.gone(&first, 40).await?;
    punctual(&stage, deadline)?;
    let summary = dialler.stop()?;
    claim!(summary.ok >= dialled + 10, "he dialled {} times before the switch and {} in all", dialled, summary.ok);
    Ok(())
}

/// The old set went at its deadline: not before, and not much later on a busy machine.
fn punctual(stage: &Stage, deadline: jiff::Timestamp) -> Result {
    let late = jiff::Timestamp::now().duration_since(deadline).as_secs_f64();
    stage.notes.say(format!("ended {late:.1} s after the deadline in status"));
    claim!((-1.5..15.0).contains(&late), "ended {late} s after its deadline");
    Ok(())
}

/// A server that closed with data still unsent (FIN_WAIT1 with a full queue) is waited for until the reader has it all.
pub async fn drain_waits_for_unsent_data(stage: Arc<Stage>) -> Result {
    // The kernel grants at most twice wmem_max, and counts more than the bytes themselves.
    let limit = std::fs::read_to_string("/proc/sys/net/core/wmem_max").map_err(io("reading net.core.wmem_max"))?;
    let bytes = limit.trim().parse::<u64>().unwrap_or(212_992).min(2 << 20);
    let big = |version: &str| single(&stage, version).env("APP_SEND_BUFFER", "4194304");
    let first = stage.installed(&big("v1")).await?;
    let target = format!("http://{{http}}/bytes?n={bytes}");
    let hold = stage.long(2, &["hold", "--target", &target, "--stall", "--receive-buffer", "4096"]).await?;
    hold.open()?;
    let pod = old_pod(&stage, &first).await?;
    wait_for("the server has closed with data unsent", 10, || async {
        let unsent = sockets::unsent_after_close(&pod.name_any(), 8080)?;
        Ok(when(unsent > 0, || "no socket in FIN_WAIT1 with data in its queue".into()))
    })
    .await?;
    release(&stage, &big("v2")).await?;
    stays_up(&stage, &first, "the old pod with unsent data stays", 8).await?;
    let unsent = sockets::unsent_after_close(&pod.name_any(), 8080)?;
    claim!(unsent > 0, "nothing was unsent any more");
    let summary = hold.stop_clean()?;
    let closed = Instant::now();
    stage.gone(&first, 30).await?;
    claim!(summary.bytes.received == bytes, "{} of {bytes} bytes arrived", summary.bytes.received);
    stage.notes.say(format!("{unsent} of {bytes} bytes were unsent, all arrived; scaled down {:.1} s later", closed.elapsed().as_secs_f64()));
    Ok(())
}

/// A client that closed its side and is still being answered (CLOSE_WAIT) is waited for.
pub async fn drain_waits_for_half_closed(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&single(&stage, "v1")).await?;
    let half = stage.long(2, &["half-close", "--target", "http://{http}/stream?seconds=20"]).await?;
    half.open()?;
    release(&stage, &single(&stage, "v2")).await?;
    stays_up(&stage, &first, "the old pod stays for the half-closed client", 5).await?;
    half.ends_well(40)?;
    stage.gone(&first, 30).await
}

/// A silently held connection ends at the deadline, which status told beforehand, together with who holds it.
pub async fn drain_deadline(stage: Arc<Stage>) -> Result {
    let short = |version: &str| single(&stage, version).spec("/drain/deadlineSeconds", 14);
    let first = stage.installed(&short("v1")).await?;
    let hold = stage.long(2, &["hold", "--target", "http://{http}/"]).await?;
    hold.open()?;
    release(&stage, &short("v2")).await?;
    // A sample may catch a probe of the kubelet beside the holder.
    let status = stage
        .until("the holder is known", 20, |status| {
            status.draining.first().is_some_and(|set| {
                let holders: Vec<_> = set.holders.iter().map(|holder| (holder.port, holder.connections)).collect();
                set.open_connections == Some(1) && set.reason == "OpenConnections" && holders == [(8080, 1)]
            })
        })
        .await?;
    let set = status.draining.first().cloned().ok_or_else(|| Failure::Claim("nothing drains".into()))?;
    claim!(status.open_connections == Some(1), "openConnections {:?}", status.open_connections);
    let message = condition(&status, ConditionType::Drained).map(|condition| condition.message.clone()).unwrap_or_default();
    claim!(message.contains("1 open connection to ") && message.contains("at the latest"), "Drained says {message:?}");
    wait_for("kubectl get shows it", 5, || async {
        let draining = stage.column("DRAINING")?;
        Ok(when(draining == "1", || format!("DRAINING is {draining:?}")))
    })
    .await?;
    stage.gone(&first, 30).await?;
    punctual(&stage, set.deadline)?;
    stage.complete(20).await?;
    hold.stop()?;
    let draining = stage.column("DRAINING")?;
    // Nothing stands there when nothing drains; the next column is the age.
    claim!(draining != "1", "DRAINING is still {draining:?}");
    Ok(())
}

/// After the last connection closes it takes moments until the old set goes.
pub async fn drain_is_quick(stage: Arc<Stage>) -> Result {
    let mut old = stage.installed(&single(&stage, "v1")).await?;
    let mut took = vec![];
    for version in ["v2", "v3", "v4"] {
        let echo = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
        echo.open()?;
        release(&stage, &single(&stage, version)).await?;
        stage
            .until("the echo is counted, and nothing else is waited for", 30, |status| {
                status.phase == Some(PhaseName::Drain) && status.draining.first().is_some_and(|set| set.open_connections == Some(1))
            })
            .await?;
        // minimumSeconds is over, too.
        stays_up(&stage, &old, "the old pod stays for the echo", 3).await?;
        echo.stop_clean()?;
        let closed = Instant::now();
        stage.gone(&old, 13).await?;
        took.push(closed.elapsed().as_secs_f64());
        old = revision(&stage.complete(20).await?)?;
    }
    stage.notes.say(format!("scaled down {took:.2?} s after the last close"));
    // The machine is shared: the best of three tells what the operator needs, and none may be far off.
    let best = took.iter().copied().fold(f64::INFINITY, f64::min);
    claim!(best < 3.0, "it took {took:.2?} s");
    Ok(())
}

/// Peers that are to be ignored don't hold anything up; the same connection from elsewhere would.
pub async fn drain_ignores_peers(stage: Arc<Stage>) -> Result {
    // The holder is a pod: addresses of nodes are never ignored. It holds on all the time, and the deadline is far away.
    let ignoring = |version: &str| single(&stage, version).spec("/drain/ignorePeers", json!([{"podLabels": {"app": "scraper"}}]));
    let first = stage.installed(&ignoring("v1")).await?;
    let target = format!("http://{}/", stage.address("shop", 80).await?);
    holder(&stage, "scraper", &target).await?;
    release(&stage, &ignoring("v2")).await?;
    stage.gone(&first, 30).await
}

/// Who holds a connection is told by the name of the pod.
pub async fn drain_names_holders(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&single(&stage, "v1")).await?;
    let target = format!("http://{}/", stage.address("shop", 80).await?);
    holder(&stage, "client", &target).await?;
    release(&stage, &single(&stage, "v2")).await?;
    let expected = format!("{}/client", stage.namespace);
    let status = stage
        .until("the holder is named", 30, |status| {
            status.draining.iter().flat_map(|set| &set.holders).any(|holder| holder.pod.as_deref() == Some(expected.as_str()))
        })
        .await?;
    claim!(status.held_by.as_deref().is_some_and(|held| held.contains("client")), "heldBy {:?}", status.held_by);
    let wide = stage.world.kubectl(&["get", "bgd", "-n", &stage.namespace, "-o", "wide"])?;
    claim!(wide.contains("client"), "kubectl get -o wide does not name it: {wide}");
    stage.api::<Pod>().delete("client", &kube::api::DeleteParams::default().grace_period(0)).await?;
    stage.gone(&first, 40).await
}

/// Only the ports of the moved Services count, unless others are named.
pub async fn drain_counts_its_ports(stage: Arc<Stage>) -> Result {
    let only = |version: &str| single(&stage, version).spec("/drain/ports", json!(["http"]));
    let first = stage.installed(&only("v1")).await?;
    let echo = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    echo.open()?;
    release(&stage, &only("v2")).await?;
    stage.gone(&first, 30).await?;
    wait_for("the uncounted echo was cut with its pod", 20, || async { Ok(when(!echo.failures().is_empty(), || "it goes on".into())) }).await?;
    echo.stop()?;
    Ok(())
}

/// Where nothing is to be measured the clock decides, and status says so.
pub async fn drain_by_timer(stage: Arc<Stage>) -> Result {
    let timer = |version: &str| single(&stage, version).spec("/drain/source", "Timer").spec("/drain/fallbackSeconds", 6);
    let first = stage.installed(&timer("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&timer("v2")).await?;
    stage
        .until("it drains by the timer", 40, |status| {
            status.draining.first().is_some_and(|set| set.reason == "TimerRequested")
                && because(status, ConditionType::Converged, ConditionStatus::Unknown, "TimerRequested")
        })
        .await?;
    stage.gone(&first, 30).await?;
    stage.complete(20).await?;
    users.stop_clean()?;
    Ok(())
}

/// A release with the default times: quietSeconds 10, minimumSeconds 5.
pub async fn release_with_real_defaults(stage: Arc<Stage>) -> Result {
    let plain = |version: &str| {
        let mut manifest = shop(version).spec("/traffic", json!({"services": ["shop"]}));
        if let Some(spec) = manifest.0.pointer_mut("/spec").and_then(serde_json::Value::as_object_mut) {
            spec.remove("drain");
        }
        manifest
    };
    let first = stage.installed(&plain("v1")).await?;
    let users = stage.users().await?;
    let begun = Instant::now();
    stage.apply(&plain("v2")).await?;
    let status = stage.complete(90).await?;
    stage.notes.say(format!("{:.1} s from apply to the end of the old set", begun.elapsed().as_secs_f64()));
    claim!(begun.elapsed() > Duration::from_secs(14), "it ended before quietSeconds and minimumSeconds were over");
    claim!(revision(&status)? != first, "nothing was released");
    users.stop_clean()?;
    Ok(())
}

/// A pod that holds one connection to a Service.
async fn holder(stage: &Stage, name: &str, target: &str) -> Result {
    // It may come to run on any node, and does not try again.
    let address = stage.address("shop", 80).await?;
    for node in 1..=stage.world.cluster.nodes() {
        stage.reachable(node, &address).await?;
    }
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "load", "image": APP_IMAGE, "imagePullPolicy": "Never",
            "command": ["/load", "hold", "--target", target, "--ignore-stdin"],
        }]},
    });
    stage.create::<Pod>(pod).await?;
    wait_for(format!("pod {name} holds its connection"), 30, || async {
        let log = stage.world.kubectl_output(&["logs", name, "-n", &stage.namespace])?;
        let text = String::from_utf8_lossy(&log.stdout).into_owned();
        Ok(when(text.contains("\"type\":\"open\""), || text))
    })
    .await
}
