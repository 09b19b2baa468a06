//! What `adopt` writes: a BlueGreenDeployment in place of a Deployment, and the marks by which the operator knows its ReplicaSets for revisions
//! that have served. The serving ReplicaSet goes on as it is, so no pod is started and none ends.

use std::collections::BTreeMap;

use bluegreen::api::keys;
use bluegreen::controller::trim;
use bluegreen::controller::world::heir;
use bluegreen::release::revision::{bare, template_identity};
use bluegreen::release::services::{Block, matches_template};
use bluegreen::release::{Color, Role, RoleKind};
use serde_json::{Map, Value, json};

use crate::hand::{self, copied};

/// Why a Deployment can't be taken over as it stands, if so: while it moves pods, nobody can say which of them are to serve.
pub fn held_up(deployment: &Value) -> Option<String> {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    if let Some((kind, name, _)) = trim::controller(deployment) {
        return Some(format!("{kind} \"{name}\" controls it, and would make it again; take it out of that first"));
    }
    if deployment.pointer("/metadata/deletionTimestamp").is_some() {
        return Some("it is being deleted".into());
    }
    if deployment.pointer("/spec/selector/matchExpressions").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Some("its spec.selector has matchExpressions, which a BlueGreenDeployment can't have".into());
    }
    if deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return Some("it is paused; kubectl rollout resume it first".into());
    }
    moving(deployment).then(|| {
        format!(
            "its rollout is not complete: {} of {} pods are of its template, {} are available; kubectl rollout status waits for it",
            number("/status/updatedReplicas"),
            number("/spec/replicas"),
            number("/status/availableReplicas"),
        )
    })
}

/// Whether a Deployment starts or ends pods, as far as it knows.
pub fn moving(deployment: &Value) -> bool {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    let other = |count: &&str| number(&format!("/status/{count}")) != number("/spec/replicas");
    number("/status/observedGeneration") < number("/metadata/generation") || counts.iter().any(other)
}

/// Another Deployment that would take the ReplicaSet for its own as soon as it is nobody's, and scale it to zero: its selector is wider.
pub fn rival(set: &Value, name: &str, deployments: &[Value]) -> Option<String> {
    let labels = trim::strings(set, "/metadata/labels");
    let fits = |expression: &Value| {
        let key = trim::text(expression, "/key").unwrap_or_default();
        let value = labels.get(&key);
        let among = || trim::list(expression, "/values").any(|known| known.as_str() == value.map(String::as_str));
        match expression.get("operator").and_then(Value::as_str) {
            Some("In") => value.is_some() && among(),
            Some("NotIn") => value.is_none() || !among(),
            Some("Exists") => value.is_some(),
            _ => value.is_none(),
        }
    };
    let claims = |other: &&Value| {
        let equal = trim::strings(other, "/spec/selector/matchLabels").iter().all(|(key, value)| labels.get(key) == Some(value));
        equal && trim::list(other, "/spec/selector/matchExpressions").all(fits)
    };
    let others = deployments.iter().filter_map(|other| Some((trim::text(other, "/metadata/name")?, other)));
    let (rival, _) = others.filter(|(other, _)| other != name).find(|(_, other)| claims(other))?;
    Some(format!("Deployment \"{rival}\" has a selector that matches its pods, too, and would end them; give that one a narrower selector first"))
}

/// The changes that an object which an earlier call has made needs, so that it says what the Deployment says now. All else may be somebody's.
/// `None` if it says all of it.
pub fn renewed(object: &Value, held: &Value) -> Option<Value> {
    let mut patch = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": object.pointer("/metadata/resourceVersion")})];
    let path = format!("/metadata/annotations/{}", keys::ADOPTING.replace('/', "~1"));
    if trim::annotation(object, keys::ADOPTING) != trim::annotation(held, keys::ADOPTING) {
        patch.push(json!({"op": "add", "path": path, "value": trim::annotation(held, keys::ADOPTING)}));
    }
    for field in ["paused", "replicas", "minReadySeconds", "template", "traffic/services"] {
        let at = format!("/spec/{field}");
        if let Some(wanted) = held.pointer(&at).filter(|wanted| object.pointer(&at) != Some(wanted)) {
            patch.push(json!({"op": "add", "path": at, "value": wanted}));
        }
    }
    (patch.len() > 1).then_some(Value::Array(patch))
}

/// Names of the Services that lead to pods of a template.
pub fn services(template: &Value, services: &[Value]) -> Vec<String> {
    let labels = trim::strings(template, "/metadata/labels");
    let labels: BTreeMap<&str, &str> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let leads = services.iter().filter(|service| matches_template(&trim::strings(service, "/spec/selector"), &labels));
    let mut names: Vec<String> = leads.filter_map(|service| trim::text(service, "/metadata/name")).collect();
    names.sort();
    names
}

/// Why a Service can't be taken over, if an earlier BlueGreenDeployment has left it as its own, or if somebody applies its selector on the server's side. What the operator says of it does not do here: a
/// selector that its only owner takes out of the manifest is gone, with all of the traffic.
pub fn applied(service: &Value) -> Option<String> {
    if trim::annotation(service, keys::OWNER).is_some() {
        let (name, keys) = (trim::text(service, "/metadata/name")?, format!("{}- {}-", keys::OWNER, keys::SELECTED));
        let remedy = format!("kubectl annotate service {name} {keys} takes them off");
        return Some(format!("Service \"{name}\" bears the annotations of a BlueGreenDeployment; if that is no more, {remedy} (ServiceOwnedBy)"));
    }
    let service = trim::service(service)?;
    let applier = service.applier?;
    Some(format!(
        "the selector of Service \"{}\" is owned by \"{applier}\" through server-side apply, which would undo this at its next sync. Do not just remove it from the manifest: traffic would end. Give it a second owner first, as docs/migrate.md shows (SelectorOwnedBy)",
        service.name
    ))
}

/// What the operator would complain of, in words that fit a Deployment which still runs.
pub fn words(block: &Block) -> String {
    let words = match block.reason {
        "ServiceServesOthers" => {
            let (what, _) = block.message.split_once("; ").unwrap_or((&block.message, ""));
            format!("{what}. Pods of the last rollout that are still ending count, too: then try again when they are gone")
        }
        _ => block.message.clone(),
    };
    format!("{words} ({})", block.reason)
}

/// The BlueGreenDeployment that says what a Deployment says.
pub fn manifest(deployment: &Value, services: &[String]) -> Value {
    let mut metadata = Map::from_iter([("name".to_owned(), deployment.pointer("/metadata/name").cloned().unwrap_or_default())]);
    copied(deployment, &mut metadata);
    let mut spec = Map::new();
    for field in ["replicas", "minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit", "selector"] {
        if let Some(value) = deployment.pointer(&format!("/spec/{field}")) {
            spec.insert(field.into(), value.clone());
        }
    }
    spec.insert("template".into(), bare(deployment.pointer("/spec/template").cloned().unwrap_or_default()));
    spec.insert("traffic".into(), json!({"services": services}));
    json!({"apiVersion": hand::OURS.0, "kind": hand::OURS.1, "metadata": metadata, "spec": spec})
}

/// The same while the ReplicaSets change hands: the operator only looks on.
pub fn held(mut manifest: Value, deployment: &str) -> Value {
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".into(), json!({keys::ADOPTING: deployment}));
    }
    if let Some(spec) = manifest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("paused".into(), true.into());
    }
    manifest
}

/// A ReplicaSet that changes hands.
#[derive(Clone, Debug, PartialEq)]
pub struct Heir {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The revision that it is from now on.
    pub revision: String,
    /// Hash of its template.
    pub identity: String,
    /// `spec.replicas`.
    replicas: i64,
    /// Whether it serves; the others are history.
    pub serves: bool,
    /// How often its template counts as started anew: of several with the same the one that serves is what that means.
    restarts: i64,
}

/// The ReplicaSets of a Deployment `name` that are nobody's, or those of `owner` already. The one with the most pods serves, and where none has
/// any, that of the template with this `identity`. Revisions are named as the Deployment controller has named the ReplicaSets: what comes
/// after the name of the Deployment.
pub fn heirs(sets: &[Value], name: &str, owner: &str, selector: &BTreeMap<String, String>, identity: &str) -> Vec<Heir> {
    let of = |set: &Value| {
        let theirs = trim::controller(set).is_some_and(|(_, _, uid)| uid != owner);
        let labels = trim::strings(set, "/metadata/labels");
        if theirs || set.pointer("/metadata/deletionTimestamp").is_some() || !selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            return None;
        }
        let own = trim::text(set, "/metadata/name")?;
        // One that was a revision before is it again. A label alone says nothing: a Deployment that was made of a BlueGreenDeployment may
        // have it in its template, and with it all ReplicaSets that it has made since.
        let before = trim::set(set).filter(|before| heir(before) == Some(name));
        let revision = match before {
            Some(before) => before.revision,
            None => own.strip_prefix(name)?.strip_prefix('-')?.to_owned(),
        };
        let identity = template_identity(set.pointer("/spec/template")?);
        let replicas = set.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        Some(Heir { name: own, uid: trim::text(set, "/metadata/uid")?, revision, identity, replicas, serves: false, restarts: trim::restarts(set) })
    };
    let mut heirs: Vec<Heir> = sets.iter().filter_map(of).collect();
    let serving = heirs.iter().max_by_key(|heir| (heir.replicas, heir.identity == identity, std::cmp::Reverse(&heir.name))).cloned();
    if let Some(serving) = serving.filter(|heir| heir.replicas > 0 || heir.identity == identity) {
        let twins = heirs.iter().filter(|heir| heir.identity == serving.identity && heir.uid != serving.uid).map(|heir| heir.restarts).max();
        for heir in heirs.iter_mut().filter(|heir| heir.uid == serving.uid) {
            heir.serves = true;
            heir.restarts = twins.map_or(heir.restarts, |most| heir.restarts.max(most + 1));
        }
    }
    heirs
}

/// The labels of a revision, on a ReplicaSet and in its template: pods that it starts from now on have them. One that has served and has no
/// pods is history. `None` where it has all of it.
/// And from now on it is `owner`'s, an object by its UID: nobody else may take it.
pub fn set_patch(set: &Value, heir: &Heir, (name, owner): (&str, &str)) -> Option<Value> {
    let color = if heir.serves { Color::Blue } else { Color::Green };
    let mut labels = heir.labels(name);
    let inner = labels.clone();
    labels.extend([(keys::NAME.to_owned(), json!(name)), (keys::COLOR.to_owned(), json!(color.name()))]);
    // What the Deployment controller notes for its own scaling would keep a later one from rolling out.
    let mut annotations: Map<String, Value> = hand::NOTES.iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
    if !heir.serves && heir.replicas == 0 {
        annotations.insert(keys::ROLE.into(), json!(Role::retired(0).text()));
    }
    if heir.restarts > 0 {
        annotations.insert(keys::RESTARTS.into(), json!(heir.restarts.to_string()));
    }
    let mut patch = json!({
        "metadata": {"uid": heir.uid, "labels": labels, "annotations": annotations},
        "spec": {"template": {"metadata": {"labels": inner}}},
    });
    if trim::controller(set).is_none()
        && let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let owner = json!([{"apiVersion": hand::OURS.0, "kind": hand::OURS.1, "name": name, "uid": owner, "controller": true}]);
        metadata.insert("ownerReferences".into(), owner);
        metadata.insert("resourceVersion".into(), set.pointer("/metadata/resourceVersion").cloned().unwrap_or_default());
    }
    (merged(set, &patch) != merged(set, &json!({"metadata": {"annotations": {}}}))).then_some(patch)
}

impl Heir {
    /// What its pods bear. The first of its revision has no number, whatever the template of an earlier Deployment says: a successor would
    /// take pods with its number for its own.
    fn labels(&self, name: &str) -> Map<String, Value> {
        let mut labels = Map::from_iter([(keys::REVISION.to_owned(), json!(self.revision))]);
        if format!("{name}-{}", self.revision) == self.name {
            labels.insert(keys::ISSUE.into(), Value::Null);
        }
        labels
    }
}

/// The fence that says which ReplicaSet serves: with it the operator knows whom traffic goes to. Written when every pod has its label.
/// `None` where it says so already.
pub fn serving(sets: &[Value], heir: &Heir) -> Option<Value> {
    let role = |set: &Value| trim::annotation(set, keys::ROLE).and_then(Role::parse);
    let is = |set: &&Value| trim::text(set, "/metadata/uid").as_ref() == Some(&heir.uid);
    // Of an earlier life here the highest number counts.
    let most = sets.iter().filter_map(role).map(|role| role.attempt).max().unwrap_or(0);
    let has = sets.iter().find(is).and_then(role).is_some_and(|role| role.kind == RoleKind::Serving && role.attempt == most);
    (!has).then(|| json!({"metadata": {"uid": heir.uid, "annotations": {keys::ROLE: Role::serving(most + 1).text()}}}))
}

/// A pod's labels. `None` where it has them.
pub fn pod_patch(pod: &Value, heir: &Heir, name: &str) -> Option<Value> {
    let patch = json!({"metadata": {"uid": trim::text(pod, "/metadata/uid"), "labels": heir.labels(name)}});
    (merged(pod, &patch) != *pod).then_some(patch)
}

/// An object as it is after a merge patch (RFC 7386).
pub fn merged(object: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            merged.remove(key);
        } else {
            let old = merged.get(key).cloned().unwrap_or_default();
            merged.insert(key.clone(), self::merged(&old, value));
        }
    }
    Value::Object(merged)
}

/// A ReplicaSet and its pods as they will be: what the operator would find wrong then, it can be asked now.
pub fn foreseen(set: &Value, pods: &[Value], heir: &Heir, object: &Value) -> (Value, Vec<Value>) {
    let text = |field: &str| trim::text(object, &format!("/metadata/{field}")).unwrap_or_default();
    let (name, owner) = (text("name"), text("uid"));
    let free = merged(set, &json!({"metadata": {"ownerReferences": null}}));
    let set = set_patch(&free, heir, (&name, &owner)).map_or_else(|| free.clone(), |patch| merged(&free, &patch));
    let pods = pods.iter().map(|pod| pod_patch(pod, heir, &name).map_or_else(|| pod.clone(), |patch| merged(pod, &patch)));
    (set, pods.collect())
}

#[cfg(test)]
#[path = "tests/adopt.rs"]
mod tests;
