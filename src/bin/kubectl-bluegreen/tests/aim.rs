use bluegreen::api::keys::command;

use super::*;
use crate::fixtures::{annotated, coming, left, object, rejected, released, stale, with};

fn there(progress: Progress) -> String {
    match progress {
        Progress::There(what) => what,
        other => panic!("not there: {other:?}"),
    }
}

fn never(progress: Progress) -> String {
    match progress {
        Progress::Never(why) => why,
        other => panic!("not never: {other:?}"),
    }
}

fn is(goal: Goal, object: &BlueGreenDeployment) -> Progress {
    progress(&Aim::Is(goal), None, object)
}

#[test]
fn a_release_is_ready_then_drained() {
    assert_eq!(there(is(Goal::Ready, &released())), "revision new serves everyone");
    assert_eq!(there(is(Goal::Drained, &released())), "revision new serves everyone, and no old pods are left");
    assert_eq!(there(is(Goal::Switched, &left(Some(1)))), "revision new has the traffic");
    assert_eq!(there(is(Goal::Ready, &left(Some(1)))), "revision new serves everyone");
    assert_eq!(is(Goal::Drained, &left(Some(1))), Progress::NotYet);
    for goal in [Goal::Ready, Goal::Switched, Goal::Drained] {
        assert_eq!(is(goal, &coming("{}", "Smoke", "")), Progress::NotYet);
    }
}

#[test]
fn what_is_not_about_the_present_spec_says_nothing() {
    for object in [object("{}"), stale(released()), stale(rejected("SmokeFailed", None))] {
        assert_eq!(is(Goal::Ready, &object), Progress::NotYet);
    }
    // Commands that wait to be carried out change the answer.
    for key in [command::ROLLBACK, command::RESTART, command::RETRY, command::ABORT] {
        assert_eq!(is(Goal::Ready, &annotated(released(), key, "new")), Progress::NotYet, "{key}");
        assert_eq!(is(Goal::Ready, &annotated(rejected("SmokeFailed", None), key, "new")), Progress::NotYet, "{key}");
    }
    assert!(matches!(is(Goal::Ready, &annotated(released(), command::PROMOTE, "new")), Progress::There(_)));
}

#[test]
fn what_was_given_up_is_not_waited_for() {
    let why = never(is(Goal::Ready, &rejected("SmokeFailed", None)));
    assert_eq!(why, "revision new was given up because of SmokeFailed (SmokeFailed)");
    let blocked = with("{}", r#"{"phase": "Blocked"}"#, &[("Stalled", "ServiceMissing", "Service \"shop\" does not exist")]);
    assert_eq!(is(Goal::Drained, &blocked), Progress::Blocked("Service \"shop\" does not exist (ServiceMissing)".into()));
    // It goes on by itself when the cause is gone.
    let slow = with("{}", r#"{"phase": "BringUp", "revision": "new"}"#, &[("Stalled", "ProgressDeadlineExceeded", "too slow")]);
    assert_eq!(is(Goal::Ready, &slow), Progress::NotYet);
}

#[test]
fn a_promotion_is_over_when_the_traffic_has_moved() {
    let aim = Aim::Serves("new".into());
    let key = Some(command::PROMOTE);
    assert_eq!(there(progress(&aim, key, &left(None))), "revision new has the traffic");
    assert_eq!(progress(&aim, key, &annotated(coming("{}", "AwaitPromotion", ""), command::PROMOTE, "new")), Progress::NotYet);
    assert_eq!(never(progress(&aim, key, &rejected("SmokeFailed", None))), "revision new was given up because of SmokeFailed");
}

#[test]
fn a_way_back_is_over_when_the_old_revision_has_the_traffic() {
    let aim = Aim::Serves("old".into());
    assert_eq!(there(progress(&aim, Some(command::ABORT), &rejected("Aborted", Some("old")))), "revision old has the traffic");
    // Written, and not looked at yet.
    assert_eq!(progress(&aim, Some(command::ROLLBACK), &annotated(released(), command::ROLLBACK, "new-old")), Progress::NotYet);
    // On its way.
    let mut back = left(None);
    back.status.as_mut().unwrap().rejected = rejected("Aborted", Some("old")).status.unwrap().rejected;
    assert_eq!(progress(&aim, Some(command::ABORT), &back), Progress::NotYet);
    // The operator has taken the annotation off and gone nowhere.
    let why = never(progress(&aim, Some(command::ROLLBACK), &released()));
    assert_eq!(why, "the operator did not carry it out; kubectl describe bgd shop shows the Event that says why");
}

#[test]
fn giving_up_and_trying_again_are_seen_in_what_is_rejected() {
    let gave_up = Aim::GivenUp("new".into());
    assert_eq!(there(progress(&gave_up, Some(command::ABORT), &rejected("Aborted", None))), "revision new was given up because of Aborted");
    let written = annotated(coming("{}", "Smoke", ""), command::ABORT, "new");
    assert_eq!(progress(&gave_up, Some(command::ABORT), &written), Progress::NotYet);
    assert!(never(progress(&gave_up, Some(command::ABORT), &coming("{}", "Smoke", ""))).contains("did not carry it out"));
    let again = Aim::TriedAgain("new".into());
    assert_eq!(progress(&again, Some(command::RETRY), &annotated(rejected("Aborted", None), command::RETRY, "new")), Progress::NotYet);
    assert_eq!(there(progress(&again, Some(command::RETRY), &coming("{}", "BringUp", ""))), "revision new is being tried again");
    assert!(never(progress(&again, Some(command::RETRY), &rejected("Aborted", None))).contains("did not carry it out"));
}

#[test]
fn a_restart_is_over_when_new_pods_serve_and_a_drain_when_its_row_is_gone() {
    let restarted = Aim::Restarted("old".into());
    assert_eq!(progress(&restarted, Some(command::RESTART), &annotated(released(), command::RESTART, "old")), Progress::NotYet);
    assert_eq!(progress(&restarted, Some(command::RESTART), &coming("{}", "BringUp", "")), Progress::NotYet);
    assert!(matches!(progress(&restarted, Some(command::RESTART), &released()), Progress::There(_)));
    // The annotation is gone, and status does not know of the new revision yet.
    assert_eq!(progress(&Aim::Restarted("new".into()), Some(command::RESTART), &released()), Progress::NotYet);
    let over = Aim::DrainOver("old".into());
    assert_eq!(progress(&over, Some(command::FINISH_DRAIN), &left(Some(3))), Progress::NotYet);
    assert_eq!(there(progress(&over, Some(command::FINISH_DRAIN), &released())), "revision old does not drain any more");
}
