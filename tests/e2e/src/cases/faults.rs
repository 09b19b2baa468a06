//! Parts of the cluster or of the operator that fail in the middle of a release.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName};
use cluster::{Component, Signal};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, revision};
use crate::wait::{wait_for, when};
use crate::world::{RELEASE, SYSTEM, beside};

/// Pins the app to a node.
fn on_node(stage: &Stage, manifest: Manifest, node: usize) -> Manifest {
    manifest.spec("/template/spec/nodeSelector/kubernetes.io~1hostname", stage.world.cluster.node_name(node))
}

/// Without an agent on the node nothing is measured; status says so, and the timer decides.
pub async fn agent_missing(stage: Arc<Stage>) -> Result {
    let short = |version: &str| shop(version).spec("/drain/fallbackSeconds", 6);
    stage.installed(&short("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&short("v2")).await?;
    let status = stage.until("it drains unmeasured", 60, |status| status.draining.first().is_some_and(|set| set.reason == "AgentDisabled")).await?;
    claim!(because(&status, ConditionType::Converged, ConditionStatus::Unknown, "AgentDisabled"), "Converged: {status:?}");
    claim!(because(&status, ConditionType::Ready, ConditionStatus::True, "Serving"), "Ready: {status:?}");
    stage.complete(60).await?;
    users.stop_clean()?;
    Ok(())
}

/// An agent that falls silent makes the count unknown, never zero: the old pods stay until it speaks again.
pub async fn agent_silent(stage: Arc<Stage>) -> Result {
    let pinned = |version: &str| on_node(&stage, shop(version).spec("/traffic/convergenceTimeoutSeconds", 5), 2);
    let first = stage.installed(&pinned("v1")).await?;
    let agents = agents(&stage, Some(2))?;
    signal(&agents, nix::sys::signal::Signal::SIGSTOP)?;
    stage.apply(&pinned("v2")).await?;
    stage
        .until("the count is unknown", 60, |status| {
            status.draining.first().is_some_and(|set| ["AgentSilent", "NoReportYet"].contains(&set.reason.as_str()))
        })
        .await?;
    crate::wait::stays("the old set stays", 6, || async {
        let desired = stage.desired(&first).await?;
        Ok(when(desired == 2, || format!("{desired} pods wanted")))
    })
    .await?;
    signal(&agents, nix::sys::signal::Signal::SIGCONT)?;
    stage.gone(&first, 60).await?;
    stage.complete(30).await.map(drop)
}

/// Processes of the drain agent, on one node or on all.
fn agents(stage: &Stage, node: Option<usize>) -> Result<Vec<i32>> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").map_err(io("listing processes"))?.filter_map(std::result::Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let here = |node: usize| {
            let wanted = format!("NODE_NAME={}", stage.world.cluster.node_name(node));
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        let nodes: Vec<usize> = node.map_or_else(|| (1..=stage.world.cluster.nodes()).collect(), |node| vec![node]);
        if words.contains(&b"drain-agent".as_slice()) && nodes.into_iter().any(here) {
            found.push(pid);
        }
    }
    claim!(!found.is_empty(), "no drain agent's process was found");
    Ok(found)
}

fn signal(pids: &[i32], signal: nix::sys::signal::Signal) -> Result {
    for pid in pids {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), signal).map_err(|errno| io("signalling the agent")(errno.into()))?;
    }
    Ok(())
}

/// A node that dies while old pods drain there takes their connections with it; status says NodeLost, and the release ends.
pub async fn node_lost(stage: Arc<Stage>) -> Result {
    let old = on_node(&stage, shop("v1"), 2);
    let first = stage.installed(&old).await?;
    let held = stage.long(1, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&on_node(&stage, shop("v2"), 1)).await?;
    stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    tokio::task::block_in_place(|| stage.world.cluster.kill_node(2))?;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(stage.world.client.clone());
    let target = format!("http://{}/", stage.address("shop", 80).await?);
    let users = crate::traffic::Load::start(&stage.world, 1, &["run", "--target", &target, "--rate", "25", "--keepalive", "0"])?;
    // As a cloud's node controller does with a machine that is gone.
    nodes.delete(&stage.world.cluster.node_name(2), &DeleteParams::default()).await?;
    stage.gone(&first, 90).await?;
    users.more(20).await?;
    users.stop_clean()?;
    held.stop()?;
    Ok(())
}

/// A change of leader in the middle of a release is not noticed, and takes no longer than a moment.
pub async fn leader_change(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "4")).await?;
    stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let before = leader(&stage).await?;
    let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    pods.delete(&before, &DeleteParams::default()).await?;
    let begun = tokio::time::Instant::now();
    wait_for("another leader", 30, || async {
        let now = leader(&stage).await?;
        Ok(when(now != before && !now.is_empty(), || now))
    })
    .await?;
    stage.notes.say(format!("another leader after {:.1} s", begun.elapsed().as_secs_f64()));
    stage.complete(90).await?;
    users.more(20).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v2"), "nothing was released");
    Ok(())
}

async fn leader(stage: &Stage) -> Result<String> {
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    Ok(leases.get(RELEASE).await?.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
}

/// The API server is away for a while in the middle of a release: nothing is decided meanwhile, and it goes on afterwards.
pub async fn api_server_away(stage: Arc<Stage>) -> Result {
    stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_READY_AFTER", "3")).await?;
    stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?;
    let cluster = &stage.world.cluster;
    tokio::task::block_in_place(|| cluster.stop(Component::KubeApiserver, 1, Signal::SIGKILL))?;
    users.more(75).await?;
    tokio::task::block_in_place(|| cluster.start(Component::KubeApiserver, 1))?;
    wait_for("the API server is back", 60, || async { Ok(when(stage.shop().await.is_ok(), || "no answer".into())) }).await?;
    stage.complete(120).await?;
    users.more(20).await?;
    let summary = users.stop_clean()?;
    claim!(summary.versions.contains_key("v2"), "nothing was released");
    Ok(())
}

/// A controller outside the cluster, behind the proxy that may kill it.
struct Controller {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Controller {
    fn start(stage: &Stage, kill_after: u64) -> Result<Self> {
        let me = std::env::current_exe().map_err(io("finding this program"))?;
        let operator = beside("bluegreen")?;
        let cluster = &stage.world.cluster;
        let kubeconfig = cluster.kubeconfig();
        let number = kill_after.to_string();
        let agent = format!("{RELEASE}-agent");
        let words: Vec<&std::ffi::OsStr> = vec![
            me.as_os_str(),
            "proxy".as_ref(),
            "--kill-after".as_ref(),
            number.as_ref(),
            "--kubeconfig".as_ref(),
            kubeconfig.as_os_str(),
            "--server".as_ref(),
            "https://198.19.0.1:443".as_ref(),
            "--".as_ref(),
            operator.as_os_str(),
            "controller".as_ref(),
            "--namespace".as_ref(),
            SYSTEM.as_ref(),
            "--identity".as_ref(),
            "outside".as_ref(),
            "--agent".as_ref(),
            agent.as_ref(),
            "--health-address".as_ref(),
            "127.0.0.1:0".as_ref(),
        ];
        let mut command = cluster.command_in_node(1, words)?;
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(io("starting the proxy"))?;
        let lines = Arc::new(Mutex::new(vec![]));
        if let Some(output) = process.stdout.take() {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            });
        }
        Ok(Self { process, lines })
    }

    /// What it was killed after, if it was.
    fn killed(&self) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // The proxy kills its child when its input ends.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A controller that is killed right after its k-th write was stored, for every k of a release: the next one ends the release, and nobody notices.
pub async fn killed_after_every_write(stage: Arc<Stage>) -> Result {
    stage.world.kubectl(&["scale", "-n", SYSTEM, &format!("deployment/{RELEASE}"), "--replicas=0"])?;
    let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    wait_for("the controller's pods are gone", 40, || async {
        let left: Vec<String> = pods
            .list(&ListParams::default().labels("app.kubernetes.io/component=controller"))
            .await?
            .items
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        Ok(when(left.is_empty(), || format!("{left:?}")))
    })
    .await?;
    let quick = |version: String| {
        shop(&version).spec("/replicas", 1).spec("/traffic/quietSeconds", 1).spec("/drain/minimumSeconds", 0).spec("/revisionHistoryLimit", 2).told()
    };
    let controller = Controller::start(&stage, 0)?;
    stage.installed(&quick("v0".into())).await?;
    let users = stage.users_of("shop", &["--rate", "20", "--keepalive", "2"]).await?;
    drop(controller);
    let mut writes = vec![];
    for k in 1_u64..=60 {
        let controller = Controller::start(&stage, k)?;
        let manifest = quick(format!("v{k}"));
        stage.apply(&manifest).await?;
        let killed = wait_for(format!("write {k} or the end of the release"), 60, || async {
            if let Some(line) = controller.killed() {
                return Ok(crate::wait::Look::Done(Some(line)));
            }
            let object = stage.shop().await?;
            let status = object.status.unwrap_or_default();
            let over = status.phase == Some(PhaseName::Complete) && status.observed_generation == object.metadata.generation.unwrap_or_default();
            Ok(if over { crate::wait::Look::Done(None) } else { crate::wait::Look::NotYet(format!("{:?}", status.phase)) })
        })
        .await?;
        drop(controller);
        let Some(line) = killed else {
            stage.notes.say(format!("killed after each of {} writes", writes.len()));
            let summary = users.stop_clean()?;
            stage.notes.say(format!("{} requests, 0 failed", summary.ok));
            return Ok(());
        };
        writes.push(line);
        let controller = Controller::start(&stage, 0)?;
        let status = stage.complete(60).await.map_err(|error| Failure::Claim(format!("after being {:?}: {error}", writes.last())))?;
        let now = revision(&status)?;
        claim!(stage.selected("shop").await? == now, "after being {:?} the Service does not select {now}", writes.last());
        let failures = users.failures();
        claim!(failures.is_empty(), "after being {:?}: {:?}", writes.last(), failures.first());
        drop(controller);
    }
    Err(Failure::Claim(format!("a release takes more than 60 writes: {writes:?}")))
}
