//! `adopt`: a Deployment becomes a BlueGreenDeployment, while its pods serve.

use std::collections::BTreeMap;
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use bluegreen::release::revision::template_identity;
use jiff::Timestamp;
use kube::api::Patch;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::adopt::{self, Heir};
use crate::aim::Aim;
use crate::args::Goal;
use crate::check::{self, Seen};
use crate::cluster::{Changed, Cluster, Refusal, failed, read};
use crate::dry;
use crate::failure::{Failure, Result};
use crate::hand::{OURS, THEIRS, whole};
use crate::terminal::Terminal;

use super::hand::{self, Look, all, deployments, until};
use super::say::TRIES;
use super::wait;

/// Takes a Deployment over.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str, dry_run: bool, timeout: Duration) -> Result {
    let deadline = Instant::now() + timeout;
    if dry_run {
        let Some(deployment) = cluster.find(&deployments(), name).await? else { return Err(missing(cluster, name)) };
        return terminal.write(&super::yaml(&look(cluster, &deployment).await?)?);
    }
    leave(cluster, terminal, name, deadline).await?;
    let object = cluster.raw(name).await?;
    let heir = take(cluster, terminal, name, &object, deadline).await?;
    known(cluster, name, &heir, deadline).await?;
    hand::scale_by(cluster, terminal, name, THEIRS, OURS).await?;
    let go = json!({"metadata": {"annotations": {keys::ADOPTING: null}}, "spec": {"paused": false}});
    if matches!(cluster.patch(name, Patch::Merge(go)).await?, Changed::Conflict) {
        return Err(Failure::Contended(name.into()));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    wait::until(cluster, terminal, name, &Aim::Is(Goal::Ready), None, left).await
}

fn missing(cluster: &Cluster, name: &str) -> Failure {
    Failure::Refused(format!("there is no Deployment \"{name}\" in namespace {}", cluster.namespace))
}

/// The Deployment goes, and the BlueGreenDeployment is there, paused.
async fn leave(cluster: &Cluster, terminal: Terminal, name: &str, deadline: Instant) -> Result {
    let (ours, theirs) = (Resource::BlueGreenDeployment.api_resource(), deployments());
    for _ in 0..TRIES {
        let (deployment, object) = tokio::join!(cluster.find(&theirs, name), cluster.find(&ours, name));
        let (deployment, object) = (deployment?, object?);
        let begun = object.as_ref().is_some_and(|object| trim::annotation(object, keys::ADOPTING).is_some());
        let deployment = match (deployment, &object) {
            (None, None) => return Err(missing(cluster, name)),
            (None, Some(_)) if begun => return terminal.say(&format!("Deployment {name} is gone already; going on.")),
            (None, Some(_)) => {
                return Err(Failure::Refused(format!("{name} is a BlueGreenDeployment already, and there is no Deployment of that name")));
            }
            (Some(_), Some(_)) if !begun => {
                return Err(Failure::Refused(format!(
                    "there is a BlueGreenDeployment {name} already, which is about other pods; delete one of the two"
                )));
            }
            (Some(deployment), _) => deployment,
        };
        let uid = trim::text(&deployment, "/metadata/uid");
        if deployment.pointer("/metadata/deletionTimestamp").is_some() && begun {
            return hand::gone(cluster, &theirs, name, uid.as_deref(), deadline).await;
        }
        let manifest = look(cluster, &deployment).await?;
        let held = adopt::held(manifest, uid.as_deref().unwrap_or_default());
        match object {
            None => {
                cluster
                    .create(&ours, &held)
                    .await
                    .map_err(|refusal| failed(format!("BlueGreenDeployment \"{name}\" could not be made"), refusal.words()))?;
                terminal.say(&format!("BlueGreenDeployment {name} is there, and paused."))?;
            }
            // Left by an earlier call: the Deployment may have changed since.
            Some(object) => {
                let mut held = held;
                if let Some(metadata) = held.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("resourceVersion".into(), object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default());
                }
                match cluster.replace(&ours, name, &held).await {
                    Ok(_) => {}
                    Err(Refusal::Api(status)) if status.code == 409 || status.code == 404 => continue,
                    Err(refusal) => return Err(failed(format!("BlueGreenDeployment \"{name}\" could not be changed"), refusal.words())),
                }
            }
        }
        if matches!(cluster.delete_alone(&theirs, &deployment).await?, Changed::Done) {
            hand::gone(cluster, &theirs, name, uid.as_deref(), deadline).await?;
            return terminal.say(&format!("Deployment {name} is gone; its ReplicaSet and its pods stayed."));
        }
    }
    Err(Failure::Contended(format!("Deployment {name}")))
}

/// The BlueGreenDeployment that it is to become. Everything that could be wrong with it is found here, before anything is written.
async fn look(cluster: &Cluster, deployment: &Value) -> Result<Value> {
    let name = trim::text(deployment, "/metadata/name").unwrap_or_default();
    let refused = |why: String| Failure::Refused(format!("Deployment {name} can't be taken over: {why}"));
    if let Some(why) = adopt::held_up(deployment) {
        return Err(refused(why));
    }
    let (sets, pods, services, slices) = tokio::join!(
        all(cluster, Resource::ReplicaSet),
        all(cluster, Resource::Pod),
        all(cluster, Resource::Service),
        all(cluster, Resource::EndpointSlice)
    );
    let (sets, pods, services, slices) = (sets?, pods?, services?, slices?);
    let led = adopt::services(deployment.pointer("/spec/template").unwrap_or(&Value::Null), &services);
    let manifest = adopt::manifest(deployment, &led);
    // As it would be stored; what the API server has against it, it says in its own words.
    let stored = match cluster.dry_create(&Resource::BlueGreenDeployment.api_resource(), &manifest).await {
        Ok(stored) => stored,
        Err(Refusal::Api(status)) if status.code == 409 => stored(&manifest, cluster),
        Err(Refusal::Api(status)) => return Err(refused(check::causes(&status).join("; "))),
        Err(Refusal::Other(words)) => return Err(failed("the BlueGreenDeployment could not be tried", words)),
    };
    let tried = dry::replica_set(cluster, &read(stored.clone())?).await.map_err(|refusal| refused(refusal.words()))?;
    let identity = tried.pointer("/spec/template").map(template_identity).unwrap_or_default();
    let owner = trim::text(deployment, "/metadata/uid").unwrap_or_default();
    let heirs = adopt::heirs(&sets, &name, &owner, &trim::strings(deployment, "/spec/selector/matchLabels"), &identity);
    let Some(heir) = heirs.into_iter().find(|heir| heir.serves) else {
        return Err(refused("the API server makes another pod template of it than that of its ReplicaSet; restart the rollout first".into()));
    };
    let owned =
        led.iter().find_map(|name| adopt::applied(services.iter().find(|service| trim::text(service, "/metadata/name").as_ref() == Some(name))?));
    if let Some(why) = owned {
        return Err(refused(why));
    }
    if let Some(first) = problems(&stored, &heir, sets, pods, services, slices).into_iter().next() {
        return Err(refused(first));
    }
    Ok(manifest)
}

/// The manifest as the object that is there already, by an earlier call.
fn stored(manifest: &Value, cluster: &Cluster) -> Value {
    adopt::merged(manifest, &json!({"metadata": {"namespace": cluster.namespace, "uid": "unknown"}}))
}

/// What the operator would find wrong once everything is its own.
fn problems(object: &Value, heir: &Heir, sets: Vec<Value>, pods: Vec<Value>, services: Vec<Value>, slices: Vec<Value>) -> Vec<String> {
    let is = |value: &Value, uid: &str| trim::text(value, "/metadata/uid").as_deref() == Some(uid);
    let theirs = |pod: &&Value| trim::controller(pod).is_some_and(|(_, _, set)| set == heir.uid);
    let (pods, others): (Vec<Value>, Vec<Value>) = pods.into_iter().partition(|pod| theirs(&pod));
    let Some(set) = sets.iter().find(|set| is(set, &heir.uid)) else { return vec![] };
    let (set, pods) = adopt::foreseen(set, &pods, heir, object);
    let tagged = |resource: Resource, objects: Vec<Value>| objects.into_iter().map(move |object| (resource, object));
    let seen = tagged(Resource::ReplicaSet, vec![set]).chain(tagged(Resource::Pod, pods)).chain(tagged(Resource::Pod, others));
    let seen = seen.chain(tagged(Resource::Service, services)).chain(tagged(Resource::EndpointSlice, slices));
    let seen = Seen { object: object.clone(), others: seen.collect() };
    check::snapshot(&seen, Timestamp::now()).map(|snapshot| check::problems(&snapshot)).unwrap_or_default()
}

/// The ReplicaSets and pods get the marks of revisions; answers the one that serves.
async fn take(cluster: &Cluster, terminal: Terminal, name: &str, object: &Value, deadline: Instant) -> Result<Heir> {
    let (sets, pods) = (Resource::ReplicaSet.api_resource(), Resource::Pod.api_resource());
    let owner = trim::text(object, "/metadata/uid").unwrap_or_default();
    let selector: BTreeMap<String, String> = trim::strings(object, "/spec/selector/matchLabels");
    let tried =
        dry::replica_set(cluster, &read(object.clone())?).await.map_err(|refusal| failed("the pod template could not be tried", refusal.words()))?;
    let identity = tried.pointer("/spec/template").map(template_identity).unwrap_or_default();
    let heirs = adopt::heirs(&all(cluster, Resource::ReplicaSet).await?, name, &owner, &selector, &identity);
    let Some(serving) = heirs.iter().find(|heir| heir.serves).cloned() else {
        return Err(Failure::Stuck(format!("no ReplicaSet of Deployment {name} is left that has its template; resume {name} to release it anew")));
    };
    for heir in &heirs {
        hand::write(cluster, &sets, &heir.name, |set| adopt::set_patch(set, heir, name)).await?;
    }
    until("every pod has the label of its revision", deadline, async || {
        let labels = selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let found: Vec<Value> = cluster.list(Resource::Pod, Some(&cluster.namespace), Some(&labels)).await?;
        for pod in found.iter().filter(|pod| trim::controller(pod).is_some_and(|(_, _, set)| set == serving.uid)) {
            let pod = trim::text(pod, "/metadata/name").unwrap_or_default();
            hand::write(cluster, &pods, &pod, |pod| adopt::pod_patch(pod, &serving.revision)).await?;
        }
        let set = cluster.find(&sets, &serving.name).await?.unwrap_or_default();
        Ok(if whole(&set) {
            Look::Done(())
        } else {
            Look::NotYet(format!("ReplicaSet {}: {}", serving.name, set.pointer("/status").unwrap_or(&Value::Null)))
        })
    })
    .await?;
    hand::write(cluster, &sets, &serving.name, |set| trim::annotation(set, keys::ROLE).is_none().then(|| adopt::serving(&serving))).await?;
    terminal.say(&format!("ReplicaSet {} is revision {} now, with its pods as they are.", serving.name, serving.revision))?;
    Ok(serving)
}

/// Waits until the operator knows who serves.
async fn known(cluster: &Cluster, name: &str, heir: &Heir, deadline: Instant) -> Result {
    until("the operator takes the ReplicaSet over", deadline, async || {
        let status = cluster.object(name).await?.status.unwrap_or_default();
        let active = status.active.as_ref().map(|active| active.revision.as_str());
        Ok(if active == Some(heir.revision.as_str()) {
            Look::Done(())
        } else {
            Look::NotYet(format!("status.active is {active:?}; does the operator run?"))
        })
    })
    .await
}
