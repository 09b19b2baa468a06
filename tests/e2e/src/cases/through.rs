//! Probes that the API server passes on to pods.

use std::sync::Arc;
use std::time::Instant;

use bluegreen::api::PhaseName;
use serde_json::{Value, json};

use crate::claim;
use crate::failure::Result;
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};

use super::exec::given_up;
use super::warm_up::counted;

/// That the shared cluster's operator may do that, as a value of its chart.
pub const ALLOWED: &str = "allowProxy=true";

fn tested(version: &str, more: &[(&str, Value)]) -> Manifest {
    let expect = json!({"status": [200], "headers": [{"name": "X-Version", "value": version}], "jsonPointer": [{"path": "/app", "value": "shop"}]});
    let mut get = json!({"path": "/?a=../b&path=/readyz", "port": "http", "expect": expect});
    if let Some(fields) = get.as_object_mut() {
        fields.extend(more.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
    }
    let probe = |kind: &str, action: Value| json!({"name": kind, kind: action, "through": "ApiServer", "successThreshold": 2, "failureThreshold": 2, "timeoutSeconds": 2});
    let post = json!({"path": "/upload", "port": 8080, "body": "{\"item\":1}", "expect": {"jsonPointer": [{"path": "/bytes", "value": "10"}]}});
    shop(version).spec("/smokeProbes", json!([probe("httpGet", get), probe("httpPost", post)]))
}

/// Good and bad answers decide as those of direct probes do, and so do a port where nothing listens, one that does not speak TLS and a pod that does
/// not answer; none of these requests comes from the controller itself, and no path leads out of the pod.
pub async fn probes_through_the_api_server(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&tested("v1", &[])).await?;
    let users = stage.users().await?;
    stage.apply(&tested("v2", &[]).env("APP_FAIL", "home")).await?;
    let asked = "GET /?a=../b&path=/readyz on port 8080 through the API server";
    given_up(&stage, &format!("{asked}: answered 500, expected 200")).await?;
    stage.apply(&tested("v3", &[("port", json!(7777))])).await?;
    given_up(&stage, "on port 7777 through the API server: connection refused; nothing listens on that port of the pod's address").await?;
    stage.apply(&tested("v4", &[("scheme", json!("HTTPS"))])).await?;
    given_up(&stage, "TLS handshake failed: the API server and the pod did not agree; does the port speak TLS?").await?;
    stage.apply(&tested("v5", &[("path", json!("/slow?ms=60000"))])).await?;
    given_up(&stage, "GET /slow?ms=60000 on port 8080 through the API server: no answer of the pod within 2s").await?;
    stage.apply(&tested("v6", &[("path", json!("/%2e%2e/%2e%2e/%2e%2e/x"))])).await?;
    stage.told("spec.smokeProbes[0].httpGet.path: the path can't go through the API server: it has . or .. between slashes", 60).await?;
    claim!(stage.selected("shop").await? == first, "the traffic moved");
    stage.apply(&tested("v7", &[]).spec("/promotion/mode", "Manual")).await?;
    let status = stage.until("the probes have passed", 60, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
    let mut counts = vec![];
    for pod in stage.pods(&revision(&status)?).await? {
        let (all, passed_on) = (counted(&stage, &pod, "app_requests_total")?, counted(&stage, &pod, "app_requests_passed_on_total")?);
        claim!(all >= 2 && all == passed_on, "of {all} requests {passed_on} came through the API server");
        counts.push(all);
    }
    claim!(counts.len() == 2, "there are {} pods", counts.len());
    stage.apply(&tested("v7", &[])).await?;
    let begun = Instant::now();
    users.only("v7", 30).await?;
    // The API server keeps its connections to the old pods for 90 s after their last probe, in case that it needs them again.
    stage.complete(150).await?;
    let drained = begun.elapsed().as_secs_f64();
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{counts:?} requests to the new pods, all through the API server, whose connections held the old ones for {drained:.0} s; {} requests of users, 0 failed", summary.ok));
    Ok(())
}
