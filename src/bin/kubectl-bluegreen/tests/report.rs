use serde_json::json;

use super::*;
use crate::fixtures::{coming, left, rejected, released, selected, sets};

#[test]
fn programs_get_all_of_it_under_names_that_stay() {
    let report = Report::of(&left(Some(3)), &sets(&[("new", "serving@2", 2)]), &selected("new"));
    let value = serde_json::to_value(&report).unwrap();
    let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "commands",
            "current",
            "draining",
            "goal",
            "hooks",
            "limits",
            "name",
            "namespace",
            "paused",
            "phase",
            "probes",
            "rejected",
            "revision",
            "revisions",
            "services",
            "stalled",
            "steps",
            "waiting"
        ]
    );
    assert_eq!(value["services"], json!([{"service": "shop", "preview": false, "exists": true, "revision": "new"}]));
    assert_eq!(value["steps"][0], json!({"name": "bring up", "state": "done"}));
    assert_eq!(value["steps"][4]["state"], "now");
    assert_eq!(value["revisions"][0]["images"], json!(["registry.example.com/shop:v2"]));
}

#[test]
fn a_parked_service_leads_nowhere() {
    let report = Report::of(&released(), &[], &selected("none"));
    assert_eq!((report.services[0].exists, report.services[0].revision.as_deref()), (true, None));
}

fn states(object: &BlueGreenDeployment) -> Vec<(&'static str, State)> {
    Report::of(object, &[], &Selections::new()).steps.into_iter().map(|step| (step.name, step.state)).collect()
}

#[test]
fn each_phase_has_its_step() {
    for (phase, here, state) in [
        ("Blocked", "bring up", State::Stalled),
        ("BringUp", "bring up", State::Now),
        ("Smoke", "smoke", State::Now),
        ("Switch", "switch", State::Now),
        ("Converge", "converge", State::Now),
        ("Drain", "drain", State::Now),
        ("Complete", "done", State::Done),
        ("Paused", "bring up", State::Waits),
    ] {
        let states = states(&coming("{}", phase, ""));
        let at = states.iter().position(|(name, _)| *name == here).unwrap();
        assert_eq!(states[at].1, state, "{phase}");
        assert!(
            states[..at].iter().all(|(_, state)| *state == State::Done) && states[at + 1..].iter().all(|(_, state)| *state == State::ToCome),
            "{phase}"
        );
        assert!(states.iter().all(|(name, _)| *name != "promotion"), "{phase}");
    }
    let manual = states(&coming(r#"{"promotion": {"mode": "Manual"}}"#, "AwaitPromotion", ""));
    assert!(manual.contains(&("promotion", State::Waits)));
    // Steps that a spec does not have are not shown.
    let bakes = states(&coming(r#"{"bake": {"seconds": 60}}"#, "Bake", ""));
    assert_eq!(bakes.iter().position(|step| *step == ("bake", State::Now)), Some(5 - 1));
    for timed in [r#"{"promotion": {"afterSeconds": 60}}"#, r#"{"promotion": {"windows": [{"schedule": "0 9 * * *", "durationSeconds": 60}]}}"#] {
        assert!(states(&coming(timed, "AwaitPromotion", "")).contains(&("promotion", State::Waits)), "{timed}");
    }
}

#[test]
fn when_the_switch_comes_by_itself_is_said() {
    let said = "revision new passed and takes the traffic at 2026-11-27T12:00:00Z; at once by: kubectl annotate bgd shop";
    let object = coming(r#"{"promotion": {"afterSeconds": 60}}"#, "AwaitPromotion", said);
    let step = Report::of(&object, &[], &Selections::new()).steps.into_iter().find(|step| step.name == "promotion").unwrap();
    let expected = "revision new passed and takes the traffic at 2026-11-27T12:00:00Z; kubectl bluegreen promote shop gives it at once";
    assert_eq!(step.note.as_deref(), Some(expected));
}

#[test]
fn what_was_given_up_failed_where_it_did() {
    let failed = |object| states(&object).into_iter().find(|(_, state)| *state == State::Failed).map(|(name, _)| name);
    assert_eq!(failed(rejected("SmokeFailed", None)), Some("smoke"));
    assert_eq!(failed(rejected("HookFailed", None)), Some("switch"));
    assert_eq!(failed(rejected("BakeFailed", Some("old"))), Some("bake"));
    assert_eq!(failed(rejected("Aborted", None)), Some("switch"));
    assert_eq!(failed(rejected("RolledBack", Some("old"))), Some("switch"));
}

#[test]
fn a_release_that_takes_too_long_is_stalled_where_it_stands() {
    let mut object = coming("{}", "BringUp", "");
    let stalled = crate::fixtures::status("{}", &[("Stalled", "ProgressDeadlineExceeded", "too slow")]).status.unwrap().conditions;
    object.status.as_mut().unwrap().conditions = stalled;
    let report = Report::of(&object, &[], &Selections::new());
    assert_eq!((report.steps[0].state, report.steps[0].note.as_deref()), (State::Stalled, Some("too slow")));
}

#[test]
fn a_revision_that_comes_back_while_it_drains_has_one_row() {
    let mut object = coming("{}", "Paused", "");
    object.status.as_mut().unwrap().draining = vec![serde_json::from_value(crate::fixtures::draining("new", None)).unwrap()];
    let rows: Vec<(String, &str)> = Report::of(&object, &[], &Selections::new()).revisions.into_iter().map(|row| (row.revision, row.state)).collect();
    assert_eq!(rows, [("old".to_owned(), "active"), ("new".to_owned(), "incoming")]);
}
