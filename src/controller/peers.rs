//! Peers: who holds connections to old pods, by name, and which pods are to be ignored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::api::BlueGreenDeploymentStatus;
use crate::release::Snapshot;
use crate::release::action::Notice;

use super::api::{ApiError, ApiServer, Resource, Which};
use super::context::Context;
use super::trim;

/// Names kept for one object.
const NAMES: usize = 256;
/// While a drain lasts, the pods to ignore are looked up again after so long: an address that was theirs may be somebody else's.
const AGAIN: Duration = Duration::from_secs(30);

/// What was asked for `drain.ignorePeers[].podLabels`: by object, and by place in the list.
#[derive(Debug, Default)]
pub struct Asked(Mutex<HashMap<String, BTreeMap<usize, Answer>>>);

/// Which pods an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    namespace: String,
    labels: String,
}

/// What became of a question.
#[derive(Clone, Debug)]
struct Answer {
    question: Question,
    at: Duration,
    /// What the API server said, if it will not answer.
    refused: Option<String>,
}

impl Asked {
    fn all(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<usize, Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, uid: &str) -> BTreeMap<usize, Answer> {
        self.all().get(uid).cloned().unwrap_or_default()
    }

    fn answered(&self, uid: &str, index: usize, answer: Answer) {
        self.all().entry(uid.to_owned()).or_default().insert(index, answer);
    }

    fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }

    /// Forgets objects that are gone.
    pub fn keep(&self, living: &BTreeSet<String>) {
        self.all().retain(|uid, _| living.contains(uid));
    }
}

/// Looks up the holders that status is about to show and the pods to ignore; names are asked for once, pods to ignore again
/// and again. Answers whether anything new was found, so that the plan is to be made again.
pub async fn name<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) -> bool {
    let mut found = ignored(context, snapshot, status).await;
    if !context.installation.cluster_wide {
        return found;
    }
    let unknown = status
        .draining
        .iter()
        .flat_map(|set| &set.holders)
        .filter(|holder| holder.pod.is_none() && !snapshot.peer_names.contains_key(&holder.address));
    for address in unknown.map(|holder| holder.address.clone()).collect::<BTreeSet<_>>() {
        let which = Which { fields: Some(format!("status.podIP={address}")), ..Which::default() };
        let Ok(pods) = context.api.list(Resource::Pod, "", which).await else {
            continue;
        };
        // Pods with hostNetwork share their node's address: which of them it is can't be told.
        let name = pods
            .iter()
            .find(|pod| has_its_address(pod))
            .and_then(|pod| Some(format!("{}/{}", trim::text(pod, "/metadata/namespace")?, trim::text(pod, "/metadata/name")?)));
        found |= name.is_some();
        context.remember(&snapshot.object.uid, |remembered| {
            if remembered.peers.len() < NAMES {
                remembered.peers.insert(address, name);
            }
        });
    }
    found
}

/// Addresses of the pods that `drain.ignorePeers[].podLabels` names: asked when a drain begins, when somebody unknown holds
/// it, and at intervals while it lasts.
async fn ignored<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) -> bool {
    let object = &snapshot.object;
    if status.draining.is_empty() {
        context.peers.forget(&object.uid);
        context.remember(&object.uid, |remembered| remembered.ignored.clear());
        return false;
    }
    // Without the right to look names up everybody stays a stranger; then only the interval counts.
    let strangers = context.installation.cluster_wide
        && status.draining.iter().flat_map(|set| &set.holders).any(|holder| !snapshot.peer_names.contains_key(&holder.address));
    let now = context.clock.now().mono;
    let asked = context.peers.of(&object.uid);
    let questions: BTreeMap<usize, Question> = object
        .spec
        .drain
        .ignore_peers
        .iter()
        .enumerate()
        .filter_map(|(index, peer)| {
            let namespace = peer.namespace.clone().unwrap_or_else(|| object.namespace.clone());
            Some((index, Question { namespace, labels: selector(peer.pod_labels.as_ref()?) }))
        })
        .collect();
    // An entry that was changed meanwhile must not go on with the addresses of the one that stood in its place.
    let same = |index: &usize| questions.get(index).is_some_and(|question| asked.get(index).is_some_and(|answer| answer.question == *question));
    let mut found = context.remember(&object.uid, |remembered| {
        let before = remembered.ignored.len();
        remembered.ignored.retain(|index, _| same(index));
        remembered.ignored.len() != before
    });
    for (index, question) in questions {
        let last = asked.get(&index).filter(|answer| answer.question == question);
        let refused = last.and_then(|answer| answer.refused.as_deref());
        let known = refused.is_some() || (snapshot.ignored_addresses.contains_key(&index) && !strangers);
        if known && last.is_some_and(|answer| now.saturating_sub(answer.at) < AGAIN) {
            continue;
        }
        let which = Which { labels: Some(question.labels.clone()), ..Which::default() };
        let answer = context.api.list(Resource::Pod, &question.namespace, which).await;
        match answer {
            Ok(pods) => {
                let addresses = addresses(&pods);
                found |= snapshot.ignored_addresses.get(&index) != Some(&addresses);
                context.remember(&object.uid, |remembered| remembered.ignored.insert(index, addresses));
                context.peers.answered(&object.uid, index, Answer { question, at: now, refused: None });
            }
            // It will be refused again. Addresses that can't be looked up any more may be anybody's.
            Err(ApiError::Forbidden(message) | ApiError::Invalid(message)) => {
                if refused != Some(message.as_str()) {
                    context.say(object, &unread(index, &question, &message));
                }
                found |= context.remember(&object.uid, |remembered| remembered.ignored.remove(&index)).is_some();
                context.peers.answered(&object.uid, index, Answer { question, at: now, refused: Some(message) });
            }
            Err(error) => tracing::debug!(namespace = question.namespace, %error, "pods to ignore could not be looked up; again with the next look"),
        }
    }
    found
}

/// What a person must know: nobody is ignored, and the drain lasts until these peers let go.
fn unread(index: usize, question: &Question, message: &str) -> Notice {
    let Question { namespace, labels } = question;
    Notice {
        warning: true,
        reason: "PeersUnread",
        message: format!(
            "spec.drain.ignorePeers[{index}]: pods with {labels} in namespace \"{namespace}\" can't be looked up, so none of them is ignored; write their network as cidr, or let the operator watch that namespace: {message}"
        ),
    }
}

/// Addresses of the pods that have one of their own.
fn addresses(pods: &[Value]) -> Vec<String> {
    let mut addresses: Vec<String> = pods
        .iter()
        .filter(|pod| has_its_address(pod))
        .flat_map(|pod| pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten())
        .filter_map(|address| trim::text(address, "/ip"))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Whether the addresses in a pod's status are its own: with hostNetwork they are the node's, and a pod that has ended keeps
/// them in its status while the network gives them to another one.
fn has_its_address(pod: &Value) -> bool {
    let host_network = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    let ended = matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    !host_network && !ended
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "tests/peers.rs"]
mod tests;
