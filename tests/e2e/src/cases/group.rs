//! BlueGreenDeployments that switch together.

use std::sync::Arc;

use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus, ConditionStatus, ConditionType, PhaseName, Switch};
use serde_json::json;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, is};
use crate::wait::{wait_for, when};

fn member(manifest: Manifest, release: &str) -> Manifest {
    manifest.spec("/promotion/group", json!({"name": "storefront", "release": release})).spec("/replicas", 1)
}

/// Another app beside `shop`, with pods and a Service of its own.
fn cart(version: &str) -> Manifest {
    shop(version)
        .at("/metadata/name", "cart")
        .spec("/selector/matchLabels/app", "cart")
        .spec("/template/metadata/labels/app", "cart")
        .spec("/traffic/services", json!(["cart"]))
}

async fn status(stage: &Stage, name: &str) -> Result<BlueGreenDeploymentStatus> {
    Ok(stage.api::<BlueGreenDeployment>().get(name).await?.status.unwrap_or_default())
}

/// Waits until both have ended a release; the moves that led there, first that of `cart`.
async fn both(stage: &Stage, seconds: u64) -> Result<(Switch, Switch)> {
    for name in ["cart", "shop"] {
        wait_for(format!("the end of the release of {name}"), seconds, || async {
            let object = stage.api::<BlueGreenDeployment>().get(name).await?;
            let status = object.status.unwrap_or_default();
            let current = status.observed_generation == object.metadata.generation.unwrap_or_default();
            let over = current && status.phase == Some(PhaseName::Complete) && is(&status, ConditionType::Ready, ConditionStatus::True);
            Ok(when(over && status.draining.is_empty(), || format!("{:?}: {:?}", status.phase, status.group)))
        })
        .await?;
    }
    let switch = |status: BlueGreenDeploymentStatus| status.switch.ok_or_else(|| Failure::Claim("status.switch is empty".into()));
    Ok((switch(status(stage, "cart").await?)?, switch(status(stage, "shop").await?)?))
}

/// Both moves are of one decision; for how many seconds their Services lay apart.
fn together(cart: &Switch, shop: &Switch) -> Result<f64> {
    let decision = cart.group.as_ref().ok_or_else(|| Failure::Claim(format!("no decision of the group stands in {cart:?}")))?;
    claim!(shop.group.as_ref() == Some(decision) && decision.members.len() == 2, "{cart:?} and {shop:?} are of two decisions");
    let (Some(one), Some(other)) = (cart.completed_at, shop.completed_at) else {
        return Err(Failure::Claim("a move that is over has no end".into()));
    };
    let apart = one.duration_since(other).as_secs_f64().abs();
    claim!(apart < 10.0, "they switched {apart:.1} s apart");
    Ok(apart)
}

/// One member waits for another: for its release, for its tests, and for a person where its tests fail. Then both switch, and nobody notices.
pub async fn group_switches_together(stage: Arc<Stage>) -> Result {
    for service in ["shop", "cart"] {
        stage.service(service).await?;
    }
    stage.apply(&member(shop("v1"), "1")).await?;
    stage.apply(&member(cart("v1"), "1")).await?;
    both(&stage, 90).await?;
    let users =
        [stage.users_of("shop", &["--rate", "15", "--keepalive", "0"]).await?, stage.users_of("cart", &["--rate", "15", "--keepalive", "0"]).await?];
    let old = (stage.selected("cart").await?, stage.selected("shop").await?);

    stage.apply(&member(shop("v2"), "2")).await?;
    stage.told("waits for cart (at release 1)", 60).await?;
    stage.apply(&member(cart("v2"), "2").spec("/smokeProbes/0/successThreshold", 12)).await?;
    stage.told("waits for cart (smoke probes are running)", 60).await?;
    stage.until("it waits", 10, |status| because(status, ConditionType::Reconciling, ConditionStatus::True, "WaitsForGroup")).await?;
    claim!((stage.selected("cart").await?, stage.selected("shop").await?) == old, "a member switched before the other was ready");
    let (cart2, shop2) = both(&stage, 120).await?;
    let apart = together(&cart2, &shop2)?;
    for users in &users {
        users.only("v2", 30).await?;
    }

    stage.apply(&member(shop("v3"), "3")).await?;
    stage.apply(&member(cart("v3").env("APP_FAIL", "home"), "3")).await?;
    stage.told("waits for cart (given up, SmokeFailed", 60).await?;
    claim!(stage.selected("cart").await? == cart2.to && stage.selected("shop").await? == shop2.to, "a member switched although the other failed");
    let page = stage.world.kubectl(&["get", "bgd", "shop", "-n", &stage.namespace])?;
    claim!(page.contains("AwaitPromotion"), "{page}");
    stage.apply(&member(cart("v4"), "3")).await?;
    let (cart3, shop3) = both(&stage, 120).await?;
    let again = together(&cart3, &shop3)?;
    let mut requests = 0;
    for users in users {
        requests += users.stop_clean()?.ok;
    }
    stage.notes.say(format!("the Services moved {apart:.2} s and {again:.2} s apart; {requests} requests, 0 failed"));
    Ok(())
}

/// A member whose bake fails takes the other one back, too, to the very pods that served before, and no user of either is refused.
pub async fn group_goes_back_together(stage: Arc<Stage>) -> Result {
    for service in ["shop", "cart"] {
        stage.service(service).await?;
    }
    let bakes = |manifest: Manifest, release: &str| {
        let probe = json!({"name": "health", "grpc": {"port": "grpc", "service": "app"}, "successThreshold": 1, "failureThreshold": 2});
        member(manifest, release).spec("/bake", json!({"seconds": 120, "probes": [probe]}))
    };
    stage.apply(&member(shop("v1"), "1")).await?;
    stage.apply(&member(cart("v1"), "1")).await?;
    both(&stage, 90).await?;
    let old = (stage.selected("cart").await?, stage.selected("shop").await?);
    let users =
        [stage.users_of("shop", &["--rate", "15", "--keepalive", "0"]).await?, stage.users_of("cart", &["--rate", "15", "--keepalive", "0"]).await?];

    stage.apply(&bakes(shop("v2"), "2")).await?;
    stage.apply(&bakes(cart("v2"), "2")).await?;
    for name in ["cart", "shop"] {
        wait_for(format!("{name} bakes"), 90, || async {
            let status = status(&stage, name).await?;
            Ok(when(status.phase == Some(PhaseName::Bake), || format!("{:?}: {:?}", status.phase, status.group)))
        })
        .await?;
    }
    for users in &users {
        users.only("v2", 30).await?;
    }
    // The second by name gets ill, in a way that users don't notice.
    let ill = stage.pods(&stage.selected("shop").await?).await?;
    stage.tell(ill.first().ok_or_else(|| Failure::Claim("v2 has no pods".into()))?, "/fail?what=grpc&on=true")?;
    for (name, reason) in [("shop", "BakeFailed"), ("cart", "GroupWentBack")] {
        wait_for(format!("{name} is back"), 60, || async {
            let status = status(&stage, name).await?;
            let back = status.rejected.as_ref().is_some_and(|rejected| rejected.reason == reason);
            Ok(when(back && status.phase == Some(PhaseName::Rejected), || format!("{:?}: {:?}", status.phase, status.rejected)))
        })
        .await?;
    }
    claim!((stage.selected("cart").await?, stage.selected("shop").await?) == old, "a member did not go back");
    let mut requests = 0;
    for users in users {
        users.only("v1", 15).await?;
        requests += users.stop_clean()?.ok;
    }
    stage.notes.say(format!("{requests} requests there and back, 0 failed"));
    Ok(())
}
