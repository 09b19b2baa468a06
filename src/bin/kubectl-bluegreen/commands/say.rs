//! The commands that say something to the operator, by an annotation.

use std::time::Duration;

use bluegreen::api::BlueGreenDeployment;
use bluegreen::release::Set;
use kube::api::Patch;
use serde_json::json;

use crate::answer::Answer;
use crate::args::Said;
use crate::choose::{No, Word};
use crate::cluster::{Changed, Cluster};
use crate::failure::{Failure, Result};
use crate::history;
use crate::terminal::Terminal;

use super::status::replica_sets;
use super::wait;

/// For how long the operator may need to look at the latest change.
const LOOK: Duration = Duration::from_secs(10);
/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(200);
/// Tries against others who change the object at the same time.
pub const TRIES: usize = 20;

/// Chooses what to say, says it, and waits for it if that is wanted.
pub async fn run(
    cluster: &Cluster,
    terminal: Terminal,
    command: &'static str,
    said: &Said,
    choose: impl Fn(&BlueGreenDeployment, &[Set]) -> std::result::Result<Word, No>,
) -> Result {
    let name = &said.name;
    let word = write(cluster, name, choose).await?;
    terminal.say(&format!("{name}: {}.", word.then))?;
    let outcome = if said.wait { Some(wait::until(cluster, terminal, name, &word.aim, Some(word.key), said.timeout).await?) } else { None };
    terminal.answer(&Answer {
        name: name.clone(),
        namespace: cluster.namespace.clone(),
        command,
        revision: Some(word.revision),
        changed: true,
        images: vec![],
        message: word.then,
        outcome,
    })
}

async fn write(cluster: &Cluster, name: &str, choose: impl Fn(&BlueGreenDeployment, &[Set]) -> std::result::Result<Word, No>) -> Result<Word> {
    let patience = tokio::time::Instant::now() + LOOK;
    let mut tries = 0;
    loop {
        let (object, all) = tokio::join!(cluster.object(name), replica_sets(cluster, name));
        let object = object?;
        let sets = history::sets(&object, &all?);
        match choose(&object, &sets) {
            Err(No::Refused(why)) => return Err(Failure::Refused(why)),
            Err(No::NotYet) if tokio::time::Instant::now() >= patience => {
                return Err(Failure::Late(format!(
                    "the operator has not looked at the latest change of {name} in {} s; does it run?",
                    LOOK.as_secs()
                )));
            }
            Err(No::NotYet) => {}
            Ok(word) => {
                let annotations = json!({word.key: word.value});
                let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version, "annotations": annotations}});
                if matches!(cluster.patch(name, Patch::Merge(patch)).await?, Changed::Done) {
                    return Ok(word);
                }
                tries += 1;
                if tries == TRIES {
                    return Err(Failure::Contended(name.into()));
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
