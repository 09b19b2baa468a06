//! What is going to happen, in order of time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A watcher gets what is due.
    Deliver(usize),
    /// An interrupted watch lists anew.
    Relist(usize),
    /// The garbage collector has found dependents of an owner that is gone.
    Collect(String),
    /// The ReplicaSet controller looks at its caches.
    ReplicaSets,
    /// The EndpointSlice controller looks at its caches.
    EndpointSlices,
    /// A pod, by UID, takes the next step of its life.
    Pod(String, crate::peers::kubelet::Step),
    /// The agent of a node takes samples.
    Sample(String),
    /// The report of a node's agent, with its boot id, reaches the API server.
    Report(String, String, Arc<Value>),
    /// A client opens a connection.
    Open(usize),
    /// A client closes a connection to a pod.
    Close(String, u64),
    /// A Job, by UID, comes to its end.
    Job(String),
    /// The autoscaler looks.
    Autoscale,
    /// A person does something.
    Person(usize),
    /// A fault begins.
    Fault(usize),
    /// A fault is over.
    Mend(usize),
    /// An applier looks at a Service.
    Applier(String),
    /// A person applies the object that was deleted.
    Apply,
    /// A version of the bystander is released.
    Bystander(u64),
    /// A process of the operator is started in a place.
    Start(usize),
    /// The deadline by which a selector must have been put back.
    Repaired(usize),
    /// Nothing is done by people and no fault begins any more.
    Calm,
    /// Whether everything has come to its end.
    Over,
}

/// What is going to happen.
#[derive(Debug, Default)]
pub struct Agenda {
    list: BTreeMap<(Duration, u64), Happening>,
    number: u64,
}

impl Agenda {
    /// Adds something; what was added first of two at the same time comes first.
    pub fn add(&mut self, at: Duration, what: Happening) {
        self.number += 1;
        self.list.insert((at, self.number), what);
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<Duration> {
        self.list.keys().next().map(|(at, _)| *at)
    }

    /// The next thing, if it is due.
    pub fn due(&mut self, now: Duration) -> Option<Happening> {
        self.list.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }
}
