//! What Kubernetes does to everybody while something of it is broken: an ordinary Service with ordinary pods, which no operator touches, under
//! the same load. After an outage of the API server its node controller may give up all nodes for a while, as its own watch of their Leases comes
//! back late; then no Service of the cluster has endpoints.

use k8s_openapi::api::apps::v1::ReplicaSet;
use load::report::Failed;
use serde_json::json;

use super::fault::Fault;
use crate::failure::{Failure, Result};
use crate::manifest::shop;
use crate::stage::Stage;
use crate::traffic::{Load, Notes};
use crate::wait::{wait_for, when};
use crate::world::World;

/// How much later than here something may be noticed elsewhere.
const NEAR_MS: u64 = 3000;

/// The Service that nobody touches, and its users.
pub struct Control {
    stage: Stage,
    users: Load,
}

impl Control {
    /// Starts both. Where a node is killed they are on the other, as those who serve users are.
    pub async fn prepare(world: &World, namespace: String, fault: Fault) -> Result<Self> {
        let stage = Stage::new(world.clone(), namespace, Notes::default()).await?;
        stage.service_with("shop", json!({"selector": {"app": "shop"}})).await?;
        let mut manifest = shop("control");
        if fault == Fault::NodeKilled {
            manifest = manifest.on_node(world.cluster.node_name(1));
        }
        let template = manifest.0.pointer("/spec/template").ok_or_else(|| Failure::Claim("a manifest without a template".into()))?;
        let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "shop"}}, "template": template});
        stage.create::<ReplicaSet>(json!({"metadata": {"name": "shop"}, "spec": spec})).await?;
        wait_for("the pods that nobody touches are ready", 90, || async {
            let ready = stage.api::<ReplicaSet>().get("shop").await?.status.and_then(|status| status.ready_replicas);
            Ok(when(ready == Some(2), || format!("{ready:?} of 2")))
        })
        .await?;
        let users = stage.users_from(1, "shop", &["--rate", "25", "--keepalive", "0"]).await?;
        Ok(Self { stage, users })
    }

    /// Which of these requests failed while, or shortly before or after, requests failed here, too.
    pub fn explains(&self, failed: &Failed) -> bool {
        let begun = failed.at_ms.saturating_sub(failed.after_ms);
        self.users.failures().iter().any(|here| here.at_ms + NEAR_MS >= begun && here.at_ms <= failed.at_ms + NEAR_MS)
    }

    /// Ends both; how many requests failed here.
    pub async fn end(self) -> Result<u64> {
        let summary = self.users.stop()?;
        self.stage.clear().await?;
        Ok(summary.failed)
    }
}
