//! Reconcile: observe, plan, write what must be remembered, act, and again, until nothing is left to do.

use std::time::Duration;

use crate::api::BlueGreenDeploymentStatus;
use crate::release::action::{Action, Notice, Plan};
use crate::release::plan::durable;
use crate::release::{Identity, Refusal, Snapshot, plan};

use super::api::{ApiError, ApiServer};
use super::apply::{apply, refusal};
use super::context::{Context, pause};
use super::keeper::Wanted;
use super::observe::observe;
use super::peers;
use super::pod_metadata;
use super::queue::Panicked;
use super::status::{self, Written};
use super::world::Key;

/// Rounds in one go; a release never needs so many, so more are a loop that must not spin.
const ROUNDS: usize = 24;
/// What could not be done when a status is refused.
const STATUS: &str = "the status can't be written";

/// Looks at one object until nothing is left to do now; answers when to look again.
pub async fn reconcile<A: ApiServer>(context: &Context<A>, key: &Key) -> Option<Duration> {
    for round in 0..ROUNDS {
        let (snapshot, plan) = decide(context, key)?;
        tracing::debug!(namespace = key.namespace, name = key.name, round, phase = ?plan.status.phase, actions = plan.actions.len(), "planned");
        match carry_out(context, key, &snapshot, &plan).await {
            Ok(Some(again)) => {
                context.remember(&snapshot.object.uid, |remembered| remembered.failures = 0);
                return again;
            }
            Ok(None) => {}
            Err(error) => {
                if is_refusal(&error) {
                    tell(context, key).await;
                }
                return Some(failed(context, key, &snapshot, &error));
            }
        }
    }
    tracing::warn!(namespace = key.namespace, name = key.name, "a plan did not come to rest in {ROUNDS} rounds; going on in a second");
    Some(Duration::from_secs(1))
}

fn decide<A: ApiServer>(context: &Context<A>, key: &Key) -> Option<(Snapshot, Plan)> {
    let now = context.clock.now();
    let snapshot = {
        let world = context.world();
        let mut reports = context.reports();
        let uid = world.object(key)?.metadata.uid.clone()?;
        context.remember(&uid, |remembered| {
            // A refusal may have been cured without a change of the object: a quota raised, a webhook mended.
            if remembered.ask_again.is_some_and(|(at, _)| now.mono >= at) && matches!(remembered.identity, Some((_, Identity::Refused { .. }))) {
                remembered.identity = None;
            }
            observe(&world, remembered, &mut reports, &context.installation, key, now)
        })?
    };
    let plan = plan(&snapshot, now);
    Some((snapshot, plan))
}

/// Carries out a plan. `Some` means that nothing is left to do, and when to look again.
async fn carry_out<A: ApiServer>(context: &Context<A>, key: &Key, snapshot: &Snapshot, plan: &Plan) -> Result<Option<Option<Duration>>, ApiError> {
    let object = &snapshot.object;
    let mut done = durable(&plan.status, &object.status);
    if done && let Err(error) = status::write(context, snapshot, &plan.status).await {
        note(context, snapshot, STATUS, None, &error);
        return Err(error);
    }
    for notice in &plan.notices {
        context.say(object, notice);
    }
    let mut refusal = None;
    for action in &plan.actions {
        match apply(context, snapshot, action).await {
            Ok(()) => done = true,
            // What is refused stays refused until somebody changes something; the rest goes on meanwhile.
            // So does what follows the write of a budget or of a copy: users wait for neither. A release that has to wait plans nothing after it.
            Err(error) if is_refusal(&error) || stands_alone(action) && error != ApiError::NotLeading => {
                refused(context, snapshot, action, &error);
                refusal = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = refusal {
        if done {
            return Ok(None);
        }
        // But for what is refused it is at rest: what has begun must not stand still as long as nobody mends that.
        effects(context, key, snapshot, plan);
        return Err(error);
    }
    // With nothing refused any more, or nothing left that could be, a former refusal is over.
    let over = context.remember(&object.uid, |remembered| remembered.refused.take()).is_some();
    if done || over {
        return Ok(None);
    }
    if object.deleting {
        return Ok(Some(None));
    }
    effects(context, key, snapshot, plan);
    if peers::name(context, snapshot, &plan.status).await {
        return Ok(None);
    }
    let written = match status::write_if_due(context, snapshot, &plan.status).await {
        Ok(written) => written,
        Err(error) => {
            note(context, snapshot, STATUS, None, &error);
            return Err(error);
        }
    };
    let again = match written {
        Written::Later(wait) => Some(plan.again.map_or(wait.as_secs_f64(), |again| again.min(wait.as_secs_f64()))),
        Written::Done => plan.again,
    };
    let bears = pod_metadata::write(context, snapshot, &plan.metadata).await;
    let again = again.into_iter().chain(ask_again(context, snapshot)).chain(owners_again(context, snapshot)).chain(bears).reduce(f64::min);
    Ok(Some(again.map(|seconds| Duration::try_from_secs_f64(seconds.clamp(0.0, 86_400.0)).unwrap_or(Duration::from_secs(60)))))
}

/// Starts and ends long-running work. Only at rest: what is wanted in between may already be over.
fn effects<A: ApiServer>(context: &Context<A>, key: &Key, snapshot: &Snapshot, plan: &Plan) {
    let uid = &snapshot.object.uid;
    let probes: Vec<_> = plan.effects.probes().collect();
    context.tasks.probe(context, key, uid, &probes);
    context.tasks.begin(context, key, uid, &plan.effects.begin);
    context.tasks.read(context, key, uid, &plan.effects.reads);
    context.want(Wanted { uid: uid.clone(), pods: plan.effects.watch.clone() });
}

/// Seconds until it is asked again whether the owner of a Service lives.
fn owners_again<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot) -> Option<f64> {
    let now = context.clock.now().mono;
    context.remember(&snapshot.object.uid, |remembered| remembered.owners_again(now)).map(|wait| wait.as_secs_f64() + 0.01)
}

/// Whether what comes after an action is to be done all the same when it fails, for whatever reason.
fn stands_alone(action: &Action) -> bool {
    matches!(action, Action::WriteBudget { .. } | Action::DeleteBudget { .. } | Action::CopyConfig { .. } | Action::DeleteConfig { .. })
}

fn is_refusal(error: &ApiError) -> bool {
    matches!(error, ApiError::Forbidden(_) | ApiError::Invalid(_))
}

/// Seconds until a refused template is asked about again.
fn ask_again<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot) -> Option<f64> {
    // What is wrong with configuration is seen by itself: nobody is asked.
    (matches!(snapshot.identity, Identity::Refused { .. }) && snapshot.configs.problem().is_none()).then_some(())?;
    let now = context.clock.now().mono;
    context.remember(&snapshot.object.uid, |remembered| remembered.ask_again).map(|(at, _)| at.saturating_sub(now).as_secs_f64() + 0.01)
}

/// Keeps what the API server refused, for status: it will be refused again until somebody changes something.
fn refused<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, action: &Action, error: &ApiError) {
    let what = match action {
        Action::CreateSet { revision, .. } => {
            format!("the ReplicaSet of revision {revision} can't be created")
        }
        Action::Fence { set, .. } | Action::PatchSet { set, .. } | Action::Adopt { set } => {
            format!("ReplicaSet \"{}\" can't be changed", set.name)
        }
        Action::Retire { set, .. } => format!("ReplicaSet \"{}\" can't be scaled down", set.name),
        Action::Part { set, .. } | Action::Orphan { set, .. } => format!("ReplicaSet \"{}\" can't be taken apart", set.name),
        Action::Mark { pod, .. } | Action::Own { pod, .. } | Action::MarkServing { pod, .. } | Action::TellByLabel { pod, .. } => {
            format!("pod \"{}\" can't be changed", pod.name)
        }
        Action::DeletePod { pod, .. } => format!("pod \"{}\" can't be deleted", pod.name),
        Action::DeleteSet { set } => format!("ReplicaSet \"{}\" can't be deleted", set.name),
        Action::Select { service, .. } | Action::Release { service } | Action::Withdraw { service, .. } => {
            format!("the selector of Service \"{}\" can't be written", service.name)
        }
        Action::CopyConfig { source, .. } => format!("{source} can't be copied"),
        Action::DeleteConfig { config } => format!("{} can't be deleted", config.id),
        Action::WriteBudget { .. } => format!("PodDisruptionBudget \"{}\" can't be written", snapshot.object.name),
        Action::DeleteBudget { budget } => format!("PodDisruptionBudget \"{}\" can't be deleted", budget.name),
        Action::RunHook { run } => format!("Job \"{}\" can't be created or read", run.job),
        Action::CheckHooks { .. } => "the Jobs of the spec can't be created".into(),
        Action::DeleteJob { name, .. } => format!("Job \"{name}\" can't be deleted"),
        Action::RemoveCommand { key, .. } => format!("annotation {key} can't be removed"),
        Action::LookUpOwner { owner } => {
            format!("whether BlueGreenDeployment \"{}\" still exists, which a Service names as its owner, can't be looked up", owner.name)
        }
        // Its refusal is an answer, which is remembered as such.
        Action::Identify { .. } => return,
    };
    let command = if let Action::RemoveCommand { key, .. } = action { Some(*key) } else { None };
    note(context, snapshot, &what, command, error);
}

fn note<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, what: &str, command: Option<&'static str>, error: &ApiError) {
    let refusal = match error {
        ApiError::Forbidden(message) => Refusal { command, ..refusal(what, message) },
        ApiError::Invalid(message) => Refusal { reason: "Refused", message: format!("{what}: {message}"), command },
        _ => return,
    };
    context.remember(&snapshot.object.uid, |remembered| remembered.refused = Some(refusal));
}

/// Writes what was refused into status, although the plan could not be carried out.
async fn tell<A: ApiServer>(context: &Context<A>, key: &Key) {
    let Some((snapshot, plan)) = decide(context, key) else { return };
    let before = &snapshot.object.status;
    let mut written = Err(ApiError::Invalid(String::new()));
    // What is to be on record first is not on record yet.
    if !durable(&plan.status, before) {
        written = status::write_if_due(context, &snapshot, &plan.status).await;
    }
    // Where that, or the rest of the status, is what is refused, the reason can be said all the same.
    if matches!(written, Err(ApiError::Invalid(_))) {
        let reason = BlueGreenDeploymentStatus { conditions: plan.status.conditions, ..snapshot.object.stored_status() };
        written = status::write_if_due(context, &snapshot, &reason).await;
    }
    if let Err(error) = written {
        tracing::debug!(namespace = key.namespace, name = key.name, %error, "status could not be written either");
    }
}

/// A failure is tried again after a pause.
fn failed<A: ApiServer>(context: &Context<A>, key: &Key, snapshot: &Snapshot, error: &ApiError) -> Duration {
    let failures = context.remember(&snapshot.object.uid, |remembered| {
        remembered.failures = remembered.failures.saturating_add(1);
        remembered.failures
    });
    match error {
        ApiError::Conflict | ApiError::NotFound => {
            tracing::debug!(namespace = key.namespace, name = key.name, %error, "again")
        }
        _ => {
            tracing::warn!(namespace = key.namespace, name = key.name, %error, failures, "again after a pause")
        }
    }
    pause(failures)
}

/// A look at an object panicked: that is told, and what is remembered about it, which may be half of something, is given up.
pub fn panicked<A: ApiServer>(context: &Context<A>, key: &Key, panicked: &Panicked) {
    let Panicked { words, in_a_row, pause } = panicked;
    tracing::error!(namespace = key.namespace, name = key.name, in_a_row, "looking at this object panicked; this is a bug: {words}");
    let uid = context.world().object(key).and_then(|object| object.metadata.uid.clone());
    let Some(uid) = uid else { return };
    context.begin_anew(&uid);
    let message = format!(
        "the operator has a bug: a look at this object ended with \"{words}\" (looks in a row: {in_a_row}); the next one is in {:.0} s, other objects go on meanwhile; please report it, with the log",
        pause.as_secs_f64(),
    );
    context.publish(&key.namespace, &key.name, &uid, Notice { warning: true, reason: "Panicked", message });
}

#[cfg(test)]
#[path = "tests/reconcile.rs"]
mod tests;
