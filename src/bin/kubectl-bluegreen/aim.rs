//! Whether what was asked for has come about, or can't any more.

use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus, ConditionType, PhaseName, keys};

use crate::args::Goal;
use crate::report::{because, current, is};

/// What a command is to bring about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The revision has the traffic.
    Serves(String),
    /// The revision was given up.
    GivenUp(String),
    /// The revision is no longer given up.
    TriedAgain(String),
    /// New pods of the template serve, instead of this revision.
    Restarted(String),
    /// The revision does not drain any more.
    DrainOver(String),
    /// What `wait` waits for.
    Is(Goal),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is so; in a sentence.
    There(String),
    /// Not yet.
    NotYet,
    /// It can't come about any more.
    Never(String),
    /// It can't come about before somebody corrects something, if it stays so: a Service may be made a moment after the object that names it.
    Blocked(String),
}

/// How far it is. `key` is the annotation that was written for it.
pub fn progress(aim: &Aim, key: Option<&str>, object: &BlueGreenDeployment) -> Progress {
    let Some(status) = object.status.as_ref() else { return Progress::NotYet };
    let written = key.is_some_and(|key| annotated(object, key));
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match aim {
        // Nothing of it is about the spec: it does not matter whether the operator has seen the latest.
        Aim::DrainOver(revision) if !written && status.draining.iter().all(|set| &set.revision != revision) => {
            Progress::There(format!("revision {revision} does not drain any more"))
        }
        Aim::DrainOver(_) => Progress::NotYet,
        Aim::GivenUp(revision) => match &status.rejected {
            Some(rejected) if &rejected.revision == revision => Progress::There(rejected.message.clone()),
            _ => ignored(name, written),
        },
        Aim::TriedAgain(revision) => match &status.rejected {
            Some(rejected) if &rejected.revision == revision => ignored(name, written),
            _ if written => Progress::NotYet,
            _ => Progress::There(format!("revision {revision} is being tried again")),
        },
        Aim::Serves(revision) => serves(status, revision, || ignored(name, written)),
        // The command is done with as soon as there is a new revision, and status tells of it a moment later.
        Aim::Restarted(revision) if written || status.revision.as_ref() == Some(revision) => Progress::NotYet,
        Aim::Restarted(_) => ready(object, status, Goal::Ready),
        Aim::Is(goal) => ready(object, status, *goal),
    }
}

fn annotated(object: &BlueGreenDeployment, key: &str) -> bool {
    object.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key))
}

/// The operator takes a command's annotation off when it has carried it out, or refused it.
fn ignored(name: &str, written: bool) -> Progress {
    if written {
        return Progress::NotYet;
    }
    Progress::Never(format!("the operator did not carry it out; kubectl describe bgd {name} shows the Event that says why"))
}

fn serves(status: &BlueGreenDeploymentStatus, revision: &str, otherwise: impl Fn() -> Progress) -> Progress {
    let switch = status.switch.as_ref().filter(|switch| switch.to == revision);
    if switch.is_some_and(|switch| switch.completed_at.is_some()) {
        return Progress::There(format!("revision {revision} has the traffic"));
    }
    let rejected = status.rejected.as_ref();
    if let Some(rejected) = rejected.filter(|rejected| rejected.revision == revision) {
        return Progress::Never(rejected.message.clone());
    }
    let coming = switch.is_some()
        || rejected.is_some_and(|rejected| rejected.return_to.as_deref() == Some(revision))
        || rejected.is_none() && status.revision.as_deref() == Some(revision);
    if coming { Progress::NotYet } else { otherwise() }
}

fn ready(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus, goal: Goal) -> Progress {
    use keys::command::{ABORT, RESTART, RETRY, ROLLBACK};
    // What is about to be carried out changes the answer.
    if !current(object) || [ABORT, RESTART, RETRY, ROLLBACK].iter().any(|key| annotated(object, key)) {
        return Progress::NotYet;
    }
    let revision = status.revision.as_deref().unwrap_or_default();
    match goal {
        Goal::Ready if is(status, ConditionType::Ready) => return Progress::There(format!("revision {revision} serves everyone")),
        Goal::Switched if is(status, ConditionType::Switched) => return Progress::There(format!("revision {revision} has the traffic")),
        Goal::Drained if is(status, ConditionType::Ready) && is(status, ConditionType::Drained) => {
            return Progress::There(format!("revision {revision} serves everyone, and no old pods are left"));
        }
        Goal::Ready | Goal::Switched | Goal::Drained => {}
    }
    if let Some(rejected) = &status.rejected {
        return Progress::Never(format!("{} ({})", rejected.message, rejected.reason));
    }
    match because(status, ConditionType::Stalled) {
        Some(why) if status.phase == Some(PhaseName::Blocked) => Progress::Blocked(format!("{} ({})", why.message, why.reason)),
        _ => Progress::NotYet,
    }
}

#[cfg(test)]
#[path = "tests/aim.rs"]
mod tests;
