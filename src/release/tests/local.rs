//! Services that keep traffic on the node where it arrives (`internalTrafficPolicy` and `externalTrafficPolicy`).

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::True;
use crate::api::{ConditionType, PhaseName, PromotionMode, SwitchCause, keys::command};
use crate::release::Service;

/// v2 waits for a word; pods of v1 are on both nodes, and all of v2 on the first.
fn uneven(change: impl Fn(&mut Service)) -> World {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.promotion.mode = PromotionMode::Manual);
    world.apply_version("v2");
    world.settle();
    change(world.snapshot.services.get_mut("shop").unwrap());
    let old = world.pods("v1")[0].name.clone();
    put(&mut world, &old, "node-2");
    for new in world.pods("v2").into_iter().map(|pod| pod.name.clone()).collect::<Vec<_>>() {
        put(&mut world, &new, "node-1");
    }
    world
}

fn put(world: &mut World, pod: &str, node: &str) {
    world.snapshot.pods.iter_mut().find(|known| known.name == pod).unwrap().node = Some(node.into());
}

fn internal(service: &mut Service) {
    service.internal_local = true;
}

#[test]
fn a_node_that_would_have_no_pod_holds_the_switch_until_it_has_one() {
    let mut world = uneven(internal);
    world.command(command::PROMOTE, revision("v2"));
    world.run(30);
    assert_eq!((world.active(), world.phase()), ("v1", PhaseName::Blocked));
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "LocalPolicyGap".into()));
    let said = message(world.status(), ConditionType::Stalled);
    assert!(
        said.starts_with("spec.traffic.services[0]: Service \"shop\" has internalTrafficPolicy Local, and node node-2 has a ready pod of"),
        "{said}"
    );
    assert!(said.chars().count() < 512, "{said}");
    // A set that grows may close the gap, so it is not kept from growing.
    world.edit(|spec| spec.replicas = 4);
    world.settle();
    assert_eq!(world.pods("v2").len(), 4);
    world.until("v2 serves", |world| world.active() == "v2" && world.phase() == PhaseName::Complete);
    assert!(world.pods("v2").iter().any(|pod| pod.node.as_deref() == Some("node-2")));
}

#[test]
fn it_is_told_of_when_the_switch_could_begin_and_not_before() {
    let mut world = uneven(internal);
    world.run(10);
    assert_eq!(world.phase(), PhaseName::AwaitPromotion);
}

#[test]
fn whoever_allows_it_goes_on() {
    let mut world = uneven(internal);
    world.command(command::PROMOTE, revision("v2"));
    world.run(10);
    assert_eq!(world.active(), "v1");
    world.edit(|spec| spec.traffic.allow_local_gap = true);
    world.until("v2 serves", |world| world.active() == "v2");
}

#[test]
fn traffic_from_outside_is_held_up_as_well() {
    let mut world = uneven(|service| service.external_local = true);
    world.command(command::PROMOTE, revision("v2"));
    world.run(10);
    assert_eq!(world.active(), "v1");
    let said = message(world.status(), ConditionType::Stalled);
    assert!(said.contains("has externalTrafficPolicy Local"), "{said}");
}

#[test]
fn a_lost_node_holds_up_nothing() {
    let mut world = uneven(internal);
    world.snapshot.nodes.get_mut("node-2").unwrap().ready = false;
    world.command(command::PROMOTE, revision("v2"));
    world.until("v2 serves", |world| world.active() == "v2");
}

#[test]
fn a_revision_that_is_brought_back_and_tested_again_is_not_held_up() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    world.until("v1 is gone", |world| world.phase() == PhaseName::Complete && world.pods("v1").is_empty());
    internal(world.snapshot.services.get_mut("shop").unwrap());
    world.undecided.insert(revision("v1"));
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.until("v1 is tested", |world| world.pods("v1").len() == 3 && world.pods("v1").iter().all(|pod| pod.ready));
    assert_eq!(world.active(), "v2");
    for pod in world.pods("v1").into_iter().map(|pod| pod.name.clone()).collect::<Vec<_>>() {
        put(&mut world, &pod, "node-1");
    }
    let serving = world.pods("v2")[0].name.clone();
    put(&mut world, &serving, "node-2");
    world.undecided.clear();
    world.until("v1 serves", |world| world.active() == "v1");
    assert_eq!(world.status().switch.as_ref().unwrap().cause, SwitchCause::Rollback);
}
