use super::*;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "shop", "namespace": "shops", "uid": "d", "generation": 3, "resourceVersion": "9",
            "labels": {"app": "shop", "app.kubernetes.io/instance": "x"}, "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {
            "replicas": 2, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, "strategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"creationTimestamp": null, "labels": {"app": "shop", "tier": "web"}}, "spec": {"containers": []}},
        },
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2},
    })
}

fn set(name: &str, tier: &str, replicas: i64) -> Value {
    let hash = name.strip_prefix("shop-").unwrap();
    json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "1", "labels": {"app": "shop", "tier": tier, "pod-template-hash": hash}},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "shop", "tier": tier, "pod-template-hash": hash}}, "spec": {"containers": []}}},
    })
}

fn heir_of(name: &str, serves: bool) -> Heir {
    let revision = name.strip_prefix("shop-").unwrap().to_owned();
    Heir { name: name.into(), uid: format!("uid-{name}"), revision, identity: "i".into(), replicas: if serves { 2 } else { 0 }, serves, restarts: 0 }
}

fn all(sets: &[Value]) -> Vec<(String, String, bool)> {
    let identity = template_identity(deployment().pointer("/spec/template").unwrap());
    let selector = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
    heirs(sets, "shop", "b", &selector, &identity).into_iter().map(|heir| (heir.name, heir.revision, heir.serves)).collect()
}

#[test]
fn only_a_deployment_at_rest_is_taken_over() {
    assert_eq!(held_up(&deployment()), None);
    let mut scaled_to_zero = deployment();
    scaled_to_zero["spec"]["replicas"] = 0.into();
    scaled_to_zero["status"] = json!({"observedGeneration": 3});
    assert_eq!(held_up(&scaled_to_zero), None);
    for (pointer, value, why) in [
        ("/status/updatedReplicas", json!(1), "its rollout is not complete: 1 of 2 pods are of its template, 2 are available"),
        ("/status/availableReplicas", json!(1), "its rollout is not complete: 2 of 2 pods are of its template, 1 are available"),
        ("/status/observedGeneration", json!(2), "its rollout is not complete"),
        // One more is still ending its service.
        ("/status/replicas", json!(3), "its rollout is not complete"),
        ("/spec/replicas", json!(3), "its rollout is not complete"),
        ("/spec/paused", json!(true), "it is paused"),
        ("/spec/selector/matchExpressions", json!([{"key": "a", "operator": "Exists"}]), "matchExpressions"),
        ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"), "it is being deleted"),
        ("/metadata/ownerReferences", json!([{"kind": "Shop", "name": "x", "uid": "y", "controller": true}]), "Shop \"x\" controls it"),
    ] {
        let mut other = deployment();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        other.pointer_mut(parent).unwrap()[field] = value;
        assert!(held_up(&other).unwrap().contains(why), "{pointer}: {:?}", held_up(&other));
    }
}

#[test]
fn the_manifest_says_what_the_deployment_says() {
    let manifest = manifest(&deployment(), &["shop".into()]);
    assert_eq!(
        manifest,
        json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": "shop", "labels": {"app": "shop"}},
            "spec": {
                "replicas": 2, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, "selector": {"matchLabels": {"app": "shop"}},
                "template": {"metadata": {"labels": {"app": "shop", "tier": "web"}}, "spec": {"containers": []}},
                "traffic": {"services": ["shop"]},
            },
        })
    );
    let held = held(manifest, "d");
    assert_eq!((&held["spec"]["paused"], &held["metadata"]["annotations"]), (&json!(true), &json!({"bluegreen.dev/adopting": "d"})));
}

#[test]
fn every_service_that_leads_to_the_pods_is_named() {
    let service = |name: &str, selector: Value| json!({"metadata": {"name": name}, "spec": {"selector": selector}});
    let found = services(
        deployment().pointer("/spec/template").unwrap(),
        &[
            service("web", json!({"tier": "web"})),
            service("shop", json!({"app": "shop"})),
            service("other", json!({"app": "shop", "track": "canary"})),
            service("none", json!(null)),
        ],
    );
    assert_eq!(found, ["shop", "web"]);
}

#[test]
fn replica_sets_become_the_revisions_that_their_names_say() {
    let mut foreign = set("shop-cccc", "web", 1);
    foreign["metadata"]["ownerReferences"] = json!([{"kind": "Deployment", "name": "cart", "uid": "c", "controller": true}]);
    let mut taken = set("shop-dddd", "old", 0);
    taken["metadata"]["ownerReferences"] = json!([{"kind": "BlueGreenDeployment", "name": "shop", "uid": "b", "controller": true}]);
    let mut ending = set("shop-eeee", "web", 0);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut elsewhere = set("shop-ffff", "web", 0);
    elsewhere["metadata"]["labels"]["app"] = json!("other");
    let found = all(&[set("shop-aaaa", "web", 2), set("shop-bbbb", "old", 0), foreign, taken, ending, elsewhere]);
    let expected = [("shop-aaaa", "aaaa", true), ("shop-bbbb", "bbbb", false), ("shop-dddd", "dddd", false)];
    assert_eq!(found, expected.map(|(name, revision, serves)| (name.to_owned(), revision.to_owned(), serves)));
    // One that was a revision before, and whose pods left one by one.
    let mut again = set("shop-aaaa-2", "web", 2);
    again["metadata"]["resourceVersion"] = json!("1");
    again["metadata"]["labels"][keys::REVISION] = json!("aaaa");
    again["metadata"]["labels"][keys::ISSUE] = json!("2");
    assert_eq!(all(&[again.clone()]), [("shop-aaaa-2".to_owned(), "aaaa".to_owned(), true)]);
    // A Deployment has made another with the labels of that one in its template.
    again["metadata"]["name"] = json!("shop-bbbb");
    assert_eq!(all(&[again.clone()]), [("shop-bbbb".to_owned(), "bbbb".to_owned(), true)]);
    let heir = Heir { uid: "uid-shop-aaaa-2".into(), ..heir_of("shop-bbbb", true) };
    let after = merged(&again, &set_patch(&again, &heir, ("shop", "b")).unwrap());
    assert_eq!((trim::label(&after, keys::REVISION), trim::label(&after, keys::ISSUE)), (Some("bbbb"), None));
    assert_eq!(set_patch(&after, &heir, ("shop", "b")), None);
}

#[test]
fn marks_are_written_once_and_only_history_has_served_before() {
    let heir = |serves| heir_of("shop-aaaa", serves);
    let one = set("shop-aaaa", "web", 2);
    let patch = set_patch(&one, &heir(true), ("shop", "b")).unwrap();
    assert_eq!(
        patch,
        json!({
            "metadata": {"uid": "uid-shop-aaaa", "labels": {
                "bluegreen.dev/revision": "aaaa", "bluegreen.dev/name": "shop", "bluegreen.dev/color": "blue", "bluegreen.dev/issue": null},
                "annotations": {"deployment.kubernetes.io/desired-replicas": null, "deployment.kubernetes.io/max-replicas": null},
                "ownerReferences": [{"apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "name": "shop", "uid": "b", "controller": true}],
                "resourceVersion": "1"},
            "spec": {"template": {"metadata": {"labels": {"bluegreen.dev/revision": "aaaa", "bluegreen.dev/issue": null}}}},
        })
    );
    let after = merged(&one, &patch);
    assert_eq!(set_patch(&after, &heir(true), ("shop", "b")), None);
    assert_eq!(after.pointer("/spec/template/metadata/labels/pod-template-hash").unwrap(), "aaaa");
    // Who serves is said last, when every pod has its label.
    assert!(trim::annotation(&after, keys::ROLE).is_none());
    let history = merged(&one, &set_patch(&one, &heir(false), ("shop", "b")).unwrap());
    assert_eq!(trim::annotation(&history, keys::ROLE), Some("retired@0"));
    let told = merged(&after, &serving(&[after.clone(), history.clone()], &heir(true)).unwrap());
    assert_eq!(trim::annotation(&told, keys::ROLE), Some("serving@1"));
    assert_eq!(serving(&[told.clone(), history.clone()], &heir(true)), None);
    // What an earlier life here has left counts less.
    let mut earlier = history.clone();
    earlier["metadata"]["annotations"][keys::ROLE] = json!("serving@7");
    assert_eq!(serving(&[told, earlier], &heir(true)).unwrap()["metadata"]["annotations"][keys::ROLE], "serving@8");
    // What a later Deployment would take for scaling goes.
    let mut noted = after.clone();
    noted["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] = json!("2");
    assert_eq!(set_patch(&noted, &heir(true), ("shop", "b")).map(|patch| merged(&noted, &patch)), Some(after));
}

/// A successor of its set would take a pod with its number, and end it.
#[test]
fn pods_bear_the_revision_and_no_number_of_another() {
    let pod = json!({"metadata": {"uid": "p", "labels": {"app": "shop", "bluegreen.dev/revision": "old", "bluegreen.dev/issue": "2"}}});
    let first = heir_of("shop-aaaa", true);
    let labelled = merged(&pod, &pod_patch(&pod, &first, "shop").unwrap());
    assert_eq!(labelled["metadata"]["labels"], json!({"app": "shop", "bluegreen.dev/revision": "aaaa"}));
    assert_eq!(pod_patch(&labelled, &first, "shop"), None);
    let second = Heir { name: "shop-old-2".into(), revision: "old".into(), ..first };
    assert_eq!(pod_patch(&pod, &second, "shop"), None);
}

/// After a restart there are several with one template: the one with pods serves, and is what the template means to the operator.
#[test]
fn of_twins_the_one_with_pods_serves() {
    let selector = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
    let identity = template_identity(deployment().pointer("/spec/template").unwrap());
    let of = |sets: &[Value]| heirs(sets, "shop", "b", &selector, &identity);
    let mut older = set("shop-aaaa", "web", 0);
    older["metadata"]["annotations"] = json!({keys::RESTARTS: "3"});
    for sets in [[older.clone(), set("shop-bbbb", "web", 2)], [set("shop-bbbb", "web", 2), older.clone()]] {
        let serving = of(&sets).into_iter().find(|heir| heir.serves).unwrap();
        assert_eq!((serving.name.as_str(), serving.restarts), ("shop-bbbb", 4));
        let patch = set_patch(&set("shop-bbbb", "web", 2), &serving, ("shop", "b")).unwrap();
        assert_eq!(patch["metadata"]["annotations"][keys::RESTARTS], "4");
    }
    assert_eq!(of(&[older.clone(), set("shop-bbbb", "web", 2)]).iter().filter(|heir| heir.serves).count(), 1);
    // Scaled to zero, the template says which; and one with pods goes before that.
    let one = |sets: &[Value]| of(sets).into_iter().find(|heir| heir.serves).map(|heir| heir.name);
    assert_eq!(one(&[set("shop-aaaa", "old", 0), set("shop-bbbb", "web", 0)]).as_deref(), Some("shop-bbbb"));
    assert_eq!(one(&[set("shop-aaaa", "old", 2), set("shop-bbbb", "web", 0)]).as_deref(), Some("shop-aaaa"));
    assert_eq!(one(&[set("shop-aaaa", "old", 0)]), None);
    // What has pods is never said to be retired.
    let with_pods = Heir { replicas: 2, ..heir_of("shop-aaaa", false) };
    assert!(set_patch(&set("shop-aaaa", "old", 2), &with_pods, ("shop", "b")).unwrap()["metadata"]["annotations"].get(keys::ROLE).is_none());
}

/// What the operator reads of it: a set of its own, and its pods cannot be mistaken for those of another revision.
#[test]
fn the_operator_knows_the_set_for_its_own() {
    let heir = heir_of("shop-aaaa", true);
    let mut one = set("shop-aaaa", "web", 2);
    one["metadata"]["resourceVersion"] = json!("1");
    one["spec"]["selector"] = json!({"matchLabels": {"app": "shop", "pod-template-hash": "aaaa"}});
    let object = json!({"metadata": {"name": "shop", "namespace": "shops", "uid": "b"}});
    let (foreseen, _) = foreseen(&one, &[], &heir, &object);
    let read = trim::set(&foreseen).unwrap();
    assert_eq!((read.revision.as_str(), trim::controller(&foreseen).unwrap().2.as_str()), ("aaaa", "b"));
    assert_eq!(read.selector.get(keys::REVISION).map(String::as_str), Some("aaaa"));
    let selects = |revision: &str| BTreeMap::from([("app".to_owned(), "shop".to_owned()), (keys::REVISION.to_owned(), revision.to_owned())]);
    use bluegreen::release::services::may_lead;
    assert!(may_lead(&selects("aaaa"), &read.selector) && !may_lead(&selects("bbbb"), &read.selector));
}

#[test]
fn a_deployment_with_a_wider_selector_would_take_the_set() {
    let other = |name: &str, selector: Value| json!({"metadata": {"name": name}, "spec": {"selector": selector}});
    let of = |others: &[Value]| rival(&set("shop-aaaa", "web", 2), "shop", others);
    let equal = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "tier", "operator": operator, "values": values}]});
    assert_eq!(of(&[other("shop", equal("app", "shop")), other("cart", equal("app", "cart"))]), None);
    assert!(of(&[other("all", equal("app", "shop"))]).unwrap().starts_with("Deployment \"all\" has a selector that matches its pods, too"));
    for (operator, values, takes) in [
        ("In", json!(["web", "db"]), true),
        ("In", json!(["db"]), false),
        ("NotIn", json!(["db"]), true),
        ("NotIn", json!(["web"]), false),
        ("Exists", json!(null), true),
        ("DoesNotExist", json!(null), false),
    ] {
        assert_eq!(of(&[other("all", expression(operator, values))]).is_some(), takes, "{operator}");
    }
}

/// Called again, it changes what the Deployment says, and nothing that somebody has put there since.
#[test]
fn what_somebody_has_added_stays() {
    let wanted = held(manifest(&deployment(), &["shop".into()]), "d2");
    let mut there = held(manifest(&deployment(), &["shop".into()]), "d");
    there["metadata"]["resourceVersion"] = json!("5");
    there["spec"]["smokeProbes"] = json!([{"name": "home"}]);
    there["spec"]["replicas"] = json!(7);
    assert_eq!(
        renewed(&there, &wanted).unwrap(),
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "5"},
            {"op": "add", "path": "/metadata/annotations/bluegreen.dev~1adopting", "value": "d2"},
            {"op": "add", "path": "/spec/replicas", "value": 2},
        ])
    );
    assert_eq!(renewed(&wanted, &wanted), None);
}

#[test]
fn a_service_of_an_earlier_object_is_refused() {
    let service = json!({"metadata": {"name": "shop", "uid": "s", "resourceVersion": "1", "annotations": {keys::OWNER: "shop/gone"}}, "spec": {}});
    assert!(applied(&service).unwrap().contains("kubectl annotate service shop bluegreen.dev/owner- bluegreen.dev/selected-"));
}

/// A Deployment's own budget goes by labels that the pods of every revision have.
#[test]
fn a_budget_of_the_deployment_is_worth_a_word() {
    use crate::check::{Seen, snapshot};
    use bluegreen::controller::api::Resource;
    let object = merged(&manifest(&deployment(), &[]), &json!({"metadata": {"namespace": "shops", "uid": "b"}}));
    let notes = |labels: Value| {
        let metadata = json!({"name": "shop-pdb", "namespace": "shops", "uid": "p", "resourceVersion": "1"});
        let budget = json!({"metadata": metadata, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}});
        let seen = Seen { object: object.clone(), others: vec![(Resource::PodDisruptionBudget, budget)] };
        bluegreen::release::budget::hints(&snapshot(&seen, crate::fixtures::now()).unwrap())
    };
    let told = notes(json!({"app": "shop"}));
    assert!(told.len() == 1 && told[0].starts_with("PodDisruptionBudget shop-pdb counts pods that are being left"), "{told:?}");
    assert!(notes(json!({"app": "cart"})).is_empty());
}
