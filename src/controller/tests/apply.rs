//! Single actions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::super::fake::{Stage, service, template};
use super::*;

/// A release later: the old set, its revision, and the action that retires it.
async fn left() -> (Stage, String, Action) {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.look().await;
    let snapshot = stage.snapshot();
    let switch = snapshot.object.status.switch.clone().unwrap();
    let old = snapshot.sets.iter().find(|set| set.revision != switch.to).unwrap();
    let notice = Notice { warning: false, reason: "ScaledDown", message: "done".into() };
    let action = Action::Retire { set: SetRef::of(old), attempt: switch.attempt, services: vec!["shop".into()], notice: Some(notice) };
    stage.notices();
    (stage, old.revision.clone(), action)
}

#[tokio::test]
async fn a_set_is_retired_and_told_of_once() {
    let (mut stage, revision, action) = left().await;
    apply(&stage.context, &stage.snapshot(), &action).await.unwrap();
    let set = stage.api.now(Resource::ReplicaSet, &format!("shop-{revision}"));
    assert_eq!((&set["spec"]["replicas"], trim::annotation(&set, keys::ROLE)), (&json!(0), Some("retired@2")));
    assert_eq!(stage.notices().iter().map(|notice| notice.reason).collect::<Vec<_>>(), ["ScaledDown"]);
}

#[tokio::test]
async fn a_preview_that_still_shows_a_set_does_not_keep_it() {
    let (stage, revision, action) = left().await;
    let uid = stage.snapshot().object.uid;
    let mut preview = service("shop-preview", json!({"app": "shop", keys::REVISION: revision}));
    preview["metadata"]["annotations"] = json!({keys::OWNER: format!("shop/{uid}")});
    stage.api.put(Resource::Service, preview);
    stage.feed();
    apply(&stage.context, &stage.snapshot(), &action).await.unwrap();
    assert_eq!(stage.api.now(Resource::ReplicaSet, &format!("shop-{revision}"))["spec"]["replicas"], json!(0));
}

#[tokio::test]
async fn a_set_that_a_service_outside_the_spec_still_names_is_not_scaled_down() {
    let (mut stage, revision, action) = left().await;
    stage.api.put(Resource::Service, service("taken-out", json!({"app": "shop", keys::REVISION: revision})));
    stage.feed();
    let refused = apply(&stage.context, &stage.snapshot(), &action).await;
    let Err(ApiError::Invalid(message)) = refused else { panic!("{refused:?}") };
    assert!(message.starts_with(&format!("Service \"taken-out\" still selects revision {revision}")), "{message}");
    assert_eq!(stage.api.now(Resource::ReplicaSet, &format!("shop-{revision}"))["spec"]["replicas"], 1);
    assert!(stage.notices().is_empty());
    // The caches may be late: the API server decides.
    stage.api.put(Resource::Service, service("taken-out", json!({"app": "other"})));
    let again = Action::Retire {
        set: SetRef::of(stage.snapshot().sets.iter().find(|set| set.revision == revision).unwrap()),
        attempt: 2,
        services: vec!["shop".into()],
        notice: None,
    };
    apply(&stage.context, &stage.snapshot(), &again).await.unwrap();
    assert_eq!(stage.api.now(Resource::ReplicaSet, &format!("shop-{revision}"))["spec"]["replicas"], 0);
}

#[tokio::test]
async fn a_set_that_is_being_deleted_does_not_count_as_created() {
    let stage = Stage::serving(json!({})).await;
    let snapshot = stage.snapshot();
    let set = &snapshot.sets[0];
    let create = Action::CreateSet { revision: set.revision.clone(), color: set.color, replicas: 1, raw_hash: "h".into(), restarts: 0 };
    apply(&stage.context, &snapshot, &create).await.unwrap();
    let mut going = stage.api.now(Resource::ReplicaSet, &set.name);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    stage.api.put(Resource::ReplicaSet, going);
    assert_eq!(apply(&stage.context, &snapshot, &create).await, Err(ApiError::Conflict));
}

#[tokio::test]
async fn a_fence_stands_what_the_replica_set_controller_writes_and_nothing_else() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    let snapshot = stage.snapshot();
    let set = snapshot.sets.iter().find(|set| set.role.is_none()).unwrap();
    let switch = crate::api::Switch { to: set.revision.clone(), attempt: 2, ..snapshot.object.status.switch.clone().unwrap() };
    let fence = crate::release::switch::fence(set, &switch);
    let write = |path: &str, value: serde_json::Value| {
        let mut changed = stage.api.now(Resource::ReplicaSet, &set.name);
        let (parent, key) = path.rsplit_once('/').unwrap();
        let map = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        let before = map.insert(key.replace("~1", "/"), value).unwrap_or_default();
        stage.api.put(Resource::ReplicaSet, changed);
        before
    };
    let annotation = |key: &str| format!("/metadata/annotations/{}", key.replace('/', "~1"));
    for (path, value) in [
        ("/metadata/uid".to_owned(), json!("another")),
        ("/metadata/deletionTimestamp".to_owned(), json!("2026-01-01T00:00:00Z")),
        ("/spec/replicas".to_owned(), json!(0)),
        (annotation(keys::ROLE), json!("retiring@1")),
        (annotation(keys::PROOF), json!("{}")),
        (annotation(keys::DRAIN_BEGUN), json!("uid-of-a-pod")),
    ] {
        let before = write(&path, value);
        assert_eq!(apply(&stage.context, &snapshot, &fence).await, Err(ApiError::Conflict), "{path}");
        write(&path, before);
    }
    write("/metadata/resourceVersion", json!("of a new status"));
    apply(&stage.context, &snapshot, &fence).await.unwrap();
    assert_eq!(trim::annotation(&stage.api.now(Resource::ReplicaSet, &set.name), keys::ROLE), Some("serving@2"));
}
