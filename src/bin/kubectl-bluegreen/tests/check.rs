use super::*;
use crate::fixtures::{now, released, replica_set, sets};

fn seen(spec: Value, others: Vec<(Resource, Value)>) -> Seen {
    let mut object = serde_json::to_value(crate::fixtures::object(&spec.to_string())).unwrap();
    // A dry run answers without a version.
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    Seen { object, others }
}

fn service(name: &str, selector: Value, annotations: Value) -> (Resource, Value) {
    let metadata = json!({"name": name, "namespace": "shops", "uid": name, "resourceVersion": "1", "annotations": annotations});
    (
        Resource::Service,
        json!({"metadata": metadata, "spec": {"selector": selector, "clusterIP": "10.0.0.1", "ports": [{"port": 80, "name": "http"}]}}),
    )
}

fn problems_of(seen: &Seen) -> Vec<String> {
    problems(&snapshot(seen, now()).unwrap())
}

#[test]
fn a_sound_manifest_has_no_problems() {
    assert_eq!(problems_of(&seen(json!({}), vec![service("shop", json!({}), json!({}))])), Vec::<String>::new());
}

#[test]
fn all_that_the_operator_would_stall_on_is_told_at_once() {
    let spec = json!({
        "traffic": {"services": ["shop", "cart"]},
        "smokeProbes": [{"name": "a", "tcpSocket": {"port": "htp"}}, {"name": "b", "tcpSocket": {"port": 99999}}],
    });
    let problems =
        problems_of(&seen(spec, vec![service("cart", json!({"app": "cart"}), json!({})), service("all", json!({"app": "shop"}), json!({}))]));
    let expected = [
        ("spec.smokeProbes[0].tcpSocket.port: no container port is named \"htp\"", "(PortUnknown)"),
        ("spec.smokeProbes[1].tcpSocket.port: 99999 is not a port", "(PortUnknown)"),
        ("spec.traffic.services[0]: Service \"shop\" does not exist", "(ServiceMissing)"),
        ("spec.traffic.services[1]: Service \"cart\" selects app=cart", "(ServiceSelectsOther)"),
        ("spec.traffic: Service \"all\" also selects these pods", "(ExposedElsewhere)"),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, (begins, ends)) in problems.iter().zip(expected) {
        assert!(problem.starts_with(begins) && problem.ends_with(ends), "{problem}");
    }
}

#[test]
fn an_applier_and_a_living_owner_are_found() {
    let mut applied = service("shop", json!({"app": "shop"}), json!({}));
    applied.1["metadata"]["managedFields"] =
        json!([{"manager": "flux", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:selector": {}}}}]);
    let problems = problems_of(&seen(json!({}), vec![applied]));
    assert!(problems[0].contains("owned by \"flux\" through server-side apply"), "{problems:?}");

    let owned = service("shop", json!({}), json!({"bluegreen.dev/owner": "cart/other"}));
    let mut snapshot = snapshot(&seen(json!({}), vec![owned]), now()).unwrap();
    let owner = owners(&snapshot).remove(0);
    assert_eq!((owner.name.as_str(), owner.uid.as_str()), ("cart", "other"));
    looked_up(&mut snapshot, &owner, Some(&json!({"metadata": {"uid": "other"}})));
    assert!(super::problems(&snapshot)[0].contains("is moved by BlueGreenDeployment \"shops/cart\""));
    looked_up(&mut snapshot, &owner, Some(&json!({"metadata": {"uid": "a later one"}})));
    assert_eq!(super::problems(&snapshot), Vec::<String>::new());
}

#[test]
fn a_service_that_serves_others_is_found_by_its_endpoints() {
    let slice = json!({
        "metadata": {"name": "shop-x", "namespace": "shops", "uid": "s", "resourceVersion": "1",
            "labels": {"kubernetes.io/service-name": "shop", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
        "endpoints": [{"addresses": ["10.0.0.5"], "targetRef": {"kind": "Pod", "uid": "somebody"}}]
    });
    let problems = problems_of(&seen(json!({}), vec![service("shop", json!({"app": "shop"}), json!({})), (Resource::EndpointSlice, slice)]));
    assert!(problems[0].contains("already serves 1 pod of something else"), "{problems:?}");
}

fn status(code: u16, message: &str, causes: &[(&str, &str)]) -> Status {
    let causes: Vec<Value> = causes.iter().map(|(field, message)| json!({"field": field, "message": message})).collect();
    serde_json::from_value(json!({"code": code, "message": message, "details": {"causes": causes}})).unwrap()
}

#[test]
fn causes_are_told_with_their_fields() {
    let many = [
        ("spec.replicas", "Invalid value: -1: must be zero or more"),
        (
            "<nil>",
            "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ),
        ("", "something else"),
        (".spec.replicas", "Invalid value: -1: should be a non-negative integer"),
    ];
    assert_eq!(
        causes(&status(422, "all of it", &many)),
        [
            "spec.replicas: Invalid value: -1: must be zero or more",
            "something else",
            "spec.replicas: Invalid value: -1: should be a non-negative integer"
        ]
    );
    let typo =
        "failed to create typed patch object (/shop; bluegreen.dev/v1alpha1, Kind=BlueGreenDeployment): .spec.imagee: field not declared in schema";
    assert_eq!(causes(&status(500, typo, &[])), ["spec.imagee: field not declared in schema"]);
    let strict = "BlueGreenDeployment in version \"v1alpha1\" cannot be handled as a BlueGreenDeployment: strict decoding error: unknown field \"spec.x\", unknown field \"spec.y\"";
    assert_eq!(causes(&status(400, strict, &[])), ["unknown field \"spec.x\"", "unknown field \"spec.y\""]);
    assert_eq!(causes(&status(500, "no", &[])), ["no"]);
}

#[test]
fn a_right_that_the_person_lacks_is_no_mistake_of_the_manifest() {
    let missing = status(403, "replicasets.apps is forbidden: User \"eve\" cannot create resource \"replicasets\" in API group \"apps\"", &[]);
    assert_eq!(causes_of_template(&missing), None);
    assert!(causes_of_template(&status(403, "exceeded quota: few", &[])).is_some());
}

#[test]
fn what_would_begin_is_told_by_the_template() {
    let all = sets(&[("old", "retired@1", 0), ("new", "serving@2", 2)]);
    let same = replica_set("preview", "", 0);
    // Both fixtures have the same template; the first one found counts.
    assert_eq!(begins(&released(), &all[1..], &same), "the template is that of the active revision new: no release begins");
    assert_eq!(begins(&released(), &all, &same), "the template is that of revision old, which is released anew");
    let asked_for = begins(&crate::fixtures::coming("{}", "Smoke", ""), &all[1..], &same);
    assert_eq!(asked_for, "the template is that of revision new, which is asked for already: no other release begins");
    let mut other = same;
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "shop:v3".into();
    assert_eq!(begins(&released(), &all, &other), "the template is a new revision: a release begins");
    assert_eq!(begins(&crate::fixtures::object("{}"), &[], &other), "the template is a new revision: the first one");
}

#[test]
fn a_dry_run_is_made_in_the_name_of_who_applies() {
    let managed = |entries: Value| json!({"metadata": {"managedFields": entries}});
    let one = managed(json!([{"manager": "flux", "operation": "Apply"}, {"manager": "kubectl-edit", "operation": "Update"},
        {"manager": "bluegreen-operator", "operation": "Apply", "subresource": "status"}]));
    assert_eq!(applier(Some(&one)).as_deref(), Some("flux"));
    let two = managed(json!([{"manager": "flux", "operation": "Apply"}, {"manager": "kubectl", "operation": "Apply"}]));
    assert_eq!(
        successor(&json!({"metadata": {"name": "shop"}}), &json!({"metadata": {"resourceVersion": "7"}}))["metadata"],
        json!({"name": "shop", "resourceVersion": "7"})
    );
    assert_eq!((applier(Some(&two)), applier(Some(&json!({}))), applier(None)), (None, None, None));
}

#[test]
fn a_selector_in_a_manifest_is_worth_a_word() {
    assert!(hint(&service("shop", json!({"app": "shop"}), json!({})).1).unwrap().starts_with("Service shop has a selector in the manifest."));
    assert_eq!(hint(&service("shop", json!({}), json!({})).1), None);
}

#[test]
fn another_budget_is_a_mistake_beside_ours_and_worth_a_word_without() {
    let plain = || {
        let metadata = json!({"name": "plain", "namespace": "shops", "uid": "plain", "resourceVersion": "1"});
        (Resource::PodDisruptionBudget, json!({"metadata": metadata, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "shop"}}}}))
    };
    let others = || vec![service("shop", json!({}), json!({})), plain()];
    let asked = seen(json!({"disruptionBudget": {"minAvailable": 1}}), others());
    let problems = problems_of(&asked);
    assert!(problems.len() == 1 && problems[0].contains("PodDisruptionBudget \"plain\" matches these pods, too"), "{problems:?}");
    let hints = |seen: &Seen| bluegreen::release::budget::hints(&snapshot(seen, now()).unwrap());
    assert!(hints(&asked).is_empty());
    let without = seen(json!({}), others());
    assert_eq!((problems_of(&without).len(), hints(&without).len()), (0, 1));
}
