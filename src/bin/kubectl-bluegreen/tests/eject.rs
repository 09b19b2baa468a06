use super::*;
use crate::fixtures::{replica_set, status, switch};

fn serving() -> BlueGreenDeployment {
    let mut moved = switch(None, "new");
    moved["convergedAt"] = json!("2026-01-01T00:08:10Z");
    status(&json!({"phase": "Complete", "revision": "new", "switch": moved}).to_string(), &[])
}

fn pod(name: &str, set: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "shop"}, "ownerReferences": [{"kind": "ReplicaSet", "name": set, "uid": set, "controller": true}]}})
}

fn sets() -> Vec<Value> {
    let mut new = replica_set("new", "serving@2", 2);
    new["metadata"]["uid"] = json!("set");
    vec![replica_set("old", "retired@1", 0), new]
}

#[test]
fn only_what_is_at_rest_goes_back() {
    let (object, all) = (serving(), sets());
    let ours = pod("one", "set");
    assert_eq!(settled(&object, &all, std::slice::from_ref(&ours), None).map(|set| trim::label(set, keys::REVISION)), Ok(Some("new")));
    let refused = |object: &BlueGreenDeployment, sets: &[Value], pods: &[Value]| match settled(object, sets, pods, None).unwrap_err() {
        No::Refused(why) => why,
        No::NotYet => "not yet".into(),
    };
    let mut draining = sets();
    draining[0]["spec"]["replicas"] = 1.into();
    assert!(refused(&object, &draining, &[]).contains("revision old still has pods"));
    draining[0]["spec"]["replicas"] = 0.into();
    draining[0]["status"]["replicas"] = 1.into();
    assert_eq!(refused(&object, &draining, &[]), "not yet");
    let mut ending = pod("stray", "elsewhere");
    assert!(refused(&object, &all, std::slice::from_ref(&ending)).contains("pod \"stray\" has the labels of spec.selector too"));
    let mut over = ending.clone();
    over["status"] = json!({"phase": "Failed"});
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(settled(&object, &all, &[ending, over], None).is_ok());
    assert!(refused(&object, &all[..1], &[]).contains("revision new has no pods of its own"));
    let on_its_way = |change: &dyn Fn(&mut bluegreen::api::BlueGreenDeploymentStatus)| {
        let mut object = serving();
        change(object.status.as_mut().unwrap());
        refused(&object, &all, &[])
    };
    assert!(on_its_way(&|status| status.revision = Some("newer".into())).contains("a release is on its way"));
    assert!(on_its_way(&|status| status.switch.as_mut().unwrap().converged_at = None).contains("a release is on its way"));
    assert!(on_its_way(&|status| status.switch.as_mut().unwrap().completed_at = None).contains("a release is on its way"));
    assert!(on_its_way(&|status| status.switch = None).contains("no revision serves yet"));
    assert_eq!(on_its_way(&|status| status.observed_generation = 2), "not yet");
    let rejected = json!({"revision": "newer", "reason": "Aborted", "message": "m", "at": "2026-01-01T00:09:00Z"});
    let back = on_its_way(&|status| status.rejected = serde_json::from_value(rejected.clone()).unwrap());
    assert!(back.contains("spec.template is not what serves, as revision newer was given up; apply the template of new"), "{back}");
    // When the set has changed hands, it is the one that serves.
    let mut given = sets();
    given[1]["metadata"]["ownerReferences"] = json!([{"kind": "Deployment", "name": "shop", "uid": "d", "controller": true}]);
    assert!(settled(&serving(), &given, &[pod("one", "set")], Some("d")).is_ok());
    assert!(settled(&serving(), &given, &[pod("one", "set")], None).is_err());
    given[1]["metadata"]["ownerReferences"] = json!([]);
    assert!(settled(&serving(), &given, &[pod("one", "set")], None).is_ok());
    let mut marked = serving();
    marked.spec.pod_metadata = serde_json::from_value(json!({"active": {"labels": {"role": "active"}}})).unwrap();
    assert!(refused(&marked, &all, &[]).contains("spec.podMetadata"));
    let mut keeps = serving();
    keeps.spec.config_snapshots.secrets.push("keys".into());
    assert!(refused(&keeps, &all, &[]).contains("spec.configSnapshots"));
}

#[test]
fn the_deployment_has_its_set_before_the_others_are_free() {
    let set = sets().remove(1);
    let deployment = json!({"metadata": {"name": "shop", "uid": "d"}});
    let patch = given(&set, &deployment).unwrap();
    assert_eq!((&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]), (&json!("set"), &json!("1")));
    let owner = &patch["metadata"]["ownerReferences"];
    assert_eq!((owner.as_array().map(Vec::len), &owner[0]["uid"], &owner[0]["controller"]), (Some(1), &json!("d"), &json!(true)));
    let mut theirs = set;
    theirs["metadata"]["ownerReferences"] = owner.clone();
    assert_eq!(given(&theirs, &deployment), None);
}

/// Left by a call that was given up, it would roll the application back to what served then.
#[test]
fn a_deployment_of_earlier_is_known() {
    let template = |image: &str| json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"image": image}]}});
    let of = |image: &str, replicas: i64| json!({"spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "shop"}}, "template": template(image)}});
    assert!(!differs(&of("v1", 2), &of("v1", 2)));
    assert!(differs(&of("v1", 2), &of("v2", 2)) && differs(&of("v1", 2), &of("v1", 3)));
    let mut hashed = of("v1", 2);
    hashed["spec"]["template"]["metadata"]["labels"][keys::POD_TEMPLATE_HASH] = json!("x");
    hashed["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    assert!(!differs(&of("v1", 2), &hashed));
}

/// Letter by letter the template of the set, or the Deployment controller would start another.
#[test]
fn the_deployment_has_the_template_of_the_set() {
    let mut set = sets().remove(1);
    let labels = json!({"app": "shop", "bluegreen.dev/revision": "new", "pod-template-hash": "new"});
    set["spec"]["template"] = json!({"metadata": {"labels": labels}, "spec": {"containers": []}});
    let object = json!({
        "metadata": {"name": "shop", "uid": "b", "labels": {"team": "a"}},
        "spec": {"replicas": 2, "minReadySeconds": 3, "selector": {"matchLabels": {"app": "shop"}}, "template": {"spec": {}}, "traffic": {}},
    });
    assert_eq!(
        manifest(&object, &set),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "shop", "labels": {"team": "a"}, "annotations": {"bluegreen.dev/ejecting": "b"}},
            "spec": {
                "replicas": 2, "minReadySeconds": 3, "paused": true, "selector": {"matchLabels": {"app": "shop"}},
                "template": {"metadata": {"labels": {"app": "shop", "bluegreen.dev/revision": "new"}}, "spec": {"containers": []}},
            },
        })
    );
}

#[test]
fn a_set_that_leaves_bears_nothing_that_another_object_could_rest_on() {
    let set = json!({"metadata": {"uid": "set",
        "labels": {"app": "shop", "bluegreen.dev/revision": "new", "bluegreen.dev/issue": "2", "bluegreen.dev/color": "blue", "bluegreen.dev/name": "shop"},
        "annotations": {"bluegreen.dev/role": "serving@2", "deployment.kubernetes.io/revision": "1", "deployment.kubernetes.io/desired-replicas": "2"}}});
    let patch = json!({"metadata": {"uid": "set", "labels": {"bluegreen.dev/color": null, "bluegreen.dev/name": null},
        "annotations": {"bluegreen.dev/role": null, "deployment.kubernetes.io/desired-replicas": null}}});
    assert_eq!(set_patch(&set), Some(patch));
    let bare = json!({"metadata": {"uid": "set", "labels": {"app": "shop", "bluegreen.dev/revision": "new"}}});
    assert_eq!(set_patch(&bare), None);
}

#[test]
fn it_goes_on_when_all_pods_are_of_its_template() {
    let deployment = |updated: i64, observed: i64| {
        json!({"metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": observed, "replicas": 2, "updatedReplicas": updated, "availableReplicas": 2}})
    };
    assert!(goes_on(&deployment(2, 2)) && !goes_on(&deployment(0, 2)) && !goes_on(&deployment(2, 1)));
}
