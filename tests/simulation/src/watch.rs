//! Watches: in order within one, with a delay of its own each, so that kinds arrive in any order; interrupted and listed anew.
//!
//! A bookmark only moves the version from which a client resumes; kube's watcher keeps it to itself, so there is nothing to deliver for one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bluegreen::controller::api::Resource;
use bluegreen::controller::watches;
use kube::runtime::watcher::Event;
use serde_json::Value;

use crate::agenda::Happening;
use crate::json;
use crate::random::Random;
use crate::sim::Sim;
use crate::store::{Entry, Kind, selector};

/// Who watches.
#[derive(Clone, Debug)]
pub enum Sink {
    /// A controller process.
    Process(usize, watches::Watch),
    /// A peer, which only reads the mirror.
    Mirror,
}

/// What is on its way to a watcher.
#[derive(Clone, Debug)]
enum Item {
    Change(Kind, Arc<Value>, u64),
    Init,
    Listed(Arc<Value>),
    Done(u64),
}

/// One watch.
#[derive(Debug)]
pub struct Watcher {
    /// The kind it asks for.
    pub resource: Resource,
    namespace: String,
    labels: Option<String>,
    fields: Option<String>,
    /// Who watches.
    pub sink: Sink,
    /// Delay of a delivery, in milliseconds.
    pub delay: (u64, u64),
    queue: VecDeque<(Duration, Item)>,
    last: Duration,
    /// What has been delivered, by UID.
    pub mirror: BTreeMap<String, Arc<Value>>,
    listing: BTreeMap<String, Arc<Value>>,
    /// The version up to which everything has been delivered.
    pub frontier: u64,
    random: Random,
    connected: bool,
    over: bool,
}

impl Watcher {
    /// How much has not been delivered yet.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn matches(&self, object: &Value) -> bool {
        (self.namespace.is_empty() || json::text(object, "/metadata/namespace") == self.namespace)
            && selector::labels(object, self.labels.as_deref())
            && selector::fields(object, self.fields.as_deref())
    }

    fn push(&mut self, now: Duration, item: Item) -> Duration {
        let due = (now + self.random.millis(self.delay.0, self.delay.1)).max(self.last);
        self.last = due;
        self.queue.push_back((due, item));
        due
    }
}

/// What a peer watches.
pub fn of(resource: Resource) -> watches::Watch {
    watches::Watch { feeds: watches::Feeds::Kind(resource), resource, namespace: String::new(), scope: String::new(), labels: None, fields: None }
}

impl Sim {
    /// Begins a watch with a list of everything as it was at a version, and what came after it.
    pub fn watch(&mut self, watch: watches::Watch, sink: Sink, delay: (u64, u64), since: u64) -> usize {
        let id = self.watchers.len();
        let watches::Watch { feeds: _, resource, namespace, scope: _, labels, fields } = watch;
        self.watchers.push(Watcher {
            resource,
            namespace,
            labels,
            fields,
            sink,
            delay,
            queue: VecDeque::new(),
            last: Duration::ZERO,
            mirror: BTreeMap::new(),
            listing: BTreeMap::new(),
            frontier: 0,
            random: Random::new(self.what.seed, &format!("watch {id}")),
            connected: false,
            over: false,
        });
        self.list_anew(id, since);
        id
    }

    /// Lists as of a version, then goes on from there.
    pub fn list_anew(&mut self, id: usize, since: u64) {
        let now = self.now();
        let Some(watcher) = self.watchers.get_mut(id).filter(|watcher| !watcher.over) else { return };
        watcher.connected = true;
        let mut dues = vec![watcher.push(now, Item::Init)];
        for object in self.store.at(watcher.resource, since).into_values() {
            if watcher.matches(&object) {
                dues.push(watcher.push(now, Item::Listed(object)));
            }
        }
        dues.push(watcher.push(now, Item::Done(since)));
        let resource = watcher.resource;
        for entry in self.store.log.iter().filter(|entry| entry.revision > since && entry.resource == resource) {
            dues.extend(offer(watcher, now, entry));
        }
        for due in dues {
            self.agenda.add(due, Happening::Deliver(id));
        }
    }

    /// The connection of a watch breaks; what is on its way is lost, and it is listed anew after a while (410 Gone).
    pub fn interrupt(&mut self, id: usize, pause: Duration) {
        let now = self.now();
        if let Some(watcher) = self.watchers.get_mut(id).filter(|watcher| watcher.connected && !watcher.over) {
            watcher.connected = false;
            watcher.queue.clear();
            self.agenda.add(now + pause, Happening::Relist(id));
        }
    }

    /// Nobody listens any more.
    pub fn unwatch(&mut self, id: usize) {
        if let Some(watcher) = self.watchers.get_mut(id) {
            watcher.over = true;
            watcher.connected = false;
            watcher.queue.clear();
            watcher.mirror.clear();
        }
    }

    /// Tells the watchers of a change.
    pub fn announce(&mut self, entry: &Entry) {
        let now = self.now();
        let offers = self.watchers.iter_mut().enumerate().filter(|(_, watcher)| watcher.connected && watcher.resource == entry.resource);
        let dues: Vec<(Duration, usize)> = offers.filter_map(|(id, watcher)| Some((offer(watcher, now, entry)?, id))).collect();
        for (due, id) in dues {
            self.agenda.add(due, Happening::Deliver(id));
        }
    }

    /// Delivers what is due.
    pub fn deliver(&mut self, id: usize) {
        let now = self.now();
        let Some(watcher) = self.watchers.get(id).filter(|watcher| watcher.connected) else { return };
        if let Sink::Process(process, _) = &watcher.sink
            && let Some(resumes) = self.paused_until(*process)
        {
            self.agenda.add(resumes, Happening::Deliver(id));
            return;
        }
        loop {
            let Some(watcher) = self.watchers.get_mut(id) else { return };
            if watcher.queue.front().is_none_or(|(due, _)| *due > now) {
                return;
            }
            let Some((_, item)) = watcher.queue.pop_front() else { return };
            let told = matches!(watcher.resource, Resource::EndpointSlice | Resource::Service);
            if let (Sink::Process(process, _), true) = (&watcher.sink, told) {
                let process = *process;
                self.still_endpoints(process);
            }
            let Some(watcher) = self.watchers.get_mut(id) else { return };
            let event = mirrored(watcher, item);
            if let (Sink::Process(process, watch), Some(event)) = (watcher.sink.clone(), event) {
                self.take(process, &watch, event);
                if told {
                    self.now_endpoints(process);
                }
            }
        }
    }

    fn take(&mut self, process: usize, watch: &watches::Watch, event: Event<Arc<Value>>) {
        let Some(context) = self.processes.get(process).filter(|process| process.alive).map(|process| process.context.clone()) else { return };
        let typed = |object: Arc<Value>| serde_json::from_value::<kube::api::DynamicObject>((*object).clone()).ok();
        let event = match event {
            Event::Apply(object) => typed(object).map(Event::Apply),
            Event::Delete(object) => typed(object).map(Event::Delete),
            Event::InitApply(object) => typed(object).map(Event::InitApply),
            Event::Init => Some(Event::Init),
            Event::InitDone => Some(Event::InitDone),
        };
        if let Some(event) = event {
            watches::take(&context, watch, event);
        }
    }
}

fn offer(watcher: &mut Watcher, now: Duration, entry: &Entry) -> Option<Duration> {
    let before = entry.before.as_ref().is_some_and(|before| watcher.matches(before));
    let after = entry.kind == Kind::Applied && watcher.matches(&entry.object);
    match (before, after) {
        (_, true) => Some(watcher.push(now, Item::Change(Kind::Applied, entry.object.clone(), entry.revision))),
        // What no longer matches is gone for the watcher.
        (true, false) => Some(watcher.push(now, Item::Change(Kind::Deleted, entry.object.clone(), entry.revision))),
        (false, false) => None,
    }
}

fn mirrored(watcher: &mut Watcher, item: Item) -> Option<Event<Arc<Value>>> {
    let uid = |object: &Value| json::uid(object).to_owned();
    Some(match item {
        Item::Change(Kind::Applied, object, revision) => {
            watcher.mirror.insert(uid(&object), object.clone());
            watcher.frontier = revision;
            Event::Apply(object)
        }
        Item::Change(Kind::Deleted, object, revision) => {
            watcher.mirror.remove(&uid(&object));
            watcher.frontier = revision;
            Event::Delete(object)
        }
        Item::Init => {
            watcher.listing.clear();
            Event::Init
        }
        Item::Listed(object) => {
            // The process takes it at once, though the list is not complete.
            watcher.mirror.insert(uid(&object), object.clone());
            watcher.listing.insert(uid(&object), object.clone());
            Event::InitApply(object)
        }
        Item::Done(revision) => {
            watcher.mirror = std::mem::take(&mut watcher.listing);
            watcher.frontier = revision;
            Event::InitDone
        }
    })
}
