//! Conditions: what the findings mean to a person and to tools that follow kstatus.

use jiff::Timestamp;

use crate::api::{Condition, ConditionStatus, ConditionType, PhaseName, SetStatus};

use super::bake::{self, Bake};
use super::bring_up::BringUp;
use super::converge::Convergence;
use super::drain::{KEPT_WARM, refused_networks};
use super::group;
use super::growth::{self, Lack};
use super::hooks::{self, Gate};
use super::overlap;
use super::plan::Findings;
use super::promotion;
use super::smoke::Smoke;
use super::snapshot::Identity;
use super::switch::{self, Place};
use super::view::{View, counted};

/// Longest message in status, in characters.
const LONGEST: usize = 512;

/// Cuts a message to what status may hold.
pub fn short(message: &str) -> String {
    if message.chars().count() <= LONGEST {
        return message.to_owned();
    }
    message.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// What one condition says.
struct Says {
    status: ConditionStatus,
    reason: String,
    message: String,
}

fn says(status: ConditionStatus, reason: impl Into<String>, message: impl Into<String>) -> Says {
    Says { status, reason: reason.into(), message: message.into() }
}

use ConditionStatus::{False, True, Unknown};

/// Where the release stands.
pub fn phase(view: &View<'_>, findings: &Findings) -> PhaseName {
    if view.snapshot.object.spec.paused && (view.target().is_some() || !view.settled()) {
        return PhaseName::Paused;
    }
    // A move that only waits is ended by the next one, so the next one is what there is to tell: it may be a person's turn.
    if !view.settled() && (!waits(view) || view.target().is_none()) {
        return PhaseName::Switch;
    }
    if findings.block.is_some() && (view.target().is_some() || view.revision.is_none() || view.intent.is_none()) {
        return PhaseName::Blocked;
    }
    if let Some(revision) = view.target() {
        return match findings.smoke {
            Smoke::Passed { .. } if findings.group.waits.is_some() => PhaseName::AwaitPromotion,
            Smoke::Passed { .. } if growth::awaited(view, &findings.smoke).is_some() => PhaseName::BringUp,
            Smoke::Passed { .. } if promotion::granted(view, revision) => PhaseName::Switch,
            Smoke::Passed { .. } => PhaseName::AwaitPromotion,
            Smoke::Running { .. } | Smoke::Job { .. } | Smoke::Failed { .. }
                if !view.snapshot.object.spec.smoke_probes.is_empty() && findings.bring_up == BringUp::Up =>
            {
                PhaseName::Smoke
            }
            Smoke::None | Smoke::Running { .. } | Smoke::Job { .. } | Smoke::Failed { .. } => PhaseName::BringUp,
        };
    }
    if view.revision.is_none() {
        return PhaseName::BringUp;
    }
    if view.rejected.is_some() {
        return PhaseName::Rejected;
    }
    match findings.convergence {
        _ if view.intent.is_some_and(|intent| overlap::together(view, intent)) => PhaseName::Switch,
        Convergence::Pending(..) if view.intent.is_some_and(|intent| intent.converged_at.is_none()) => PhaseName::Converge,
        _ if baking(view, findings).is_some() => PhaseName::Bake,
        _ if findings.drain.status.iter().any(|set| set.reason != KEPT_WARM) => PhaseName::Drain,
        _ => PhaseName::Complete,
    }
}

/// All conditions, with the transition times of those that did not change.
pub fn make(view: &View<'_>, findings: &Findings) -> Vec<Condition> {
    let before = &view.snapshot.object.status.conditions;
    ConditionType::ALL
        .into_iter()
        .map(|kind| {
            let says = match kind {
                ConditionType::Ready => ready(view, findings),
                ConditionType::Reconciling => reconciling(view, findings),
                ConditionType::Stalled => stalled(view, findings),
                ConditionType::Available => available(view),
                ConditionType::SmokeTested => smoke_tested(view, findings),
                ConditionType::Switched => switched(view),
                ConditionType::Converged => converged(view, findings),
                ConditionType::Drained => drained(view, findings),
            };
            let since = before.iter().find(|known| known.kind == kind && known.status == says.status).map(|known| known.last_transition_time);
            Condition {
                kind,
                status: says.status,
                reason: says.reason,
                message: short(&says.message),
                observed_generation: view.snapshot.object.generation,
                last_transition_time: since.unwrap_or_else(|| whole_seconds(view.now.wall)),
            }
        })
        .collect()
}

fn whole_seconds(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What keeps the release from going on by itself, or as asked.
fn problem(view: &View<'_>, findings: &Findings) -> Option<(String, String)> {
    if let Some(block) = &findings.block {
        return Some((block.reason.into(), block.message.clone()));
    }
    if let Some(refusal) = &view.snapshot.refused {
        return Some((refusal.reason.into(), refusal.message.clone()));
    }
    if let Some(rejected) = view.rejected {
        let way_back = view.target().map(|to| format!("; not yet back at {to}: {}", progress(view, findings)));
        return Some((rejected.reason.clone(), format!("{}{}", rejected.message, way_back.unwrap_or_default())));
    }
    if let Some(intent) = view.intent.filter(|_| waits(view)) {
        let next = view.target().map(|_| format!("; {}", releasing(view, findings))).unwrap_or_default();
        let message = format!("the move to revision {} waits: neither it nor the one it leaves has enough ready pods{next}", intent.to);
        return Some(own(("NoReadyPods", message)));
    }
    if let Bake::Failed { message } = &findings.bake
        && let Some(Err(why)) = view.intent.map(|intent| bake::way_back(view, intent))
    {
        return Some(own(("BakeFailed", format!("{message}; the traffic stays: {why}"))));
    }
    if let Some((member, Err(why))) = view.intent.and_then(|intent| Some((group::gone_back(view, intent)?, bake::way_back(view, intent)))) {
        return Some(own(("GroupWentBack", format!("{member}, which switched together with this one, went back; the traffic stays: {why}"))));
    }
    if let Some(name) = drift_while_paused(view) {
        return Some(own((
            "SelectorChanged",
            format!("the selector of Service \"{name}\" was changed by somebody else; it stays so while spec.paused is true"),
        )));
    }
    if let BringUp::Waiting(reason @ ("RevisionGone" | "ScaledToZero"), message) = &findings.bring_up {
        return Some(((*reason).to_owned(), message.clone()));
    }
    overdue(view, findings)
}

/// Whether a move can be neither finished nor undone.
fn waits(view: &View<'_>) -> bool {
    view.intent.is_some_and(|intent| !view.settled() && switch::direction(view, intent) == switch::Direction::Wait)
}

fn own((reason, message): (&str, String)) -> (String, String) {
    (reason.into(), message)
}

fn overdue(view: &View<'_>, findings: &Findings) -> Option<(String, String)> {
    let limit = view.snapshot.object.spec.progress_deadline_seconds;
    if let (Bake::Running { left }, Some(intent)) = (&findings.bake, view.intent)
        && bake::overdue_in(view, *left) <= 0.0
    {
        let message = format!("a probe of the bake of revision {} came to no verdict within {limit} s after its end{}", intent.to, failing(view));
        return Some(own(("ProgressDeadlineExceeded", message)));
    }
    if let Some(message) =
        overlap::told(view).filter(|_| !view.snapshot.object.spec.paused && overlap::overdue_in(view).is_some_and(|seconds| seconds <= 0.0))
    {
        return Some(own(("ProgressDeadlineExceeded", format!("after {limit} s more than that, {message}"))));
    }
    let inactive = view.snapshot.object.status.inactive.as_ref().filter(|inactive| Some(inactive.revision.as_str()) == view.target())?;
    // Without a colour it had no pods yet, or it waited for something else: its time begins now.
    if inactive.color.is_empty() || has_waited(view, findings) {
        return None;
    }
    // A Job has its own deadline, once it is there.
    let lacking = matches!(findings.smoke, Smoke::Job { .. }) && hooks::is_lacking(view);
    let small = growth::awaited(view, &findings.smoke).is_some();
    let waiting = lacking || small || matches!(findings.bring_up, BringUp::Starting { .. }) || matches!(findings.smoke, Smoke::Running { .. });
    if !waiting || view.snapshot.object.spec.paused || view.now.seconds_since(progress_since(view, inactive)) < f64::from(limit) {
        return None;
    }
    Some(own((
        "ProgressDeadlineExceeded",
        format!("revision {} has not become available in {limit} s: {}", inactive.revision, progress(view, findings)),
    )))
}

/// Whether a revision has waited for something else than its pods until now: for a word, or before its switch, when it turned out too small.
pub fn has_waited(view: &View<'_>, findings: &Findings) -> bool {
    match view.snapshot.object.status.phase {
        Some(PhaseName::AwaitPromotion) => true,
        Some(PhaseName::Switch) => growth::awaited(view, &findings.smoke).is_some(),
        _ => false,
    }
}

/// Since when a revision is to come forward: the time of a test that was a Job is none in which it did not.
pub fn progress_since(view: &View<'_>, inactive: &SetStatus) -> Timestamp {
    hooks::tested_at(view, &inactive.revision).map_or(inactive.since, |at| at.max(inactive.since))
}

fn drift_while_paused<'a>(view: &View<'a>) -> Option<&'a str> {
    let paused = view.snapshot.object.spec.paused;
    let intent = view.intent.filter(|intent| paused && (view.settled() || overlap::together(view, intent)))?;
    let names = view.snapshot.object.spec.traffic.services.iter();
    names.map(String::as_str).find(|name| switch::place(view, intent, name) == Place::Drifted)
}

/// What keeps a pod from starting, at the end of a sentence.
fn trouble(findings: &Findings) -> String {
    match &findings.bring_up {
        BringUp::Starting { trouble: Some(trouble), .. } => format!("; {trouble}"),
        _ => String::new(),
    }
}

/// Where the release stands, in a sentence.
fn progress(view: &View<'_>, findings: &Findings) -> String {
    match (&findings.bring_up, &findings.smoke) {
        (BringUp::Waiting(_, message) | BringUp::Hooks(Gate::Waits(message) | Gate::Failed(message)), _) => message.clone(),
        (BringUp::Starting { available, wanted, .. }, _) => format!("{available} of {wanted} pods are available{}", trouble(findings)),
        (_, Smoke::Running { passed, needed }) => {
            let last = view.snapshot.probes.iter().rev().find(|probe| !probe.message.is_empty() && !bake::is_of_bake(probe));
            let last = last.map(|probe| format!("; {} on {}: {}", probe.probe, probe.target, probe.message)).unwrap_or_default();
            format!("{passed} of {needed} pods passed the smoke probes{last}")
        }
        (_, Smoke::Job { why, .. }) => format!("the pods passed, and {why}"),
        (_, Smoke::Failed { message }) => message.clone(),
        (_, Smoke::Passed { .. }) => "its pods are ready".into(),
        _ => "it has no pods yet".into(),
    }
}

fn ready(view: &View<'_>, findings: &Findings) -> Says {
    if let Some((reason, message)) = problem(view, findings) {
        return says(False, reason, message);
    }
    let (Some(revision), Some(intent)) = (view.revision, view.intent) else {
        return says(False, "Releasing", releasing(view, findings));
    };
    if intent.to != revision || !view.settled() {
        return says(False, "Releasing", releasing(view, findings));
    }
    if view.ready_active() == 0 && view.snapshot.object.spec.replicas > 0 {
        return says(False, "NoReadyPods", format!("revision {revision} has no ready pod"));
    }
    // In the rounds that only put something on record as well: who waits for Ready would take one moment of True for the end.
    let converged = intent.converged_at.is_some() || matches!(findings.convergence, Convergence::Yes | Convergence::Unknown(..));
    if converged && let Some(message) = baking(view, findings) {
        return says(False, "Baking", message);
    }
    match &findings.convergence {
        Convergence::Yes => says(True, "Serving", format!("revision {revision} serves everyone")),
        Convergence::Unknown(why, message) => {
            says(True, "Serving", format!("revision {revision} serves; whether old pods are still reached is unknown ({why}): {message}"))
        }
        Convergence::Pending(_, _) if intent.converged_at.is_some() => says(True, "Serving", format!("revision {revision} serves everyone")),
        Convergence::Pending(why, message) => says(False, *why, message.clone()),
        Convergence::NotYet => says(False, "Releasing", releasing(view, findings)),
    }
}

/// What goes wrong in a bake, at the end of a sentence.
fn failing(view: &View<'_>) -> String {
    bake::trouble(view).map(|trouble| format!("; {trouble}")).unwrap_or_default()
}

/// What is said while a move bakes.
fn baking(view: &View<'_>, findings: &Findings) -> Option<String> {
    let intent = view.intent?;
    let until = super::drain::later(intent.completed_at?, view.snapshot.object.spec.bake.seconds);
    match &findings.bake {
        Bake::None | Bake::TooLate => None,
        Bake::Passed => {
            let others = group::still_bakes(view, intent).map(|member| format!("; {member} of its group not yet")).unwrap_or_default();
            Some(format!("revision {} has borne the traffic long enough{others}", intent.to))
        }
        Bake::Running { left } if *left > 0.0 => {
            Some(format!("revision {} serves, and must go on well until {}{}", intent.to, second(until), failing(view)))
        }
        Bake::Running { .. } => Some(format!("revision {} serves; a probe of the bake has not passed yet{}", intent.to, failing(view))),
        Bake::Failed { message } => Some(message.clone()),
    }
}

fn releasing(view: &View<'_>, findings: &Findings) -> String {
    let Some(revision) = view.target() else {
        if let BringUp::Waiting(_, why) = &findings.bring_up {
            return why.clone();
        }
        return match (&view.snapshot.identity, view.settled()) {
            (Identity::Unknown { .. }, _) => "the template is being compared with known revisions".into(),
            (_, false) => overlap::told(view).unwrap_or_else(|| "the Services are being moved".into()),
            _ => "the release begins".into(),
        };
    };
    match &findings.smoke {
        Smoke::Passed { .. } if view.snapshot.object.spec.paused => "spec.paused is true: the switch waits".into(),
        Smoke::Passed { .. } if !promotion::granted(view, revision) => promotion::how(view, revision),
        Smoke::Passed { .. } => match (growth::awaited(view, &findings.smoke), &findings.gate, &findings.group.waits) {
            (Some(lack), _, _) => {
                let (active, trouble) = (view.intent.map_or("", |intent| intent.to.as_str()), trouble(findings));
                let Lack { ready, needed, serving } = lack;
                format!("revision {revision} passed; {ready} of {needed} pods are ready, and {serving} of revision {active} serve now{trouble}")
            }
            (None, Gate::Waits(message) | Gate::Failed(message), _) => format!("revision {revision} passed; {message}"),
            (None, Gate::Open, Some(others)) => format!("revision {revision} passed; waits for {others}"),
            (None, Gate::Open, None) => format!("revision {revision} passed; the switch begins"),
        },
        Smoke::None | Smoke::Running { .. } | Smoke::Job { .. } | Smoke::Failed { .. } => {
            format!("revision {revision} is brought up: {}", progress(view, findings))
        }
    }
}

fn reconciling(view: &View<'_>, findings: &Findings) -> Says {
    let under_way = view.target().is_some() || view.revision.is_none() || !view.settled();
    let converging = matches!(findings.convergence, Convergence::Pending(..)) && view.intent.is_some_and(|intent| intent.converged_at.is_none());
    if findings.block.is_some() || (view.rejected.is_some() && view.target().is_none() && view.settled()) {
        return says(False, "Stalled", "see the condition Stalled");
    }
    if under_way && view.snapshot.object.spec.paused {
        return says(True, "Paused", releasing(view, findings));
    }
    if under_way && findings.group.waits.is_some() {
        return says(True, "WaitsForGroup", releasing(view, findings));
    }
    if under_way {
        return says(True, format!("{:?}", phase(view, findings)), releasing(view, findings));
    }
    match &findings.convergence {
        Convergence::Pending(reason, message) if converging => says(True, *reason, message.clone()),
        _ => baking(view, findings).map_or_else(|| says(False, "Complete", "the release is complete"), |message| says(True, "Bake", message)),
    }
}

fn stalled(view: &View<'_>, findings: &Findings) -> Says {
    if let Some((reason, message)) = problem(view, findings) {
        return says(True, reason, message);
    }
    let refused = refused_networks(view);
    let note = if refused.is_empty() {
        String::new()
    } else {
        format!("spec.drain.ignorePeers: {} holds addresses of nodes and is not ignored", refused.join(", "))
    };
    says(False, "Progressing", note)
}

fn available(view: &View<'_>) -> Says {
    let replicas = view.snapshot.object.spec.replicas;
    let Some(active) = view.active() else {
        return says(False, "NothingActive", "no revision serves yet");
    };
    if replicas == 0 && active.desired == 0 {
        return says(True, "ScaledToZero", "spec.replicas is 0: no pods are wanted");
    }
    let available = view.available(active).count();
    let message = format!("{available} of {replicas} pods of revision {} are available", active.revision);
    match i32::try_from(available) {
        Ok(number) if number >= replicas => says(True, "AllAvailable", message),
        Ok(number) if number > 0 => says(True, "SomeAvailable", message),
        _ if view.up_from_zero() => says(False, "ScalingFromZero", message),
        _ => says(False, "NoneAvailable", message),
    }
}

fn smoke_tested(view: &View<'_>, findings: &Findings) -> Says {
    if let Some(rejected) = view.rejected.filter(|rejected| rejected.reason == "SmokeFailed") {
        return says(False, "SmokeFailed", rejected.message.clone());
    }
    let none = view.snapshot.object.spec.smoke_probes.is_empty();
    match (&findings.smoke, view.target()) {
        (Smoke::Running { .. }, Some(_)) if none => says(Unknown, "NoProbes", "spec.smokeProbes is empty"),
        (Smoke::Running { passed, needed }, Some(_)) => says(Unknown, "Running", format!("{passed} of {needed} pods passed the smoke probes")),
        (Smoke::Job { why, .. }, Some(_)) => says(Unknown, "Running", format!("the pods passed, and {why}")),
        (Smoke::Failed { message }, Some(_)) => says(False, "SmokeFailed", message.clone()),
        (Smoke::Passed { needed }, Some(revision)) if !none => {
            says(True, "Passed", format!("{} of revision {revision} passed the smoke probes", counted(i64::from(*needed), "pod")))
        }
        (Smoke::None, Some(_)) => says(Unknown, "Pending", "the revision is not up yet"),
        _ if none => says(Unknown, "NoProbes", "spec.smokeProbes is empty"),
        (_, None) if view.revision.is_some_and(|revision| view.is_active(revision)) => {
            let message = format!("revision {} passed the smoke probes before the switch", view.revision.unwrap_or_default());
            says(True, "Passed", message)
        }
        _ => says(Unknown, "Pending", "the revision is not up yet"),
    }
}

fn switched(view: &View<'_>) -> Says {
    let Some(intent) = view.intent else {
        return says(False, "Pending", "no traffic was moved yet");
    };
    if let Some(message) = overlap::told(view) {
        return says(False, "Overlapping", message);
    }
    if !view.settled() {
        return says(False, "Switching", format!("the Services are being moved to revision {}", intent.to));
    }
    if view.revision != Some(intent.to.as_str()) {
        return says(False, "Pending", format!("revision {} still has the traffic", intent.to));
    }
    let services = &view.snapshot.object.spec.traffic.services;
    let away = services.iter().find(|name| switch::place(view, intent, name) != Place::Right);
    match away {
        Some(name) => {
            let missing = view.snapshot.services.get(name).is_none_or(|service| service.deleting);
            let message = if missing {
                format!("Service \"{name}\" does not exist")
            } else {
                format!("Service \"{name}\" does not select revision {}", intent.to)
            };
            says(False, if missing { "ServiceMissing" } else { "SelectorChanged" }, message)
        }
        None if services.is_empty() => says(True, "NoServices", format!("revision {} is active; there is no Service to move", intent.to)),
        None => says(True, "Moved", format!("{} select revision {}", services.join(", "), intent.to)),
    }
}

fn converged(view: &View<'_>, findings: &Findings) -> Says {
    let done = view.intent.is_some_and(|intent| intent.converged_at.is_some());
    match &findings.convergence {
        Convergence::Yes => says(True, "Converged", "endpoints have moved and no old pod is reached any more"),
        Convergence::Unknown(why, message) => says(Unknown, *why, message.clone()),
        Convergence::Pending(_, _) if done => says(True, "Converged", "endpoints have moved and no old pod was reached for the quiet time"),
        Convergence::Pending(why, message) => says(False, *why, message.clone()),
        Convergence::NotYet => says(Unknown, "Pending", "no traffic was moved yet"),
    }
}

fn drained(view: &View<'_>, findings: &Findings) -> Says {
    // Of several, the one that stays longest; one that stays for nobody's sake comes last.
    let Some(set) = findings.drain.status.iter().max_by_key(|set| (set.reason != KEPT_WARM, set.deadline)) else {
        if !view.settled() {
            return says(Unknown, "Switching", "the Services are being moved");
        }
        if let Some(kept) = view.being_left().find(|set| bake::holds(view, set)) {
            let other = view.intent.filter(|_| findings.bake == Bake::None).and_then(|intent| group::still_bakes(view, intent));
            let whose = other.map_or_else(|| "the bake".to_owned(), |member| format!("that of {member}, which switched together with this one,"));
            return says(False, "Baking", format!("revision {} stays as it was until {whose} is over", kept.revision));
        }
        return says(True, "NothingDraining", "no old pods are left");
    };
    let open = set.open_connections.map_or_else(|| "an unknown number of open connections".to_owned(), |open| counted(open, "open connection"));
    let pods = counted(i64::from(set.pods), "pod");
    let held =
        set.holders.first().map(|holder| format!(", most of them held by {}", holder.pod.as_deref().unwrap_or(&holder.address))).unwrap_or_default();
    if set.reason == KEPT_WARM {
        let until = second(set.deadline);
        return says(True, KEPT_WARM, format!("revision {} has drained; its {pods} stay until {until}, for a way back", set.revision));
    }
    let message = match set.reason.as_str() {
        "OpenConnections" => {
            format!("revision {}: {open} to {pods}{held}; until {} at the latest", set.revision, second(set.deadline))
        }
        "MetricTooHigh" => {
            let number = set.metric.as_deref().unwrap_or("more than spec.drain.metric.atMost");
            format!("revision {}: the metric of its {pods} comes to {number}; until {} at the latest", set.revision, second(set.deadline))
        }
        "MetricUnreadable" => {
            let why = set.message.as_deref().unwrap_or_default();
            format!("revision {}: {why}; its pods stay until {} at the latest", set.revision, second(set.deadline))
        }
        "StillSelected" => {
            format!("revision {}: its {pods} stay as long as a Service of spec.traffic.services could lead to them", set.revision)
        }
        "StillEndpoint" => {
            format!(
                "revision {}: its {pods} stay as long as they are endpoints of a Service of spec.traffic.services, and a moment longer",
                set.revision
            )
        }
        reason => format!(
            "revision {}: {} of {} pods have drained ({reason}); until {} at the latest",
            set.revision,
            set.drained_pods,
            set.pods,
            second(set.deadline)
        ),
    };
    says(False, set.reason.clone(), message)
}

/// A time in status: to the second.
pub fn second(at: jiff::Timestamp) -> String {
    whole_seconds(at).to_string()
}
