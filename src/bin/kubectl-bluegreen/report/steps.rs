//! The way of a release, step by step.

use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus, ConditionStatus, ConditionType, PhaseName, PromotionMode, keys};
use bluegreen::api::{HookPoint, HookResult, HookStatus};
use bluegreen::probe::written;
use serde::Serialize;

use super::{because, condition, current};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is called.
    pub name: &'static str,
    /// How far it is.
    pub state: State,
    /// What is to be said about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It is behind.
    Done,
    /// There is nothing to do in it.
    Skipped,
    /// It is under way.
    Now,
    /// It waits for a person.
    Waits,
    /// It can't go on, or takes too long.
    Stalled,
    /// The revision was given up here.
    Failed,
    /// It is to come.
    ToCome,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    BringUp,
    Smoke,
    Promotion,
    Switch,
    Converge,
    Bake,
    Drain,
    Done,
}

impl Place {
    const ALL: [Place; 8] = [Self::BringUp, Self::Smoke, Self::Promotion, Self::Switch, Self::Converge, Self::Bake, Self::Drain, Self::Done];

    fn name(self) -> &'static str {
        match self {
            Self::BringUp => "bring up",
            Self::Smoke => "smoke",
            Self::Promotion => "promotion",
            Self::Switch => "switch",
            Self::Converge => "converge",
            Self::Bake => "bake",
            Self::Drain => "drain",
            Self::Done => "done",
        }
    }
}

/// All steps with their state.
pub fn of(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus) -> Vec<Step> {
    // A way back was asked for already: nobody is asked again.
    let forward = status.rejected.is_none();
    let promotion = &object.spec.promotion;
    let waits = promotion.mode == PromotionMode::Manual || promotion.after_seconds > 0 || !promotion.windows.is_empty() || promotion.group.is_some();
    let places = Place::ALL.into_iter().filter(|place| match place {
        Place::Promotion => waits && forward,
        Place::Bake if forward => object.spec.bake.seconds > 0,
        Place::Bake => gave_up_at(status) == Place::Bake,
        _ => true,
    });
    let Some((here, state)) = here(object, status) else {
        return places.map(|place| Step { name: place.name(), state: State::ToCome, note: None }).collect();
    };
    let note = note(object, status, here, state);
    places
        .map(|place| {
            let state = match place.cmp(&here) {
                std::cmp::Ordering::Equal => state,
                // After a failure nothing comes.
                std::cmp::Ordering::Greater => State::ToCome,
                std::cmp::Ordering::Less if place == Place::Smoke && object.spec.smoke_probes.is_empty() => State::Skipped,
                std::cmp::Ordering::Less => State::Done,
            };
            let mut note = if place == here { note.clone() } else { None };
            if state == State::Skipped {
                note = Some("spec.smokeProbes is empty".into());
            }
            Step { name: place.name(), state, note }
        })
        .collect()
}

/// The step that the release is in, and how it goes.
fn here(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus) -> Option<(Place, State)> {
    // Of an older spec it says nothing about this one.
    let phase = status.phase.filter(|_| current(object))?;
    let stalled = because(status, ConditionType::Stalled).is_some();
    let or_stalled = |place, state| Some((place, if stalled { State::Stalled } else { state }));
    match phase {
        PhaseName::Blocked => Some((Place::BringUp, State::Stalled)),
        // Also on the way back from a revision that was given up, which is stalled all the while.
        PhaseName::BringUp => progress(status, Place::BringUp),
        PhaseName::Smoke => progress(status, Place::Smoke),
        PhaseName::AwaitPromotion => or_stalled(Place::Promotion, State::Waits),
        PhaseName::Switch => progress(status, Place::Switch),
        PhaseName::Converge => or_stalled(Place::Converge, State::Now),
        PhaseName::Bake => or_stalled(Place::Bake, State::Now),
        PhaseName::Drain => or_stalled(Place::Drain, State::Now),
        PhaseName::Complete => or_stalled(Place::Done, State::Done),
        PhaseName::Rejected => Some((gave_up_at(status), State::Failed)),
        PhaseName::Paused => Some((held_at(status), State::Waits)),
    }
}

fn progress(status: &BlueGreenDeploymentStatus, place: Place) -> Option<(Place, State)> {
    let returning = status.rejected.as_ref().map(|rejected| rejected.reason.as_str());
    let stalled = because(status, ConditionType::Stalled).is_some_and(|why| Some(why.reason.as_str()) != returning);
    Some((place, if stalled { State::Stalled } else { State::Now }))
}

/// Where a revision was given up, as far as status tells.
fn gave_up_at(status: &BlueGreenDeploymentStatus) -> Place {
    match &status.rejected {
        Some(rejected) if rejected.reason == "SmokeFailed" => Place::Smoke,
        Some(rejected) if rejected.reason == "BakeFailed" => Place::Bake,
        Some(rejected) if rejected.reason == "HookFailed" => {
            let failed = |row: &&HookStatus| row.result == HookResult::Failed && row.revision == rejected.revision;
            let first = status.hooks.iter().find(failed).is_some_and(|row| row.point == HookPoint::BeforeBringUp);
            if first { Place::BringUp } else { Place::Switch }
        }
        // Before it, or by taking it back: how far it had come after it is not on record.
        _ => Place::Switch,
    }
}

fn held_at(status: &BlueGreenDeploymentStatus) -> Place {
    let tested = condition(status, ConditionType::SmokeTested);
    match tested.map(|tested| (tested.status, tested.reason.as_str())) {
        Some((ConditionStatus::True, _)) => Place::Switch,
        Some((_, "Running" | "SmokeFailed")) => Place::Smoke,
        _ => Place::BringUp,
    }
}

fn note(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus, here: Place, state: State) -> Option<String> {
    let stalled = because(status, ConditionType::Stalled).map(|why| why.message);
    match state {
        State::Stalled => stalled,
        State::Failed => status.rejected.as_ref().map(|rejected| rejected.message.clone()),
        State::Waits if waits_for_group(status) => because(status, ConditionType::Reconciling).map(|why| why.message),
        State::Waits if here == Place::Promotion && promoted(object, status) => Some("promoted; the switch begins".into()),
        State::Waits if here == Place::Promotion => {
            let revision = status.revision.as_deref().unwrap_or_default();
            let name = object.metadata.name.as_deref().unwrap_or_default();
            Some(match due(status) {
                Some(due) => format!("revision {revision} passed and takes the traffic at {due}; kubectl bluegreen promote {name} gives it at once"),
                None => format!("revision {revision} passed; kubectl bluegreen promote {name} gives it the traffic"),
            })
        }
        State::Done => Some(match &status.revision {
            Some(revision) => format!("revision {revision} serves everyone"),
            None => "the revision serves everyone".into(),
        }),
        _ if here == Place::Drain => Some(drain(status)),
        _ if here == Place::Bake => {
            let kept = condition(status, ConditionType::Drained).filter(|kept| kept.reason == "Baking").map(|kept| kept.message.clone());
            let said = because(status, ConditionType::Reconciling).map(|why| why.message);
            Some(said.into_iter().chain(kept).collect::<Vec<_>>().join("; "))
        }
        _ => because(status, ConditionType::Reconciling).map(|why| without_subject(&why.message).to_owned()),
    }
}

/// Whether it waits for nothing but other members of its group.
pub fn waits_for_group(status: &BlueGreenDeploymentStatus) -> bool {
    because(status, ConditionType::Reconciling).is_some_and(|why| why.reason == "WaitsForGroup")
}

/// When the switch comes without a person's word, in the operator's own words.
pub fn due(status: &BlueGreenDeploymentStatus) -> Option<String> {
    let said = because(status, ConditionType::Reconciling)?.message;
    let (_, rest) = said.split_once(" takes the traffic at ")?;
    rest.split(';').next().map(str::to_owned)
}

/// Whether the word that it waits for was given.
pub fn promoted(object: &BlueGreenDeployment, status: &BlueGreenDeploymentStatus) -> bool {
    let named = object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(keys::command::PROMOTE));
    named.is_some() && named == status.revision.as_ref()
}

/// What the operator says beside the name of the step, which stands before it here.
fn without_subject(message: &str) -> &str {
    message.split_once(" is brought up: ").filter(|(subject, _)| subject.starts_with("revision ")).map_or(message, |(_, rest)| rest)
}

fn drain(status: &BlueGreenDeploymentStatus) -> String {
    let pods: i32 = status.draining.iter().map(|set| set.pods).sum();
    let pods = if pods == 1 { "1 old pod is".to_owned() } else { format!("{pods} old pods are") };
    let numbers = status.draining.iter().map(|set| set.metric.as_ref()?.parse::<f64>().ok()).sum::<Option<f64>>();
    if let Some(number) = numbers.filter(|_| !status.draining.is_empty()) {
        return format!("{pods} left, with a metric of {}", written(number));
    }
    match status.open_connections {
        Some(1) => format!("{pods} left, with 1 open connection"),
        Some(open) => format!("{pods} left, with {open} open connections"),
        None => format!("{pods} left"),
    }
}
