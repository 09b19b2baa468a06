//! The PodDisruptionBudget follows the revision that serves. In every story with one each write of a Service is checked against it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Expression, Selector, SelectorExt};
use serde_json::{Value, json};

use super::fixtures::*;
use super::simulator::{Conflict, World};
use crate::api::ConditionStatus::{False, True};
use crate::api::{ConditionType, PhaseName, keys, keys::command};
use crate::release::action::Action;
use crate::release::budget::{Budget, Budgets, Wanted};
use crate::release::*;

impl World {
    pub fn budgets(&mut self) -> &mut BTreeMap<String, Budget> {
        let Budgets::Known(budgets) = &mut self.snapshot.budgets else { panic!("nobody can read them") };
        budgets
    }

    /// One write, guarded as the API server guards it.
    pub fn write_budget(&mut self, found: Option<&Budget>, wanted: &Wanted) -> Result<(), Conflict> {
        self.number += 1;
        let number = self.number.to_string();
        let (name, uid) = (self.snapshot.object.name.clone(), self.snapshot.object.uid.clone());
        let known = self.budgets().get(&name).map(|budget| budget.resource_version.clone());
        if known != found.map(|budget| budget.resource_version.clone()) {
            return Err(Conflict);
        }
        let Wanted { selector, rules } = wanted.clone();
        let budget = Budget { selector: Some(selector), rules: Some(rules), resource_version: number, owner: Some(uid), ..budget(&name, &json!({})) };
        self.budgets().insert(name, budget);
        Ok(())
    }

    /// Versions that a selector names.
    pub fn covered(&self, selector: &Selector) -> Vec<&str> {
        let named = |asked| match asked {
            Expression::Equal(key, value) if key == keys::REVISION => vec![value],
            Expression::In(key, values) if key == keys::REVISION => values.into_iter().collect(),
            _ => vec![],
        };
        let versions = selector.clone().into_iter().flat_map(named).map(|revision| self.versions.get(&revision).map_or("?", String::as_str));
        // By name, as the selector itself lists revisions by their hashes.
        versions.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn budget(&self) -> &Budget {
        let Budgets::Known(budgets) = &self.snapshot.budgets else { panic!("nobody can read them") };
        &budgets[SHOP]
    }

    fn lines(&self, words: &[&str]) -> Vec<&str> {
        self.transcript.iter().map(String::as_str).filter(|line| words.iter().any(|word| line.starts_with(word))).collect()
    }
}

/// A release moves a Service to a revision only when the budget covers it, by what is there now; what brings users back or repairs does not wait.
pub fn of_select(world: &World, planned: &Snapshot, service: &Service, selector: &BTreeMap<String, String>, record: Option<&crate::api::Switch>) {
    let spec = &planned.object.spec;
    let Some(switch) = record.or(planned.object.status.switch.as_ref()).filter(|_| spec.traffic.services.contains(&service.name)) else { return };
    let Budgets::Known(budgets) = &world.snapshot.budgets else { return };
    let parked = selector.get(keys::REVISION).is_some_and(|revision| revision == keys::REVISION_NONE);
    let begins = switch.cause == crate::api::SwitchCause::Release && switch.completed_at.is_none();
    if spec.disruption_budget.is_none() || parked || world.stale || !begins {
        return;
    }
    let revisions = [Some(&switch.to), switch.from.as_ref().filter(|_| selector.contains_key(keys::SERVING))];
    for revision in revisions.into_iter().flatten() {
        let labels = BTreeMap::from([("app".into(), SHOP.into()), (keys::REVISION.into(), revision.clone())]);
        let covers = budgets.get(&planned.object.name).and_then(|budget| budget.selector.as_ref()).is_some_and(|selector| selector.matches(&labels));
        assert!(covers, "Service {} is moved to {revision}, which the budget does not cover: {budgets:?}", service.name);
    }
}

/// A budget of somebody.
fn budget(name: &str, selector: &Value) -> Budget {
    Budget {
        name: name.into(),
        uid: format!("uid-budget-{name}"),
        resource_version: "1".into(),
        owner: None,
        made_for: None,
        selector: Some(serde_json::from_value::<LabelSelector>(selector.clone()).unwrap().try_into().unwrap()),
        rules: None,
        deleting: None,
    }
}

fn asked() -> Value {
    json!({"disruptionBudget": {"minAvailable": 2}})
}

/// A second version is about to take over: nothing is missing but the budget.
fn tested() -> World {
    let mut world = World::installed("v1", &asked());
    let known = std::mem::replace(&mut world.snapshot.budgets, Budgets::Pending);
    world.apply_version("v2");
    world.run(30);
    assert_eq!(world.active(), "v1", "before they are read nothing is known of them");
    world.snapshot.budgets = known;
    world
}

#[test]
fn it_is_the_first_write_of_every_move() {
    let mut world = World::new("v1", &asked());
    world.settle();
    assert_eq!(world.lines(&["budget", "select"]), ["select shop none@0 park", "budget v1", "select shop v1@1"]);
    world.transcript.clear();
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.lines(&["budget", "select", "fence"]), ["budget v1 v2", "select shop v2@2", "fence v2@2", "budget v2"]);
    assert_eq!(world.budget().rules, world.snapshot.object.spec.disruption_budget);
    world.transcript.clear();
    world.command(command::ABORT, revision("v2"));
    world.settle();
    assert_eq!(world.lines(&["budget", "select", "fence"]), ["fence v1@3", "select shop v1@3", "budget v1"]);
}

#[test]
fn while_two_revisions_serve_it_covers_both_and_lets_no_more_go_than_of_one() {
    let traffic = json!({"services": ["shop"], "cutover": "Overlap", "overlapSeconds": 20});
    let mut world = World::installed("v1", &json!({"traffic": traffic, "disruptionBudget": {"minAvailable": "50%"}}));
    world.apply_version("v2");
    world.settle();
    assert_eq!(world.lines(&["budget", "mark", "select"])[0], "budget v1 v2", "before the first pod is marked");
    let rules = world.budget().rules.clone().unwrap();
    assert_eq!((rules.min_available, rules.max_unavailable), (None, Some(IntOrString::Int(1))));
    world.until("the old pods leave", |world| world.selected("shop") == "v2");
    assert_eq!(world.lines(&["budget", "select"]), ["budget v1 v2", "select shop v2@2 beside", "select shop v2@2", "budget v2"]);
    assert_eq!(world.budget().rules, world.snapshot.object.spec.disruption_budget);
}

#[test]
fn a_release_waits_for_it_and_a_return_does_not() {
    let mut world = tested();
    let planned = plan(&world.snapshot, world.now());
    assert!(matches!(planned.actions[0], Action::WriteBudget { .. }), "{:?}", planned.actions);
    assert!(!planned.actions.iter().any(|action| matches!(action, Action::Select { .. })), "it moves before it is written: {:?}", planned.actions);
    // What has to be done for those that serve is done meanwhile.
    world.snapshot.object.spec.replicas = 4;
    let planned = plan(&world.snapshot, world.now());
    assert!(planned.actions.iter().any(|action| matches!(action, Action::PatchSet { change, .. } if change.replicas == Some(4))), "{planned:?}");
    world.snapshot.object.spec.replicas = 3;
    world.until("v2 serves", |world| world.phase() == PhaseName::Converge);
    world.command(command::ABORT, revision("v2"));
    world.settle();
    assert_eq!(world.lines(&["budget", "select"])[3..], ["select shop v1@3", "budget v1"]);
    // What is on record is not held up by it: both are in one plan, and the second write does not hang on the first.
    world.budgets().get_mut(SHOP).unwrap().rules = None;
    world.service_mut("shop").selector = selector(&revision("v2"));
    let planned = plan(&world.snapshot, world.now());
    assert!(matches!(planned.actions[0], Action::Select { .. }), "{:?}", planned.actions);
    assert!(matches!(planned.actions.last(), Some(Action::WriteBudget { .. })), "{:?}", planned.actions);
}

#[test]
fn a_move_that_is_interrupted_after_it_is_made_or_taken_back() {
    let before = || {
        let mut world = tested();
        world.writes_left = Some(1);
        world.reconcile();
        world.writes_left = None;
        assert_eq!(world.lines(&["budget", "select"]), ["budget v1 v2"]);
        world.restart();
        world
    };
    let mut world = before();
    world.settle();
    assert_eq!(world.lines(&["budget", "select"]), ["budget v1 v2", "select shop v2@2", "budget v2"]);
    let mut world = before();
    world.command(command::ABORT, revision("v2"));
    world.settle();
    assert_eq!(world.lines(&["budget", "select"]), ["budget v1 v2", "budget v1"], "it covers whoever serves");
}

#[test]
fn what_somebody_makes_of_it_is_put_back_and_without_the_field_it_goes() {
    let mut world = World::installed("v1", &asked());
    world.budgets().get_mut(SHOP).unwrap().rules = None;
    world.settle();
    assert_eq!(world.transcript, ["budget v1"]);
    world.budgets().remove(SHOP);
    world.settle();
    assert_eq!(world.transcript, ["budget v1"; 2]);
    world.edit(|spec| spec.paused = true);
    world.budgets().get_mut(SHOP).unwrap().rules = None;
    world.edit(|spec| spec.disruption_budget.as_mut().unwrap().min_available = Some(IntOrString::Int(1)));
    world.settle();
    assert_eq!(world.transcript.len(), 2, "nothing is written while paused");
    world.edit(|spec| (spec.paused, spec.disruption_budget) = (false, None));
    world.settle();
    assert_eq!(world.transcript[2..], ["delete the budget"]);
    world.budgets().insert(SHOP.into(), Budget { made_for: Some(SHOP.into()), ..budget(SHOP, &json!({})) });
    world.settle();
    assert_eq!(world.transcript.len(), 3, "one without our owner is not ours to delete");
    world.edit(|spec| spec.disruption_budget = spec_of(&asked()));
    world.settle();
    assert_eq!(world.transcript[3..], ["budget v1"], "what an earlier object of the name left behind is taken over");
}

fn spec_of(changes: &Value) -> Option<crate::api::DisruptionBudget> {
    spec("v1", changes).disruption_budget
}

#[test]
fn what_is_in_its_way_is_said_before_the_first_pod_starts() {
    let mut other = budget(SHOP, &json!({"matchLabels": {"app": "else"}}));
    let cases = [
        (other.clone(), "BudgetTaken", "there is a PodDisruptionBudget \"shop\" already"),
        (budget("plain", &json!({"matchLabels": {"app": "shop"}})), "BudgetBeside", "PodDisruptionBudget \"plain\" matches these pods, too"),
        (budget("all", &json!({})), "BudgetBeside", "PodDisruptionBudget \"all\" matches these pods, too"),
    ];
    for (found, reason, said) in cases {
        let mut world = World::new("v1", &asked());
        world.budgets().insert(found.name.clone(), found);
        world.settle();
        assert!(world.snapshot.sets.is_empty());
        assert_eq!(condition(world.status(), ConditionType::Stalled), (True, reason.into()));
        assert!(message(world.status(), ConditionType::Stalled).contains(said), "{:?}", world.status().conditions);
        world.budgets().clear();
        world.settle();
        assert_eq!(world.active(), "v1", "it goes on by itself");
    }
    // Where one is asked for while another counts the pods, that one is left to do so: with two of them nobody could be evicted.
    let mut world = World::installed("v1", &json!({}));
    world.budgets().insert("plain".into(), budget("plain", &json!({"matchLabels": {"app": "shop"}})));
    world.edit(|spec| spec.disruption_budget = spec_of(&asked()));
    world.settle();
    assert_eq!((world.lines(&["budget"]).len(), condition(world.status(), ConditionType::Stalled).1), (0, "BudgetBeside".into()));
    other.name = "other".into();
    world.snapshot.budgets = Budgets::Known(BTreeMap::from([("other".into(), other)]));
    world.settle();
    assert_eq!(world.lines(&["budget"]), ["budget v1"], "one of other pods is nobody's business");
}

#[test]
fn what_can_not_be_read_holds_up_only_who_asked_for_it_and_never_a_return() {
    let mut world = World::installed("v1", &asked());
    world.apply_version("v2");
    world.until("v2 serves", |world| world.phase() == PhaseName::Converge);
    world.snapshot.budgets = Budgets::Unreadable;
    world.command(command::ABORT, revision("v2"));
    world.settle();
    assert_eq!((world.active(), world.selected("shop")), ("v1", "v1"));
    world.apply_version("v3");
    world.settle();
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "BudgetUnreadable".into()));
    world.snapshot.budgets = Budgets::Pending;
    world.run(30);
    assert_eq!(world.active(), "v1", "before they are read nothing is known of them");
    world.snapshot.budgets = Budgets::Unreadable;
    world.edit(|spec| spec.disruption_budget = None);
    world.until("v3 serves", |world| world.active() == "v3");
}

#[test]
fn one_that_is_being_deleted_is_told_of_when_it_does_not_go() {
    let mut world = World::installed("v1", &asked());
    let since = world.now().wall;
    world.budgets().get_mut(SHOP).unwrap().deleting = Some(since);
    let again = plan(&world.snapshot, world.now()).again;
    assert!(again.is_some_and(|seconds| (9.0..=10.1).contains(&seconds)), "nobody looks: {again:?}");
    world.apply_version("v2");
    world.run(8);
    assert_eq!(condition(world.status(), ConditionType::Stalled).0, False, "for a moment it is nothing to tell");
    world.run(60);
    assert_eq!(condition(world.status(), ConditionType::Stalled), (True, "BudgetDeleting".into()));
    let told = "spec.disruptionBudget: PodDisruptionBudget \"shop\" is being deleted and does not go; take off it what its metadata.finalizers name, or remove the field";
    assert_eq!((message(world.status(), ConditionType::Stalled).as_str(), world.active()), (told, "v1"));
    // Without the field nobody waits for it.
    world.edit(|spec| spec.disruption_budget = None);
    world.until("v2 serves", |world| world.active() == "v2");
    assert_eq!(condition(world.status(), ConditionType::Stalled).0, False);
    world.edit(|spec| spec.disruption_budget = spec_of(&asked()));
    world.apply_version("v3");
    world.run(60);
    assert_eq!((world.active(), condition(world.status(), ConditionType::Stalled).1), ("v2", "BudgetDeleting".into()));
    world.budgets().clear();
    world.until("v3 serves", |world| world.active() == "v3");
}

#[test]
fn a_budget_over_both_revisions_is_worth_a_word_where_none_is_asked_for() {
    let mut world = World::installed("v1", &json!({}));
    world.budgets().insert("plain".into(), budget("plain", &json!({"matchLabels": {"app": "shop"}})));
    let hints = crate::release::budget::hints(&world.snapshot);
    assert!(hints.len() == 1 && hints[0].starts_with("PodDisruptionBudget plain counts pods that are being left"), "{hints:?}");
    world.apply_version("v2");
    world.until("v2 serves", |world| world.active() == "v2");
    world.edit(|spec| spec.disruption_budget = spec_of(&asked()));
    assert!(crate::release::budget::hints(&world.snapshot).is_empty());
}
