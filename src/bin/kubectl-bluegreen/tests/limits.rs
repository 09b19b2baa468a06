use serde_json::{Value, json};

use super::*;
use crate::fixtures::{annotated, coming, left, now, rejected, row, sets, stale, switch, with};
use crate::text::Page;

/// What is said of it now.
fn told(object: &BlueGreenDeployment, sets: &[Set]) -> String {
    let mut page = Page::new(80);
    crate::text::limits(&mut page, &of(object, object.status.as_ref().unwrap(), sets), now());
    page.text(false).trim().to_owned()
}

fn hooked(mut object: BlueGreenDeployment, rows: Value) -> BlueGreenDeployment {
    object.status.as_mut().unwrap().hooks = serde_json::from_value(rows).unwrap();
    object
}

#[test]
fn pods_that_start_have_so_much_time() {
    let starting = coming(r#"{"progressDeadlineSeconds": 120}"#, "BringUp", "");
    let (pods, none) = (sets(&[("new", "", 2)]), sets(&[("new", "", 0)]));
    assert_eq!(told(&starting, &none), "");
    assert_eq!(told(&starting, &pods), "new has 1m30s more to become available; after that the release is stalled");
    assert_eq!(told(&stale(starting.clone()), &pods), "");
    for (spec, phase) in [(r#"{"paused": true}"#, "BringUp"), ("{}", "AwaitPromotion"), (r#"{"progressDeadlineSeconds": 30}"#, "BringUp")] {
        assert_eq!(told(&coming(spec, phase, ""), &pods), "", "{spec} {phase}");
    }
    let job = |result: &str, finished: Option<&str>| {
        json!([{"point": "SmokeProbes", "name": "it", "revision": "new", "attempt": 2, "job": "shop-it", "result": result, "message": "",
            "startedAt": "2026-01-01T00:09:40Z", "finishedAt": finished}])
    };
    assert_eq!(told(&hooked(starting.clone(), job("Running", None)), &pods), "");
    let after = told(&hooked(starting, job("Succeeded", Some("2026-01-01T00:09:50Z"))), &pods);
    assert!(after.starts_with("new has 1m50s more"), "{after}");
}

#[test]
fn a_switch_that_comes_by_itself_is_counted_down_to() {
    let said = "revision new passed and takes the traffic at 2026-01-01T00:11:05Z; at once by: kubectl annotate bgd shop";
    let waits = coming(r#"{"promotion": {"afterSeconds": 60}}"#, "AwaitPromotion", said);
    assert_eq!(told(&waits, &[]), "new takes the traffic by itself in 1m05s");
    assert_eq!(told(&annotated(waits, "bluegreen.dev/promote", "new"), &[]), "");
    assert_eq!(told(&coming(r#"{"promotion": {"mode": "Manual"}}"#, "AwaitPromotion", "waits"), &[]), "");
}

#[test]
fn an_overlap_and_a_bake_last_so_long_at_least() {
    let mut moved = switch(Some("old"), "new");
    moved["completedAt"] = Value::Null;
    moved["cutover"] = "Overlap".into();
    let during = |phase: &str, spec: &str, moved: &Value| {
        let fields = json!({"phase": phase, "revision": "new", "switch": moved, "active": row("new", "green", 2)});
        told(&with(spec, &fields.to_string(), &[]), &[])
    };
    let spec = r#"{"traffic": {"services": ["shop"], "cutover": "Overlap", "overlapSeconds": 150}, "bake": {"seconds": 300}}"#;
    assert_eq!(during("Switch", spec, &moved), "both revisions serve for 30s more at least");
    moved["narrowedAt"] = "2026-01-01T00:09:00Z".into();
    assert_eq!(during("Switch", spec, &moved), "");
    moved["completedAt"] = "2026-01-01T00:09:00Z".into();
    assert_eq!(during("Bake", spec, &moved), "new bakes for 4m00s more at least");
    assert_eq!(during("Converge", spec, &moved), "");
    // Nothing is said about the verdict of a probe that is missing after its end.
    assert_eq!(during("Bake", r#"{"bake": {"seconds": 60}}"#, &moved), "");
}

#[test]
fn what_was_given_up_stays_for_a_look() {
    let given_up = rejected("SmokeFailed", None);
    let standing = sets(&[("old", "serving@1", 2), ("new", "", 2)]);
    assert_eq!(told(&given_up, &standing), "the pods of new stay for a look for 4m00s more");
    assert_eq!(told(&given_up, &sets(&[("old", "serving@1", 2), ("new", "", 0)])), "");
    // One that has served drains.
    assert_eq!(told(&rejected("RolledBack", Some("old")), &sets(&[("new", "serving@2", 2)])), "");
    assert_eq!(told(&left(Some(1)), &standing), "");
}
