//! Status: one guarded patch, and none if nothing changed. Events follow from conditions that changed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{BlueGreenDeploymentStatus, Condition, ConditionStatus, ConditionType};
use crate::release::Snapshot;
use crate::release::action::Notice;

use super::api::{ApiError, ApiServer, Change, Resource};
use super::context::Context;
use super::manifest::difference;
use super::memory::Remembered;
use super::schema::dropped;
use super::trim;

/// A status that differs only in falling counts of connections is written at most so often.
const COUNTING: Duration = Duration::from_secs(5);
/// One that differs only in how far a step has come, at most so often.
const PROGRESS: Duration = Duration::from_secs(1);
/// Neither is written before it has waited so long. Pods get ready one right after the other: with a request about the first under way the
/// switch would have to wait when the last one is.
const BREATH: Duration = Duration::from_millis(200);

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
    let stored = snapshot.object.stored_status();
    if *status == stored {
        context.remember(&snapshot.object.uid, |remembered| remembered.waits = None);
        return Ok(Written::Done);
    }
    let pause = match () {
        () if without_counts(&stored) == without_counts(status) => COUNTING,
        () if without_progress(&stored) == without_progress(status) => PROGRESS,
        () => Duration::ZERO,
    };
    if !pause.is_zero() {
        let now = context.clock.now().mono;
        let wait = context.remember(&snapshot.object.uid, |remembered| {
            let breath = *remembered.waits.get_or_insert(now) + BREATH;
            remembered.written.map_or(breath, |last| breath.max(last + pause)).saturating_sub(now)
        });
        if !wait.is_zero() {
            return Ok(Written::Later(wait));
        }
    }
    write(context, snapshot, status).await?;
    Ok(Written::Done)
}

/// Fields that are absent while there is nothing to show.
const ABSENT: [&str; 6] = ["phase", "revision", "active", "inactive", "openConnections", "heldBy"];

/// What `written` shows although `wanted` has no such field: a leftover that could not be read, and so was not seen to be there.
fn leftovers(wanted: &Value, written: &Value) -> Option<Value> {
    let left = ABSENT.into_iter().filter(|field| written.get(*field).is_some() && wanted.get(*field).is_none());
    let left: serde_json::Map<String, Value> = left.map(|field| (field.to_owned(), Value::Null)).collect();
    (!left.is_empty()).then_some(Value::Object(left))
}

/// Writes a status. It fails when the object changed since it was read: then it is read and decided again.
pub async fn write<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) -> Result<(), ApiError> {
    let object = &snapshot.object;
    let wanted = to_value(status);
    let Some(change) = difference(&to_value(&object.stored_status()), &wanted) else {
        return Ok(());
    };
    let cut = |remembered: &mut Remembered| {
        remembered.cut.as_ref().is_some_and(|(status, version)| *status == wanted && *version == object.resource_version)
    };
    if context.remember(&object.uid, cut) {
        return Ok(());
    }
    let patch = json!({"metadata": {"resourceVersion": object.resource_version, "uid": object.uid}, "status": &change});
    let mut written = context.api.patch(Resource::BlueGreenDeployment, &object.namespace, &object.name, true, Change::Merge(patch)).await?;
    if let Some(left) = written.get("status").and_then(|now| leftovers(&wanted, now)) {
        let patch = json!({"metadata": {"resourceVersion": written.pointer("/metadata/resourceVersion"), "uid": object.uid}, "status": left});
        written = context.api.patch(Resource::BlueGreenDeployment, &object.namespace, &object.name, true, Change::Merge(patch)).await?;
    }
    context.wrote(Resource::BlueGreenDeployment, &written);
    let answer = written.get("status").unwrap_or(&Value::Null);
    if let Some(field) = dropped(&change, answer, "status") {
        tracing::debug!(namespace = object.namespace, name = object.name, field, "the API server dropped a part of the status");
        context.dropped.notify_one();
        // What has to be remembered is not: then nothing may follow from it. Each is looked at, as what was dropped first may be only for show.
        let lost = |recorded: &str| dropped(&json!({recorded: change.get(recorded)}), answer, "status");
        if let Some(field) = BlueGreenDeploymentStatus::RECORDED.into_iter().find_map(lost) {
            return Err(ApiError::Transient(format!(
                "the API server dropped {field}: the installed CustomResourceDefinitions are older than this operator"
            )));
        }
        let version = trim::text(&written, "/metadata/resourceVersion").unwrap_or_default();
        context.remember(&object.uid, |remembered| remembered.cut = Some((wanted, version)));
    }
    let now = context.clock.now().mono;
    let notices = context.remember(&object.uid, |remembered| {
        remembered.written = Some(now);
        remembered.waits = None;
        let mut notices = notices(&object.status.conditions, &status.conditions);
        notices.retain(|(condition, _)| first_of_its_drain(&mut remembered.told, condition));
        if status.conditions.iter().any(|condition| (condition.kind, condition.status) == (ConditionType::Drained, ConditionStatus::True)) {
            remembered.told.clear();
        }
        notices
    });
    for (_, notice) in notices {
        context.say(object, &notice);
    }
    Ok(())
}

/// A drain goes to and fro between its reasons, with every connection that comes and goes: each of them is told once.
fn first_of_its_drain(told: &mut BTreeSet<String>, condition: &Condition) -> bool {
    (condition.kind, condition.status) != (ConditionType::Drained, ConditionStatus::False) || told.insert(condition.reason.clone())
}

fn to_value(status: &BlueGreenDeploymentStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// A status without what a running drain counts; that nothing is open any more is no mere count.
fn without_counts(status: &BlueGreenDeploymentStatus) -> BlueGreenDeploymentStatus {
    let mut status = status.clone();
    status.open_connections = status.open_connections.map(|open| open.min(1));
    status.held_by = None;
    for set in &mut status.draining {
        set.open_connections = set.open_connections.map(|open| open.min(1));
        set.metric = None;
        set.message = None;
        set.holders.clear();
        set.oldest_since = None;
    }
    for condition in status.conditions.iter_mut().filter(|condition| condition.kind == ConditionType::Drained) {
        condition.message.clear();
    }
    status
}

/// A status without how far its steps have come.
fn without_progress(status: &BlueGreenDeploymentStatus) -> BlueGreenDeploymentStatus {
    let mut status = without_counts(status);
    status.smoke_probes.clear();
    status.bake_probes.clear();
    if let Some(inactive) = &mut status.inactive {
        inactive.replicas = 0;
        inactive.ready_replicas = 0;
    }
    for set in &mut status.draining {
        set.drained_pods = 0;
        set.open_connections = None;
        set.reason.clear();
    }
    status.open_connections = None;
    for condition in &mut status.conditions {
        condition.message.clear();
        if matches!(condition.kind, ConditionType::Reconciling | ConditionType::Converged | ConditionType::Drained)
            || (condition.kind, condition.status) == (ConditionType::Ready, ConditionStatus::False)
        {
            condition.reason.clear();
        }
    }
    status
}

/// Changes of condition that are worth an Event.
fn notices<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<(&'a Condition, Notice)> {
    use ConditionStatus::{False, True, Unknown};
    let known = |kind: ConditionType| before.iter().find(|condition| condition.kind == kind);
    let mut changed: Vec<&Condition> =
        after.iter().filter(|now| known(now.kind).is_none_or(|then| (then.status, &then.reason) != (now.status, &now.reason))).collect();
    // In the order in which things happen, so that they read as a story.
    changed.sort_by_key(|condition| matches!(condition.kind, ConditionType::Ready | ConditionType::Stalled));
    let notices = changed.into_iter().filter_map(|now| {
        let then = known(now.kind).map(|then| then.status);
        let warning = match (now.kind, now.status, now.reason.as_str()) {
            (ConditionType::Stalled, True, _) | (ConditionType::SmokeTested, False, _) => true,
            (ConditionType::Ready | ConditionType::SmokeTested | ConditionType::Switched, True, _) if then != Some(True) => false,
            (ConditionType::Converged, True, _) if then != Some(True) => false,
            (ConditionType::Converged, Unknown, reason) if reason != "Pending" => true,
            // Right after a switch that is to be expected; later it takes a certainty back.
            (ConditionType::Converged, False, "NewConnectionOnOld") if then == Some(True) => true,
            (ConditionType::Drained, False, "AgentSilent" | "MetricUnreadable" | "NodeLost" | "SocketsUnreadable") => true,
            (ConditionType::Drained, False, "MetricTooHigh" | "OpenConnections")
            | (ConditionType::Reconciling, True, "BringUp" | "Smoke" | "AwaitPromotion" | "WaitsForGroup" | "Bake" | "Paused") => false,
            (ConditionType::Drained, True, _) if then == Some(False) => false,
            _ => return None,
        };
        Some((now, Notice { warning, reason: reason(now), message: now.message.clone() }))
    });
    notices.collect()
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

#[cfg(test)]
#[path = "tests/status.rs"]
mod tests;
