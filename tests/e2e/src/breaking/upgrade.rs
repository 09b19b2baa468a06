//! The operator is replaced by another build with other CustomResourceDefinitions, and back, in the middle of releases.

use bluegreen::api::PhaseName;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::Stage;
use crate::wait::{Look, wait_for, when};
use crate::world::{RELEASE, SYSTEM, TAG, World, leader};

/// One of the two builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    /// The one that is tested.
    Present,
    /// One whose definitions lack fields of the present one's.
    Older,
}

impl Build {
    fn tag(self) -> &'static str {
        match self {
            Self::Present => TAG,
            Self::Older => "older",
        }
    }

    fn crds(self) -> Result<Value> {
        let crds = match self {
            Self::Present => bluegreen::api::crds(),
            Self::Older => older::crds(),
        };
        let items = crds.map_err(|error| Failure::Claim(error.to_string()))?;
        Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
    }

    /// Puts its definitions in place.
    fn define(self, world: &World) -> Result {
        world.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &self.crds()?).map(drop)
    }

    /// Becomes the build that runs: first its definitions, then controllers and agents.
    async fn takes_over(self, stage: &Stage) -> Result {
        self.define(&stage.world)?;
        let chart = crate::world::sources().join("charts/bluegreen-operator");
        let tag = format!("image.tag={}", self.tag());
        let words = ["upgrade", RELEASE, &chart.to_string_lossy(), "--namespace", SYSTEM, "--reuse-values", "--wait", "--timeout", "150s"];
        let values = ["--set", tag.as_str(), "--set", "crds.install=false"];
        stage.world.helm(&words.into_iter().chain(values).collect::<Vec<_>>())?;
        wait_for(format!("a leader of the build {self:?}"), 60, || async {
            let name = leader(&stage.world).await?;
            // Whoever ends gives the lease back, and for a moment nobody has it.
            if name.is_empty() {
                return Ok(Look::NotYet("nobody leads".into()));
            }
            let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
            let image = pods.get_opt(&name).await?.and_then(|pod| pod.spec?.containers.first()?.image.clone()).unwrap_or_default();
            Ok(when(image.ends_with(&format!(":{}", self.tag())), || format!("{name:?} of {image:?}")))
        })
        .await
    }
}

/// Where a release stands when the operator changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    BringUp,
    Drain,
}

/// Four releases, in each of which the operator becomes another one.
pub async fn midway(stage: &Stage) -> Result {
    stage.world.load_operator("older", Build::Older.tag())?;
    stage.installed(&version("v1", When::Drain)).await?;
    let users = stage.users_from(1, "shop", &["--rate", "25", "--keepalive", "0"]).await?;
    let changes = [
        ("v2", When::Drain, Build::Older),
        ("v3", When::BringUp, Build::Present),
        ("v4", When::BringUp, Build::Older),
        ("v5", When::Drain, Build::Present),
    ];
    for (number, (name, when, build)) in changes.into_iter().enumerate() {
        released(stage, name, when, build).await?;
        users.only(name, 20).await?;
        let attempt = stage.shop().await?.status.and_then(|status| status.switch).map(|switch| switch.attempt);
        claim!(attempt.and_then(|attempt| usize::try_from(attempt).ok()) == Some(number + 2), "the move to {name} has the attempt {attempt:?}");
        stage.notes.say(format!("{name}: to the {build:?} build"));
    }
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed, 0 cut", summary.ok));
    refuses(stage).await
}

fn version(name: &str, when: When) -> Manifest {
    let manifest = shop(name).spec("/drain/deadlineSeconds", 600);
    if when == When::BringUp { manifest.env("APP_READY_AFTER", "20") } else { manifest }
}

/// One release.
async fn released(stage: &Stage, name: &str, when: When, build: Build) -> Result {
    let held = stage.long(1, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    stage.apply(&version(name, when)).await?;
    let wanted = if when == When::BringUp { PhaseName::BringUp } else { PhaseName::Drain };
    stage.until(&format!("{name} is in {wanted:?}"), 60, |status| status.phase == Some(wanted)).await?;
    build.takes_over(stage).await?;
    stage.until("the old set drains", 90, |status| status.phase == Some(PhaseName::Drain)).await?;
    held.stop_clean()?;
    stage.complete(120).await.map(drop)
}

/// The present build does not start on the older definitions, says why, and starts when it gets its own.
async fn refuses(stage: &Stage) -> Result {
    let world = &stage.world;
    let before = stage.shop().await?.status.and_then(|status| status.switch);
    Build::Older.define(world)?;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), SYSTEM);
    let controllers = ListParams::default().labels("app.kubernetes.io/component=controller");
    let leads = leader(world).await?;
    let standby = pods.list(&controllers).await?.items.into_iter().map(|pod| pod.name_any()).find(|name| *name != leads);
    let standby = standby.ok_or_else(|| Failure::Claim("nobody stands by".into()))?;
    pods.delete(&standby, &DeleteParams::default()).await?;
    let refused = wait_for("a controller has refused to start", 90, || async {
        let ended = pods.list(&controllers).await?.items.into_iter().filter(|pod| pod.name_any() != leads).find_map(|pod| {
            let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
            let states = containers.into_iter().flat_map(|container| [container.state, container.last_state]).flatten();
            states.filter_map(|state| state.terminated).find(|terminated| terminated.exit_code == 1)
        });
        Ok(ended.map_or_else(|| Look::NotYet("none".into()), |ended| Look::Done(ended.message.unwrap_or_default())))
    })
    .await;
    Build::Present.define(world)?;
    let said = refused?;
    claim!(said.contains("older than this operator") && said.contains("BlueGreenDeployment.status."), "it said {said:?}");
    wait_for("all stand by again", 120, || async {
        let ready = pods.list(&controllers).await?.items.iter().filter(|pod| ready(pod)).count();
        Ok(when(ready == 3, || format!("{ready} of 3 are ready")))
    })
    .await?;
    let after = stage.complete(60).await?.switch;
    claim!(before == after, "the record was {before:?} and is {after:?}");
    stage.notes.say("on older definitions it refuses to start");
    Ok(())
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
