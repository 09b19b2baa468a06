use bluegreen::api::BlueGreenDeployment;
use bluegreen::release::Set;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{annotated, coming, draining, left, now, object, rejected, released, row, selected, selecting, sets, switch, with};
use crate::report::Selections;

fn shown(object: &BlueGreenDeployment, sets: &[Set], services: &Selections) -> String {
    page(&Report::of(object, sets, services), now(), 80).text(false)
}

#[test]
fn a_release_under_way() {
    let mut object = coming(
        r#"{"traffic": {"services": ["shop"], "previewServices": ["shop-preview"]}}"#,
        "Smoke",
        "revision new is brought up: 1 of 2 pods passed the smoke probes",
    );
    let probe = |target: &str, result: &str, message: &str| json!({"name": "home", "target": target, "result": result, "attempts": 2, "message": message, "at": "2026-01-01T00:09:00Z"});
    let rows = json!([probe("shop-new-a", "Running", "status 500, which is not among 200"), probe("shop-new-b", "Passed", "")]);
    object.status.as_mut().unwrap().smoke_probes = serde_json::from_value(rows).unwrap();
    let services = selecting(&[("shop", "bluegreen.dev/revision", "old"), ("shop-preview", "bluegreen.dev/revision", "new")]);
    assert_eq!(
        shown(&object, &sets(&[("old", "serving@1", 2), ("new", "", 2)]), &services),
        "\
shop in shops  revision new is tested

  ✓ bring up
  ▶ smoke     1 of 2 pods passed the smoke probes
  · switch
  · converge
  · drain
  · done

  new has 9m30s more to become available; after that the release is stalled

  REVISION  COLOR  STATE     READY  SINCE  IMAGES
  old       blue   active    2/2    30s    registry.example.com/shop:v2
  new       green  incoming  1/2    30s    registry.example.com/shop:v2

  Service  shop         → blue old
  preview  shop-preview → green new

  PROBE  AT                    TRIES
  home   shop-new-a  ▶ runs    2
  home   shop-new-b  ✓ passed  2
    home on shop-new-a: status 500, which is not among 200
"
    );
}

#[test]
fn a_drain_names_who_holds_it_and_counts_down() {
    assert_eq!(
        shown(&left(Some(3)), &sets(&[("new", "serving@2", 2)]), &selected("new")),
        "\
shop in shops  revision new serves; the old pods drain

  ✓ bring up
  ✓ smoke
  ✓ switch
  ✓ converge
  ▶ drain     2 old pods are left, with 3 open connections
  · done

  REVISION  COLOR  STATE     READY   SINCE  IMAGES
  new       green  active    2/2     30s    registry.example.com/shop:v2
  old       blue   draining  2 left  60s

  Service  shop → green new

  old drains: 3 connections are open, the oldest for 5m; 1 of 2 pods have
              drained; at most 9m00s more
    2 connections  to port 8080  from web/client-0
    1 connection   to port 9000  from 10.0.0.7
"
    );
}

#[test]
fn two_revisions_that_serve_together_are_shown_as_such() {
    let said = "revisions old and new serve together until 2 new pods have been endpoints for 60 s; 1 by now";
    let mut moved = switch(Some("old"), "new");
    moved["cutover"] = "Overlap".into();
    moved["completedAt"] = Value::Null;
    let fields = json!({"phase": "Switch", "revision": "new", "switch": moved, "active": row("new", "green", 2)});
    let object = with("{}", &fields.to_string(), &[("Reconciling", "Switch", said)]);
    let attempt = object.status.as_ref().unwrap().switch.as_ref().unwrap().attempt;
    let services = selecting(&[("shop", "bluegreen.dev/serving", &format!("new.{attempt}"))]);
    let text = shown(&object, &sets(&[("old", "serving@1", 2), ("new", "serving@2", 2)]), &services);
    assert!(text.contains("  ▶ switch    revisions old and new serve together until 2 new pods have been\n"), "{text}");
    assert!(text.contains("  Service  shop → green new and blue old\n"), "{text}");
    assert!(text.contains("  old       blue   beside  2/2"), "{text}");
}

#[test]
fn a_deadline_that_is_over_and_a_count_that_is_not_known_are_said_so() {
    let mut late = draining("old", None);
    late["deadline"] = "2026-01-01T00:09:59Z".into();
    late["oldestSince"] = Value::Null;
    let fields =
        json!({"phase": "Drain", "revision": "new", "switch": switch(Some("old"), "new"), "active": row("new", "green", 2), "draining": [late]});
    let text = shown(&with("{}", &fields.to_string(), &[]), &[], &selected("new"));
    assert!(text.contains("how many connections are open is not known; 1 of 2 pods have\n"), "{text}");
    assert!(text.contains("; the deadline is over\n"), "{text}");
}

#[test]
fn what_was_given_up_says_why_in_full() {
    let mut object = rejected("SmokeFailed", None);
    let long =
        "smoke probe `home` failed 3 times in a row on pod shop-new-a: the answer was status 500, which is not among those that are expected (200)";
    object.status.as_mut().unwrap().rejected.as_mut().unwrap().message = long.into();
    let text = shown(&object, &sets(&[("old", "serving@1", 2), ("new", "", 2)]), &selected("old"));
    assert_eq!(
        text,
        "\
shop in shops  revision new was given up (SmokeFailed); old serves

  ✓ bring up
  ✗ smoke     smoke probe `home` failed 3 times in a row on pod shop-new-a: the
              answer was status 500, which is not among those that are expected
              (200)
  · switch
  · converge
  · drain
  · done

  the pods of new stay for a look for 4m00s more

  REVISION  COLOR  STATE     READY  SINCE  IMAGES
  old       blue   active    2/2    30s    registry.example.com/shop:v2
  new       blue   rejected  2/2    60s    registry.example.com/shop:v2

  Service  shop → blue old
"
    );
}

#[test]
fn of_what_was_given_up_only_failed_probes_are_shown() {
    let mut object = rejected("SmokeFailed", None);
    let probe = |target: &str, result: &str| json!({"name": "home", "target": target, "result": result, "attempts": 3, "at": "2026-01-01T00:09:00Z"});
    object.status.as_mut().unwrap().smoke_probes = serde_json::from_value(json!([probe("pod-a", "Failed"), probe("pod-b", "Passed")])).unwrap();
    let text = shown(&object, &[], &selected("old"));
    assert!(text.contains("  home   pod-a  ✗ failed  3\n") && !text.contains("pod-b"), "{text}");
}

#[test]
fn hooks_of_the_latest_release_are_shown_with_their_jobs() {
    let mut object = coming("{}", "Switch", "revision new passed; hook \"check\" of beforeSwitch is running");
    let hook = |point: &str, name: &str, attempt: i64, result: &str, message: &str| {
        json!({"point": point, "name": name, "revision": "new", "attempt": attempt, "job": format!("shop-{name}-x"), "result": result, "message": message,
            "startedAt": "2026-01-01T00:09:00Z", "finishedAt": (result != "Running").then_some("2026-01-01T00:09:30Z")})
    };
    let rows = json!([
        hook("AfterSwitch", "old", 1, "Succeeded", ""),
        hook("BeforeBringUp", "migrate", 2, "Succeeded", ""),
        hook("BeforeSwitch", "check", 2, "Running", ""),
        hook("AfterSwitch", "purge", 2, "Failed", "DeadlineExceeded: Job was active longer than specified deadline"),
    ]);
    object.status.as_mut().unwrap().hooks = serde_json::from_value(rows).unwrap();
    let text = shown(&object, &[], &selected("old"));
    let expected = "
  HOOK     AT                               JOB
  migrate  beforeBringUp  ✓ succeeded  30s  shop-migrate-x
  check    beforeSwitch   ▶ runs       60s  shop-check-x
  purge    afterSwitch    ✗ failed     30s  shop-purge-x
    purge of afterSwitch: DeadlineExceeded: Job was active longer than specified
    deadline
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_is_blocked_says_what_to_correct() {
    let message = "spec.traffic.services[0]: Service \"shop\" does not exist in this namespace; create it without a selector, or remove it here";
    let blocked = with("{}", r#"{"phase": "Blocked"}"#, &[("Stalled", "ServiceMissing", message)]);
    let text = shown(&blocked, &[], &Selections::new());
    assert!(text.starts_with("shop in shops  something must be corrected before the release begins; nothing\n               serves yet\n"), "{text}");
    assert!(text.contains("  ! bring up  spec.traffic.services[0]: Service \"shop\" does not exist in this\n"), "{text}");
    assert!(text.contains("  Service  shop → does not exist\n"), "{text}");
}

#[test]
fn who_waits_for_a_word_says_for_which() {
    let manual = r#"{"promotion": {"mode": "Manual"}, "smokeProbes": []}"#;
    let text = shown(&coming(manual, "AwaitPromotion", "kubectl annotate"), &[], &selected("old"));
    assert!(text.contains("  ‖ promotion  revision new passed; kubectl bluegreen promote shop gives it the\n               traffic\n"), "{text}");
    assert!(text.contains("  – smoke      spec.smokeProbes is empty\n"), "{text}");
    assert!(!text.contains("annotate"), "{text}");
    let said = annotated(coming(manual, "AwaitPromotion", ""), "bluegreen.dev/promote", "new");
    assert!(shown(&said, &[], &selected("old")).contains("  ‖ promotion  promoted; the switch begins\n"));
}

#[test]
fn a_pause_a_return_and_a_finished_release_have_their_own_words() {
    let paused = coming(r#"{"paused": true}"#, "Paused", "spec.paused is true: the switch waits");
    assert!(shown(&paused, &[], &selected("old")).contains("the release is held by spec.paused; old serves\n"));
    let mut back = rejected("RolledBack", Some("old"));
    back.status.as_mut().unwrap().phase = Some(PhaseName::BringUp);
    let text = shown(&back, &[], &selected("new"));
    assert!(text.starts_with("shop in shops  revision new was given up (RolledBack); on the way back to old\n"), "{text}");
    // Given up a moment ago: the phase is still that before.
    let mut failed = rejected("SmokeFailed", None);
    failed.status.as_mut().unwrap().phase = Some(PhaseName::Smoke);
    let given_up = shown(&failed, &sets(&[("old", "serving@1", 2), ("new", "", 2)]), &selected("old"));
    assert!(given_up.starts_with("shop in shops  revision new was given up (SmokeFailed); old serves\n"), "{given_up}");
    assert!(text.contains("  ▶ bring up"), "a return is not stalled because of what it returns from: {text}");
    let text = shown(&released(), &[], &selected("new"));
    assert!(text.contains("  ✓ done      revision new serves everyone\n") && !text.contains("PROBE"), "{text}");
}

#[test]
fn what_was_not_looked_at_yet_claims_nothing() {
    let text = shown(&object("{}"), &[], &Selections::from([("shop".into(), [].into())]));
    assert!(text.starts_with("shop in shops  the operator has not looked at the latest change yet\n"), "{text}");
    assert!(text.contains("  · bring up\n") && text.contains("  Service  shop → nobody yet\n"), "{text}");
    let stale = crate::fixtures::stale(released());
    assert!(!shown(&stale, &[], &selected("new")).contains('✓'));
}

#[test]
fn a_command_that_waits_is_shown() {
    let text = shown(&annotated(released(), "bluegreen.dev/rollback", "new-old"), &[], &selected("new"));
    assert!(text.ends_with("\n  the command rollback (new-old) is not carried out yet\n"), "{text}");
}

#[test]
fn many_probes_are_cut_and_each_answer_is_told_once() {
    let mut object = coming("{}", "Smoke", "");
    let probes: Vec<Value> = (0..15)
        .map(|number| json!({"name": "home", "target": format!("pod-{number}"), "result": "Running", "attempts": 1, "message": "refused", "at": "2026-01-01T00:09:00Z"}))
        .collect();
    object.status.as_mut().unwrap().smoke_probes = serde_json::from_value(probes.into()).unwrap();
    let text = shown(&object, &[], &selected("old"));
    assert!(text.contains("    and 5 more\n") && text.matches("refused").count() == 1, "{text}");
}

#[test]
fn everything_fits_whatever_the_names_are() {
    let name = "a".repeat(46);
    let mut object = left(Some(3));
    object.metadata.name = Some(name.clone());
    object.metadata.namespace = Some("n".repeat(63));
    object.spec.traffic.services = vec!["s".repeat(63)];
    let status = object.status.as_mut().unwrap();
    status.draining[0].holders[0].pod = Some(format!("{}/{}", "n".repeat(63), "世界".repeat(40)));
    let mut sets = sets(&[("new", "serving@2", 2)]);
    sets[0].images = format!("{}@sha256:{}", "registry.example.com/".repeat(5), "0".repeat(64));
    let services = selecting(&[(&"s".repeat(63), "bluegreen.dev/revision", "new")]);
    let report = Report::of(&object, &sets, &services);
    for columns in [40, 80, 120] {
        for line in page(&report, now(), columns).text(false).lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= columns, "{columns}: {line}");
        }
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let page = page(&Report::of(&left(Some(3)), &[], &selected("new")), now(), 80);
    assert!(page.text(true).contains("\x1b[94mold\x1b[0m") && page.text(true).contains("\x1b[32mgreen\x1b[0m"));
    assert!(!page.text(false).contains('\x1b'));
}

#[test]
fn members_of_a_group_stand_side_by_side() {
    let promotion = r#"{"promotion": {"group": {"name": "storefront", "release": "42"}}}"#;
    let mut shop = coming(promotion, "AwaitPromotion", "revision new passed; waits for cart (smoke probes are running)");
    shop.metadata.uid = Some("uid-shop".into());
    let status = shop.status.as_mut().unwrap();
    let waits = status.conditions.iter_mut().find(|condition| condition.kind == bluegreen::api::ConditionType::Reconciling).unwrap();
    waits.reason = "WaitsForGroup".into();
    status.group = serde_json::from_value(json!({"name": "storefront", "state": "Ready", "revision": "new"})).unwrap();
    let mut cart = coming(promotion, "Smoke", "");
    (cart.metadata.name, cart.metadata.uid) = (Some("cart".into()), Some("uid-cart".into()));
    cart.status.as_mut().unwrap().group = serde_json::from_value(json!({"name": "storefront", "state": "Preparing"})).unwrap();
    let report = || Report::of(&shop, &sets(&[("old", "serving@1", 2)]), &Selections::new());
    let forbidden = crate::cluster::failed("the bluegreendeployments could not be listed", "forbidden");
    let unread = page(&report().grouped(&shop, Err(forbidden)), now(), 80).text(false);
    let why = "\n  what the other members of its group do is not known: the bluegreendeployments\n  could not be listed: forbidden\n";
    assert!(unread.contains(why) && unread.contains("waits for its group"), "{unread}");
    let page = page(&report().grouped(&shop, Ok(vec![shop.clone(), cart])), now(), 80).text(false);
    assert!(page.starts_with("shop in shops  revision new is tested and waits for its group\n"), "{page}");
    assert!(page.contains("‖ promotion  revision new passed; waits for cart (smoke probes are running)"), "{page}");
    assert!(
        page.contains("  GROUP  RELEASE  ACTIVE\n  cart   42       old     smoke probes are running\n  shop   42       old     ready\n"),
        "{page}"
    );
}
