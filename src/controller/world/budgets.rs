//! PodDisruptionBudgets. Without the right to read them everything else goes on: they are unknown by themselves.

use serde_json::Value;

use super::super::budget::trimmed;
use super::super::trim;
use super::{Concerned, Feed, In, World, unlink};
use crate::release::budget::{Budget, Budgets};

impl World {
    /// The budgets of a namespace that matter.
    pub fn budgets(&self, namespace: &str, matters: impl Fn(&Budget) -> bool) -> Budgets {
        let scope = self.scope(namespace);
        if self.fails(Feed::Budgets, &scope) {
            return Budgets::Unreadable;
        }
        if !self.budgets.synced(&[scope]) {
            return Budgets::Pending;
        }
        let found = self.budgets_in.get(namespace).into_iter().flatten().filter_map(|uid| self.budgets.get(uid));
        let found = found.map(|budget| &budget.value).filter(|budget| matters(budget));
        Budgets::Known(found.map(|budget| (budget.name.clone(), budget.clone())).collect())
    }

    pub(super) fn insert_budget(&mut self, uid: &str, version: &str, object: &Value) -> Concerned {
        let Some(budget) = trimmed(object) else {
            return Concerned::default();
        };
        let namespace = trim::text(object, "/metadata/namespace").unwrap_or_default();
        let scope = self.scope(&namespace);
        let new = In { namespace: namespace.clone(), value: budget.clone(), owner: None, revision: None };
        match self.budgets.insert(uid, version, &scope, new) {
            // Its status counts pods and changes with each of them; only the version of it is used, by the next write.
            Some(Some(before)) if before.value == (Budget { resource_version: before.value.resource_version.clone(), ..budget }) => {
                Concerned::default()
            }
            Some(_) => {
                self.budgets_in.entry(namespace.clone()).or_default().insert(uid.to_owned());
                Concerned::of(self.keys_in(&namespace))
            }
            None => Concerned::default(),
        }
    }

    pub(super) fn remove_budget(&mut self, uid: &str, version: &str) -> Concerned {
        let Some(budget) = self.budgets.remove(uid, version) else {
            return Concerned::default();
        };
        unlink(&mut self.budgets_in, &budget.namespace, uid);
        Concerned::of(self.keys_in(&budget.namespace))
    }
}
