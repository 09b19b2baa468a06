//! Bake: the new revision bears the traffic for a while, and the old one stays as it was, before that is left for good.

use jiff::Timestamp;

use crate::api::{PhaseName, ProbeResult, SmokeProbe, Switch, SwitchCause};

use super::action::{ProbeRun, SmokeRun};
use super::command;
use super::group;
use super::revision::probes_hash;
use super::set::Set;
use super::smoke;
use super::snapshot::ProbeObservation;
use super::view::{View, count};

/// What the hash of a bake's probes begins with: what one of them shows says nothing about a smoke probe, be it the same.
const PREFIX: &str = "bake.";

/// How the new revision bears the traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum Bake {
    /// Nothing bakes.
    None,
    /// It does, for so many seconds more at least.
    Running {
        /// Seconds; zero while only a probe's verdict is missing.
        left: f64,
    },
    /// It bore it for long enough.
    Passed,
    /// The move was over before a bake was asked for: nothing bakes, and that is to go on record.
    TooLate,
    /// A probe fails.
    Failed {
        /// Which probe, on which pod, and what it showed.
        message: String,
    },
}

/// Whether an observation is one of a bake.
pub fn is_of_bake(observation: &ProbeObservation) -> bool {
    observation.probes.starts_with(PREFIX)
}

/// Whether a move bakes: only a release does, as what a person or a failure decided is not decided again.
pub fn wanted(view: &View<'_>, intent: &Switch) -> bool {
    view.snapshot.object.spec.bake.seconds > 0 && intent.cause == SwitchCause::Release
}

/// When a move had baked. What stands there from before the move is of an earlier one: an operator that does not know the field leaves it.
pub fn baked_at(intent: &Switch) -> Option<Timestamp> {
    intent.baked_at.filter(|at| *at >= intent.started_at)
}

/// The move that bakes now.
fn baking<'a>(view: &View<'a>) -> Option<&'a Switch> {
    let moved = |intent: &&Switch| intent.completed_at.is_some() && baked_at(intent).is_none() && wanted(view, intent);
    view.intent.filter(|intent| moved(intent) && !was_over(view, intent))
}

/// The same, and the set that bears it.
fn under_way<'a>(view: &View<'a>) -> Option<(&'a Switch, &'a Set)> {
    Some((baking(view)?, view.active()?))
}

/// Whether a move was over when its bake was asked for: then that is one of the next release.
fn was_over(view: &View<'_>, intent: &Switch) -> bool {
    let over = matches!(view.snapshot.object.status.phase, Some(PhaseName::Drain | PhaseName::Complete));
    over && view.active().is_some() && intent.converged_at.is_some() && baked_at(intent).is_none()
}

/// Whether a set that was left must stay as it was, since the traffic may come back: from here, or from another member of the group.
pub fn holds(view: &View<'_>, set: &Set) -> bool {
    group::holds(view, set) || holds_itself(view, set)
}

fn holds_itself(view: &View<'_>, set: &Set) -> bool {
    let left = |intent: &Switch| intent.from.as_ref() == Some(&set.revision);
    // Where somebody has deleted the set that bears it nothing ends the bake but its time.
    set.loose.is_none() && baking(view).is_some_and(|intent| left(intent) && (view.active().is_some() || seconds_left(view, intent) > 0.0))
}

/// Seconds that a bake has still to last, at least; negative after that.
fn seconds_left(view: &View<'_>, intent: &Switch) -> f64 {
    f64::from(view.snapshot.object.spec.bake.seconds) - intent.completed_at.map_or(0.0, |at| view.now.seconds_since(at))
}

/// Seconds until a set that is held may be let go, where nothing else tells of that.
pub fn held_for(view: &View<'_>) -> Option<f64> {
    baking(view).map(|intent| seconds_left(view, intent)).filter(|left| *left > 0.0)
}

/// Looks how the new revision bears the traffic, and which probes are to run.
pub fn step(view: &View<'_>) -> (Bake, Option<SmokeRun>) {
    let Some((intent, set)) = under_way(view) else {
        let over = view.intent.is_some_and(|intent| wanted(view, intent) && was_over(view, intent));
        return (if over { Bake::TooLate } else { Bake::None }, None);
    };
    let bake = &view.snapshot.object.spec.bake;
    let hash = hash(view);
    let run = SmokeRun { set_uid: set.uid.clone(), probes: hash.clone(), runs: runs(view, set, &bake.probes), persistent: true, endless: true };
    let seen = || of_set(view, set, &hash);
    // A node that is lost takes its pods with it: nobody's version is to blame.
    let there = |known: &ProbeObservation| known.pod.as_ref().is_none_or(|uid| view.pods(set).any(|pod| &pod.uid == uid && view.on_ready_node(pod)));
    if let Some(failed) = seen().find(|known| known.result == ProbeResult::Failed && there(known)) {
        let message = format!("probe \"{}\" of the bake on {} failed: {}", failed.probe, failed.target, failed.message);
        return (Bake::Failed { message }, Some(run));
    }
    let left = seconds_left(view, intent);
    let passed = |run: &ProbeRun| seen().any(|known| known.result == ProbeResult::Passed && known.probe == run.probe.name && known.pod == run.pod);
    let serves = view.ready(set) > 0 || view.snapshot.object.spec.replicas == 0;
    let outcome = if left <= 0.0 && serves && run.runs.iter().all(passed) { Bake::Passed } else { Bake::Running { left: left.max(0.0) } };
    (outcome, Some(run))
}

fn hash(view: &View<'_>) -> String {
    format!("{PREFIX}{}", probes_hash(&view.snapshot.object.spec.bake.probes))
}

fn of_set<'a>(view: &View<'a>, set: &'a Set, hash: &str) -> impl Iterator<Item = &'a ProbeObservation> {
    view.snapshot.probes.iter().filter(move |known| known.set_uid == set.uid && known.probes == hash)
}

/// What the probes of the bake that goes on have shown.
pub fn seen<'a>(view: &View<'a>) -> Option<Vec<&'a ProbeObservation>> {
    let (_, set) = under_way(view)?;
    Some(of_set(view, set, &hash(view)).collect())
}

/// A probe of the bake that fails, and not yet often enough.
pub fn trouble(view: &View<'_>) -> Option<String> {
    let failing = seen(view)?.into_iter().filter(|known| known.result == ProbeResult::Running && !known.message.is_empty());
    let first = failing.min_by_key(|known| (&known.probe, &known.target))?;
    Some(format!("probe \"{}\" of the bake on {}: {}", first.probe, first.target, first.message))
}

/// Seconds until a bake has lasted too long, of which so many are left.
pub fn overdue_in(view: &View<'_>, left: f64) -> f64 {
    let spec = &view.snapshot.object.spec;
    let since = view.intent.and_then(|intent| intent.completed_at).map_or(0.0, |at| view.now.seconds_since(at));
    let whole = f64::from(spec.bake.seconds) + f64::from(spec.progress_deadline_seconds);
    if left > 0.0 { left } else { whole - since }
}

fn runs(view: &View<'_>, set: &Set, probes: &[SmokeProbe]) -> Vec<ProbeRun> {
    let pods = || view.pods(set).filter(|pod| pod.ready);
    let each = probes.iter().flat_map(|probe| pods().filter_map(move |pod| smoke::on_pod(probe, pod)));
    each.chain(probes.iter().filter_map(|probe| smoke::on_the_whole(view, set, probe))).collect()
}

/// The revision that the traffic goes back to when a probe fails, or why it stays.
pub fn way_back<'a>(view: &View<'a>, intent: &Switch) -> Result<&'a Set, String> {
    let Some(from) = intent.from.as_deref().and_then(|from| view.set(from)).filter(|set| view.served(set) && set.desired > 0) else {
        return Err("there is no earlier revision to go back to".into());
    };
    if view.snapshot.object.spec.paused {
        return Err("spec.paused is true".into());
    }
    // Pods on a node that is lost are about to follow it.
    let ready = count(view.pods(from).filter(|pod| pod.ready && view.on_ready_node(pod)).count());
    if view.retiring(from) || !view.warm(from) || ready < command::needed_back(view) {
        return Err(format!("revision {} has {ready} ready pods, which are too few to go back to", from.revision));
    }
    Ok(from)
}
