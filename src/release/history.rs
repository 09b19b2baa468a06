//! History: earlier revisions, scaled to zero, kept to return to.

use super::action::{Action, SetRef};
use super::view::View;

/// Deletes the oldest beyond `revisionHistoryLimit`.
pub fn step(view: &View<'_>) -> Vec<Action> {
    let spec = &view.snapshot.object.spec;
    if spec.paused || view.revision.is_none() {
        return vec![];
    }
    let keep = |revision: &str| {
        view.is_active(revision)
            || view.target() == Some(revision)
            || view.revision == Some(revision)
            || view.rejected.is_some_and(|rejected| rejected.return_to.as_deref() == Some(revision))
    };
    let mut idle: Vec<_> = view
        .snapshot
        .sets
        .iter()
        .filter(|set| !set.deleting && set.desired == 0 && set.replicas == 0 && !keep(&set.revision))
        .filter(|set| !view.snapshot.pods.iter().any(|pod| pod.set_uid == set.uid))
        .collect();
    idle.sort_by_key(|set| std::cmp::Reverse((set.role.map_or(0, |role| role.attempt), set.created)));
    let limit = usize::try_from(spec.revision_history_limit).unwrap_or(0);
    idle.into_iter().skip(limit).map(|set| Action::DeleteSet { set: SetRef::of(set) }).collect()
}
