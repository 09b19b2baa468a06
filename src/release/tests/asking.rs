//! Smoke probes that are answered by somebody else than a pod's port: queries, webhooks, commands, and the way through the API server.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::True;
use crate::api::{ConditionType, PhaseName};
use crate::release::action::SmokeRun;

/// A query is about the whole revision: it is asked once its pods are available, with the names of the release, and all of it waits for it.
#[test]
fn a_query_is_asked_once_and_decides() {
    let query =
        json!({"url": "http://prometheus:9090", "query": "up{pod=~\"{{name}}-{{revision}}-.*\", namespace=\"{{namespace}}\"}", "atLeast": "1"});
    let mut world = World::new("v1", &json!({"smokeProbes": [{"name": "up", "prometheus": query}]}));
    let allowed = crate::probe::Endpoint::parse("http://prometheus:9090").unwrap();
    // Nobody may ask anywhere before the one who installs the operator says so.
    world.run(2);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "UrlNotAllowed".into()));
    assert!(world.snapshot.sets.is_empty());
    world.snapshot.allowed_urls = Some(vec![allowed]);
    world.touch();
    world.undecided.insert(revision("v1"));
    world.run(10);
    // One pod less than needed, and it is not asked.
    let pod = world.snapshot.pods[0].uid.clone();
    let mut fewer = world.snapshot.clone();
    fewer.pods.iter_mut().filter(|known| known.uid == pod).for_each(|known| known.ready = false);
    let plan = crate::release::plan::plan(&fewer, world.now());
    assert!(plan.effects.smoke.is_none_or(|smoke| smoke.runs.is_empty()));
    let run = world.plan.effects.smoke.clone().unwrap().runs;
    assert_eq!((run.len(), run[0].pod.clone(), run[0].address, run[0].target.as_str()), (1, None, None, "prometheus:9090"));
    let asked = run[0].probe.prometheus.clone().unwrap().query;
    assert_eq!(asked, format!("up{{pod=~\"shop-{}-.*\", namespace=\"web\"}}", revision("v1")));
    assert_eq!(world.phase(), PhaseName::Smoke);
    world.undecided.clear();
    world.until("complete", |world| world.phase() == PhaseName::Complete);
}

#[test]
fn a_webhook_is_told_what_it_is_about() {
    let url = "https://tests.example.com/judge";
    let probes = json!([{"name": "suite", "webhook": {"url": url}, "successThreshold": 1}]);
    let mut world = World::installed("v1", &json!({}));
    let allowed = |url: &str| Some(vec![crate::probe::Endpoint::parse(url).unwrap()]);
    // Leave to ask Prometheus there is none to post.
    world.snapshot.allowed_urls = allowed("https://tests.example.com");
    world.snapshot.allowed_webhooks = allowed("https://tests.example.com/judge");
    world.undecided.insert(revision("v2"));
    world.edit(|spec| spec.smoke_probes = serde_json::from_value(probes.clone()).unwrap());
    world.edit(|spec| spec.bake = serde_json::from_value(json!({"seconds": 60, "probes": probes})).unwrap());
    world.apply_version("v2");
    world.settle();
    let told = |run: &SmokeRun| -> serde_json::Value {
        assert_eq!((run.runs.len(), run.runs[0].pod.as_ref(), run.runs[0].target.as_str()), (1, None, "tests.example.com:443"));
        let mut body: serde_json::Value = serde_json::from_str(run.runs[0].body.as_ref().unwrap()).unwrap();
        assert!(body.as_object_mut().unwrap().remove("since").unwrap().is_string());
        body
    };
    let mut about = json!({"probe": "suite", "name": "shop", "namespace": "web", "revision": revision("v2"), "from": revision("v1"), "color": "green",
        "images": "shop", "release": 2, "serves": false});
    assert_eq!(told(world.plan.effects.smoke.as_ref().unwrap()), about);
    world.undecided.clear();
    world.until("it bakes", |world| world.phase() == PhaseName::Bake);
    about["serves"] = json!(true);
    assert_eq!(told(world.plan.effects.bake.as_ref().unwrap()), about);

    let mut world = World::installed("v1", &json!({}));
    world.snapshot.allowed_urls = allowed("https://tests.example.com");
    world.snapshot.allowed_webhooks = allowed("https://tests.example.com/jud");
    world.edit(|spec| spec.smoke_probes = serde_json::from_value(probes.clone()).unwrap());
    world.apply_version("v2");
    world.settle();
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.starts_with("spec.smokeProbes[0].webhook.url: this operator may not ask tests.example.com:443; "), "{said}");
    assert!(said.ends_with("add that to allowedWebhooks"), "{said}");

    let mut world = World::installed("v1", &json!({}));
    world.snapshot.allowed_webhooks = allowed("https://tests.example.com");
    world.edit(|spec| spec.smoke_probes = serde_json::from_value(probes).unwrap());
    let wrong = json!({"jsonPointer": [{"path": "ok", "value": "true"}]});
    world.edit(|spec| spec.smoke_probes[0].webhook.as_mut().unwrap().expect = serde_json::from_value(wrong).unwrap());
    world.apply_version("v2");
    world.settle();
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.starts_with("spec.smokeProbes[0].webhook.expect.jsonPointer[0].path: "), "{said}");
}

#[test]
fn a_command_is_run_in_each_pod_if_it_may_be() {
    let probes = json!([{"name": "inside", "exec": {"command": ["/shop"], "container": "web"}, "successThreshold": 1}]);
    let asking = |allowed: Option<bool>| {
        let mut world = World::installed("v1", &json!({}));
        world.snapshot.allowed_exec = allowed;
        world.undecided.insert(revision("v2"));
        world.edit(|spec| spec.smoke_probes = serde_json::from_value(probes.clone()).unwrap());
        world
    };
    let mut world = asking(Some(true));
    world.edit(|spec| spec.bake = serde_json::from_value(json!({"seconds": 60, "probes": probes})).unwrap());
    world.apply_version("v2");
    world.settle();
    // Also where their address is their node's, which nothing is sent to.
    for pod in &mut world.snapshot.pods {
        pod.host_network = true;
    }
    world.settle();
    let inside = |world: &World, run: &SmokeRun| {
        let mut names: Vec<String> = world.pods("v2").iter().map(|pod| pod.name.clone()).collect();
        let mut targets: Vec<String> = run.runs.iter().map(|run| run.target.clone()).collect();
        names.sort();
        targets.sort();
        assert!(run.runs.iter().all(|run| run.address.is_none() && run.pod.is_some()));
        assert_eq!((names.len(), targets), (3, names));
    };
    inside(&world, world.plan.effects.smoke.as_ref().unwrap());
    world.undecided.clear();
    world.until("it bakes", |world| world.phase() == PhaseName::Bake);
    inside(&world, world.plan.effects.bake.as_ref().unwrap());

    let mut world = asking(Some(false));
    world.apply_version("v2");
    world.settle();
    let said = message(world.status(), ConditionType::Stalled);
    assert_eq!(said, "spec.smokeProbes[0].exec: this operator may not run commands in pods; whoever installs it can set allowExec");

    // Where that is not known, as to kubectl, only what the spec itself says is looked at.
    let mut world = asking(None);
    world.edit(|spec| spec.smoke_probes[0].exec.as_mut().unwrap().container = "proxy".into());
    world.apply_version("v2");
    world.settle();
    let said = message(world.status(), ConditionType::Stalled);
    assert_eq!(said, "spec.smokeProbes[0].exec.container: no container of the template is named \"proxy\"; it has web");
}

#[test]
fn a_probe_goes_through_the_api_server_if_it_may() {
    let asking = |allowed: Option<bool>, probe: &serde_json::Value| {
        let mut world = World::installed("v1", &json!({}));
        world.snapshot.allowed_proxy = allowed;
        world.undecided.insert(revision("v2"));
        world.edit(|spec| spec.smoke_probes = serde_json::from_value(json!([probe])).unwrap());
        world.apply_version("v2");
        world.settle();
        world
    };
    let with = |field: &str, value: serde_json::Value| {
        let mut probe = json!({"name": "home", "httpGet": {"port": "http", "path": "/a/?x=../y"}, "through": "ApiServer"});
        probe["httpGet"][field] = value;
        probe
    };
    let plain = with("scheme", json!("HTTPS"));
    let mut world = asking(Some(true), &plain);
    let run = world.plan.effects.smoke.clone().unwrap();
    assert!(run.runs.len() == 3 && run.runs.iter().all(|run| run.address.is_some_and(|address| address.port() == 8080)), "{run:?}");
    // The API server would go to the node's address, too.
    for pod in &mut world.snapshot.pods {
        pod.host_network = true;
    }
    world.settle();
    assert_eq!(world.plan.effects.smoke.as_ref().map_or(0, |run| run.runs.len()), 0);

    let said = |world: &World| message(world.status(), ConditionType::Stalled).to_owned();
    let world = asking(Some(false), &plain);
    let why = "this operator may not send anything through the API server; whoever installs it can set allowProxy";
    assert_eq!(said(&world), format!("spec.smokeProbes[0].through: {why}"));
    assert!(world.snapshot.pods.len() == 3 && world.plan.effects.smoke.as_ref().is_none_or(|run| run.runs.is_empty()), "it was brought up");
    // Where that is not known, as to kubectl, only what the spec itself says is looked at.
    for (probe, why) in [
        (
            with("path", json!("/a/../b")),
            "spec.smokeProbes[0].httpGet.path: the path can't go through the API server: it has . or .. between slashes",
        ),
        (
            with("httpHeaders", json!([{"name": "X-A", "value": "1"}, {"name": "Impersonate-User", "value": "admin"}])),
            "spec.smokeProbes[0].httpGet.httpHeaders[1]: the header \"Impersonate-User\" would mean the API server itself, and not the pod",
        ),
    ] {
        for allowed in [Some(true), None] {
            let world = asking(allowed, &probe);
            assert!(said(&world).starts_with(why), "{}", said(&world));
        }
    }
}
