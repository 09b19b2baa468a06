//! Commands: annotations that name the revision they are for, so that a late one never hits a newer release.

use crate::api::{HookStatus, Rejected, Switch, SwitchCause, keys::command};

use super::action::{Action, Notice};
use super::hooks;
use super::revision::revision_name;
use super::set::{RoleKind, Set};
use super::snapshot::{Identity, Snapshot};
use super::switch;
use super::view::View;

/// What the commands change in what is remembered, and what is said about them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// A new value of `status.rejected`.
    pub rejected: Option<Option<Rejected>>,
    /// The runs of hooks, of which some are to be repeated.
    pub hooks: Option<Vec<HookStatus>>,
    /// A new intent.
    pub intent: Option<Switch>,
    /// Removals of annotations that are done with; carried out after the change above is written.
    pub actions: Vec<Action>,
    /// Events.
    pub notices: Vec<Notice>,
}

/// Reads the commands, one at a time: the first in the order of [`command::ALL`] that is there.
pub fn step(view: &View<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    // Which revision the spec means must be known before a command can be compared with it. Where the API server refuses the template
    // it means none, and a rollback is all the more wanted.
    if matches!(view.snapshot.identity, Identity::Unknown { .. }) {
        return outcome;
    }
    // That passes, too, and a word about the revision of the spec is kept until then. What is said of revisions that are there is done.
    let unreadable = view.snapshot.configs.unreadable();
    for key in command::ALL {
        let Some(value) = view.snapshot.object.commands.get(key).filter(|_| !unreadable || [command::ROLLBACK, command::FINISH_DRAIN].contains(&key))
        else {
            continue;
        };
        let done = match key {
            command::ABORT => abort(view, value, &mut outcome),
            command::ROLLBACK => rollback(view, value, &mut outcome),
            command::RETRY => retry(view, value, &mut outcome),
            command::RESTART => restart(view, value, &mut outcome),
            command::FINISH_DRAIN => finish_drain(view, value, &mut outcome),
            _ => promote(view, value, &mut outcome),
        };
        if done {
            outcome.actions.push(Action::RemoveCommand { key, value: value.clone() });
            break;
        }
    }
    outcome
}

fn refuse(outcome: &mut Outcome, reason: &'static str, message: String) -> bool {
    outcome.notices.push(Notice { warning: true, reason, message });
    true
}

fn give_up(view: &View<'_>, revision: &str, reason: &str, message: String, return_to: Option<String>) -> Rejected {
    Rejected { revision: revision.into(), reason: reason.into(), message, at: view.now.wall, return_to }
}

fn abort(view: &View<'_>, revision: &str, outcome: &mut Outcome) -> bool {
    if view.rejected.is_some_and(|rejected| rejected.revision == revision) {
        return true;
    }
    if view.revision != Some(revision) {
        return refuse(outcome, "CommandIgnored", format!("abort names {revision}, but the release is about {}", view.revision.unwrap_or("none")));
    }
    if !view.is_active(revision) {
        let message = format!("revision {revision} was aborted before the switch; traffic was not touched");
        outcome.rejected = Some(Some(give_up(view, revision, "Aborted", message, None)));
        return true;
    }
    let Some(from) = view.intent.and_then(|intent| intent.from.as_deref()).filter(|from| view.set(from).is_some()) else {
        return refuse(outcome, "NothingToRollBackTo", format!("revision {revision} can't be aborted: there is no earlier revision to go back to"));
    };
    let message = format!("revision {revision} was aborted after the switch; traffic goes back to {from}");
    outcome.rejected = Some(Some(give_up(view, revision, "Aborted", message, Some(from.into()))));
    outcome.intent = unfinished(view, from);
    true
}

/// A move that is still under way is turned round at once; a finished one is undone like a release of the old revision.
fn unfinished(view: &View<'_>, from: &str) -> Option<Switch> {
    let carries = view.set(from).is_some_and(|set| carries(view, set));
    (!view.settled() && carries).then(|| switch::record(view, from, SwitchCause::Rollback))
}

/// Whether a set can take the traffic back as it is.
pub fn carries(view: &View<'_>, set: &Set) -> bool {
    view.warm(set) && view.ready(set) >= needed_back(view)
}

/// Ready pods that a set needs to take the traffic back: never more than are being left.
pub fn needed_back(view: &View<'_>) -> i32 {
    view.snapshot.object.spec.replicas.min(view.ready_active()).max(1)
}

fn rollback(view: &View<'_>, value: &str, outcome: &mut Outcome) -> bool {
    let Some((from, to)) = value.split_once('-') else {
        return refuse(outcome, "CommandIgnored", format!("rollback is \"{value}\"; write it as <revision to leave>-<revision to go to>"));
    };
    // Already on record: only the annotation is left to remove.
    if view.rejected.is_some_and(|rejected| rejected.reason == "RolledBack" && rejected.return_to.as_deref() == Some(to)) {
        return true;
    }
    if !view.is_active(from) {
        let active = view.intent.map_or("none", |intent| intent.to.as_str());
        return refuse(outcome, "CommandIgnored", format!("rollback leaves {from}, but {active} is active"));
    }
    if view.set(to).is_none() || from == to {
        return refuse(outcome, "NothingToRollBackTo", format!("rollback names {to}, which is not in the history"));
    }
    // A set without a role has never been given traffic: nothing shows that it could bear it.
    if view.set(to).is_some_and(|set| set.role.is_none()) {
        return refuse(outcome, "NothingToRollBackTo", format!("rollback names {to}, which has never served"));
    }
    if view.revision == Some(to) {
        // The way back to the spec's own revision.
        outcome.rejected = Some(None);
        return true;
    }
    let revision = view.revision.unwrap_or(from);
    let message = format!("rolled back from {from} to {to}; apply another template to go on");
    outcome.rejected = Some(Some(give_up(view, revision, "RolledBack", message, Some(to.into()))));
    outcome.intent = unfinished(view, to);
    true
}

fn retry(view: &View<'_>, revision: &str, outcome: &mut Outcome) -> bool {
    match view.rejected {
        Some(rejected) if rejected.revision == revision => {
            outcome.rejected = Some(None);
            outcome.hooks = Some(hooks::retried(view, revision));
            true
        }
        // Done already, by a process that ended before it could remove the annotation.
        _ if view.revision == Some(revision) => true,
        _ => refuse(outcome, "CommandIgnored", format!("retry names {revision}, which is not rejected")),
    }
}

/// Promotion is read where the switch is decided; here it only ends: when it is fulfilled, or can never be.
fn promote(view: &View<'_>, revision: &str, outcome: &mut Outcome) -> bool {
    if view.is_active(revision) {
        return true;
    }
    if view.revision != Some(revision) {
        return refuse(outcome, "CommandIgnored", format!("promote names {revision}, but the release is about {}", view.revision.unwrap_or("none")));
    }
    false
}

/// New pods of the same template: a ReplicaSet of its own, which the template means from then on. It is released as any other.
fn restart(view: &View<'_>, revision: &str, outcome: &mut Outcome) -> bool {
    let Identity::Known { raw_hash, revision: current } = &view.snapshot.identity else {
        return refuse(outcome, "CommandIgnored", format!("restart names {revision}, but the API server refuses spec.template; correct that first"));
    };
    if current != revision {
        // Begun already: that set is of the same template, and was made later.
        let named = view.set(revision).filter(|named| named.template_hashes.contains(raw_hash));
        let begun = named.is_some_and(|named| view.set(current).is_some_and(|anew| anew.restarts > named.restarts));
        if begun && view.rejected.is_none() {
            let message = format!("revision {revision} is started anew as {current}");
            outcome.notices.push(Notice { warning: false, reason: "Restarting", message });
            return true;
        }
        let hint = if begun { format!("; {current} is that already, and was given up: retry={current}") } else { String::new() };
        return refuse(outcome, "CommandIgnored", format!("restart names {revision}, but the release is about {current}{hint}"));
    }
    let Some(set) = view.active().filter(|set| set.revision == revision && view.settled() && view.rejected.is_none()) else {
        return refuse(
            outcome,
            "CommandIgnored",
            format!("restart names {revision}, which does not serve; only the active revision is started anew"),
        );
    };
    if !view.snapshot.object.spec.paused {
        // Without pods: the plan goes on as for any new revision. The command is done with when the set is there.
        outcome.actions.push(Action::CreateSet {
            revision: unused_name(view),
            color: set.color.other(),
            replicas: 0,
            raw_hash: raw_hash.clone(),
            restarts: set.restarts.saturating_add(1),
        });
    }
    false
}

/// A name that no ReplicaSet of this object has.
fn unused_name(view: &View<'_>) -> String {
    let Snapshot { object, sets, .. } = view.snapshot;
    let mut collisions = 1;
    loop {
        let name = revision_name(&object.name, &object.spec.template, collisions);
        // There are more numbers than sets.
        if collisions == i32::MAX || !sets.iter().any(|set| set.revision == name) {
            return name;
        }
        collisions += 1;
    }
}

/// The end of a drain is decided where it drains; here the command only ends: when it is fulfilled, or can never be.
fn finish_drain(view: &View<'_>, revision: &str, outcome: &mut Outcome) -> bool {
    if view.being_left().any(|set| set.revision == revision) {
        return false;
    }
    let left = view.set(revision).is_some_and(|set| set.role.is_some_and(|role| role.kind == RoleKind::Retired));
    left || refuse(outcome, "CommandIgnored", format!("finish-drain names {revision}, which is not draining"))
}
