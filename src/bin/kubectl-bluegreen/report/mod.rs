//! Where a release stands, as plain data: what is shown to people and, as JSON or YAML, to programs.

mod limits;
mod steps;

use std::collections::BTreeMap;

use bluegreen::api::{
    BlueGreenDeployment, BlueGreenDeploymentStatus, Condition, ConditionStatus, ConditionType, DrainingStatus, HookStatus, PhaseName, ProbeStatus,
    SetStatus, keys,
};
use bluegreen::release::{Peer, Set, overlap};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Result;

pub use limits::{Limit, Limited};
pub use steps::{State, Step};

/// Where a release stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the BlueGreenDeployment.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where the release stands; absent before the operator has looked.
    pub phase: Option<PhaseName>,
    /// Whether this is about the present spec; if not, the operator has not looked at the latest change yet.
    pub current: bool,
    /// The revision of the spec.
    pub revision: Option<String>,
    /// The revision that this release is to bring: that of the spec, or the one to return to.
    pub goal: Option<String>,
    /// `spec.paused`.
    pub paused: bool,
    /// Why somebody has to do something.
    pub stalled: Option<Why>,
    /// What it is waiting for.
    pub waiting: Option<Why>,
    /// The revision that was given up, and why.
    pub rejected: Option<Why>,
    /// The way, step by step.
    pub steps: Vec<Step>,
    /// Revisions with pods, and the one to come.
    pub revisions: Vec<Revision>,
    /// Where Services lead.
    pub services: Vec<Route>,
    /// What the smoke probes showed.
    pub probes: Vec<ProbeStatus>,
    /// Hooks of this release and of the last one.
    pub hooks: Vec<HookStatus>,
    /// Revisions that are being left.
    pub draining: Vec<DrainingStatus>,
    /// What time limits, as far as it can be told.
    pub limits: Vec<Limit>,
    /// Members of its group, itself among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<Member>,
    /// Why its group is not known, where it has one that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_unknown: Option<String>,
    /// Commands that are not carried out yet: annotation and value.
    pub commands: Vec<(String, String)>,
}

/// A reason and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A revision with its pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its name.
    pub revision: String,
    /// `blue` or `green`; empty before its ReplicaSet exists.
    pub color: String,
    /// `active`, `beside` (it serves beside the active one), `incoming`, `rejected` or `draining`.
    pub state: &'static str,
    /// Ready pods; of a draining one the pods that are left.
    pub ready: i32,
    /// Wanted pods.
    pub wanted: i32,
    /// Since when it has this place.
    pub since: Option<Timestamp>,
    /// Images of its containers.
    pub images: Vec<String>,
}

/// Where a Service leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Name of the Service.
    pub service: String,
    /// Whether it is one for previews.
    pub preview: bool,
    /// Whether it exists.
    pub exists: bool,
    /// The revision that it selects; absent where it leads nowhere yet.
    pub revision: Option<String>,
    /// The one that serves beside it for now (`traffic.cutover: Overlap`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The release that it names.
    pub release: Option<String>,
    /// The revision that serves.
    pub active: Option<String>,
    /// How far it is, in a few words.
    pub says: String,
}

/// The members of an object's group, by name; none where it has no group.
fn members(object: &BlueGreenDeployment, all: &[BlueGreenDeployment]) -> Vec<Member> {
    let Some(group) = &object.spec.promotion.group else { return vec![] };
    let peers = all.iter().filter_map(Peer::of).filter(|peer| peer.member(&group.name));
    let mut members: Vec<Member> = peers
        .map(|peer| Member {
            says: peer.says(&group.name),
            name: peer.name,
            release: peer.group.and_then(|group| group.release),
            active: peer.moved.map(|moved| moved.to),
        })
        .collect();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    members
}

/// Services that exist, each with its selector.
pub type Selections = BTreeMap<String, BTreeMap<String, String>>;

impl Report {
    /// The same with the members of its group, out of all objects of the namespace. Who may not list them is told everything else.
    pub fn grouped(mut self, object: &BlueGreenDeployment, all: Result<Vec<BlueGreenDeployment>>) -> Self {
        match all {
            Ok(all) => self.group = members(object, &all),
            Err(failure) => self.group_unknown = Some(failure.to_string()),
        }
        self
    }

    /// Puts it together from the object, its ReplicaSets and what its Services select.
    pub fn of(object: &BlueGreenDeployment, sets: &[Set], selected: &Selections) -> Self {
        let none = BlueGreenDeploymentStatus::default();
        let status = object.status.as_ref().unwrap_or(&none);
        let rejected = status.rejected.as_ref();
        let goal = match rejected {
            Some(rejected) => rejected.return_to.clone(),
            None => status.revision.clone(),
        };
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            phase: status.phase,
            current: current(object),
            revision: status.revision.clone(),
            goal,
            paused: object.spec.paused,
            stalled: because(status, ConditionType::Stalled),
            waiting: because(status, ConditionType::Reconciling),
            rejected: rejected.map(|rejected| Why { reason: rejected.reason.clone(), message: rejected.message.clone() }),
            steps: steps::of(object, status),
            revisions: revisions(object, status, sets),
            services: services(object, selected),
            probes: status.smoke_probes.clone(),
            hooks: status.hooks.clone(),
            draining: status.draining.clone(),
            limits: limits::of(object, status, sets),
            group: vec![],
            group_unknown: None,
            commands: pending(object),
        }
    }

    /// Colour of a revision, if it has one.
    pub fn color(&self, revision: &str) -> &str {
        self.revisions.iter().find(|known| known.revision == revision).map_or("", |known| known.color.as_str())
    }

    /// The revision that serves.
    pub fn active(&self) -> Option<&Revision> {
        self.revisions.iter().find(|known| known.state == "active")
    }
}

/// Whether the status is about the present spec.
pub fn current(object: &BlueGreenDeployment) -> bool {
    object.status.as_ref().is_some_and(|status| status.observed_generation == object.metadata.generation.unwrap_or_default())
}

/// A condition of a status.
pub fn condition(status: &BlueGreenDeploymentStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

/// Whether a condition is True.
pub fn is(status: &BlueGreenDeploymentStatus, kind: ConditionType) -> bool {
    condition(status, kind).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Reason and message of a condition that is True.
pub fn because(status: &BlueGreenDeploymentStatus, kind: ConditionType) -> Option<Why> {
    let condition = condition(status, kind).filter(|condition| condition.status == ConditionStatus::True)?;
    Some(Why { reason: condition.reason.clone(), message: condition.message.clone() })
}

/// Commands that are not carried out yet.
pub fn pending(object: &BlueGreenDeployment) -> Vec<(String, String)> {
    let known = |key: &str| keys::command::ALL.contains(&key) || [keys::command::RESTART, keys::command::FINISH_DRAIN].contains(&key);
    let annotations = object.metadata.annotations.iter().flatten();
    annotations.filter(|(key, _)| known(key)).map(|(key, value)| (key.trim_start_matches(keys::PREFIX).to_owned(), value.clone())).collect()
}

fn revisions(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus, sets: &[Set]) -> Vec<Revision> {
    let images = |revision: &str| {
        let set = sets.iter().find(|set| set.revision == revision);
        set.map(|set| set.images.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let row = |set: &SetStatus, state| Revision {
        revision: set.revision.clone(),
        color: set.color.clone(),
        state,
        ready: set.ready_replicas,
        wanted: object.spec.replicas,
        since: Some(set.since),
        images: images(&set.revision),
    };
    let mut all: Vec<Revision> = status.active.iter().map(|set| row(set, "active")).collect();
    all.extend(status.inactive.iter().map(|set| row(set, "incoming")));
    // Status has no row for the one that serves beside it for now.
    if let Some(switch) = status.switch.as_ref().filter(|switch| overlap::wide(switch))
        && let Some(set) = sets.iter().find(|set| Some(&set.revision) == switch.from.as_ref() && set.loose.is_none())
        && all.iter().all(|known| known.revision != set.revision)
    {
        all.push(Revision {
            revision: set.revision.clone(),
            color: set.color.name().into(),
            state: "beside",
            ready: set.counted.unwrap_or(0),
            wanted: set.desired,
            since: None,
            images: images(&set.revision),
        });
    }
    // One that is on its way back while it drains has its row already.
    let drains = status.draining.iter().filter(|set| all.iter().all(|known| known.revision != set.revision));
    let draining = drains.map(|set| Revision {
        revision: set.revision.clone(),
        color: set.color.clone(),
        state: "draining",
        ready: set.pods,
        wanted: 0,
        since: Some(set.since),
        images: images(&set.revision),
    });
    let draining: Vec<Revision> = draining.collect();
    all.extend(draining);
    // Its pods stay for a look, and status has no row for them.
    if let Some(rejected) = &status.rejected
        && all.iter().all(|known| known.revision != rejected.revision)
        && let Some(set) = sets.iter().find(|set| set.revision == rejected.revision)
    {
        all.push(Revision {
            revision: set.revision.clone(),
            color: set.color.name().into(),
            state: "rejected",
            ready: set.counted.unwrap_or(0),
            wanted: set.desired,
            since: Some(rejected.at),
            images: images(&set.revision),
        });
    }
    all
}

fn services(object: &BlueGreenDeployment, selected: &Selections) -> Vec<Route> {
    let traffic = &object.spec.traffic;
    let names = traffic.services.iter().map(|name| (name, false)).chain(traffic.preview_services.iter().map(|name| (name, true)));
    let route = |(name, preview): (&String, bool)| {
        let selector = selected.get(name);
        let switch = object.status.as_ref().and_then(|status| status.switch.as_ref());
        let both = switch.filter(|switch| selector.and_then(|selector| selector.get(keys::SERVING)) == Some(&overlap::mark(switch)));
        let revision = selector.and_then(|selector| selector.get(keys::REVISION)).filter(|revision| *revision != keys::REVISION_NONE);
        let revision = both.map(|switch| &switch.to).or(revision).cloned();
        Route { service: name.clone(), preview, exists: selector.is_some(), revision, beside: both.and_then(|switch| switch.from.clone()) }
    };
    names.map(route).collect()
}

#[cfg(test)]
#[path = "../tests/report.rs"]
mod tests;
