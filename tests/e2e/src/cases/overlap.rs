//! Load balancers that send traffic to pods themselves: a new one gets some only after a while, an old one none any more at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bluegreen::api::{ConditionStatus, ConditionType, PhaseName, keys};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, because, is, revision};

/// Until a new target has passed its health checks.
const REGISTRATION: Duration = Duration::from_secs(5);
/// For so long both revisions serve.
const OVERLAP: u64 = 10;

/// The load balancer: what it sends users to are the endpoints of the Service `edge`, which it writes by those of `shop`.
struct Edge {
    task: JoinHandle<Failure>,
}

impl Edge {
    async fn start(stage: &Stage) -> Result<Self> {
        stage.create::<Service>(json!({"metadata": {"name": "edge"}, "spec": {"ports": [{"name": "http", "port": 80}]}})).await?;
        let slices: Api<EndpointSlice> = stage.api();
        let task = tokio::spawn(async move {
            let mut known = BTreeMap::new();
            loop {
                if let Err(failure) = follow(&slices, &mut known).await {
                    return failure;
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        });
        Ok(Self { task })
    }

    /// Ends it; it must not have ended by itself.
    async fn stop(self) -> Result {
        if self.task.is_finished() {
            return Err(self.task.await.unwrap_or_else(|error| Failure::Claim(error.to_string())));
        }
        self.task.abort();
        Ok(())
    }
}

async fn follow(slices: &Api<EndpointSlice>, known: &mut BTreeMap<String, Instant>) -> Result {
    let found = slices.list(&ListParams::default().labels("kubernetes.io/service-name=shop")).await?;
    let endpoints = found.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true));
    let now: Vec<String> = ready.flat_map(|endpoint| endpoint.addresses.clone()).collect();
    known.retain(|address, _| now.contains(address));
    for address in now {
        known.entry(address).or_insert_with(Instant::now);
    }
    let targets: Vec<Value> =
        known.iter().filter(|(_, since)| since.elapsed() >= REGISTRATION).map(|(address, _)| json!({"addresses": [address]})).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "edge-1", "labels": {"kubernetes.io/service-name": "edge", "endpointslice.kubernetes.io/managed-by": "edge"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": targets,
    });
    slices.patch("edge-1", &PatchParams::apply("edge").force(), &Patch::Apply(&slice)).await?;
    Ok(())
}

/// There and back nobody finds the load balancer without a target; a move in one write leaves it without, which shows that this can be seen.
pub async fn overlap_for_load_balancers(stage: Arc<Stage>) -> Result {
    let overlap = |version: &str| -> Manifest {
        shop(version)
            .spec("/traffic/cutover", "Overlap")
            .spec("/traffic/overlapSeconds", OVERLAP)
            .spec("/drain/keepWarmSeconds", 120)
            .spec("/podMetadata", json!({"draining": {"labels": {"role": "old"}}}))
    };
    let first = stage.installed(&overlap("v1")).await?;
    let edge = Edge::start(&stage).await?;
    let users = stage.users_of("edge", &["--rate", "25", "--keepalive", "0"]).await?;
    stage.apply(&overlap("v2")).await?;
    let together = |status: &_| because(status, ConditionType::Switched, ConditionStatus::False, "Overlapping");
    let status = stage.until("both serve", 60, together).await?;
    let second = revision(&status)?;
    claim!(status.phase == Some(PhaseName::Switch) && is(&status, ConditionType::Ready, ConditionStatus::False), "it says {status:?}");
    let service = stage.api::<Service>().get("shop").await?;
    let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
    let mark = selector.get(keys::SERVING).cloned().unwrap_or_default();
    let pods = stage.api::<Pod>().list(&ListParams::default().labels(&format!("app=shop,{}={mark}", keys::SERVING))).await?;
    claim!(pods.items.len() == 4, "the Service selects {selector:?}, which {} pods have", pods.items.len());
    claim!(pods.items.iter().all(|pod| !pod.labels().contains_key("role")), "a pod that serves is told that it is an old one");
    users_of_both(&users).await?;
    stage.serves(&second, 60).await?;
    let switch = stage.shop().await?.status.and_then(|status| status.switch).ok_or_else(|| Failure::Claim("status.switch is empty".into()))?;
    let narrowed = switch.narrowed_at.ok_or_else(|| Failure::Claim(format!("status.switch is {switch:?}")))?;
    let took = narrowed.duration_since(switch.started_at).as_secs_f64();
    claim!(took >= OVERLAP as f64, "they served together for {took:.1} s");
    users.only("v2", 30).await?;
    stage.until("v1 is warm", 60, |status| because(status, ConditionType::Drained, ConditionStatus::True, "KeptWarm")).await?;
    stage.command("bluegreen.dev/rollback", &format!("{second}-{first}")).await?;
    stage.until("both serve on the way back", 60, together).await?;
    stage.serves(&first, 60).await?;
    users.only("v1", 30).await?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("together for {took:.1} s; {} requests there and back, 0 failed", summary.ok));
    let users = stage.users_of("edge", &["--rate", "25", "--keepalive", "0"]).await?;
    stage.apply(&overlap("v3").spec("/traffic/cutover", "Atomic").spec("/drain/keepWarmSeconds", 0)).await?;
    stage.complete(90).await?;
    users.only("v3", 30).await?;
    edge.stop().await?;
    let summary = users.stop()?;
    claim!(summary.failed > 0, "a load balancer without a target failed nobody: {summary:?}");
    stage.notes.say(format!("{} of {} failed by a move in one write", summary.failed, summary.ok + summary.failed));
    Ok(())
}

/// Waits for a second in which both versions answered.
async fn users_of_both(users: &crate::traffic::Load) -> Result {
    crate::wait::wait_for("both versions answer", 30, || async {
        let tick = users.tick();
        let both = tick.as_ref().is_some_and(|tick| tick.versions.contains_key("v1") && tick.versions.contains_key("v2"));
        Ok(crate::wait::when(both, || format!("{tick:?}")))
    })
    .await
}
