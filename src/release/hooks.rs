//! Hooks, and smoke probes that are Jobs: Jobs that run at certain points of a release, one at a time and each once a release.
//!
//! A run is put on record in status before its Job is created, and the Job's name follows from what it is for: whoever comes next, after
//! any crash, finds the same Job and never a second one. Its result goes on record before anything follows from it, and a Job that has
//! begun is never ended from here.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{HookPoint, HookResult, HookStatus, JobOf, Switch, SwitchCause, keys};

use super::action::{Action, HookRun, Notice};
use super::conditions::short;
use super::drain::soonest;
use super::revision::{job_name, jobs_hash};
use super::services::Block;
use super::smoke;
use super::snapshot::{JobState, Pod};
use super::view::View;

/// How often a Job is looked at while it runs.
const LOOK: Duration = Duration::from_secs(1);
/// What could not be done, or was refused, is looked at again after so long.
pub const LATER: Duration = Duration::from_secs(5);
/// Most rows in status, as its schema has it: two releases with as many Jobs as a spec can have, and some of sets that still drain. What has ended makes room.
const ROWS: usize = 96;
/// How long the preview Service has selected the revision before a Job asks through it: until nodes have followed, the former one may answer.
const FOLLOW: f64 = 3.0;
/// What stands in a message before the last words of a Job.
pub const LOG_ENDS: &str = "; its log ends: ";
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
    let spec = &view.snapshot.object.spec;
    if question(view).is_some() {
        return Gate::Waits("the API server is asked about the Jobs of the spec".into());
    }
    let attempt = view.next_attempt();
    for job in spec.jobs_at(point) {
        let what = what(point, job.name);
        return match row(view, &job, revision, attempt) {
            Some(row) if row.result == HookResult::Succeeded => continue,
            Some(row) if row.result == HookResult::Failed => Gate::Failed(failure(view, row)),
            Some(row) if row.result == HookResult::Running && row.uid.is_some() => Gate::Waits(format!("{what} is running: Job \"{}\"", row.job)),
            mine => match view.snapshot.object.status.hooks.iter().find(|row| mine != Some(*row) && row.result == HookResult::Running) {
                Some(other) => Gate::Waits(format!("{what} waits for the end of Job \"{}\", of {}", other.job, other.point.field())),
                None => Gate::Waits(format!("{what} is about to run")),
            },
        };
    }
    Gate::Open
}

/// The latest run of a Job.
fn row<'a>(view: &View<'a>, job: &JobOf<'_>, revision: &str, attempt: i64) -> Option<&'a HookStatus> {
    let rows = view.snapshot.object.status.hooks.iter();
    rows.filter(|row| row.revision == revision && row.attempt == attempt && is_of(view, row, job)).max_by_key(|row| row.run)
}

/// Whether a run is one of this Job. A hook is told by its name; a test that was changed is another one ([`job_name`]).
fn is_of(view: &View<'_>, row: &HookStatus, job: &JobOf<'_>) -> bool {
    let name = || job_name(&view.snapshot.object, row.point, &row.name, (&row.revision, row.attempt, row.run));
    row.point == job.point && row.name == job.name && (row.point != HookPoint::SmokeProbes || row.job == name())
}

fn what(point: HookPoint, name: &str) -> String {
    match point {
        HookPoint::SmokeProbes => format!("smoke probe \"{name}\""),
        _ => format!("hook \"{name}\" of {}", point.field()),
    }
}

/// What a person is to type stands before the Job's own words: those may be cut.
fn failure(view: &View<'_>, row: &HookStatus) -> String {
    let (reason, words) = row.message.split_at(row.message.find(LOG_ENDS).unwrap_or(row.message.len()));
    let object = &view.snapshot.object;
    let mend = if row.point.gates() {
        format!("; when that is mended: kubectl annotate bgd {} -n {} {}={}", object.name, object.namespace, keys::command::RETRY, row.revision)
    } else {
        String::new()
    };
    format!("{} failed: {reason}; see: kubectl logs -n {} job/{}{mend}{words}", what(row.point, &row.name), object.namespace, row.job)
}

/// When the last test of a revision that was a Job ended: what comes after it has its time from then on.
pub fn tested_at(view: &View<'_>, revision: &str) -> Option<Timestamp> {
    let rows = view.snapshot.object.status.hooks.iter();
    rows.filter(|row| row.point == HookPoint::SmokeProbes && row.revision == revision).filter_map(|row| row.finished_at).max()
}

/// Whether a Job that the release waits for could not be made yet.
pub fn is_lacking(view: &View<'_>) -> bool {
    view.snapshot.object.status.hooks.iter().all(|row| row.result != HookResult::Running || row.uid.is_none())
}

/// What the API server has against the Jobs of a spec. Nothing starts before that is known.
pub fn check(view: &View<'_>) -> Result<(), Block> {
    match &view.snapshot.hooks_checked {
        Some((hash, Err(message))) if concerned(view) && *hash == jobs_hash(&view.snapshot.object.spec) => {
            Err(Block::new("HookRefused", message.clone()))
        }
        _ => Ok(()),
    }
}

/// Whether a release with Jobs is to come or under way.
fn concerned(view: &View<'_>) -> bool {
    let spec = &view.snapshot.object.spec;
    HookPoint::ALL.into_iter().any(|point| !spec.jobs_at(point).is_empty()) && view.target().is_some() && view.forward()
}

/// Asks the API server about the Jobs of a spec that it has not been asked about.
pub fn question(view: &View<'_>) -> Option<Action> {
    let hash = concerned(view).then(|| jobs_hash(&view.snapshot.object.spec))?;
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
            HookResult::Waiting => match needless(view, row) {
                Some(why) => end(view, HookStatus { result: HookResult::Skipped, message: why.into(), ..row.clone() }, &mut outcome),
                None => outcome.rows.push(row.clone()),
            },
            _ if !is_past(view, row) => outcome.rows.push(row.clone()),
            _ => gone(view, row, &mut outcome),
        }
    }
    if check(view).is_err() {
        soonest(&mut outcome.again, LATER.as_secs_f64());
    }
    let free = !outcome.rows.iter().any(|row| row.result == HookResult::Running);
    if free && !object.spec.paused && question(view).is_none() {
        begin_next(view, at_gate, &mut outcome.rows);
    }
    outcome
}

/// Begins the next run that is due, if any: what the release waits for goes first.
fn begin_next(view: &View<'_>, at_gate: Option<HookPoint>, rows: &mut Vec<HookStatus>) {
    if let Some(next) = at_gate.and_then(|point| due(view, point)) {
        if rows.len() < ROWS {
            rows.push(next);
        }
    } else if let Some(next) = rows.iter_mut().find(|row| row.result == HookResult::Waiting && has_come(view, row)) {
        (next.result, next.started_at) = (HookResult::Running, view.now.wall);
    }
}

/// The runs that a move of traffic brings, now that it is made, beside so many others: those of the spec of now, and none that is added later.
pub fn of_move(view: &View<'_>, switch: &Switch, others: usize) -> Vec<HookStatus> {
    let release = switch.cause == SwitchCause::Release;
    let moved = if release { HookPoint::AfterSwitch } else { HookPoint::OnRollback };
    let about = [(moved, Some(&switch.to)), (HookPoint::AfterDrain, switch.from.as_ref())];
    let object = &view.snapshot.object;
    let runs = about.into_iter().filter_map(|(point, revision)| Some((point, revision?))).flat_map(|(point, revision)| {
        let jobs = object.spec.jobs_at(point).into_iter();
        jobs.map(move |job| new(view, point, job.name, (revision, switch.attempt, 0), HookResult::Waiting))
    });
    runs.take(ROWS.saturating_sub(others)).collect()
}

fn new(view: &View<'_>, point: HookPoint, name: &str, (revision, attempt, run): (&str, i64, i32), result: HookResult) -> HookStatus {
    HookStatus {
        point,
        name: name.to_owned(),
        revision: revision.to_owned(),
        attempt,
        run,
        job: job_name(&view.snapshot.object, point, name, (revision, attempt, run)),
        uid: None,
        result,
        message: String::new(),
        started_at: view.now.wall,
        finished_at: None,
    }
}

/// Why a run that waits for its time will never have one.
fn needless(view: &View<'_>, row: &HookStatus) -> Option<&'static str> {
    let before = |other: &HookStatus| {
        (other.point, &other.revision, other.attempt) == (row.point, &row.revision, row.attempt)
            && matches!(other.result, HookResult::Failed | HookResult::Skipped)
    };
    match row.point {
        HookPoint::AfterDrain if view.is_active(&row.revision) => Some("the revision serves again"),
        HookPoint::AfterSwitch | HookPoint::OnRollback if view.intent.is_none_or(|intent| intent.attempt != row.attempt) => {
            Some("the next move of traffic came first")
        }
        _ if job_of(view, row).is_none() => Some("it was removed from the spec"),
        _ => view.snapshot.object.status.hooks.iter().any(before).then_some("one before it failed"),
    }
}

/// Whether the release has come to where a run has its place.
fn has_come(view: &View<'_>, row: &HookStatus) -> bool {
    let converged = view.intent.is_some_and(|intent| intent.converged_at.is_some());
    match row.point {
        HookPoint::AfterSwitch => converged,
        HookPoint::AfterDrain => {
            let there = |pod: &Pod| view.snapshot.sets.iter().any(|set| set.uid == pod.set_uid && set.revision == row.revision);
            let left = view.being_left().any(|set| set.revision == row.revision);
            (converged || view.intent.is_some_and(|intent| intent.attempt != row.attempt)) && !left && !view.snapshot.pods.iter().any(there)
        }
        _ => true,
    }
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
            JobState::Gone if row.uid.is_none() => (HookResult::Skipped, "there was no place for it any more when its Job was to be created"),
            JobState::Gone => (HookResult::Failed, "its Job was deleted before it ended"),
        };
        (row.result, row.message) = (result, short(message));
    }
    if row.result != HookResult::Running {
        return end(view, row, outcome);
    }
    // A Job that is there is looked at, whatever became of its release; for one that is not there is another one's place.
    let of = job_of(view, &row).filter(|_| has_place(view, &row));
    let previews = row.point == HookPoint::SmokeProbes && !view.snapshot.object.spec.traffic.preview_services.is_empty();
    let follows =
        Duration::try_from_secs_f64(FOLLOW - view.now.seconds_since(row.started_at)).unwrap_or_default().min(Duration::from_secs_f64(FOLLOW));
    let first = if previews && row.uid.is_none() { follows } else { Duration::ZERO };
    let next = seen.map_or(first, |seen| (seen.at + LOOK).saturating_sub(view.now.mono));
    if row.uid.is_none() && view.snapshot.object.spec.paused {
        // It begins when the pause ends.
    } else if previews && row.uid.is_none() && of.is_some() && !smoke::is_previewed(view, &row.revision) {
        // Somebody has moved the preview Service since, or a pod is not ready any more.
        soonest(&mut outcome.again, LATER.as_secs_f64());
    } else if next.is_zero() {
        outcome.actions.push(Action::RunHook { run: Box::new(run(view, &row, of)) });
    } else {
        soonest(&mut outcome.again, next.as_secs_f64());
    }
    outcome.rows.push(row);
}

/// Whether a run whose Job is still to be created is one of the release, or of the move, that is under way.
fn has_place(view: &View<'_>, row: &HookStatus) -> bool {
    if row.point.gates() {
        return view.forward() && view.target() == Some(row.revision.as_str()) && view.next_attempt() == row.attempt;
    }
    needless(view, row).is_none()
}

fn end(view: &View<'_>, row: HookStatus, outcome: &mut Outcome) {
    let row = HookStatus { finished_at: Some(view.now.wall), ..row };
    // How a test went is told with all other probes, by conditions.
    if row.point != HookPoint::SmokeProbes {
        outcome.notices.push(told(view, &row));
    }
    outcome.rows.push(row);
}

fn told(view: &View<'_>, row: &HookStatus) -> Notice {
    let hook = what(row.point, &row.name);
    let (reason, message) = match row.result {
        HookResult::Failed => ("HookFailed", failure(view, row)),
        HookResult::Skipped => ("HookSkipped", format!("{hook} did not run for revision {}: {}", row.revision, row.message)),
        _ => ("HookSucceeded", format!("{hook} succeeded for revision {}", row.revision)),
    };
    Notice { warning: row.result != HookResult::Succeeded, reason, message }
}

/// Whether nothing will ask about a run any more: it is of an earlier move, of a release that another has superseded, of a hook that is not in
/// the spec any more, or was repeated.
fn is_past(view: &View<'_>, row: &HookStatus) -> bool {
    let done = view.intent.map_or(0, |intent| intent.attempt);
    let repeated = || view.snapshot.object.status.hooks.iter().any(|other| same(other, row) && other.run > row.run);
    let wanted = |revision: &str| {
        view.revision.is_none_or(|current| current == revision) || view.rejected.is_some_and(|rejected| rejected.revision == revision)
    };
    let removed = row.result != HookResult::Failed && job_of(view, row).is_none();
    row.attempt < done || (row.attempt > done && !wanted(&row.revision)) || removed || (row.result == HookResult::Retried && repeated())
}

fn same(one: &HookStatus, other: &HookStatus) -> bool {
    (one.point, &one.name, &one.revision, one.attempt) == (other.point, &other.name, &other.revision, other.attempt)
}

/// The Job of a run that is past is deleted, and then forgotten.
fn gone(view: &View<'_>, row: &HookStatus, outcome: &mut Outcome) {
    let seen = view.snapshot.jobs.get(&row.job);
    let Some(uid) = row.uid.as_ref().filter(|_| seen.is_none_or(|seen| seen.state != JobState::Gone)) else { return };
    outcome.rows.push(row.clone());
    if view.snapshot.object.spec.paused {
        return;
    }
    // Where that has just failed it is tried again.
    let pause = seen.filter(|seen| seen.state == JobState::Running).map_or(Duration::ZERO, |seen| (seen.at + LATER).saturating_sub(view.now.mono));
    if pause.is_zero() {
        outcome.actions.push(Action::DeleteJob { name: row.job.clone(), uid: uid.clone() });
    } else {
        soonest(&mut outcome.again, pause.as_secs_f64());
    }
}

/// The next run at a point before the switch, if one is left to run there.
fn due(view: &View<'_>, point: HookPoint) -> Option<HookStatus> {
    let (revision, attempt) = (view.target()?, view.next_attempt());
    for job in view.snapshot.object.spec.jobs_at(point) {
        let last = row(view, &job, revision, attempt);
        let run = match last.map(|last| (last.result, last.run)) {
            Some((HookResult::Succeeded, _)) => continue,
            // Hooks after one that failed may rest on it.
            Some((HookResult::Failed | HookResult::Running | HookResult::Waiting, _)) => return None,
            Some((HookResult::Retried | HookResult::Skipped, run)) => run.saturating_add(1),
            None => 0,
        };
        return Some(new(view, point, job.name, (revision, attempt, run), HookResult::Running));
    }
    None
}

fn job_of<'a>(view: &View<'a>, row: &HookStatus) -> Option<JobOf<'a>> {
    view.snapshot.object.spec.jobs_at(row.point).into_iter().find(|job| is_of(view, row, job))
}

fn run(view: &View<'_>, row: &HookStatus, of: Option<JobOf<'_>>) -> HookRun {
    let set = view.set(&row.revision);
    let active = view.intent.map_or(NONE, |intent| if intent.to == row.revision { intent.from.as_deref().unwrap_or(NONE) } else { &intent.to });
    HookRun {
        job: row.job.clone(),
        point: row.point,
        revision: row.revision.clone(),
        uid: row.uid.clone(),
        path: of.map(|of| of.path()).unwrap_or_default(),
        template: of.map(|of| of.template.clone()),
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

/// What `retry` makes of the runs before the switch: each runs once more, but for those before pods that are there, and tests that all of them passed.
pub fn retried(view: &View<'_>, revision: &str) -> Vec<HookStatus> {
    let mut rows = view.snapshot.object.status.hooks.clone();
    let up = view.set(revision).is_some_and(|set| set.desired > 0);
    let ended = |row: &&mut HookStatus| row.point.gates() && row.revision == revision && row.result != HookResult::Running;
    let proven = view.set(revision).is_some_and(|set| view.proof(set).is_some());
    let done = |row: &&mut HookStatus| up && row.point == HookPoint::BeforeBringUp || proven && row.point == HookPoint::SmokeProbes;
    let again = |row: &&mut HookStatus| ended(row) && !done(row);
    rows.iter_mut().filter(again).for_each(|row| row.result = HookResult::Retried);
    rows
}

/// Whether runs have come to be known, or come further: that must be on record before anything follows from it. A row that goes is no such news.
pub fn durable(one: &[HookStatus], before: &[HookStatus]) -> bool {
    one.iter().any(|row| !before.contains(row))
}
