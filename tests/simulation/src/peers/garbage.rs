//! The garbage collector: what has lost its last owner goes, and what is deleted without its dependents is taken out of them first.

use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::json;
use crate::sim::Sim;
use crate::store::{Manager, ORPHAN};

/// Whether an object is being deleted without its dependents.
pub fn orphans(object: &Value) -> bool {
    json::items(object, "/metadata/finalizers").any(|finalizer| finalizer == ORPHAN)
}

impl Sim {
    /// Looks at the next dependent of an owner that is gone, or is being deleted. A real one takes them one by one, and others write meanwhile.
    pub fn collect(&mut self, owner: &str) {
        let kinds = [Resource::ReplicaSet, Resource::BlueGreenDeployment];
        let waits = kinds.into_iter().find_map(|kind| Some((kind, self.store.by_uid(kind, owner).filter(|owner| orphans(owner))?.clone())));
        // One that ends already ends.
        let next = self.store.dependents(owner).into_iter().find(|(_, object)| waits.is_some() || json::alive(object));
        if let Some((resource, object)) = next {
            let (namespace, name) = (json::text(&object, "/metadata/namespace").to_owned(), json::name(&object).to_owned());
            let others = json::items(&object, "/metadata/ownerReferences").any(|other| {
                let uid = json::text(other, "/uid");
                uid != owner && self.store.exists(uid)
            });
            if waits.is_some() || others {
                self.say("garbage collector", || format!("takes its owner out of {resource:?} {name}"));
                self.write(Manager::updates("garbage-collector"), resource, &namespace, &name, |object| {
                    let left: Vec<Value> =
                        json::items(object, "/metadata/ownerReferences").filter(|other| json::text(other, "/uid") != owner).cloned().collect();
                    json::set(object, "metadata", "ownerReferences", json!(left));
                });
            } else {
                self.say("garbage collector", || format!("deletes {resource:?} {name}"));
                self.delete(resource, &namespace, &name);
            }
            let wait = self.random.millis(1, 200);
            self.later(wait, Happening::Collect(owner.to_owned()));
        } else if let Some((kind, owner)) = waits {
            self.delete(kind, json::text(&owner, "/metadata/namespace"), json::name(&owner));
        }
    }
}
