//! The drain agent's own DaemonSet and pods: where nothing is measured because nothing was ever meant to be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::trim;
use super::{Concerned, Feed, World};

impl World {
    /// Takes the DaemonSet, or its absence.
    pub(super) fn insert_agents(&mut self, object: Option<&Value>) -> Concerned {
        let before = self.agents();
        self.agents_wanted = object.and_then(settled);
        Concerned::of(if self.agents() == before { BTreeSet::new() } else { self.keys() })
    }

    /// Takes one of the drain agent's own pods.
    pub fn insert_agent_pod(&mut self, object: &Value) -> Concerned {
        let (Some((uid, version)), Some(node)) = (trim::identity(object), trim::text(object, "/spec/nodeName")) else {
            return Concerned::default();
        };
        let before = self.agents();
        self.agent_pods.insert(&uid, &version, "", node.clone());
        self.agents_changed(&before, Some(&node))
    }

    /// Forgets one of the drain agent's own pods.
    pub fn remove_agent_pod(&mut self, object: &Value) -> Concerned {
        let before = self.agents();
        let node = trim::identity(object).and_then(|(uid, version)| self.agent_pods.remove(&uid, &version));
        self.agents_changed(&before, node.as_deref())
    }

    /// A watch of the agent's own pods lists anew, or is done with it.
    pub fn agent_pods(&mut self, done: bool) -> Concerned {
        if done {
            self.agent_pods.relisted("");
        } else {
            self.agent_pods.relist("");
        }
        Concerned::of(if done { self.keys() } else { BTreeSet::new() })
    }

    /// Nodes with an agent pod, and whether a node without one is meant to have none.
    ///
    /// The DaemonSet alone does not tell: it comes by another watch than its pods, goes on counting a pod that is being deleted, and counts
    /// one that no node has room for. So it is believed only while as many nodes have an agent as it says are to have one.
    pub fn agents(&self) -> (BTreeSet<String>, bool) {
        let nodes: BTreeSet<String> = self.agent_pods.values().cloned().collect();
        let fed = self.agent_pods.synced(&[String::new()]) && !self.fails(Feed::Agents, "") && !self.fails(Feed::AgentPods, "");
        let settled = fed && self.agents_wanted.is_some_and(|wanted| usize::try_from(wanted) == Ok(nodes.len()));
        (nodes, settled)
    }

    fn agents_changed(&self, before: &(BTreeSet<String>, bool), node: Option<&str>) -> Concerned {
        let after = self.agents();
        match node {
            // What is true of nodes without an agent has changed.
            _ if after.1 != before.1 => Concerned::of(self.keys()),
            Some(node) if after != *before => Concerned::of(self.keys_on(node)),
            _ => Concerned::default(),
        }
    }
}

/// How many nodes a DaemonSet that has settled wants to have a pod.
fn settled(object: &Value) -> Option<i64> {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let wanted = number("/status/desiredNumberScheduled");
    let settled = number("/status/observedGeneration") == number("/metadata/generation")
        && number("/status/updatedNumberScheduled") == wanted
        && number("/status/currentNumberScheduled") == wanted
        && number("/status/numberMisscheduled") == 0;
    settled.then_some(wanted)
}
