//! The caches, fed with what the API server sends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::release::budget::Budgets;

const AT: Duration = Duration::from_secs(1);

fn key(name: &str) -> Key {
    Key { namespace: "n".into(), name: name.into() }
}

fn object(name: &str, uid: &str, version: u64, active: &str) -> Value {
    json!({
        "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
        "metadata": {"name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string()},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {}, "traffic": {"services": [name]}},
        "status": {"switch": {"to": active, "attempt": 1, "cause": "Release", "startedAt": "2026-01-01T00:00:00Z", "services": []}},
    })
}

fn set(name: &str, revision: &str, version: u64, owner: Option<&str>, role: &str) -> Value {
    let owners: Vec<Value> = owner.iter().map(|uid| json!({"kind": "BlueGreenDeployment", "name": name, "uid": uid, "controller": true})).collect();
    json!({
        "metadata": {"name": format!("{name}-{revision}"), "namespace": "n", "uid": format!("set-{revision}"), "resourceVersion": version.to_string(),
            "labels": {"bluegreen.dev/revision": revision}, "annotations": {"bluegreen.dev/role": role}, "ownerReferences": owners},
        "spec": {"replicas": 1, "template": {"spec": {"containers": []}}},
    })
}

fn pod(name: &str, version: u64, set: Option<&str>, node: &str) -> Value {
    let owners: Vec<Value> = set.iter().map(|uid| json!({"kind": "ReplicaSet", "name": "s", "uid": uid, "controller": true})).collect();
    json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": version.to_string(), "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": []},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn daemon_set(wanted: i64) -> Value {
    json!({
        "metadata": {"name": "agent", "uid": "ds", "resourceVersion": "1", "generation": 1},
        "status": {"observedGeneration": 1, "desiredNumberScheduled": wanted, "currentNumberScheduled": wanted, "updatedNumberScheduled": wanted},
    })
}

fn agent_pod(name: &str, node: Option<&str>) -> Value {
    json!({"metadata": {"name": name, "uid": name, "resourceVersion": "5"}, "spec": {"nodeName": node}})
}

/// One object whose set "old" is being left on node n1 and whose set "new" serves on node n2; every list is complete.
fn world() -> World {
    let mut world = World::new(vec![], true);
    world.insert(Resource::BlueGreenDeployment, &object("shop", "u", 1, "new"), AT);
    world.insert(Resource::ReplicaSet, &set("shop", "old", 2, Some("u"), "serving@1"), AT);
    world.insert(Resource::ReplicaSet, &set("shop", "new", 3, Some("u"), "serving@2"), AT);
    world.insert(Resource::Pod, &pod("a", 4, Some("set-old"), "n1"), AT);
    world.insert(Resource::Pod, &pod("b", 5, Some("set-new"), "n2"), AT);
    assert_eq!(world.object(&key("shop")).unwrap().status.as_ref().unwrap().switch.as_ref().unwrap().to, "new");
    for kind in [Resource::BlueGreenDeployment, Resource::ReplicaSet, Resource::Pod, Resource::Service, Resource::EndpointSlice, Resource::Node] {
        world.relisted(kind, "");
    }
    assert!(world.synced());
    world
}

#[test]
fn a_budget_wakes_somebody_only_when_it_is_another_one() {
    let mut world = world();
    let budget = |version: u64, least: i64, allowed: i64| {
        json!({
            "metadata": {"name": "shop", "namespace": "n", "uid": "b", "resourceVersion": version.to_string()},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "shop"}}}, "status": {"disruptionsAllowed": allowed},
        })
    };
    assert_eq!(world.budgets("n", |_| true), Budgets::Pending);
    world.relist(Resource::PodDisruptionBudget, "");
    assert_eq!(world.insert(Resource::PodDisruptionBudget, &budget(10, 2, 0), AT).keys, BTreeSet::from([key("shop")]));
    world.relisted(Resource::PodDisruptionBudget, "");
    let version = |world: &World| {
        let Budgets::Known(budgets) = world.budgets("n", |_| true) else { panic!("unknown") };
        budgets["shop"].resource_version.clone()
    };
    assert!(world.insert(Resource::PodDisruptionBudget, &budget(11, 2, 1), AT).keys.is_empty(), "its pods were counted anew");
    assert_eq!(version(&world), "11", "the next write is guarded by the latest version");
    assert_eq!(world.insert(Resource::PodDisruptionBudget, &budget(12, 1, 1), AT).keys, BTreeSet::from([key("shop")]));
    assert_eq!(world.budgets("else", |_| true), Budgets::Known(BTreeMap::new()));
    world.watch_fails(Feed::Budgets, "", true);
    assert_eq!((world.budgets("n", |_| true), world.unread("n")), (Budgets::Unreadable, vec![]), "all else goes on");
    world.watch_fails(Feed::Budgets, "", false);
    assert_eq!(world.remove(Resource::PodDisruptionBudget, &budget(13, 1, 1)).keys, BTreeSet::from([key("shop")]));
    assert_eq!(world.budgets("n", |_| true), Budgets::Known(BTreeMap::new()));
}

#[test]
fn a_node_whose_agent_pod_was_deleted_is_not_one_that_is_meant_to_have_none() {
    let mut world = world();
    world.insert(Resource::DaemonSet, &daemon_set(2), AT);
    world.insert_agent_pod(&agent_pod("x", Some("n1")));
    world.insert_agent_pod(&agent_pod("y", Some("n2")));
    world.agent_pods(true);
    assert!(world.agents().1);
    // The DaemonSet's own status comes later.
    assert_eq!(world.remove_agent_pod(&agent_pod("x", Some("n1"))).keys, BTreeSet::from([key("shop")]));
    assert!(!world.agents().1);
    world.insert(Resource::DaemonSet, &daemon_set(1), AT);
    assert!(world.agents().1, "now it is: the DaemonSet wants no more than there are");
}

#[test]
fn a_node_that_has_no_room_for_its_agent_is_not_one_that_is_meant_to_have_none() {
    let mut world = world();
    world.insert_agent_pod(&agent_pod("x", Some("n1")));
    // Counted by the DaemonSet, but not on any node.
    world.insert_agent_pod(&agent_pod("y", None));
    world.agent_pods(true);
    world.insert(Resource::DaemonSet, &daemon_set(2), AT);
    assert!(!world.agents().1);
    // While the chart replaces agents one node may have two.
    world.insert_agent_pod(&agent_pod("x2", Some("n1")));
    assert!(!world.agents().1);
}

#[test]
fn a_daemon_set_that_comes_before_its_pods_tells_nothing() {
    let mut world = world();
    world.insert(Resource::DaemonSet, &daemon_set(0), AT);
    assert!(!world.agents().1, "the list of pods is not in");
    world.agent_pods(false);
    world.insert_agent_pod(&agent_pod("x", Some("n1")));
    assert_eq!(world.agent_pods(true).keys, world.keys());
    assert!(!world.agents().1, "one more than wanted");
    assert_eq!(world.insert(Resource::DaemonSet, &daemon_set(1), AT).keys, world.keys());
    assert!(world.agents().1);
    world.watch_fails(Feed::AgentPods, "", true);
    assert!(!world.agents().1, "what has happened since is not known");
}

#[test]
fn a_pod_that_was_taken_out_of_its_set_is_not_one_of_its_pods() {
    let mut world = world();
    let concerned = world.insert(Resource::Pod, &pod("a", 9, None, "n1"), AT);
    assert_eq!(concerned.keys, BTreeSet::from([key("shop")]));
    assert!(world.pods("set-old").is_empty());
    // Put back, it is again.
    world.insert(Resource::Pod, &pod("a", 10, Some("set-old"), "n1"), AT);
    assert_eq!(world.pods("set-old").len(), 1);
    // Into another set: both are looked at, and it is counted once.
    world.insert(Resource::Pod, &pod("a", 11, Some("set-new"), "n1"), AT);
    assert_eq!((world.pods("set-old").len(), world.pods("set-new").len()), (0, 2));
}

#[test]
fn a_set_whose_owner_went_is_not_its_set_and_its_heir_is_woken() {
    let mut world = world();
    let concerned = world.insert(Resource::ReplicaSet, &set("shop", "old", 9, None, "serving@1"), AT);
    assert_eq!(concerned.keys, BTreeSet::from([key("shop")]));
    assert_eq!(world.sets("u").iter().map(|set| set.revision.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(world.orphans("n", "shop").len(), 1);
    // Deleted with --cascade=orphan and made again: the set may lose its owner after its heir was seen.
    world.remove(Resource::BlueGreenDeployment, &object("shop", "u", 10, "new"));
    world.insert(Resource::BlueGreenDeployment, &object("shop", "u2", 11, "new"), AT);
    let concerned = world.insert(Resource::ReplicaSet, &set("shop", "new", 12, None, "serving@2"), AT);
    assert_eq!(concerned.keys, BTreeSet::from([key("shop")]));
}

#[test]
fn only_who_drains_on_a_node_is_woken_by_it() {
    let mut world = world();
    let node = |name: &str, ip: &str| json!({"metadata": {"name": name, "uid": name, "resourceVersion": "20"}, "status": {"addresses": [{"type": "InternalIP", "address": ip}]}});
    assert_eq!(world.insert(Resource::Node, &node("n1", "10.0.0.1"), AT).keys, BTreeSet::from([key("shop")]));
    assert!(world.insert(Resource::Node, &node("n2", "10.0.0.2"), AT).keys.is_empty(), "there it serves");
    world.insert(Resource::ReplicaSet, &set("shop", "old", 21, Some("u"), "retired@2"), AT);
    assert!(world.insert(Resource::Node, &node("n1", "10.0.0.9"), AT).keys.is_empty());
}

#[test]
fn indexes_keep_nothing_of_what_is_gone() {
    let mut world = world();
    let service = json!({"metadata": {"name": "s", "namespace": "n", "uid": "s", "resourceVersion": "1"}, "spec": {}});
    let slice =
        json!({"metadata": {"name": "s-1", "namespace": "n", "uid": "s-1", "resourceVersion": "1", "labels": {"kubernetes.io/service-name": "s"}}});
    world.insert(Resource::Service, &service, AT);
    world.insert(Resource::EndpointSlice, &slice, AT);
    world.remove(Resource::Service, &service);
    world.remove(Resource::EndpointSlice, &slice);
    for name in ["old", "new"] {
        world.remove(Resource::ReplicaSet, &set("shop", name, 9, Some("u"), ""));
    }
    for name in ["a", "b"] {
        world.remove(Resource::Pod, &pod(name, 9, None, ""));
    }
    assert!(world.services_in.is_empty() && world.slices_of.is_empty() && world.sets_of.is_empty() && world.pods_of.is_empty());
    // The same by a list that lacks them.
    let mut world = self::world();
    for kind in [Resource::ReplicaSet, Resource::Pod] {
        world.relist(kind, "");
        world.relisted(kind, "");
    }
    assert!(world.sets_of.is_empty() && world.pods_of.is_empty());
}

#[test]
fn an_object_that_cannot_be_read_is_not_acted_on_as_it_was_before() {
    let mut world = world();
    let service = json!({"metadata": {"name": "shop", "namespace": "n", "uid": "s", "resourceVersion": "1",
        "annotations": {"bluegreen.dev/owner": "shop/u"}}, "spec": {}});
    world.insert(Resource::Service, &service, AT);
    let mut broken = object("shop", "u", 9, "new");
    broken["spec"]["replicas"] = json!("three");
    world.insert(Resource::BlueGreenDeployment, &broken, AT);
    assert!(world.object(&key("shop")).is_none());
    // Its end is noticed all the same.
    let concerned = world.remove(Resource::BlueGreenDeployment, &broken);
    assert_eq!(concerned.orphans, [("n".to_owned(), "shop".to_owned())]);
    assert_eq!(world.orphaned(), concerned.orphans);
}

#[test]
fn what_a_failing_watch_feeds_is_unread_in_its_namespace_until_it_works() {
    let mut world = World::new(vec!["n".into(), "other".into()], false);
    assert_eq!(world.unread("n"), ["the cluster completely yet"]);
    for kind in [Resource::BlueGreenDeployment, Resource::ReplicaSet, Resource::Pod, Resource::Service, Resource::EndpointSlice] {
        world.relisted(kind, "n");
        world.relisted(kind, "other");
    }
    world.insert(Resource::BlueGreenDeployment, &object("shop", "u", 1, "new"), AT);
    assert!(world.unread("n").is_empty());
    assert_eq!(world.watch_fails(Feed::Pods, "n", true).keys, BTreeSet::from([key("shop")]));
    assert_eq!(world.unread("n"), ["Pods"]);
    assert!(world.unread("other").is_empty());
    assert!(world.watch_fails(Feed::Pods, "n", true).keys.is_empty(), "nothing new");
    assert_eq!(world.watch_fails(Feed::Pods, "n", false).keys, BTreeSet::from([key("shop")]));
    assert!(world.unread("n").is_empty());
}

#[test]
fn a_node_that_an_old_list_lacks_is_not_taken_for_gone() {
    let mut world = world();
    assert!(world.node("n9").is_some_and(|node| !node.exists));
    world.watch_fails(Feed::Nodes, "", true);
    assert_eq!(world.node("n9"), None);
}

fn member(name: &str, version: u64, phase: &str, call: i64) -> Value {
    let mut object = object(name, name, version, "new");
    object["metadata"]["generation"] = json!(1);
    object["spec"]["promotion"] = json!({"group": {"name": "storefront"}});
    object["status"]["observedGeneration"] = json!(1);
    object["status"]["phase"] = json!(phase);
    object["status"]["group"] = json!({"name": "storefront", "state": "Ready", "called": call});
    object
}

#[test]
fn members_of_a_group_are_woken_by_what_they_look_at_and_by_nothing_else() {
    let mut world = world();
    for name in ["a", "b", "c"] {
        world.insert(Resource::BlueGreenDeployment, &member(name, 10, "Smoke", 1), AT);
    }
    let all = BTreeSet::from([key("a"), key("b"), key("c")]);
    // Most of a status is nobody else's business.
    let mut pods = member("a", 11, "Smoke", 1);
    pods["status"]["readyReplicas"] = json!(2);
    assert_eq!(world.insert(Resource::BlueGreenDeployment, &pods, AT).keys, BTreeSet::from([key("a")]));
    assert_eq!(world.insert(Resource::BlueGreenDeployment, &member("a", 12, "AwaitPromotion", 1), AT).keys, all);
    assert_eq!(world.insert(Resource::BlueGreenDeployment, &member("a", 13, "AwaitPromotion", 2), AT).keys, all);
    // Who is not of the group neither wakes nor sees them.
    assert_eq!(world.insert(Resource::BlueGreenDeployment, &object("shop", "u", 14, "old"), AT).keys, BTreeSet::from([key("shop")]));
    assert!(world.peers(&key("shop")).is_empty());
    let seen: Vec<_> = world.peers(&key("b")).into_iter().map(|peer| (peer.name, peer.current, peer.status.map(|status| status.called))).collect();
    assert_eq!(seen, [("a".to_owned(), true, Some(2)), ("c".to_owned(), true, Some(1))]);
    // One that leaves is told of, too.
    let left = object("a", "a", 15, "new");
    assert_eq!(world.insert(Resource::BlueGreenDeployment, &left, AT).keys, all);
    assert_eq!(world.peers(&key("b")).len(), 1);
}
