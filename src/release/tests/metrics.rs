//! Drain by a number of the pods.

use std::time::Duration;

use serde_json::json;

use super::draining::{gone, stay};
use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::False;
use crate::api::{ConditionType, DrainSource};
use crate::release::metric::Reading;

fn drain(changes: &serde_json::Value) -> serde_json::Value {
    let mut drain = json!({"source": "Metric", "metric": {"port": "http", "series": "sessions"}});
    drain.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({"drain": drain})
}

/// A world in which v2 has just got the traffic, and each pod of v1 has a number.
fn moved(number: Result<f64, String>, changes: &serde_json::Value) -> World {
    let mut world = World::installed("v1", &drain(changes));
    for pod in &world.snapshot.pods {
        world.numbers.insert(pod.uid.clone(), number.clone());
    }
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.active(), "v2");
    world
}

#[test]
fn pods_stay_while_their_number_is_too_high_whatever_is_connected() {
    let mut world = moved(Ok(2.0), &json!({}));
    world.run(100);
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "MetricTooHigh".into()));
    let row = &world.status().draining[0];
    assert_eq!((row.source, row.metric.as_deref(), row.drained_pods), (DrainSource::Metric, Some("6"), 0));
    let words = message(world.status(), ConditionType::Drained);
    assert!(words.starts_with(&format!("revision {}: the metric of its 3 pods comes to 6; until ", revision("v1"))), "{words}");
    // Somebody stays connected.
    world.open.insert(revision("v1"), 1);
    world.numbers.values_mut().for_each(|number| *number = Ok(0.0));
    world.run(1);
    assert!(!gone(&world), "once is not enough");
    assert_eq!(condition(world.status(), ConditionType::Drained).1, "Settling");
    world.run(2);
    assert!(gone(&world), "{:#?}", world.status().draining);
}

#[test]
fn with_nothing_left_they_leave_as_soon_as_the_move_has_taken_effect() {
    let seconds = stay(&mut moved(Ok(0.0), &json!({})));
    assert!((15.0..19.0).contains(&seconds), "{seconds}");
}

#[test]
fn some_may_be_left() {
    let metric = json!({"metric": {"port": "http", "jsonPointer": "/open", "atMost": 2}});
    assert!(stay(&mut moved(Ok(2.0), &metric)) < 19.0);
    assert!(stay(&mut moved(Ok(2.5), &metric)) > 500.0);
}

#[test]
fn a_number_that_cannot_be_read_is_not_zero() {
    let why = "GET /metrics on port 8080: answered 404, expected 200";
    let mut world = moved(Err(why.into()), &json!({"deadlineSeconds": 120}));
    world.run(30);
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "MetricUnreadable".into()));
    let words = message(world.status(), ConditionType::Drained);
    assert!(words.contains(&format!(": {why}; its pods stay until ")), "{words}");
    assert_eq!(world.status().draining[0].metric, None);
    let seconds = stay(&mut world);
    assert!((120.0..122.0).contains(&seconds), "{seconds}");
}

#[test]
fn numbers_of_one_pod_say_nothing_of_the_others() {
    let mut world = moved(Ok(0.0), &json!({"deadlineSeconds": 120}));
    let one = world.snapshot.pods.iter().find(|pod| pod.set_uid == world.set("v1").uid).unwrap().uid.clone();
    world.numbers.insert(one, Err("no answer".into()));
    world.run(60);
    let row = &world.status().draining[0];
    assert_eq!((row.drained_pods, row.metric.as_deref(), row.reason.as_str()), (2, None, "MetricUnreadable"));
    assert!(!gone(&world));
}

#[test]
fn an_old_reading_and_one_of_another_question_do_not_count() {
    let mut world = moved(Ok(0.0), &json!({}));
    world.run(8);
    // The reader stands still, and what it has found grows old.
    world.silent = true;
    world.run(60);
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "MetricNotRead".into()));
    world.silent = false;
    world.numbers.values_mut().for_each(|number| *number = Ok(1.0));
    world.run(3);
    world.edit(|spec| spec.drain.metric.as_mut().unwrap().series = Some("jobs".into()));
    world.settle();
    assert_eq!(world.status().draining[0].metric, None, "of jobs nothing is known yet");
    let about = &world.plan.effects.reads[0].about.clone();
    let first = Reading::after(None, about.clone(), Duration::ZERO, Ok(0.0));
    let second = Reading::after(Some(&first), about.clone(), Duration::ZERO, Ok(0.0));
    assert!(!first.enough() && second.enough());
    let mut other = about.clone();
    other.attempt += 1;
    assert!(!Reading::after(Some(&second), other, Duration::ZERO, Ok(0.0)).enough());
}

#[test]
fn old_pods_without_the_port_drain_by_their_connections() {
    let mut world = World::installed("v1", &json!({}));
    let old = &drain(&json!({"metric": {"port": "admin", "series": "sessions"}}))["drain"];
    world.edit(|spec| spec.drain = serde_json::from_value(old.clone()).unwrap());
    world.apply_version("v2");
    world.snapshot.object.spec.template["spec"]["containers"][0]["ports"] =
        json!([{"name": "http", "containerPort": PORT}, {"name": "admin", "containerPort": 9}]);
    world.settle();
    world.open.insert(revision("v1"), 1);
    world.run(400);
    assert!(world.plan.effects.reads.is_empty());
    assert_eq!(condition(world.status(), ConditionType::Drained).1, "OpenConnections");
    assert_eq!(world.status().draining[0].source, DrainSource::Sockets, "nobody asks for a number");
    world.open.clear();
    assert!(stay(&mut world) < 420.0);
}

#[test]
fn readings_from_before_a_pod_was_told_do_not_count() {
    let mut world = moved(Ok(0.0), &json!({"begin": {"http": {"path": "/drain", "port": "http"}}}));
    world.edit(|spec| spec.paused = true);
    world.run(60);
    assert!(world.told.is_empty() && !gone(&world));
    world.edit(|spec| spec.paused = false);
    world.settle();
    assert_eq!(world.told.len(), 3);
    assert!(!gone(&world), "it may have taken something to do just before");
    world.run(1);
    assert!(!gone(&world));
    world.run(1);
    assert!(gone(&world), "{:#?}", world.status().draining);
}

#[test]
fn readings_from_before_nodes_followed_do_not_count() {
    let mut world = moved(Ok(0.0), &json!({}));
    world.late_endpoints = true;
    world.apply_version("v3");
    world.settle();
    assert_eq!(world.active(), "v3");
    world.run(70);
    world.late_endpoints = false;
    world.run(4);
    assert_eq!(world.set("v2").desired, 3, "nodes have just followed");
    world.run(2);
    assert_eq!(world.set("v2").desired, 0, "{:#?}", world.status().draining);
}

#[test]
fn a_worker_born_after_the_move_is_waited_for_like_any() {
    let mut changes = drain(&json!({"deadlineSeconds": 300}));
    changes["traffic"] = json!({"services": []});
    let mut world = World::installed("v1", &changes);
    for pod in &world.snapshot.pods {
        world.numbers.insert(pod.uid.clone(), Ok(1.0));
    }
    world.apply_version("v2");
    world.run(5);
    let old = world.set("v1").uid.clone();
    let lost = world.snapshot.pods.iter().position(|pod| pod.set_uid == old).unwrap();
    world.snapshot.pods.remove(lost);
    world.run(1);
    let born = world.snapshot.pods.iter().find(|pod| pod.set_uid == old && !world.numbers.contains_key(&pod.uid)).unwrap().uid.clone();
    world.numbers.values_mut().for_each(|number| *number = Ok(0.0));
    world.numbers.insert(born.clone(), Ok(5.0));
    world.run(20);
    assert_eq!((world.status().draining[0].drained_pods, gone(&world)), (2, false));
    world.numbers.insert(born.clone(), Err("no answer".into()));
    world.run(20);
    assert_eq!((world.status().draining[0].reason.as_str(), gone(&world)), ("MetricUnreadable", false));
    world.numbers.insert(born, Ok(0.0));
    world.run(3);
    assert!(gone(&world), "{:#?}", world.status().draining);
}

#[test]
fn each_pod_leaves_with_its_own_number() {
    let mut world = moved(Ok(1.0), &json!({"scaleDown": "PerPod"}));
    let one = world.snapshot.pods.iter().find(|pod| pod.set_uid == world.set("v1").uid).unwrap().uid.clone();
    world.numbers.insert(one.clone(), Ok(0.0));
    world.run(40);
    assert!(!world.snapshot.pods.iter().any(|pod| pod.uid == one && pod.alive()), "{:#?}", world.status().draining);
    assert_eq!(world.status().draining.iter().map(|row| row.pods).sum::<i32>(), 2);
}

#[test]
fn without_a_service_the_number_decides_alone() {
    let mut changes = drain(&json!({}));
    changes["traffic"] = json!({"services": []});
    let mut world = World::installed("v1", &changes);
    for pod in &world.snapshot.pods {
        world.numbers.insert(pod.uid.clone(), Ok(1.0));
    }
    world.apply_version("v2");
    world.settle();
    world.run(100);
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "MetricTooHigh".into()));
    world.numbers.values_mut().for_each(|number| *number = Ok(0.0));
    let seconds = stay(&mut world);
    assert!((101.0..105.0).contains(&seconds), "{seconds}");
}

#[test]
fn nobody_reads_before_the_move_or_while_it_bakes() {
    let mut world = World::installed("v1", &drain(&json!({})));
    world.edit(|spec| spec.bake.seconds = 60);
    for pod in &world.snapshot.pods {
        world.numbers.insert(pod.uid.clone(), Ok(1.0));
    }
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.active(), "v2");
    world.run(30);
    assert!(world.plan.effects.reads.is_empty());
    world.run(32);
    assert_eq!(world.plan.effects.reads.len(), 3);
}
