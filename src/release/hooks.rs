//! Hooks: Jobs that run at certain points of a release, one at a time and each once a release.
//!
//! A run is put on record in status before its Job is created, and the Job's name follows from what it is for: whoever comes next, after
//! any crash, finds the same Job and never a second one. Its result goes on record before anything follows from it, and a Job that has
//! begun is never ended from here.

use std::time::Duration;

use crate::api::{Hook, HookPoint, HookResult, HookStatus, SwitchCause, keys};

use super::action::{Action, HookRun, Notice};
use super::conditions::short;
use super::revision::{hooks_hash, job_name};
use super::services::Block;
use super::snapshot::JobState;
use super::view::View;

/// How often a Job is looked at while it runs.
const LOOK: Duration = Duration::from_secs(1);
/// After so long it is asked again about Jobs that the API server would not take.
pub const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Most rows in status, as its schema has it; what has ended makes room.
const ROWS: usize = 60;
/// What is shown for a revision that is not there.
const NONE: &str = "";

/// Whether a point of the release has been passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// No hook is left to run there.
    Open,
    /// What it waits for.
    Waits(String),
    /// What failed.
    Failed(String),
}

/// What follows from the hooks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// All runs, as they are to stand in status.
    pub rows: Vec<HookStatus>,
    /// Looks at Jobs, their creation, and the deletion of those nobody asks about any more.
    pub actions: Vec<Action>,
    /// What has ended.
    pub notices: Vec<Notice>,
    /// Seconds until the next look.
    pub again: Option<f64>,
}

/// Whether the release of `revision` may pass a point before the switch. A way back waits for no hook.
pub fn gate(view: &View<'_>, point: HookPoint, revision: &str) -> Gate {
    if !view.forward() {
        return Gate::Open;
    }
    let hooks = &view.snapshot.object.spec.hooks;
    if question(view).is_some() {
        return Gate::Waits("the API server is asked about the Jobs of spec.hooks".into());
    }
    let attempt = view.next_attempt();
    for hook in hooks.at(point) {
        let what = format!("hook \"{}\" of {}", hook.name, point.field());
        return match row(view, point, &hook.name, revision, attempt) {
            Some(row) if row.result == HookResult::Succeeded => continue,
            Some(row) if row.result == HookResult::Failed => Gate::Failed(failure(row)),
            Some(row) if row.result == HookResult::Running => Gate::Waits(format!("{what} is running: Job \"{}\"", row.job)),
            _ => match view.snapshot.object.status.hooks.iter().find(|row| row.result == HookResult::Running) {
                Some(other) => Gate::Waits(format!("{what} waits for the end of Job \"{}\", of {}", other.job, other.point.field())),
                None => Gate::Waits(format!("{what} is about to run")),
            },
        };
    }
    Gate::Open
}

/// The latest run of a hook.
fn row<'a>(view: &View<'a>, point: HookPoint, name: &str, revision: &str, attempt: i64) -> Option<&'a HookStatus> {
    let rows = view.snapshot.object.status.hooks.iter();
    rows.filter(|row| row.point == point && row.name == name && row.revision == revision && row.attempt == attempt).max_by_key(|row| row.run)
}

fn failure(row: &HookStatus) -> String {
    format!("hook \"{}\" of {} failed: {}", row.name, row.point.field(), row.message)
}

/// What the API server has against the Jobs of a spec. Nothing starts before that is known.
pub fn check(view: &View<'_>) -> Result<(), Block> {
    match &view.snapshot.hooks_checked {
        Some((hash, Err(message))) if concerned(view) && *hash == hooks_hash(&view.snapshot.object.spec.hooks) => {
            Err(Block::new("HookRefused", message.clone()))
        }
        _ => Ok(()),
    }
}

/// Whether a release with hooks is to come or under way.
fn concerned(view: &View<'_>) -> bool {
    let hooks = &view.snapshot.object.spec.hooks;
    HookPoint::ALL.into_iter().any(|point| !hooks.at(point).is_empty()) && view.target().is_some() && view.forward()
}

/// Asks the API server about the Jobs of a spec that it has not been asked about.
pub fn question(view: &View<'_>) -> Option<Action> {
    let hash = concerned(view).then(|| hooks_hash(&view.snapshot.object.spec.hooks))?;
    let asked = view.snapshot.hooks_checked.as_ref().is_some_and(|(known, _)| *known == hash);
    (!asked).then_some(Action::CheckHooks { hash })
}

/// Brings all runs up to date, and begins the next one where the release has come to a point with hooks. `at_gate` is the point before which it stands.
pub fn step(view: &View<'_>, at_gate: Option<HookPoint>) -> Outcome {
    let object = &view.snapshot.object;
    let mut outcome = Outcome::default();
    for row in &object.status.hooks {
        match row.result {
            HookResult::Running => running(view, row, &mut outcome),
            _ if !is_past(view, row) => outcome.rows.push(row.clone()),
            _ => gone(view, row, &mut outcome),
        }
    }
    if check(view).is_err() {
        super::drain::soonest(&mut outcome.again, ASK_AGAIN.as_secs_f64());
    }
    let free = !outcome.rows.iter().any(|row| row.result == HookResult::Running) && outcome.rows.len() < ROWS;
    if free
        && !object.spec.paused
        && question(view).is_none()
        && let Some(next) = due(view, at_gate)
    {
        outcome.rows.push(next);
    }
    outcome
}

/// A run that has not ended on record.
fn running(view: &View<'_>, row: &HookStatus, outcome: &mut Outcome) {
    let mut row = row.clone();
    let seen = view.snapshot.jobs.get(&row.job);
    if let Some(seen) = seen {
        row.uid = row.uid.or_else(|| seen.uid.clone());
        let (result, message) = match &seen.state {
            JobState::Running => (HookResult::Running, ""),
            JobState::Succeeded => (HookResult::Succeeded, ""),
            JobState::Failed(message) => (HookResult::Failed, message.as_str()),
            JobState::Gone => (HookResult::Failed, "its Job was deleted before it ended"),
        };
        (row.result, row.message) = (result, short(message));
    }
    let hook = hook_of(view, &row);
    if row.result == HookResult::Running && row.uid.is_none() && hook.is_none() {
        (row.result, row.message) = (HookResult::Failed, "it was removed from spec.hooks before its Job was created".into());
    }
    if row.result == HookResult::Running {
        let next = seen.map_or(Duration::ZERO, |seen| (seen.at + LOOK).saturating_sub(view.now.mono));
        if row.uid.is_none() && seen.is_none() && view.snapshot.object.spec.paused {
            // It begins when the pause ends.
        } else if next.is_zero() {
            outcome.actions.push(Action::RunHook { run: Box::new(run(view, &row, hook)) });
        } else {
            super::drain::soonest(&mut outcome.again, next.as_secs_f64());
        }
    } else {
        row.finished_at = Some(view.now.wall);
        outcome.notices.push(told(view, &row));
    }
    outcome.rows.push(row);
}

fn told(view: &View<'_>, row: &HookStatus) -> Notice {
    let failed = row.result == HookResult::Failed;
    let logs = format!("kubectl logs -n {} job/{}", view.snapshot.object.namespace, row.job);
    let (reason, message) = if failed {
        ("HookFailed", format!("{}; see: {logs}", failure(row)))
    } else {
        ("HookSucceeded", format!("hook \"{}\" of {} succeeded for revision {}", row.name, row.point.field(), row.revision))
    };
    Notice { warning: failed, reason, message }
}

/// Whether nothing will ask about a run any more: it is of an earlier move, of a release that another has superseded, or was repeated.
fn is_past(view: &View<'_>, row: &HookStatus) -> bool {
    let done = view.intent.map_or(0, |intent| intent.attempt);
    let repeated = || view.snapshot.object.status.hooks.iter().any(|other| same(other, row) && other.run > row.run);
    let wanted = |revision: &str| {
        view.revision.is_none_or(|current| current == revision) || view.rejected.is_some_and(|rejected| rejected.revision == revision)
    };
    row.attempt < done || (row.attempt > done && !wanted(&row.revision)) || (row.result == HookResult::Retried && repeated())
}

fn same(one: &HookStatus, other: &HookStatus) -> bool {
    (one.point, &one.name, &one.revision, one.attempt) == (other.point, &other.name, &other.revision, other.attempt)
}

/// The Job of a run that is past is deleted, and then forgotten.
fn gone(view: &View<'_>, row: &HookStatus, outcome: &mut Outcome) {
    let deleted = view.snapshot.jobs.get(&row.job).is_some_and(|seen| seen.state == JobState::Gone);
    let Some(uid) = row.uid.as_ref().filter(|_| !deleted) else { return };
    outcome.actions.push(Action::DeleteJob { name: row.job.clone(), uid: uid.clone() });
    outcome.rows.push(row.clone());
}

/// The next run that is due, if any.
fn due(view: &View<'_>, at_gate: Option<HookPoint>) -> Option<HookStatus> {
    HookPoint::ALL.into_iter().filter_map(|point| Some((point, about(view, point, at_gate)?))).find_map(|(point, (revision, attempt))| {
        for hook in view.snapshot.object.spec.hooks.at(point) {
            let last = row(view, point, &hook.name, revision, attempt);
            let run = match last.map(|last| (last.result, last.run)) {
                Some((HookResult::Succeeded, _)) => continue,
                // Hooks after one that failed may rest on it.
                Some((HookResult::Failed | HookResult::Running, _)) => return None,
                Some((HookResult::Retried, run)) => run.saturating_add(1),
                None => 0,
            };
            let object = &view.snapshot.object;
            let job = job_name(object, point, &hook.name, (revision, attempt, run));
            return Some(HookStatus {
                point,
                name: hook.name.clone(),
                revision: revision.to_owned(),
                attempt,
                run,
                job,
                uid: None,
                result: HookResult::Running,
                message: String::new(),
                started_at: view.now.wall,
                finished_at: None,
            });
        }
        None
    })
}

/// Which revision and move the hooks of a point would be about now; `None` while the release is not there.
fn about<'a>(view: &View<'a>, point: HookPoint, at_gate: Option<HookPoint>) -> Option<(&'a str, i64)> {
    if point.gates() {
        return (at_gate == Some(point)).then(|| Some((view.target()?, view.next_attempt()))).flatten();
    }
    let intent = view.intent.filter(|intent| intent.completed_at.is_some())?;
    let release = intent.cause == SwitchCause::Release;
    match point {
        HookPoint::AfterSwitch => (release && intent.converged_at.is_some()).then_some((intent.to.as_str(), intent.attempt)),
        HookPoint::OnRollback => (!release).then_some((intent.to.as_str(), intent.attempt)),
        HookPoint::AfterDrain => {
            let from = intent.from.as_deref().filter(|_| intent.converged_at.is_some())?;
            let there = |pod: &super::snapshot::Pod| view.snapshot.sets.iter().any(|set| set.uid == pod.set_uid && set.revision == from);
            let over = view.being_left().next().is_none() && !view.snapshot.pods.iter().any(there);
            over.then_some((from, intent.attempt))
        }
        HookPoint::BeforeBringUp | HookPoint::BeforeSwitch => None,
    }
}

fn hook_of<'a>(view: &View<'a>, row: &HookStatus) -> Option<&'a Hook> {
    view.snapshot.object.spec.hooks.at(row.point).iter().find(|hook| hook.name == row.name)
}

fn run(view: &View<'_>, row: &HookStatus, hook: Option<&Hook>) -> HookRun {
    let set = view.set(&row.revision);
    let active = view.intent.map_or(NONE, |intent| if intent.to == row.revision { intent.from.as_deref().unwrap_or(NONE) } else { &intent.to });
    let index = view.snapshot.object.spec.hooks.at(row.point).iter().position(|hook| hook.name == row.name).unwrap_or(0);
    HookRun {
        job: row.job.clone(),
        point: row.point,
        revision: row.revision.clone(),
        uid: row.uid.clone(),
        path: format!("spec.hooks.{}[{index}].jobTemplate", row.point.field()),
        template: hook.map(|hook| hook.job_template.clone()),
        environment: vec![
            ("BLUEGREEN_HOOK", row.point.field().into()),
            ("BLUEGREEN_NAME", view.snapshot.object.name.clone()),
            ("BLUEGREEN_REVISION", row.revision.clone()),
            ("BLUEGREEN_FROM", active.into()),
            ("BLUEGREEN_COLOR", color(view, row, set)),
            ("BLUEGREEN_IMAGES", images(view, row, set)),
            ("BLUEGREEN_RELEASE", row.attempt.to_string()),
        ],
    }
}

/// The colour of the revision; before it has pods, the one that it is to get.
fn color(view: &View<'_>, row: &HookStatus, set: Option<&super::set::Set>) -> String {
    let set = set.filter(|_| row.point != HookPoint::BeforeBringUp);
    set.map_or_else(|| super::bring_up::next_color(view), |set| set.color).name().into()
}

fn images(view: &View<'_>, row: &HookStatus, set: Option<&super::set::Set>) -> String {
    match set {
        Some(set) => set.images.clone(),
        None if view.revision == Some(row.revision.as_str()) => super::set::images(&view.snapshot.object.spec.template),
        None => String::new(),
    }
}

/// What `retry` makes of the runs before the switch: each of them runs once more.
pub fn retried(view: &View<'_>, revision: &str) -> Vec<HookStatus> {
    let mut rows = view.snapshot.object.status.hooks.clone();
    let ended = |row: &&mut HookStatus| row.point.gates() && row.revision == revision && row.result != HookResult::Running;
    rows.iter_mut().filter(ended).for_each(|row| row.result = HookResult::Retried);
    rows
}

/// What a person has to type for that.
pub fn once_more(view: &View<'_>, revision: &str) -> String {
    let object = &view.snapshot.object;
    format!("kubectl annotate bgd {} -n {} {}={revision}", object.name, object.namespace, keys::command::RETRY)
}

/// Whether runs have come to be known, or come further: that must be on record before anything follows from it. A row that goes is no such news.
pub fn durable(one: &[HookStatus], before: &[HookStatus]) -> bool {
    one.iter().any(|row| !before.contains(row))
}
