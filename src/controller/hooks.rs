//! The Jobs of hooks and probes: asked about before anything starts, created, looked at, deleted when nobody asks about them any more.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::api::{HookPoint, keys};
use crate::release::action::HookRun;
use crate::release::hooks::{LATER, LOG_ENDS};
use crate::release::{JobSeen, JobState, Object, Snapshot};

use super::api::{ApiError, ApiServer, Dependents, Resource};
use super::context::Context;
use super::job_log;
use super::manifest::owner_reference;
use super::trim;

/// Longest time of a Job that names none, in seconds.
const LONGEST: i64 = 600;
/// So long holds what the API server has against a Job, in which nobody asks again.
const REFUSED: Duration = Duration::from_secs(60);

/// Every Job of a spec as the API server is asked about it, with the path of its template.
pub fn asked(object: &Object) -> Vec<(String, Value)> {
    let all = HookPoint::ALL.into_iter().flat_map(|point| object.spec.jobs_at(point));
    all.map(|of| (of.path(), job(object, &Labels { point: of.point, revision: "" }, None, of.template, &[]))).collect()
}

/// Asks the API server about every Job of the spec. What it has against one of them is remembered, and asked again when the hooks change.
pub async fn check<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, hash: &str) -> Result<(), ApiError> {
    let object = &snapshot.object;
    let (mut answer, mut holds) = (Ok(()), REFUSED);
    for (path, job) in asked(object) {
        match context.api.create(Resource::Job, &object.namespace, job, true).await {
            Ok(_) => continue,
            Err(ApiError::Invalid(message)) => answer = Err(refused(&path, &message)),
            Err(ApiError::Forbidden(message)) => return Err(ApiError::Forbidden(format!("{path}: {message}"))),
            Err(ApiError::Transient(message)) => {
                (answer, holds) = (Err(format!("{path}: the API server could not be asked about this Job: {message}")), LATER);
            }
            Err(error) => return Err(error),
        }
        break;
    }
    let until = context.clock.now().mono + holds;
    context.remember(&object.uid, |remembered| remembered.hooks_checked = Some((hash.to_owned(), answer, until)));
    Ok(())
}

/// Looks at a Job, and creates it if it was never there. Where that fails it is tried again at the next look: an API server that can't take
/// Jobs just now, as by a webhook that is away, must not keep old pods from being measured. A refusal ends what the release does not wait for.
pub async fn run<A: ApiServer>(context: &Context<A>, object: &Object, run: &HookRun) -> Result<(), ApiError> {
    match look(context, object, run).await {
        Err(ApiError::Transient(why)) => {
            tracing::warn!(namespace = object.namespace, name = object.name, job = run.job, "the Job of a hook can't be created or read: {why}");
            remember(context, object, &run.job, run.uid.clone(), JobState::Running);
            Ok(())
        }
        Err(ApiError::Invalid(why) | ApiError::Forbidden(why)) if !run.point.gates() => {
            remember(context, object, &run.job, run.uid.clone(), JobState::Failed(why));
            Ok(())
        }
        answer => answer,
    }
}

async fn look<A: ApiServer>(context: &Context<A>, object: &Object, run: &HookRun) -> Result<(), ApiError> {
    let found = match context.api.get(Resource::Job, &object.namespace, &run.job).await? {
        Some(found) => Some(found),
        None if run.uid.is_some() => None,
        None => {
            let Some(template) = &run.template else {
                remember(context, object, &run.job, None, JobState::Gone);
                return Ok(());
            };
            if !is_on_record(context, object, &run.job).await? {
                return Err(ApiError::Conflict);
            }
            let body = job(object, &Labels { point: run.point, revision: &run.revision }, Some(&run.job), template, &run.environment);
            match context.api.create(Resource::Job, &object.namespace, body, false).await {
                Ok(created) => Some(created),
                // By somebody else who leads, a moment ago: it is looked at next.
                Err(ApiError::AlreadyExists) => return Err(ApiError::Conflict),
                Err(ApiError::Invalid(message)) => return Err(ApiError::Invalid(refused(&run.path, &message))),
                Err(ApiError::Forbidden(message)) => return Err(ApiError::Forbidden(format!("{}: {message}", run.path))),
                Err(error) => return Err(error),
            }
        }
    };
    if found.as_ref().is_some_and(|found| trim::controller(found).is_none_or(|(.., uid)| uid != object.uid)) {
        return Err(ApiError::Invalid(format!("Job \"{}\" belongs to somebody else; delete it", run.job)));
    }
    // One of that name that is on its way out is not the one that is to run.
    if run.uid.is_none() && found.as_ref().is_some_and(|found| found.pointer("/metadata/deletionTimestamp").is_some()) {
        return Err(ApiError::Conflict);
    }
    let mut seen = found.as_ref().map(|found| (trim::text(found, "/metadata/uid"), state(found)));
    if let Some((Some(uid), JobState::Failed(why))) = &mut seen
        && let Some(words) = job_log::last_words(context, &object.namespace, &run.job, uid).await
    {
        why.push_str(LOG_ENDS);
        why.push_str(&words);
    }
    // Another Job of that name is not the one that was begun.
    let same = seen.as_ref().is_some_and(|(uid, _)| run.uid.is_none() || run.uid == *uid);
    let (uid, state) = seen.filter(|_| same).unwrap_or((None, JobState::Gone));
    remember(context, object, &run.job, uid, state);
    Ok(())
}

/// Whether a run still is about to begin, by a live read: in an old cache it may be one whose Job has come and gone.
async fn is_on_record<A: ApiServer>(context: &Context<A>, object: &Object, job: &str) -> Result<bool, ApiError> {
    let Some(live) = context.api.get(Resource::BlueGreenDeployment, &object.namespace, &object.name).await? else { return Ok(false) };
    let same = trim::text(&live, "/metadata/uid").as_deref() == Some(&object.uid) && live.pointer("/metadata/deletionTimestamp").is_none();
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
    let waits =
        |row: &Value| text(row, "job").as_deref() == Some(job) && text(row, "result").as_deref() == Some("Running") && text(row, "uid").is_none();
    Ok(same && trim::list(&live, "/status/hooks").any(waits))
}

/// Deletes a Job and its pods.
pub async fn delete<A: ApiServer>(context: &Context<A>, object: &Object, name: &str, uid: &str) -> Result<(), ApiError> {
    match context.api.delete(Resource::Job, &object.namespace, name, (uid, None), Dependents::Deleted).await {
        // One of another UID is somebody else's.
        Ok(()) | Err(ApiError::Conflict) => remember(context, object, name, None, JobState::Gone),
        Err(ApiError::Transient(why)) => {
            tracing::warn!(namespace = object.namespace, name = object.name, job = name, "the Job of a hook can't be deleted: {why}");
            remember(context, object, name, Some(uid.to_owned()), JobState::Running);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn remember<A: ApiServer>(context: &Context<A>, object: &Object, name: &str, uid: Option<String>, state: JobState) {
    let at = context.clock.now().mono;
    context.remember(&object.uid, |remembered| remembered.jobs.insert(name.to_owned(), JobSeen { uid, state, at }));
}

/// How a Job stands, by its conditions: `SuccessCriteriaMet` and `FailureTarget` are no end yet (KEP-3998).
fn state(job: &Value) -> JobState {
    let is = |kind: &str| {
        trim::list(job, "/status/conditions").find(|condition| {
            condition.get("type").and_then(Value::as_str) == Some(kind) && condition.get("status").and_then(Value::as_str) == Some("True")
        })
    };
    let words = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (is("Complete"), is("Failed")) {
        (Some(_), _) => JobState::Succeeded,
        (None, Some(failed)) => JobState::Failed(format!("{}: {}", words(failed, "reason"), words(failed, "message"))),
        (None, None) => JobState::Running,
    }
}

/// The API server speaks of an object that the user never wrote.
pub fn refused(path: &str, message: &str) -> String {
    let text = message.split_once(" is invalid: ").map_or(message, |(_, text)| text);
    format!("{path}: the API server refuses this Job: {text}")
}

/// What people find a Job by.
struct Labels<'a> {
    point: HookPoint,
    revision: &'a str,
}

/// A Job of a hook. Without a name it is for a dry run.
fn job(object: &Object, labels: &Labels<'_>, name: Option<&str>, template: &Value, environment: &[(&'static str, String)]) -> Value {
    let mut metadata = template.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for given in ["name", "generateName", "namespace", "ownerReferences"] {
        metadata.remove(given);
    }
    match name {
        Some(name) => metadata.insert("name".into(), json!(name)),
        // Longer than a Job's own name it would be refused for that.
        None => metadata.insert("generateName".into(), json!(format!("{}-", object.name.chars().take(40).collect::<String>()))),
    };
    metadata.insert("namespace".into(), json!(object.namespace));
    metadata.retain(|_, value| !value.is_null());
    if let Some(known) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut() {
        let ours = [(keys::NAME, object.name.as_str()), (keys::HOOK, labels.point.field()), (keys::REVISION, labels.revision)];
        known.extend(ours.map(|(key, value)| (key.to_owned(), json!(value))));
    }
    metadata.insert("ownerReferences".into(), json!([owner_reference(object)]));
    let mut job = template.as_object().cloned().unwrap_or_default();
    job.insert("apiVersion".into(), json!("batch/v1"));
    job.insert("kind".into(), json!("Job"));
    job.insert("metadata".into(), Value::Object(metadata));
    // What is no map is left for the API server to refuse.
    if let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) {
        let limit = spec.entry("activeDeadlineSeconds").or_insert(Value::Null);
        if limit.is_null() {
            *limit = json!(LONGEST);
        }
        // A Job that is gone can't tell how it ended, and one that is suspended never ends.
        spec.remove("ttlSecondsAfterFinished");
        spec.remove("suspend");
        if let Some(pod) = spec.get_mut("template").and_then(|template| template.get_mut("spec")).and_then(Value::as_object_mut) {
            pod.entry("restartPolicy").or_insert(json!("Never"));
            for list in ["containers", "initContainers"] {
                let containers = pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
                containers.filter_map(Value::as_object_mut).for_each(|container| tell(container, environment));
            }
        }
    }
    Value::Object(job)
}

/// Adds the environment, but for what the container has from its template. It goes first, so that the template's own can refer to it.
fn tell(container: &mut Map<String, Value>, environment: &[(&'static str, String)]) {
    // What is no list is left for the API server to refuse.
    let own = match container.get("env") {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(own)) => own.clone(),
        Some(_) => return,
    };
    let has = |name: &str| own.iter().any(|variable| variable.get("name").and_then(Value::as_str) == Some(name));
    let ours: Vec<Value> = environment.iter().filter(|(name, _)| !has(name)).map(|(name, value)| json!({"name": name, "value": value})).collect();
    if !ours.is_empty() {
        container.insert("env".into(), Value::Array(ours.into_iter().chain(own).collect()));
    }
}

#[cfg(test)]
#[path = "tests/hooks.rs"]
mod tests;
