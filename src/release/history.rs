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
            || view.snapshot.sets.iter().any(|set| (set.loose.is_some() || set.deleting) && set.revision == revision)
    };
    let empty = view
        .snapshot
        .sets
        .iter()
        .filter(|set| !set.deleting && set.loose.is_none() && set.desired == 0 && set.replicas == 0)
        .filter(|set| !view.snapshot.pods.iter().any(|pod| pod.set_uid == set.uid));
    let (spare, mut idle): (Vec<_>, Vec<_>) = empty.partition(|set| view.spare(set));
    idle.retain(|set| !keep(&set.revision));
    idle.sort_by_key(|set| std::cmp::Reverse((set.role.map_or(0, |role| role.attempt), set.created)));
    let limit = usize::try_from(spec.revision_history_limit).unwrap_or(0);
    // A successor was made in vain where its predecessor left as a whole, or serves again.
    let vain = spare.into_iter().filter(|set| view.set(&set.revision).is_some_and(|first| !view.retiring(first)));
    idle.into_iter().skip(limit).chain(vain).map(|set| Action::DeleteSet { set: SetRef::of(set) }).collect()
}
