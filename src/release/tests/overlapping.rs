//! Two revisions serve together for a while, for load balancers that address pods.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True};
use crate::api::{ConditionType, Cutover, PhaseName, keys, keys::command};

fn overlapping() -> World {
    let traffic = json!({"services": ["shop", "shop-internal"], "cutover": "Overlap", "overlapSeconds": 20});
    World::installed("v1", &json!({"traffic": traffic, "drain": {"source": "Timer", "fallbackSeconds": 5}}))
}

/// Both serve.
fn both() -> World {
    let mut world = overlapping();
    world.apply_version("v2");
    world.settle();
    assert!(world.snapshot.services.values().all(|service| service.selector.contains_key(keys::SERVING)), "{:#?}", world.transcript);
    world
}

fn endpoints(world: &World) -> usize {
    world.snapshot.endpoints["shop"].pods.len()
}

#[test]
fn a_first_install_has_nobody_to_overlap_with() {
    let mut world = overlapping();
    assert_eq!(world.selected("shop"), "v1");
    assert_eq!(world.status().switch.as_ref().unwrap().cutover, Cutover::Atomic);
    world.run(1);
    assert!(world.snapshot.pods.iter().all(|pod| pod.serving.is_none()));
}

#[test]
fn both_serve_until_the_new_ones_have_been_endpoints_for_long_enough() {
    let mut world = both();
    let moved: Vec<&str> =
        world.transcript.iter().map(String::as_str).filter(|line| line.starts_with("mark") || line.starts_with("select")).collect();
    assert_eq!(moved[..6], ["mark a pod for v2@2"; 6]);
    assert_eq!(moved[6..], ["select shop v2@2 beside", "select shop-internal v2@2 beside"]);
    assert_eq!((endpoints(&world), world.phase()), (6, PhaseName::Switch));
    assert_eq!(condition(world.status(), ConditionType::Switched), (False, "Overlapping".into()));
    let said = message(world.status(), ConditionType::Switched);
    let (one, two) = (revision("v1"), revision("v2"));
    assert_eq!(said, format!("revisions {one} and {two} serve together until 3 new pods have been endpoints for 20 s; 0 by now"));
    assert_eq!(message(world.status(), ConditionType::Ready), said);
    assert!(world.snapshot.pods.iter().all(|pod| pod.metadata.is_none()), "the old ones are not being left yet");
    world.run(19);
    assert_eq!(endpoints(&world), 6);
    world.run(1);
    assert_eq!((world.selected("shop"), world.selected("shop-internal"), endpoints(&world)), ("v2", "v2", 3));
    let end: Vec<&String> = world.transcript.iter().skip_while(|line| !line.ends_with(" alone")).collect();
    assert_eq!(end[..3], ["intent v2@2 alone", "select shop v2@2", "select shop-internal v2@2"]);
    world.until("it is over", |world| world.phase() == PhaseName::Complete);
    assert_eq!(condition(world.status(), ConditionType::Ready), (True, "Serving".into()));
    // No repair was made.
    assert!(world.snapshot.repairs.is_empty(), "{:#?}", world.transcript);
}

#[test]
fn a_pod_that_comes_late_or_again_is_waited_for_anew() {
    let mut world = both();
    world.run(15);
    let fresh = world.pods("v2")[0].uid.clone();
    world.snapshot.pods.retain(|pod| pod.uid != fresh);
    world.run(15);
    assert_eq!(endpoints(&world), 6, "also its replacement has the label");
    let said = message(world.status(), ConditionType::Switched);
    assert!(said.ends_with("; 2 by now"), "{said}");
    world.run(6);
    assert_eq!(world.selected("shop"), "v2");
}

#[test]
fn another_leader_waits_for_all_of_it_once_more() {
    let mut world = both();
    world.run(15);
    world.restart();
    world.run(19);
    assert_eq!(endpoints(&world), 6);
    world.run(3);
    assert_eq!(endpoints(&world), 3);
}

#[test]
fn one_pod_that_is_not_ready_undoes_nothing_and_none_ready_does() {
    let mut world = both();
    world.idle = true;
    let pods: Vec<String> = world.pods("v2").iter().map(|pod| pod.uid.clone()).collect();
    let set_ready = |world: &mut World, number: usize| {
        for pod in &mut world.snapshot.pods {
            if let Some(place) = pods.iter().position(|uid| *uid == pod.uid) {
                pod.ready = place < number;
            }
        }
    };
    set_ready(&mut world, 1);
    world.run(40);
    assert_eq!((world.active(), endpoints(&world)), ("v2", 6));
    set_ready(&mut world, 0);
    world.run(1);
    assert_eq!((world.active(), world.selected("shop"), world.selected("shop-internal"), endpoints(&world)), ("v1", "v1", "v1", 3));
    assert_eq!(world.status().switch.as_ref().unwrap().cutover, Cutover::Atomic);
    // Users had it: it is not tried on them again and again.
    let rejected = world.status().rejected.clone().unwrap();
    assert_eq!(rejected.reason, "LostAllReadyPods");
    let (one, two) = (revision("v1"), revision("v2"));
    assert_eq!(rejected.message, format!("revision {two} lost its last ready pod beside revision {one}; traffic went back to that"));
}

#[test]
fn pods_that_come_during_a_pause_get_traffic_too() {
    let mut world = both();
    world.edit(|spec| spec.paused = true);
    world.run(1);
    world.snapshot.pods.clear();
    world.run(3);
    assert_eq!(endpoints(&world), 6);
    assert_eq!(condition(world.status(), ConditionType::Stalled).0, False);
}

#[test]
fn a_lost_or_older_status_does_not_lead_users_back_to_old_pods() {
    for older in [false, true] {
        let mut world = both();
        let before = world.snapshot.object.status.clone();
        world.open.insert(revision("v1"), 1);
        world.edit(|spec| spec.drain.source = crate::api::DrainSource::Auto);
        world.run(22);
        assert_eq!((world.selected("shop"), endpoints(&world)), ("v2", 3));
        world.transcript.clear();
        if older {
            world.snapshot.object.status.switch = before.switch.clone();
        } else {
            world.snapshot.object.status = crate::api::BlueGreenDeploymentStatus::default();
        }
        world.run(3);
        assert_eq!((world.active(), world.selected("shop"), endpoints(&world)), ("v2", "v2", 3));
        assert!(!world.transcript.iter().any(|line| line.starts_with("select") || line.starts_with("mark")), "{:#?}", world.transcript);
    }
}

#[test]
fn an_old_template_again_takes_the_new_one_out_at_once() {
    let mut world = both();
    world.run(5);
    world.apply_version("v1");
    world.settle();
    assert_eq!((world.active(), world.selected("shop"), world.selected("shop-internal"), endpoints(&world)), ("v1", "v1", "v1", 3));
    assert_eq!(world.status().rejected, None);
    world.until("it is over", |world| world.phase() == PhaseName::Complete);
}

#[test]
fn what_was_given_up_is_never_made_to_serve_alone() {
    let mut world = both();
    world.idle = true;
    let one = world.pods("v1")[0].uid.clone();
    let ready = |world: &mut World, ready: bool| world.snapshot.pods.iter_mut().filter(|pod| pod.uid == one).for_each(|pod| pod.ready = ready);
    ready(&mut world, false);
    world.command(command::ABORT, revision("v2"));
    world.run(40);
    assert_eq!(endpoints(&world), 6, "the old ones are too few to take it all");
    ready(&mut world, true);
    world.run(1);
    assert_eq!((world.active(), world.selected("shop")), ("v1", "v1"));
}

#[test]
fn without_a_service_there_is_nothing_to_wait_for() {
    let mut world = both();
    world.edit(|spec| spec.traffic.services.clear());
    world.run(3);
    assert!(world.status().switch.as_ref().unwrap().completed_at.is_some());
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v2", "v2"));
    // One that can't be taken holds nothing up, either.
    let mut world = both();
    let mut other = service("other");
    other.kind = "ExternalName".into();
    world.snapshot.services.insert("other".into(), other);
    world.edit(|spec| spec.traffic.services.push("other".into()));
    world.run(25);
    assert_eq!(world.selected("shop"), "v2");
}

#[test]
fn a_selector_that_somebody_merges_into_is_put_back_and_told() {
    let mut world = both();
    world.service_mut("shop").selector.insert(keys::REVISION.into(), revision("v1"));
    world.run(1);
    assert!(world.transcript.iter().any(|line| line == "select shop v2@2 repair"), "{:#?}", world.transcript);
    assert_eq!(endpoints(&world), 6);
    // Also when it is over.
    world.until("it is over", |world| world.phase() == PhaseName::Complete);
    world.transcript.clear();
    world.service_mut("shop").selector = labels(&[("app", SHOP), (keys::SERVING, &format!("{}.2", revision("v2")))]);
    world.run(5);
    assert_eq!((world.selected("shop"), world.transcript.iter().filter(|line| *line == "select shop v2@2 repair").count()), ("v2", 1));
}

#[test]
fn an_overlap_that_does_not_end_makes_way_for_a_newer_template() {
    let mut world = both();
    world.edit(|spec| spec.progress_deadline_seconds = 60);
    world.idle = true;
    let one = world.pods("v2")[0].uid.clone();
    world.snapshot.pods.iter_mut().filter(|pod| pod.uid == one).for_each(|pod| pod.ready = false);
    world.run(10);
    world.apply_version("v3");
    world.run(2);
    assert_eq!((world.active(), endpoints(&world)), ("v2", 6), "it may end yet");
    world.run(80);
    // It comes beside the one that load balancers know.
    assert_eq!((world.active(), world.selected("shop"), endpoints(&world)), ("v1", "v1", 3));
    world.idle = false;
    world.until("v3 serves", |world| world.active() == "v3" && world.phase() == PhaseName::Complete);
    let went: Vec<&String> = world.transcript.iter().filter(|line| line.starts_with("select shop ")).collect();
    assert_eq!(went, ["select shop v2@2 beside", "select shop v1@3", "select shop v3@4 beside", "select shop v3@4"]);
}

#[test]
fn what_was_given_up_stays_so_whatever_the_template_means_then() {
    let mut world = both();
    world.idle = true;
    let one = world.pods("v1")[0].uid.clone();
    world.snapshot.pods.iter_mut().filter(|pod| pod.uid == one).for_each(|pod| pod.ready = false);
    world.command(command::ABORT, revision("v2"));
    world.run(2);
    world.apply_version("v3");
    world.run(40);
    assert_eq!((world.active(), endpoints(&world)), ("v2", 6), "the old ones are too few to take it all, and the new ones are not wanted");
    world.idle = false;
    world.until("v3 serves", |world| world.active() == "v3" && world.phase() == PhaseName::Complete);
    assert!(!world.transcript.iter().any(|line| line == "select shop v2@2"), "{:#?}", world.transcript);
    assert_eq!(world.status().rejected, None);
}

#[test]
fn a_pod_that_falters_after_that_was_decided_turns_nothing_round() {
    let mut world = both();
    world.run(10);
    world.idle = true;
    let one = world.pods("v2")[0].uid.clone();
    world.snapshot.pods.iter_mut().filter(|pod| pod.uid == one).for_each(|pod| pod.ready = false);
    let now = world.now().wall;
    world.snapshot.object.status.switch.as_mut().unwrap().narrowed_at = Some(now);
    world.run(1);
    assert_eq!((world.active(), world.selected("shop"), world.selected("shop-internal")), ("v2", "v2", "v2"));
    assert!(!world.transcript.iter().any(|line| line.starts_with("intent v1")), "{:#?}", world.transcript);
}

#[test]
fn no_node_is_left_without_a_pod_when_the_old_ones_leave() {
    let mut world = both();
    world.service_mut("shop").internal_local = true;
    let (old, new) = (world.pods("v1")[0].uid.clone(), world.set("v2").uid.clone());
    for pod in &mut world.snapshot.pods {
        if pod.uid == old {
            pod.node = Some("node-2".into());
        } else if pod.set_uid == new {
            pod.node = Some("node-1".into());
        }
    }
    world.run(30);
    assert_eq!(endpoints(&world), 6);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "LocalPolicyGap".into()));
    world.edit(|spec| spec.traffic.allow_local_gap = true);
    world.run(1);
    assert_eq!(endpoints(&world), 3);
}

#[test]
fn an_abort_takes_the_new_ones_out_at_once() {
    let mut world = both();
    world.run(5);
    world.command(command::ABORT, revision("v2"));
    world.settle();
    assert_eq!((world.selected("shop"), world.selected("shop-internal"), endpoints(&world)), ("v1", "v1", 3));
}

#[test]
fn a_label_that_was_never_used_leads_nobody_to_a_revision_that_was_given_up() {
    let mut world = overlapping();
    world.apply_version("v2");
    while world.snapshot.pods.iter().all(|pod| pod.serving.is_none()) {
        world.writes_left = Some(1);
        world.settle();
    }
    world.writes_left = None;
    world.command(command::ABORT, revision("v2"));
    world.edit(|spec| spec.on_failure.keep_seconds = 3000);
    world.run(1);
    assert_eq!(world.active(), "v1");
    world.apply_version("v3");
    world.settle();
    assert_eq!((world.active(), endpoints(&world)), ("v3", 6), "of v2 there are none");
    assert!(world.snapshot.endpoints["shop"].pods.keys().all(|uid| !world.pods("v2").iter().any(|pod| pod.uid == *uid)));
}

#[test]
fn an_overlap_that_never_ends_is_told() {
    let mut world = both();
    world.edit(|spec| spec.progress_deadline_seconds = 60);
    world.idle = true;
    let one = world.pods("v2")[0].uid.clone();
    world.snapshot.pods.iter_mut().filter(|pod| pod.uid == one).for_each(|pod| pod.ready = false);
    world.run(79);
    assert_eq!(condition(world.status(), ConditionType::Stalled).0, False);
    world.run(2);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ProgressDeadlineExceeded".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.starts_with("after 60 s more than that, revisions ") && said.ends_with("endpoints for 20 s; 2 by now"), "{said}");
}

#[test]
fn while_paused_it_stays_as_it_is() {
    let mut world = both();
    world.edit(|spec| spec.paused = true);
    world.run(60);
    assert_eq!(endpoints(&world), 6);
    world.edit(|spec| spec.paused = false);
    world.run(2);
    assert_eq!(endpoints(&world), 3);
}

#[test]
fn a_service_that_is_taken_out_of_the_spec_is_given_back_with_one_revision() {
    let mut world = both();
    world.edit(|spec| spec.traffic.services.pop().map_or((), drop));
    world.run(25);
    assert_eq!((world.selected("shop"), world.selected("shop-internal")), ("v2", "v2"));
    assert!(world.snapshot.services["shop-internal"].owner.is_none());
}

#[test]
fn somebody_who_narrows_it_by_hand_is_told_and_put_right() {
    let mut world = both();
    world.service_mut("shop").selector = selector(&revision("v1"));
    world.run(1);
    assert!(world.transcript.iter().any(|line| line == "select shop v2@2 repair"), "{:#?}", world.transcript);
    assert_eq!(endpoints(&world), 6);
}

#[test]
fn a_load_balancer_that_addresses_pods_needs_a_word() {
    let mut world = World::installed("v1", &json!({}));
    world.service_mut("shop").addresses_pods = Some("cloud.google.com/neg-status");
    world.run(1);
    assert_eq!(condition(world.status(), ConditionType::Ready).0, True, "nothing is to be moved");
    world.apply_version("v2");
    world.run(5);
    assert_eq!(world.selected("shop"), "v1");
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "PodsAddressed".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(
        said.starts_with("spec.traffic.services[0]: by its annotation cloud.google.com/neg-status ") && said.contains("spec.traffic.cutover"),
        "{said}"
    );
    world.edit(|spec| spec.traffic.cutover = Some(Cutover::Atomic));
    world.run(1);
    assert_eq!(world.selected("shop"), "v2");
}
