//! Whole looks at one object, in front of an API server that refuses things.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::super::api::Resource;
use super::super::fake::{Stage, service, template};
use super::*;
use crate::api::keys;

fn forbidden() -> Option<ApiError> {
    Some(ApiError::Forbidden("a policy says no".into()))
}

#[tokio::test]
async fn a_release_is_moved_by_the_write_that_records_it() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.api.requests();
    stage.look().await;
    let all = stage.api.requests();
    let path: Vec<_> = all.iter().take(3).map(|request| (request.verb, request.resource)).collect();
    assert_eq!(path, [("patch", Resource::Service), ("patch", Resource::ReplicaSet), ("status", Resource::BlueGreenDeployment)]);
    assert_eq!(all[0].name, "shop");
    let service = stage.api.now(Resource::Service, "shop");
    let set = stage.api.now(Resource::ReplicaSet, &all[1].name);
    assert_eq!(set["metadata"]["annotations"]["bluegreen.dev/role"], "serving@2");
    let annotations = &service["metadata"]["annotations"];
    assert_eq!(annotations["bluegreen.dev/switch"], set["metadata"]["annotations"]["bluegreen.dev/switch"]);
    let begun: Value = serde_json::from_str(annotations["bluegreen.dev/switch"].as_str().unwrap()).unwrap();
    assert_eq!((&begun["attempt"], begun.get("completedAt")), (&json!(2), None));
    // Status has all of it, although it never had the beginning.
    let mut recorded = stage.status()["switch"].clone();
    let completed = recorded.as_object_mut().unwrap().remove("completedAt");
    assert_eq!((recorded, completed.is_some()), (begun, true));
}

#[tokio::test]
async fn a_refusal_is_over_when_what_was_refused_is_not_wanted_any_more() {
    let mut stage = Stage::serving(json!({})).await;
    stage.api.refuse(|request| if request.verb == "create" { forbidden() } else { None });
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    assert_eq!(stage.condition("Stalled").1, "Forbidden");
    stage.change(&json!({"template": template("v1")}));
    stage.look().await;
    assert_eq!(stage.condition("Stalled").0, "False", "{:?}", stage.condition("Stalled"));
}

#[tokio::test]
async fn a_question_that_is_refused_is_told_and_asked_again() {
    let mut stage = Stage::serving(json!({})).await;
    let mut claimed = service("other", json!({"app": "shop"}));
    claimed["metadata"]["annotations"] = json!({"bluegreen.dev/owner": "former/1-2"});
    stage.api.put(Resource::Service, claimed);
    stage.change(&json!({"traffic": {"services": ["shop", "other"]}}));
    stage.api.refuse(|request| if request.verb == "get" && request.name == "former" { forbidden() } else { None });
    assert!(stage.look().await.is_some(), "it is not looked at again");
    let (status, reason, message) = stage.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Forbidden"));
    assert_eq!(
        message,
        "whether BlueGreenDeployment \"former\" still exists, which a Service names as its owner, can't be looked up: a policy says no"
    );
    stage.api.refuse(|_| None);
    stage.look().await;
    assert_ne!(stage.condition("Stalled").1, "Forbidden");
}

#[tokio::test]
async fn a_command_that_can_not_be_taken_off_is_told_and_said_once() {
    let mut stage = Stage::serving(json!({})).await;
    let command = |stage: &Stage| stage.api.now(Resource::BlueGreenDeployment, "shop")["metadata"]["annotations"]["bluegreen.dev/retry"].clone();
    let mut object = stage.api.now(Resource::BlueGreenDeployment, "shop");
    object["metadata"]["annotations"] = json!({"bluegreen.dev/retry": "nonsense"});
    stage.api.put(Resource::BlueGreenDeployment, object);
    stage.api.refuse(|request| if request.verb == "patch" && request.resource == Resource::BlueGreenDeployment { forbidden() } else { None });
    for _ in 0..3 {
        assert!(stage.look().await.is_some(), "it is not looked at again");
    }
    assert_eq!(stage.condition("Stalled").1, "Forbidden");
    assert_eq!(stage.condition("Stalled").2, "annotation bluegreen.dev/retry can't be removed: a policy says no");
    assert_eq!(stage.notices().iter().filter(|notice| notice.reason == "CommandIgnored").count(), 1);
    stage.api.refuse(|_| None);
    stage.look().await;
    assert_eq!((command(&stage), stage.condition("Stalled").0.as_str()), (Value::Null, "False"));
}

#[tokio::test]
async fn a_refused_write_does_not_stop_what_else_is_under_way() {
    let mut stage = Stage::serving(json!({})).await;
    // Another release, so that there is something to count; and a preview Service that a policy denies.
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.api.put(Resource::Service, service("preview", json!({})));
    stage.api.refuse(|request| if request.name == "preview" { forbidden() } else { None });
    stage.change(&json!({"traffic": {"previewServices": ["preview"]}}));
    stage.look().await;
    while stage.wanted.try_recv().is_ok() {}
    stage.look().await;
    assert_eq!(stage.condition("Stalled").1, "Forbidden");
    let wanted = std::iter::from_fn(|| stage.wanted.try_recv().ok()).last().expect("old pods are counted");
    assert_eq!(wanted.pods.len(), 1);
}

#[tokio::test]
async fn a_status_that_the_api_server_finds_invalid_says_so_in_its_conditions() {
    let mut stage = Stage::serving(json!({})).await;
    stage.api.refuse(|request| {
        let records = request.verb == "status" && request.body.pointer("/status/switch").is_some();
        records.then(|| ApiError::Invalid("status.switch.services: Too many".into()))
    });
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.look().await;
    let (status, reason, message) = stage.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Refused"));
    assert_eq!(message, "the status can't be written: status.switch.services: Too many");
    assert_eq!(stage.status()["switch"]["attempt"], 1, "and nothing else of it");
    // The switch does not need status; what comes after it waits.
    assert_eq!(
        stage.api.now(Resource::Service, "shop")["metadata"]["annotations"]["bluegreen.dev/selected"].as_str().unwrap().split('@').nth(1),
        Some("2")
    );
    stage.api.refuse(|_| None);
    stage.look().await;
    assert_eq!(stage.condition("Stalled").0, "False");
    assert_eq!(stage.status()["switch"]["attempt"], 2);
}

#[tokio::test]
async fn progress_is_held_back_for_a_moment_so_that_the_switch_need_not_wait_for_it() {
    let mut stage = Stage::serving(json!({"replicas": 2})).await;
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.clock.pass(Duration::from_secs(5));
    stage.ready_pods();
    // One of two is ready.
    let set = stage.snapshot().sets.iter().find(|set| set.desired == 2 && set.role.is_none()).unwrap().name.clone();
    let mut late = stage.api.now(Resource::Pod, &format!("{set}-1"));
    late["status"]["conditions"][0]["status"] = json!("False");
    stage.api.put(Resource::Pod, late.clone());
    stage.api.requests();
    assert!(stage.look().await.is_some_and(|wait| wait <= Duration::from_millis(250)));
    let writes = |stage: &Stage| {
        stage.api.requests().iter().filter(|request| request.verb == "status").map(|request| request.body["status"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(writes(&stage), Vec::<Value>::new());
    late["status"]["conditions"][0]["status"] = json!("True");
    stage.api.put(Resource::Pod, late);
    stage.look().await;
    assert!(writes(&stage)[0]["switch"]["completedAt"].is_string(), "the first write tells of the switch");
}

#[tokio::test]
async fn an_owner_that_the_caches_do_not_know_is_asked_about_again() {
    let mut stage = Stage::serving(json!({})).await;
    let mut other = service("other", json!({"app": "shop"}));
    other["metadata"]["annotations"] = json!({"bluegreen.dev/owner": "broken/uid-broken"});
    stage.api.put(Resource::Service, other);
    // The caches can't hold it, but it is there.
    stage.api.put(Resource::BlueGreenDeployment, json!({"metadata": {"name": "broken", "namespace": "n"}, "spec": "nonsense"}));
    stage.api.reads();
    let wait = stage.look().await;
    assert_eq!(stage.api.reads(), 1);
    assert!(wait.is_some_and(|wait| wait <= Duration::from_secs(31)), "{wait:?}");
    stage.look().await;
    assert_eq!(stage.api.reads(), 0);
    stage.clock.pass(Duration::from_secs(31));
    stage.look().await;
    assert_eq!(stage.api.reads(), 1);
}

#[tokio::test]
async fn nothing_waits_for_what_pods_are_to_bear() {
    let label = json!({"labels": {"role": "active"}});
    let mut stage = Stage::serving(json!({})).await;
    let writes = |stage: &Stage| stage.api.requests().iter().filter(|request| request.resource == Resource::Pod && request.verb == "patch").count();
    let away = ApiError::Transient("a webhook is away".into());
    for (error, told) in [(forbidden().unwrap(), 1), (away, 0)] {
        stage.api.refuse(move |request| (request.resource == Resource::Pod && request.verb == "patch").then(|| error.clone()));
        stage.change(&json!({"podMetadata": {"active": label}}));
        let again = stage.look().await.unwrap();
        // It has ended well: status tells of the change, and of no trouble.
        assert_eq!(stage.status()["observedGeneration"], stage.api.now(Resource::BlueGreenDeployment, "shop")["metadata"]["generation"]);
        assert_eq!(stage.condition("Stalled").0, "False");
        assert_eq!(stage.notices().iter().filter(|notice| notice.reason == "PodMetadataRefused").count(), told);
        assert_eq!(writes(&stage), 1);
        // Not tried again at each look, but after a while.
        assert!(again <= Duration::from_secs(30), "{again:?}");
        stage.look().await;
        assert_eq!((writes(&stage), stage.notices().len()), (0, 0));
        stage.clock.pass(Duration::from_secs(31));
        stage.look().await;
        assert_eq!(writes(&stage), 1);
        stage.clock.pass(Duration::from_secs(31));
        stage.api.refuse(|_| None);
        stage.look().await;
        assert_eq!(stage.api.only(Resource::Pod)["metadata"]["labels"]["role"], "active");
        stage.change(&json!({"podMetadata": null}));
        stage.look().await;
        assert!(stage.api.only(Resource::Pod)["metadata"]["labels"].get("role").is_none());
        stage.api.requests();
        stage.notices();
    }
}

/// Deleted with --cascade=orphan and made again: its set may become nobody's after the template seemed to be something new.
#[tokio::test]
async fn a_set_that_comes_late_is_what_the_template_means() {
    let mut stage = Stage::new();
    let object = json!({
        "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "metadata": {"name": "shop", "namespace": "n", "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v1"), "traffic": {"services": []}, "paused": true},
    });
    stage.api.put(Resource::BlueGreenDeployment, object);
    stage.look().await;
    assert_ne!(stage.status()["revision"], json!(null), "{:#}", stage.status());
    let mut labelled = template("v1");
    labelled["metadata"]["labels"][keys::REVISION] = json!("aaaa");
    let labels = labelled["metadata"]["labels"].clone();
    stage.api.put(
        Resource::ReplicaSet,
        json!({"metadata": {"name": "shop-aaaa", "namespace": "n", "labels": labels}, "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": labelled}}),
    );
    for _ in 0..3 {
        stage.look().await;
    }
    assert_eq!(stage.status()["revision"], "aaaa");
}

/// What `kubectl bluegreen eject` gives to a Deployment is not missed, nor made again.
#[tokio::test]
async fn what_is_given_away_is_not_missed() {
    let mut stage = Stage::serving(json!({})).await;
    let before = stage.status();
    let mut object = stage.api.now(Resource::BlueGreenDeployment, "shop");
    object["metadata"]["annotations"] = json!({keys::EJECTING: "u"});
    stage.api.put(Resource::BlueGreenDeployment, object);
    stage.change(&json!({"paused": true, "replicas": 3}));
    let mut set = stage.api.only(Resource::ReplicaSet);
    set["metadata"]["ownerReferences"] = json!([{"kind": "Deployment", "name": "shop", "uid": "d", "controller": true}]);
    stage.api.put(Resource::ReplicaSet, set);
    let mut service = stage.api.now(Resource::Service, "shop");
    service["spec"]["selector"] = json!({"app": "shop"});
    service["metadata"]["annotations"] = json!({});
    stage.api.put(Resource::Service, service);
    for _ in 0..3 {
        stage.look().await;
    }
    let mut expected = before;
    expected["observedGeneration"] = json!(2);
    assert_eq!(stage.status(), expected);
    assert!(stage.notices().is_empty());
    assert_eq!(stage.api.only(Resource::ReplicaSet)["spec"]["replicas"], 1);
    assert_eq!(stage.api.now(Resource::Service, "shop")["spec"]["selector"], json!({"app": "shop"}));
}

/// While the pods of a Deployment are taken over, nothing is complained of; and their set is what the template means, though it seemed to be new.
#[tokio::test]
async fn a_deployment_is_taken_over_in_silence() {
    let mut stage = Stage::new();
    let object = json!({
        "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
        "metadata": {"name": "shop", "namespace": "n", "generation": 1, "annotations": {keys::ADOPTING: "d"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v1"), "traffic": {"services": ["shop"]}, "paused": true},
    });
    stage.api.put(Resource::BlueGreenDeployment, object);
    stage.api.put(Resource::Service, service("shop", json!({"app": "shop"})));
    let mut labelled = template("v1");
    labelled["metadata"]["labels"] = json!({"app": "shop", "pod-template-hash": "aaaa"});
    let set = json!({
        "metadata": {"name": "shop-aaaa", "namespace": "n", "generation": 1, "labels": {"app": "shop", "pod-template-hash": "aaaa"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop", "pod-template-hash": "aaaa"}}, "template": labelled},
        "status": {"replicas": 1, "readyReplicas": 1, "observedGeneration": 1},
    });
    stage.api.put(Resource::ReplicaSet, set);
    stage.ready_pods();
    let pod = stage.api.only(Resource::Pod);
    let slice = json!({
        "metadata": {"name": "shop-x", "namespace": "n", "labels": {
            "kubernetes.io/service-name": "shop", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}}],
    });
    stage.api.put(Resource::EndpointSlice, slice);
    stage.look().await;
    stage.look().await;
    assert_eq!(stage.condition("Stalled").0, "False", "{:#}", stage.status());
    assert!(stage.condition("Reconciling").2.contains("kubectl bluegreen adopt"), "{:?}", stage.condition("Reconciling"));
    assert!(stage.notices().iter().all(|notice| !notice.warning));
    // Not even when somebody ends the pause, and asks for another template.
    stage.change(&json!({"paused": false, "template": template("v2")}));
    for _ in 0..3 {
        stage.look().await;
    }
    assert_eq!(stage.api.now(Resource::Service, "shop")["spec"]["selector"], json!({"app": "shop"}));
    assert_eq!(stage.api.only(Resource::ReplicaSet)["spec"]["replicas"], 1);
    stage.change(&json!({"paused": true, "template": template("v1")}));
    stage.look().await;

    // What the plugin writes.
    let mut set = stage.api.now(Resource::ReplicaSet, "shop-aaaa");
    for pointer in ["/metadata/labels", "/spec/template/metadata/labels"] {
        set.pointer_mut(pointer).unwrap()[keys::REVISION] = json!("aaaa");
    }
    set["metadata"]["annotations"] = json!({keys::ROLE: "serving@1"});
    stage.api.put(Resource::ReplicaSet, set);
    let mut pod = pod;
    pod["metadata"]["labels"][keys::REVISION] = json!("aaaa");
    stage.api.put(Resource::Pod, pod);
    for _ in 0..4 {
        stage.look().await;
    }
    assert_eq!((&stage.status()["active"]["revision"], &stage.status()["revision"]), (&json!("aaaa"), &json!("aaaa")), "{:#}", stage.status());
    let selector = || stage.api.now(Resource::Service, "shop")["spec"]["selector"].clone();
    assert_eq!(selector(), json!({"app": "shop"}), "it is paused");

    let mut object = stage.api.now(Resource::BlueGreenDeployment, "shop");
    object["metadata"]["annotations"] = json!({});
    stage.api.put(Resource::BlueGreenDeployment, object);
    stage.change(&json!({"paused": false}));
    stage.look().await;
    stage.look().await;
    assert_eq!(stage.api.now(Resource::Service, "shop")["spec"]["selector"], json!({"app": "shop", keys::REVISION: "aaaa"}));
    // There is one set, and no other was begun.
    stage.api.only(Resource::ReplicaSet);
}
