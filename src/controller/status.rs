//! Status: one guarded patch, and none if nothing changed. Events follow from conditions that changed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{BlueGreenDeploymentStatus, Condition, ConditionStatus, ConditionType};
use crate::release::Snapshot;
use crate::release::plan::Notice;

use super::api::{ApiError, ApiServer, Change, Resource};
use super::context::Context;
use super::manifest::difference;

/// A status that differs only in falling counts is written at most so often.
const COUNTING: Duration = Duration::from_secs(5);

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is written, or there was nothing to write.
    Done,
    /// It is to be written after this time.
    Later(Duration),
}

/// Writes a status, unless it only counts down and was written a moment ago.
pub async fn write_if_due<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) -> Result<Written, ApiError> {
    if *status == snapshot.object.status {
        return Ok(Written::Done);
    }
    if only_counts(&snapshot.object.status, status) {
        let now = context.clock.now().mono;
        let last = context.remember(&snapshot.object.uid, |remembered| remembered.counted);
        let wait = last.map_or(Duration::ZERO, |last| (last + COUNTING).saturating_sub(now));
        if !wait.is_zero() {
            return Ok(Written::Later(wait));
        }
    }
    write(context, snapshot, status).await?;
    Ok(Written::Done)
}

/// Writes a status. It fails when the object changed since it was read: then it is read and decided again.
pub async fn write<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) -> Result<(), ApiError> {
    let object = &snapshot.object;
    let before = to_value(&object.status);
    let Some(change) = difference(&before, &to_value(status)) else {
        return Ok(());
    };
    let patch = json!({"metadata": {"resourceVersion": object.resource_version, "uid": object.uid}, "status": change});
    let written = context.api.patch(Resource::BlueGreenDeployment, &object.namespace, &object.name, true, Change::Merge(patch)).await?;
    context.wrote(Resource::BlueGreenDeployment, &written);
    let now = context.clock.now().mono;
    context.remember(&object.uid, |remembered| remembered.counted = Some(now));
    for notice in notices(&object.status.conditions, &status.conditions) {
        context.say(object, &notice);
    }
    Ok(())
}

fn to_value(status: &BlueGreenDeploymentStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// Whether two statuses differ only in what a running drain counts.
fn only_counts(one: &BlueGreenDeploymentStatus, other: &BlueGreenDeploymentStatus) -> bool {
    let without = |status: &BlueGreenDeploymentStatus| {
        let mut status = status.clone();
        status.open_connections = status.open_connections.map(|open| open.min(1));
        status.held_by = None;
        for set in &mut status.draining {
            set.open_connections = set.open_connections.map(|open| open.min(1));
            set.holders.clear();
            set.oldest_since = None;
        }
        for condition in status.conditions.iter_mut().filter(|condition| condition.kind == ConditionType::Drained) {
            condition.message.clear();
        }
        status
    };
    without(one) == without(other)
}

/// Changes of condition that are worth an Event.
fn notices(before: &[Condition], after: &[Condition]) -> Vec<Notice> {
    let known = |kind: ConditionType| before.iter().find(|condition| condition.kind == kind);
    after
        .iter()
        .filter(|now| known(now.kind).is_none_or(|then| (then.status, &then.reason) != (now.status, &now.reason)))
        .filter_map(|now| {
            let warning = match (now.kind, now.status) {
                (ConditionType::Stalled, ConditionStatus::True) | (ConditionType::SmokeTested, ConditionStatus::False) => true,
                (ConditionType::Ready | ConditionType::SmokeTested | ConditionType::Switched | ConditionType::Converged, ConditionStatus::True) => {
                    false
                }
                (ConditionType::Converged, ConditionStatus::Unknown) if now.reason != "Pending" => true,
                (ConditionType::Converged, ConditionStatus::False) if now.reason == "NewConnectionOnOld" => true,
                (ConditionType::Drained, ConditionStatus::False) => matches!(now.reason.as_str(), "AgentSilent" | "NodeLost" | "SocketsUnreadable"),
                (ConditionType::Drained, ConditionStatus::True) if known(now.kind).is_some() => false,
                (ConditionType::Reconciling, ConditionStatus::True) => false,
                _ => return None,
            };
            Some(Notice { warning, reason: reason(now), message: now.message.clone() })
        })
        .collect()
}

/// Reason of the Event: the condition and what it says, as one word.
fn reason(condition: &Condition) -> &'static str {
    match (condition.kind, condition.status) {
        (ConditionType::Stalled, _) => "Stalled",
        (ConditionType::Ready, _) => "Ready",
        (ConditionType::Reconciling, _) => "Releasing",
        (ConditionType::Available, _) => "Available",
        (ConditionType::SmokeTested, ConditionStatus::True) => "SmokePassed",
        (ConditionType::SmokeTested, _) => "SmokeFailed",
        (ConditionType::Switched, _) => "Switched",
        (ConditionType::Converged, ConditionStatus::True) => "Converged",
        (ConditionType::Converged, _) => "NotConverged",
        (ConditionType::Drained, ConditionStatus::True) => "Drained",
        (ConditionType::Drained, _) => "Draining",
    }
}
