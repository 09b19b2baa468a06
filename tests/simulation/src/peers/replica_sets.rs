//! The ReplicaSet controller: makes as many pods as are wanted, on caches that may be behind, and on the way down takes those first
//! that nobody would miss: without a node, then not ready, then the youngest.

use std::collections::BTreeSet;
use std::sync::Arc;

use bluegreen::controller::api::{Change, Resource};
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::json;
use crate::sim::{NAMESPACE, Sim};
use crate::store::{Manager, selector};

/// Its state.
#[derive(Debug, Default)]
pub struct Controller {
    /// Its watch of ReplicaSets.
    pub sets: usize,
    /// Its watch of pods.
    pub pods: usize,
    seen: (u64, u64),
    /// Pods that it created and has not heard of yet, by UID.
    born: BTreeSet<String>,
    /// Pods that it deleted and has not heard of yet, by UID.
    ended: BTreeSet<String>,
    again: bool,
}

impl Sim {
    /// Looks at its caches.
    pub fn replica_sets(&mut self) {
        let wait = self.random.millis(30, 300);
        self.later(wait, Happening::ReplicaSets);
        let (Some(sets), Some(pods)) = (self.watchers.get(self.peers.replica_sets.sets), self.watchers.get(self.peers.replica_sets.pods)) else {
            return;
        };
        let seen = (sets.frontier, pods.frontier);
        let controller = &mut self.peers.replica_sets;
        if seen == controller.seen && !std::mem::take(&mut controller.again) {
            return;
        }
        controller.seen = seen;
        controller.born.retain(|uid| !pods.mirror.contains_key(uid));
        controller.ended.retain(|uid| pods.mirror.get(uid).is_some_and(|pod| json::alive(pod)));
        let sets: Vec<Arc<Value>> = sets.mirror.values().cloned().collect();
        for set in sets {
            let selected = |pod: &&Arc<Value>| selector::map(pod, set.pointer("/spec/selector/matchLabels"));
            let mirror = self.watchers.get(self.peers.replica_sets.pods).map(|watch| watch.mirror.values());
            let (mut pods, mut free) = (vec![], vec![]);
            for pod in mirror.into_iter().flatten().filter(|pod| json::alive(pod)) {
                match json::controller(pod) {
                    Some(controller) if controller == json::uid(&set) => pods.push(pod.clone()),
                    None if selected(&pod) && json::text(pod, "/metadata/namespace") == NAMESPACE => free.push(pod.clone()),
                    _ => {}
                }
            }
            let released: Vec<Arc<Value>> = pods.iter().filter(|pod| !selected(pod)).cloned().collect();
            pods.retain(|pod| selected(&pod));
            let deleting = set.pointer("/metadata/deletionTimestamp").is_some();
            for pod in released {
                self.release(&set, &pod);
            }
            if !deleting && !free.is_empty() && !self.adopt(&set, &free, &mut pods) {
                continue;
            }
            self.sync(&set, &pods);
        }
    }

    /// What no longer has its labels is let go.
    fn release(&mut self, set: &Value, pod: &Value) {
        let uid = json::uid(set).to_owned();
        self.write(Manager::updates("replicaset-controller"), Resource::Pod, NAMESPACE, json::name(pod), |pod| {
            let left: Vec<Value> = json::items(pod, "/metadata/ownerReferences").filter(|owner| json::text(owner, "/uid") != uid).cloned().collect();
            json::set(pod, "metadata", "ownerReferences", json!(left));
        });
    }

    /// Takes what nobody controls and has its labels, unless it is being deleted by a live read; then it does nothing else this time.
    fn adopt(&mut self, set: &Value, free: &[Arc<Value>], pods: &mut Vec<Arc<Value>>) -> bool {
        let live = self.store.by_uid(Resource::ReplicaSet, json::uid(set));
        if live.is_none_or(|live| live.pointer("/metadata/deletionTimestamp").is_some()) {
            return false;
        }
        for pod in free {
            let version = json::text(pod, "/metadata/resourceVersion").to_owned();
            let current =
                self.store.by_uid(Resource::Pod, json::uid(pod)).is_some_and(|live| json::text(live, "/metadata/resourceVersion") == version);
            if !current {
                self.peers.replica_sets.again = true;
                return false;
            }
            let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": json::name(set), "uid": json::uid(set), "controller": true});
            self.say("replicaset controller", || format!("adopts pod {}", json::name(pod)));
            self.write(Manager::updates("replicaset-controller"), Resource::Pod, NAMESPACE, json::name(pod), |pod| {
                let owners: Vec<Value> = json::items(pod, "/metadata/ownerReferences").cloned().chain([owner]).collect();
                json::set(pod, "metadata", "ownerReferences", json!(owners));
            });
            if let Some(running) = self.peers.pods.get_mut(json::uid(pod)) {
                json::uid(set).clone_into(&mut running.set);
            }
            pods.push(pod.clone());
        }
        true
    }

    fn sync(&mut self, set: &Value, pods: &[Arc<Value>]) {
        // What it did itself counts although it has not heard of it: without that it would do things twice.
        let prefix = format!("{}-", json::name(set));
        let store = &self.store;
        let unheard = |uids: &BTreeSet<String>| uids.iter().any(|uid| uid_of(store, uid, &prefix));
        if unheard(&self.peers.replica_sets.born) || pods.iter().any(|pod| self.peers.replica_sets.ended.contains(json::uid(pod))) {
            self.peers.replica_sets.again = true;
            return;
        }
        let wanted = usize::try_from(json::number(set, "/spec/replicas")).unwrap_or(0);
        let name = json::name(set).to_owned();
        let deleting = set.pointer("/metadata/deletionTimestamp").is_some();
        if deleting {
            // One that is being deleted manages nothing any more.
        } else if pods.len() < wanted {
            for _ in pods.len()..wanted {
                self.make_pod(set);
            }
        } else if pods.len() > wanted {
            let mut ranked: Vec<&Arc<Value>> = pods.iter().collect();
            ranked.sort_by_key(|pod| {
                (
                    !json::text(pod, "/spec/nodeName").is_empty(),
                    json::ready(pod),
                    std::cmp::Reverse(json::text(pod, "/metadata/creationTimestamp")),
                    json::uid(pod),
                )
            });
            for pod in ranked.into_iter().take(pods.len() - wanted) {
                self.say("replicaset controller", || format!("deletes pod {} of {name}", json::name(pod)));
                self.peers.replica_sets.ended.insert(json::uid(pod).to_owned());
                self.delete(Resource::Pod, NAMESPACE, json::name(pod));
            }
        }
        let ready = pods.iter().filter(|pod| json::ready(pod)).count();
        let status = json!({"replicas": pods.len(), "readyReplicas": ready, "observedGeneration": json::number(set, "/metadata/generation")});
        if set.get("status") != Some(&status) {
            let now = self.now();
            let patch = json!({"metadata": {"resourceVersion": json::text(set, "/metadata/resourceVersion")}, "status": status});
            let written = self.store.patch(
                Resource::ReplicaSet,
                (NAMESPACE, &name),
                true,
                &Change::Merge(patch),
                Manager::updates("replicaset-controller"),
                now,
            );
            self.peers.replica_sets.again |= written.is_err() && self.store.get(Resource::ReplicaSet, NAMESPACE, &name).is_some();
            self.changed();
        }
    }

    fn make_pod(&mut self, set: &Value) {
        let number = self.peers.number();
        let name = format!("{}-{number:04}", json::name(set));
        let template = set.pointer("/spec/template").cloned().unwrap_or(Value::Null);
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": json::name(set), "uid": json::uid(set), "controller": true}]);
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template.get("metadata").cloned().unwrap_or(json!({})), "spec": template.get("spec").cloned().unwrap_or(json!({}))});
        json::set(&mut pod, "metadata", "name", json!(name));
        json::set(&mut pod, "metadata", "ownerReferences", owner);
        json::set(&mut pod, "status", "phase", json!("Pending"));
        if let Ok(made) = self.make(Resource::Pod, NAMESPACE, pod) {
            self.peers.replica_sets.born.insert(json::uid(&made).to_owned());
        }
        // An owner that is gone already is found out by the garbage collector.
        if self.store.by_uid(Resource::ReplicaSet, json::uid(set)).is_none() {
            let wait = self.random.millis(200, 2000);
            self.later(wait, Happening::Collect(json::uid(set).to_owned()));
        }
    }
}

/// Whether a pod that still exists belongs to the set whose pods are so named.
fn uid_of(store: &crate::store::Store, uid: &str, prefix: &str) -> bool {
    store.by_uid(Resource::Pod, uid).is_some_and(|pod| json::name(pod).starts_with(prefix))
}
