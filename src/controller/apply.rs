//! Apply: carries out one action. Each is idempotent, and guarded by the version it was decided on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::keys;
use crate::release::action::{Action, Notice, SelectWhy, SetRef};
use crate::release::revision::{meant, revision_name, template_identity};
use crate::release::services::may_lead;
use crate::release::{Begun, Identity, Object, OwnerState, Refusal, Role, Service, Snapshot};

use super::api::{ApiError, ApiServer, Change, Dependents, Resource, Which};
use super::budget;
use super::config;
use super::context::Context;
use super::hooks;
use super::manifest;
use super::part;
use super::pod_metadata;
use super::trim;

/// First pause before a refused template is asked about again; doubled each time, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(15);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(300);
/// A ReplicaSet's own status changes its version all the time; so often the last write of a retirement is tried again.
const RETIRE_TRIES: usize = 5;

/// Carries out an action.
pub async fn apply<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, action: &Action) -> Result<(), ApiError> {
    let object = &snapshot.object;
    match action {
        Action::Identify { raw_hash } => identify(context, snapshot, raw_hash).await,
        Action::CheckHooks { hash } => hooks::check(context, snapshot, hash).await,
        Action::RunHook { run } => hooks::run(context, object, run).await,
        Action::DeleteJob { name, uid } => hooks::delete(context, object, name, uid).await,
        Action::Adopt { set } => adopt(context, object, set).await,
        Action::LookUpOwner { owner } => {
            let found = context.api.get(Resource::BlueGreenDeployment, &object.namespace, &owner.name).await?;
            let alive = found.is_some_and(|found| trim::text(&found, "/metadata/uid").as_deref() == Some(&owner.uid));
            let state = if alive { OwnerState::Alive } else { OwnerState::Gone };
            context.remember(&object.uid, |remembered| remembered.owners.insert(owner.uid.clone(), (state, context.clock.now().mono)));
            Ok(())
        }
        Action::CreateSet { revision, color, replicas, raw_hash, restarts } => {
            let name = format!("{}-{revision}", object.name);
            let mut body = manifest::replica_set(object, revision, *color, *replicas, raw_hash, Some(&name));
            manifest::restarted(&mut body, *restarts);
            match context.api.create(Resource::ReplicaSet, &object.namespace, body, false).await {
                Ok(created) => {
                    context.wrote(Resource::ReplicaSet, &created);
                    Ok(())
                }
                Err(ApiError::AlreadyExists) => taken(context, object, &name, *restarts).await,
                Err(error) => Err(error),
            }
        }
        Action::Fence { set, replicas, marks, switch } => {
            let patch = Change::Json(manifest::fence_patch(set, *replicas, marks, switch));
            let written = context.api.patch(Resource::ReplicaSet, &object.namespace, &set.name, false, patch).await?;
            context.wrote(Resource::ReplicaSet, &written);
            Ok(())
        }
        Action::PatchSet { set, change } => patch_set(context, object, set, manifest::set_patch(set, change)).await.map(drop),
        Action::Retire { set, attempt, services, notice } => {
            if retire(context, object, set, *attempt, services).await?
                && let Some(notice) = notice
            {
                context.say(object, notice);
            }
            Ok(())
        }
        Action::Part { set, attempt, services, issue } => part::part(context, object, set, *attempt, services, *issue).await,
        Action::Mark { pod, left } => part::mark(context, object, pod, left).await,
        Action::Orphan { set, labels, services } => part::orphan(context, object, set, labels, services).await,
        Action::Own { pod, left } => part::own(context, object, pod, left).await,
        Action::DeletePod { pod, revision, services, notice } => {
            if part::delete(context, object, pod, revision, services).await?
                && let Some(notice) = notice
            {
                context.say(object, notice);
            }
            Ok(())
        }
        Action::MarkServing { pod, value } => pod_metadata::label(context, object, pod, keys::SERVING, value).await,
        Action::TellByLabel { pod, key, value } => {
            pod_metadata::label(context, object, pod, key, value).await?;
            context.remember(&object.uid, |remembered| remembered.begun.insert(pod.uid.clone(), Begun::Told));
            Ok(())
        }
        Action::DeleteSet { set } => {
            let guard = (set.uid.as_str(), Some(set.resource_version.as_str()));
            context.api.delete(Resource::ReplicaSet, &object.namespace, &set.name, guard, Dependents::Deleted).await?;
            context.forgot(Resource::ReplicaSet, &set.uid);
            Ok(())
        }
        Action::CopyConfig { source, copy, digest } => config::copy(context, object, source, copy, digest).await,
        Action::DeleteConfig { config } => config::delete(context, object, config).await,
        Action::Withdraw { service, withdrawn } => patch_service(context, object, service, manifest::withdraw_patch(service, withdrawn)).await,
        Action::Select { service, selector, owner, selected, record, withdrawn, why } => {
            let patch = manifest::service_patch(service, selector, owner, selected, record.as_deref(), withdrawn);
            patch_service(context, object, service, patch).await?;
            if let SelectWhy::Repair { editor } = why {
                context.remember(&object.uid, |remembered| remembered.repaired(&service.name, editor.as_deref(), context.clock.now().mono));
                context.say(object, &repaired(service, editor.as_deref()));
            }
            Ok(())
        }
        Action::WriteBudget { found, wanted } => budget::write(context, object, found.as_ref(), wanted).await,
        Action::DeleteBudget { budget } => budget::delete(context, object, budget).await,
        Action::Release { service } => {
            let unpin = service.selector.get(keys::REVISION).is_none_or(|revision| !context.world().has_pods(&object.namespace, revision));
            patch_service(context, object, service, manifest::release_patch(service, unpin)).await?;
            let message = match service.selector.get(keys::REVISION).filter(|_| !unpin) {
                Some(revision) => format!(
                    "Service \"{}\" is no longer moved; it still selects revision {revision} until somebody changes its selector",
                    service.name
                ),
                None => format!("Service \"{}\" is no longer moved", service.name),
            };
            context.say(object, &Notice { warning: false, reason: "ServiceReleased", message });
            Ok(())
        }
        Action::RemoveCommand { key, value } => {
            let path = format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"));
            let patch = json!([{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}]);
            match context.api.patch(Resource::BlueGreenDeployment, &object.namespace, &object.name, false, Change::Json(patch)).await {
                Ok(written) => {
                    context.wrote(Resource::BlueGreenDeployment, &written);
                    Ok(())
                }
                // Somebody has written another one meanwhile: it is read next.
                Err(ApiError::NotFound) => Ok(()),
                Err(error) => Err(error),
            }
        }
    }
}

/// Asks the API server what the template means to it, by creating its ReplicaSet as a dry run.
async fn identify<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, raw_hash: &str) -> Result<(), ApiError> {
    let object = &snapshot.object;
    let mut collisions = context.remember(&object.uid, |remembered| remembered.collisions);
    let mut revision = revision_name(&object.name, &object.spec.template, collisions);
    let body = manifest::replica_set(object, &revision, crate::release::Color::Blue, 0, raw_hash, None);
    let asked = context.api.create(Resource::ReplicaSet, &object.namespace, body, true).await;
    let answer = match asked {
        Ok(normalised) => {
            let identity = normalised.pointer("/spec/template").map(template_identity).unwrap_or_default();
            let same = meant(&snapshot.sets, |set| set.template_identity == identity);
            if let Some(set) = same {
                revision.clone_from(&set.revision);
            } else {
                // A different template under the same name: a collision of the hash.
                while snapshot.sets.iter().any(|set| set.revision == revision) {
                    collisions += 1;
                    revision = revision_name(&object.name, &object.spec.template, collisions);
                }
            }
            Identity::Known { raw_hash: raw_hash.to_owned(), revision }
        }
        Err(ApiError::Invalid(message)) => {
            Identity::Refused { reason: "TemplateRefused".into(), message: format!("the API server refuses spec.template: {}", plain(&message)) }
        }
        Err(ApiError::Forbidden(message)) => {
            let refusal = refusal("the ReplicaSet of spec.template can't be created", &message);
            Identity::Refused { reason: refusal.reason.into(), message: refusal.message }
        }
        Err(error) => return Err(error),
    };
    let now = context.clock.now().mono;
    context.remember(&object.uid, |remembered| {
        remembered.collisions = collisions;
        remembered.ask_again = matches!(answer, Identity::Refused { .. }).then(|| {
            let tries = remembered.ask_again.map_or(0, |(_, tries)| tries);
            (now + (FIRST * 2u32.saturating_pow(tries.min(8))).min(LONGEST), tries + 1)
        });
        remembered.identity = Some((raw_hash.to_owned(), answer));
    });
    Ok(())
}

/// The API server begins with the kind and the generated name of an object the user never wrote.
fn plain(message: &str) -> String {
    let text = message.split_once(" is invalid: ").map_or(message, |(_, text)| text);
    text.replace("spec.template.spec.template", "spec.template")
}

/// What a refusal means.
pub fn refusal(what: &str, message: &str) -> Refusal {
    let reason = if message.contains("exceeded quota") { "QuotaExceeded" } else { "Forbidden" };
    Refusal { reason, message: format!("{what}: {message}"), command: None }
}

async fn adopt<A: ApiServer>(context: &Context<A>, object: &Object, set: &SetRef) -> Result<(), ApiError> {
    // Live: an object deleted meanwhile must not adopt anything (the Deployment controller's `RecheckDeletionTimestamp`).
    let live = context.api.get(Resource::BlueGreenDeployment, &object.namespace, &object.name).await?;
    let still = live.is_some_and(|live| {
        trim::text(&live, "/metadata/uid").as_deref() == Some(&object.uid) && live.pointer("/metadata/deletionTimestamp").is_none()
    });
    if !still {
        return Err(ApiError::Conflict);
    }
    patch_set(context, object, set, manifest::adopted(set, object)).await?;
    // It may have the very template that was something new a moment ago.
    context.remember(&object.uid, |remembered| remembered.identity = None);
    Ok(())
}

/// The name of a new ReplicaSet is taken: by ourselves, a moment ago, or by somebody else.
async fn taken<A: ApiServer>(context: &Context<A>, object: &Object, name: &str, restarts: i64) -> Result<(), ApiError> {
    let Some(found) = context.api.get(Resource::ReplicaSet, &object.namespace, name).await? else {
        return Err(ApiError::Conflict);
    };
    if trim::controller(&found).is_some_and(|(.., uid)| uid == object.uid) {
        // Its name is free when its pods have ended (`kubectl delete --cascade=foreground`).
        if found.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(ApiError::Conflict);
        }
        context.wrote(Resource::ReplicaSet, &found);
        return Ok(());
    }
    // The name of a restart follows from what is known; another one would be asked for again and again.
    if restarts > 0 {
        return Err(ApiError::Invalid(format!("ReplicaSet \"{name}\" belongs to somebody else; delete it, or remove the command")));
    }
    context.remember(&object.uid, |remembered| {
        remembered.collisions += 1;
        remembered.identity = None;
    });
    Ok(())
}

pub(super) async fn patch_set<A: ApiServer>(context: &Context<A>, object: &Object, set: &SetRef, patch: Value) -> Result<Value, ApiError> {
    let written = context.api.patch(Resource::ReplicaSet, &object.namespace, &set.name, false, Change::Merge(patch)).await?;
    context.wrote(Resource::ReplicaSet, &written);
    Ok(written)
}

async fn patch_service<A: ApiServer>(context: &Context<A>, object: &Object, service: &Service, patch: Value) -> Result<(), ApiError> {
    let written = context.api.patch(Resource::Service, &object.namespace, &service.name, false, Change::Merge(patch)).await?;
    context.wrote(Resource::Service, &written);
    Ok(())
}

/// Scales a set that served to zero. The order is the fence: role, live read of the Services, scale with the version of the role's write.
/// Another leader that moves traffic to this set writes its role first, so one of the two fails. Answers whether it was scaled, and not gone by itself.
async fn retire<A: ApiServer>(context: &Context<A>, object: &Object, set: &SetRef, attempt: i64, services: &[String]) -> Result<bool, ApiError> {
    let retiring = Role::retiring(attempt);
    let written = patch_set(context, object, set, manifest::retiring(set, attempt)).await?;
    let mut fenced = at(set, &written)?;
    let labels = trim::pod_labels(&written);
    for _ in 0..RETIRE_TRIES {
        unreached(context, object, &set.revision, &labels, services).await?;
        match patch_set(context, object, &fenced, manifest::retired(&fenced, attempt)).await {
            Err(ApiError::Conflict) => {
                let Some(live) = context.api.get(Resource::ReplicaSet, &object.namespace, &set.name).await? else {
                    return Ok(false);
                };
                let same = trim::text(&live, "/metadata/uid").as_deref() == Some(&set.uid);
                if !same || trim::annotation(&live, keys::ROLE) != Some(retiring.text().as_str()) {
                    return Err(ApiError::Conflict);
                }
                fenced = at(set, &live)?;
            }
            answer => return answer.map(|_| true),
        }
    }
    Err(ApiError::Conflict)
}

/// Fails while a Service still leads to pods of a revision (what their label says of it), which have these labels, by live reads.
pub(super) async fn unreached<A: ApiServer>(
    context: &Context<A>,
    object: &Object,
    revision: &str,
    labels: &BTreeMap<String, String>,
    services: &[String],
) -> Result<(), ApiError> {
    let namespace = &object.namespace;
    for name in services {
        let live = context.api.get(Resource::Service, namespace, name).await?;
        if live.is_some_and(|live| may_lead(&trim::strings(&live, "/spec/selector"), labels)) {
            return Err(ApiError::Conflict);
        }
    }
    // Others that name it, such as one that was just taken out of the spec. Nobody moves them, so a person must hear of it.
    // A preview Service is ours: it may show a revision that is given up until its last pod, and follows by itself.
    let ours = |service: &Service| service.owner.as_ref().is_some_and(|owner| owner.uid == object.uid);
    let leads = |selector: &BTreeMap<String, String>| match selector.get(keys::REVISION) {
        Some(selected) => selected == revision,
        // The mark of a move in which two revisions serve: they may have it.
        None => selector.contains_key(keys::SERVING) && may_lead(selector, labels),
    };
    let names = |service: &&Service| {
        let preview = ours(service) && !service.selector.contains_key(keys::SERVING);
        leads(&service.selector) && !services.contains(&service.name) && !preview
    };
    let others: Vec<String> = context.world().services(namespace).filter(names).map(|service| service.name.clone()).collect();
    for name in others {
        let live = context.api.get(Resource::Service, namespace, &name).await?;
        let selector = live.map(|live| trim::strings(&live, "/spec/selector")).unwrap_or_default();
        // One that leads by the mark of a move leads here only if a pod has it.
        let marked = match selector.get(keys::SERVING).filter(|_| !selector.contains_key(keys::REVISION)) {
            Some(mark) => {
                let which =
                    Which { labels: Some(format!("{}={mark},{}={revision}", keys::SERVING, keys::REVISION)), limit: Some(1), ..Which::default() };
                !context.api.list(Resource::Pod, namespace, which).await?.is_empty()
            }
            None => true,
        };
        if leads(&selector) && marked {
            return Err(ApiError::Invalid(format!("Service \"{name}\" still selects revision {revision}; change its selector, or delete it")));
        }
    }
    Ok(())
}

fn at(set: &SetRef, written: &Value) -> Result<SetRef, ApiError> {
    let (_, resource_version) = trim::identity(written).ok_or_else(|| ApiError::Transient("an answer had no resourceVersion".into()))?;
    Ok(SetRef { resource_version, ..set.clone() })
}

fn repaired(service: &Service, editor: Option<&str>) -> Notice {
    let editor = editor.map_or_else(|| "somebody".to_owned(), |editor| format!("field manager \"{editor}\""));
    let had: Vec<String> = service.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let had = if had.is_empty() { "nothing".to_owned() } else { had.join(",") };
    Notice {
        warning: true,
        reason: "SelectorRepaired",
        message: format!("the selector of Service \"{}\" was changed by {editor} to {had} and was put back", service.name),
    }
}

#[cfg(test)]
#[path = "tests/apply.rs"]
mod tests;
