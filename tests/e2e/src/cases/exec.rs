//! Commands in pods: probes of them, and the word that a pod is being left.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::claim;
use crate::failure::Result;
use crate::manifest::{Manifest, shop};
use crate::stage::Stage;

use super::release::let_go;

/// That the shared cluster's operator may run commands, as a value of its chart.
pub const ALLOWED: &str = "allowExec=true";

fn tested(version: &str, command: &Value) -> Manifest {
    let probe = json!([{"name": "inside", "exec": {"command": command, "container": "app"}, "failureThreshold": 2, "successThreshold": 2}]);
    shop(version).spec("/smokeProbes", probe)
}

/// The exit code of a command in each pod decides; one that is not there, one that does not end and a container that is not there are told for
/// what they are, and the traffic stays.
pub async fn commands_in_pods_decide(stage: Arc<Stage>) -> Result {
    let good = json!(["/app", "--version"]);
    let first = stage.installed(&tested("v1", &good)).await?;
    let status = stage.shop().await?.status.unwrap_or_default();
    let passed: Vec<&str> = status.smoke_probes.iter().filter(|row| row.name == "inside").map(|row| row.target.as_str()).collect();
    claim!(passed.len() == 2, "the command passed on {passed:?}");
    let users = stage.users().await?;
    // The sample app ends with 2 at a word that it does not know.
    stage.apply(&tested("v2", &json!(["/app", "--nonsense"]))).await?;
    given_up(&stage, "/app in container app: ended with exit code 2").await?;
    stage.apply(&tested("v3", &json!(["/nothing"]))).await?;
    given_up(&stage, "/nothing in container app: it could not be started; is that program in the image, and executable?").await?;
    let endless = json!(["/app", "--http-port=0", "--grpc-port=0", "--echo-port=0", "--websocket-port=0", "--admin-port=0"]);
    stage.apply(&tested("v4", &endless).spec("/smokeProbes/0/timeoutSeconds", 2)).await?;
    given_up(&stage, "/app in container app: had not ended after 2s").await?;
    stage.apply(&tested("v5", &good).spec("/smokeProbes/0/exec/container", "proxy")).await?;
    stage.told("spec.smokeProbes[0].exec.container: no container of the template is named \"proxy\"; it has app", 60).await?;
    claim!(stage.selected("shop").await? == first, "the traffic moved");
    stage.apply(&tested("v6", &good)).await?;
    stage.complete(60).await?;
    users.only("v6", 20).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}

/// Waits until a revision is given up for that.
pub async fn given_up(stage: &Stage, why: &str) -> Result {
    let status =
        stage.until(&format!("it is given up: {why}"), 90, |status| status.rejected.as_ref().is_some_and(|row| row.message.contains(why))).await?;
    claim!(status.active.is_some(), "nothing serves");
    Ok(())
}

/// Old pods are told by a signal that a command in them sends: clients that would keep their connections are asked to close them, and nothing
/// waits for the deadline.
pub async fn release_kept_told_by_a_signal(stage: Arc<Stage>) -> Result {
    let exec = json!({"exec": {"command": ["/app", "--signal-drain"], "container": "app"}});
    let told = |version: &str| shop(version).spec("/drain/begin", exec.clone()).spec("/drain/deadlineSeconds", 600);
    let first = stage.installed(&told("v1")).await?;
    let users = stage.users_of("shop", &["--rate", "10", "--keepalive", "8"]).await?;
    stage.apply(&told("v2")).await?;
    stage.until("connections hold v1", 60, |status| status.draining.iter().any(|row| row.open_connections.is_some_and(|open| open > 0))).await?;
    let begun = Instant::now();
    let_go(&stage, &first, users, begun).await
}
