//! An applier, as GitOps tools have one, that forces its own selector on the Service every second, through a whole release.

use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::{ConditionStatus, ConditionType};
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, condition, revision};
use crate::wait::{wait_for, when};

/// The applier's field manager.
const APPLIER: &str = "applier";

/// Pods that the applier put behind the Service, and the operator takes away: they end a moment after nodes were told.
fn version(version: &str) -> Manifest {
    shop(version).container("/lifecycle/preStop/sleep/seconds", 3)
}

/// It begins with the release, and ends when the operator has given in; then the release goes on.
pub async fn forced(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&version("v1")).await?;
    let users = stage.users_from(1, "shop", &["--rate", "25", "--keepalive", "0"]).await?;
    stage.apply(&version("v2").spec("/smokeProbes/0/successThreshold", 30)).await?;
    let second = revision(&stage.until("v2 is brought up", 30, |status| status.inactive.is_some()).await?)?;
    let applier = tokio::spawn({
        let stage = stage.clone();
        async move {
            let ports = json!([{"name": "http", "port": 80, "targetPort": "http"}, {"name": "echo", "port": 9000, "targetPort": "echo"}]);
            let service =
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": ports, "selector": {"app": "shop"}}});
            loop {
                if let Err(error) = stage.apply_as(APPLIER, service.clone(), true).await {
                    return error;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });
    let outcome = fought(&stage, &first, &second).await;
    applier.abort();
    if let Ok(error) = applier.await {
        return Err(error);
    }
    outcome?;
    // Nobody tells the operator that the fight is over: for five minutes nothing must have happened.
    stage.complete(420).await?;
    users.only("v2", 20).await?;
    let moved = stage.shop().await?.status.and_then(|status| status.switch).map(|switch| switch.started_at.as_millisecond());
    let moved = moved.and_then(|moved| u64::try_from(moved).ok()).ok_or_else(|| Failure::Claim("no move is on record".into()))?;
    let early = users.answers("v2", 0, moved);
    let repairs = stage.events("SelectorRepaired").await?.len();
    claim!((1..=10).contains(&repairs), "{repairs} Events told of it");
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed; {early} answers of v2 before the switch; {repairs} Events; Contended", summary.ok));
    Ok(())
}

/// The operator puts the selector back, more and more rarely, says who fights, and takes the untested pods away.
async fn fought(stage: &Stage, first: &str, second: &str) -> Result {
    stage.said("SelectorRepaired", &format!("field manager \"{APPLIER}\""), 30).await?;
    wait_for("it is said who fights", 90, || async {
        let status = stage.shop().await?.status.unwrap_or_default();
        let stalled = condition(&status, ConditionType::Stalled).cloned();
        let said = stalled.as_ref().is_some_and(|stalled| {
            stalled.status == ConditionStatus::True && stalled.reason == "Contended" && stalled.message.contains(&format!("\"{APPLIER}\""))
        });
        Ok(when(said, || format!("{stalled:?}")))
    })
    .await?;
    stage.gone(second, 30).await?;
    claim!(stage.desired(first).await? == 2, "the pods that serve went, too");
    Ok(())
}
