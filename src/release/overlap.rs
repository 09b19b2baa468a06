//! Overlap: on its way from one revision to another a Service leads to both for a while (`traffic.cutover`).
//!
//! A load balancer that sends traffic to pods themselves takes seconds until it uses a new one, and takes out an old one at once: a selector
//! that moves in one write leaves it with nobody. The pods of exactly these two revisions get a label for this one move, the Services select that,
//! and only when enough new pods have been endpoints for long enough do they select the new revision alone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{Cutover, Switch, SwitchCause, keys};

use super::action::{Action, PodRef};
use super::local;
use super::services::{self, Block};
use super::snapshot::{Pod, Service, Snapshot};
use super::view::{View, count};

/// So many pods are marked at a time: whatever happens meanwhile is looked at in between.
const AT_ONCE: usize = 16;

/// The value of the label that pods have in a move. It names the revision, too: numbers of moves that were never begun are used again.
pub fn mark(switch: &Switch) -> String {
    format!("{}.{}", switch.to, switch.attempt)
}

/// Whether the Services of a move are to lead to both revisions, as far as is on record.
pub fn wide(switch: &Switch) -> bool {
    switch.cutover == Cutover::Overlap && switch.narrowed_at.is_none() && switch.completed_at.is_none()
}

/// Whether they are to do so now: with an old set that is gone, or was told to drain, there is nobody to overlap with, whatever an old record says.
pub fn together(view: &View<'_>, switch: &Switch) -> bool {
    let from = switch.from.as_deref().and_then(|revision| view.set(revision));
    wide(switch) && from.is_some_and(|from| from.desired > 0 && view.warm(from))
}

/// Whether a Service with this selector leads to a revision, be it beside another one. `switch` is the move on record.
pub fn leads_to(selector: &BTreeMap<String, String>, revision: &str, switch: Option<&Switch>) -> bool {
    match selector.get(keys::SERVING) {
        // Of a move that is not known it can be either of its two.
        Some(serving) => switch.is_none_or(|switch| mark(switch) != *serving || switch.to == revision || switch.from.as_deref() == Some(revision)),
        None => selector.get(keys::REVISION).is_some_and(|selected| selected == revision),
    }
}

/// How the next move is to be made. What takes traffic away from pods that fail has no time for it, and without pods there is nobody to overlap with.
pub fn cutover(view: &View<'_>, cause: SwitchCause) -> Cutover {
    let spec = &view.snapshot.object.spec;
    let wanted = spec.traffic.cutover == Some(Cutover::Overlap) && !spec.traffic.services.is_empty() && cause != SwitchCause::Failure;
    let served = view.active().is_some_and(|active| view.ready(active) > 0);
    if wanted && served { Cutover::Overlap } else { Cutover::Atomic }
}

/// The selector that a Service needs in a move.
pub fn selector(view: &View<'_>, switch: &Switch) -> BTreeMap<String, String> {
    if !together(view, switch) {
        return view.selector(&switch.to);
    }
    marked(view, switch)
}

/// The selector by which a Service leads to both.
pub fn marked(view: &View<'_>, switch: &Switch) -> BTreeMap<String, String> {
    let mut selector = view.snapshot.object.spec.selector.match_labels.clone();
    selector.insert(keys::SERVING.into(), mark(switch));
    selector
}

/// Pods of the two revisions that lack the label: all of them have it before the first Service asks for it, or users would lose them.
pub fn marks(view: &View<'_>, switch: &Switch) -> Vec<Action> {
    if !together(view, switch) {
        return vec![];
    }
    let value = mark(switch);
    let sets = [Some(switch.to.as_str()), switch.from.as_deref()].into_iter().flatten().filter_map(|revision| view.set(revision));
    let pods = sets.flat_map(|set| view.pods(set)).filter(|pod| pod.serving.as_ref() != Some(&value));
    pods.take(AT_ONCE).map(|pod| Action::MarkServing { pod: PodRef::of(pod), value: value.clone() }).collect()
}

/// How far an overlap is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// New pods that have been ready endpoints of every Service for long enough.
    pub joined: i32,
    /// As many as are needed.
    pub needed: i32,
    /// Seconds until another one has been.
    pub next: Option<f64>,
}

impl Progress {
    /// Whether the old pods may leave.
    pub fn over(&self) -> bool {
        self.joined >= self.needed
    }
}

/// How far the overlap of a move is; `None` where its Services do not lead to both revisions.
pub fn progress(view: &View<'_>, switch: &Switch) -> Option<Progress> {
    let spec = &view.snapshot.object.spec;
    if !together(view, switch) {
        return None;
    }
    let to = view.set(&switch.to);
    let left = switch.from.as_deref().and_then(|revision| view.set(revision)).map_or(0, |set| view.ready(set));
    // As many as the switch needed: what comes later is scaling, and a pod for which there is no room before the old ones leave is not waited for.
    // The proof of one that comes back is of another time.
    let frozen = to.filter(|_| switch.cause == SwitchCause::Release).and_then(|set| set.proof.as_ref()).map_or(i32::MAX, |proof| proof.needed);
    let nobody = spec.replicas == 0 || leading(view.snapshot, switch).next().is_none();
    let needed = if nobody { 0 } else { spec.replicas.min(left).min(frozen).max(1) };
    let pods: Vec<&Pod> = to.map(|set| view.pods(set).filter(|pod| pod.ready).collect()).unwrap_or_default();
    let left: Vec<f64> = pods.iter().filter_map(|pod| seconds_left(view, pod)).collect();
    let joined = count(left.iter().filter(|left| **left <= 0.0).count());
    Some(Progress { joined, needed, next: left.into_iter().filter(|left| *left > 0.0).reduce(f64::min) })
}

/// Seconds until a pod has been a ready endpoint for long enough; `None` where it is none.
fn seconds_left(view: &View<'_>, pod: &Pod) -> Option<f64> {
    let since = view.snapshot.present_since.get(&pod.uid)?;
    let wanted = f64::from(view.snapshot.object.spec.traffic.overlap_seconds);
    Some(wanted - view.now.mono.saturating_sub(*since).as_secs_f64())
}

/// What goes on record when all Services are where they should be: that the old pods may leave, or that the move is made. Nobody makes a revision
/// serve alone that was given up meanwhile, or where the template means the old one again.
pub fn next(view: &View<'_>, switch: &Switch) -> Option<Switch> {
    match progress(view, switch) {
        None => Some(Switch { completed_at: Some(view.now.wall), ..switch.clone() }),
        Some(progress) => {
            let over = progress.over() && !unwanted(view, switch) && gap(view).is_none();
            over.then(|| Switch { narrowed_at: Some(view.now.wall), ..switch.clone() })
        }
    }
}

/// Whether a move is not wanted any more: the revision was given up, the template means the old one again, or a newer one, and the overlap does not
/// end. Then that comes beside the old one, of which load balancers know, and not beside pods that never got all.
pub fn unwanted(view: &View<'_>, switch: &Switch) -> bool {
    // Whatever the template means by now.
    let rejected = view.snapshot.object.status.rejected.as_ref();
    let given_up = rejected.is_some_and(|rejected| rejected.revision == switch.to);
    let stuck = || view.target().is_some() && overdue_in(view).is_some_and(|seconds| seconds <= 0.0);
    given_up || switch.from.is_some() && view.target() == switch.from.as_deref() || stuck()
}

/// A node that would be left without a pod.
pub fn gap(view: &View<'_>) -> Option<Block> {
    let switch = view.intent.filter(|switch| together(view, switch) && switch.cause == SwitchCause::Release)?;
    local::gap(view, view.set(switch.from.as_deref()?)?, view.set(&switch.to)?)
}

/// What is said while the Services of a move lead to both revisions.
pub fn told(view: &View<'_>) -> Option<String> {
    let switch = view.intent?;
    let Progress { joined, needed, .. } = progress(view, switch)?;
    let (from, seconds) = (switch.from.as_deref().unwrap_or_default(), view.snapshot.object.spec.traffic.overlap_seconds);
    let pods = if needed == 1 { "pod has been an endpoint" } else { "pods have been endpoints" };
    Some(format!("revisions {from} and {} serve together until {needed} new {pods} for {seconds} s; {joined} by now", switch.to))
}

/// Seconds until an overlap lasts too long; negative after that.
pub fn overdue_in(view: &View<'_>) -> Option<f64> {
    let switch = view.intent.filter(|switch| together(view, switch))?;
    let spec = &view.snapshot.object.spec;
    let limit = f64::from(spec.traffic.overlap_seconds) + f64::from(spec.progress_deadline_seconds);
    Some(limit - view.now.seconds_since(switch.started_at))
}

/// Seconds until something is to be done about an overlap.
pub fn due_in(view: &View<'_>) -> impl Iterator<Item = f64> {
    let next = view.intent.and_then(|switch| progress(view, switch)).and_then(|progress| progress.next);
    next.into_iter().chain(overdue_in(view).filter(|seconds| *seconds > 0.0))
}

/// Notes since when pods are ready endpoints of every Service that leads to both revisions, as far as this process has seen it.
pub fn note(present: &mut BTreeMap<String, Duration>, snapshot: &Snapshot, now: Duration) {
    // For a move in one write nobody asks.
    let Some(switch) = snapshot.object.status.switch.as_ref().filter(|switch| wide(switch)) else {
        return present.clear();
    };
    present.retain(|uid, _| is_present(snapshot, switch, uid));
    for pod in snapshot.pods.iter().filter(|pod| is_present(snapshot, switch, &pod.uid)) {
        present.entry(pod.uid.clone()).or_insert(now);
    }
}

/// Services that lead to both revisions of a move.
fn leading<'a>(snapshot: &'a Snapshot, switch: &Switch) -> impl Iterator<Item = &'a Service> + use<'a> {
    let mark = mark(switch);
    let declared = snapshot.object.spec.traffic.services.iter().filter_map(|name| snapshot.services.get(name));
    declared.filter(move |service| services::owned(snapshot, service) && service.selector.get(keys::SERVING) == Some(&mark))
}

/// Whether a pod is a ready endpoint of every Service that leads to both. Where none does no pod is.
fn is_present(snapshot: &Snapshot, switch: &Switch, pod: &str) -> bool {
    let mut leading = leading(snapshot, switch).peekable();
    let ready =
        |service: &Service| snapshot.endpoints.get(&service.name).is_some_and(|endpoints| endpoints.pods.get(pod).is_some_and(|ready| *ready));
    leading.peek().is_some() && leading.all(ready)
}
