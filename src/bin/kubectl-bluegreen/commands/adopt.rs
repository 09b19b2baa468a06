//! `adopt`: a Deployment becomes a BlueGreenDeployment, while its pods serve.

use std::collections::BTreeMap;
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use bluegreen::release::budget::hints;
use bluegreen::release::revision::template_identity;
use jiff::Timestamp;
use kube::api::Patch;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::adopt::{self, Heir};
use crate::aim::Aim;
use crate::answer::Answer;
use crate::args::{Format, Goal};
use crate::check::{self, Seen};
use crate::cluster::{Changed, Cluster, Refusal, failed, read};
use crate::dry;
use crate::failure::{Failure, Result};
use crate::hand::{OURS, THEIRS, whole};
use crate::report::current;
use crate::terminal::Terminal;

use super::hand::{self, Look, all, deployments, until};
use super::say::TRIES;
use super::wait;

/// For how long the operator may need to look at something new.
const AWAKE: Duration = Duration::from_secs(30);

/// Takes a Deployment over.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str, dry_run: bool, timeout: Duration) -> Result {
    let deadline = Instant::now() + timeout;
    if dry_run {
        let Some(deployment) = cluster.find(&deployments(), name).await? else { return Err(missing(cluster, name)) };
        let Found { manifest, notes } = look(cluster, &deployment).await?;
        note(&notes);
        return if terminal.output.is_some() { terminal.answer(&manifest) } else { terminal.write(&Format::Yaml.text(&manifest)?) };
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
    let outcome = wait::until(cluster, terminal, name, &Aim::Is(Goal::Ready), None, left).await?;
    terminal.answer(&Answer {
        name: name.into(),
        namespace: cluster.namespace.clone(),
        command: "adopt",
        revision: Some(heir.revision),
        changed: true,
        images: vec![],
        message: format!("Deployment {name} is a BlueGreenDeployment now, with its pods as they are"),
        outcome: Some(outcome),
    })
}

fn missing(cluster: &Cluster, name: &str) -> Failure {
    Failure::Refused(format!("there is no Deployment \"{name}\" in namespace {}", cluster.namespace))
}

/// The Deployment goes, and the BlueGreenDeployment is there, paused.
async fn leave(cluster: &Cluster, terminal: Terminal, name: &str, deadline: Instant) -> Result {
    let (ours, theirs) = (Resource::BlueGreenDeployment.api_resource(), deployments());
    let mut tries = 0;
    while tries < TRIES {
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
        let of_this = object.as_ref().and_then(|object| trim::annotation(object, keys::ADOPTING)) == uid.as_deref();
        if begun
            && !of_this
            && !owned(cluster, &trim::text(&object.clone().unwrap_or_default(), "/metadata/uid").unwrap_or_default()).await?.is_empty()
        {
            let again = format!("somebody has made Deployment {name} again, and its pods are others than those that are being taken over");
            return Err(Failure::Refused(format!("{again}; stop whoever applies it, delete it, and call this again")));
        }
        if deployment.pointer("/metadata/deletionTimestamp").is_some() && begun {
            return hand::gone(cluster, &theirs, name, uid.as_deref(), deadline).await;
        }
        let held = match look(cluster, &deployment).await {
            Ok(Found { manifest, notes }) => {
                // Once: what was made is looked at again.
                note(if object.is_none() { &notes } else { &[] });
                adopt::held(manifest, uid.as_deref().unwrap_or_default())
            }
            // It was at rest a moment ago: somebody scales it, or rolls something out.
            Err(Failure::Refused(_)) if begun && adopt::moving(&deployment) && Instant::now() < deadline => {
                tokio::time::sleep(hand::AGAIN).await;
                continue;
            }
            Err(Failure::Refused(why)) if begun => {
                return Err(Failure::Refused(format!("{why}. BlueGreenDeployment {name} is left, paused; call it again, or delete that")));
            }
            Err(failure) => return Err(failure),
        };
        tries += 1;
        let Some(object) = object else {
            cluster
                .create(&ours, &held)
                .await
                .map_err(|refusal| failed(format!("BlueGreenDeployment \"{name}\" could not be made"), refusal.words()))?;
            terminal.say(&format!("BlueGreenDeployment {name} is there, and paused."))?;
            awake(cluster, name, deadline).await?;
            continue;
        };
        // The Deployment may have changed since it was made.
        if let Some(patch) = adopt::renewed(&object, &held) {
            let unreadable = |error: serde_json::Error| Failure::Unreadable { what: "the patch".into(), error: error.to_string() };
            if matches!(cluster.patch(name, Patch::Json(serde_json::from_value(patch).map_err(unreadable)?)).await?, Changed::Conflict) {
                continue;
            }
        }
        awake(cluster, name, deadline).await?;
        if matches!(cluster.delete_alone(&theirs, &deployment).await?, Changed::Done) {
            hand::gone(cluster, &theirs, name, uid.as_deref(), deadline).await?;
            return terminal.say(&format!("Deployment {name} is gone; its ReplicaSet and its pods stayed."));
        }
    }
    Err(Failure::Contended(format!("Deployment {name}")))
}

/// The ReplicaSets that an object controls already.
async fn owned(cluster: &Cluster, owner: &str) -> Result<Vec<Value>> {
    let mut sets = all(cluster, Resource::ReplicaSet).await?;
    sets.retain(|set| trim::controller(set).is_some_and(|(_, _, uid)| uid == owner));
    Ok(sets)
}

/// Waits until the operator has looked at it: where none does, the Deployment must stay.
async fn awake(cluster: &Cluster, name: &str, deadline: Instant) -> Result {
    let what = format!("the operator looks at BlueGreenDeployment {name}");
    let outcome = until(&what, deadline.min(Instant::now() + AWAKE), async || {
        let seen = current(&cluster.object(name).await?);
        Ok(if seen { Look::Done(()) } else { Look::NotYet("it has not; does it run, and look at this namespace?".into()) })
    });
    outcome.await.map_err(|failure| match failure {
        Failure::Late(why) => Failure::Late(format!("{why}. Nothing else was done: kubectl delete bgd {name} ends it")),
        other => other,
    })
}

/// What a look at a Deployment has found.
struct Found {
    /// The BlueGreenDeployment that it is to become.
    manifest: Value,
    /// What is to be known, though nothing is wrong.
    notes: Vec<String>,
}

/// What the standard output holds may be a manifest.
fn note(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("{note}."));
}

/// Everything that could be wrong with it, found before anything is written; and the BlueGreenDeployment that it is to become.
async fn look(cluster: &Cluster, deployment: &Value) -> Result<Found> {
    let name = trim::text(deployment, "/metadata/name").unwrap_or_default();
    let refused = |why: String| Failure::Refused(format!("Deployment {name} can't be taken over: {why}"));
    if let Some(why) = adopt::held_up(deployment) {
        return Err(refused(why));
    }
    let theirs = deployments();
    let (sets, pods, services, slices, budgets, others) = tokio::join!(
        all(cluster, Resource::ReplicaSet),
        all(cluster, Resource::Pod),
        all(cluster, Resource::Service),
        all(cluster, Resource::EndpointSlice),
        all(cluster, Resource::PodDisruptionBudget),
        cluster.list_kind::<Value>(&theirs, Some(&cluster.namespace), None)
    );
    let (sets, pods, services, slices, rivals) = (sets?, pods?, services?, slices?, others?);
    let led = adopt::services(deployment.pointer("/spec/template").unwrap_or(&Value::Null), &services);
    let manifest = adopt::manifest(deployment, &led);
    // As it would be stored; what the API server has against it, it says in its own words.
    let stored = match cluster.dry_create(&Resource::BlueGreenDeployment.api_resource(), &manifest).await {
        Ok(stored) => stored,
        // Made by an earlier call.
        Err(Refusal::Api(status)) if status.code == 409 => {
            adopt::merged(&manifest, &json!({"metadata": {"namespace": cluster.namespace, "uid": "unknown"}}))
        }
        Err(Refusal::Api(status)) => return Err(refused(check::causes(&status).join("; "))),
        Err(Refusal::Other(words)) => return Err(failed("the BlueGreenDeployment could not be tried", words)),
    };
    let identity = identity(cluster, &stored).await?;
    let owner = trim::text(deployment, "/metadata/uid").unwrap_or_default();
    let heirs = adopt::heirs(&sets, &name, &owner, &trim::strings(deployment, "/spec/selector/matchLabels"), &identity);
    let Some(heir) = heirs.into_iter().find(|heir| heir.serves && heir.identity == identity) else {
        return Err(refused("the API server makes another pod template of it than that of its ReplicaSet; restart the rollout first".into()));
    };
    let is = |service: &&Value, name: &String| trim::text(service, "/metadata/name").as_ref() == Some(name);
    if let Some(why) = led.iter().find_map(|name| adopt::applied(services.iter().find(|service| is(service, name))?)) {
        return Err(refused(why));
    }
    let theirs = |pod: &&Value| trim::controller(pod).is_some_and(|(_, _, set)| set == heir.uid);
    let (pods, others): (Vec<Value>, Vec<Value>) = pods.into_iter().partition(|pod| theirs(&pod));
    let Some(set) = sets.into_iter().find(|set| trim::text(set, "/metadata/uid").as_ref() == Some(&heir.uid)) else {
        return Err(refused("its ReplicaSet is gone".into()));
    };
    if let Some(why) = adopt::rival(&set, &name, &rivals) {
        return Err(refused(why));
    }
    rights(cluster, &name, &heir, &set, pods.first()).await?;
    let (set, pods) = adopt::foreseen(&set, &pods, &heir, &stored);
    let tagged = |resource: Resource, objects: Vec<Value>| objects.into_iter().map(move |object| (resource, object));
    let seen = tagged(Resource::ReplicaSet, vec![set]).chain(tagged(Resource::Pod, pods)).chain(tagged(Resource::Pod, others));
    let seen = seen.chain(tagged(Resource::Service, services)).chain(tagged(Resource::EndpointSlice, slices));
    // Who may not read them is told nothing of them.
    let seen = seen.chain(tagged(Resource::PodDisruptionBudget, budgets.unwrap_or_default()));
    // What the operator would find wrong once everything is its own.
    let snapshot = check::snapshot(&Seen { object: stored, others: seen.collect() }, Timestamp::now());
    match snapshot.as_ref().and_then(|snapshot| bluegreen::release::preflight::problems(snapshot).next()) {
        Some(block) => Err(refused(adopt::words(&block))),
        None => Ok(Found { manifest, notes: snapshot.as_ref().map(hints).unwrap_or_default() }),
    }
}

/// Hash of the pod template as the API server would store it.
async fn identity(cluster: &Cluster, object: &Value) -> Result<String> {
    let tried = dry::replica_set(cluster, &read(object.clone())?).await;
    let tried = tried.map_err(|refusal| failed("the pod template could not be tried as a ReplicaSet", refusal.words()))?;
    Ok(tried.pointer("/spec/template").map(template_identity).unwrap_or_default())
}

/// Fails where what is to be written later would be refused: then the Deployment is gone already.
async fn rights(cluster: &Cluster, name: &str, heir: &Heir, set: &Value, pod: Option<&Value>) -> Result {
    if let Some(patch) = adopt::set_patch(set, heir, (name, "")) {
        cluster.dry_change(&Resource::ReplicaSet.api_resource(), &heir.name, patch).await?;
    }
    if let Some((pod, patch)) = pod.and_then(|pod| Some((trim::text(pod, "/metadata/name")?, adopt::pod_patch(pod, heir, name)?))) {
        cluster.dry_change(&Resource::Pod.api_resource(), &pod, patch).await?;
    }
    hand::may_scale(cluster, name, THEIRS, OURS).await
}

/// The ReplicaSets and pods get the marks of revisions; answers the one that serves.
async fn take(cluster: &Cluster, terminal: Terminal, name: &str, object: &Value, deadline: Instant) -> Result<Heir> {
    let (sets, pods) = (Resource::ReplicaSet.api_resource(), Resource::Pod.api_resource());
    let owner = trim::text(object, "/metadata/uid").unwrap_or_default();
    let selector: BTreeMap<String, String> = trim::strings(object, "/spec/selector/matchLabels");
    let identity = identity(cluster, object).await?;
    let heirs = adopt::heirs(&all(cluster, Resource::ReplicaSet).await?, name, &owner, &selector, &identity);
    // The template may have been changed meanwhile: then that is released when it serves.
    let Some(serving) = heirs.iter().find(|heir| heir.serves).cloned() else {
        let remedy =
            format!("call this again if there is such a Deployment; else take the annotation {} off BlueGreenDeployment {name}", keys::ADOPTING);
        return Err(Failure::Stuck(format!("no ReplicaSet of Deployment {name} is left that is nobody's; {remedy}, and resume it")));
    };
    for heir in &heirs {
        hand::write(cluster, &sets, &heir.name, |set| adopt::set_patch(set, heir, (name, &owner))).await?;
    }
    until("every pod has the label of its revision", deadline, async || {
        let labels = selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let found: Vec<Value> = cluster.list(Resource::Pod, Some(&cluster.namespace), Some(&labels)).await?;
        for pod in found.iter().filter(|pod| trim::controller(pod).is_some_and(|(_, _, set)| set == serving.uid)) {
            let pod = trim::text(pod, "/metadata/name").unwrap_or_default();
            hand::write(cluster, &pods, &pod, |pod| adopt::pod_patch(pod, &serving, name)).await?;
        }
        let Some(set) = cluster.find(&sets, &serving.name).await? else {
            return Err(Failure::Stuck(format!("ReplicaSet {} was deleted", serving.name)));
        };
        let seen = || format!("ReplicaSet {}: {}", serving.name, set.pointer("/status").unwrap_or(&Value::Null));
        Ok(if whole(&set) { Look::Done(()) } else { Look::NotYet(seen()) })
    })
    .await?;
    let ours = owned(cluster, &owner).await?;
    hand::write(cluster, &sets, &serving.name, |_| adopt::serving(&ours, &serving)).await?;
    terminal.say(&format!("ReplicaSet {} is revision {} now, with its pods as they are.", serving.name, serving.revision))?;
    Ok(serving)
}

/// Waits until the operator knows who serves.
async fn known(cluster: &Cluster, name: &str, heir: &Heir, deadline: Instant) -> Result {
    until("the operator takes the ReplicaSet over", deadline, async || {
        let status = cluster.object(name).await?.status.unwrap_or_default();
        let active = status.active.as_ref().map(|active| active.revision.as_str());
        let seen = || format!("status.active is {active:?}; does the operator run?");
        Ok(if active == Some(heir.revision.as_str()) { Look::Done(()) } else { Look::NotYet(seen()) })
    })
    .await
}
