//! Old pods stay until their connections have ended, or the deadline is over.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::False;
use crate::api::{ConditionType, DrainSource, PhaseName};
use crate::release::{Begun, action::Action};

fn moved(changes: &serde_json::Value) -> World {
    let mut world = World::installed("v1", changes);
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.active(), "v2");
    world
}

/// Whether the old pods have left.
pub fn gone(world: &World) -> bool {
    world.set("v1").desired == 0
}

/// Seconds until the old pods leave, from the move on.
pub fn stay(world: &mut World) -> f64 {
    world.until("the old pods leave", gone);
    world.seconds
}

#[test]
fn without_connections_the_quiet_time_and_the_minimum_decide() {
    let seconds = stay(&mut moved(&json!({})));
    assert!((15.0..19.0).contains(&seconds), "{seconds}");
    let seconds = stay(&mut moved(&json!({"drain": {"minimumSeconds": 60}})));
    assert!((70.0..74.0).contains(&seconds), "{seconds}");
}

#[test]
fn an_open_connection_holds_every_pod_until_the_deadline() {
    let mut world = moved(&json!({"drain": {"deadlineSeconds": 120}}));
    world.open.insert(revision("v1"), 1);
    let seconds = stay(&mut world);
    assert!((120.0..122.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_client_that_keeps_calling_holds_them_too() {
    let mut world = moved(&json!({"drain": {"deadlineSeconds": 120}}));
    world.arriving.insert(revision("v1"), 1);
    world.run(100);
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "NewConnections".into()));
    let seconds = stay(&mut world);
    assert!((120.0..122.0).contains(&seconds), "{seconds}");
}

#[test]
fn silence_is_not_zero() {
    let mut world = moved(&json!({}));
    world.run(5);
    world.silent = true;
    world.run(590);
    assert!(!gone(&world));
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "AgentSilent".into()));
    // While an agent is silent nothing spins.
    assert!(world.plan.again.is_none_or(|again| again > 0.5), "{:?}", world.plan.again);
    let seconds = stay(&mut world);
    assert!((600.0..602.0).contains(&seconds), "{seconds}");
}

#[test]
fn where_nothing_can_be_measured_the_timer_decides_and_says_so() {
    for (source, expected) in [(DrainSource::Auto, 300.0), (DrainSource::Sockets, 600.0), (DrainSource::Timer, 300.0)] {
        let mut world = World::installed("v1", &json!({}));
        world.snapshot.agents.enabled = source == DrainSource::Timer;
        world.edit(|spec| spec.drain.source = source);
        world.apply_version("v2");
        world.settle();
        let entry = &world.status().draining[0];
        // Where only sockets were asked for there is no timer; the deadline decides.
        let decides = if source == DrainSource::Sockets { DrainSource::Sockets } else { DrainSource::Timer };
        assert_eq!((entry.source, entry.open_connections), (decides, None));
        assert_eq!(entry.reason, if source == DrainSource::Timer { "TimerRequested" } else { "AgentDisabled" });
        let seconds = stay(&mut world);
        assert!((expected..expected + 2.0).contains(&seconds), "{source:?}: {seconds}");
    }
}

#[test]
fn the_connections_of_a_lost_node_are_lost() {
    let mut world = moved(&json!({}));
    world.open.insert(revision("v1"), 1);
    world.run(30);
    for node in world.snapshot.nodes.values_mut() {
        node.exists = false;
    }
    world.settle();
    assert_eq!(world.transcript.last().unwrap(), "retire v1@2");
}

#[test]
fn one_busy_pod_keeps_its_idle_siblings() {
    let mut world = moved(&json!({}));
    world.run(30 - 18);
    world.open.insert(revision("v1"), 1);
    world.run(100);
    assert_eq!(world.pods("v1").len(), 3);
    assert_eq!(world.set("v1").desired, 3);
    assert_eq!(world.status().draining[0].drained_pods, 0);
}

#[test]
fn pods_born_after_the_move_hold_nothing_up() {
    let mut world = moved(&json!({}));
    world.open.insert(revision("v1"), 1);
    world.run(30);
    // All old pods are evicted, the ReplicaSet controller replaces them.
    let uid = world.set("v1").uid.clone();
    world.snapshot.pods.retain(|pod| pod.set_uid != uid);
    world.open.clear();
    world.silent = true;
    world.run(3);
    assert!(gone(&world), "{:#?}", world.status().draining);
}

#[test]
fn an_abrupt_switch_of_the_old_pods_is_never_made_in_steps() {
    let mut world = moved(&json!({}));
    world.edit(|spec| spec.replicas = 1);
    world.run(5);
    assert_eq!((world.set("v1").desired, world.set("v2").desired), (3, 1));
    world.until("gone", gone);
    assert!(!world.transcript.iter().any(|line| line.starts_with("patch v1 x")));
}

#[test]
fn paused_keeps_the_old_pods_beyond_every_deadline() {
    let mut world = moved(&json!({"drain": {"deadlineSeconds": 60}}));
    world.edit(|spec| spec.paused = true);
    world.run(300);
    assert!(!gone(&world));
    world.edit(|spec| spec.paused = false);
    world.settle();
    assert!(gone(&world), "passed deadlines act on resume");
}

#[test]
fn a_service_that_was_dragged_back_keeps_its_pods() {
    let mut world = moved(&json!({"drain": {"deadlineSeconds": 60}}));
    world.open.insert(revision("v1"), 1);
    world.run(30);
    world.open.clear();
    world.run(5);
    for _ in 0..60 {
        // Somebody fights for the old revision and always writes last.
        world.seconds += 1.0;
        world.reconcile();
        world.service_mut("shop").selector = selector(&revision("v1"));
        let before = world.set("v1").desired;
        world.reconcile();
        assert!(world.selected("shop") != "v1" || world.set("v1").desired == before);
    }
}

const BEGIN: &str = r#"{"drain": {"begin": {"http": {"path": "/drain", "port": "http"}}}}"#;

#[test]
fn each_old_pod_is_told_once_after_convergence_and_not_again_by_another_process() {
    let mut world = moved(&serde_json::from_str(BEGIN).unwrap());
    world.open.insert(revision("v1"), 1);
    world.run(9);
    assert!(world.told.is_empty() && world.set("v1").drain_begun.is_none());
    world.until("told", |world| world.told.len() == 3);
    assert!(world.status().switch.as_ref().unwrap().converged_at.is_some());
    world.run(5);
    assert_eq!(world.set("v1").drain_begun.as_ref().unwrap().len(), 3);
    world.restart();
    world.run(60);
    assert!(world.told.values().all(|times| *times == 1), "{:?}", world.told);
    world.open.clear();
    world.until("gone", gone);
    assert_eq!(world.set("v1").drain_begun, None);
}

#[test]
fn the_set_is_marked_before_the_first_pod_is_told() {
    let mut world = moved(&serde_json::from_str(BEGIN).unwrap());
    world.until("told", |world| !world.told.is_empty());
    let marked = world.transcript.iter().position(|line| line == "patch v1 told 0").unwrap();
    let said = world.transcript.iter().position(|line| line == "patch v1 told 3").unwrap();
    assert!(marked < said);
}

#[test]
fn a_pod_in_its_nodes_network_is_not_told_as_its_address_is_the_nodes() {
    let mut world = moved(&serde_json::from_str(BEGIN).unwrap());
    let old: Vec<String> = world.pods("v1").iter().map(|pod| pod.uid.clone()).collect();
    for pod in world.snapshot.pods.iter_mut().filter(|pod| old[1..].contains(&pod.uid)) {
        pod.host_network = true;
    }
    world.until("told", |world| !world.told.is_empty());
    world.run(30);
    assert_eq!(world.told.keys().collect::<Vec<_>>(), [&old[0]]);
}

#[test]
fn a_pod_may_be_told_by_a_command_in_it() {
    let begin = json!({"exec": {"command": ["/shop", "--bye"], "container": "web"}});
    let mut world = World::installed("v1", &json!({}));
    world.snapshot.allowed_exec = Some(true);
    world.edit(|spec| spec.drain.begin = serde_json::from_value(begin.clone()).unwrap());
    world.apply_version("v2");
    world.settle();
    // Its address does not matter.
    let old: Vec<String> = world.pods("v1").iter().map(|pod| pod.uid.clone()).collect();
    for pod in world.snapshot.pods.iter_mut().filter(|pod| old.contains(&pod.uid)) {
        pod.addresses.clear();
    }
    world.open.insert(revision("v1"), 1);
    world.until("told", |world| world.told.len() == 3);
    world.run(60);
    assert!(world.told.values().all(|times| *times == 1), "{:?}", world.told);
}

#[test]
fn a_pod_that_can_not_be_told_does_not_hold_the_others() {
    let mut world = moved(&serde_json::from_str(BEGIN).unwrap());
    for pod in world.pods("v1").iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>() {
        world.snapshot.begun.insert(pod, Begun::Failed("refused".into()));
    }
    let seconds = stay(&mut world);
    assert!(seconds < 20.0, "{seconds}");
}

#[test]
fn nobody_is_told_while_paused_or_before_it_is_known_what_serves() {
    let mut world = moved(&serde_json::from_str(BEGIN).unwrap());
    world.edit(|spec| spec.paused = true);
    world.run(100);
    assert!(world.told.is_empty() && world.set("v1").drain_begun.is_none());
}

#[test]
fn a_fence_with_a_higher_number_is_not_overwritten() {
    let mut world = moved(&json!({}));
    world.run(10);
    world.set_mut("v1").role = Some(crate::release::Role { kind: crate::release::RoleKind::Retiring, attempt: 9 });
    world.run(700);
    assert!(!gone(&world));
    assert!(!world.transcript.iter().any(|line| line.starts_with("retire")));
}

#[test]
fn who_holds_the_drain_is_said_at_most_five_times_the_busiest_first() {
    let mut world = moved(&json!({}));
    world.open.insert(revision("v1"), 1);
    world.run(20);
    let pods: Vec<String> = world.pods("v1").iter().map(|pod| pod.uid.clone()).collect();
    for (index, uid) in pods.iter().enumerate() {
        let report = &mut world.snapshot.reports.get_mut(uid).unwrap().last_mut().unwrap().report;
        let peer = |address: &str, open| crate::api::PeerReport { address: address.into(), open, arrivals: 0 };
        report.ports[0].peers =
            vec![peer("10.9.0.1", 2), peer(&format!("10.9.1.{index}"), 1), peer(&format!("10.9.2.{index}"), 9), peer("10.9.3.1", 0)];
        report.ports[0].open = 12;
    }
    world.snapshot.peer_names.insert("10.9.0.1".into(), Some("web/proxy-0".into()));
    world.reconcile();
    let entry = &world.status().draining[0];
    let holders: Vec<(&str, i64)> = entry.holders.iter().map(|holder| (holder.address.as_str(), holder.connections)).collect();
    assert_eq!(holders, [("10.9.2.0", 9), ("10.9.2.1", 9), ("10.9.2.2", 9), ("10.9.0.1", 6), ("10.9.1.0", 1)]);
    assert_eq!(entry.holders[3].pod.as_deref(), Some("web/proxy-0"));
    assert_eq!(world.status().open_connections, Some(36));
    assert_eq!(world.phase(), PhaseName::Drain);
}

#[test]
fn addresses_of_nodes_are_never_ignored() {
    let peers = json!([{"cidr": "10.3.0.0/16"}, {"cidr": "10.1.0.0/16"}, {"podLabels": {"app": "prometheus"}}]);
    let mut world = World::installed("v1", &json!({"drain": {"ignorePeers": peers}}));
    world.snapshot.ignored_addresses.insert(2, vec!["10.2.9.9".into(), "10.1.0.2".into()]);
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.run(2);
    assert!(world.plan.effects.watch.iter().all(|pod| pod.ignore == ["10.2.9.9/32", "10.3.0.0/16"]), "{:?}", world.plan.effects.watch);
    assert_eq!(world.plan.effects.watch.len(), 3);
    assert!(message(world.status(), ConditionType::Stalled).contains("10.1.0.0/16 holds addresses of nodes and is not ignored"));
}

#[test]
fn a_set_is_retired_with_the_services_that_must_not_select_it() {
    let mut world = moved(&json!({}));
    while !world.transcript.iter().any(|line| line.ends_with("converged") && line.contains("v2")) {
        world.run(1);
    }
    world.seconds += 700.0;
    world.observe();
    let plan = crate::release::plan(&world.snapshot, world.now());
    let [Action::Retire { attempt: 2, services, .. }] = plan.actions.as_slice() else { panic!("{:?}", plan.actions) };
    assert_eq!(services, &["shop"]);
}

#[test]
fn ports_of_earlier_moves_are_watched_as_long_as_their_pods_are_left() {
    let mut world = moved(&json!({}));
    world.open.insert(revision("v1"), 1);
    world.service_mut("shop").ports[0].target = "9090".into();
    world.apply_version("v3");
    world.settle();
    assert_eq!(world.active(), "v3");
    assert!(world.plan.effects.watch.iter().all(|pod| pod.ports == [PORT, 9090]), "{:?}", world.plan.effects.watch);
    assert_eq!(world.plan.effects.watch.len(), 6);
    // When nobody is left that they served, they are forgotten.
    world.open.clear();
    world.until("all gone", |world| gone(world) && world.set("v2").desired == 0);
    world.service_mut("shop").ports[0].target = "7070".into();
    world.apply_version("v4");
    world.settle();
    assert_eq!(world.status().switch.as_ref().unwrap().earlier_ports, ["9090"]);
}

#[test]
fn pods_are_told_by_a_label_each_once() {
    let mut world = World::installed("v1", &json!({"drain": {"begin": {"label": {"key": "example.com/draining", "value": "true"}}}}));
    world.apply_version("v2");
    world.settle();
    let told = |world: &mut World, seconds: u32| {
        world.run(seconds);
        world.transcript.iter().filter(|line| *line == "tell a pod example.com/draining=true").count()
    };
    assert_eq!(told(&mut world, 5), 0, "not before the move counts as done");
    assert_eq!(told(&mut world, 8), 3);
    assert_eq!(world.set("v1").drain_begun.as_ref().map(std::collections::BTreeSet::len), Some(3));
    world.restart();
    world.open.insert(revision("v1"), 1);
    assert_eq!(told(&mut world, 20), 3, "also after another leader has come");
}

#[test]
fn an_old_pod_without_the_port_to_be_told_on_is_not_waited_for() {
    let mut world = World::installed("v1", &json!({}));
    world.edit(|spec| spec.drain.begin = serde_json::from_value(json!({"http": {"path": "/drain", "port": "admin"}})).unwrap());
    world.apply_version("v2");
    world.snapshot.object.spec.template["spec"]["containers"][0]["ports"] =
        json!([{"name": "http", "containerPort": PORT}, {"name": "admin", "containerPort": 9}]);
    world.settle();
    let seconds = stay(&mut world);
    assert!(seconds < 20.0, "{seconds}");
    assert!(world.told.is_empty());
}

#[test]
fn what_went_with_a_node_or_was_cut_at_the_deadline_is_said_once() {
    let mut world = moved(&json!({}));
    world.open.insert(revision("v1"), 1);
    world.run(30);
    world.snapshot.nodes.values_mut().for_each(|node| node.exists = false);
    world.run(30);
    let said: Vec<&str> = world.notices.iter().filter(|notice| notice.warning).map(|notice| notice.message.as_str()).collect();
    assert_eq!(said, [format!("revision {}: 3 of 3 pods were lost with their nodes, and the connections to them", revision("v1"))]);

    let mut world = moved(&json!({"drain": {"deadlineSeconds": 60}}));
    world.open.insert(revision("v1"), 1);
    world.run(90);
    let said: Vec<&str> = world.notices.iter().filter(|notice| notice.reason == "DrainDeadline").map(|notice| notice.message.as_str()).collect();
    let old = revision("v1");
    assert_eq!(
        said,
        [format!("revision {old} reached its drain deadline of 60 s with 3 open connections (OpenConnections); 0 of 3 pods had drained")]
    );
}

#[test]
fn a_count_that_is_not_known_is_not_shown() {
    let mut world = moved(&json!({}));
    world.run(3);
    assert_eq!(world.status().open_connections, Some(0));
    let first = world.pods("v1")[0].uid.clone();
    world.snapshot.reports.get_mut(&first).unwrap().last_mut().unwrap().report.unreadable = Some("NoProcess".into());
    world.reconcile();
    assert_eq!(world.status().open_connections, None, "two zeros and one unknown are no zero");
    let second = world.pods("v1")[1].uid.clone();
    world.snapshot.reports.get_mut(&second).unwrap().last_mut().unwrap().report.ports[0].open = 4;
    world.reconcile();
    assert_eq!(world.status().open_connections, Some(4), "at least so many");
}

#[test]
fn old_pods_behind_a_headless_service_stay_as_long_as_names_are_remembered() {
    let mut world = World::installed("v1", &json!({}));
    world.service_mut("shop").headless = true;
    world.apply_version("v2");
    world.settle();
    let seconds = stay(&mut world);
    assert!((60.0..64.0).contains(&seconds), "{seconds}");
}

#[test]
fn what_was_quiet_before_the_move_proves_nothing() {
    let mut world = World::installed("v1", &json!({}));
    world.apply_version("v2");
    while world.active() != "v2" {
        world.writes_left = Some(1);
        world.settle();
    }
    world.writes_left = None;
    // The intent is on record, the Services stay for a while where they are.
    world.edit(|spec| spec.paused = true);
    world.run(60);
    world.edit(|spec| spec.paused = false);
    world.settle();
    assert_eq!(world.selected("shop"), "v2");
    assert_eq!(world.status().switch.as_ref().unwrap().converged_at, None);
    world.run(8);
    assert_eq!(world.status().switch.as_ref().unwrap().converged_at, None, "the quiet time begins with the move");
}

#[test]
fn pods_that_are_still_endpoints_stay_whatever_was_counted_and_however_late_it_is() {
    let mut world = World::installed("v1", &json!({"traffic": {"convergenceTimeoutSeconds": 20}, "drain": {"deadlineSeconds": 60}}));
    world.apply_version("v2");
    // Kubernetes' controllers have not heard of the move, and nobody calls.
    world.late_endpoints = true;
    world.run(90);
    assert_eq!((world.active(), world.pods("v1").len()), ("v2", 3));
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "StillEndpoint".into()));
    // Nodes follow a moment later.
    world.late_endpoints = false;
    world.run(3);
    assert_eq!(world.pods("v1").len(), 3, "kube-proxy may still send users to them");
    assert_eq!(condition(world.status(), ConditionType::Drained), (False, "StillEndpoint".into()));
    world.run(1);
    assert!(gone(&world), "{:#?}", world.status().draining);
}

#[test]
fn a_new_leader_does_not_know_how_long_they_have_been_no_endpoints() {
    let mut world = World::installed("v1", &json!({"traffic": {"convergenceTimeoutSeconds": 20}, "drain": {"deadlineSeconds": 60}}));
    world.apply_version("v2");
    world.late_endpoints = true;
    world.run(90);
    world.late_endpoints = false;
    world.run(2);
    world.restart();
    world.run(2);
    assert_eq!(world.pods("v1").len(), 3, "it goes by what it has seen itself");
    world.run(2);
    assert!(gone(&world), "{:#?}", world.status().draining);
}
