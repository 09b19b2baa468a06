//! Watches that have failed for a while: what they fed is old, and nobody may take it for the present.

use super::super::api::Resource;
use super::{Concerned, World};

/// What a watch feeds, as far as decisions rest on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feed {
    /// BlueGreenDeployments.
    Objects,
    /// ReplicaSets.
    Sets,
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// EndpointSlices.
    Slices,
    /// PodDisruptionBudgets.
    Budgets,
    /// Nodes.
    Nodes,
    /// Reports of the drain agents.
    Reports,
    /// The drain agent's DaemonSet.
    Agents,
    /// The drain agent's own pods.
    AgentPods,
    /// ConfigMaps.
    ConfigMaps,
    /// Secrets.
    Secrets,
}

impl Feed {
    /// The feed of a kind; `None` where no watch feeds it.
    pub fn of(resource: Resource) -> Option<Self> {
        Some(match resource {
            Resource::BlueGreenDeployment => Self::Objects,
            Resource::ReplicaSet => Self::Sets,
            Resource::Pod => Self::Pods,
            Resource::Service => Self::Services,
            Resource::EndpointSlice => Self::Slices,
            Resource::PodDisruptionBudget => Self::Budgets,
            Resource::Node => Self::Nodes,
            Resource::ConnectionWatch => Self::Reports,
            Resource::DaemonSet => Self::Agents,
            Resource::ConfigMap => Self::ConfigMaps,
            Resource::Secret => Self::Secrets,
            Resource::Lease | Resource::Event | Resource::Job => return None,
        })
    }

    /// What of it a release can't do without, as a person calls it. Of the others each is unknown by itself when it is missing.
    fn needed(self) -> Option<&'static str> {
        match self {
            Self::Objects => Some("BlueGreenDeployments"),
            Self::Sets => Some("ReplicaSets"),
            Self::Pods => Some("Pods"),
            Self::Services => Some("Services"),
            Self::Slices => Some("EndpointSlices"),
            Self::Budgets | Self::Nodes | Self::Reports | Self::Agents | Self::AgentPods | Self::ConfigMaps | Self::Secrets => None,
        }
    }
}

impl World {
    /// A watch has failed for a while, or works again.
    pub fn watch_fails(&mut self, feed: Feed, scope: &str, fails: bool) -> Concerned {
        let entry = (feed, scope.to_owned());
        let changed = if fails { self.failing.insert(entry) } else { self.failing.remove(&entry) };
        if changed { Concerned::of(self.keys()) } else { Concerned::default() }
    }

    pub(super) fn fails(&self, feed: Feed, scope: &str) -> bool {
        self.failing.iter().any(|(failing, there)| *failing == feed && there == scope)
    }

    /// What of a namespace can't be read at present.
    pub fn unread(&self, namespace: &str) -> Vec<String> {
        if !self.synced() {
            return vec!["the cluster completely yet".into()];
        }
        let scope = self.scope(namespace);
        self.failing.iter().filter(|(_, there)| *there == scope).filter_map(|(feed, _)| feed.needed()).map(str::to_owned).collect()
    }
}
