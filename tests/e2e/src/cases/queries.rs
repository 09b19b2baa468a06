//! Probes by Prometheus queries. The sample app answers in its place.

use std::sync::Arc;

use bluegreen::api::PhaseName;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::claim;
use crate::failure::Result;
use crate::manifest::{APP_IMAGE, shop};
use crate::stage::{Stage, pod_ip, revision};
use crate::world::SYSTEM;

/// The address of the Service that is asked: of the part of the range that is not given out by itself (KEP-3070).
const ADDRESS: &str = "198.19.0.14";
/// A name for it, in the operator's own namespace, as those of cases are not known before.
const NAME: &str = "metrics.bluegreen-system.svc";
/// Where the shared cluster's operator may ask, as a value of its chart.
pub const ALLOWED: &str = "allowedUrls={http://198.19.0.14:9090,http://metrics.bluegreen-system.svc:9090}";

fn query(query: &str, bounds: &Value) -> Value {
    query_to(ADDRESS, query, bounds)
}

fn query_to(host: &str, query: &str, bounds: &Value) -> Value {
    let mut asked = json!({"url": format!("http://{host}:9090"), "query": query});
    if let (Some(asked), Some(bounds)) = (asked.as_object_mut(), bounds.as_object()) {
        asked.extend(bounds.clone());
    }
    json!([{"name": "errors", "prometheus": asked, "failureThreshold": 2, "successThreshold": 2}])
}

/// Waits until an address can be reached from every node: the operator may be on any, and each node's proxy follows on its own.
async fn reachable(stage: &Stage, address: &str) -> Result {
    for node in [1, 2] {
        stage.reachable(node, &format!("{address}:9090")).await?;
    }
    Ok(())
}

/// A query keeps a revision from the traffic, and takes the traffic back from one that has it.
pub async fn queries_decide(stage: Arc<Stage>) -> Result {
    stage
        .create::<Pod>(json!({
            "metadata": {"name": "metrics", "labels": {"app": "metrics"}},
            "spec": {"containers": [{"name": "app", "image": APP_IMAGE, "imagePullPolicy": "Never",
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}}]},
        }))
        .await?;
    stage
        .create::<Service>(json!({
            "metadata": {"name": "metrics"},
            "spec": {"clusterIP": ADDRESS, "selector": {"app": "metrics"}, "ports": [{"port": 9090, "targetPort": 8080}]},
        }))
        .await?;
    reachable(&stage, ADDRESS).await?;
    // Without a number there is no verdict.
    let first = shop("v1").spec("/smokeProbes", query("nothing", &json!({"atMost": "0.1"})));
    stage.service("shop").await?;
    stage.apply(&first).await?;
    stage.told("answered no data yet", 60).await?;
    claim!(stage.shop().await?.status.is_some_and(|status| status.phase == Some(PhaseName::Smoke)), "it is past its tests");
    // By a name, which the operator has to look up.
    let pod = stage.api::<Pod>().get("metrics").await?;
    let system: Api<Service> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    let service = json!({"metadata": {"name": "metrics"}, "spec": {"ports": [{"port": 9090, "targetPort": 8080}]}});
    let made = system.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    let slices: Api<EndpointSlice> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    let slice = json!({
        "metadata": {"name": "metrics", "labels": {"kubernetes.io/service-name": "metrics"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [pod_ip(&pod)], "conditions": {"ready": true}}], "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
    });
    slices.create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
    reachable(&stage, &made.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default()).await?;
    stage.apply(&first.spec("/smokeProbes", query_to(NAME, "0.05 {{revision}}", &json!({"atMost": "0.1"})))).await?;
    let first = revision(&stage.complete(60).await?)?;
    let users = stage.users().await?;

    stage.apply(&shop("v2").spec("/smokeProbes", query("0.5", &json!({"atMost": "0.1"})))).await?;
    let status = stage.until("v2 is given up", 60, |status| status.rejected.is_some()).await?;
    let why = status.rejected.map(|rejected| rejected.message).unwrap_or_default();
    claim!(why.contains("the query to 198.19.0.14:9090: answered 0.5, expected at most 0.1"), "it was given up since {why}");
    claim!(stage.selected("shop").await? == first, "the traffic moved");

    let third = shop("v3").spec("/smokeProbes", query("3", &json!({"atLeast": "3"})));
    let third = third.spec("/bake", json!({"seconds": 120, "probes": query("home{revision=\"{{revision}}\"}", &json!({"atMost": "0"}))}));
    stage.apply(&third).await?;
    let status = stage.until("v3 bakes", 60, |status| status.phase == Some(PhaseName::Bake)).await?;
    let third = revision(&status)?;
    claim!(stage.selected("shop").await? == third, "v3 has no traffic");
    stage.tell(&stage.api::<Pod>().get("metrics").await?, "/fail?what=home&on=true")?;
    stage.serves(&first, 30).await?;
    let status = stage.until("v3 is given up", 30, |status| status.rejected.is_some()).await?;
    let why = status.rejected.map(|rejected| rejected.message).unwrap_or_default();
    claim!(why.contains("answered 1, expected at most 0"), "it was given up since {why}");
    users.only("v1", 20).await?;
    system.delete("metrics", &DeleteParams::default()).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}
