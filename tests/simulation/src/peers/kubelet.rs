//! Scheduler and kubelet: pods start, become ready, lose that and get it back, and end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::json;
use crate::sim::{NAMESPACE, Sim};
use crate::store::{Manager, stamp};

/// Where the application listens.
pub const PORT: u16 = 8080;

/// A node as it really is.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its address.
    pub address: IpAddr,
    /// Whether it runs.
    pub up: bool,
}

/// A pod whose processes run.
#[derive(Clone, Debug)]
pub struct Running {
    /// `metadata.name`.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// UID of its ReplicaSet.
    pub set: String,
    /// Its revision.
    pub revision: String,
    /// Its image: what the template asked for.
    pub version: String,
    /// When its processes started.
    pub started: Duration,
    /// When it began to end.
    pub ends: Option<Duration>,
    /// Whether it listens.
    pub listens: bool,
    /// Open connections.
    pub sockets: BTreeMap<u64, Socket>,
    /// Connections that are over, with the time of that, while the kernel remembers them.
    pub waiting: Vec<(Socket, Duration)>,
    /// Connections accepted since the pod exists.
    pub passive_opens: u64,
    /// Up to when the kubelet's own probes have been counted.
    pub probed: Duration,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// Number of it; also its inode.
    pub number: u64,
    /// The client.
    pub peer: IpAddr,
    /// The client's port.
    pub port: u16,
    /// Since when.
    pub opened: Duration,
}

/// The next step of a pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It gets a node.
    Schedule,
    /// Its processes start.
    Start,
    /// It is ready.
    Ready,
    /// It is not, for a while.
    Unready,
    /// Its processes are told to end.
    End,
    /// They have ended.
    Gone,
}

impl Sim {
    /// A pod was created or changed.
    pub fn pod_written(&mut self, pod: &Value, before: Option<&Value>) {
        let uid = json::uid(pod).to_owned();
        if before.is_none() && json::text(pod, "/spec/nodeName").is_empty() {
            let wait = self.random.millis(20, 200);
            self.later(wait, Happening::Pod(uid, Step::Schedule));
        } else if pod.pointer("/metadata/deletionTimestamp").is_some()
            && before.is_some_and(|before| before.pointer("/metadata/deletionTimestamp").is_none())
        {
            let now = self.now();
            if let Some(running) = self.peers.pods.get_mut(&uid) {
                running.ends = Some(now);
            }
            let wait = self.random.millis(10, 300);
            self.later(wait, Happening::Pod(uid, Step::End));
        }
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, uid: &str) {
        if let Some(gone) = self.peers.pods.remove(uid) {
            let open = |before: Duration| u64::try_from(gone.sockets.values().filter(|socket| socket.opened < before).count()).unwrap_or(0);
            let all = open(Duration::MAX);
            if let Some((at, overdue)) = self.history.alone.get(uid) {
                let (early, late) = (open(at.saturating_sub(Duration::from_secs(1))), all);
                if *overdue {
                    self.history.cut_late += late
                } else {
                    self.history.cut_early += early
                }
                return;
            }
            // What ended already, a retirement did not end.
            match self.history.drained.get(&gone.set).filter(|retired| gone.ends.is_none_or(|ends| ends >= **retired)) {
                // What was opened later nobody can have counted.
                Some(retired) => self.history.cut_early += open(retired.saturating_sub(Duration::from_secs(1))),
                None if self.history.overdue.contains(&gone.set) => self.history.cut_late += all,
                None => self.history.cut += all,
            }
        }
    }

    /// The next step of a pod's life.
    pub fn pod_step(&mut self, uid: &str, step: Step) {
        let Some(pod) = self.store.by_uid(Resource::Pod, uid).cloned() else { return };
        let node = json::text(&pod, "/spec/nodeName").to_owned();
        let up = self.peers.nodes.get(&node).is_some_and(|node| node.up);
        if step != Step::Schedule && !up {
            // The kubelet is away: it goes on when it comes back.
            self.later(Duration::from_secs(1), Happening::Pod(uid.to_owned(), step));
            return;
        }
        match step {
            Step::Schedule => self.schedule(uid, &pod),
            Step::Start => self.start_pod(uid, &pod, &node),
            Step::Ready => self.ready(uid, &pod, true),
            Step::Unready => self.ready(uid, &pod, false),
            Step::End => {
                self.say("kubelet", || format!("ends pod {}", json::name(&pod)));
                self.set_ready(&pod, false);
                if let Some(running) = self.peers.pods.get_mut(uid) {
                    running.listens = false;
                }
                let wait = self.random.millis(200, 2500);
                self.later(wait, Happening::Pod(uid.to_owned(), Step::Gone));
            }
            Step::Gone => {
                self.store.remove(Resource::Pod, NAMESPACE, json::name(&pod));
                self.changed();
            }
        }
    }

    fn schedule(&mut self, uid: &str, pod: &Value) {
        let up: Vec<String> = self.peers.nodes.iter().filter(|(_, node)| node.up).map(|(name, _)| name.clone()).collect();
        let Some(node) = self.random.one(&up).cloned() else {
            self.later(Duration::from_secs(1), Happening::Pod(uid.to_owned(), Step::Schedule));
            return;
        };
        self.write(Manager::updates("scheduler"), Resource::Pod, NAMESPACE, json::name(pod), |pod| json::set(pod, "spec", "nodeName", json!(node)));
        let wait = self.random.millis(100, 1200);
        self.later(wait, Happening::Pod(uid.to_owned(), Step::Start));
    }

    fn start_pod(&mut self, uid: &str, pod: &Value, node: &str) {
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            return;
        }
        let number = self.peers.number();
        let [.., high, low] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(10, 1, high, low));
        let version = crate::scenario::version_of(pod).to_owned();
        let behaviour = self.scenario.behaviour(&version);
        let now = self.now();
        let running = Running {
            name: json::name(pod).to_owned(),
            node: node.to_owned(),
            address,
            set: json::controller(pod).unwrap_or_default().to_owned(),
            revision: json::label(pod, keys::REVISION).unwrap_or_default().to_owned(),
            version,
            started: now,
            ends: None,
            listens: false,
            sockets: BTreeMap::new(),
            waiting: vec![],
            passive_opens: 0,
            probed: now,
        };
        self.peers.pods.insert(uid.to_owned(), running);
        self.write(Manager::updates("kubelet"), Resource::Pod, NAMESPACE, json::name(pod), |pod| {
            json::set(pod, "status", "phase", json!("Running"));
            json::set(pod, "status", "podIP", json!(address.to_string()));
            json::set(pod, "status", "podIPs", json!([{"ip": address.to_string()}]));
        });
        if !behaviour.never_ready {
            let wait = self.random.millis(behaviour.ready_after.0, behaviour.ready_after.1);
            self.later(wait, Happening::Pod(uid.to_owned(), Step::Ready));
        }
    }

    fn ready(&mut self, uid: &str, pod: &Value, ready: bool) {
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            return;
        }
        let Some(running) = self.peers.pods.get_mut(uid) else { return };
        running.listens = ready;
        let behaviour = self.scenario.behaviour(&running.version);
        let flaps = behaviour.flaps && !self.calm;
        self.set_ready(pod, ready);
        if !ready && !behaviour.never_ready {
            let wait = self.random.millis(500, 9000);
            self.later(wait, Happening::Pod(uid.to_owned(), Step::Ready));
        } else if flaps {
            let wait = self.random.millis(3000, 60_000);
            self.later(wait, Happening::Pod(uid.to_owned(), Step::Unready));
        }
    }

    /// Writes the condition Ready.
    pub fn set_ready(&mut self, pod: &Value, ready: bool) {
        let at = stamp(self.now());
        self.write(Manager::updates("kubelet"), Resource::Pod, NAMESPACE, json::name(pod), |pod| {
            if json::ready(pod) != ready || json::condition(pod, "Ready").is_none() {
                let condition = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": at}]);
                json::set(pod, "status", "conditions", condition);
            }
        });
    }
}
