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
    assert_eq!(world.status().rejected, None);
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
    world.service_mut("shop").addresses_pods = Some("cloud.google.com/neg");
    world.run(1);
    assert_eq!(condition(world.status(), ConditionType::Ready).0, True, "nothing is to be moved");
    world.apply_version("v2");
    world.run(5);
    assert_eq!(world.selected("shop"), "v1");
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "PodsAddressed".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.starts_with("spec.traffic.services[0]: by its annotation cloud.google.com/neg ") && said.contains("spec.traffic.cutover"), "{said}");
    world.edit(|spec| spec.traffic.cutover = Some(Cutover::Atomic));
    world.run(1);
    assert_eq!(world.selected("shop"), "v2");
}
