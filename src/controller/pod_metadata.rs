//! Writes on a pod what it bears because of its role, and takes off what it bore because of another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::api::{RoleMetadata, keys};
use crate::release::action::{Notice, PodRef, RoleChange};
use crate::release::metadata::{PodRole, Record};
use crate::release::{Object, Snapshot, revision};

use super::api::{ApiError, ApiServer};
use super::context::Context;
use super::memory::Unwritten;
use super::part;
use super::trim;

/// So many pods are written in one pass: whatever happens meanwhile is looked at in between.
const AT_ONCE: usize = 8;
/// Seconds until the next pass.
const NEXT: f64 = 0.05;
/// A pod that changed meanwhile is tried again after so long.
const CHANGED: Duration = Duration::from_secs(1);
/// And one on which it was refused, or failed, after so long.
const REFUSED: Duration = Duration::from_secs(30);

/// Writes on some pods what they are to bear. Nothing depends on it: a failure holds up neither the release nor the other pods. Answers
/// after how many seconds to go on, if something is left.
pub async fn write<A: ApiServer>(context: &Context<A>, snapshot: &Snapshot, changes: &[RoleChange]) -> Option<f64> {
    let object = &snapshot.object;
    let now = context.clock.now().mono;
    let all: Vec<(&RoleChange, &PodRef)> = changes.iter().flat_map(|change| change.pods.iter().map(move |pod| (change, pod))).collect();
    let waiting = context.remember(&object.uid, |remembered| {
        remembered.unwritten.retain(|uid, _| all.iter().any(|(_, pod)| pod.uid == *uid));
        remembered.unwritten.clone()
    });
    let due: Vec<_> = all.iter().filter(|(_, pod)| waiting.get(&pod.uid).is_none_or(|wait| wait.until <= now)).collect();
    // One refusal speaks for all; that another pod only changed says nothing.
    let mut silent = waiting.values().any(|wait| wait.refused);
    for (change, pod) in due.iter().take(AT_ONCE) {
        let Err(error) = set(context, object, pod, change.role, &change.wanted).await else { continue };
        let refused = matches!(error, ApiError::Forbidden(_) | ApiError::Invalid(_));
        let wait = Unwritten { until: now + if error == ApiError::Conflict { CHANGED } else { REFUSED }, refused };
        context.remember(&object.uid, |remembered| remembered.unwritten.insert(pod.uid.clone(), wait));
        if refused && !std::mem::replace(&mut silent, true) {
            let message = format!("what spec.podMetadata says, or that it drains, can't be written on pod \"{}\": {error}", pod.name);
            context.say(object, &Notice { warning: true, reason: "PodMetadataRefused", message });
        }
    }
    let left = context.remember(&object.uid, |remembered| {
        remembered.unwritten.values().map(|wait| wait.until).min().map(|until| until.saturating_sub(now).as_secs_f64())
    });
    let more = (due.len() > AT_ONCE).then_some(NEXT);
    more.into_iter().chain(left.map(|left| left.max(NEXT))).reduce(f64::min)
}

/// Reads the pod live, as its version changes with every word of its kubelet, and writes it at that version.
async fn set<A: ApiServer>(context: &Context<A>, object: &Object, pod: &PodRef, role: PodRole, wanted: &RoleMetadata) -> Result<(), ApiError> {
    match part::alive(context, object, pod).await? {
        Some(live) => {
            // What tells a pod that it is being left is another step's, and stays.
            let mut others = object.spec.selector.match_labels.clone();
            others.extend(
                object.spec.drain.begin.iter().filter_map(|begin| begin.label.as_ref()).map(|label| (label.key.clone(), label.value.clone())),
            );
            part::write(context, object, pod, patch(&live, role, wanted, &others)).await
        }
        None => Ok(()),
    }
}

/// Gives a pod a label that a step waits for.
pub async fn label<A: ApiServer>(context: &Context<A>, object: &Object, pod: &PodRef, key: &str, value: &str) -> Result<(), ApiError> {
    let Some(live) = part::alive(context, object, pod).await? else { return Ok(()) };
    let mut metadata = part::guard(&live);
    metadata.insert("labels".into(), json!({key: value}));
    part::write(context, object, pod, json!({"metadata": metadata})).await
}

fn patch(live: &Value, role: PodRole, wanted: &RoleMetadata, selector: &BTreeMap<String, String>) -> Value {
    let had = trim::metadata(live);
    let none = vec![];
    let (had_labels, had_annotations) = had.as_ref().map_or((&none, &none), |record| (&record.labels, &record.annotations));
    // Somebody may have written into the record what was never ours to take off.
    let (labels, added) = change(&trim::strings(live, "/metadata/labels"), had_labels, &wanted.labels, selector);
    let (mut annotations, noted) = change(&trim::strings(live, "/metadata/annotations"), had_annotations, &wanted.annotations, &BTreeMap::new());
    let record = Record { role, hash: revision::metadata_hash(wanted), labels: added, annotations: noted };
    let bare = *wanted == RoleMetadata::default();
    annotations.insert(keys::METADATA.into(), if bare { Value::Null } else { json!(json!(record).to_string()) });
    let mut metadata = part::guard(live);
    metadata.insert("labels".into(), Value::Object(labels));
    metadata.insert("annotations".into(), Value::Object(annotations));
    json!({"metadata": metadata})
}

/// What is to change, and what is ours then. A key that the pod has from elsewhere stays as it is.
fn change(
    has: &BTreeMap<String, String>,
    had: &[String],
    wanted: &BTreeMap<String, String>,
    selector: &BTreeMap<String, String>,
) -> (Map<String, Value>, Vec<String>) {
    let foreign = |key: &String| key.starts_with(keys::PREFIX) || key == keys::POD_TEMPLATE_HASH || selector.contains_key(key);
    let gone = had.iter().filter(|key| !wanted.contains_key(*key) && !foreign(key));
    let mut change: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    let mut ours = vec![];
    for (key, value) in wanted.iter().filter(|(key, _)| had.contains(key) || !has.contains_key(*key)) {
        change.insert(key.clone(), json!(value));
        ours.push(key.clone());
    }
    (change, ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(labels: &Value, annotations: &Value) -> Value {
        json!({"metadata": {"uid": "u", "resourceVersion": "7", "labels": labels, "annotations": annotations}})
    }

    fn metadata(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> RoleMetadata {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        RoleMetadata { labels: map(labels), annotations: map(annotations) }
    }

    fn selector() -> BTreeMap<String, String> {
        BTreeMap::from([("app".into(), "shop".into())])
    }

    /// As the API server carries it out.
    fn patched(mut pod: Value, patch: &Value) -> Value {
        for of in ["labels", "annotations"] {
            let has = pod["metadata"][of].as_object_mut().unwrap();
            for (key, value) in patch["metadata"][of].as_object().unwrap() {
                if value.is_null() { drop(has.remove(key)) } else { drop(has.insert(key.clone(), value.clone())) }
            }
        }
        pod
    }

    #[test]
    fn what_a_role_brought_goes_with_it_and_nothing_else() {
        let first = pod(&json!({"app": "shop", "tier": "own"}), &json!({"safe": "true"}));
        let wanted = metadata(&[("role", "active"), ("tier", "other")], &[("safe", "false"), ("note", "x")]);
        let active = patched(first.clone(), &patch(&first, PodRole::Active, &wanted, &selector()));
        // What the template says stays.
        assert_eq!(active["metadata"]["labels"], json!({"app": "shop", "tier": "own", "role": "active"}));
        assert_eq!((&active["metadata"]["annotations"]["safe"], &active["metadata"]["annotations"]["note"]), (&json!("true"), &json!("x")));
        assert_eq!(trim::metadata(&active).unwrap().labels, ["role"]);
        let left = metadata(&[("role", "draining")], &[]);
        let draining = patched(active.clone(), &patch(&active, PodRole::Draining, &left, &selector()));
        assert_eq!(draining["metadata"]["labels"], json!({"app": "shop", "tier": "own", "role": "draining"}));
        assert!(draining["metadata"]["annotations"].get("note").is_none());
        let bare = patched(draining.clone(), &patch(&draining, PodRole::Active, &RoleMetadata::default(), &selector()));
        assert_eq!(bare, first);
    }

    #[test]
    fn a_record_that_somebody_wrote_by_hand_takes_nothing_off_that_is_the_operators() {
        let record = json!({"role": "active", "hash": "x", "labels": ["bluegreen.dev/revision", "pod-template-hash", "app", "role"], "annotations": ["bluegreen.dev/left"]});
        let pod = pod(
            &json!({"bluegreen.dev/revision": "r", "app": "shop", "role": "x"}),
            &json!({"bluegreen.dev/left": "{}", keys::METADATA: record.to_string()}),
        );
        let patch = patch(&pod, PodRole::Active, &RoleMetadata::default(), &selector());
        assert_eq!(patch["metadata"]["labels"], json!({"role": null}));
        assert_eq!(patch["metadata"]["annotations"], json!({keys::METADATA: null}));
    }

    #[test]
    fn the_label_that_tells_a_pod_that_it_is_left_stays() {
        let begin = BTreeMap::from([("app".into(), "shop".into()), ("draining".into(), "true".into())]);
        let wanted = metadata(&[("draining", "soon")], &[]);
        let told = pod(&json!({"app": "shop", "draining": "true"}), &json!({}));
        let draining = patched(told.clone(), &patch(&told, PodRole::Draining, &wanted, &begin));
        assert_eq!(draining["metadata"]["labels"]["draining"], "true");
        // Also where the same key had come with the role before.
        let first = pod(&json!({"app": "shop"}), &json!({}));
        let mut active = patched(first.clone(), &patch(&first, PodRole::Active, &wanted, &begin));
        active["metadata"]["labels"]["draining"] = json!("true");
        let bare = patched(active.clone(), &patch(&active, PodRole::Draining, &RoleMetadata::default(), &begin));
        assert_eq!(bare["metadata"]["labels"], json!({"app": "shop", "draining": "true"}));
    }

    #[test]
    fn a_pod_is_written_as_it_was_read() {
        let patch = patch(&pod(&json!({}), &json!({})), PodRole::Active, &metadata(&[], &[]), &selector());
        assert_eq!((&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]), (&json!("u"), &json!("7")));
    }
}
