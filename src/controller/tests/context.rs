//! What the parts say to each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::caches;
use super::super::fake::{Stage, key, template};
use super::*;
use crate::release::config::Snapshots;

#[tokio::test]
async fn events_that_were_said_before_the_end_are_written() {
    let stage = Stage::serving(json!({})).await;
    let Stage { context, said, api, .. } = stage;
    let object = observed(&context);
    for _ in 0..3 {
        context.say(&object, &Notice { warning: false, reason: "Said", message: String::new() });
    }
    // Already ended: it writes what is there, and waits for nothing.
    herald(context, said, std::future::ready(())).await;
    assert_eq!(api.requests().iter().filter(|request| request.verb == "publish").count(), 3);
}

fn observed(context: &Context<super::super::fake::Fake>) -> Object {
    let world = context.world();
    let installation = Installation::default();
    let mut reports = context.reports();
    let mut remembered = Remembered::default();
    super::super::observe::observe(&world, &mut remembered, &mut reports, &installation, &key(), context.clock.now()).unwrap().object
}

#[tokio::test]
async fn a_report_that_comes_with_the_answer_to_a_write_is_looked_at() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.look().await;
    while stage.wakes.try_recv().is_ok() {}
    let watch = |version: &str, sequence: i64| {
        json!({"apiVersion": "bluegreen.dev/v1alpha1", "kind": "ConnectionWatch",
            "metadata": {"name": "n1", "namespace": "system", "uid": "w", "resourceVersion": version},
            "spec": {"reportSeconds": 2, "pods": []}, "status": {"bootId": "a", "sequence": sequence, "pods": []}})
    };
    stage.context.wrote(Resource::ConnectionWatch, &watch("1", 1));
    assert_eq!(stage.wakes.try_recv(), Ok(Wake::Look(key())));
    stage.clock.pass(Duration::from_secs(1));
    stage.context.wrote(Resource::ConnectionWatch, &watch("2", 1));
    assert!(stage.wakes.try_recv().is_err(), "nothing new is in it");
    stage.context.wrote(Resource::ConnectionWatch, &watch("3", 2));
    assert_eq!(stage.wakes.try_recv(), Ok(Wake::Look(key())));
}

#[tokio::test]
async fn what_a_member_of_a_group_writes_of_itself_wakes_the_others() {
    let mut stage = Stage::serving(json!({})).await;
    let member = |name: &str, version: i64, called: i64| {
        json!({"apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": name, "namespace": key().namespace, "uid": name, "resourceVersion": version.to_string()},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": {}, "promotion": {"group": {"name": "storefront"}}},
            "status": {"group": {"name": "storefront", "called": called}}})
    };
    for name in ["one", "two"] {
        stage.context.world().insert(Resource::BlueGreenDeployment, &member(name, 1_000_000, 1), Duration::ZERO);
    }
    while stage.wakes.try_recv().is_ok() {}
    stage.context.wrote(Resource::BlueGreenDeployment, &member("one", 1_000_001, 2));
    assert_eq!(stage.wakes.try_recv(), Ok(Wake::Look(Key { name: "two".into(), ..key() })));
    assert!(stage.wakes.try_recv().is_err(), "who wrote goes on by itself");
    stage.context.wrote(Resource::BlueGreenDeployment, &member("one", 1_000_002, 2));
    assert!(stage.wakes.try_recv().is_err(), "nothing new is in it");
}

#[tokio::test]
async fn what_became_of_pods_that_are_gone_is_forgotten() {
    let stage = Stage::serving(json!({})).await;
    let snapshot = stage.snapshot();
    let (uid, pod) = (snapshot.object.uid, snapshot.pods[0].uid.clone());
    stage.context.remember(&uid, |remembered| {
        for pod in [pod.clone(), "gone".into()] {
            remembered.begun.insert(pod, crate::release::Begun::Told);
        }
    });
    assert_eq!(stage.snapshot().begun.into_keys().collect::<Vec<_>>(), [pod]);
}

#[tokio::test]
async fn what_an_annotation_says_is_one_line_of_the_log() {
    let mut stage = Stage::serving(json!({})).await;
    let object = observed(&stage.context);
    let message = "rollback is \"x\n2026-01-01T00:00:00Z ERROR all is lost\r\u{1b}[31m\u{85}\"".to_owned();
    stage.context.say(&object, &Notice { warning: true, reason: "CommandIgnored", message });
    let said = &stage.notices()[0].message;
    assert_eq!(said, "rollback is \"x 2026-01-01T00:00:00Z ERROR all is lost  [31m \"");
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_configuration_a_little_and_for_the_rest_at_all() {
    let stage = Stage::new();
    *stage.context.world() = World::new(vec![], true).with_configs(Snapshots::ConfigMaps);
    let began = tokio::time::Instant::now();
    let begins = async || (caches(&stage.context).await.is_ok(), began.elapsed().as_secs());
    assert_eq!(begins().await, (false, 120));
    for kind in [Resource::BlueGreenDeployment, Resource::ReplicaSet, Resource::Pod, Resource::Service, Resource::EndpointSlice] {
        stage.context.world().relisted(kind, "");
    }
    assert_eq!(begins().await, (true, 125));
    stage.context.world().relisted(Resource::ConfigMap, "");
    assert_eq!(begins().await, (true, 125));
}
