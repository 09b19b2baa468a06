//! After the switch: traffic goes back by itself, at most once, and only to a set that can carry it.

use crate::api::{Rejected, Switch, SwitchCause};

use super::bake::{self, Bake};
use super::command;
use super::conditions;
use super::group;
use super::overlap;
use super::set::Set;
use super::switch::{self, Direction, Place};
use super::view::View;

/// A move back that is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Back {
    /// The new intent.
    pub intent: Switch,
    /// The revision that is given up with it.
    pub rejected: Option<Rejected>,
}

/// Whether a failure after the switch takes the traffic back.
pub fn step(view: &View<'_>) -> Option<Back> {
    let intent = view.intent?;
    let spec = &view.snapshot.object.spec;
    // A failed read must not look like a set without ready pods.
    if spec.paused || !view.snapshot.unread.is_empty() {
        return None;
    }
    if let (Bake::Failed { message }, _) = bake::step(view) {
        let from = bake::way_back(view, intent).ok()?;
        let message = format!("{message}; traffic went back to {}", from.revision);
        return Some(give_up(view, intent, from, "BakeFailed", message));
    }
    let from = view.set(intent.from.as_deref()?)?;
    if let Some(member) = group::gone_back(view, intent)
        && bake::way_back(view, intent).is_ok()
    {
        let message = format!("{member}, which switched together with revision {}, went back; traffic went back to {}", intent.to, from.revision);
        return Some(give_up(view, intent, from, "GroupWentBack", message));
    }
    if overlap::together(view, intent) && view.active().is_some() {
        return together(view, intent, from);
    }
    if intent.completed_at.is_none() {
        // Interrupted with neither end reached: undone when only the old end can carry the traffic. Nobody is given up for it. And when
        // another leader gave the revision up at the moment in which this move was begun: a person's word goes before.
        let undo = switch::direction(view, intent) == Direction::Back || given_up(view, intent) && command::carries(view, from);
        return undo.then(|| Back { intent: reverse(view, intent, &from.revision), rejected: None });
    }
    let active = view.active()?;
    let lost = view.ready(active) == 0 && spec.replicas > 0 && active.desired > 0 && !view.up_from_zero();
    let whole = view.served(from) && !view.retiring(from) && view.warm(from) && from.desired > 0 && carries(view, from);
    // Only a release is taken back by itself: what a person or an earlier failure decided is not decided again.
    if intent.cause != SwitchCause::Release || !lost || !whole {
        return None;
    }
    let message = format!("revision {} lost its last ready pod after the switch; traffic went back to {}", intent.to, from.revision);
    Some(give_up(view, intent, from, "LostAllReadyPods", message))
}

/// While both serve: a person's word, or a template that means the old revision again, takes the new one out as soon as the old one can do
/// without it; and so does a new one that loses its last ready pod under its first users, which gives it up.
fn together(view: &View<'_>, intent: &Switch, from: &Set) -> Option<Back> {
    if overlap::unwanted(view, intent) {
        let record = || Switch { services: intent.services.clone(), ..switch::record(view, &from.revision, SwitchCause::Rollback) };
        return command::carries(view, from).then(|| Back { intent: record(), rejected: None });
    }
    let active = view.active()?;
    let lost = view.ready(active) == 0 && view.snapshot.object.spec.replicas > 0 && active.desired > 0 && !view.up_from_zero();
    let reached = || view.snapshot.object.spec.traffic.services.iter().any(|name| switch::place(view, intent, name) == Place::Right);
    if intent.cause != SwitchCause::Release || !lost || !carries(view, from) || !reached() {
        return None;
    }
    let message = format!("revision {} lost its last ready pod beside revision {}; traffic went back to that", intent.to, from.revision);
    Some(give_up(view, intent, from, "LostAllReadyPods", message))
}

/// Whether a set has a pod that can bear the traffic. A node that is given up takes the readiness of its pods, one after the other. After an outage of
/// the API server Kubernetes may give up all nodes for a moment: who is still ready on such a node is about to follow, and nobody's version is to blame.
fn carries(view: &View<'_>, set: &Set) -> bool {
    view.pods(set).any(|pod| pod.ready && view.on_ready_node(pod))
}

fn give_up(view: &View<'_>, intent: &Switch, from: &Set, reason: &str, message: String) -> Back {
    let rejected = Rejected {
        revision: intent.to.clone(),
        reason: reason.into(),
        message: conditions::short(&message),
        at: view.now.wall,
        return_to: Some(from.revision.clone()),
    };
    // Where a person had decided to go elsewhere, that is on its way, and goes on.
    Back { intent: reverse(view, intent, &from.revision), rejected: Some(view.rejected.cloned().unwrap_or(rejected)) }
}

fn given_up(view: &View<'_>, intent: &Switch) -> bool {
    view.rejected.is_some_and(|rejected| rejected.revision == intent.to)
}

fn reverse(view: &View<'_>, intent: &Switch, to: &str) -> Switch {
    Switch { from: Some(intent.to.clone()), services: intent.services.clone(), ..switch::record(view, to, SwitchCause::Failure) }
}
