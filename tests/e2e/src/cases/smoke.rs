//! Smoke probes: what they let through, and what they don't.

use std::sync::Arc;

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName, ProbeResult};
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::stage::{Stage, because, revision};

/// A revision that fails its smoke probes never gets traffic; status names probe, pod and answer; its pods stay for a look.
pub async fn failed_smoke(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1").spec("/onFailure/keepSeconds", 8)).await?;
    let users = stage.users().await?;
    stage.apply(&shop("v2").env("APP_FAIL", "home").spec("/onFailure/keepSeconds", 8)).await?;
    let message = stage.stalled("SmokeFailed", 60).await?;
    let status = stage.until("the phase is Rejected", 5, |status| status.phase == Some(PhaseName::Rejected)).await?;
    let second = revision(&status)?;
    let rejected = status.rejected.as_ref().map(|rejected| rejected.at).ok_or_else(|| Failure::Claim("status.rejected is empty".into()))?;
    let pods = stage.pods(&second).await?;
    let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    let named = names.iter().find(|name| message.contains(**name));
    claim!(named.is_some(), "the message names none of {names:?}: {message}");
    let expected = format!("smoke probe \"home\" on {} failed 3 times: ", named.copied().unwrap_or_default());
    claim!(message.starts_with(&expected) && message.contains("500"), "the message is {message:?}");
    claim!(because(&status, ConditionType::SmokeTested, ConditionStatus::False, "SmokeFailed"), "SmokeTested: {status:?}");
    claim!(because(&status, ConditionType::Ready, ConditionStatus::False, "SmokeFailed"), "Ready: {status:?}");
    let row = status.smoke_probes.first();
    claim!(row.is_some_and(|row| row.result == ProbeResult::Failed && row.name == "home" && row.attempts >= 3), "smokeProbes begin with {row:?}");
    claim!(stage.desired(&second).await? > 0, "the pods were not kept for a look");
    stage.gone(&second, 30).await?;
    let kept = jiff::Timestamp::now().duration_since(rejected).as_secs_f64();
    stage.notes.say(format!("rejected pods went {kept:.1} s after the verdict, keepSeconds 8"));
    claim!(kept > 7.0, "the pods went too early");
    claim!(stage.selected("shop").await? == first, "the Service was touched");
    let summary = users.stop_clean()?;
    claim!(!summary.versions.contains_key("v2"), "users saw the rejected version");
    Ok(())
}

/// Probes of all kinds run on every pod; a gRPC health service that says NOT_SERVING fails a revision that looks well otherwise.
pub async fn probes_of_all_kinds(stage: Arc<Stage>) -> Result {
    let probed = |version: &str| {
        shop(version)
            .spec("/smokeProbes/1", json!({"name": "port", "tcpSocket": {"port": "echo"}, "successThreshold": 2}))
            .spec("/smokeProbes/2", json!({"name": "health", "grpc": {"port": "grpc", "service": "app"}, "successThreshold": 2}))
    };
    stage.service("shop").await?;
    stage.apply(&probed("v1").spec("/promotion/mode", "Manual")).await?;
    let status = stage.until("all probes have passed", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let first = revision(&status)?;
    for pod in stage.pods(&first).await? {
        let pod = pod.metadata.name.unwrap_or_default();
        let rows = status.smoke_probes.iter().filter(|row| row.target == pod && row.result == ProbeResult::Passed && row.attempts >= 2);
        let mut passed: Vec<&str> = rows.map(|row| row.name.as_str()).collect();
        passed.sort_unstable();
        claim!(passed == ["health", "home", "port"], "pod {pod} passed {passed:?}: {:?}", status.smoke_probes);
    }
    stage.apply(&probed("v1")).await?;
    stage.complete(30).await?;
    stage.apply(&probed("v2").env("APP_FAIL", "grpc")).await?;
    let message = stage.stalled("SmokeFailed", 60).await?;
    let expected = "failed 3 times: gRPC health check of \"app\" on port 9090: answered NOT_SERVING, expected SERVING";
    claim!(message.starts_with("smoke probe \"health\" on shop-") && message.ends_with(expected), "the message is {message:?}");
    claim!(stage.selected("shop").await? == first, "the Service was touched");
    Ok(())
}

/// Headers, values in JSON and the answer to a POST decide: a wrong value rejects the revision with a sentence that names it, the right ones pass.
pub async fn probes_look_into_answers(stage: Arc<Stage>) -> Result {
    let probed = |version: &str, wanted: &str| {
        let expect = json!({"status": [200], "headers": [{"name": "X-Version", "value": version}, {"name": "x-pod"}],
            "jsonPointer": [{"path": "/app", "value": "shop"}, {"path": "/version", "value": wanted}], "maxLatencyMillis": 5000});
        // The app answers how many bytes it got.
        let order = json!({"path": "/upload", "port": "http", "body": "{\"item\":1}",
            "expect": {"jsonPointer": [{"path": "/bytes", "value": "10"}, {"path": "/version", "value": version}]}});
        shop(version)
            .spec("/smokeProbes/0/httpGet/expect", expect)
            .spec("/smokeProbes/1", json!({"name": "order", "httpPost": order, "successThreshold": 2}))
    };
    let first = stage.installed(&probed("v1", "v1")).await?;
    stage.apply(&probed("v2", "v1")).await?;
    let message = stage.stalled("SmokeFailed", 60).await?;
    let expected = "failed 3 times: GET / on port 8080: answered 200, but its JSON has another text at \"/version\", expected \"v1\"";
    claim!(message.starts_with("smoke probe \"home\" on shop-") && message.ends_with(expected), "the message is {message:?}");
    claim!(stage.selected("shop").await? == first, "the Service was touched");
    stage.apply(&probed("v3", "v3")).await?;
    let status = stage.complete(60).await?;
    let third = revision(&status)?;
    claim!(third != first && stage.selected("shop").await? == third, "the right one was not let through: {status:?}");
    Ok(())
}
