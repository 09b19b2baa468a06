//! Scaling: `spec.replicas` is for the set that serves, whatever else is going on.

use crate::api::Switch;

use super::action::{Action, SetChange, SetRef};
use super::bake;
use super::drain;
use super::part;
use super::revision::revision_name;
use super::snapshot::Identity;
use super::view::View;

/// So many names of a template are tried; a restart takes the first that no ReplicaSet has, and of those only the history is kept.
const NAMES: i32 = 128;

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
            && let Some(restarts) = restarts(view, intent, revision)
            && !spec.paused
            && !part::within_reach(view, &intent.to)
        {
            let color = view.being_left().next().map_or(super::set::Color::Blue, |set| set.color.other());
            let (revision, raw_hash) = (intent.to.clone(), raw_hash.clone());
            actions.push(Action::CreateSet { revision, color, replicas: spec.replicas, raw_hash, restarts });
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
        && (intent.converged_at.is_none() || bake::holds(view, left) || drain::kept_warm(view, left))
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

/// Whether the active set is of the spec's template, and which restart of it: one that was started anew has a name of its own, which the template
/// no longer means when its set is gone.
fn restarts(view: &View<'_>, intent: &Switch, revision: &str) -> Option<i64> {
    if revision == intent.to {
        return Some(0);
    }
    let object = &view.snapshot.object;
    let latest = view.snapshot.sets.iter().map(|set| set.restarts).max().unwrap_or(0);
    (1..=NAMES).any(|number| revision_name(&object.name, &object.spec.template, number) == intent.to).then(|| latest.saturating_add(1))
}
