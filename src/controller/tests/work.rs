//! Several objects, looked at as the running controller does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::super::api::Resource;
use super::super::fake::{Request, Stage, service, template};
use super::*;

/// Lets the controller work until something has been asked for; answers all that was.
async fn until(stage_requests: impl Fn() -> Vec<Request>, seconds: u64, found: impl Fn(&Request) -> bool) -> Vec<Request> {
    let mut all = vec![];
    for _ in 0..seconds * 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        all.extend(stage_requests());
        if all.iter().any(&found) {
            return all;
        }
    }
    panic!("not asked for in {seconds} s: {all:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_look_panics_stops_no_other_and_goes_on_when_it_no_longer_does() {
    let stage = Stage::new();
    for name in ["bad", "good"] {
        let object = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": name, "namespace": "n", "generation": 1},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": template("v1"), "traffic": {"services": [name]}},
        });
        stage.api.put(Resource::BlueGreenDeployment, object);
        stage.api.put(Resource::Service, service(name, json!({})));
    }
    let (panics, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (still, tried) = (panics.clone(), tries.clone());
    stage.api.refuse(move |request| {
        if request.verb == "create" && request.name.starts_with("bad-") {
            tried.fetch_add(1, Ordering::SeqCst);
            assert!(!still.load(Ordering::SeqCst), "a mistake in the operator");
        }
        None
    });
    stage.feed();
    let Stage { api, clock: _, context, wakes, wanted, said } = stage;
    let mut work = Work::start(&context, "n", Inlets { wakes, wishes: wanted, told: said });
    let made = |name: &'static str| {
        move |request: &Request| (request.verb, request.resource) == ("create", Resource::ReplicaSet) && request.name.starts_with(name)
    };

    let told = |request: &Request| request.verb == "publish" && request.name == "Panicked";
    let asked = until(|| api.requests(), 5, told).await;
    let event = asked.iter().find(|request| told(request)).unwrap();
    assert_eq!(event.body["about"], "bad");
    assert!(event.body["message"].as_str().unwrap().contains("a mistake in the operator"), "{}", event.body);
    let mut asked = asked;
    if !asked.iter().any(made("good-")) {
        asked = until(|| api.requests(), 5, made("good-")).await;
    }
    assert!(!asked.iter().any(|request| told(request) && request.body["about"] == "good"), "{asked:#?}");

    // It is left alone for longer each time, however often it is woken.
    for _ in 0..600 {
        context.look(Key { namespace: "n".into(), name: "bad".into() });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let tries = tries.load(Ordering::SeqCst);
    assert!((3..=7).contains(&tries), "{tries} tries in a minute");

    panics.store(false, Ordering::SeqCst);
    until(|| api.requests(), 31, made("bad-")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!api.requests().iter().any(told), "it panicked again");
    work.finish().await;
}
