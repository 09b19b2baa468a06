//! Switch: the Services are moved, each with the record of the move, and kept where they were moved to.

use std::collections::BTreeMap;

use crate::api::{Cutover, Switch, SwitchCause, SwitchedService, keys};

use super::action::{Action, SelectWhy, SetRef};
use super::group;
use super::overlap;
use super::plan::Outdated;
use super::services;
use super::set::{Role, Set};
use super::snapshot::{Owner, Selected, Service, Snapshot};
use super::view::View;

/// The intent to move everything to the target, to be recorded before, or with, the first Service.
pub fn record(view: &View<'_>, to: &str, cause: SwitchCause) -> Switch {
    Switch {
        from: view.intent.map(|intent| intent.to.clone()),
        to: to.into(),
        attempt: view.next_attempt(),
        services: targets(view.snapshot),
        earlier_ports: earlier_ports(view),
        cause,
        cutover: Cutover::Atomic,
        narrowed_at: None,
        started_at: view.now.wall,
        completed_at: None,
        converged_at: None,
        baked_at: None,
        group: group::mark(view, cause),
    }
}

/// Most target ports that are kept, of one Service and of earlier moves; more than can be watched, so that too many are noticed.
const KEPT_PORTS: usize = 128;

/// Ports that are not to be forgotten: those of the last move, as the Services may target others by now, and those of earlier
/// ones while pods are left that they served. Without them such a pod's connections would be looked for on the wrong ports.
fn earlier_ports(view: &View<'_>) -> Vec<String> {
    let Some(last) = view.intent else {
        return vec![];
    };
    let others = view.being_left().next().is_some();
    let mut ports: Vec<String> = last.services.iter().flat_map(|service| &service.target_ports).cloned().collect();
    ports.extend(last.earlier_ports.iter().filter(|_| others).cloned());
    ports.sort();
    ports.dedup();
    let now = targets(view.snapshot);
    ports.retain(|port| !now.iter().any(|service| service.target_ports.contains(port)));
    ports.truncate(KEPT_PORTS);
    ports
}

/// The declared Services, with the container ports they target now.
pub fn targets(snapshot: &Snapshot) -> Vec<SwitchedService> {
    let services = snapshot.object.spec.traffic.services.iter().filter_map(|name| snapshot.services.get(name));
    services
        .map(|service| SwitchedService {
            name: service.name.clone(),
            target_ports: distinct(service.ports.iter().filter(|port| port.protocol == "TCP").map(|port| port.target.clone())),
        })
        .collect()
}

fn distinct(ports: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    ports.filter(|port| seen.insert(port.clone())).take(KEPT_PORTS).collect()
}

/// One declared Service, compared with the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It selects what it should, by our own last write.
    Right,
    /// It has to be moved, or joins.
    Behind,
    /// Somebody else wrote its selector after us.
    Drifted,
    /// It does not exist.
    Missing,
    /// A newer intent than ours moved it.
    Ahead,
}

/// Compares a Service with the intent.
pub fn place(view: &View<'_>, intent: &Switch, name: &str) -> Place {
    let Some(service) = view.snapshot.services.get(name).filter(|service| !service.deleting) else {
        return Place::Missing;
    };
    let wanted = Selected { revision: intent.to.clone(), attempt: intent.attempt };
    let ours = services::owned(view.snapshot, service);
    match &service.selected {
        Some(selected) if ours && selected.attempt > intent.attempt => Place::Ahead,
        Some(selected) if ours && *selected == wanted => {
            match () {
                () if service.selector == overlap::selector(view, intent) => Place::Right,
                // Where this very move had it, and goes on.
                () if intent.completed_at.is_none() && service.selector == overlap::marked(view, intent) => Place::Behind,
                () => Place::Drifted,
            }
        }
        _ => Place::Behind,
    }
}

/// The writes with which a move begins. To a revision that never served those are the Services themselves, with the record of the move
/// beside the selector: one write each, and users wait for no other. The Service's version guards it, also against a leader that gave the
/// revision up: that one marks the Services before it scales the set to zero. A set that served may be in somebody's retirement, and is
/// fenced first.
pub fn begin(view: &View<'_>, set: &Set, intent: &Switch) -> Vec<Action> {
    let moves: Vec<Action> = movable(view, set).map(|service| move_it(view, service, intent, Some(intent), SelectWhy::Switch)).collect();
    if moves.is_empty() { vec![fence(set, intent)] } else { moves }
}

/// The Services that may be moved to a set as it is; none if it has to be fenced first.
fn movable<'a>(view: &View<'a>, set: &Set) -> impl Iterator<Item = &'a Service> + use<'a> {
    let snapshot = view.snapshot;
    // By what is left of earlier moves, too: the reading of the ReplicaSet may be older than all else.
    let left = view.intent.is_some_and(|intent| intent.from.as_ref() == Some(&set.revision))
        || snapshot.object.status.draining.iter().any(|entry| entry.revision == set.revision);
    let fenced = set.role.is_some() || left || ours(snapshot).any(|service| service.withdrawn.contains(&set.revision));
    let declared = snapshot.object.spec.traffic.services.iter().filter(move |_| !fenced).filter_map(|name| snapshot.services.get(name));
    // One that was made anew, or just joins, bears no mark of what was given up: it follows when the move has begun.
    declared.filter(|service| services::owned(snapshot, service) && service.selected.is_some() && !service.deleting)
}

fn ours(snapshot: &Snapshot) -> impl Iterator<Item = &Service> {
    snapshot.services.values().filter(|service| services::owned(snapshot, service) && !service.deleting)
}

/// The writes that must be done before a set that never served is scaled to zero: a leader that knows less could still move a Service to it.
/// A Service that is about to be taken may have been by now, where this reading of it is an old one.
pub fn withdraw(view: &View<'_>, set: &Set) -> Vec<Action> {
    let snapshot = view.snapshot;
    let marked = |service: &&Service| !service.withdrawn.contains(&set.revision);
    let declared = snapshot.object.spec.traffic.services.iter();
    let free =
        declared.filter(|name| services::check(snapshot, "spec.traffic.services", name).is_ok()).filter_map(|name| snapshot.services.get(name));
    ours(snapshot)
        .chain(free.filter(|service| !services::owned(snapshot, service)))
        .filter(marked)
        .map(|service| {
            let mut withdrawn = withdrawn(view, None);
            withdrawn.extend(service.withdrawn.iter().filter(|revision| view.set(revision).is_some()).cloned());
            withdrawn.insert(set.revision.clone());
            Action::Withdraw { service: service.clone(), withdrawn }
        })
        .collect()
}

/// What is neither served nor to be: all but the revision `to`, the target, and the active one.
fn withdrawn(view: &View<'_>, to: Option<&str>) -> std::collections::BTreeSet<String> {
    let wanted = |revision: &str| to == Some(revision) || view.target() == Some(revision) || view.is_active(revision);
    let revisions = view.snapshot.sets.iter().map(|set| set.revision.clone());
    revisions.filter(|revision| !wanted(revision)).collect()
}

/// The fence on the ReplicaSet that is to serve, with the record of the move.
pub fn fence(set: &Set, intent: &Switch) -> Action {
    Action::Fence { set: SetRef::of(set), replicas: set.desired, marks: set.marks.clone(), switch: Box::new(intent.clone()) }
}

/// Moves what is still behind. The fence goes first on a set that served, and last on another, which no leader scales to zero while a
/// Service selects it ([`withdraw`]).
pub fn finish(view: &View<'_>, intent: &Switch) -> Result<(bool, Vec<Action>), Outdated> {
    let Some(set) = view.active() else {
        return Ok((false, vec![]));
    };
    if set.role.is_some_and(|role| role.attempt > intent.attempt) {
        return Err(Outdated);
    }
    let fenced = set.role == Some(Role::serving(intent.attempt));
    if !fenced && set.role.is_some() {
        return Ok((false, vec![fence(set, intent)]));
    }
    let mut actions = overlap::marks(view, intent);
    // Before a Service asks for the label all pods have it.
    let marked = actions.is_empty();
    let mut done = true;
    for name in &view.snapshot.object.spec.traffic.services {
        match place(view, intent, name) {
            Place::Right => {}
            Place::Ahead => return Err(Outdated),
            // Made again later, it takes the recorded revision at once; until then there is nothing to move.
            Place::Missing => {}
            why @ (Place::Behind | Place::Drifted) => {
                let Some(service) = view.snapshot.services.get(name) else {
                    continue;
                };
                // One that is refused stays behind for a reason that status names; the others are moved all the same.
                // What was on record when the move began was checked then, and needs only not to be another's by now.
                let marked_by_it = service.selector.get(keys::SERVING) == Some(&overlap::mark(intent));
                let begun = !view.settled() && (marked_by_it || intent.services.iter().any(|moved| moved.name == *name));
                let free = service.owner.is_none() || services::owned(view.snapshot, service);
                if why == Place::Behind && !(begun && free) && services::check(view.snapshot, "spec.traffic.services", name).is_err() {
                    continue;
                }
                done = false;
                // One that somebody changed is put back all the same: it may lead to anybody.
                if why == Place::Behind && !marked || why == Place::Drifted && !repair_is_due(view, name) {
                    continue;
                }
                let why = if why == Place::Drifted { SelectWhy::Repair { editor: service.editor.clone() } } else { SelectWhy::Switch };
                // Once the old pods leave that goes on record beside the selector, too: nobody who has read an older status leads users to them again.
                let narrowed = intent.narrowed_at.map(|_| intent);
                actions.push(move_it(view, service, intent, narrowed, why));
            }
        }
    }
    if !fenced && actions.is_empty() {
        return Ok((false, vec![fence(set, intent)]));
    }
    Ok((done && fenced && marked, actions))
}

/// The write that makes a Service select a revision.
pub fn select(view: &View<'_>, service: &Service, revision: &str, attempt: i64, why: SelectWhy) -> Action {
    write(view, service, view.selector(revision), Selected { revision: revision.into(), attempt }, None, why)
}

/// The write with which a Service takes part in a move.
fn move_it(view: &View<'_>, service: &Service, intent: &Switch, begins: Option<&Switch>, why: SelectWhy) -> Action {
    let selected = Selected { revision: intent.to.clone(), attempt: intent.attempt };
    write(view, service, overlap::selector(view, intent), selected, begins, why)
}

fn write(
    view: &View<'_>,
    service: &Service,
    selector: BTreeMap<String, String>,
    selected: Selected,
    begins: Option<&Switch>,
    why: SelectWhy,
) -> Action {
    let object = &view.snapshot.object;
    Action::Select {
        service: service.clone(),
        selector,
        owner: Owner { name: object.name.clone(), uid: object.uid.clone() },
        withdrawn: withdrawn(view, Some(&selected.revision)),
        selected,
        record: begins.map(|intent| Box::new(intent.clone())),
        why,
    }
}

/// Without a repair for so long, a Service is at peace again.
pub const CALM: std::time::Duration = std::time::Duration::from_secs(300);

/// Back-off of repairs: at once the first time, then after 1, 2, 4 … at most 60 seconds.
pub fn repair_is_due(view: &View<'_>, service: &str) -> bool {
    repair_wait(view, service) <= 0.0
}

/// Seconds until the selector of a Service may be put back again.
pub fn repair_wait(view: &View<'_>, service: &str) -> f64 {
    let Some(repairs) = view.snapshot.repairs.get(service) else {
        return 0.0;
    };
    if repairs.count < 2 {
        return 0.0;
    }
    let wait = f64::from(1u32 << (repairs.count - 2).min(6)).min(60.0);
    wait - view.now.mono.saturating_sub(repairs.last).as_secs_f64()
}

/// A Service that somebody else keeps moving, and who does.
pub fn contended<'a>(view: &View<'a>) -> Option<(&'a str, Option<&'a str>)> {
    view.snapshot.object.spec.traffic.services.iter().find_map(|name| {
        let repairs = view.snapshot.repairs.get(name).filter(|repairs| repairs.fought())?;
        Some((name.as_str(), repairs.editor.as_deref()))
    })
}

/// Where an unfinished move should go: on, back, or nowhere for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// On to where it was going.
    On,
    /// Back to where it came from.
    Back,
    /// Neither side has enough ready pods.
    Wait,
}

/// Looks again at a move that was interrupted, since pods may have gone meanwhile.
pub fn direction(view: &View<'_>, intent: &Switch) -> Direction {
    let to = view.set(&intent.to);
    let from = intent.from.as_deref().and_then(|revision| view.set(revision));
    let ready = |set: Option<&Set>| set.map_or(0, |set| view.ready(set));
    let replicas = view.snapshot.object.spec.replicas;
    // While both serve nobody is left without a pod; what ends that is decided elsewhere.
    if overlap::together(view, intent) && to.is_some() {
        return Direction::On;
    }
    // That was decided by what was needed then, and growth since is no new gate.
    let decided = intent.narrowed_at.is_some() && intent.completed_at.is_none();
    let needed = if decided { 1 } else { replicas.min(ready(from)).max(1) };
    if ready(to) >= needed || replicas == 0 {
        return Direction::On;
    }
    let somebody_moved = view.snapshot.object.spec.traffic.services.iter().any(|name| place(view, intent, name) == Place::Right);
    match from {
        Some(from) if view.warm(from) && from.desired > 0 && view.ready(from) >= replicas.min(ready(to)).max(1) => Direction::Back,
        // A set that somebody deleted never gets ready.
        _ if somebody_moved && to.is_some() => Direction::On,
        _ => Direction::Wait,
    }
}

/// Before the first pod: a declared Service that serves nobody is parked, so that untested pods never get traffic.
pub fn park(view: &View<'_>) -> Vec<Action> {
    if view.intent.is_some() || view.snapshot.object.spec.paused {
        return vec![];
    }
    let names = view.snapshot.object.spec.traffic.services.iter().enumerate();
    names
        .filter(|(index, name)| services::check(view.snapshot, &format!("spec.traffic.services[{index}]"), name).is_ok())
        .filter_map(|(_, name)| view.snapshot.services.get(name))
        .filter(|service| {
            let parked = service.selected.as_ref().is_some_and(|selected| selected.revision == keys::REVISION_NONE);
            !(services::owned(view.snapshot, service) && parked && service.selector == view.selector(keys::REVISION_NONE))
        })
        .filter(|service| repair_is_due(view, &service.name))
        .map(|service| {
            let drift = services::owned(view.snapshot, service);
            let why = if drift { SelectWhy::Repair { editor: service.editor.clone() } } else { SelectWhy::Park };
            select(view, service, keys::REVISION_NONE, 0, why)
        })
        .collect()
}

/// Services that are ours but no longer declared. One that leads to both revisions of a move first selects the new one alone: given back as it
/// was, it would lose the pods that come later.
pub fn released(view: &View<'_>) -> Vec<Action> {
    let snapshot = view.snapshot;
    let traffic = &snapshot.object.spec.traffic;
    if snapshot.object.spec.paused {
        return vec![];
    }
    ours(snapshot)
        .filter(|service| !traffic.services.contains(&service.name) && !traffic.preview_services.contains(&service.name))
        .filter_map(|service| match view.intent.filter(|_| service.selector.contains_key(keys::SERVING)) {
            Some(intent) => view.settled().then(|| move_it(view, service, intent, None, SelectWhy::Switch)),
            None => Some(Action::Release { service: service.clone() }),
        })
        .collect()
}
