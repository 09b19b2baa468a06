//! Reads that fail at the moment when something depends on them.

use std::sync::Arc;

use bluegreen::api::PhaseName;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::claim;
use crate::failure::Result;
use crate::manifest::shop;
use crate::stage::Stage;
use crate::wait::{stays, when};
use crate::world::{RELEASE, SYSTEM};

/// Old pods are to go, and whether a Service still leads to them can't be read: nothing is scaled down, no selector is touched, and status
/// tells why. When it can be read again, they go.
pub async fn reads_refused(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    stage.apply(&shop("v2")).await?;
    stage.until("the old set drains", 60, |status| status.phase == Some(PhaseName::Drain)).await?;
    let version = || async { Ok::<_, crate::failure::Failure>(stage.api::<Service>().get("shop").await?.resource_version()) };
    let before = version().await?;
    let roles: Api<ClusterRole> = Api::all(stage.world.client.clone());
    let name = format!("{RELEASE}.{SYSTEM}");
    let whole = roles.get(&name).await?.rules.unwrap_or_default();
    let mut less = whole.clone();
    less.iter_mut().for_each(|rule| rule.verbs.retain(|verb| verb != "get"));
    let write = async |rules: &[PolicyRule]| roles.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"rules": rules}))).await;
    write(&less).await?;
    held.stop_clean()?;
    let told = stage.told("cannot get resource \"services\"", 40).await?;
    stage.notes.say(format!("status: {told}"));
    stays("the old pods stay, and the Service is not written", 5, || async {
        let (desired, now) = (stage.desired(&first).await?, version().await?);
        Ok(when(desired == 2 && now == before, || format!("{desired} pods wanted, the Service is at version {now:?} after {before:?}")))
    })
    .await?;
    write(&whole).await?;
    stage.gone(&first, 60).await?;
    stage.complete(30).await?;
    claim!(version().await? == before, "the Service was written");
    users.only("v2", 15).await?;
    users.stop_clean().map(drop)
}
