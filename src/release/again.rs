//! When to look again: every deadline of a release, and what is noticed by the absence of a watch event.

use crate::api::BlueGreenDeploymentStatus;

use super::bake::{self, Bake};
use super::budget;
use super::conditions;
use super::converge;
use super::copies;
use super::drain;
use super::group;
use super::overlap;
use super::plan::Findings;
use super::promotion;
use super::switch;
use super::view::View;

/// Seconds until somebody has to look again, though nothing may have been observed by then.
pub fn again(view: &View<'_>, findings: &Findings, status: &BlueGreenDeploymentStatus) -> Option<f64> {
    let mut again = findings.drain.again;
    if let Bake::Running { left } = findings.bake {
        drain::soonest(&mut again, left);
        drain::soonest(&mut again, bake::overdue_in(view, left));
    }
    let spec = &view.snapshot.object.spec;
    for set in view.target().and_then(|revision| view.set(revision)).into_iter().chain(view.active()) {
        if let Some(seconds) = view.next_available(set) {
            drain::soonest(&mut again, seconds);
        }
    }
    if let Some(due) = view.target().and_then(|revision| promotion::due(view, revision)) {
        drain::soonest(&mut again, -view.now.seconds_since(due));
    }
    if view.intent.is_some_and(|intent| intent.converged_at.is_none())
        && let Some(seconds) = converge::gives_up_in(view)
    {
        drain::soonest(&mut again, seconds);
    }
    for seconds in overlap::due_in(view).chain(copies::due_in(view)).chain(group::due_in(view)).chain(budget::due_in(view)) {
        drain::soonest(&mut again, seconds);
    }
    for name in spec.traffic.services.iter().chain(&spec.traffic.preview_services) {
        drain::soonest(&mut again, switch::repair_wait(view, name));
    }
    // The end of a fight is noticed by the absence of a watch event, too.
    for repairs in view.snapshot.repairs.values() {
        drain::soonest(&mut again, switch::CALM.saturating_sub(view.now.mono.saturating_sub(repairs.last)).as_secs_f64() + 0.05);
    }
    if let Some(inactive) = &status.inactive {
        drain::soonest(&mut again, f64::from(spec.progress_deadline_seconds) - view.now.seconds_since(conditions::progress_since(view, inactive)));
    }
    // A silent agent is noticed by the absence of a watch event.
    for sample in view.snapshot.reports.values().filter_map(|samples| samples.last()) {
        let limit = std::time::Duration::from_secs(u64::try_from(sample.stale_after).unwrap_or(0));
        // Of one that is silent already, the next thing to notice is that it speaks again.
        if let Some(left) = limit.checked_sub(view.now.mono.saturating_sub(sample.heard)) {
            drain::soonest(&mut again, left.as_secs_f64() + 0.05);
        }
    }
    // Rounded up, so that the deadline has really passed when we look.
    again.map(|seconds| seconds + 0.005)
}
