//! Scaling: `spec.replicas` is for the set that serves, whatever else is going on.

use super::action::{Action, SetChange, SetRef};
use super::bake;
use super::part;
use super::snapshot::Identity;
use super::view::View;

/// Brings the active set to `spec.replicas`, and the set being left upwards only, while it may still have to take over again.
pub fn step(view: &View<'_>) -> Vec<Action> {
    let spec = &view.snapshot.object.spec;
    let mut actions = vec![];
    let Some(intent) = view.intent else {
        return actions;
    };
    let Some(active) = view.active() else {
        // Deleted by hand: its template is known as long as it is that of the spec.
        if let Identity::Known { raw_hash, revision } = &view.snapshot.identity
            && *revision == intent.to
            && !spec.paused
            && !part::within_reach(view, revision)
        {
            let color = view.being_left().next().map_or(super::set::Color::Blue, |set| set.color.other());
            actions.push(Action::CreateSet { revision: revision.clone(), color, replicas: spec.replicas, raw_hash: raw_hash.clone(), restarts: 0 });
        }
        return actions;
    };
    // While traffic is on its way the set keeps what the move was decided on.
    let replicas = if view.settled() { spec.replicas } else { spec.replicas.max(active.desired) };
    if active.desired != replicas || active.min_ready_seconds != spec.min_ready_seconds {
        actions.push(Action::PatchSet {
            set: SetRef::of(active),
            change: SetChange {
                replicas: (active.desired != replicas).then_some(replicas),
                min_ready_seconds: (active.min_ready_seconds != spec.min_ready_seconds).then_some(spec.min_ready_seconds),
                ..SetChange::default()
            },
        });
    }
    if let Some(left) = intent.from.as_deref().and_then(|revision| view.set(revision))
        && (intent.converged_at.is_none() || bake::holds(view, left))
        && view.served(left)
        && !view.retiring(left)
        && left.desired > 0
        && left.desired < spec.replicas
        && view.target() != Some(left.revision.as_str())
    {
        actions.push(Action::PatchSet { set: SetRef::of(left), change: SetChange { replicas: Some(spec.replicas), ..SetChange::default() } });
    }
    actions
}
