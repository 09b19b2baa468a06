//! Names and identities of revisions.
//!
//! Whether two templates are the same revision is decided by the API server's own normalisation of them, as in the Deployment
//! controller. The hashes here name things; the algorithm is frozen by golden tests, since names already exist in clusters.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::{BlueGreenDeploymentSpec, HookPoint, RoleMetadata, SmokeProbe, keys};

use super::config::ConfigName;
use super::set::Set;
use super::snapshot::Object;

/// Letters of generated names: no vowels, so that no words come out (the alphabet of apimachinery's `SafeEncodeString`).
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters of a revision's name.
const LENGTH: usize = 10;

/// Hash of a template as the user wrote it, independent of the order of keys. It only saves asking the API server again.
pub fn raw_hash(template: &Value) -> String {
    hex(&canonical(template), 16)
}

/// Name of the revision of a new template: a hash of the object's name, the template and the number of collisions so far.
pub fn revision_name(object: &str, template: &Value, collisions: i32) -> String {
    let mut hasher = Sha256::new();
    hasher.update(object.as_bytes());
    hasher.update([0]);
    hasher.update(canonical(template).as_bytes());
    hasher.update(collisions.to_be_bytes());
    word(hasher)
}

/// Name of the Job of one run of a hook: it follows from what it is for, so that whoever comes next finds the same Job. The run is told by
/// revision, number of the move, and how often it was repeated.
pub fn job_name(object: &Object, point: HookPoint, hook: &str, (revision, attempt, run): (&str, i64, i32)) -> String {
    let mut hasher = Sha256::new();
    for part in [object.uid.as_str(), point.field(), hook, revision] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    // A hook that has run has run. A test that was changed is another one.
    let test = object.spec.jobs_at(point).into_iter().find(|job| point == HookPoint::SmokeProbes && job.name == hook);
    if let Some(test) = test {
        hasher.update(canonical(test.template).as_bytes());
    }
    hasher.update(attempt.to_be_bytes());
    hasher.update(run.to_be_bytes());
    // Its pods get a label with it, which holds 63 characters, and those of an Indexed Job a name with a number after it; as long as a CronJob's.
    let short: String = format!("{}-{hook}", object.name).chars().take(52 - LENGTH - 1).collect();
    format!("{}-{}", short.trim_end_matches(['-', '.']), word(hasher))
}

/// Longest name of an object.
const NAME: usize = 253;

/// Name of the copy of a ConfigMap or Secret with this content, made for a BlueGreenDeployment. It follows from its name and not from its UID, so
/// that another one of the same name finds the copies that its ReplicaSets refer to.
pub fn copy_name(object: &str, source: &ConfigName, digest: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [object, source.kind.name(), &source.name, digest] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    format!("{}-{}", copy_stem(&source.name), word(hasher))
}

/// What the names of an object's copies begin with.
pub fn copy_stem(source: &str) -> &str {
    let mut end = source.len().min(NAME - LENGTH - 1);
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    source.get(..end).unwrap_or_default().trim_end_matches(['-', '.'])
}

/// What a name that may be a copy's begins with.
pub fn copy_of(name: &str) -> Option<&str> {
    let (stem, word) = name.rsplit_once('-')?;
    (word.len() == LENGTH && word.bytes().all(|letter| ALPHABET.contains(&letter))).then_some(stem)
}

/// Hash of what a ConfigMap or Secret holds: two with the same are the same to every pod.
pub fn config_digest(object: &Value) -> String {
    let held = |field: &str| object.get(field).filter(|value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()));
    let all: BTreeMap<&str, &Value> = ["binaryData", "data", "type"].into_iter().filter_map(|field| Some((field, held(field)?))).collect();
    hex(&canonical(&plain(&all)), 32)
}

fn word(hasher: Sha256) -> String {
    let letters = u8::try_from(ALPHABET.len()).unwrap_or(u8::MAX);
    hasher.finalize().iter().take(LENGTH).filter_map(|byte| ALPHABET.get(usize::from(byte % letters)).map(|letter| char::from(*letter))).collect()
}

/// Hash of all Jobs of a spec: the API server was asked about exactly these.
pub fn jobs_hash(spec: &BlueGreenDeploymentSpec) -> String {
    let jobs = HookPoint::ALL.into_iter().flat_map(|point| spec.jobs_at(point));
    hex(&canonical(&Value::Array(jobs.map(|job| json!([job.path(), job.template])).collect())), 8)
}

/// Identity of a template that the API server has normalised.
pub fn template_identity(normalised: &Value) -> String {
    hex(&canonical(&bare(normalised.clone())), 32)
}

/// A pod template without what this operator, a Deployment and the API server add to every one.
pub fn bare(mut template: Value) -> Value {
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.retain(|key, _| !key.starts_with(keys::PREFIX) && key != keys::POD_TEMPLATE_HASH);
        }
    }
    template
}

/// The ReplicaSet that a template means, of those that have this template: the one that was started anew last.
pub fn meant(sets: &[Set], has: impl Fn(&Set) -> bool) -> Option<&Set> {
    sets.iter().filter(|set| !set.deleting && has(set)).max_by_key(|set| (set.restarts, std::cmp::Reverse(&set.name)))
}

/// The ReplicaSet that a template means, by the hash of its text: whatever the API server makes the same of, in any spelling, is the same.
pub fn known<'a>(sets: &'a [Set], raw_hash: &str) -> Option<&'a Set> {
    let spelt = meant(sets, |set| set.template_hashes.iter().any(|hash| hash == raw_hash))?;
    meant(sets, |set| set.template_identity == spelt.template_identity).or(Some(spelt))
}

/// Hash of the smoke probes: a proof is for exactly these.
pub fn probes_hash(probes: &[SmokeProbe]) -> String {
    hex(&canonical(&plain(probes)), 8)
}

/// Hash of what pods are to bear.
pub fn metadata_hash(metadata: &RoleMetadata) -> String {
    hex(&canonical(&plain(metadata)), 8)
}

fn plain<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// JSON with sorted keys: serde_json's map is a BTreeMap here.
fn canonical(value: &Value) -> String {
    value.to_string()
}

fn hex(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_frozen() {
        let template = json!({"spec": {"containers": [{"name": "a", "image": "b"}]}, "metadata": {"labels": {"app": "shop"}}});
        assert_eq!(revision_name("shop", &template, 0), "fwvkmmmbc4");
        assert_ne!(revision_name("shop", &template, 0), revision_name("shop", &template, 1));
        assert_ne!(revision_name("shop", &template, 0), revision_name("cart", &template, 0));
    }

    /// What passed is written down for exactly these probes: a newer operator must find the same in them, whatever fields it adds.
    #[test]
    fn probes_without_newer_fields_keep_their_hash() {
        let hash = |probe: Value| probes_hash(&[serde_json::from_value(probe).unwrap()]);
        assert_eq!(hash(json!({"name": "home", "httpGet": {"port": "http"}})), "b6c094b3afdf4fb9");
        assert_eq!(hash(json!({"name": "up", "grpc": {"port": 9090}})), "f13e79aeb6a530c4");
        let newer = json!({"name": "home", "httpGet": {"port": "http", "expect": {"headers": [{"name": "x"}]}}});
        assert_ne!(hash(newer), "b6c094b3afdf4fb9");
    }

    #[test]
    fn order_of_keys_does_not_count_and_our_label_neither() {
        let one: Value = serde_json::from_str(r#"{"a":1,"metadata":{"labels":{"app":"x"}}}"#).unwrap();
        let two: Value =
            serde_json::from_str(r#"{"metadata":{"labels":{"bluegreen.dev/revision":"abc","app":"x"},"creationTimestamp":null},"a":1}"#).unwrap();
        assert_eq!(template_identity(&one), template_identity(&two));
        let taken_over: Value = serde_json::from_str(r#"{"a":1,"metadata":{"labels":{"pod-template-hash":"5d4f","app":"x"}}}"#).unwrap();
        assert_eq!(template_identity(&one), template_identity(&taken_over));
        let other: Value = serde_json::from_str(r#"{"a":2,"metadata":{"labels":{"app":"x"}}}"#).unwrap();
        assert_ne!(template_identity(&one), template_identity(&other));
    }

    #[test]
    fn a_bare_template_is_the_users_own() {
        let template = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "shop", "bluegreen.dev/revision": "abc"}}, "spec": {"a": 1}});
        assert_eq!(bare(template), json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"a": 1}}));
        assert_eq!(bare(json!({"spec": {}})), json!({"spec": {}}));
    }

    #[test]
    fn any_spelling_of_a_template_means_the_set_that_was_started_anew_last() {
        let of = |name: &str, identity: &str, hashes: &[&str], restarts: i64| Set {
            template_identity: identity.into(),
            template_hashes: hashes.iter().map(|hash| (*hash).to_owned()).collect(),
            restarts,
            ..crate::release::tests::fixtures::set(name, crate::release::Color::Blue, 0)
        };
        let sets = [of("first", "same", &["a", "b"], 0), of("anew", "same", &["b"], 1), of("other", "else", &["c"], 0)];
        let meant = |hash: &str| known(&sets, hash).map(|set| set.revision.as_str());
        assert_eq!((meant("a"), meant("b"), meant("c"), meant("d")), (Some("anew"), Some("anew"), Some("other"), None));
    }
}
