//! Drain agents that are not there, not everywhere, or silent: what is not measured is never taken for zero.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use bluegreen::api::{ConditionStatus, ConditionType, DrainSource, PhaseName};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::shop;
use crate::sockets::process_of;
use crate::stage::{Stage, because, pod_ip};
use crate::traffic::Load;
use crate::wait::{stays, wait_for, when};
use crate::world::{RELEASE, SYSTEM, processes};

/// The old set stays whole for some seconds.
async fn stays_whole(stage: &Stage, first: &str, seconds: u64) -> Result {
    stays("the old set stays", seconds, || async {
        let desired = stage.desired(first).await?;
        Ok(when(desired == 2, || format!("{desired} pods wanted")))
    })
    .await
}

/// Without an agent on the node nothing is measured; status says so, and the timer decides.
pub async fn agent_missing(stage: Arc<Stage>) -> Result {
    let short = |version: &str| shop(version).spec("/drain/fallbackSeconds", 6);
    stage.installed(&short("v1")).await?;
    let users = stage.users().await?;
    stage.apply(&short("v2")).await?;
    stage
        .until("it drains unmeasured", 60, |status| {
            status.draining.first().is_some_and(|set| set.reason == "AgentDisabled")
                && because(status, ConditionType::Converged, ConditionStatus::Unknown, "AgentDisabled")
                && because(status, ConditionType::Ready, ConditionStatus::True, "Serving")
        })
        .await?;
    stage.complete(60).await?;
    users.stop_clean()?;
    Ok(())
}

/// Where sockets can't be seen from outside, as in a sandbox, status says so, and the timer decides.
pub async fn drain_unmeasurable(stage: Arc<Stage>) -> Result {
    let classes: Api<RuntimeClass> = Api::all(stage.world.client.clone());
    let class = json!({"metadata": {"name": stage.namespace}, "handler": "runc"});
    classes.create(&PostParams::default(), &serde_json::from_value(class)?).await?;
    let sandboxed = shop("v1").spec("/template/spec/runtimeClassName", stage.namespace.as_str()).spec("/drain/fallbackSeconds", 6);
    let first = stage.installed(&sandboxed).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").spec("/drain/fallbackSeconds", 6)).await?;
    stage
        .until("it drains by the timer", 60, |status| {
            status
                .draining
                .first()
                .is_some_and(|set| set.reason == "SandboxedRuntime" && set.source == DrainSource::Timer && set.open_connections.is_none())
                && because(status, ConditionType::Converged, ConditionStatus::Unknown, "SandboxedRuntime")
        })
        .await?;
    stays_whole(&stage, &first, 2).await?;
    stage.complete(60).await?;
    stage.gone(&first, 20).await?;
    users.stop_clean()?;
    Ok(())
}

/// The agent reads sockets, and nothing else of other people's processes: it has no capability, and no other pod runs as its user.
pub async fn agent_reads_no_environment(stage: Arc<Stage>) -> Result {
    const NOBODY: u32 = 65534;
    let nobody = json!({"runAsUser": NOBODY, "runAsGroup": NOBODY});
    let manifest = shop("v1").env("PASSWORD", "of-the-app").spec("/template/spec/securityContext", nobody).on_node(stage.world.cluster.node_name(1));
    let first = stage.installed(&manifest).await?;
    let pods = stage.pods(&first).await?;
    let pod = pods.first().ok_or_else(|| Failure::Claim("no pod".into()))?;
    let app = process_of(&pod.name_any())?;
    let (environment, sockets) = (format!("/proc/{app}/environ"), format!("/proc/{app}/net/tcp"));
    let shows = |user, path: &str, text: &str| Ok::<bool, Failure>(read_as(user, path)?.is_some_and(|read| read.contains(text)));
    claim!(shows((NOBODY, NOBODY), &environment, "PASSWORD=of-the-app")?, "another process of the same user should read it, or this shows nothing");
    for agent in agents(&stage, 1)? {
        let path = format!("/proc/{agent}/status");
        let status = std::fs::read_to_string(&path).map_err(io(format!("reading {path}")))?;
        let field = |name: &str| {
            let values = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
            values.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            claim!(field(capabilities) == ["0000000000000000"], "the agent has {capabilities} {:?}", field(capabilities));
        }
        claim!(field("NoNewPrivs") == ["1"], "the agent may gain privileges");
        let user = |name: &str| field(name).first().and_then(|id| id.parse::<u32>().ok()).ok_or_else(|| Failure::Claim(format!("no {name}")));
        let user = (user("Uid")?, user("Gid")?);
        claim!(user.0 != NOBODY && user.0 != 0, "the agent is user {}", user.0);
        claim!(shows(user, &sockets, "local_address")?, "the agent's user can't read sockets: it is another case than the agent's");
        claim!(read_as(user, &environment)?.is_none(), "the agent's user reads the environment of a pod");
    }
    Ok(())
}

/// What a user without rights reads from a file; `None` if he may not.
fn read_as((uid, gid): (u32, u32), path: &str) -> Result<Option<String>> {
    let output = Command::new("cat").arg(path).uid(uid).gid(gid).output().map_err(io("running cat"))?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The DaemonSet does not want one of the nodes: there the timer decides, and elsewhere connections are counted all the same.
pub async fn agent_not_wanted(stage: Arc<Stage>) -> Result {
    let nodes: Api<Node> = Api::all(stage.world.client.clone());
    let label = json!({"metadata": {"labels": {"drain": "here"}}});
    nodes.patch(&stage.world.cluster.node_name(1), &PatchParams::default(), &Patch::Merge(&label)).await?;
    let daemons: Api<DaemonSet> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    wait_for("one agent is ready", 40, || async {
        let status = daemons.get(&format!("{RELEASE}-agent")).await?.status.unwrap_or_default();
        Ok(when(status.desired_number_scheduled == 1 && status.number_ready == 1, || format!("{status:?}")))
    })
    .await?;
    let one_a_node = |version: &str| shop(version).one_a_node().spec("/drain/fallbackSeconds", 6);
    let first = stage.installed(&one_a_node("v1")).await?;
    let measured = stage.world.cluster.node_name(1);
    let pods = stage.pods(&first).await?;
    let there = |pod: &&k8s_openapi::api::core::v1::Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(measured.as_str());
    let pod = pods.iter().find(there).filter(|_| pods.iter().filter(there).count() == 1);
    let pod = pod.ok_or_else(|| Failure::Claim("the pods are not one on each node".into()))?;
    let echo = Load::start(&stage.world, 2, &["echo", "--target", &format!("tcp://{}:9000", pod_ip(pod))])?;
    echo.open()?;
    stage.apply(&one_a_node("v2")).await?;
    stage
        .until("one pod is counted and the other is not", 60, |status| {
            status.draining.first().is_some_and(|set| {
                set.open_connections == Some(1) && set.reason == "OpenConnections" && set.source == DrainSource::Timer && set.pods == 2
            }) && because(status, ConditionType::Converged, ConditionStatus::Unknown, "NoAgentOnNode")
        })
        .await?;
    stage.until("the timer is over for the other", 20, |status| status.draining.first().is_some_and(|set| set.drained_pods == 1)).await?;
    stays_whole(&stage, &first, 3).await?;
    echo.stop_clean()?;
    stage.gone(&first, 20).await?;
    stage.complete(30).await.map(drop)
}

/// An agent that falls silent makes the count unknown, never zero: the old pods stay until it speaks again.
pub async fn agent_silent(stage: Arc<Stage>) -> Result {
    let pinned = |version: &str| shop(version).on_node(stage.world.cluster.node_name(2)).spec("/traffic/convergenceTimeoutSeconds", 5);
    let first = stage.installed(&pinned("v1")).await?;
    let echo = stage.long(1, &["echo", "--target", "tcp://{echo}"]).await?;
    echo.open()?;
    stage.apply(&pinned("v2")).await?;
    stage
        .until("the echo is counted", 60, |status| {
            status.phase == Some(PhaseName::Drain) && status.draining.first().is_some_and(|set| set.open_connections == Some(1))
        })
        .await?;
    // Not for long: its liveness probe would have it replaced.
    let stopped = Stopped::new(agents(&stage, 2)?)?;
    // Now it would count zero, and nobody hears it.
    echo.stop_clean()?;
    stage.until("the count is unknown", 20, |status| status.draining.first().is_some_and(|set| set.reason == "AgentSilent")).await?;
    stays_whole(&stage, &first, 5).await?;
    drop(stopped);
    stage.gone(&first, 60).await?;
    stage.complete(30).await.map(drop)
}

/// Processes of the drain agent on a node.
fn agents(stage: &Stage, node: usize) -> Result<Vec<i32>> {
    processes("drain-agent", &format!("NODE_NAME={}", stage.world.cluster.node_name(node)))
}

/// Processes that are stopped until this is dropped.
struct Stopped(Vec<i32>);

impl Stopped {
    fn new(pids: Vec<i32>) -> Result<Self> {
        for pid in &pids {
            kill(Pid::from_raw(*pid), Signal::SIGSTOP).map_err(|errno| io("stopping the agent")(errno.into()))?;
        }
        Ok(Self(pids))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            // One that the kubelet has replaced meanwhile needs nothing any more.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGCONT);
        }
    }
}
