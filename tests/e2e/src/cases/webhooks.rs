//! Probes by somebody else's word.

use std::sync::Arc;

use bluegreen::api::PhaseName;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::Api;
use serde_json::{Value, json};

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{APP_IMAGE, Manifest, shop};
use crate::stage::{Stage, revision};
use crate::wait::{stays, when};
use crate::world::{SYSTEM, WEBHOOK_KEY};

/// Where the shared cluster's operator may ask, as a value of its chart.
pub const ALLOWED: &str = "allowedWebhooks={http://198.19.0.15:8081/judge}";
/// The address of that.
const ADDRESS: &str = "198.19.0.15";

fn judged(version: &str) -> Manifest {
    shop(version).spec("/smokeProbes", probe())
}

fn probe() -> Value {
    json!([{"name": "suite", "webhook": {"url": format!("http://{ADDRESS}:8081/judge")}, "successThreshold": 1, "failureThreshold": 2}])
}

/// The webhook: a pod of the sample app that knows the key.
async fn judge(stage: &Stage) -> Result<Pod> {
    let secrets: Api<Secret> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    let key = secrets.get(WEBHOOK_KEY).await?.data.and_then(|mut data| data.remove("key")).unwrap_or_default();
    let key = String::from_utf8(key.0).map_err(|error| Failure::Claim(error.to_string()))?;
    stage
        .create::<Pod>(json!({
            "metadata": {"name": "judge", "labels": {"app": "judge"}},
            "spec": {"containers": [{"name": "app", "image": APP_IMAGE, "imagePullPolicy": "Never",
                "env": [{"name": "APP_WEBHOOK_KEY", "value": key}],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}}]},
        }))
        .await?;
    let ports = json!([{"port": 8081, "targetPort": 8081}]);
    stage
        .create::<Service>(json!({"metadata": {"name": "judge"}, "spec": {"clusterIP": ADDRESS, "selector": {"app": "judge"}, "ports": ports}}))
        .await?;
    // The operator may be on any node, and each node's proxy follows on its own.
    for node in [1, 2] {
        stage.reachable(node, &format!("{ADDRESS}:8081")).await?;
    }
    Ok(stage.api::<Pod>().get("judge").await?)
}

/// Without a verdict nothing moves; a good one lets the traffic go, a bad one gives the revision up, and a bad one in a bake takes it back. The
/// webhook takes signed requests only, and is told which revision they are about.
pub async fn webhooks_decide(stage: Arc<Stage>) -> Result {
    let judge = judge(&stage).await?;
    let first = stage.installed(&shop("v1")).await?;
    let users = stage.users().await?;
    stage.tell(&judge, "/verdict?status=202")?;
    stage.apply(&judged("v2")).await?;
    stage.told("answered 202, which is no verdict yet", 60).await?;
    stays("it waits for a verdict", 4, || async {
        let status = stage.shop().await?.status.unwrap_or_default();
        Ok(when(status.phase == Some(PhaseName::Smoke) && status.rejected.is_none(), || format!("{:?}: {:?}", status.phase, status.rejected)))
    })
    .await?;
    claim!(stage.selected("shop").await? == first, "the traffic moved without a verdict");
    stage.tell(&judge, "/verdict?status=200")?;
    let second = revision(&stage.complete(60).await?)?;
    let mut asked: Value = serde_json::from_str(&stage.ask(&judge, "/judge")?).map_err(|error| Failure::Claim(error.to_string()))?;
    let since = asked.as_object_mut().and_then(|asked| asked.remove("since"));
    claim!(since.as_ref().is_some_and(Value::is_string), "it is not told since when: {since:?}");
    let about = json!({
        "probe": "suite", "name": "shop", "namespace": stage.namespace, "revision": second, "from": first, "color": "green",
        "images": APP_IMAGE, "release": 2, "serves": false,
    });
    claim!(asked == about, "the webhook was told {asked}");

    stage.tell(&judge, "/verdict?status=409")?;
    stage.apply(&judged("v3")).await?;
    let status = stage.until("v3 is given up", 60, |status| status.rejected.is_some()).await?;
    let why = status.rejected.map(|rejected| rejected.message).unwrap_or_default();
    claim!(why.contains(&format!("the webhook at {ADDRESS}:8081: answered 409, expected 200 to 299")), "it was given up since {why}");
    claim!(stage.selected("shop").await? == second, "the traffic moved");

    stage.tell(&judge, "/verdict?status=200")?;
    stage.apply(&judged("v4").spec("/bake", json!({"seconds": 120, "probes": probe()}))).await?;
    stage.until("v4 bakes", 60, |status| status.phase == Some(PhaseName::Bake)).await?;
    stage.tell(&judge, "/verdict?status=500")?;
    stage.serves(&second, 30).await?;
    users.only("v2", 20).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));
    Ok(())
}
