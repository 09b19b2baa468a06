//! Whether the API server in memory answers as a real one does: requests that are played on both, and what is compared of the answers.
//!
//! Everything that the operator asks of a real API server must be among them: [`covered`] says what is, by verb, kind and answer.

mod budgets;
mod configs;
mod jobs;
mod nothing;
mod pods;

use std::collections::{BTreeMap, BTreeSet};

use bluegreen::api::keys;
use bluegreen::controller::api::{ApiError, ApiServer, Change, Dependents, Resource, Which};
use futures::FutureExt;
use serde_json::{Value, json};

use crate::json;
use crate::store::verbs::Prompt;

/// A kind of request and how it was answered: `patch replicasets 409`.
pub type Kind = String;

/// Answers worth comparing. Others say something of the way to the API server, of rights, or of plugins.
pub const COMPARED: [u16; 6] = [200, 201, 400, 404, 409, 422];

/// A namespace that does not exist, on neither: objects outlive theirs in caches for a moment.
pub const NOWHERE: &str = "fidelity-nowhere";

/// How a request with an answer of that status is called; `200` for every success, `422` also for 400.
pub fn kind(verb: &str, resource: &str, subresource: &str, code: u16) -> Kind {
    let code = match code {
        201 => 200,
        400 => 422,
        code => code,
    };
    let slash = if subresource.is_empty() { "" } else { "/" };
    format!("{verb} {resource}{slash}{subresource} {code}")
}

/// What was asked and answered.
pub struct Play<A> {
    api: A,
    namespace: String,
    /// A line for each request: what it was, and what is compared of its answer.
    pub lines: Vec<String>,
    /// Their kinds.
    pub kinds: BTreeSet<Kind>,
    versions: BTreeMap<String, String>,
}

/// Plays everything on an API server.
///
/// # Errors
/// If something that everything else needs can't be had: its name.
pub async fn play<A: ApiServer>(api: A, namespace: &str) -> Result<Play<A>, String> {
    let mut play = Play { api, namespace: namespace.into(), lines: vec![], kinds: BTreeSet::new(), versions: BTreeMap::new() };
    play.services().await.map_err(|error| format!("services: {error}"))?;
    play.replica_sets().await.map_err(|error| format!("replicasets: {error}"))?;
    play.pods().await.map_err(|error| format!("pods: {error}"))?;
    play.jobs().await.map_err(|error| format!("jobs: {error}"))?;
    play.budgets().await.map_err(|error| format!("poddisruptionbudgets: {error}"))?;
    play.configs().await.map_err(|error| format!("configmaps and secrets: {error}"))?;
    play.objects_with_status().await.map_err(|error| format!("bluegreendeployments: {error}"))?;
    play.watches().await.map_err(|error| format!("connectionwatches: {error}"))?;
    play.leases().await.map_err(|error| format!("leases: {error}"))?;
    play.nothing_there().await.map_err(|error| format!("what is not there: {error}"))?;
    for resource in [Resource::Pod, Resource::EndpointSlice, Resource::DaemonSet, Resource::Node, Resource::Lease] {
        play.list(resource, "", "none of ours").await.map_err(|error| format!("{resource:?}: {error}"))?;
    }
    Ok(play)
}

/// The kinds of requests that are compared.
///
/// # Errors
/// If the store does not play to the end.
pub fn covered() -> Result<BTreeSet<Kind>, String> {
    // It answers at once: there is nothing to wait for.
    play(Prompt::default(), "fidelity").now_or_never().ok_or("the store lets one wait")?.map(|play| play.kinds)
}

fn word(error: &ApiError) -> &'static str {
    match error {
        ApiError::Conflict => "conflict",
        ApiError::AlreadyExists => "exists already",
        ApiError::NotFound => "not found",
        ApiError::Invalid(_) => "invalid",
        ApiError::Forbidden(_) => "forbidden",
        ApiError::NotLeading => "does not lead",
        ApiError::Transient(_) => "transient",
    }
}

fn code(error: &ApiError, patch: bool) -> u16 {
    match error {
        // What a JSON patch tests for is told with 422, which the client makes a conflict of.
        ApiError::Conflict if patch => 422,
        ApiError::Conflict | ApiError::AlreadyExists => 409,
        ApiError::NotFound => 404,
        ApiError::Invalid(_) => 422,
        ApiError::Forbidden(_) => 403,
        ApiError::NotLeading | ApiError::Transient(_) => 0,
    }
}

/// A guarded merge patch.
fn guarded(version: &Value, uid: &Value, rest: Value) -> Change {
    let mut body = rest;
    if let Some(metadata) = json::object(&mut body, "metadata") {
        metadata.insert("resourceVersion".into(), version.clone());
        metadata.insert("uid".into(), uid.clone());
    }
    Change::Merge(body)
}

fn of(object: &Value, pointer: &str) -> Value {
    object.pointer(pointer).cloned().unwrap_or(Value::Null)
}

const VERSION: &str = "/metadata/resourceVersion";
const UID: &str = "/metadata/uid";

impl<A: ApiServer> Play<A> {
    fn line(&mut self, verb: &str, resource: Resource, status: bool, name: &str, about: &str, answer: &str) {
        let plural = resource.api_resource().plural;
        let sub = if status { "/status" } else { "" };
        self.lines.push(format!("{verb} {plural}{sub} {name}, {about}: {answer}"));
    }

    fn count(&mut self, verb: &str, resource: Resource, status: bool, code: u16) {
        self.kinds.insert(kind(verb, &resource.api_resource().plural, if status { "status" } else { "" }, code));
    }

    /// What is compared of an object: some of its fields, and whether it has a new version.
    fn facts(&mut self, resource: Resource, object: &Value, pointers: &[&str]) -> String {
        let version = json::text(object, VERSION).to_owned();
        let known = self.versions.insert(format!("{resource:?} {}", json::name(object)), version.clone());
        let same = known.is_some_and(|known| known == version);
        // A pod's version changes with every word of the scheduler, a Job's with those of its controller.
        let version = if matches!(resource, Resource::Pod | Resource::Job) {
            "a version"
        } else if same {
            "same version"
        } else {
            "new version"
        };
        let fields: Vec<String> = pointers.iter().map(|pointer| format!("{pointer} {}", of(object, pointer))).collect();
        [vec![version.to_owned()], fields].concat().join(", ")
    }

    async fn get(&mut self, resource: Resource, name: &str, about: &str, pointers: &[&str]) -> Result<Option<Value>, ApiError> {
        let found = self.api.get(resource, &self.namespace, name).await?;
        let answer = found.as_ref().map_or_else(|| "not found".into(), |found| self.facts(resource, found, pointers));
        self.count("get", resource, false, if found.is_some() { 200 } else { 404 });
        self.line("get", resource, false, name, about, &answer);
        Ok(found)
    }

    async fn list(&mut self, resource: Resource, labels: &str, about: &str) -> Result<(), ApiError> {
        let which = Which { labels: (!labels.is_empty()).then(|| labels.to_owned()), ..Which::default() };
        let namespace = if resource == Resource::Node { "" } else { &self.namespace };
        let found = self.api.list(resource, namespace, which).await?;
        let names: Vec<&str> = found.iter().map(json::name).filter(|name| name.starts_with("fidelity")).collect();
        self.count("list", resource, false, 200);
        self.line("list", resource, false, labels, about, &names.join(" "));
        Ok(())
    }

    async fn create(&mut self, resource: Resource, object: Value, dry_run: bool, about: &str, pointers: &[&str]) -> Result<Value, ApiError> {
        let namespace = self.namespace.clone();
        self.create_in(&namespace, resource, object, dry_run, about, pointers).await
    }

    async fn create_in(
        &mut self,
        namespace: &str,
        resource: Resource,
        object: Value,
        dry_run: bool,
        about: &str,
        pointers: &[&str],
    ) -> Result<Value, ApiError> {
        let name = json::name(&object).to_owned();
        let answer = self.api.create(resource, namespace, object, dry_run).await;
        let told = match &answer {
            // Of what was only asked there is no version.
            Ok(made) if dry_run => pointers.iter().map(|pointer| format!("{pointer} {}", of(made, pointer))).collect::<Vec<_>>().join(", "),
            Ok(made) => self.facts(resource, made, pointers),
            Err(error) => word(error).into(),
        };
        self.count("create", resource, false, answer.as_ref().map_or_else(|error| code(error, false), |_| 200));
        self.line(if dry_run { "dry run of create" } else { "create" }, resource, false, &name, about, &told);
        answer
    }

    async fn patch(
        &mut self,
        (resource, name): (Resource, &str),
        status: bool,
        change: Change,
        about: &str,
        pointers: &[&str],
    ) -> Result<Value, ApiError> {
        let tests = matches!(change, Change::Json(_));
        let answer = self.api.patch(resource, &self.namespace, name, status, change).await;
        let told = match &answer {
            Ok(object) => self.facts(resource, object, pointers),
            Err(error) => word(error).into(),
        };
        self.count("patch", resource, status, answer.as_ref().map_or_else(|error| code(error, tests), |_| 200));
        self.line("patch", resource, status, name, about, &told);
        answer
    }

    async fn delete(&mut self, resource: Resource, name: &str, (uid, version): (&Value, Option<&Value>), about: &str) -> Result<(), ApiError> {
        self.delete_with(resource, name, (uid, version), Dependents::Deleted, about).await
    }

    async fn delete_with(
        &mut self,
        resource: Resource,
        name: &str,
        (uid, version): (&Value, Option<&Value>),
        dependents: Dependents,
        about: &str,
    ) -> Result<(), ApiError> {
        let there = self.api.get(resource, &self.namespace, name).await?.is_some();
        let guard = (uid.as_str().unwrap_or_default(), version.and_then(Value::as_str));
        let answer = self.api.delete(resource, &self.namespace, name, guard, dependents).await;
        let told = answer.as_ref().map_or_else(word, |()| "done");
        // The client takes 404 for done.
        self.count("delete", resource, false, answer.as_ref().map_or_else(|error| code(error, false), |()| if there { 200 } else { 404 }));
        self.line("delete", resource, false, name, about, told);
        Ok(())
    }

    async fn services(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::Service;
        const NAME: &str = "fidelity";
        let seen = ["/spec/selector", "/metadata/annotations", "/metadata/labels"];
        self.get(KIND, NAME, "before there is one", &[]).await?;
        self.patch((KIND, NAME), false, Change::Merge(json!({"spec": {"selector": {"app": "a"}}})), "before there is one", &seen).await.ok();
        let new = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "labels": {"app": NAME}},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        });
        let made = self.create(KIND, new.clone(), false, "without a selector", &seen).await?;
        self.create(KIND, new, false, "a second time", &[]).await.ok();
        let (version, uid) = (of(&made, VERSION), of(&made, UID));
        let select = json!({"metadata": {"annotations": {keys::SELECTED: "a@1"}}, "spec": {"selector": {"app": "a", keys::REVISION: "a"}}});
        let selects = self.patch((KIND, NAME), false, guarded(&version, &uid, select.clone()), "selects", &seen).await?;
        self.patch((KIND, NAME), false, guarded(&version, &uid, select.clone()), "as of an earlier version", &seen).await.ok();
        let version = of(&selects, VERSION);
        self.patch((KIND, NAME), false, guarded(&version, &uid, select.clone()), "nothing new", &seen).await?;
        self.patch((KIND, NAME), false, guarded(&version, &json!("00000000-0000-0000-0000-000000000000"), select), "of another UID", &seen)
            .await
            .ok();
        let other = json!({"spec": {"selector": {keys::REVISION: null, "stray": "x"}}});
        self.patch((KIND, NAME), false, Change::Merge(other), "a member goes, another comes", &seen).await?;
        let last = json!({"metadata": {"annotations": {keys::SELECTED: null}}, "spec": {"selector": {"app": null, "stray": null}}});
        self.patch((KIND, NAME), false, Change::Merge(last), "the last members go", &seen).await?;
        let again = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"selector": {"app": "a"}}});
        self.patch((KIND, NAME), false, Change::Merge(again), "others come", &seen).await?;
        let none = json!({"metadata": {"annotations": null}, "spec": {"selector": null}});
        self.patch((KIND, NAME), false, Change::Merge(none), "all of them go", &seen).await?;
        let released =
            json!([{"op": "test", "path": "/metadata/uid", "value": uid}, {"op": "test", "path": "/spec/selector", "value": {"app": "a"}}]);
        self.patch((KIND, NAME), false, Change::Json(released), "a test of what is not there", &seen).await.ok();
        self.get(KIND, NAME, "as it is", &seen).await?;
        self.list(KIND, &format!("app={NAME}"), "by a label").await?;
        self.list(KIND, "app=other", "by a label that none has").await?;
        self.delete(KIND, NAME, (&json!("00000000-0000-0000-0000-000000000000"), None), "of another UID").await?;
        self.delete(KIND, NAME, (&uid, None), "of this UID").await?;
        self.get(KIND, NAME, "after it was deleted", &[]).await?;
        self.delete(KIND, NAME, (&uid, None), "a second time").await
    }

    async fn replica_sets(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::ReplicaSet;
        const NAME: &str = "fidelity-set";
        let of_template = |rest: Value| {
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": NAME, "labels": {"app": NAME}, "annotations": {keys::TEMPLATE_HASHES: "x"}},
                "spec": {
                    "replicas": 0, "selector": {"matchLabels": {"app": NAME}},
                    "template": {"metadata": {"labels": {"app": NAME}}, "spec": {"containers": [rest]}},
                },
            })
        };
        let good = || of_template(json!({"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 80}]}));
        let defaults = [
            "/spec/template/spec/restartPolicy",
            "/spec/template/spec/containers/0/imagePullPolicy",
            "/spec/template/spec/containers/0/ports/0/protocol",
            "/metadata/generation",
        ];
        let seen = ["/spec/replicas", "/metadata/generation", "/metadata/annotations", "/metadata/deletionTimestamp"];
        self.create(KIND, good(), true, "only asked", &defaults).await?;
        self.create_in(NOWHERE, KIND, good(), true, "only asked, in a namespace that is gone", &[]).await.ok();
        self.create_in(NOWHERE, KIND, good(), false, "in a namespace that is gone", &[]).await.ok();
        self.get(KIND, NAME, "after it was only asked", &[]).await?;
        self.create(KIND, of_template(json!({"name": "app", "image": "app:1", "prots": []})), true, "a misspelt field", &[]).await.ok();
        self.create(KIND, of_template(json!({"name": "app"})), true, "no image", &[]).await.ok();
        let made = self.create(KIND, good(), false, "made", &defaults).await?;
        self.create(KIND, good(), false, "a second time", &[]).await.ok();
        let (version, uid) = (of(&made, VERSION), of(&made, UID));
        let role = format!("/metadata/annotations/{}", keys::ROLE.replace('/', "~1"));
        let fence = |replicas: i64| {
            Change::Json(json!([
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "test", "path": "/metadata/deletionTimestamp", "value": null},
                {"op": "test", "path": "/spec/replicas", "value": replicas},
                {"op": "test", "path": role, "value": null},
                {"op": "add", "path": role, "value": "active@1"},
            ]))
        };
        self.patch((KIND, NAME), false, fence(1), "a fence for other replicas", &seen).await.ok();
        self.patch((KIND, NAME), false, fence(0), "a fence", &seen).await?;
        self.patch((KIND, NAME), false, fence(0), "a fence a second time", &seen).await.ok();
        let fewer = json!({"spec": {"minReadySeconds": 7}});
        self.patch((KIND, NAME), false, guarded(&version, &uid, fewer.clone()), "as of an earlier version", &seen).await.ok();
        let now = self.get(KIND, NAME, "as it is", &seen).await?.unwrap_or_default();
        let changed = self.patch((KIND, NAME), false, guarded(&of(&now, VERSION), &uid, fewer), "a new spec", &seen).await?;
        let bare = json!({"metadata": {"annotations": null}});
        self.patch((KIND, NAME), false, guarded(&of(&changed, VERSION), &uid, bare), "no annotations", &seen).await?;
        self.patch((KIND, NAME), false, fence(0), "a fence where there are no annotations", &seen).await.ok();
        self.list(KIND, &format!("app={NAME}"), "by a label").await?;
        self.delete(KIND, NAME, (&uid, Some(&version)), "of an earlier version").await?;
        self.delete(KIND, NAME, (&uid, None), "of this UID").await?;
        self.get(KIND, NAME, "after it was deleted", &[]).await?;
        let made = self.create(KIND, good(), false, "made again", &defaults).await?;
        let uid = of(&made, UID);
        self.delete_with(KIND, NAME, (&uid, Some(&version)), Dependents::Kept, "of an earlier version, without its pods").await?;
        // When it is gone is the garbage collector's affair.
        self.delete_with(KIND, NAME, (&uid, None), Dependents::Kept, "of this UID, without its pods").await
    }

    async fn objects_with_status(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::BlueGreenDeployment;
        const NAME: &str = "fidelity-object";
        let new = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "metadata": {"name": NAME, "annotations": {"a": "1"}},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": NAME}}, "traffic": {"services": [NAME]},
                "template": {"metadata": {"labels": {"app": NAME}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}},
            },
            "status": {"phase": "Complete"},
        });
        let seen = ["/spec/replicas", "/metadata/generation", "/metadata/annotations", "/status/phase", "/status/revision"];
        self.get(KIND, NAME, "before there is one", &seen).await?;
        self.patch((KIND, NAME), true, Change::Merge(json!({"status": {"phase": "Smoke"}})), "before there is one", &seen).await.ok();
        let made = self.create(KIND, new, false, "with a status that is not taken", &seen).await?;
        let (version, uid) = (of(&made, VERSION), of(&made, UID));
        let told = json!({"status": {"phase": "Smoke", "revision": "a"}, "spec": {"replicas": 5}, "metadata": {"annotations": {"b": "2"}}});
        let status = self.patch((KIND, NAME), true, guarded(&version, &uid, told.clone()), "the status and nothing else", &seen).await?;
        self.patch((KIND, NAME), true, guarded(&version, &uid, told), "as of an earlier version", &seen).await.ok();
        let again = json!({"status": {"phase": "Smoke"}});
        self.patch((KIND, NAME), true, guarded(&of(&status, VERSION), &uid, again), "nothing new", &seen).await?;
        self.patch((KIND, NAME), true, Change::Merge(json!({"status": {"revision": null}})), "a member goes", &seen).await?;
        self.patch((KIND, NAME), false, Change::Merge(json!({"spec": {"replicas": 2}, "status": {"phase": "Drain"}})), "all but the status", &seen)
            .await?;
        self.patch((KIND, NAME), false, Change::Merge(json!({"metadata": {"annotations": {"a": null}}})), "an annotation goes", &seen).await?;
        self.get(KIND, NAME, "as it is", &seen).await?;
        self.list(KIND, "", "all of them").await?;
        self.delete(KIND, NAME, (&uid, None), "of this UID").await
    }

    async fn watches(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::ConnectionWatch;
        const NAME: &str = "fidelity-watch";
        let pod = |round: i64| json!({"uid": "a", "round": round, "ports": [80], "ignore": []});
        let new = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "ConnectionWatch", "metadata": {"name": NAME},
            "spec": {"reportSeconds": 2, "pods": [pod(1)]},
        });
        let seen = ["/spec", "/metadata/generation", "/status/sequence"];
        self.patch((KIND, NAME), false, Change::Merge(json!({"spec": {"reportSeconds": 3}})), "before there is one", &seen).await.ok();
        let made = self.create(KIND, new.clone(), false, "made", &seen).await?;
        self.create(KIND, new, false, "a second time", &[]).await.ok();
        let (version, uid) = (of(&made, VERSION), of(&made, UID));
        let more = json!({"spec": {"pods": [pod(1), pod(2)]}});
        self.patch((KIND, NAME), false, guarded(&version, &uid, more.clone()), "an array is replaced as a whole", &seen).await?;
        self.patch((KIND, NAME), false, guarded(&version, &uid, more), "as of an earlier version", &seen).await.ok();
        let report = json!({"status": {"bootId": "b", "sequence": 1, "pods": []}});
        self.patch((KIND, NAME), true, Change::Merge(report), "a report", &seen).await?;
        self.get(KIND, NAME, "as it is", &seen).await?;
        self.list(KIND, "", "all of them").await?;
        self.delete(KIND, NAME, (&uid, Some(&version)), "of an earlier version").await?;
        self.delete(KIND, NAME, (&uid, None), "of this UID").await?;
        self.delete(KIND, NAME, (&uid, None), "a second time").await
    }

    async fn leases(&mut self) -> Result<(), ApiError> {
        const KIND: Resource = Resource::Lease;
        const NAME: &str = "fidelity-lease";
        let new = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME},
            "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15},
        });
        let seen = ["/spec/holderIdentity", "/spec/leaseDurationSeconds"];
        self.get(KIND, NAME, "before there is one", &[]).await?;
        let made = self.create(KIND, new.clone(), false, "made", &seen).await?;
        self.create(KIND, new, false, "a second time", &[]).await.ok();
        let version = of(&made, VERSION);
        let taken = |version: &Value| Change::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "b"}}));
        let after = self.patch((KIND, NAME), false, taken(&version), "taken", &seen).await?;
        self.patch((KIND, NAME), false, taken(&version), "as of an earlier version", &seen).await.ok();
        let back = json!({"metadata": {"resourceVersion": of(&after, VERSION)}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
        self.patch((KIND, NAME), false, Change::Merge(back), "given back", &seen).await?;
        self.get(KIND, NAME, "as it is", &seen).await?;
        self.delete(KIND, NAME, (&of(&made, UID), None), "of this UID").await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_store_plays_to_the_end() {
        let covered = covered().unwrap();
        assert!(covered.contains("patch replicasets 422"), "{covered:?}");
        assert!(covered.contains("patch services 409"), "{covered:?}");
        assert!(covered.contains("patch replicasets 404"), "{covered:?}");
        assert!(covered.contains("patch bluegreendeployments/status 200"), "{covered:?}");
    }
}
