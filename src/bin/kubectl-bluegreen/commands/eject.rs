//! `eject`: a BlueGreenDeployment becomes a Deployment, while its pods serve.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use bluegreen::controller::{manifest, trim};
use bluegreen::release::Service;
use kube::api::Patch;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::check;
use crate::cluster::{Changed, Cluster, Refusal, failed, read};
use crate::eject;
use crate::failure::{Failure, Result};
use crate::hand::{OURS, THEIRS};
use crate::report::current;
use crate::terminal::Terminal;

use super::hand::{self, Look, all, deployments, until};
use super::say::TRIES;
use super::status::replica_sets;

/// Gives a BlueGreenDeployment up for a Deployment.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str, timeout: Duration) -> Result {
    let deadline = Instant::now() + timeout;
    leave(cluster, terminal, name, deadline).await?;
    for set in replica_sets(cluster, name).await? {
        let own = trim::text(&set, "/metadata/name").unwrap_or_default();
        hand::write(cluster, &Resource::ReplicaSet.api_resource(), &own, eject::set_patch).await?;
    }
    // It must have its ReplicaSet before it may make one.
    until("the Deployment takes the ReplicaSet over", deadline, async || {
        let deployment = cluster.find(&deployments(), name).await?.unwrap_or_default();
        let uid = trim::text(&deployment, "/metadata/uid");
        let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_i64);
        let sets = all(cluster, Resource::ReplicaSet).await?;
        let mut mine = sets.iter().filter(|set| trim::controller(set).map(|(_, _, owner)| owner) == uid);
        let serves = mine.any(|set| set.pointer("/spec/replicas").and_then(Value::as_i64) == wanted && trim::label(set, keys::REVISION).is_some());
        Ok(if serves { Look::Done(()) } else { Look::NotYet("it has none yet".into()) })
    })
    .await?;
    let go = |deployment: &Value| {
        let held = trim::annotation(deployment, keys::EJECTING).is_some();
        held.then(|| json!({"metadata": {"uid": trim::text(deployment, "/metadata/uid"), "annotations": {keys::EJECTING: null}}, "spec": {"paused": false}}))
    };
    hand::scale_by(cluster, terminal, name, OURS, THEIRS).await?;
    hand::write(cluster, &deployments(), name, go).await?;
    until("the Deployment goes on", deadline, async || {
        let deployment = cluster.find(&deployments(), name).await?.unwrap_or_default();
        Ok(if eject::goes_on(&deployment) { Look::Done(()) } else { Look::NotYet(deployment.pointer("/status").unwrap_or(&Value::Null).to_string()) })
    })
    .await?;
    terminal.say(&format!("Deployment {name} serves, with the pods as they were."))
}

/// The BlueGreenDeployment goes, and the Deployment is there, paused.
async fn leave(cluster: &Cluster, terminal: Terminal, name: &str, deadline: Instant) -> Result {
    let (ours, theirs) = (Resource::BlueGreenDeployment.api_resource(), deployments());
    for _ in 0..TRIES {
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
        let wanted = look(cluster, &object).await?;
        let paused = object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
        if !paused || trim::annotation(&object, keys::EJECTING).is_none() {
            hold(cluster, name, &object, deadline).await?;
            terminal.say(&format!("BlueGreenDeployment {name} is paused."))?;
            continue;
        }
        match deployment {
            None => {
                cluster
                    .create(&theirs, &wanted)
                    .await
                    .map_err(|refusal| failed(format!("Deployment \"{name}\" could not be made"), refusal.words()))?;
                terminal.say(&format!("Deployment {name} is there, and paused."))?;
            }
            // Left by an earlier call, or scaled by somebody meanwhile.
            Some(deployment) if deployment.pointer("/spec/replicas") != wanted.pointer("/spec/replicas") => {
                let replicas = json!({"spec": {"replicas": wanted.pointer("/spec/replicas")}});
                hand::write(cluster, &theirs, name, |_| Some(replicas.clone())).await?;
            }
            Some(_) => {}
        }
        free(cluster, terminal, uid.as_deref()).await?;
        if matches!(cluster.delete_alone(&ours, &object).await?, Changed::Done) {
            hand::gone(cluster, &ours, name, uid.as_deref(), deadline).await?;
            return terminal.say(&format!("BlueGreenDeployment {name} is gone; its ReplicaSets and its pods stayed."));
        }
    }
    Err(Failure::Contended(name.into()))
}

/// The Deployment that is to follow, where nothing is against it.
async fn look(cluster: &Cluster, object: &Value) -> Result<Value> {
    let name = trim::text(object, "/metadata/name").unwrap_or_default();
    let refused = |why: String| Failure::Refused(format!("{name} can't go back to a Deployment: {why}"));
    let (sets, pods) = tokio::join!(replica_sets(cluster, &name), all(cluster, Resource::Pod));
    let (sets, pods) = (sets?, pods?);
    let read = read(object.clone())?;
    let set = eject::settled(&read, &sets, &pods).map_err(refused)?;
    let wanted = eject::manifest(object, set);
    match cluster.dry_create(&deployments(), &wanted).await {
        Ok(_) => Ok(wanted),
        Err(Refusal::Api(status)) if status.code == 409 => Ok(wanted),
        Err(Refusal::Api(status)) => Err(refused(check::causes(&status).join("; "))),
        Err(Refusal::Other(words)) => Err(failed("the Deployment could not be tried", words)),
    }
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
    let ours = |service: &Value| {
        let service: Service = trim::service(service)?;
        let mine = service.owner.as_ref().map(|of| of.uid.as_str()) == owner;
        mine.then(|| manifest::release_patch(&service, true))
    };
    for service in all(cluster, Resource::Service).await? {
        if ours(&service).is_some() {
            let name = trim::text(&service, "/metadata/name").unwrap_or_default();
            hand::write(cluster, &Resource::Service.api_resource(), &name, ours).await?;
            terminal.say(&format!("Service {name} selects them without a revision."))?;
        }
    }
    Ok(())
}
