//! What time limits: how long each thing goes on, as far as the object and its ReplicaSets tell.

use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus, ConditionType, HookPoint, HookResult, PhaseName, SwitchCause};
use bluegreen::release::{Set, overlap};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::history::served;

use super::{because, current, steps};

/// Something that time limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// What.
    pub what: Limited,
    /// The revision that it is about.
    pub revision: String,
    /// When it is over.
    pub at: Timestamp,
}

/// What time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Limited {
    /// `spec.progressDeadlineSeconds`: after it the release is stalled.
    Progress,
    /// The switch comes by itself then (`spec.promotion.afterSeconds`, `windows`).
    Promotion,
    /// `spec.traffic.overlapSeconds`: both revisions serve until then at least.
    Overlap,
    /// `spec.bake.seconds`: it bakes until then at least.
    Bake,
    /// `spec.onFailure.keepSeconds`: the pods of what was given up stay until then.
    Kept,
}

/// All that is known. How long a drain may take stands with that.
pub fn of(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus, sets: &[Set]) -> Vec<Limit> {
    // By another spec the times are others.
    if !current(object) {
        return vec![];
    }
    let all =
        [progress(object, status, sets), promotion(object, status), overlapping(object, status), bake(object, status), kept(object, status, sets)];
    all.into_iter().flatten().collect()
}

fn limit(what: Limited, revision: &str, since: Timestamp, seconds: i32) -> Option<Limit> {
    let at = since.checked_add(SignedDuration::from_secs(seconds.into())).ok()?;
    Some(Limit { what, revision: revision.into(), at })
}

fn progress(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus, sets: &[Set]) -> Option<Limit> {
    let goal = status.rejected.as_ref().map_or(status.revision.as_ref(), |rejected| rejected.return_to.as_ref());
    let coming = status.inactive.as_ref().filter(|set| Some(&set.revision) == goal)?;
    // While it waits to begin, such as for a hook, it has no pods, and is not called late.
    sets.iter().find(|set| set.revision == coming.revision && set.desired > 0)?;
    let counts = matches!(status.phase, Some(PhaseName::BringUp | PhaseName::Smoke)) && !object.spec.paused;
    let jobs = || status.hooks.iter().filter(|row| row.revision == coming.revision && row.point == HookPoint::SmokeProbes);
    // A Job has a deadline of its own, and the time begins anew when it has ended.
    if !counts || jobs().any(|row| matches!(row.result, HookResult::Running | HookResult::Waiting)) {
        return None;
    }
    let tested = jobs().filter_map(|row| row.finished_at).max();
    let since = tested.map_or(coming.since, |at| at.max(coming.since));
    limit(Limited::Progress, &coming.revision, since, object.spec.progress_deadline_seconds)
}

fn promotion(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus) -> Option<Limit> {
    let revision = status.revision.as_ref().filter(|_| status.phase == Some(PhaseName::AwaitPromotion) && !steps::promoted(object, status))?;
    let at = steps::due(status)?.parse().ok()?;
    Some(Limit { what: Limited::Promotion, revision: revision.clone(), at })
}

fn overlapping(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus) -> Option<Limit> {
    let switch = status.switch.as_ref().filter(|switch| overlap::wide(switch) && status.phase == Some(PhaseName::Switch))?;
    limit(Limited::Overlap, &switch.to, switch.started_at, object.spec.traffic.overlap_seconds)
}

fn bake(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus) -> Option<Limit> {
    let baking = status.phase == Some(PhaseName::Bake) && because(status, ConditionType::Stalled).is_none();
    let switch = status.switch.as_ref().filter(|switch| baking && switch.cause == SwitchCause::Release)?;
    limit(Limited::Bake, &switch.to, switch.completed_at?, object.spec.bake.seconds)
}

fn kept(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus, sets: &[Set]) -> Option<Limit> {
    let rejected = status.rejected.as_ref().filter(|_| !object.spec.paused)?;
    // One that has served drains like any other.
    sets.iter().find(|set| set.revision == rejected.revision && set.desired > 0 && !served(set))?;
    limit(Limited::Kept, &rejected.revision, rejected.at, object.spec.on_failure.keep_seconds)
}

#[cfg(test)]
#[path = "../tests/limits.rs"]
mod tests;
