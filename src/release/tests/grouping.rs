//! Members of a group switch together, or not at all ([`crate::release::group`]).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fixtures::*;
use super::simulator::World;
use crate::api::{BlueGreenDeployment, ConditionType, GroupMove, PhaseName, SwitchCause, keys};
use crate::release::{Peer, plan};

/// Several worlds whose objects see each other.
pub struct Worlds {
    /// One a member.
    pub all: Vec<World>,
    /// What was ever to be seen of each.
    past: Vec<Vec<Peer>>,
    /// Members that were deleted.
    pub gone: BTreeSet<usize>,
    /// Who has recorded which decision, ever.
    recorded: BTreeMap<(String, i64), BTreeSet<String>>,
    /// Decisions from which somebody went back.
    undone: BTreeSet<(String, i64)>,
    /// Every decision in full.
    decisions: BTreeMap<(String, i64), GroupMove>,
    /// The last one.
    latest: Option<GroupMove>,
}

impl Worlds {
    /// Members of one group, called `a`, `b` and so on, each with its own version installed.
    pub fn installed(number: usize, changes: &Value) -> Self {
        let mut changes = changes.clone();
        if changes.pointer("/promotion/group").is_none() {
            changes["promotion"]["group"] = json!({"name": "storefront"});
        }
        let worlds = (0..number).map(|place| {
            let mut world = World::new("v1", &changes);
            world.snapshot.object.name = ["a", "b", "c", "d"][place].into();
            world.snapshot.object.uid = format!("uid-{place}");
            world
        });
        let mut worlds = Self {
            all: worlds.collect(),
            past: vec![vec![]; number],
            gone: BTreeSet::new(),
            recorded: BTreeMap::new(),
            undone: BTreeSet::new(),
            decisions: BTreeMap::new(),
            latest: None,
        };
        worlds.settle();
        for _ in 0..20 {
            worlds.run(6);
            if worlds.all.iter().all(|world| world.phase() == PhaseName::Complete) {
                break;
            }
        }
        for world in &worlds.all {
            assert_eq!(world.phase(), PhaseName::Complete, "{:#?}", world.status());
        }
        worlds
    }

    fn seen(world: &World) -> Option<Peer> {
        let object = &world.snapshot.object;
        let mut whole = BlueGreenDeployment::new(&object.name, object.spec.clone());
        whole.metadata.uid = Some(object.uid.clone());
        whole.metadata.generation = Some(object.generation);
        whole.status = Some(object.status.clone());
        Peer::of(&whole)
    }

    /// Notes what is to be seen of a member now. True if that is news.
    pub fn note(&mut self, place: usize) -> bool {
        let Some(now) = Self::seen(&self.all[place]).filter(|_| !self.gone.contains(&place)) else { return false };
        if self.past[place].last() == Some(&now) {
            return false;
        }
        self.safe(place);
        self.past[place].push(now);
        true
    }

    /// An intent with a decision is recorded only if all whom it names had promised to follow, and only for what it names.
    fn safe(&mut self, place: usize) {
        let world = &self.all[place];
        let (name, status) = (world.snapshot.object.name.clone(), world.status());
        let Some((switch, moved)) = status.switch.as_ref().and_then(|switch| Some((switch, switch.group.clone()?))) else { return };
        let id = (moved.by.clone(), moved.number);
        if moved.members.is_empty() {
            self.undone.insert(id);
            return;
        }
        let own = moved.members.iter().find(|member| member.name == name).expect("a decision that does not name its own member");
        assert_eq!(own.revision, switch.to, "{name} goes elsewhere than decided");
        if !self.decisions.contains_key(&id) {
            self.latest = Some(moved.clone());
        }
        let first = self.decisions.entry(id.clone()).or_insert_with(|| moved.clone());
        assert_eq!(*first, moved, "two decisions with the same number");
        for member in moved.members.iter().filter(|member| member.uid != moved.by) {
            let promised = |peer: &Peer| {
                let joined = peer.status.as_ref().and_then(|status| status.joined.as_ref());
                joined.is_some_and(|joined| joined.by == moved.by && joined.number == moved.number && joined.revision == member.revision)
            };
            let place = self.all.iter().position(|world| world.snapshot.object.uid == member.uid).unwrap();
            let ever = self.past[place].iter().any(promised) || self.all[place].snapshot.object.uid == world.snapshot.object.uid;
            assert!(ever, "{} never promised {id:?}", member.name);
        }
        self.recorded.entry(id).or_default().insert(name);
    }

    /// A member reads the others, each as it was so many changes ago.
    pub fn look(&mut self, place: usize, ages: &[usize]) {
        let old = |other: usize| {
            let past = &self.past[other];
            let age = ages.get(other).copied().unwrap_or(0);
            past.get(past.len().saturating_sub(1 + age)).cloned()
        };
        // Who is gone is still seen by those who read old things.
        let there = |other: &usize| *other != place && (!self.gone.contains(other) || ages.get(*other).is_some_and(|age| *age > 0));
        let peers: Vec<Peer> = (0..self.all.len()).filter(there).filter_map(old).collect();
        self.all[place].snapshot.peers = peers;
    }

    /// One member reads, and does what it can.
    pub fn turn(&mut self, place: usize, ages: &[usize]) -> bool {
        if self.gone.contains(&place) {
            return false;
        }
        self.look(place, ages);
        self.all[place].settle();
        self.note(place)
    }

    /// All members, until none tells anything new.
    pub fn settle(&mut self) {
        for _ in 0..60 {
            let news = (0..self.all.len()).filter(|place| self.turn(*place, &[])).count();
            if news == 0 {
                return;
            }
        }
        let states: Vec<_> = self.all.iter().map(|world| (&world.status().group, &world.status().switch)).collect();
        panic!("the group never comes to rest: {states:#?}");
    }

    /// Time goes by.
    pub fn run(&mut self, seconds: u32) {
        for _ in 0..seconds {
            for place in 0..self.all.len() {
                if !self.gone.contains(&place) {
                    self.look(place, &[]);
                    self.all[place].run(1);
                    self.note(place);
                }
            }
            self.settle();
        }
    }

    /// Every member gets a version.
    pub fn apply(&mut self, version: &str) {
        (0..self.all.len()).for_each(|place| self.act(place, |world| world.apply_version(version)));
    }

    /// Somebody does something to a member.
    pub fn act(&mut self, place: usize, how: impl FnOnce(&mut World)) {
        how(&mut self.all[place]);
        self.note(place);
    }

    /// Only these members are looked at, until they have nothing to do any more.
    fn only(&mut self, places: &[usize]) {
        while places.iter().filter(|place| self.turn(**place, &[])).count() > 0 {}
    }

    /// Members that are there.
    pub fn there(&self) -> impl Iterator<Item = &World> {
        self.all.iter().enumerate().filter(|(place, _)| !self.gone.contains(place)).map(|(_, world)| world)
    }

    /// Whom a decision names has followed it, unless it was undone, or the one that called or is called is gone.
    pub fn whole(&self) {
        let gone = |uid: &str| self.gone.iter().any(|place| self.all[*place].snapshot.object.uid == uid);
        for (id, decision) in self.decisions.iter().filter(|(id, _)| !self.undone.contains(*id) && !gone(&id.0)) {
            for member in decision.members.iter().filter(|member| !gone(&member.uid)) {
                assert!(self.recorded[id].contains(&member.name), "{} never followed {decision:?}", member.name);
            }
        }
    }

    fn active(&self) -> Vec<&str> {
        self.all.iter().map(World::active).collect()
    }

    fn waits(&self, place: usize) -> String {
        let status = self.all[place].status();
        assert_eq!(condition(status, ConditionType::Reconciling).1, "WaitsForGroup", "{status:#?}");
        message(status, ConditionType::Reconciling)
    }
}

#[test]
fn one_whose_tests_take_longer_holds_the_others_up_and_then_all_switch_by_one_decision() {
    let mut worlds = Worlds::installed(3, &json!({}));
    worlds.all[1].undecided.insert(revision("v2"));
    worlds.apply("v2");
    worlds.settle();
    assert_eq!(worlds.active(), ["v1"; 3]);
    let says = worlds.waits(0);
    assert!(says.ends_with("waits for b (smoke probes are running)"), "{says}");
    assert_eq!(worlds.all[0].phase(), PhaseName::AwaitPromotion);
    worlds.run(30);
    assert_eq!(worlds.active(), ["v1"; 3]);
    worlds.all[1].undecided.clear();
    worlds.settle();
    assert_eq!(worlds.active(), ["v2"; 3]);
    let decisions: BTreeSet<_> =
        worlds.all.iter().map(|world| serde_json::to_string(&world.status().switch.as_ref().unwrap().group).unwrap()).collect();
    assert_eq!(decisions.len(), 1);
    assert_eq!(worlds.latest.as_ref().unwrap().members.len(), 3);
    worlds.run(60);
    assert!(worlds.all.iter().all(|world| world.phase() == PhaseName::Complete));
}

fn named(release: &str) -> Value {
    json!({"promotion": {"group": {"name": "storefront", "release": release}}})
}

fn name_release(world: &mut World, release: &str) {
    world.edit(|spec| spec.promotion.group.as_mut().unwrap().release = Some(release.into()));
}

#[test]
fn with_a_release_all_name_the_same_before_any_switches_and_one_without_news_holds_nobody_up() {
    let mut worlds = Worlds::installed(2, &named("41"));
    worlds.act(0, |world| {
        world.apply_version("v2");
        name_release(world, "42");
    });
    worlds.settle();
    assert_eq!(worlds.active(), ["v1", "v1"]);
    let says = worlds.waits(0);
    assert!(says.ends_with("waits for b (at release 41)"), "{says}");
    worlds.act(1, |world| name_release(world, "42"));
    worlds.settle();
    assert_eq!(worlds.active(), ["v2", "v1"]);
}

#[test]
fn one_that_is_given_up_holds_all_until_somebody_decides() {
    let mut worlds = Worlds::installed(2, &json!({}));
    worlds.all[1].failing.insert(revision("v2"));
    worlds.apply("v2");
    worlds.settle();
    assert_eq!(worlds.active(), ["v1", "v1"]);
    let says = worlds.waits(0);
    assert!(says.ends_with("waits for b (given up, SmokeFailed: apply another template there, or retry)"), "{says}");
    // With its old template it has nothing to switch.
    worlds.act(1, |world| world.apply_version("v1"));
    worlds.settle();
    assert_eq!(worlds.active(), ["v2", "v1"]);
}

#[test]
fn one_that_is_paused_or_not_looked_at_yet_is_waited_for() {
    let mut worlds = Worlds::installed(2, &json!({}));
    worlds.act(1, |world| world.edit(|spec| spec.paused = true));
    worlds.settle();
    worlds.apply("v2");
    worlds.turn(0, &[]);
    assert!(worlds.waits(0).ends_with("waits for b (not looked at since it was changed)"), "{}", worlds.waits(0));
    worlds.settle();
    assert!(worlds.waits(0).ends_with("waits for b (spec.paused is true there)"), "{}", worlds.waits(0));
    worlds.act(1, |world| world.edit(|spec| spec.paused = false));
    worlds.settle();
    assert_eq!(worlds.active(), ["v2", "v2"]);
}

#[test]
fn a_persons_word_is_for_one_member_and_the_group_still_waits() {
    let mut worlds = Worlds::installed(2, &json!({}));
    for place in 0..2 {
        worlds.act(place, |world| world.edit(|spec| spec.promotion.mode = crate::api::PromotionMode::Manual));
    }
    worlds.apply("v2");
    worlds.settle();
    worlds.act(0, |world| world.command(keys::command::PROMOTE, revision("v2")));
    worlds.settle();
    assert!(worlds.waits(0).ends_with("waits for b (its own promotion or hooks)"), "{}", worlds.waits(0));
    worlds.act(1, |world| world.command(keys::command::PROMOTE, revision("v2")));
    worlds.settle();
    assert_eq!(worlds.active(), ["v2", "v2"]);
    assert!(worlds.all.iter().all(|world| world.snapshot.object.commands.is_empty()));
}

/// Two members of which the first has called, and the second has promised to follow.
fn promised(changes: &Value) -> Worlds {
    let mut worlds = Worlds::installed(2, changes);
    worlds.apply("v2");
    worlds.only(&[0]);
    worlds.only(&[1]);
    worlds.only(&[0]);
    assert!(worlds.all[0].status().group.as_ref().unwrap().call.is_some());
    worlds.turn(1, &[]);
    assert!(worlds.all[1].status().group.as_ref().unwrap().joined.is_some());
    worlds
}

#[test]
fn who_has_promised_follows_whatever_the_spec_says_by_then() {
    let mut worlds = promised(&json!({}));
    worlds.only(&[0]);
    assert_eq!(worlds.active(), ["v2", "v1"]);
    worlds.act(1, |world| world.apply_version("v3"));
    worlds.turn(1, &[]);
    assert!(worlds.all[1].transcript.iter().any(|line| line.starts_with("intent v2@")), "{:#?}", worlds.all[1].transcript);
    worlds.settle();
    // The newer one has nobody to wait for: the other has nothing to switch.
    assert_eq!(worlds.active(), ["v2", "v3"]);
}

#[test]
fn who_has_promised_decides_nothing_until_the_call_is_withdrawn() {
    let mut worlds = promised(&json!({}));
    worlds.act(1, |world| world.apply_version("v3"));
    worlds.turn(1, &[]);
    assert_eq!(worlds.all[1].set("v2").desired, 3, "what was promised was given up");
    // The one that called sees that the other has changed, and withdraws; both go on.
    worlds.settle();
    assert_eq!(worlds.active(), ["v2", "v3"]);
    assert_eq!(worlds.latest.as_ref().unwrap().members.len(), 2);
}

#[test]
fn a_call_is_withdrawn_before_anything_else_is_done() {
    let mut worlds = promised(&json!({}));
    worlds.act(0, |world| world.command(keys::command::ABORT, revision("v2")));
    worlds.look(0, &[]);
    let plan = plan(&worlds.all[0].snapshot, worlds.all[0].now());
    assert!(plan.actions.is_empty() && plan.status.rejected.is_none() && plan.status.group.as_ref().unwrap().call.is_none(), "{plan:#?}");
    worlds.settle();
    assert_eq!(worlds.active(), ["v1", "v1"]);
    assert!(worlds.all[1].status().group.as_ref().unwrap().joined.is_none());
    assert!(worlds.waits(1).contains("a (given up, Aborted"), "{}", worlds.waits(1));
}

#[test]
fn who_reads_what_was_before_the_call_goes_on_waiting() {
    let mut worlds = promised(&json!({}));
    worlds.look(1, &[1]);
    let seen = worlds.all[1].snapshot.peers[0].status.clone().unwrap();
    assert!(seen.call.is_none() && seen.called == 1, "{seen:?}");
    let plan = plan(&worlds.all[1].snapshot, worlds.all[1].now());
    assert!(plan.actions.is_empty() && plan.status.group.as_ref().unwrap().joined.is_some(), "{plan:#?}");
}

#[test]
fn one_that_called_and_was_deleted_leaves_the_others_free() {
    let mut worlds = promised(&json!({}));
    worlds.gone.insert(0);
    worlds.settle();
    assert_eq!(worlds.all[1].active(), "v2");
}

#[test]
fn a_lost_status_of_the_one_that_called_does_not_bind_the_others_for_ever() {
    let mut worlds = promised(&json!({}));
    worlds.act(0, |world| {
        world.snapshot.object.status.group = None;
        world.touch();
    });
    worlds.settle();
    assert_eq!(worlds.active(), ["v2", "v2"]);
    assert!(worlds.latest.as_ref().unwrap().number > 2);
}

#[test]
fn pods_that_are_lost_after_the_promise_take_all_back() {
    let mut worlds = promised(&json!({}));
    let lost = worlds.all[1].set("v2").uid.clone();
    worlds.all[1].broken.insert(revision("v2"));
    worlds.all[1].snapshot.pods.iter_mut().filter(|pod| pod.set_uid == lost).for_each(|pod| pod.ready = false);
    worlds.only(&[0]);
    assert_eq!(worlds.active(), ["v2", "v1"]);
    worlds.settle();
    assert_eq!(worlds.active(), ["v1", "v1"]);
    let rejected = worlds.all[0].status().rejected.clone().unwrap();
    assert_eq!((rejected.reason.as_str(), rejected.return_to), ("GroupWentBack", Some(revision("v1"))));
    assert!(!worlds.all[1].transcript.iter().any(|line| line.contains("select v2")), "{:#?}", worlds.all[1].transcript);
}

const BAKING: &str = r#"{"bake": {"seconds": 60, "probes": [{"name": "good", "httpGet": {"port": "http"}}]}}"#;

#[test]
fn one_that_goes_back_takes_the_others_with_it_as_long_as_one_bakes() {
    let mut worlds = Worlds::installed(2, &serde_json::from_str(BAKING).unwrap());
    worlds.apply("v2");
    worlds.settle();
    worlds.run(20);
    assert_eq!(worlds.active(), ["v2", "v2"]);
    worlds.all[1].ill.insert(revision("v2"));
    worlds.run(5);
    assert_eq!(worlds.active(), ["v1", "v1"]);
    let status = worlds.all[0].status();
    assert_eq!(status.rejected.as_ref().unwrap().reason, "GroupWentBack");
    assert_eq!(status.switch.as_ref().unwrap().cause, SwitchCause::Failure);
    worlds.run(60);
    assert_eq!(worlds.active(), ["v1", "v1"], "once is enough");
}

#[test]
fn a_persons_rollback_of_one_takes_the_others_back_too() {
    let mut worlds = Worlds::installed(2, &serde_json::from_str(BAKING).unwrap());
    worlds.apply("v2");
    worlds.settle();
    worlds.run(20);
    worlds.act(0, |world| world.command(keys::command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1"))));
    worlds.settle();
    assert_eq!(worlds.active(), ["v1", "v1"]);
}

#[test]
fn old_sets_stay_until_the_slowest_has_baked_and_then_one_goes_back_alone() {
    let mut worlds = Worlds::installed(2, &serde_json::from_str(BAKING).unwrap());
    worlds.act(1, |world| world.edit(|spec| spec.bake.seconds = 120));
    worlds.settle();
    worlds.apply("v2");
    worlds.settle();
    worlds.run(100);
    assert_eq!(worlds.all[0].phase(), PhaseName::Bake);
    assert_eq!(worlds.all[0].set("v1").desired, 3);
    let says = message(worlds.all[0].status(), ConditionType::Ready);
    assert!(says.ends_with("long enough; b of its group not yet"), "{says}");
    worlds.run(100);
    assert!(worlds.all.iter().all(|world| world.phase() == PhaseName::Complete && world.set("v1").desired == 0));
    worlds.act(1, |world| world.command(keys::command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1"))));
    worlds.settle();
    worlds.run(30);
    assert_eq!(worlds.active(), ["v2", "v1"]);
    assert!(worlds.all[0].status().rejected.is_none());
}
