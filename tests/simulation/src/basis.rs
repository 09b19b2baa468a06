//! What a process went by when it sent a write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use crate::controller::api::{Call, Request};
use crate::history::{Known, Move, Retirement};
use crate::json;
use crate::sim::Sim;

/// What a process went by when it sent a write. It travels with the write: one that is served late is judged by its own basis, whatever
/// the process has decided since.
#[derive(Clone, Debug, Default)]
pub struct Basis {
    /// Of a Service: ready pods, as had been told.
    pub ready: Option<Move>,
    /// Of a Service that is to lead to two revisions: a pod of theirs, as had been told, that lacks the label it will ask for.
    pub bare: Option<String>,
    /// Of the object: pods that had been ready endpoints of every Service, as had been told, and for how long.
    pub joined: BTreeMap<String, Duration>,
    /// What was known when an intent was last decided.
    pub known: Option<Known>,
    /// Of a ReplicaSet: the decision to retire it, and what was read since.
    pub retirement: Option<Retirement>,
    /// Of a ReplicaSet: Services that had been heard of.
    pub services: BTreeSet<String>,
    /// Of a pod: the last look at what leads to it.
    pub glance: Option<Retirement>,
}

impl Sim {
    /// The basis of a request that is being sent.
    pub fn basis(&self, process: usize, call: &Call) -> Arc<Basis> {
        let mut basis = Basis::default();
        if !call.writes() {
            return Arc::new(basis);
        }
        match call.resource {
            Resource::Service => basis.known = self.history.known.get(&process).cloned(),
            Resource::BlueGreenDeployment => {
                basis.known = self.history.known.get(&process).cloned();
                basis.joined = self.joined(process);
            }
            Resource::ReplicaSet => {
                basis.known = self.history.known.get(&process).cloned();
                basis.services = self.delivered(process, Resource::Service).map(|service| json::name(service).to_owned()).collect();
                let set = self.store.get(Resource::ReplicaSet, &call.namespace, &call.name);
                basis.retirement = set.and_then(|set| self.history.retirements.get(&(process, json::uid(set).to_owned()))).cloned();
            }
            Resource::Pod if matches!(call.request, Request::Delete { .. }) => basis.glance = self.history.glances.get(&process).cloned(),
            _ => {}
        }
        if let (Resource::Service, Some(body)) = (call.resource, call.merge()) {
            let to = json::selects(body).unwrap_or_default();
            let service = self.store.get(Resource::Service, &call.namespace, &call.name);
            let from = service.and_then(|service| json::selects(service)).unwrap_or_default();
            // One that somebody changed meanwhile is put back all the same.
            let first = json::annotation(body, keys::SELECTED) != service.and_then(|service| json::annotation(service, keys::SELECTED));
            if json::overlaps(body) && first {
                let left = self.intent().filter(|intent| json::text(intent, "/to") == to).map(|intent| json::text(&intent, "/from").to_owned());
                let from = left.unwrap_or_else(|| from.to_owned());
                basis.bare = self.bare(process, json::member(body, "/spec/selector", keys::SERVING), &[to, &from]);
            }
            basis.ready = Some(Move { to: self.believed_ready(process, to), from: self.believed_ready(process, from) });
        }
        Arc::new(basis)
    }
}
