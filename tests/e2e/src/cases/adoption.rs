//! A Deployment is taken over, and given back, while its pods serve.

use std::process::{Command, Stdio};
use std::sync::Arc;

use bluegreen::api::BlueGreenDeployment;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::plugin::{ends, refuses, says};
use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};
use crate::wait::{Look, wait_for, when};
use crate::world::beside;

/// The Deployment that has the pods of a manifest.
fn deployment(manifest: &Manifest) -> Result<Value> {
    let spec = manifest.0.get("spec").cloned().unwrap_or_default();
    let field = |name: &str| spec.get(name).cloned().unwrap_or_default();
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "shop", "labels": {"app": "shop", "app.kubernetes.io/instance": "shop"}},
        "spec": {"replicas": field("replicas"), "selector": field("selector"), "template": field("template"), "revisionHistoryLimit": 3},
    }))
}

/// Applies the Deployment of a version, and waits for the end of its rollout.
async fn rolled_out(stage: &Stage, version: &str) -> Result {
    let api = stage.api::<Deployment>();
    let replicas = api.get_opt("shop").await?.and_then(|found| found.spec.replicas).unwrap_or(2);
    let next = deployment(&shop(version).spec("/replicas", replicas))?;
    api.patch("shop", &PatchParams::apply("e2e").force(), &Patch::Apply(&next)).await?;
    wait_for(format!("the Deployment's rollout of {version}"), 60, || async {
        let found = serde_json::to_value(api.get("shop").await?)?;
        let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        let over = number("/status/observedGeneration") == number("/metadata/generation")
            && counts.iter().all(|count| number(&format!("/status/{count}")) == number("/spec/replicas"));
        Ok(when(over, || found.pointer("/status").unwrap_or(&Value::Null).to_string()))
    })
    .await?;
    alone(stage).await?;
    followed(stage).await
}

/// Waits until the node of the users has followed a rollout: until then its proxy may send them to pods that are gone, as with any Deployment.
async fn followed(stage: &Stage) -> Result {
    let probe = stage.users().await?;
    wait_for("thirty answers without a failure", 30, || async {
        let before = probe.failures().len();
        probe.more(30).await?;
        Ok(when(probe.failures().len() == before, || format!("{:?}", probe.failures().last())))
    })
    .await?;
    probe.stop().map(drop)
}

/// Waits until only the pods are left that are to serve.
async fn alone(stage: &Stage) -> Result {
    let wanted = stage.api::<Deployment>().get_opt("shop").await?.and_then(|found| found.spec.replicas).unwrap_or(2);
    wait_for(format!("{wanted} pods and no more"), 60, || async {
        let pods = stage.api::<Pod>().list(&ListParams::default()).await?.items;
        Ok(when(i32::try_from(pods.len()).is_ok_and(|found| found == wanted), || format!("{} pods", pods.len())))
    })
    .await
}

/// Waits for the end of a Deployment: it has a finalizer as long as its ReplicaSets are told.
async fn gone(stage: &Stage, name: &str) -> Result {
    wait_for(format!("the end of Deployment {name}"), 30, || async {
        let gone = stage.api::<Deployment>().get_opt(name).await?.is_none();
        Ok(when(gone, || "it is still there".into()))
    })
    .await
}

/// UIDs of all pods that are not ending.
async fn pods(stage: &Stage) -> Result<Vec<String>> {
    let pods = stage.api::<Pod>().list(&ListParams::default()).await?.items;
    let mut uids: Vec<String> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(ResourceExt::uid).collect();
    uids.sort();
    Ok(uids)
}

async fn installed(stage: &Stage) -> Result {
    stage.service_with("shop", json!({"selector": {"app": "shop"}})).await?;
    rolled_out(stage, "v1").await
}

/// An HPA; nobody measures here, so it scales nothing.
async fn scaled(stage: &Stage) -> Result {
    let scaler = json!({
        "metadata": {"name": "shop"},
        "spec": {"minReplicas": 2, "maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}},
    });
    stage.create::<HorizontalPodAutoscaler>(scaler).await.map(drop)
}

async fn adopted(stage: &Stage) -> Result {
    claim!(stage.api::<Deployment>().get_opt("shop").await?.is_none(), "the Deployment is still there");
    let object = stage.shop().await?;
    claim!(!object.spec.paused && object.annotations().is_empty(), "it is not finished with: {:?}", object.annotations());
    stage.complete(60).await.map(drop)
}

async fn ejected(stage: &Stage) -> Result {
    claim!(stage.api::<BlueGreenDeployment>().get_opt("shop").await?.is_none(), "the BlueGreenDeployment is still there");
    let found = stage.api::<Deployment>().get("shop").await?;
    let paused = found.spec.paused.unwrap_or(false);
    claim!(!paused && !found.annotations().contains_key("bluegreen.dev/ejecting"), "it is not finished with: {:?}", found.annotations());
    let selector = stage.selector("shop").await?;
    claim!(selector.into_iter().eq([("app".to_owned(), "shop".to_owned())]), "the Service is not as it was");
    let service = stage.api::<Service>().get("shop").await?;
    claim!(service.annotations().is_empty(), "the Service still bears {:?}", service.annotations());
    Ok(())
}

/// A running Deployment is taken over without a new pod, is released like any other, rolled back to a revision of its own days, and given back.
pub async fn adopted_and_ejected(stage: Arc<Stage>) -> Result {
    installed(&stage).await?;
    rolled_out(&stage, "v2").await?;
    scaled(&stage).await?;
    let before = pods(&stage).await?;
    let users = stage.users().await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}", "--duration", "40s"]).await?;
    held.open()?;

    stage.create::<PodDisruptionBudget>(super::budgets::plain()).await?;
    let said = ends(&stage, 0, &["adopt", "deployment/shop", "--dry-run"])?;
    claim!(said.err.contains("PodDisruptionBudget plain counts pods that are being left"), "nothing of the budget: {}", said.err);
    let dry = said.out;
    claim!(dry.contains("kind: BlueGreenDeployment"), "the manifest is {dry}");
    claim!(!dry.contains("paused") && dry.contains("- shop") && !dry.contains("pod-template-hash"), "the manifest is {dry}");
    claim!(stage.api::<BlueGreenDeployment>().get_opt("shop").await?.is_none(), "a dry run made something");
    let said = says(&stage, &["adopt", "deployment/shop"], "serves everyone")?;
    stage.notes.say(said.replace('\n', " | "));
    adopted(&stage).await?;
    claim!(pods(&stage).await? == before, "pods were started or ended");
    let first = stage.selected("shop").await?;
    claim!(stage.desired(&first).await? == 2, "the Service selects {first}");
    let scaled = stage.api::<HorizontalPodAutoscaler>().get("shop").await?.spec.scale_target_ref.kind;
    claim!(scaled == "BlueGreenDeployment", "the HorizontalPodAutoscaler scales {scaled}");
    let warnings = stage.events("Stalled").await?;
    claim!(warnings.is_empty(), "it was warned of what was on its way: {:?}", warnings.first().and_then(|event| event.message.clone()));

    // Its pods drain as those of any revision.
    let manifest = shop("v3");
    let change = json!({"spec": {"template": manifest.0.pointer("/spec/template"), "smokeProbes": manifest.0.pointer("/spec/smokeProbes"),
        "drain": manifest.0.pointer("/spec/drain"), "traffic": {"quietSeconds": 2}}});
    stage.patch(change).await?;
    let status = stage.until("v2 drains", 60, |status| status.draining.iter().any(|set| set.open_connections == Some(1))).await?;
    claim!(stage.desired(&first).await? == 2, "pods went with an open connection");
    let third = revision(&status)?;
    held.ends_well(60)?;
    stage.gone(&first, 60).await?;
    stage.complete(30).await?;
    users.only("v3", 15).await?;

    // What the Deployment could undo to is kept as well.
    let history = ends(&stage, 0, &["history", "shop", "-o", "json"])?.out;
    let history: Vec<Value> = serde_json::from_str(&history)?;
    let names: Vec<String> = history.iter().filter_map(|entry| Some(entry.get("revision")?.as_str()?.to_owned())).collect();
    claim!(names.len() == 3 && names.first() == Some(&third) && names.get(1) == Some(&first), "history: {names:?}");
    let oldest = names.last().cloned().unwrap_or_default();
    let diff = says(&stage, &["diff", "shop", &oldest, &first], "+      value: v2")?;
    claim!(diff.lines().count() < 15, "the difference is more than the version: {diff}");
    says(&stage, &["rollback", "shop", "--to", &oldest, "--wait", "--timeout", "60s"], "has the traffic")?;
    says(&stage, &["retry", "shop", "--wait", "--timeout", "60s"], "tried again")?;
    stage.complete(60).await?;

    let before = pods(&stage).await?;
    let held = stage.long(1, &["echo", "--target", "tcp://{echo}", "--duration", "15s"]).await?;
    held.open()?;
    let said = says(&stage, &["eject", "shop"], "with the pods as they were")?;
    stage.notes.say(said.replace('\n', " | "));
    ejected(&stage).await?;
    claim!(pods(&stage).await? == before, "pods were started or ended");
    let scaled = stage.api::<HorizontalPodAutoscaler>().get("shop").await?.spec.scale_target_ref.kind;
    claim!(scaled == "Deployment", "the HorizontalPodAutoscaler scales {scaled}");
    held.ends_well(60)?;
    let summary = users.stop_clean()?;
    stage.notes.say(format!("{} requests, 0 failed", summary.ok));

    // It is a Deployment as any.
    rolled_out(&stage, "v4").await?;
    let users = stage.users().await?;
    users.only("v4", 15).await?;
    users.stop_clean().map(drop)
}

/// The pods of a set that was taken over leave one by one; its successor serves again, is given back, and is taken over once more.
pub async fn adopted_leaves_one_by_one(stage: Arc<Stage>) -> Result {
    installed(&stage).await?;
    says(&stage, &["adopt", "shop"], "serves everyone")?;
    let first = stage.selected("shop").await?;
    let users = stage.users().await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let second = shop("v2").spec("/drain/scaleDown", "PerPod");
    let spec = |field: &str| second.0.pointer(&format!("/spec/{field}")).cloned().unwrap_or_default();
    stage.patch(json!({"spec": {"template": spec("template"), "drain": spec("drain"), "traffic": {"quietSeconds": 2}}})).await?;
    wait_for("the idle pod has left", 60, || async {
        let (with, without) = (stage.pods(&first).await?.len(), stage.pods(&format!("left.{first}")).await?.len());
        Ok(when((with, without) == (0, 1), || format!("{with} pods with their set, {without} without")))
    })
    .await?;
    held.stop_clean()?;
    says(&stage, &["wait", "shop", "--for", "drained", "--timeout", "60s"], "no old pods are left")?;
    says(&stage, &["rollback", "shop", "--wait", "--timeout", "60s"], "has the traffic")?;
    stage.patch(json!({"spec": {"template": shop("v1").0.pointer("/spec/template")}})).await?;
    says(&stage, &["wait", "shop", "--for", "drained", "--timeout", "90s"], "no old pods are left")?;
    alone(&stage).await?;
    let before = pods(&stage).await?;
    for _ in 0..2 {
        says(&stage, &["eject", "shop"], "with the pods as they were")?;
        ejected(&stage).await?;
        says(&stage, &["adopt", "shop"], "serves everyone")?;
        adopted(&stage).await?;
        claim!(stage.selected("shop").await? == first, "it is another revision");
    }
    claim!(pods(&stage).await? == before, "pods were started or ended");
    users.stop_clean()?;

    // Scaled and started anew in between: there are two sets with one template, and the Deployment controller's notes are of another size.
    stage.patch(json!({"spec": {"replicas": 3}})).await?;
    stage.complete(60).await?;
    says(&stage, &["restart", "shop", "--wait", "--timeout", "60s"], "serves everyone")?;
    says(&stage, &["wait", "shop", "--for", "drained", "--timeout", "90s"], "no old pods are left")?;
    let out = says(&stage, &["eject", "shop", "-o", "json"], "with the pods as they were")?;
    let told: Value = serde_json::from_str(&out)?;
    claim!(told.get("command") == Some(&json!("eject")), "the answer for programs: {told}");
    let told: Value = serde_json::from_str(&says(&stage, &["adopt", "shop", "-o", "json"], "serves everyone")?)?;
    claim!(told.pointer("/outcome/active") == told.get("revision"), "the answer for programs: {told}");
    says(&stage, &["eject", "shop"], "with the pods as they were")?;
    ejected(&stage).await?;
    // It makes others of a template that has the labels of those before; and they leave one by one, too.
    rolled_out(&stage, "v5").await?;
    says(&stage, &["adopt", "shop"], "serves everyone")?;
    let fifth = stage.selected("shop").await?;
    let before = pods(&stage).await?;
    let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
    held.open()?;
    let users = stage.users().await?;
    let spec = |field: &str| second.0.pointer(&format!("/spec/{field}")).cloned().unwrap_or_default();
    stage.patch(json!({"spec": {"template": spec("template"), "drain": spec("drain"), "traffic": {"quietSeconds": 2}}})).await?;
    wait_for("the idle pods have left", 60, || async {
        let (with, without) = (stage.pods(&fifth).await?.len(), stage.pods(&format!("left.{fifth}")).await?);
        let ours = without.iter().filter_map(ResourceExt::uid).all(|uid| before.contains(&uid));
        Ok(when((with, without.len()) == (0, 1) && ours, || format!("{with} pods with their set, {} without", without.len())))
    })
    .await?;
    claim!(held.failures().is_empty(), "the held connection was cut: {:?}", held.failures().first());
    held.stop_clean()?;
    users.stop_clean().map(drop)
}

/// An `eject` that was given up, and a release after it: the next one goes by what serves then.
pub async fn ejected_later(stage: Arc<Stage>) -> Result {
    installed(&stage).await?;
    says(&stage, &["adopt", "shop"], "serves everyone")?;
    // After its second write there is a Deployment.
    interrupted(&stage, 2, &["eject", "shop"])?;
    claim!(stage.api::<Deployment>().get_opt("shop").await?.is_some(), "there is no Deployment yet");
    says(&stage, &["resume", "shop"], "goes on")?;
    stage.patch(json!({"spec": {"template": shop("v2").0.pointer("/spec/template")}})).await?;
    says(&stage, &["wait", "shop", "--for", "drained", "--timeout", "90s"], "no old pods are left")?;
    alone(&stage).await?;
    let before = pods(&stage).await?;
    let users = stage.users().await?;
    says(&stage, &["eject", "shop"], "with the pods as they were")?;
    ejected(&stage).await?;
    claim!(pods(&stage).await? == before, "pods were started or ended");
    users.only("v2", 10).await?;
    users.stop_clean().map(drop)
}

/// Somebody makes the Deployment again while it is being taken over, as tools do: it has its pods back, and is taken over when that is called again.
pub async fn deployment_made_again(stage: Arc<Stage>) -> Result {
    installed(&stage).await?;
    let before = pods(&stage).await?;
    let users = stage.users().await?;
    // After its second write the Deployment is on its way out.
    interrupted(&stage, 2, &["adopt", "shop"])?;
    gone(&stage, "shop").await?;
    rolled_out(&stage, "v1").await?;
    claim!(pods(&stage).await? == before, "it made pods of its own");
    says(&stage, &["adopt", "shop"], "serves everyone")?;
    adopted(&stage).await?;
    claim!(pods(&stage).await? == before, "pods were started or ended");
    // Later it has no pods to take any more, and is told apart.
    let api = stage.api::<Deployment>();
    api.patch("shop", &PatchParams::apply("e2e").force(), &Patch::Apply(&deployment(&shop("v1"))?)).await?;
    refuses(&stage, &["adopt", "shop"], "there is a BlueGreenDeployment shop already")?;
    refuses(&stage, &["eject", "shop"], "there is a Deployment shop already")?;
    users.stop_clean().map(drop)
}

/// What can't be taken over, or given back, is refused before anything is written.
pub async fn adoption_refused(stage: Arc<Stage>) -> Result {
    refuses(&stage, &["adopt", "shop"], "there is no Deployment \"shop\"")?;
    installed(&stage).await?;
    // A Service that leads to others, too.
    let stranger = json!({"metadata": {"name": "stranger", "labels": {"app": "shop"}}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": crate::manifest::APP_IMAGE, "imagePullPolicy": "Never"}]}});
    stage.create::<Pod>(stranger).await?;
    wait_for("the Service leads to the stranger", 30, || async {
        let said = block_in_place(|| super::plugin::run(&stage, &["adopt", "shop", "--dry-run"]))?;
        Ok(if said.err.contains("ServiceServesOthers") { Look::Done(()) } else { Look::NotYet(said.err) })
    })
    .await?;
    refuses(
        &stage,
        &["adopt", "shop"],
        "Service \"shop\" already serves 1 pod of something else, which a switch would cut off from its users. Pods of",
    )?;
    stage.api::<Pod>().delete("stranger", &kube::api::DeleteParams::default()).await?;
    alone(&stage).await?;
    // A selector that somebody applies at every sync.
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"selector": {"app": "shop"}}});
    stage.apply_as("flux", service, true).await?;
    refuses(&stage, &["adopt", "shop"], "Give it a second owner first")?;
    // The way in docs/migrate.md: with a second owner the selector stays when the first one takes it out of its manifest.
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": spec});
    stage.apply_as("bluegreen-operator", service(json!({"selector": {"app": "shop"}})), false).await?;
    refuses(&stage, &["adopt", "shop"], "Give it a second owner first")?;
    stage.apply_as("flux", service(json!({"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]})), true).await?;
    claim!(stage.selector("shop").await?.len() == 1, "the selector went");
    // A rollout that is not complete.
    let slow = deployment(&shop("v2").env("APP_READY_AFTER", "8"))?;
    stage.api::<Deployment>().patch("shop", &PatchParams::apply("e2e").force(), &Patch::Apply(&slow)).await?;
    refuses(&stage, &["adopt", "shop"], "its rollout is not complete")?;
    claim!(stage.api::<BlueGreenDeployment>().get_opt("shop").await?.is_none(), "something was made");
    claim!(stage.selector("shop").await?.len() == 1, "the Service was changed");
    rolled_out(&stage, "v1").await?;
    // Another Deployment, which would take the ReplicaSet as soon as it is nobody's.
    let mut wide = deployment(&shop("v1").spec("/template/metadata/labels/track", "wide").spec("/replicas", 0))?;
    if let Some(metadata) = wide.get_mut("metadata") {
        *metadata = json!({"name": "wide"});
    }
    stage.create::<Deployment>(wide).await?;
    refuses(&stage, &["adopt", "shop"], "Deployment \"wide\" has a selector that matches its pods, too")?;
    stage.api::<Deployment>().delete("wide", &kube::api::DeleteParams::foreground()).await?;
    gone(&stage, "wide").await?;
    says(&stage, &["adopt", "shop"], "serves everyone")?;
    refuses(&stage, &["adopt", "shop"], "is a BlueGreenDeployment already")?;
    // A release that is on its way.
    stage.patch(json!({"spec": {"template": shop("v2").env("APP_READY_AFTER", "8").0.pointer("/spec/template")}})).await?;
    stage.until("v2 comes", 30, |status| status.inactive.is_some()).await?;
    refuses(&stage, &["eject", "shop"], "a release is on its way")?;
    claim!(stage.api::<Deployment>().get_opt("shop").await?.is_none(), "something was made");
    claim!(!stage.shop().await?.spec.paused, "it was paused");
    Ok(())
}

/// Runs the plugin until its k-th write is stored, and kills it; answers whether it came to its end before.
fn interrupted(stage: &Stage, k: u64, words: &[&str]) -> Result<Option<String>> {
    let kubeconfig = stage.world.cluster.kubeconfig();
    let server = Kubeconfig::read_from(&kubeconfig)?.clusters.into_iter().find_map(|named| named.cluster?.server);
    let me = std::env::current_exe().map_err(io("finding this program"))?;
    let mut command = Command::new(me);
    command.args(["proxy", "--kill-after", &k.to_string(), "--server", &server.unwrap_or_default(), "--kubeconfig"]).arg(kubeconfig);
    command.arg("--").arg(beside("kubectl-bluegreen")?).args(["-n", &stage.namespace]).args(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io("starting the proxy"))?;
    // Its standard input stays open as long as it is to run.
    let input = child.stdin.take();
    let output = block_in_place(|| child.wait_with_output()).map_err(io("waiting for the proxy"))?;
    drop(input);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let killed = out.lines().find_map(|line| line.strip_prefix("killed ")).map(str::to_owned);
    claim!(killed.is_some() || err.contains("wait_status(0)"), "`{}` to be killed after write {k}: {out}{err}", words.join(" "));
    Ok(killed)
}

/// The plugin is killed after each of its writes, on the way in and on the way out, and called again: the pods are the same all the time, and
/// nobody notices. Each time with new pods, which the Deployment makes of what it was left with.
pub async fn adoption_interrupted(stage: Arc<Stage>) -> Result {
    installed(&stage).await?;
    stage.service_with("shop-headless", json!({"selector": {"app": "shop"}, "clusterIP": "None"})).await?;
    scaled(&stage).await?;
    let (mut way_in, mut way_out, mut answers) = (vec![], vec![], 0);
    for k in 1..=40 {
        rolled_out(&stage, &format!("k{k}")).await?;
        let before = pods(&stage).await?;
        let users = stage.users_of("shop", &["--rate", "20", "--keepalive", "2"]).await?;
        let held = stage.long(2, &["echo", "--target", "tcp://{echo}"]).await?;
        held.open()?;
        let killed_in = interrupted(&stage, k, &["adopt", "shop"])?;
        if killed_in.is_some() {
            let again = super::plugin::run(&stage, &["adopt", "shop"])?;
            // After its last write there is nothing left to do.
            claim!(again.code == 0 || again.err.contains("is a BlueGreenDeployment already"), "after {killed_in:?}: {}{}", again.out, again.err);
        }
        adopted(&stage).await?;
        let killed_out = interrupted(&stage, k, &["eject", "shop"])?;
        if killed_out.is_some() {
            let again = super::plugin::run(&stage, &["eject", "shop"])?;
            claim!(again.code == 0 || again.err.contains("there is no BlueGreenDeployment"), "after {killed_out:?}: {}{}", again.out, again.err);
        }
        ejected(&stage).await?;
        claim!(pods(&stage).await? == before, "after {killed_in:?} and {killed_out:?} the pods are others");
        held.stop_clean()?;
        answers += users.stop_clean()?.ok;
        if killed_in.is_none() && killed_out.is_none() {
            let scaler = |line: &String| line.contains("/horizontalpodautoscalers/");
            claim!(way_in.iter().any(scaler) && way_out.iter().any(scaler), "the HPA was not among {way_in:?} and {way_out:?}");
            claim!(way_in.len() >= 8 && way_out.len() >= 8, "that took only {way_in:?} and {way_out:?}");
            stage.notes.say(format!("killed after each of {} writes in and {} out; {answers} requests, 0 failed", way_in.len(), way_out.len()));
            return Ok(());
        }
        way_in.extend(killed_in);
        way_out.extend(killed_out);
    }
    Err(Failure::Claim(format!("it takes more than 40 writes: {way_in:?} {way_out:?}")))
}
