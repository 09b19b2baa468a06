//! Growth: the revision that serves may have grown since another one passed its tests, and nobody is moved to fewer pods than serve now.

use super::promotion;
use super::set::Set;
use super::smoke::Smoke;
use super::view::View;

/// What the incoming set lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Its ready pods.
    pub ready: i32,
    /// Ready pods that it must have.
    pub needed: i32,
    /// Ready pods that serve now.
    pub serving: i32,
}

/// What a release lacks before its switch. Whoever came later need not have passed: that is scaling of what passed. A way back is decided by other
/// numbers, and a move on record that can be neither finished nor undone is to end.
pub fn lack(view: &View<'_>, set: &Set) -> Option<Lack> {
    if !view.forward() || !view.settled() {
        return None;
    }
    let serving = view.ready_active();
    let needed = view.snapshot.object.spec.replicas.min(serving);
    // As with the pods that passed: Services would lead to those alone of which Kubernetes' controllers know.
    let ready = set.counted.map_or_else(|| view.ready(set), |counted| counted.min(view.ready(set)));
    (ready < needed).then_some(Lack { ready, needed, serving })
}

/// The same for the incoming revision, where that is all it waits for: it has passed and may take the traffic.
pub fn awaited(view: &View<'_>, smoke: &Smoke) -> Option<Lack> {
    let revision = view.target().filter(|revision| matches!(smoke, Smoke::Passed { .. }) && promotion::granted(view, revision))?;
    lack(view, view.set(revision)?)
}
