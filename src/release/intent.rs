//! The recorded intent: which revision is to serve. Read from status, or, where status was lost, rebuilt from what it left on Services and ReplicaSets.

use crate::api::{Cutover, Switch, SwitchCause, keys};

use super::set::{MOST_ATTEMPTS, Role, RoleKind, Set};
use super::snapshot::{Now, Service, Snapshot};

/// The intent on record: in status, or where that is behind, beside the selector of a Service or the fence on a ReplicaSet. A move begins with
/// one of the latter, as one small write is faster than one of the whole object, and users wait for it. Of two with the same number, which
/// two leaders wrote at once, all choose the same: each was tested, and status, which only one of them can write, then decides for good.
/// `services` are those of the object.
pub fn on_record<'a>(status: Option<&Switch>, sets: &'a [Set], services: impl Iterator<Item = &'a Service>) -> Option<Switch> {
    let fenced = sets.iter().filter_map(|set| {
        let switch = set.switch.as_ref()?;
        let valid = set.role == Some(Role::serving(switch.attempt)) && switch.to == set.revision;
        valid.then_some(switch)
    });
    let moved = services.filter_map(|service| {
        let switch = service.switch.as_ref()?;
        let valid = service.selected.as_ref().is_some_and(|selected| selected.revision == switch.to && selected.attempt == switch.attempt);
        valid.then_some(switch)
    });
    let newest = fenced.chain(moved).max_by_key(|switch| (switch.attempt, &switch.to, switch.narrowed_at.is_some()));
    // Also of one and the same move: that the old pods of two revisions were to leave is not forgotten.
    let further = |switch: &Switch, status: &Switch| {
        switch.attempt == status.attempt && switch.to == status.to && switch.narrowed_at.is_some() && status.narrowed_at.is_none()
    };
    let newer = newest.filter(|switch| status.is_none_or(|status| switch.attempt > status.attempt || further(switch, status)));
    newer.or(status).cloned()
}

/// What is known about the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// No traffic was ever moved.
    None,
    /// This one.
    Recorded(Switch),
    /// It was lost and is rebuilt from annotations; to be written before anything else.
    Rebuilt(Switch),
    /// What is left of it contradicts itself; a person must decide.
    Contradictory(String),
}

/// Reads the intent. Annotations with a higher attempt than status mean that status is a restored, older one.
pub fn read(snapshot: &Snapshot, now: Now) -> Intent {
    let mut claims: Vec<(i64, String)> = vec![];
    for service in snapshot.object.spec.traffic.services.iter().filter_map(|name| snapshot.services.get(name)) {
        let known = |revision: &str| snapshot.sets.iter().any(|set| set.revision == revision);
        let ours = |revision: &str| {
            service.owner.as_ref().is_some_and(|owner| {
                // What a former owner left is only worth its word with the ReplicaSet: without it nothing here was ever tested.
                owner.uid == snapshot.object.uid || adopted(snapshot, &owner.uid) && known(revision)
            })
        };
        if let Some(selected) = service.selected.as_ref().filter(|selected| ours(&selected.revision))
            && selected.revision != keys::REVISION_NONE
        {
            claims.push((selected.attempt, selected.revision.clone()));
        }
    }
    for set in &snapshot.sets {
        if let Some(role) = set.role.filter(|role| role.kind == RoleKind::Serving) {
            claims.push((role.attempt, set.revision.clone()));
        }
    }
    if let Some(made_up) = made_up(snapshot, &claims) {
        return Intent::Contradictory(made_up);
    }
    let highest = claims.iter().map(|(attempt, _)| *attempt).max().unwrap_or(0);
    if let Some(switch) = &snapshot.object.status.switch
        && switch.attempt >= highest
    {
        return Intent::Recorded(switch.clone());
    }
    let mut latest: Vec<&String> = claims.iter().filter(|(attempt, _)| *attempt == highest).map(|(_, revision)| revision).collect();
    latest.sort();
    latest.dedup();
    match latest.as_slice() {
        [] => Intent::None,
        [revision] => Intent::Rebuilt(Switch {
            from: None,
            to: (*revision).clone(),
            attempt: highest,
            // The best guess at what the old pods served: without ports nothing of them could be counted.
            services: super::switch::targets(snapshot),
            earlier_ports: vec![],
            cause: SwitchCause::Release,
            cutover: Cutover::Atomic,
            narrowed_at: None,
            started_at: now.wall,
            completed_at: None,
            converged_at: None,
            baked_at: None,
            group: None,
        }),
        several => Intent::Contradictory(format!(
            "Services and ReplicaSets name {} revisions for move {highest} ({}); remove the annotation {} from all but the right one",
            several.len(),
            several.iter().map(|revision| revision.as_str()).collect::<Vec<_>>().join(", "),
            keys::SELECTED,
        )),
    }
}

/// Which number no release of this object can have, and where it stands.
fn made_up(snapshot: &Snapshot, claims: &[(i64, String)]) -> Option<String> {
    let too_high = |attempt: i64| attempt >= MOST_ATTEMPTS;
    if let Some(set) = snapshot.sets.iter().find(|set| set.role.is_some_and(|role| too_high(role.attempt))) {
        return Some(format!("ReplicaSet \"{}\" names a move that was never made; remove the annotation {} from it", set.name, keys::ROLE));
    }
    if claims.iter().any(|(attempt, _)| too_high(*attempt)) {
        return Some(format!("a Service names a move that was never made; remove the annotation {} from it", keys::SELECTED));
    }
    let recorded = snapshot.object.status.switch.as_ref().is_some_and(|switch| too_high(switch.attempt));
    recorded.then(|| "status.switch.attempt is a move that was never made; remove status.switch, it is found again in annotations".to_owned())
}

/// A Service of a former owner whose ReplicaSets are ours now (deleted with --cascade=orphan and created again).
fn adopted(snapshot: &Snapshot, owner: &str) -> bool {
    snapshot.owners.get(owner) == Some(&super::snapshot::OwnerState::Gone)
}
