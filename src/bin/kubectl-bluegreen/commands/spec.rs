//! The commands that change the spec: pause, resume, set-image.

use bluegreen::api::keys;
use kube::api::Patch;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cluster::{Changed, Cluster};
use crate::failure::{Failure, Result};
use crate::image::{self, Change};
use crate::terminal::Terminal;

use super::eject;
use super::say::TRIES;

/// Sets spec.paused.
pub async fn pause(cluster: &Cluster, terminal: Terminal, name: &str, paused: bool) -> Result {
    let command = if paused { "pause" } else { "resume" };
    for _ in 0..TRIES {
        let object = cluster.object(name).await?;
        let ejecting = object.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(keys::EJECTING));
        if ejecting && !paused {
            eject::back(cluster, terminal, name).await?;
        } else if object.spec.paused == paused {
            let message = format!("{name} {}; nothing was changed", if paused { "is paused already" } else { "is not paused" });
            return told(cluster, terminal, name, command, false, message);
        }
        let mut metadata = json!({"resourceVersion": object.metadata.resource_version});
        if let (true, false, Some(metadata)) = (ejecting, paused, metadata.as_object_mut()) {
            metadata.insert("annotations".into(), json!({keys::EJECTING: null}));
        }
        let patch = json!({"metadata": metadata, "spec": {"paused": paused}});
        if matches!(cluster.patch(name, Patch::Merge(patch)).await?, Changed::Done) {
            let message = if paused {
                format!("{name} is paused: no Service is moved and nothing is scaled down until kubectl bluegreen resume {name}. Deadlines run on")
            } else {
                format!("{name} goes on")
            };
            return told(cluster, terminal, name, command, true, message);
        }
    }
    Err(Failure::Contended(name.into()))
}

/// Tells people in a sentence, and programs in theirs.
fn told(cluster: &Cluster, terminal: Terminal, name: &str, command: &'static str, changed: bool, message: String) -> Result {
    terminal.say(&format!("{message}."))?;
    terminal.answer(&answer(cluster, name, command, changed, message))
}

fn answer(cluster: &Cluster, name: &str, command: &'static str, changed: bool, message: String) -> Answer {
    let namespace = cluster.namespace.clone();
    Answer { name: name.into(), namespace, command, revision: None, changed, images: vec![], message, outcome: None }
}

/// Changes images of the template.
pub async fn set_image(cluster: &Cluster, terminal: Terminal, name: &str, changes: &[Change]) -> Result {
    for _ in 0..TRIES {
        let object = cluster.raw(name).await?;
        let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
        let replaced = image::replace(template, changes)?;
        if replaced.is_empty() {
            return told(cluster, terminal, name, "set-image", false, format!("{name} has these images already; nothing was changed"));
        }
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let patch = serde_json::from_value(image::patch(version, &replaced))
            .map_err(|error| Failure::Unreadable { what: "the patch".into(), error: error.to_string() })?;
        if matches!(cluster.patch(name, Patch::Json(patch)).await?, Changed::Done) {
            for image::Replaced { container, old, new, .. } in &replaced {
                terminal.say(&format!("{name}: container {container} gets {new} (it had {}).", old.as_deref().unwrap_or("none")))?;
            }
            let message = format!("{name} gets other images");
            return terminal.answer(&Answer { images: replaced, ..answer(cluster, name, "set-image", true, message) });
        }
    }
    Err(Failure::Contended(name.into()))
}
