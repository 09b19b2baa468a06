//! Services left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::super::fake::{Stage, service};
use super::*;

fn left(owner: Option<&str>, selector: Value) -> Value {
    let mut service = service("left", selector);
    service["metadata"]["annotations"] = owner.map_or(json!({}), |owner| json!({keys::OWNER: owner}));
    service
}

/// The sweep over a cluster with one Service; ends with the sender.
async fn swept(service: Value, more: &[(Resource, Value)], seconds: u64) -> Stage {
    let stage = Stage::new();
    stage.api.put(Resource::Service, service);
    for (kind, object) in more {
        stage.api.put(*kind, object.clone());
    }
    stage.feed();
    let (wake, wakes): (UnboundedSender<(String, String)>, _) = unbounded_channel();
    wake.send(("n".into(), "left".into())).unwrap();
    let sweep = tokio::spawn(run(stage.context.clone(), wakes));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    drop(wake);
    sweep.await.unwrap();
    stage
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_object_and_pods_are_gone_is_given_back() {
    let stage = swept(left(Some("shop/gone"), json!({"app": "shop", keys::REVISION: "abc"})), &[], 1).await;
    let service = stage.api.only(Resource::Service);
    assert_eq!(service["spec"]["selector"], json!({"app": "shop"}));
    assert_eq!(trim::annotation(&service, keys::OWNER), None);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_never_ours_keeps_its_selector() {
    let stage = swept(left(None, json!({"app": "shop", keys::REVISION: "abc"})), &[], 10).await;
    assert_eq!(stage.api.only(Resource::Service)["spec"]["selector"][keys::REVISION], "abc");
    assert!(stage.api.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pods_whose_set_is_gone_are_waited_for_without_asking() {
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {keys::REVISION: "abc"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "shop-abc", "uid": "gone", "controller": true}]}, "spec": {"containers": []}});
    let stage = swept(left(Some("shop/gone"), json!({"app": "shop", keys::REVISION: "abc"})), &[(Resource::Pod, pod)], 60).await;
    assert_eq!(stage.api.reads(), 0);
    assert_eq!(stage.api.only(Resource::Service)["spec"]["selector"][keys::REVISION], "abc");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_lives_unseen_is_asked_for_ever_less_often() {
    let owner = json!({"metadata": {"name": "shop", "namespace": "n", "uid": "u"}, "spec": "can't be read"});
    let stage = swept(left(Some("shop/u"), json!({"app": "shop"})), &[(Resource::BlueGreenDeployment, owner)], 600).await;
    let reads = stage.api.reads();
    assert!((8..=16).contains(&reads), "{reads} questions in 10 minutes");
    assert!(trim::annotation(&stage.api.only(Resource::Service), keys::OWNER).is_some());
}

/// Its object went in the middle of a move with both revisions in traffic. Pods that are born from then on lack the label of that move.
#[tokio::test(start_paused = true)]
async fn a_service_that_leads_to_two_revisions_leads_to_the_newer_one_until_that_has_no_pod() {
    let both = || {
        let mut service = left(Some("shop/gone"), json!({"app": "shop", keys::SERVING: "new.4"}));
        service["metadata"]["annotations"][keys::SELECTED] = json!("new@4");
        service
    };
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "shop", keys::REVISION: "new"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "shop-new", "uid": "gone", "controller": true}]}, "spec": {"containers": []}});
    let stage = swept(both(), &[(Resource::Pod, pod)], 60).await;
    assert_eq!(stage.api.only(Resource::Service)["spec"]["selector"], json!({"app": "shop", keys::REVISION: "new"}));
    let stage = swept(both(), &[], 60).await;
    assert_eq!(stage.api.only(Resource::Service)["spec"]["selector"], json!({"app": "shop"}));
}
