//! Configuration that is kept with revisions, in front of an API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::fake::{Fake, Request, Stage, key, service, template};
use super::super::world::{Feed, Key};
use super::*;
use crate::release::action::Action;
use crate::release::revision::copy_name;
use crate::release::{Identity, plan};

fn map(name: &str) -> ConfigName {
    ConfigName { kind: ConfigKind::ConfigMap, name: name.into() }
}

fn config_map(content: &str) -> Value {
    json!({"metadata": {"name": "settings", "namespace": "n"}, "data": {"a": content}, "binaryData": {"b": "AAA="}})
}

fn secret(content: &str) -> Value {
    json!({"metadata": {"name": "keys", "namespace": "n"}, "data": {"k": content}, "type": "example.com/keys"})
}

fn with_both() -> Value {
    let mut template = template("v1");
    template["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}]);
    template
}

/// The object `shop` that keeps a ConfigMap and a Secret, before the controller has seen it.
fn stage(allowed: Snapshots) -> Stage {
    let mut stage = Stage::new();
    Arc::get_mut(&mut stage.context).unwrap().installation.config_snapshots = Some(allowed);
    *stage.context.world() = World::new(vec![], true).with_configs(allowed);
    stage.api.put(
        Resource::BlueGreenDeployment,
        json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": "shop", "namespace": "n", "generation": 1},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": with_both(), "traffic": {"services": ["shop"]},
                "configSnapshots": {"configMaps": ["settings"], "secrets": ["keys"]}},
        }),
    );
    stage.api.put(Resource::Service, service("shop", json!({})));
    stage.api.put(Resource::ConfigMap, config_map("one"));
    stage.api.put(Resource::Secret, secret("b25l"));
    stage
}

fn created(requests: &[Request], resource: Resource) -> Vec<&Value> {
    requests.iter().filter(|request| request.verb == "create" && request.resource == resource).map(|request| &request.body).collect()
}

fn name_of(object: &Value) -> String {
    trim::text(object, "/metadata/name").unwrap()
}

async fn copy_settings(stage: &Stage, digest: &str) -> Result<(), ApiError> {
    let object = stage.snapshot().object;
    copy(&stage.context, &object, &map("settings"), &copy_name("shop", &map("settings"), digest), digest).await
}

#[tokio::test]
async fn copies_are_made_before_the_set_that_refers_to_them() {
    let mut stage = stage(Snapshots::ConfigMapsAndSecrets);
    stage.look().await;
    let requests = stage.api.requests();
    let order: Vec<Resource> = requests.iter().filter(|request| request.verb == "create").map(|request| request.resource).collect();
    assert_eq!(order, [Resource::ConfigMap, Resource::Secret, Resource::ReplicaSet]);
    let (maps, secrets) = (created(&requests, Resource::ConfigMap), created(&requests, Resource::Secret));
    assert_eq!((&maps[0]["data"], &maps[0]["binaryData"]), (&json!({"a": "one"}), &json!({"b": "AAA="})));
    assert_eq!((&secrets[0]["data"], &secrets[0]["type"]), (&json!({"k": "b25l"}), &json!("example.com/keys")));
    for (copy, source) in [(maps[0], "settings"), (secrets[0], "keys")] {
        assert_eq!((&copy["immutable"], &copy["metadata"]["labels"][keys::NAME]), (&json!(true), &json!("shop")));
        assert_eq!(copy["metadata"]["annotations"][keys::COPY_OF], source);
        assert_eq!(copy["metadata"]["ownerReferences"][0]["uid"], "uid-shop");
    }
    let set = created(&requests, Resource::ReplicaSet)[0];
    let from = &set["spec"]["template"]["spec"]["containers"][0]["envFrom"];
    assert_eq!(from, &json!([{"configMapRef": {"name": name_of(maps[0])}}, {"secretRef": {"name": name_of(secrets[0])}}]));
    // At rest nothing is asked for.
    stage.ready_pods();
    stage.look().await;
    stage.look().await;
    stage.api.requests();
    stage.look().await;
    assert!(created(&stage.api.requests(), Resource::ConfigMap).is_empty());
}

#[tokio::test]
async fn nothing_of_a_secret_is_kept_in_memory_but_a_hash() {
    let mut stage = stage(Snapshots::ConfigMapsAndSecrets);
    stage.api.put(Resource::Secret, secret("dmVyeS1zZWNyZXQ="));
    stage.look().await;
    let snapshot = stage.snapshot();
    let kept = format!("{:?} {snapshot:?}", stage.context.world());
    assert!(kept.contains("keys-") && !kept.contains("dmVyeS1zZWNyZXQ="));
    assert!(!format!("{:?}", plan(&stage.snapshot(), stage.context.clock.now())).contains("dmVyeS1zZWNyZXQ="));
}

#[tokio::test]
async fn a_copy_is_only_made_of_what_was_decided_on() {
    let stage = stage(Snapshots::ConfigMapsAndSecrets);
    stage.feed();
    let digest = config_digest(&config_map("one"));
    // Changed since, of which no watch has told.
    stage.api.put(Resource::ConfigMap, config_map("two"));
    assert_eq!(copy_settings(&stage, &digest).await, Err(ApiError::Conflict));
    assert!(created(&stage.api.requests(), Resource::ConfigMap).is_empty());
    assert_eq!(copy_settings(&stage, &config_digest(&config_map("two"))).await, Ok(()));
    assert_eq!(stage.context.world().copies("n", "shop").len(), 1);
}

#[tokio::test]
async fn a_name_that_is_taken_is_ours_or_somebody_elses() {
    let mut stage = stage(Snapshots::ConfigMapsAndSecrets);
    stage.feed();
    let digest = config_digest(&config_map("one"));
    let name = copy_name("shop", &map("settings"), &digest);
    let there = |stage: &Stage, owner: Value, content: &str, copied: bool| {
        let mut object = config_map(content);
        object["metadata"] = json!({"name": name, "namespace": "n", "labels": {keys::NAME: "shop"}});
        if copied {
            object["metadata"]["annotations"] = json!({keys::COPY_OF: "settings"});
        }
        if !owner.is_null() {
            object["metadata"]["ownerReferences"] = json!([{"kind": "BlueGreenDeployment", "name": "shop", "uid": owner, "controller": true}]);
        }
        stage.api.put(Resource::ConfigMap, object);
    };
    // An earlier object of this name left it behind, or goes with it.
    there(&stage, Value::Null, "one", true);
    assert_eq!(copy_settings(&stage, &digest).await, Ok(()));
    there(&stage, json!("earlier"), "one", true);
    assert_eq!(copy_settings(&stage, &digest).await, Err(ApiError::Conflict));
    there(&stage, json!("uid-shop"), "one", true);
    assert_eq!(copy_settings(&stage, &digest).await, Ok(()));
    // Two contents never share a copy.
    there(&stage, json!("uid-shop"), "other", true);
    assert!(matches!(copy_settings(&stage, &digest).await, Err(ApiError::Invalid(why)) if why.contains("holds something else")));
    there(&stage, Value::Null, "one", false);
    stage.look().await;
    let (status, reason, message) = stage.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Refused"));
    assert_eq!(message, format!("ConfigMap \"settings\" can't be copied: ConfigMap \"{name}\" exists already and is somebody else's; delete it"));
    assert!(created(&stage.api.requests(), Resource::ReplicaSet).is_empty(), "pods without their configuration");
}

#[tokio::test]
async fn what_may_not_be_copied_is_told_and_so_is_a_right_that_is_missing() {
    let mut stage = stage(Snapshots::ConfigMaps);
    stage.look().await;
    let (status, reason, message) = stage.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "SnapshotsNotAllowed"));
    assert!(message.starts_with("spec.configSnapshots.secrets[0]: "), "{message}");
    let requests = stage.api.requests();
    assert!(created(&requests, Resource::ConfigMap).is_empty() && created(&requests, Resource::ReplicaSet).is_empty());

    let mut stage = self::stage(Snapshots::ConfigMapsAndSecrets);
    stage.api.refuse(|request| {
        let secret = request.resource == Resource::Secret && request.verb == "create";
        secret.then(|| ApiError::Forbidden("cannot create resource \"secrets\"".into()))
    });
    stage.look().await;
    let (_, reason, message) = stage.condition("Stalled");
    assert_eq!((reason.as_str(), message.as_str()), ("Forbidden", "Secret \"keys\" can't be copied: cannot create resource \"secrets\""));
}

#[tokio::test]
async fn a_copy_goes_only_if_no_set_refers_to_it_at_that_moment() {
    let mut stage = stage(Snapshots::ConfigMapsAndSecrets);
    stage.look().await;
    let object = stage.snapshot().object;
    let config = stage.context.world().copies("n", "shop").into_iter().find(|config| config.id.kind == ConfigKind::ConfigMap).unwrap().clone();
    // A set that no watch has told of.
    assert_eq!(delete(&stage.context, &object, &config).await, Err(ApiError::Conflict));
    let set = stage.api.only(Resource::ReplicaSet);
    let guard = (set["metadata"]["uid"].as_str().unwrap(), None);
    Fake::delete(&stage.api, Resource::ReplicaSet, "n", &name_of(&set), guard, Dependents::Deleted).await.unwrap();
    assert_eq!(delete(&stage.context, &object, &config).await, Ok(()));
    assert!(stage.api.now(Resource::ConfigMap, &config.id.name).is_null());
    assert!(stage.context.world().config("n", &config.id).is_none());
    // It is known to be gone, and made again before a set is.
    stage.api.requests();
    stage.look().await;
    let order: Vec<Resource> = stage.api.requests().iter().filter(|request| request.verb == "create").map(|request| request.resource).collect();
    assert_eq!(order, [Resource::ConfigMap, Resource::ReplicaSet]);
}

#[tokio::test]
async fn a_change_is_a_release_and_what_is_old_goes_later() {
    let mut stage = stage(Snapshots::ConfigMapsAndSecrets);
    stage.look().await;
    let first = stage.snapshot();
    stage.api.put(Resource::Secret, secret("dHdv"));
    stage.look().await;
    // The first one is no more: it never served.
    let set = stage.api.now(Resource::ReplicaSet, &first.sets[0].name);
    let guard = (set["metadata"]["uid"].as_str().unwrap(), None);
    Fake::delete(&stage.api, Resource::ReplicaSet, "n", &name_of(&set), guard, Dependents::Deleted).await.unwrap();
    stage.feed();
    let second = stage.snapshot();
    let revision = |identity: &Identity| if let Identity::Known { revision, .. } = identity { revision.clone() } else { panic!("{identity:?}") };
    assert_ne!(revision(&first.identity), revision(&second.identity));
    assert_eq!(second.configs.copies.len(), 3);
    // Of pods that are nobody's any more: they keep what they refer to.
    let old = second.configs.copies.iter().map(|copy| &copy.config.id).find(|id| !second.sets.iter().any(|set| set.configs.contains(id)));
    let old = old.unwrap_or_else(|| panic!("{:#?}", second.sets)).clone();
    let unused = |stage: &Stage| stage.snapshot().configs.copies.iter().find(|copy| copy.config.id == old).unwrap().unused_since;
    assert!(unused(&stage).is_some());
    let pod = json!({"metadata": {"name": "stray", "namespace": "n", "labels": {keys::REVISION: "gone", "app": "shop"}},
        "spec": {"containers": [{"name": "app", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": old.name, "key": "k"}}}]}]}});
    stage.api.put(Resource::Pod, pod);
    stage.feed();
    assert_eq!(unused(&stage), None);
}

/// Writes of ReplicaSets and of configuration.
fn writes(requests: &[Request]) -> Vec<(&'static str, Resource)> {
    let kinds = [Resource::ReplicaSet, Resource::ConfigMap, Resource::Secret];
    let written = requests.iter().filter(|request| kinds.contains(&request.resource) && ["create", "delete"].contains(&request.verb));
    written.map(|request| (request.verb, request.resource)).collect()
}

#[tokio::test]
async fn what_can_not_be_read_holds_up_a_release_of_those_who_name_some_and_nothing_else() {
    let mut stage = stage(Snapshots::ConfigMapsAndSecrets);
    stage.look().await;
    stage.ready_pods();
    stage.look().await;
    let serves = |stage: &Stage| stage.api.now(Resource::Service, "shop")["spec"]["selector"][keys::REVISION].clone();
    let first = serves(&stage);
    stage.api.requests();
    stage.context.world().watch_fails(Feed::Secrets, "", true);
    // What it holds is unknown, whatever the caches say, and so is whether it is gone.
    for change in [Some(secret("dHdv")), None] {
        match change {
            Some(changed) => stage.api.put(Resource::Secret, changed),
            None => {
                let uid = stage.api.now(Resource::Secret, "keys")["metadata"]["uid"].clone();
                Fake::delete(&stage.api, Resource::Secret, "n", "keys", (uid.as_str().unwrap(), None), Dependents::Deleted).await.unwrap();
                stage.api.requests();
            }
        }
        let mut service = stage.api.now(Resource::Service, "shop");
        service["spec"]["selector"][keys::REVISION] = json!("elsewhere");
        stage.api.put(Resource::Service, service);
        for _ in 0..3 {
            stage.look().await;
            stage.clock.pass(Duration::from_secs(60));
        }
        let (status, reason, message) = stage.condition("Stalled");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "ConfigUnreadable"));
        let told = "spec.configSnapshots.secrets[0]: the Secrets of this namespace can't be read, and no release begins before they can; give the operator the rights of its chart, or look into its log for the reason";
        assert_eq!(message, told);
        assert_eq!(serves(&stage), first, "what serves is not repaired");
        assert_eq!(writes(&stage.api.requests()), []);
    }
    stage.api.put(Resource::Secret, secret("dHdv"));
    stage.context.world().watch_fails(Feed::Secrets, "", false);
    stage.look().await;
    assert_eq!(writes(&stage.api.requests()), [("create", Resource::Secret), ("create", Resource::ReplicaSet)]);

    // Who names none of it goes on, leftover copies or not.
    stage.context.world().watch_fails(Feed::Secrets, "", true);
    stage.change(&json!({"configSnapshots": {"secrets": []}}));
    stage.look().await;
    assert_eq!(stage.condition("Stalled").0, "False");
    assert_eq!(writes(&stage.api.requests()), [("create", Resource::ReplicaSet)]);
}

#[tokio::test]
async fn what_was_never_read_holds_up_nobody_else() {
    let stage = stage(Snapshots::ConfigMaps);
    stage.change(&json!({"configSnapshots": {"secrets": []}}));
    let object = stage.api.now(Resource::BlueGreenDeployment, "shop");
    let mut world = stage.context.world();
    world.insert(Resource::BlueGreenDeployment, &object, Duration::ZERO);
    for kind in [Resource::BlueGreenDeployment, Resource::ReplicaSet, Resource::Pod, Resource::Service, Resource::EndpointSlice] {
        world.relisted(kind, "");
    }
    assert!(world.synced(), "the controller does not begin");
    drop(world);
    let looks = |stage: &Stage| {
        let snapshot = stage.snapshot();
        assert!(snapshot.unread.is_empty(), "{:?}", snapshot.unread);
        (snapshot.configs.problem().map(|block| block.reason), plan(&snapshot, stage.context.clock.now()).actions)
    };
    let (problem, actions) = looks(&stage);
    assert_eq!(problem, Some("ConfigUnreadable"), "unknown is taken for missing");
    assert!(!actions.iter().any(|action| matches!(action, Action::Identify { .. } | Action::CreateSet { .. })), "{actions:?}");
    stage.context.world().relisted(Resource::ConfigMap, "");
    assert_eq!(looks(&stage).0, Some("ConfigMissing"));
    stage.context.world().insert(Resource::ConfigMap, &stage.api.now(Resource::ConfigMap, "settings"), Duration::ZERO);
    let (problem, actions) = looks(&stage);
    assert!(problem.is_none() && actions.iter().any(|action| matches!(action, Action::Identify { .. })), "{problem:?} {actions:?}");
}

#[test]
fn a_change_concerns_those_who_name_it() {
    let object = |name: &str, maps: &[&str]| {
        json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": {}, "configSnapshots": {"configMaps": maps}},
        })
    };
    let mut world = World::new(vec![], true).with_configs(Snapshots::ConfigMaps);
    world.insert(Resource::BlueGreenDeployment, &object("shop", &["settings"]), Duration::ZERO);
    world.insert(Resource::BlueGreenDeployment, &object("cart", &["others"]), Duration::ZERO);
    let at = |uid: &str, version: &str, content: &str| {
        let mut map = config_map(content);
        map["metadata"]["uid"] = json!(uid);
        map["metadata"]["resourceVersion"] = json!(version);
        map
    };
    let shop = BTreeSet::from([key()]);
    assert_eq!(world.insert(Resource::ConfigMap, &at("a", "2", "one"), Duration::ZERO).keys, shop);
    // Others write annotations, as for an election.
    assert_eq!(world.insert(Resource::ConfigMap, &at("a", "3", "one"), Duration::ZERO).keys, BTreeSet::new());
    assert_eq!(world.insert(Resource::ConfigMap, &at("a", "4", "two"), Duration::ZERO).keys, shop);
    // Deleted and made anew, told in another order.
    assert_eq!(world.insert(Resource::ConfigMap, &at("b", "6", "three"), Duration::ZERO).keys, shop);
    assert_eq!(world.remove(Resource::ConfigMap, &at("a", "5", "two")).keys, shop);
    assert_eq!(world.config("n", &map("settings")).unwrap().uid, "b");
    assert_eq!(world.config("elsewhere", &map("settings")), None);
    world.relist(Resource::ConfigMap, "");
    assert_eq!(world.relisted(Resource::ConfigMap, "").keys.len(), 2);
    assert_eq!(world.config("n", &map("settings")), None);
    // A copy concerns whom it was made for.
    let mut copied = at("c", "9", "one");
    copied["metadata"]["name"] = json!("others-bcdfghjklm");
    copied["metadata"]["labels"] = json!({keys::NAME: "cart"});
    copied["metadata"]["annotations"] = json!({keys::COPY_OF: "others"});
    let cart = BTreeSet::from([Key { namespace: "n".into(), name: "cart".into() }]);
    assert_eq!(world.insert(Resource::ConfigMap, &copied, Duration::ZERO).keys, cart);
    assert_eq!((world.copies("n", "cart").len(), world.copies("n", "shop").len()), (1, 0));
    assert_eq!(world.remove(Resource::ConfigMap, &copied).keys, cart);
    assert!(world.copies("n", "cart").is_empty());
}
