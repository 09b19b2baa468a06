//! Configuration that is kept with each revision: the template that refers to copies, and what becomes of the copies.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use super::fixtures::*;
use super::simulator::World;
use crate::api::{ConditionStatus, ConditionType, PhaseName, keys};
use crate::release::action::Action;
use crate::release::config::*;
use crate::release::copies::SPARE;
use crate::release::revision::{config_digest, copy_name, copy_of, copy_stem};
use crate::release::{Identity, plan};

fn id(kind: ConfigKind, name: &str) -> ConfigName {
    ConfigName { kind, name: name.into() }
}

fn map(name: &str) -> ConfigName {
    id(ConfigKind::ConfigMap, name)
}

pub fn secret(name: &str) -> ConfigName {
    id(ConfigKind::Secret, name)
}

/// A template that refers to "c" (ConfigMap) and "s" (Secret) in every place where one can be named.
fn everywhere() -> Value {
    let container = |name: &str| {
        json!({"name": name, "image": "c",
            "env": [
                {"name": "A", "value": "c"},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "c"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "s"}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "envFrom": [{"prefix": "c", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s", "optional": true}}],
            "volumeMounts": [{"name": "c", "mountPath": "/c"}]})
    };
    json!({
        "metadata": {"labels": {"app": SHOP, "c": "c"}},
        "spec": {
            "initContainers": [container("first")],
            "containers": [container("web"), container("proxy")],
            "imagePullSecrets": [{"name": "s"}],
            "volumes": [
                {"name": "c", "configMap": {"name": "c", "items": [{"key": "c", "path": "c"}]}},
                {"name": "s", "secret": {"secretName": "s"}},
                {"name": "both", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "c"}}]}},
                {"name": "other", "configMap": {"name": "other"}},
                {"name": "none", "emptyDir": {}}]}
    })
}

/// A template of its own that refers to copies.
fn rewritten(template: &Value, copies: &BTreeMap<ConfigName, String>) -> Value {
    let mut template = template.clone();
    rewrite(&mut template, copies);
    template
}

#[test]
fn every_place_is_found_and_only_names_are_changed() {
    let copies = BTreeMap::from([(map("c"), "c-1".to_owned()), (secret("s"), "s-1".to_owned())]);
    let template = everywhere();
    let new = rewritten(&template, &copies);
    assert_eq!(references(&template["spec"]), BTreeSet::from([map("c"), map("other"), secret("s")]));
    assert_eq!(references(&new["spec"]), BTreeSet::from([map("c-1"), map("other"), secret("s-1")]));
    // Three containers with two references to each kind, and two volumes each: nothing else has the new names.
    assert_eq!(new.to_string().matches(r#""c-1""#).count(), 3 * 2 + 2);
    assert_eq!(new.to_string().matches(r#""s-1""#).count(), 3 * 2 + 2);
    assert_eq!(new["spec"]["imagePullSecrets"], template["spec"]["imagePullSecrets"]);
    let back = BTreeMap::from([(map("c-1"), "c".to_owned()), (secret("s-1"), "s".to_owned())]);
    assert_eq!(rewritten(&new, &back), template);
    // A ConfigMap and a Secret of one name are two things.
    let one = rewritten(&template, &BTreeMap::from([(map("s"), "x".to_owned())]));
    assert_eq!(one, template);
}

#[test]
fn names_of_copies_are_frozen_and_fit() {
    let name = copy_name(SHOP, &map("shop-config"), "digest");
    assert_eq!(name, "shop-config-g8zv4b5rmt");
    assert_eq!((copy_of(&name), copy_of("shop-config"), copy_of("shop-configuration"), copy_of("x")), (Some("shop-config"), None, None, None));
    for other in [
        copy_name("cart", &map("shop-config"), "digest"),
        copy_name(SHOP, &secret("shop-config"), "digest"),
        copy_name(SHOP, &map("shop-config"), "other"),
    ] {
        assert_ne!(other, name);
    }
    let long = format!("{}.{}", "a".repeat(241), "b".repeat(11));
    let name = copy_name(SHOP, &map(&long), "digest");
    assert!(name.len() <= 253 && name.starts_with(&"a".repeat(241)) && !name.contains(".-"), "{name}");
    assert_eq!(copy_of(&name), Some(copy_stem(&long)));
}

#[test]
fn only_what_is_held_counts() {
    let of = |object: Value| config_digest(&object);
    let base = of(json!({"metadata": {"name": "a"}, "data": {"x": "1"}}));
    assert_eq!(base, of(json!({"metadata": {"name": "b", "labels": {"x": "y"}}, "data": {"x": "1"}, "binaryData": {}, "immutable": true})));
    for other in [
        json!({"data": {"x": "2"}}),
        json!({"data": {"y": "1"}}),
        json!({"binaryData": {"x": "1"}}),
        json!({"data": {"x": "1"}, "type": "Opaque"}),
        json!({}),
    ] {
        assert_ne!(of(other), base);
    }
    // Where one value ends and the next begins matters.
    assert_ne!(of(json!({"data": {"a": "1\",\"b\":\"2"}})), of(json!({"data": {"a": "1", "b": "2"}})));
}

/// Any JSON, with the words that a template has where they belong and where they don't.
fn hostile() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("spec"),
        Just("containers"),
        Just("initContainers"),
        Just("env"),
        Just("envFrom"),
        Just("valueFrom"),
        Just("configMapKeyRef"),
        Just("configMapRef"),
        Just("secretRef"),
        Just("secretKeyRef"),
        Just("volumes"),
        Just("configMap"),
        Just("secret"),
        Just("secretName"),
        Just("projected"),
        Just("sources"),
        Just("name"),
        Just("a/b~c"),
        Just("0"),
    ];
    let text = prop_oneof![Just("c"), Just("s"), Just("other"), Just("")];
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), text.prop_map(Value::from)];
    leaf.prop_recursive(9, 160, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

/// A template that is like one, with anything in its places.
fn odd() -> impl Strategy<Value = Value> {
    (hostile(), hostile(), hostile(), hostile()).prop_map(|(one, two, three, four)| {
        json!({"metadata": one.clone(), "spec": {
            "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "c", "x": one}}}, two.clone()], "envFrom": two}, three.clone(), everywhere()["spec"]["containers"][0]],
            "initContainers": three,
            "volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}, four.clone()]}}, four, {"secret": {"secretName": "s"}}]}})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn any_template_is_rewritten_once_and_for_all(template in prop_oneof![hostile(), odd()]) {
        let copies = BTreeMap::from([(map("c"), "c-1".to_owned()), (secret("s"), "s-1".to_owned())]);
        let new = rewritten(&template, &copies);
        prop_assert_eq!(&rewritten(&new, &copies), &new);
        let spec = new.get("spec").cloned().unwrap_or_default();
        prop_assert!(references(&spec).iter().all(|found| !copies.contains_key(found)));
        // Everything else is as it was: the way back gives the same, as nothing had these names before.
        let back = BTreeMap::from([(map("c-1"), "c".to_owned()), (secret("s-1"), "s".to_owned())]);
        prop_assert_eq!(&rewritten(&new, &back), &template);
        prop_assert_eq!(rewritten(&template, &BTreeMap::new()), template);
    }
}

/// A shop whose template refers to the ConfigMap `shop-config`, with what the cluster holds.
pub struct Shop {
    pub world: World,
    held: BTreeMap<ConfigName, String>,
}

fn raw(image: &str) -> Value {
    let mut raw = template(image);
    raw["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "shop-config"}}]);
    raw
}

impl Shop {
    /// Before its first release.
    pub fn new() -> Self {
        let world = World::new("v1", &json!({"configSnapshots": {"configMaps": ["shop-config"]}, "revisionHistoryLimit": 1}));
        let mut shop = Self { world, held: BTreeMap::new() };
        shop.hold("one");
        shop
    }

    /// With its first release.
    pub fn installed() -> Self {
        let mut shop = Self::new();
        shop.complete();
        shop.world.transcript.clear();
        shop
    }

    /// Somebody writes into the ConfigMap.
    pub fn hold(&mut self, content: &str) {
        self.held.insert(map("shop-config"), content.into());
        self.read();
    }

    /// What the controller reads, as [`crate::controller::config::read`] does.
    pub fn read(&mut self) {
        let template = raw("v1");
        let now = self.world.now().mono;
        let held: BTreeMap<ConfigName, Config> = self
            .held
            .iter()
            .map(|(id, digest)| {
                let config = Config {
                    id: id.clone(),
                    uid: format!("uid-{}", id.name),
                    resource_version: "1".into(),
                    digest: digest.clone(),
                    copy_for: None,
                    owner: None,
                    deleting: false,
                };
                (id.clone(), config)
            })
            .collect();
        let snapshot = &mut self.world.snapshot;
        let spec = snapshot.object.spec.config_snapshots.clone();
        let allowed = snapshot.configs.allowed.or(Some(Snapshots::ConfigMaps));
        let unread = std::mem::take(&mut snapshot.configs.unread);
        let mut configs = Configs::new(allowed, SHOP, &spec, &template, |id| held.get(id).filter(|_| !unread.contains(&id.kind)));
        configs.unread = unread;
        configs.copies = std::mem::take(&mut snapshot.configs.copies);
        snapshot.configs = configs;
        if let Some(block) = snapshot.configs.problem() {
            snapshot.identity = Identity::Refused { reason: block.reason.into(), message: block.message };
            return;
        }
        if matches!(snapshot.identity, Identity::Refused { .. }) {
            snapshot.identity = Identity::Unknown { raw_hash: String::new() };
        }
        let mut template = template;
        snapshot.configs.put_copies(&mut template);
        if template != snapshot.object.spec.template {
            snapshot.object.spec.template = template;
            self.world.touch();
        }
        let snapshot = &mut self.world.snapshot;
        let needed: Vec<bool> = snapshot.configs.copies.iter().map(|copy| crate::release::copies::needed(snapshot, &copy.config.id)).collect();
        for (copy, needed) in snapshot.configs.copies.iter_mut().zip(needed) {
            copy.unused_since = if needed { None } else { copy.unused_since.or(Some(now)) };
        }
    }

    pub fn run(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.read();
            self.world.run(1);
        }
    }

    pub fn complete(&mut self) {
        self.world.settle();
        for _ in 0..600 {
            self.run(1);
            if self.world.phase() == PhaseName::Complete {
                return;
            }
        }
        panic!("{:#?}", self.world.status());
    }

    pub fn copies(&self) -> BTreeSet<String> {
        self.world.snapshot.configs.copies.iter().map(|copy| copy.config.id.name.clone()).collect()
    }

    /// What the set needs that serves.
    pub fn needs(&self) -> BTreeSet<String> {
        let to = &self.world.status().switch.as_ref().unwrap().to;
        let set = self.world.snapshot.sets.iter().find(|set| set.revision == *to).unwrap();
        set.configs.iter().map(|id| id.name.clone()).collect()
    }

    pub fn stalled(&self) -> (ConditionStatus, String) {
        condition(self.world.status(), ConditionType::Stalled)
    }
}

pub fn copy(content: &str) -> String {
    copy_name(SHOP, &map("shop-config"), content)
}

#[test]
fn a_change_of_configuration_is_a_release_and_a_copy_is_there_before_the_set() {
    let mut shop = Shop::installed();
    assert_eq!((shop.needs(), shop.copies()), (BTreeSet::from([copy("one")]), BTreeSet::from([copy("one")])));
    let first = shop.world.status().switch.as_ref().unwrap().to.clone();
    shop.hold("two");
    shop.complete();
    assert_ne!(shop.world.status().switch.as_ref().unwrap().to, first);
    assert_eq!((shop.needs(), shop.copies()), (BTreeSet::from([copy("two")]), BTreeSet::from([copy("one"), copy("two")])));
    let order: Vec<&String> = shop.world.transcript.iter().filter(|line| line.starts_with("copy") || line.starts_with("create")).collect();
    assert!(order.len() == 2 && order[0] == "copy shop-config", "{order:?}");
}

#[test]
fn the_way_back_brings_its_own_configuration_back() {
    let mut shop = Shop::installed();
    let first = shop.world.status().switch.as_ref().unwrap().to.clone();
    shop.hold("two");
    shop.complete();
    let second = shop.world.status().switch.as_ref().unwrap().to.clone();
    shop.world.command(keys::command::ROLLBACK, format!("{second}-{first}"));
    shop.run(120);
    assert_eq!((shop.world.status().switch.as_ref().unwrap().to.clone(), shop.needs()), (first.clone(), BTreeSet::from([copy("one")])));
    // The same content again is the same revision.
    shop.hold("one");
    shop.complete();
    assert_eq!(shop.world.status().switch.as_ref().unwrap().to, first);
}

#[test]
fn a_copy_that_nothing_refers_to_goes_with_the_history_and_not_at_once() {
    let mut shop = Shop::installed();
    for content in ["two", "three"] {
        shop.hold(content);
        shop.complete();
        shop.run(1);
    }
    // The set of the first is gone by now.
    let gone = |shop: &Shop| !shop.world.snapshot.sets.iter().any(|set| set.configs.contains(&map(&copy("one"))));
    while !gone(&shop) {
        shop.run(1);
    }
    let seconds = u32::try_from(SPARE.as_secs()).unwrap();
    shop.run(seconds - 2);
    assert!(shop.copies().contains(&copy("one")), "too early");
    shop.world.edit(|spec| spec.paused = true);
    shop.run(10);
    assert!(shop.copies().contains(&copy("one")), "deleted while paused");
    shop.world.edit(|spec| spec.paused = false);
    shop.run(2);
    assert_eq!(shop.copies(), BTreeSet::from([copy("two"), copy("three")]));
    shop.run(600);
    assert_eq!(shop.copies(), BTreeSet::from([copy("two"), copy("three")]));
}

#[test]
fn a_pod_without_a_set_keeps_its_copy() {
    let mut shop = Shop::installed();
    shop.world.snapshot.configs.copies.push(Copy {
        config: Config {
            id: map(&copy("old")),
            uid: "old".into(),
            resource_version: "1".into(),
            digest: "old".into(),
            copy_for: Some(SHOP.into()),
            owner: Some(UID.into()),
            deleting: false,
        },
        unused_since: None,
    });
    shop.world.snapshot.pods[0].configs.insert(map(&copy("old")));
    shop.run(100);
    assert!(shop.copies().contains(&copy("old")));
    shop.world.snapshot.pods[0].configs.clear();
    // Nor does one go while something can't be read.
    shop.run(3);
    shop.world.snapshot.unread = vec!["Pods".into()];
    shop.run(60);
    assert!(shop.copies().contains(&copy("old")));
    shop.world.snapshot.unread.clear();
    // Nor one of another object of this name.
    shop.world.snapshot.configs.copies.iter_mut().find(|copy| copy.config.uid == "old").unwrap().config.owner = Some("another".into());
    shop.run(60);
    assert!(shop.copies().contains(&copy("old")));
    shop.world.snapshot.configs.copies.iter_mut().find(|copy| copy.config.uid == "old").unwrap().config.owner = Some(UID.into());
    shop.run(60);
    assert!(!shop.copies().contains(&copy("old")));
}

#[test]
fn a_copy_that_somebody_deletes_is_made_again_if_that_can_be() {
    let mut shop = Shop::installed();
    let first = shop.world.status().switch.as_ref().unwrap().to.clone();
    shop.world.snapshot.configs.copies.clear();
    shop.run(1);
    assert_eq!(shop.copies(), BTreeSet::from([copy("one")]));
    // One that holds something else, or is on its way out, is as none.
    shop.world.snapshot.configs.copies[0].config.deleting = true;
    shop.run(1);
    assert_eq!(shop.world.snapshot.configs.copies.len(), 2);
    shop.world.snapshot.configs.copies.remove(0);

    // What the source does not hold any more can't be made again: that is said, of the set that serves.
    shop.hold("two");
    shop.complete();
    let second = shop.world.status().switch.as_ref().unwrap().to.clone();
    shop.world.command(keys::command::ROLLBACK, format!("{second}-{first}"));
    shop.run(120);
    assert_eq!(shop.world.status().switch.as_ref().unwrap().to, first);
    shop.world.snapshot.configs.copies.retain(|known| known.config.id.name != copy("one"));
    shop.run(2);
    let said = message(shop.world.status(), ConditionType::Stalled);
    assert_eq!(shop.stalled(), (ConditionStatus::True, "ConfigLost".into()));
    assert!(said.contains(&copy("one")) && said.contains("shop-config"), "{said}");
    shop.hold("one");
    shop.run(60);
    assert_eq!(shop.copies().len(), 2);
    assert_eq!(shop.stalled().0, ConditionStatus::False);
}

#[test]
fn what_can_not_be_copied_stalls_and_what_runs_goes_on() {
    let told = |shop: &Shop| (shop.stalled().1, message(shop.world.status(), ConditionType::Stalled));
    let mut shop = Shop::installed();
    let serves =
        |shop: &Shop| (shop.world.status().switch.as_ref().unwrap().to.clone(), shop.world.snapshot.pods.iter().filter(|pod| pod.ready).count());
    let before = serves(&shop);
    shop.held.clear();
    shop.run(100);
    let missing = "spec.configSnapshots.configMaps[0]: there is no ConfigMap \"shop-config\" in this namespace; create it, or remove it here";
    assert_eq!(told(&shop), ("ConfigMissing".into(), missing.into()));
    assert_eq!((serves(&shop), shop.copies().len()), (before.clone(), 1));
    shop.hold("one");
    shop.run(1);
    assert_eq!(shop.stalled().0, ConditionStatus::False);

    shop.world.edit(|spec| spec.config_snapshots.config_maps.push("other".into()));
    shop.run(1);
    let unused = "spec.configSnapshots.configMaps[1]: spec.template does not refer to ConfigMap \"other\"; refer to it, or remove it here";
    assert_eq!(told(&shop), ("ConfigUnused".into(), unused.into()));
    shop.world.edit(|spec| {
        spec.config_snapshots.config_maps.pop();
        spec.config_snapshots.secrets.push("keys".into());
    });
    shop.run(1);
    let refused =
        "spec.configSnapshots.secrets[0]: this operator may not copy Secrets; whoever installs it can set configSnapshots to ConfigMapsAndSecrets";
    assert_eq!(told(&shop), ("SnapshotsNotAllowed".into(), refused.into()));
    assert_eq!(serves(&shop), before);
    // A person's own tools don't know what the operator may.
    shop.world.snapshot.configs.allowed = None;
    assert_eq!(shop.world.snapshot.configs.problem(), None);
}

#[test]
fn nothing_is_copied_that_may_not_be_nor_twice() {
    let shop = Shop::new();
    let copies = |shop: &Shop| {
        plan(&shop.world.snapshot, shop.world.now()).actions.iter().filter(|action| matches!(action, Action::CopyConfig { .. })).count()
    };
    let mut shop = shop;
    shop.world.snapshot.identity = identity(&shop.world.snapshot.object.spec.template);
    assert_eq!(copies(&shop), 1);
    shop.world.snapshot.configs.allowed = Some(Snapshots::None);
    assert_eq!(copies(&shop), 0);
}

#[test]
fn a_copy_is_not_copied() {
    let template = raw("v1");
    let config = Config {
        id: map("shop-config"),
        uid: "u".into(),
        resource_version: "1".into(),
        digest: "d".into(),
        copy_for: Some("cart".into()),
        owner: None,
        deleting: false,
    };
    let spec = serde_json::from_value(json!({"configMaps": ["shop-config"]})).unwrap();
    let configs = Configs::new(Some(Snapshots::ConfigMaps), SHOP, &spec, &template, |_| Some(&config));
    assert_eq!(configs.problem().unwrap().reason, "ConfigIsCopy");
}
