//! What is found before anything starts: each refusal names the field, the Service, and what to write instead.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::ConditionStatus::True;
use crate::api::{ConditionType, PhaseName};
use crate::release::action::{Action, SelectWhy};
use crate::release::*;

type How = fn(&mut Snapshot);

fn shop(snapshot: &mut Snapshot) -> &mut Service {
    snapshot.services.get_mut(SHOP).unwrap()
}

#[test]
fn what_can_not_work_is_said_in_full_and_starts_no_pod() {
    let table: &[(&str, &str, How)] = &[
        (
            "ServiceMissing",
            "spec.traffic.services[0]: Service \"shop\" does not exist in this namespace; create it without a selector, or remove it here",
            |snapshot| snapshot.services.clear(),
        ),
        (
            "ServiceMissing",
            "spec.traffic.services[0]: Service \"shop\" does not exist in this namespace; create it without a selector, or remove it here",
            |snapshot| shop(snapshot).deleting = true,
        ),
        (
            "ServiceUnsuitable",
            "spec.traffic.services[0]: Service \"shop\" is of type ExternalName, which selects no pods; use another type, or remove it here",
            |snapshot| shop(snapshot).kind = "ExternalName".into(),
        ),
        (
            "ServiceOwnedBy",
            "spec.traffic.services[0]: Service \"shop\" is moved by BlueGreenDeployment \"web/cart\"; name each Service in one BlueGreenDeployment only",
            |snapshot| {
                shop(snapshot).owner = Some(Owner { name: "cart".into(), uid: "uid-cart".into() });
                snapshot.owners.insert("uid-cart".into(), OwnerState::Alive);
            },
        ),
        (
            "ServiceSelectsOther",
            "spec.traffic.services[0]: Service \"shop\" selects app=cart, which spec.template.metadata.labels does not have; it serves something else: name another Service here, or remove the selector from it",
            |snapshot| shop(snapshot).selector = labels(&[("app", "cart")]),
        ),
        (
            "SelectorOwnedBy",
            "spec.traffic.services[0]: the selector of Service \"shop\" is owned by \"flux\" through server-side apply, which would remove the revision at every sync; remove spec.selector from the Service's manifest, the operator writes it",
            |snapshot| shop(snapshot).applier = Some("flux".into()),
        ),
        (
            "ServiceUnsuitable",
            "spec.traffic.services[0]: Service \"shop\" has endpoints that were not made from a selector; remove those EndpointSlices, or name another Service here",
            |snapshot| drop(snapshot.endpoints.insert(SHOP.into(), Endpoints { foreign: true, ..Endpoints::default() })),
        ),
        (
            "ServiceServesOthers",
            "spec.traffic.services[0]: Service \"shop\" already serves 1 pod of something else, which a switch would cut off from its users; if they are those of a Deployment, delete this object and take that over with kubectl bluegreen adopt, else name another Service here (docs/migrate.md)",
            |snapshot| {
                let pods = std::collections::BTreeMap::from([("stranger".to_owned(), true)]);
                snapshot.endpoints.insert(SHOP.into(), Endpoints { pods, ..Endpoints::default() });
            },
        ),
        (
            "ExposedElsewhere",
            "spec.traffic: Service \"metrics\" also selects these pods and would send traffic to untested ones; add it to services or previewServices, or to allowOtherServices if that is intended",
            |snapshot| drop(snapshot.services.insert("metrics".into(), Service { selector: labels(&[("app", SHOP)]), ..service("metrics") })),
        ),
        (
            "HostPort",
            "spec.template.spec.containers[0].ports[0].hostPort: a host port bypasses the Service and two revisions can't share it on one node; remove it, or set spec.drain.source to Timer",
            |snapshot| snapshot.object.spec.template["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80),
        ),
        ("PortUnknown", "spec.smokeProbes[0].httpGet.port: no container port is named \"web\"; the template has http", |snapshot| {
            snapshot.object.spec.smoke_probes = serde_json::from_value(json!([{"name": "home", "httpGet": {"port": "web"}}])).unwrap()
        }),
        ("PortUnknown", "spec.smokeProbes[0].tcpSocket.port: 70000 is not a port; use a number from 1 to 65535", |snapshot| {
            snapshot.object.spec.smoke_probes = serde_json::from_value(json!([{"name": "home", "tcpSocket": {"port": 70000}}])).unwrap()
        }),
        ("PortUnknown", "spec.drain.ports[0]: no container port is named \"admin\"; the template has http", |snapshot| {
            snapshot.object.spec.drain.ports = serde_json::from_value(json!(["admin"])).unwrap()
        }),
        ("PathInvalid", "spec.drain.begin.http.path: \"drain\" does not begin with /", |snapshot| {
            snapshot.object.spec.drain.begin = serde_json::from_value(json!({"http": {"path": "drain", "port": 8080}})).unwrap()
        }),
        ("PortUnknown", "spec.drain.metric.port: no container port is named \"admin\"; the template has http", |snapshot| {
            snapshot.object.spec.drain.metric = serde_json::from_value(json!({"port": "admin", "series": "sessions"})).unwrap()
        }),
        ("PathInvalid", "spec.drain.metric.path: \"left\" does not begin with /", |snapshot| {
            snapshot.object.spec.drain.metric = serde_json::from_value(json!({"port": 1, "path": "left", "series": "sessions"})).unwrap()
        }),
        (
            "MetricInvalid",
            "spec.drain.metric.series: it is no name of a series; write a name, with labels if need be, such as sessions{kind=\"live\"}",
            |snapshot| snapshot.object.spec.drain.metric = serde_json::from_value(json!({"port": 1, "series": "a{b}"})).unwrap(),
        ),
        (
            "MetricInvalid",
            "spec.drain.metric.jsonPointer: \"open\" does not begin with /; write a JSON pointer such as /checks/0/status",
            |snapshot| snapshot.object.spec.drain.metric = serde_json::from_value(json!({"port": 1, "jsonPointer": "open"})).unwrap(),
        ),
        ("QuotaExceeded", "no room", |snapshot| {
            snapshot.identity = Identity::Refused { reason: "QuotaExceeded".into(), message: "no room".into() };
        }),
    ];
    for (reason, words, how) in table {
        let mut world = World::new("v1", &json!({}));
        how(&mut world.snapshot);
        world.run(5);
        assert_eq!(condition(world.status(), ConditionType::Stalled), (True, (*reason).to_owned()), "{words}");
        assert_eq!(message(world.status(), ConditionType::Stalled), *words);
        assert!(world.snapshot.sets.is_empty(), "{reason}: {:#?}", world.transcript);
        assert_eq!(world.phase(), PhaseName::Blocked);
    }
}

#[test]
fn a_probe_through_a_service_needs_one_of_its_ports() {
    let probe = |port: serde_json::Value| {
        let probes = json!([{"name": "home", "httpGet": {"port": port}, "target": "PreviewService"}]);
        let mut world = World::new("v1", &json!({"traffic": {"previewServices": ["shop-preview"]}, "smokeProbes": probes}));
        world.settle();
        (condition(world.status(), ConditionType::Stalled).1, message(world.status(), ConditionType::Stalled))
    };
    assert_eq!(probe(json!(80)).0, "Progressing");
    assert_eq!(probe(json!("http")).0, "Progressing");
    let (reason, words) = probe(json!(8080));
    assert_eq!(reason, "PortUnknown");
    assert_eq!(words, "spec.smokeProbes[0].httpGet.port: Service \"shop-preview\" has no port 8080; it has http (80)");
}

#[test]
fn a_host_port_is_allowed_where_the_timer_decides_and_an_init_container_only_counts_beside_the_others() {
    let mut world = World::new("v1", &json!({"drain": {"source": "Timer"}}));
    world.edit(|spec| spec.template["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80));
    world.settle();
    assert_eq!(world.phase(), PhaseName::Complete);
    for (restart, expected) in [(json!(null), PhaseName::Complete), (json!("Always"), PhaseName::Blocked)] {
        let mut world = World::new("v1", &json!({}));
        let init = json!([{"name": "init", "restartPolicy": restart, "ports": [{"containerPort": 1, "hostPort": 1}]}]);
        world.edit(|spec| spec.template["spec"]["initContainers"] = init);
        world.settle();
        assert_eq!(world.phase(), expected);
    }
}

#[test]
fn a_service_of_an_owner_that_is_gone_is_taken() {
    let mut world = World::new("v1", &json!({}));
    shop(&mut world.snapshot).owner = Some(Owner { name: "cart".into(), uid: "uid-cart".into() });
    world.settle();
    assert_eq!(world.transcript[0], "look up cart");
    assert_eq!(world.snapshot.services[SHOP].owner.as_ref().unwrap().uid, UID);
    assert_eq!(world.phase(), PhaseName::Complete);
}

#[test]
fn other_services_may_be_allowed_and_those_that_name_a_revision_are_no_danger() {
    let mut world = World::new("v1", &json!({"traffic": {"allowOtherServices": ["metrics"]}}));
    world.snapshot.services.insert("metrics".into(), Service { selector: labels(&[("app", SHOP)]), ..service("metrics") });
    world.snapshot.services.insert("pinned".into(), Service { selector: selector("another"), ..service("pinned") });
    world.snapshot.services.insert("others".into(), Service { selector: labels(&[("app", SHOP), ("tier", "x")]), ..service("others") });
    world.settle();
    assert_eq!(world.phase(), PhaseName::Complete);
    assert_eq!(world.snapshot.services["metrics"].owner, None);
}

#[test]
fn what_is_found_during_a_release_holds_the_switch_and_what_runs_goes_on() {
    let mut world = World::installed("v1", &json!({}));
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    world.service_mut(SHOP).applier = Some("argocd".into());
    world.undecided.clear();
    world.edit(|spec| spec.replicas = 4);
    world.run(5);
    assert_eq!((world.active(), world.pods("v1").len()), ("v1", 4));
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "SelectorOwnedBy".into()));
    world.service_mut(SHOP).applier = None;
    world.until("complete", |world| world.phase() == PhaseName::Complete && world.active() == "v2");
}

#[test]
fn a_preview_service_that_can_not_be_taken_holds_nothing_else() {
    let mut world = World::installed("v1", &json!({"traffic": {"previewServices": ["shop-preview"]}}));
    world.snapshot.services.remove(PREVIEW);
    world.service_mut(SHOP).selector = labels(&[("app", SHOP)]);
    world.settle();
    assert_eq!(world.selected(SHOP), "v1");
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ServiceMissing".into()));
}

#[test]
fn a_service_that_serves_nobody_is_parked_before_the_first_pod() {
    let mut world = World::new("v1", &json!({}));
    world.snapshot.services.get_mut(SHOP).unwrap().selector = labels(&[("app", SHOP)]);
    world.undecided.insert(revision("v1"));
    world.settle();
    assert_eq!(world.snapshot.services[SHOP].selector, selector("none"));
    assert!(world.snapshot.endpoints[SHOP].pods.is_empty());
    // And parked again, should somebody widen it, or make it select something else.
    for edited in [labels(&[("app", SHOP)]), labels(&[("app", SHOP), ("stray", "x")])] {
        world.service_mut(SHOP).selector = edited;
        world.settle();
        assert_eq!(world.snapshot.services[SHOP].selector, selector("none"));
        assert_ne!(world.phase(), PhaseName::Blocked);
    }
}

/// Old pods with a connection, and a Service that was declared meanwhile and can't be taken.
fn draining_beside(selector: &[(&str, &str)], applier: Option<&str>) -> World {
    let mut world = World::installed("v1", &json!({"drain": {"deadlineSeconds": 120}}));
    world.apply_version("v2");
    world.settle();
    world.open.insert(revision("v1"), 1);
    world.run(20);
    let late = Service { selector: labels(selector), applier: applier.map(str::to_owned), ..service("late") };
    world.snapshot.services.insert("late".into(), late);
    world.edit(|spec| spec.traffic.services.push("late".into()));
    world
}

#[test]
fn a_service_that_cannot_lead_to_old_pods_does_not_keep_them() {
    let mut world = draining_beside(&[("app", "other")], None);
    world.open.clear();
    world.run(30);
    assert_eq!(world.set("v1").desired, 0);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "ServiceSelectsOther".into()));
}

#[test]
fn while_a_service_leads_to_old_pods_they_stay_and_it_is_said_why() {
    let mut world = draining_beside(&[("app", SHOP)], Some("flux"));
    world.run(150);
    assert_eq!(world.set("v1").desired, 3, "not even the deadline ends them");
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "SelectorOwnedBy".into()));
    assert_eq!(world.status().draining[0].reason, "StillSelected");
    world.service_mut("late").selector = selector(&revision("v2"));
    world.service_mut("late").applier = None;
    world.run(30);
    assert_eq!(world.set("v1").desired, 0);
}

#[test]
fn a_service_may_lead_to_pods_whose_labels_it_does_not_contradict() {
    let pods = selector("r1");
    let revision = crate::api::keys::REVISION;
    for leads in [&[("app", SHOP)][..], &[(revision, "r1")], &[("app", SHOP), (revision, "r1")], &[("tier", "web")]] {
        assert!(services::may_lead(&labels(leads), &pods), "{leads:?}");
    }
    for other in [&[][..], &[("app", "other")], &[("app", SHOP), (revision, "r2")], &[("app", "other"), (revision, "r1")]] {
        assert!(!services::may_lead(&labels(other), &pods), "{other:?}");
    }
    // A set that an earlier object with another selector made has pods with that object's labels.
    let mut world = draining_beside(&[("app", "earlier"), (revision, &self::revision("v1"))], None);
    world.set_mut("v1").selector = labels(&[("app", "earlier"), (revision, &self::revision("v1"))]);
    world.open.clear();
    world.run(30);
    assert_eq!((world.set("v1").desired, world.status().draining[0].reason.as_str()), (3, "StillSelected"));
    assert!(message(world.status(), ConditionType::Drained).contains("could lead to them"));
}

#[test]
fn a_service_that_may_have_been_taken_by_now_is_marked_before_a_set_that_never_served_goes() {
    let mut world = World::new("v1", &json!({}));
    world.undecided.extend([revision("v1"), revision("v2")]);
    world.settle();
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.set("v1").desired, 0);
    // As a leader sees it before that, whose reading of the Service is older than the rest.
    world.snapshot.sets.iter_mut().find(|set| set.revision == revision("v1")).unwrap().desired = 3;
    let service = world.snapshot.services.get_mut("shop").unwrap();
    (service.owner, service.selected, service.withdrawn) = (None, None, Default::default());
    let actions = plan(&world.snapshot, world.now()).actions;
    let old = revision("v1");
    assert!(
        actions.iter().any(|action| matches!(action, Action::Withdraw { service, withdrawn } if service.name == "shop" && withdrawn.contains(&old)))
    );
    assert!(!actions.iter().any(|action| matches!(action, Action::PatchSet { set, .. } if set.revision == old)), "{actions:#?}");
}

#[test]
fn a_service_that_an_earlier_object_left_is_parked_before_a_pod_of_the_same_revision_starts() {
    let mut world = World::new("v1", &json!({}));
    let service = world.service_mut("shop");
    service.owner = Some(Owner { name: SHOP.into(), uid: "gone".into() });
    service.selected = Some(Selected { revision: revision("v1"), attempt: 3 });
    service.selector = selector(&revision("v1"));
    // Known already, as by an earlier look at which the Service still had endpoints.
    world.observe();
    world.snapshot.owners.insert("gone".into(), OwnerState::Gone);
    world.snapshot.identity = Identity::Known { raw_hash: String::new(), revision: revision("v1") };
    let actions = plan(&world.snapshot, world.now()).actions;
    assert!(matches!(actions.as_slice(), [Action::Select { why: SelectWhy::Park, .. }]), "{actions:#?}");
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v1", "v1"));
}
