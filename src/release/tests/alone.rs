//! What a group does not hold up, and for how long one member may hold another.

use serde_json::json;

use super::fixtures::*;
use super::grouping::Worlds;
use crate::api::{BlueGreenDeployment, ConditionType, GroupMember, GroupMove, GroupState, PhaseName, keys};
use crate::release::budget::Budgets;
use crate::release::{Peer, plan};

/// Two members that serve v2 together; the second is paused with another template, and would hold up the first.
fn held_up(drains: bool) -> Worlds {
    let mut worlds = Worlds::installed(2, &json!({}));
    if drains {
        worlds.all[0].open.insert(revision("v1"), 1);
    }
    worlds.apply("v2");
    worlds.settle();
    worlds.run(60);
    assert_eq!(active(&worlds), ["v2", "v2"]);
    worlds.act(1, |world| world.edit(|spec| spec.paused = true));
    worlds.act(1, |world| world.apply_version("v3"));
    worlds.settle();
    worlds
}

fn active(worlds: &Worlds) -> Vec<&str> {
    worlds.all.iter().map(super::simulator::World::active).collect()
}

#[test]
fn a_return_to_pods_that_still_run_waits_for_nobody_also_if_it_is_a_template() {
    let mut worlds = held_up(true);
    worlds.act(0, |world| world.apply_version("v1"));
    worlds.settle();
    assert_eq!(active(&worlds), ["v1", "v2"]);
    // With what never served it waits.
    worlds.act(0, |world| world.apply_version("v4"));
    worlds.settle();
    worlds.run(20);
    assert_eq!(active(&worlds), ["v1", "v2"]);
}

#[test]
fn users_who_have_no_pod_wait_for_nobody() {
    let mut worlds = held_up(false);
    worlds.act(0, |world| {
        world.broken.insert(revision("v2"));
    });
    worlds.act(0, |world| world.apply_version("v4"));
    worlds.settle();
    worlds.run(20);
    assert_eq!(active(&worlds), ["v4", "v2"]);
}

#[test]
fn one_that_is_scaled_to_zero_holds_nobody_up() {
    let mut worlds = Worlds::installed(2, &json!({}));
    worlds.act(1, |world| world.edit(|spec| spec.replicas = 0));
    worlds.settle();
    worlds.run(5);
    worlds.apply("v2");
    worlds.settle();
    worlds.run(5);
    assert_eq!(active(&worlds), ["v2", "v1"]);
}

#[test]
fn a_bake_that_is_taken_out_meanwhile_is_borne() {
    let baking = json!({"bake": {"seconds": 60, "probes": [{"name": "good", "httpGet": {"port": "http"}}]}});
    let mut worlds = Worlds::installed(2, &baking);
    worlds.apply("v2");
    worlds.settle();
    worlds.run(20);
    worlds.act(1, |world| world.edit(|spec| (spec.bake.seconds, spec.bake.probes) = (0, vec![])));
    worlds.run(120);
    assert!(worlds.all.iter().all(|world| world.phase() == PhaseName::Complete), "{:#?}", worlds.all[0].status().conditions);
}

/// Two members of three: the third looks ready, and is never heard of again.
fn pass(worlds: &mut Worlds, seconds: u32) {
    for _ in 0..seconds {
        for place in [0, 1] {
            worlds.all[place].run(1);
            worlds.note(place);
            worlds.turn(place, &[]);
        }
    }
}

#[test]
fn who_has_joined_is_free_again_when_not_all_do() {
    let mut worlds = Worlds::installed(3, &json!({}));
    worlds.apply("v2");
    for _ in 0..20 {
        worlds.turn(2, &[]);
    }
    assert_eq!(worlds.all[2].status().group.as_ref().unwrap().state, GroupState::Ready);
    for _ in 0..20 {
        worlds.turn(0, &[]);
        worlds.turn(1, &[]);
    }
    let joined = |worlds: &Worlds| worlds.all[1].status().group.as_ref().unwrap().joined.is_some();
    let called = |worlds: &Worlds| worlds.all[0].status().group.as_ref().unwrap().call.is_some();
    assert!(joined(&worlds) && called(&worlds));
    pass(&mut worlds, 20);
    assert!(!joined(&worlds) && !called(&worlds), "{:#?}", worlds.all[0].status().group);
    // So it does what a person asks for.
    worlds.act(1, |world| world.command(keys::command::ABORT, revision("v2")));
    pass(&mut worlds, 5);
    assert!(worlds.all[1].status().rejected.is_some());
    worlds.act(1, |world| world.command(keys::command::RETRY, revision("v2")));
    pass(&mut worlds, 5);
    assert_eq!(active(&worlds), ["v1"; 3]);
    // It is called again, and now all follow.
    worlds.run(70);
    assert_eq!(active(&worlds), ["v2"; 3]);
}

#[test]
fn a_decision_that_an_older_operator_left_is_none() {
    let world = &Worlds::installed(2, &json!({})).all[0];
    let object = &world.snapshot.object;
    let of = |to: &str| GroupMember { name: object.name.clone(), uid: object.uid.clone(), revision: to.into() };
    let switch = object.status.switch.clone().unwrap();
    for (led_to, stays) in [(switch.to.clone(), true), ("another".to_owned(), false)] {
        let mut whole = BlueGreenDeployment::new(&object.name, object.spec.clone());
        whole.metadata.uid = Some(object.uid.clone());
        let mut status = object.status.clone();
        status.switch.as_mut().unwrap().group = Some(GroupMove { by: "somebody".into(), number: 1, members: vec![of(&led_to)] });
        whole.status = Some(status);
        assert_eq!(Peer::of(&whole).unwrap().moved.unwrap().group.is_some(), stays);
    }
}

#[test]
fn one_whose_budget_can_not_be_kept_is_not_ready() {
    let mut worlds = Worlds::installed(2, &json!({"disruptionBudget": {"minAvailable": 2}}));
    worlds.all[1].snapshot.budgets = Budgets::Pending;
    worlds.apply("v2");
    worlds.settle();
    worlds.run(20);
    assert_eq!(active(&worlds), ["v1", "v1"]);
    // That of the other covers both revisions meanwhile, and is written once.
    let written = worlds.all[0].transcript.iter().filter(|line| line.starts_with("budget")).count();
    assert_eq!(written, 2, "{:#?}", worlds.all[0].transcript);
    worlds.all[1].snapshot.budgets = Budgets::Known(std::collections::BTreeMap::new());
    worlds.settle();
    worlds.run(20);
    assert_eq!(active(&worlds), ["v2", "v2"]);
    let rest = plan(&worlds.all[0].snapshot, worlds.all[0].now());
    assert!(rest.actions.is_empty(), "{:?}", rest.actions);
}

/// Two members of which only the second bakes, both at v2.
fn one_bakes(changes: &serde_json::Value) -> Worlds {
    let mut worlds = Worlds::installed(2, changes);
    let probes = json!([{"name": "good", "httpGet": {"port": "http"}}]);
    worlds.act(1, |world| world.edit(|spec| (spec.bake.seconds, spec.bake.probes) = (60, serde_json::from_value(probes).unwrap())));
    worlds.settle();
    worlds.apply("v2");
    worlds.settle();
    worlds.run(20);
    assert_eq!(active(&worlds), ["v2", "v2"]);
    worlds
}

#[test]
fn one_without_a_bake_keeps_its_old_set_untold_while_another_bakes() {
    let mut worlds = one_bakes(&json!({"drain": {"begin": {"http": {"path": "/drain", "port": "http"}}}}));
    assert_eq!(worlds.all[0].set("v1").desired, 3);
    assert!(worlds.all[0].told.is_empty(), "{:?}", worlds.all[0].told);
    let says = message(worlds.all[0].status(), ConditionType::Drained);
    assert!(says.ends_with("stays as it was until that of b, which switched together with this one, is over"), "{says}");
    worlds.all[1].ill.insert(revision("v2"));
    worlds.run(5);
    assert_eq!(active(&worlds), ["v1", "v1"]);
    assert_eq!(worlds.all[0].status().rejected.as_ref().unwrap().reason, "GroupWentBack");
}

#[test]
fn one_without_a_bake_drains_when_the_others_have_baked() {
    let mut worlds = one_bakes(&json!({}));
    worlds.run(60);
    assert!(worlds.all.iter().all(|world| world.phase() == PhaseName::Complete && world.set("v1").desired == 0));
}

#[test]
fn what_is_kept_for_the_others_holds_up_no_release_that_they_may_wait_for() {
    let mut worlds = one_bakes(&json!({"drain": {"maxSets": 1}}));
    // It gets ill and has nowhere to go.
    worlds.all[1].ill.insert(revision("v2"));
    worlds.all[1].broken.insert(revision("v1"));
    let old = worlds.all[1].set("v1").uid.clone();
    worlds.all[1].snapshot.pods.iter_mut().filter(|pod| pod.set_uid == old).for_each(|pod| pod.ready = false);
    worlds.run(5);
    assert_eq!(active(&worlds), ["v2", "v2"]);
    worlds.apply("v3");
    worlds.settle();
    worlds.run(20);
    assert_eq!(active(&worlds), ["v3", "v3"], "{:#?}", worlds.all[0].status().conditions);
}
