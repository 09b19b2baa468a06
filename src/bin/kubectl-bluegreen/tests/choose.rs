use super::*;
use crate::fixtures::{annotated, coming, draining, left, object, rejected, released, sets, stale, switch, with};

const MANUAL: &str = r#"{"promotion": {"mode": "Manual"}}"#;

fn two() -> Vec<Set> {
    sets(&[("old", "retired@1", 0), ("new", "serving@2", 2)])
}

fn said(choice: Choice) -> (String, String) {
    let word = choice.unwrap();
    (format!("{}={}", word.key, word.value), word.then)
}

fn refused(choice: Choice) -> String {
    match choice {
        Err(No::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.into(), other.into())
}

#[test]
fn promote_names_the_revision_that_waits() {
    let waits = coming(MANUAL, "AwaitPromotion", "waits");
    assert_eq!(said(promote(&waits, &two())), pair("bluegreen.dev/promote=new", "revision new takes the traffic now"));
    let early = coming(MANUAL, "Smoke", "runs");
    assert_eq!(said(promote(&early, &two())).1, "revision new takes the traffic as soon as its smoke probes have passed");
    let held = coming(r#"{"promotion": {"mode": "Manual"}, "paused": true}"#, "Paused", "held");
    assert!(said(promote(&held, &two())).1.ends_with(", once kubectl bluegreen resume shop lets it go on"));
    assert_eq!(promote(&waits, &two()).unwrap().aim, Aim::Serves("new".into()));
}

#[test]
fn promote_goes_before_a_time_that_the_release_waits_for() {
    let window = r#"{"schedule": "0 9 * * 1-5", "timeZone": "UTC", "durationSeconds": 60}"#;
    for promotion in [r#"{"afterSeconds": 600}"#.to_owned(), format!(r#"{{"windows": [{window}]}}"#)] {
        let waits = coming(&format!(r#"{{"promotion": {promotion}}}"#), "AwaitPromotion", "waits");
        assert_eq!(said(promote(&waits, &two())), pair("bluegreen.dev/promote=new", "revision new takes the traffic now"), "{promotion}");
    }
    let grouped = coming(r#"{"promotion": {"afterSeconds": 600, "group": {"name": "shop"}}}"#, "AwaitPromotion", "waits");
    assert_eq!(said(promote(&grouped, &two())).1, "revision new takes the traffic now, together with its group");
}

#[test]
fn promote_is_refused_where_there_is_nothing_to_promote() {
    assert_eq!(refused(promote(&released(), &two())), "revision new is active already; there is nothing to promote");
    let why = refused(promote(&coming("{}", "Smoke", ""), &two()));
    assert_eq!(why, "spec.promotion waits for nobody's word: revision new takes the traffic by itself as soon as its smoke probes have passed");
    let why = refused(promote(&coming(r#"{"promotion": {"group": {"name": "shop"}}}"#, "AwaitPromotion", ""), &two()));
    assert!(why.ends_with("as soon as its group is ready as well, which promote can't hasten"), "{why}");
    let why = refused(promote(&rejected("SmokeFailed", None), &two()));
    assert_eq!(why, "revision new was given up (SmokeFailed); kubectl bluegreen retry shop tries it again");
    let no_revision = with("{}", r#"{"phase": "Blocked"}"#, &[("Stalled", "TemplateRefused", "the API server refuses spec.template: no")]);
    assert_eq!(refused(promote(&no_revision, &[])), "the template is no revision yet: the API server refuses spec.template: no");
}

#[test]
fn nothing_is_said_about_a_change_that_the_operator_has_not_seen() {
    for object in [object("{}"), stale(released()), with("{}", r#"{"phase": "BringUp"}"#, &[])] {
        assert_eq!(promote(&object, &two()), Err(No::NotYet));
        assert_eq!(abort(&object, &two()), Err(No::NotYet));
    }
    assert_eq!(rollback(&stale(released()), &two(), None), Err(No::NotYet));
    assert_eq!(retry(&stale(released()), &two()), Err(No::NotYet));
    let mut deleted = released();
    deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(crate::fixtures::now()));
    assert_eq!(refused(abort(&deleted, &two())), "shop is being deleted");
}

#[test]
fn abort_before_the_switch_leaves_the_traffic_alone() {
    let word = abort(&coming("{}", "Smoke", ""), &two()).unwrap();
    assert_eq!(word.then, "revision new is given up; traffic is not touched, and its pods stay 300 s for a look");
    assert_eq!((word.key, word.value.as_str(), word.aim), (command::ABORT, "new", Aim::GivenUp("new".into())));
}

#[test]
fn abort_after_the_switch_goes_back() {
    let standing = sets(&[("old", "serving@1", 2), ("new", "serving@2", 2)]);
    let word = abort(&left(Some(3)), &standing).unwrap();
    assert_eq!(
        (word.then.as_str(), word.aim),
        ("revision new is given up; traffic goes back to old: its pods still stand", Aim::Serves("old".into()))
    );
    assert!(said(abort(&left(None), &two())).1.ends_with("its pods are started and tested first"));
    let gone = sets(&[("new", "serving@2", 2)]);
    assert_eq!(refused(abort(&left(None), &gone)), "revision new can't be aborted: there is no earlier revision to go back to");
}

#[test]
fn abort_is_refused_where_nothing_is_under_way() {
    assert_eq!(refused(abort(&released(), &two())), "the release of new is complete; kubectl bluegreen rollback shop leaves it for old");
    assert_eq!(refused(abort(&rejected("Aborted", None), &two())), "revision new was given up already (Aborted)");
}

#[test]
fn retry_names_what_was_given_up() {
    let word = retry(&rejected("SmokeFailed", None), &two()).unwrap();
    assert_eq!((word.key, word.value.as_str()), (command::RETRY, "new"));
    assert_eq!(word.then, "revision new is tried again: its pods still stand");
    assert_eq!(refused(retry(&released(), &two())), "no revision of shop was given up; there is nothing to try again");
}

#[test]
fn rollback_goes_to_what_served_before() {
    let three = sets(&[("oldest", "retired@1", 0), ("old", "retired@2", 0), ("new", "serving@3", 2), ("never", "", 0)]);
    let word = rollback(&released(), &three, None).unwrap();
    assert_eq!((word.key, word.value.as_str(), word.aim), (command::ROLLBACK, "new-old", Aim::Serves("old".into())));
    assert_eq!(word.then, "traffic goes back from new to old: its pods are started and tested first");
    assert_eq!(rollback(&released(), &three, Some("oldest")).unwrap().value, "new-oldest");
}

#[test]
fn a_second_rollback_does_not_go_forth_again() {
    let three = sets(&[("oldest", "retired@1", 0), ("new", "retired@2", 0), ("old", "serving@3", 2)]);
    assert_eq!(rollback(&rejected("RolledBack", Some("old")), &three, None).unwrap().value, "old-oldest");
    // But it may be asked for by name.
    assert_eq!(rollback(&rejected("RolledBack", Some("old")), &three, Some("new")).unwrap().value, "old-new");
}

#[test]
fn rollback_is_refused_where_there_is_no_way_back() {
    assert_eq!(refused(rollback(&released(), &sets(&[("new", "serving@2", 2)]), None)), "there is no earlier revision of shop to go back to");
    assert_eq!(refused(rollback(&released(), &two(), Some("new"))), "revision new is active already");
    assert_eq!(refused(rollback(&released(), &two(), Some("x"))), "revision x is not in the history of shop; there are old");
    let untested = sets(&[("never", "", 0), ("new", "serving@2", 2)]);
    let why = refused(rollback(&released(), &untested, Some("never")));
    assert_eq!(why, "revision never has never served, so nothing shows that it can; there are no others");
    let why = refused(rollback(&coming("{}", "Smoke", ""), &two(), None));
    assert!(why.starts_with("revision new has not taken the traffic yet: kubectl bluegreen abort shop gives it up"), "{why}");
    assert_eq!(
        refused(rollback(&with("{}", r#"{"phase": "BringUp", "revision": "new"}"#, &[]), &[], None)),
        "no revision of shop serves yet; there is nothing to roll back"
    );
}

#[test]
fn what_serves_is_not_left_because_another_revision_failed_its_tests() {
    let three = sets(&[("oldest", "retired@1", 0), ("old", "serving@2", 2), ("new", "", 2)]);
    let why = refused(rollback(&rejected("SmokeFailed", None), &three, None));
    assert_eq!(why, "revision new never had the traffic (SmokeFailed), and old serves on; to leave old, name with --to where to go");
    assert_eq!(rollback(&rejected("SmokeFailed", None), &three, Some("oldest")).unwrap().value, "old-oldest");
}

#[test]
fn restart_names_the_active_revision() {
    assert_eq!(
        said(restart(&released(), &two())),
        pair("bluegreen.dev/restart=new", "the pods of new are replaced by new ones, as a release of its own")
    );
    assert_eq!(restart(&rejected("RolledBack", Some("old")), &two()).unwrap().value, "old");
    assert!(refused(restart(&coming("{}", "Smoke", ""), &two())).starts_with("a release is under way, whose pods are new anyway"));
    assert!(refused(restart(&with("{}", r#"{"phase": "BringUp", "revision": "new"}"#, &[]), &[])).starts_with("no revision of shop serves yet"));
}

#[test]
fn a_drain_is_ended_by_its_revision() {
    let word = finish_drain(&left(Some(3)), None).unwrap();
    assert_eq!((word.key, word.value.as_str(), word.aim), (command::FINISH_DRAIN, "old", Aim::DrainOver("old".into())));
    assert_eq!(word.then, "the pods of old end now: 3 open connections are cut");
    assert_eq!(said(finish_drain(&left(Some(0)), Some("old"))).1, "the pods of old end now: no connection is open");
    assert_eq!(said(finish_drain(&left(None), None)).1, "the pods of old end now: whatever is still connected is cut");
    let mut busy = left(Some(0));
    let row = &mut busy.status.as_mut().unwrap().draining[0];
    row.source = DrainSource::Metric;
    assert_eq!(said(finish_drain(&busy, None)).1, "the pods of old end now: their metric is not known, and no connection is open");
    busy.status.as_mut().unwrap().draining[0].metric = Some("12".into());
    assert_eq!(said(finish_drain(&busy, None)).1, "the pods of old end now: their metric comes to 12, and no connection is open");
    assert_eq!(refused(finish_drain(&released(), None)), "no revision of shop drains");
    assert_eq!(refused(finish_drain(&left(None), Some("new"))), "revision new does not drain; old does");
    let two = serde_json::json!({"phase": "Drain", "switch": switch(None, "new"), "draining": [draining("a", None), draining("b", None)]});
    assert_eq!(refused(finish_drain(&with("{}", &two.to_string(), &[]), None)), "a and b drain; name one of them");
}

#[test]
fn logs_are_of_the_revision_that_is_meant() {
    let logs = |object: &_, active, inactive, draining| logs(object, active, inactive, draining);
    let comes = coming("{}", "Smoke", "");
    assert_eq!(logs(&comes, false, false, false).unwrap(), ["old"]);
    assert_eq!(logs(&comes, true, false, false).unwrap(), ["old"]);
    assert_eq!(logs(&comes, false, true, false).unwrap(), ["new"]);
    assert_eq!(logs(&left(None), false, false, true).unwrap(), ["old"]);
    assert_eq!(logs(&rejected("SmokeFailed", None), false, true, false).unwrap(), ["new"]);
    assert_eq!(logs(&released(), false, false, true), Err(No::Refused("no revision of shop drains".into())));
    assert_eq!(logs(&object("{}"), true, false, false), Err(No::Refused("no revision of shop serves yet".into())));
    // A first install has only one revision.
    let first = with("{}", &serde_json::json!({"phase": "Smoke", "inactive": crate::fixtures::row("new", "blue", 1)}).to_string(), &[]);
    assert_eq!(logs(&first, false, false, false).unwrap(), ["new"]);
}

#[test]
fn a_command_that_is_there_already_may_be_said_again() {
    let waits = annotated(coming(MANUAL, "AwaitPromotion", "waits"), command::PROMOTE, "new");
    assert_eq!(promote(&waits, &two()).unwrap().value, "new");
}
