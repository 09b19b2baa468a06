//! When a move has taken effect.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::{False, True, Unknown};
use crate::api::{ConditionType, PhaseName};

fn moved(changes: &serde_json::Value) -> World {
    let mut world = World::installed("v1", changes);
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v2", "v2"));
    world
}

fn converged(world: &World) -> bool {
    world.status().switch.as_ref().unwrap().converged_at.is_some()
}

fn says(world: &World) -> (crate::api::ConditionStatus, String) {
    condition(world.status(), ConditionType::Converged)
}

#[test]
fn quiet_old_pods_and_moved_endpoints_are_needed() {
    let mut world = moved(&json!({}));
    assert_eq!(says(&world), (False, "NoReportYet".into()));
    world.run(3);
    assert_eq!(says(&world), (False, "QuietTime".into()));
    world.run(9);
    assert_eq!(says(&world), (True, "Converged".into()));
}

#[test]
fn an_old_pod_among_the_endpoints_keeps_it_open() {
    let mut world = moved(&json!({}));
    let old = world.pods("v1")[0].uid.clone();
    for _ in 0..20 {
        world.seconds += 1.0;
        world.snapshot.endpoints.get_mut("shop").unwrap().pods.insert(old.clone(), true);
        world.reconcile();
    }
    assert_eq!(says(&world), (False, "EndpointsNotMoved".into()));
    assert!(!converged(&world));
}

#[test]
fn no_endpoints_at_all_is_no_move_either() {
    let mut world = moved(&json!({}));
    world.run(5);
    world.snapshot.endpoints.get_mut("shop").unwrap().pods.clear();
    world.reconcile();
    assert_eq!(says(&world), (False, "EndpointsNotMoved".into()));
}

#[test]
fn a_client_that_goes_on_calling_old_pods_is_named_and_after_a_minute_given_up() {
    let mut world = moved(&json!({}));
    world.arriving.insert(revision("v1"), 1);
    world.run(30);
    assert_eq!(says(&world), (False, "NewConnectionOnOld".into()));
    assert_eq!(condition(world.status(), ConditionType::Ready), (False, "NewConnectionOnOld".into()));
    world.run(31);
    assert_eq!(says(&world), (Unknown, "NewConnectionOnOld".into()));
    assert!(converged(&world));
    // It goes on, and says so.
    assert_eq!(condition(world.status(), ConditionType::Ready).0, True);
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "OpenConnections".into()));
}

#[test]
fn certainty_is_revoked_by_a_late_visitor_and_rest_begins_anew() {
    let mut world = moved(&json!({"drain": {"minimumSeconds": 30}}));
    world.open.clear();
    world.until("converged", converged);
    let first = world.status().switch.as_ref().unwrap().converged_at.unwrap();
    world.arriving.insert(revision("v1"), 1);
    world.run(2);
    assert!(!converged(&world));
    assert_eq!(says(&world), (False, "NewConnectionOnOld".into()));
    world.arriving.clear();
    world.until("converged again", converged);
    let second = world.status().switch.as_ref().unwrap().converged_at.unwrap();
    assert!(second.duration_since(first).as_secs() >= 10);
    world.run(29);
    assert!(!world.pods("v1").is_empty());
    world.run(3);
    assert!(world.pods("v1").is_empty());
}

#[test]
fn what_can_not_be_known_in_time_is_unknown_with_its_reason() {
    let mut world = moved(&json!({}));
    world.run(3);
    world.silent = true;
    world.run(10);
    assert_eq!(says(&world), (False, "AgentSilent".into()));
    assert!(!converged(&world));
    world.run(60);
    assert_eq!(says(&world), (Unknown, "AgentSilent".into()));
    assert!(converged(&world));
}

#[test]
fn what_can_never_be_known_is_not_waited_for() {
    let mut world = World::installed("v1", &json!({}));
    world.snapshot.agents.enabled = false;
    world.apply_version("v2");
    world.settle();
    assert_eq!(says(&world), (Unknown, "AgentDisabled".into()));
    assert!(converged(&world));
    assert_eq!(condition(world.status(), ConditionType::Ready).0, True);

    let mut world = World::installed("v1", &json!({}));
    world.service_mut("shop").headless = true;
    world.apply_version("v2");
    world.settle();
    assert_eq!(says(&world), (Unknown, "Headless".into()));
}

#[test]
fn what_can_be_measured_is_waited_for_beside_what_can_not() {
    let mut world = moved(&json!({}));
    world.snapshot.agents.nodes.remove("node-1");
    world.run(5);
    assert_eq!(says(&world), (False, "QuietTime".into()));
    world.run(10);
    assert_eq!(says(&world), (Unknown, "NoAgentOnNode".into()));
}

#[test]
fn a_pod_that_never_got_a_node_is_not_waited_for() {
    let mut world = moved(&json!({}));
    world.idle = true;
    let pod = world.pods("v1")[0].uid.clone();
    let pod = world.snapshot.pods.iter_mut().find(|known| known.uid == pod).unwrap();
    (pod.node, pod.ready) = (None, false);
    world.run(13);
    assert_eq!(says(&world), (True, "Converged".into()));
    world.open.clear();
    world.run(20);
    assert_eq!(world.set("v1").desired, 0);
}

#[test]
fn a_first_install_has_nothing_to_wait_for() {
    let mut world = World::new("v1", &json!({}));
    assert_eq!(world.status().switch, None);
    world.settle();
    assert_eq!((says(&world), world.phase()), ((True, "Converged".into()), PhaseName::Complete));
}
