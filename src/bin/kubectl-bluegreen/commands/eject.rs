//! `eject`: a BlueGreenDeployment becomes a Deployment, while its pods serve.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use bluegreen::controller::{manifest, trim};
use bluegreen::release::Service;
use kube::api::Patch;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::answer::Answer;
use crate::check;
use crate::choose::No;
use crate::cluster::{Changed, Cluster, Refusal, failed, read};
use crate::eject;
use crate::failure::{Failure, Result};
use crate::hand::{OURS, THEIRS};
use crate::report::current;
use crate::terminal::Terminal;

use super::hand::{self, Look, all, deployments, until};
use super::say::TRIES;
use super::status::replica_sets;

/// How long the garbage collector may take.
const BACK: Duration = Duration::from_secs(60);

/// Gives a BlueGreenDeployment up for a Deployment.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str, timeout: Duration) -> Result {
    let deadline = Instant::now() + timeout;
    leave(cluster, terminal, name, deadline).await?;
    for set in replica_sets(cluster, name).await? {
        let own = trim::text(&set, "/metadata/name").unwrap_or_default();
        hand::write(cluster, &Resource::ReplicaSet.api_resource(), &own, eject::set_patch).await?;
    }
    // Paused, it counts its pods already: before they are of its template it may not go on.
    goes_on(cluster, "the Deployment takes the ReplicaSet over", name, deadline).await?;
    hand::scale_by(cluster, terminal, name, OURS, THEIRS).await?;
    let unless = |held: bool, patch: Value| held.then_some(patch);
    let paused = |deployment: &Value| deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
    hand::write(cluster, &deployments(), name, |now| unless(paused(now), json!({"spec": {"paused": false}}))).await?;
    goes_on(cluster, "the Deployment goes on", name, deadline).await?;
    // Last: until then this can be called again.
    let held = |deployment: &Value| trim::annotation(deployment, keys::EJECTING).is_some();
    let over = json!({"metadata": {"annotations": {keys::EJECTING: null}}});
    hand::write(cluster, &deployments(), name, |now| unless(held(now), over.clone())).await?;
    // To its controller an annotation is a change as well.
    goes_on(cluster, "the Deployment has seen that it is finished", name, deadline).await?;
    let message = format!("Deployment {name} serves, with the pods as they were");
    terminal.say(&format!("{message}."))?;
    let namespace = cluster.namespace.clone();
    terminal.answer(&Answer { name: name.into(), namespace, command: "eject", revision: None, changed: true, images: vec![], message, outcome: None })
}

async fn goes_on(cluster: &Cluster, what: &str, name: &str, deadline: Instant) -> Result {
    until(what, deadline, async || {
        let Some(deployment) = cluster.find(&deployments(), name).await? else {
            return Err(Failure::Stuck(format!("Deployment {name} was deleted; its ReplicaSets may be nobody's")));
        };
        Ok(if eject::goes_on(&deployment) { Look::Done(()) } else { Look::NotYet(deployment.pointer("/status").unwrap_or(&Value::Null).to_string()) })
    })
    .await
}

/// The BlueGreenDeployment goes, and the Deployment is there, paused.
async fn leave(cluster: &Cluster, terminal: Terminal, name: &str, deadline: Instant) -> Result {
    let (ours, theirs) = (Resource::BlueGreenDeployment.api_resource(), deployments());
    let mut tries = 0;
    while tries < TRIES {
        let (deployment, object) = tokio::join!(cluster.find(&theirs, name), cluster.find(&ours, name));
        let (deployment, object) = (deployment?, object?);
        let begun = deployment.as_ref().is_some_and(|deployment| trim::annotation(deployment, keys::EJECTING).is_some());
        let object = match object {
            Some(object) if deployment.is_none() || begun => object,
            Some(_) => {
                return Err(Failure::Refused(format!("there is a Deployment {name} already, which is about other pods; delete one of the two")));
            }
            None if begun => return terminal.say(&format!("BlueGreenDeployment {name} is gone already; going on.")),
            None => return Err(Failure::NoObject { name: name.into(), namespace: cluster.namespace.clone() }),
        };
        let uid = trim::text(&object, "/metadata/uid");
        if object.pointer("/metadata/deletionTimestamp").is_some() && begun {
            return hand::gone(cluster, &ours, name, uid.as_deref(), deadline).await;
        }
        let held = object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) && trim::annotation(&object, keys::EJECTING).is_some();
        let (wanted, set) = match look(cluster, &object, deployment.as_ref()).await? {
            Ok(found) => found,
            // Somebody has just changed it.
            Err(No::NotYet) if Instant::now() < deadline => {
                tokio::time::sleep(hand::AGAIN).await;
                continue;
            }
            Err(no) => {
                let why = if let No::Refused(why) = no {
                    why
                } else {
                    "the operator has not looked at the latest change yet, or old pods are still ending; does it run?".into()
                };
                let paused = if held {
                    format!(". It is paused since this has begun; kubectl bluegreen resume {name} takes that back")
                } else {
                    String::new()
                };
                return Err(Failure::Refused(format!("{name} can't go back to a Deployment: {why}{paused}")));
            }
        };
        tries += 1;
        if !held {
            hold(cluster, name, &object, deadline).await?;
            terminal.say(&format!("BlueGreenDeployment {name} is paused."))?;
            continue;
        }
        let deployment = match deployment {
            // Left by an earlier call; since then something else may serve, or it was scaled. It has no pods of its own yet.
            Some(deployment) if eject::differs(&deployment, &wanted) => {
                cluster.delete_alone(&theirs, &deployment).await?;
                hand::gone(cluster, &theirs, name, trim::text(&deployment, "/metadata/uid").as_deref(), deadline).await?;
                continue;
            }
            Some(deployment) => deployment,
            None => {
                let made = cluster.create(&theirs, &wanted).await;
                let made = made.map_err(|refusal| failed(format!("Deployment \"{name}\" could not be made"), refusal.words()))?;
                terminal.say(&format!("Deployment {name} is there, and paused."))?;
                made
            }
        };
        free(cluster, terminal, uid.as_deref()).await?;
        if let Some(patch) = eject::given(&set, &deployment) {
            let own = trim::text(&set, "/metadata/name").unwrap_or_default();
            if matches!(cluster.change(&Resource::ReplicaSet.api_resource(), &own, Patch::Merge(patch)).await?, Changed::Conflict) {
                continue;
            }
        }
        if matches!(cluster.delete_alone(&ours, &object).await?, Changed::Done) {
            hand::gone(cluster, &ours, name, uid.as_deref(), deadline).await?;
            return terminal.say(&format!("BlueGreenDeployment {name} is gone; its ReplicaSets and its pods stayed."));
        }
    }
    Err(Failure::Contended(name.into()))
}

/// The Deployment that is to follow and the ReplicaSet that serves, where nothing is against it.
async fn look(cluster: &Cluster, object: &Value, deployment: Option<&Value>) -> Result<std::result::Result<(Value, Value), No>> {
    let name = trim::text(object, "/metadata/name").unwrap_or_default();
    let (sets, pods) = tokio::join!(replica_sets(cluster, &name), all(cluster, Resource::Pod));
    let (sets, pods) = (sets?, pods?);
    let read = read(object.clone())?;
    let successor = deployment.and_then(|deployment| trim::text(deployment, "/metadata/uid"));
    let set = match eject::settled(&read, &sets, &pods, successor.as_deref()) {
        Ok(set) => set.clone(),
        Err(no) => return Ok(Err(no)),
    };
    let wanted = eject::manifest(object, &set);
    match cluster.dry_create(&deployments(), &wanted).await {
        // Whoever changes Deployments on their way would have all pods started anew.
        Ok(tried) if !eject::same(tried.pointer("/spec/template").unwrap_or(&Value::Null), set.pointer("/spec/template").unwrap_or(&Value::Null)) => {
            Ok(Err(No::Refused("an admission webhook makes another pod template of the Deployment's, which would start all pods anew".into())))
        }
        Err(Refusal::Api(status)) if status.code != 409 => Ok(Err(No::Refused(check::causes(&status).join("; ")))),
        Err(Refusal::Other(words)) => Err(failed("the Deployment could not be tried", words)),
        Ok(_) | Err(Refusal::Api(_)) => {
            rights(cluster, &name, object, &set).await?;
            Ok(Ok((wanted, set)))
        }
    }
}

/// Fails where what is to be written later would be refused.
async fn rights(cluster: &Cluster, name: &str, object: &Value, set: &Value) -> Result {
    let own = trim::text(set, "/metadata/name").unwrap_or_default();
    let change = json!({"metadata": {"uid": trim::text(set, "/metadata/uid"), "annotations": {keys::EJECTING: "dry run"}}});
    cluster.dry_change(&Resource::ReplicaSet.api_resource(), &own, change).await?;
    let owner = trim::text(object, "/metadata/uid");
    for service in all(cluster, Resource::Service).await? {
        if let Some(patch) = freed(&service, owner.as_deref()) {
            let service = trim::text(&service, "/metadata/name").unwrap_or_default();
            cluster.dry_change(&Resource::Service.api_resource(), &service, patch).await?;
        }
    }
    hand::may_scale(cluster, name, OURS, THEIRS).await
}

/// Takes an `eject` back that is not finished: the Deployment goes, and its ReplicaSet becomes the operator's again.
pub async fn back(cluster: &Cluster, terminal: Terminal, name: &str) -> Result {
    let theirs = deployments();
    // Its controller may write its status in between, and then it is not the version that was looked at.
    for _ in 0..TRIES {
        let Some(deployment) = cluster.find(&theirs, name).await?.filter(|found| trim::annotation(found, keys::EJECTING).is_some()) else {
            return Ok(());
        };
        if matches!(cluster.delete_alone(&theirs, &deployment).await?, Changed::Done) {
            let uid = trim::text(&deployment, "/metadata/uid");
            hand::gone(cluster, &theirs, name, uid.as_deref(), Instant::now() + BACK).await?;
            return terminal.say(&format!("Deployment {name}, which was to follow it, is gone."));
        }
    }
    Err(Failure::Contended(format!("Deployment {name}")))
}

/// Pauses it, and waits until the operator knows: no release begins any more.
async fn hold(cluster: &Cluster, name: &str, object: &Value, deadline: Instant) -> Result {
    let patch = json!({
        "metadata": {"resourceVersion": object.pointer("/metadata/resourceVersion"), "annotations": {keys::EJECTING: object.pointer("/metadata/uid")}},
        "spec": {"paused": true},
    });
    if matches!(cluster.patch(name, Patch::Merge(patch)).await?, Changed::Conflict) {
        return Ok(());
    }
    until("the operator knows that it is paused", deadline, async || {
        let seen = current(&cluster.object(name).await?);
        Ok(if seen { Look::Done(()) } else { Look::NotYet("it has not looked at the latest change; does it run?".into()) })
    })
    .await
}

/// The Services select the pods by their own labels alone: the same pods.
async fn free(cluster: &Cluster, terminal: Terminal, owner: Option<&str>) -> Result {
    for service in all(cluster, Resource::Service).await? {
        if freed(&service, owner).is_some() {
            let name = trim::text(&service, "/metadata/name").unwrap_or_default();
            hand::write(cluster, &Resource::Service.api_resource(), &name, |service| freed(service, owner)).await?;
            terminal.say(&format!("Service {name} selects them without a revision."))?;
        }
    }
    Ok(())
}

/// A Service without what its owner has written there; `None` for those of others.
fn freed(service: &Value, owner: Option<&str>) -> Option<Value> {
    let service: Service = trim::service(service)?;
    let mine = service.owner.as_ref().map(|of| of.uid.as_str()) == owner;
    mine.then(|| manifest::release_patch(&service, true))
}
