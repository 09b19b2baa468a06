//! The revisions of a BlueGreenDeployment: its ReplicaSets, and what became of each.

use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus};
use bluegreen::controller::trim;
use bluegreen::release::{RoleKind, Set};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// One revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name.
    pub revision: String,
    /// `blue` or `green`.
    pub color: String,
    /// `active`, `incoming`, `draining`, `rejected` or `kept`.
    pub state: String,
    /// Whether it is that of spec.template.
    pub asked_for: bool,
    /// Pods.
    pub pods: i32,
    /// When its ReplicaSet was made.
    pub created: Timestamp,
    /// The number of the move that last brought it the traffic, or took it away; absent if it never served.
    pub attempt: Option<i64>,
    /// Images of its containers.
    pub images: Vec<String>,
}

/// The ReplicaSets of an object, as the operator reads them; of a revision whose pods leave one by one the first only.
pub fn sets(object: &BlueGreenDeployment, all: &[Value]) -> Vec<Set> {
    let uid = object.metadata.uid.as_deref();
    let mine = |set: &&Value| trim::controller(set).is_some_and(|(_, _, owner)| Some(owner.as_str()) == uid);
    let mut sets: Vec<Set> = all.iter().filter(mine).filter_map(trim::set).filter(|set| !set.deleting).collect();
    sets.sort_by_key(|set| set.issue);
    let mut known: Vec<Set> = vec![];
    for set in sets {
        if known.iter().all(|other| other.revision != set.revision) {
            known.push(set);
        }
    }
    known
}

/// Whether a revision has been given traffic, ever.
pub fn served(set: &Set) -> bool {
    set.role.is_some()
}

/// Every revision, the latest first.
pub fn entries(object: &BlueGreenDeployment, sets: &[Set]) -> Vec<Entry> {
    let none = BlueGreenDeploymentStatus::default();
    let status = object.status.as_ref().unwrap_or(&none);
    let mut entries: Vec<Entry> = sets
        .iter()
        .map(|set| Entry {
            revision: set.revision.clone(),
            color: set.color.name().into(),
            state: state(status, set).into(),
            asked_for: status.revision.as_ref() == Some(&set.revision),
            pods: set.replicas,
            created: set.created,
            attempt: set.role.map(|role| role.attempt),
            images: set.images.split(',').map(str::to_owned).collect(),
        })
        .collect();
    // What this release is about comes first; a set that is being left may bear the number of the move away from it.
    let place = |entry: &Entry| match entry.state.as_str() {
        "incoming" | "rejected" if entry.asked_for => 2,
        "active" => 1,
        _ => 0,
    };
    entries.sort_by_key(|entry| std::cmp::Reverse((place(entry), entry.attempt, entry.created)));
    entries
}

fn state(status: &BlueGreenDeploymentStatus, set: &Set) -> &'static str {
    let is = |revision: Option<&str>| revision == Some(set.revision.as_str());
    if is(status.switch.as_ref().map(|switch| switch.to.as_str())) {
        "active"
    } else if status.draining.iter().any(|draining| draining.revision == set.revision) {
        "draining"
    } else if is(status.rejected.as_ref().map(|rejected| rejected.revision.as_str())) {
        "rejected"
    } else if is(status.inactive.as_ref().map(|inactive| inactive.revision.as_str())) {
        "incoming"
    } else if set.role.is_some_and(|role| role.kind != RoleKind::Retired) && set.desired > 0 {
        "draining"
    } else {
        "kept"
    }
}

#[cfg(test)]
#[path = "tests/history.rs"]
mod tests;
