//! Budget: the PodDisruptionBudget of the pods that serve (`spec.disruptionBudget`).
//!
//! A PodDisruptionBudget counts every pod that its selector matches. Over two revisions `minAvailable: 2` is kept by the old pods alone, and all
//! that serve may be evicted. So ours names the revision that serves, and follows it. The property: **a release moves a Service to a revision only
//! when the budget covers that revision already.** The API server evicts nobody while the controller of the budget has not seen its last change
//! (`status.observedGeneration`), so from the write on no pod of the new revision goes by an older count.
//!
//! It is derived from the recorded intent alone, and nothing is remembered of it: whoever comes next after an interruption writes the same. A budget
//! that was switched for a move that never began is put back. The write is guarded by the version that was read.
//!
//! Before a release moves traffic it waits for the budget, which covers both revisions until the last Service has moved: nothing is lost by waiting.
//! What brings traffic back writes the budget last, and waits for nothing: who has no pods is helped by no budget.
//!
//! Two budgets that match one pod make the API server refuse each eviction of it, so ours is not made beside another one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Expression, Selector, SelectorExt};

use crate::api::{DisruptionBudget, Switch, SwitchCause, keys};

use super::action::Action;
use super::overlap;
use super::services::{Block, template_labels};
use super::snapshot::{Object, Snapshot};
use super::view::View;

/// A budget goes within a moment, in the foreground, too. One that is there for so many seconds more is held by something.
const GOES: f64 = 10.0;

/// The PodDisruptionBudgets of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Budgets {
    /// Not read yet.
    Pending,
    /// They can't be read, and have not been for a while.
    Unreadable,
    /// All of them, by name.
    Known(BTreeMap<String, Budget>),
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// UID of its controlling owner.
    pub owner: Option<String>,
    /// The BlueGreenDeployment that it was made for, by its label.
    pub made_for: Option<String>,
    /// `spec.selector`. Without one, or with one that Kubernetes would not take, it matches nothing; with an empty one it matches every pod.
    pub selector: Option<Selector>,
    /// The rest of its spec; absent where it is none that this operator would write.
    pub rules: Option<DisruptionBudget>,
    /// Since when it is being deleted.
    pub deleting: Option<Timestamp>,
}

/// What the budget is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which pods it covers.
    pub selector: Selector,
    /// How many may be evicted.
    pub rules: DisruptionBudget,
}

impl Wanted {
    /// Whether a budget is so already.
    pub fn is(&self, object: &Object, budget: &Budget) -> bool {
        budget.owner.as_ref() == Some(&object.uid) && budget.selector.as_ref() == Some(&self.selector) && budget.rules.as_ref() == Some(&self.rules)
    }
}

/// Puts the budget where the recorded intent says, or deletes it when it is not asked for any more.
pub fn step(view: &View<'_>) -> Option<Action> {
    let snapshot = view.snapshot;
    let spec = &snapshot.object.spec;
    if spec.paused {
        return None;
    }
    if spec.disruption_budget.is_some() {
        return write(view, view.intent?);
    }
    let Budgets::Known(budgets) = &snapshot.budgets else { return None };
    let ours =
        budgets.get(&snapshot.object.name).filter(|budget| budget.owner.as_ref() == Some(&snapshot.object.uid) && budget.deleting.is_none())?;
    Some(Action::DeleteBudget { budget: ours.clone() })
}

/// The write that makes the budget cover a move; none where it does, or where it can't be written.
pub fn write(view: &View<'_>, switch: &Switch) -> Option<Action> {
    let snapshot = view.snapshot;
    let asked = snapshot.object.spec.disruption_budget.as_ref()?;
    let Budgets::Known(budgets) = &snapshot.budgets else { return None };
    let wanted = wanted(view, asked, switch);
    match budgets.get(&snapshot.object.name) {
        Some(found) if found.deleting.is_some() || !ours(&snapshot.object, found) || wanted.is(&snapshot.object, found) => None,
        None if beside(snapshot, budgets).is_some() => None,
        found => Some(Action::WriteBudget { found: found.cloned(), wanted }),
    }
}

/// Whether the budget covers a move, or none is asked for.
pub fn covers(view: &View<'_>, switch: &Switch) -> bool {
    let object = &view.snapshot.object;
    let Some(asked) = &object.spec.disruption_budget else { return true };
    let Budgets::Known(budgets) = &view.snapshot.budgets else { return false };
    let wanted = wanted(view, asked, switch);
    budgets.get(&object.name).is_some_and(|found| found.deleting.is_none() && wanted.is(object, found))
}

/// The pods of the revision that serves. While a release moves the Services, or two serve together, it covers both, and of the two together no more may go than of one alone: `minAvailable`
/// over both would be kept by the new pods alone, of which a load balancer may not know yet.
fn wanted(view: &View<'_>, asked: &DisruptionBudget, switch: &Switch) -> Wanted {
    let spec = &view.snapshot.object.spec;
    let mut labels = spec.selector.match_labels.clone();
    // Before the last Service has moved users are on either of them, and what moves them may be held up.
    let moving = switch.cause == SwitchCause::Release && switch.completed_at.is_none();
    if let Some(from) = switch.from.as_ref().filter(|_| moving || overlap::together(view, switch)) {
        let mut selector: Selector = labels.into_iter().collect();
        selector.extend(Expression::In(keys::REVISION.into(), [from.clone(), switch.to.clone()].into()));
        let most = Some(IntOrString::Int(allowed(asked, spec.replicas)));
        return Wanted { selector, rules: DisruptionBudget { min_available: None, max_unavailable: most, ..asked.clone() } };
    }
    labels.insert(keys::REVISION.into(), switch.to.clone());
    Wanted { selector: labels.into_iter().collect(), rules: asked.clone() }
}

/// How many of so many pods may go. Kubernetes rounds shares up.
fn allowed(asked: &DisruptionBudget, replicas: i32) -> i32 {
    let number = |value: &IntOrString| match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text.trim_end_matches('%').parse::<i64>().unwrap_or(0);
            i32::try_from((i64::from(replicas).saturating_mul(percent) + 99) / 100).unwrap_or(i32::MAX)
        }
    };
    match (&asked.min_available, &asked.max_unavailable) {
        (Some(least), _) => replicas.saturating_sub(number(least)).max(0),
        (None, Some(most)) => number(most).max(0),
        (None, None) => 0,
    }
}

/// Whether a budget is this object's: controlled by it, or left without an owner by an earlier object of the same name.
fn ours(object: &Object, budget: &Budget) -> bool {
    match &budget.owner {
        Some(owner) => *owner == object.uid,
        None => budget.made_for.as_ref() == Some(&object.name),
    }
}

/// Another budget that matches pods of this object.
fn beside<'a>(snapshot: &'a Snapshot, budgets: &'a BTreeMap<String, Budget>) -> Option<&'a Budget> {
    budgets.values().find(|budget| budget.name != snapshot.object.name && budget.deleting.is_none() && matched(snapshot, budget) > 0)
}

/// Of how many revisions a budget matches pods; one that is to come counts as another one.
fn matched(snapshot: &Snapshot, budget: &Budget) -> usize {
    let Some(selector) = &budget.selector else { return 0 };
    let mut labels: BTreeMap<String, String> = template_labels(snapshot).into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    let to_come = std::iter::once("of a revision to come");
    let revisions: std::collections::BTreeSet<&str> = snapshot.sets.iter().map(|set| set.revision.as_str()).chain(to_come).collect();
    let count = revisions.into_iter().filter(|revision| {
        labels.insert(keys::REVISION.into(), (*revision).into());
        selector.matches(&labels)
    });
    count.count()
}

/// What keeps the budget that is asked for from being kept.
pub fn check(snapshot: &Snapshot) -> Result<(), Block> {
    let object = &snapshot.object;
    if object.spec.disruption_budget.is_none() {
        return Ok(());
    }
    let budgets = match &snapshot.budgets {
        Budgets::Pending => return Ok(()),
        Budgets::Unreadable => {
            let what = "the PodDisruptionBudgets of this namespace can't be read; give the operator the rights of its chart, or remove the field";
            return Err(Block::new("BudgetUnreadable", format!("spec.disruptionBudget: {what}")));
        }
        Budgets::Known(budgets) => budgets,
    };
    if let Some(taken) = budgets.get(&object.name).filter(|found| !ours(object, found)) {
        let what = format!("there is a PodDisruptionBudget \"{}\" already that is not this object's; delete it, or remove the field", taken.name);
        return Err(Block::new("BudgetTaken", format!("spec.disruptionBudget: {what}")));
    }
    if let Some(other) = beside(snapshot, budgets) {
        let why = "and pods that two of them match can't be evicted at all; delete it, or remove the field";
        return Err(Block::new(
            "BudgetBeside",
            format!("spec.disruptionBudget: PodDisruptionBudget \"{}\" matches these pods, too, {why}", other.name),
        ));
    }
    Ok(())
}

/// The object's own budget, where one is asked for and that one is being deleted; and for how many seconds that is nothing to tell.
fn going<'a>(view: &View<'a>) -> Option<(&'a Budget, f64)> {
    let Snapshot { object, budgets, .. } = view.snapshot;
    let Budgets::Known(budgets) = budgets else { return None };
    let budget = budgets.get(&object.name).filter(|_| object.spec.disruption_budget.is_some())?;
    Some((budget, GOES - view.now.seconds_since(budget.deleting?)))
}

/// A budget that is being deleted and does not go: neither can it be changed for a release, nor another one be made.
pub fn held(view: &View<'_>) -> Option<Block> {
    let (budget, _) = going(view).filter(|(_, left)| *left <= 0.0)?;
    let what = format!("PodDisruptionBudget \"{}\" is being deleted and does not go", budget.name);
    let next = "take off it what its metadata.finalizers name, or remove the field";
    Some(Block::new("BudgetDeleting", format!("spec.disruptionBudget: {what}; {next}")))
}

/// Seconds until a budget that is being deleted is told of.
pub fn due_in(view: &View<'_>) -> Option<f64> {
    going(view).map(|(_, left)| left).filter(|left| *left > 0.0)
}

/// What is to be known of budgets that match pods of several revisions where none is asked for.
pub fn hints(snapshot: &Snapshot) -> Vec<String> {
    let Budgets::Known(budgets) = &snapshot.budgets else { return vec![] };
    if snapshot.object.spec.disruption_budget.is_some() {
        return vec![];
    }
    // One that is to be deleted with the field is no other's.
    let others = budgets.values().filter(|budget| budget.owner.as_ref() != Some(&snapshot.object.uid) && budget.deleting.is_none());
    let spanning = others.filter(|budget| matched(snapshot, budget) > 0);
    spanning
        .map(|budget| {
            format!(
                "PodDisruptionBudget {} counts pods that are being left beside those that serve, so all that serve may be evicted during a drain; delete it and set spec.disruptionBudget, which follows the revision that serves",
                budget.name
            )
        })
        .collect()
}
