//! The drain agents: the real counting and the real rules about when to report, over socket tables that the simulated pods have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bluegreen::api::{ConnectionWatch, ConnectionWatchStatus, PodReport};
use bluegreen::controller::api::{Change, Resource};
use bluegreen::drain_agent::count::{Counter, Unreadable};
use bluegreen::drain_agent::proc::Namespace;
use bluegreen::drain_agent::report::{self, Allowance, Told};
use bluegreen::drain_agent::table::{Row, State};
use serde_json::{Value, json};

use super::kubelet::{PORT, Running, Socket};
use crate::agenda::Happening;
use crate::json;
use crate::sim::{OPERATOR, Sim};
use crate::store::Manager;

/// How often the kubelet's own probe connects, in seconds.
pub const PROBE_PERIOD: u64 = 5;
/// For how long the kernel remembers a connection that is over.
const TIME_WAIT: Duration = Duration::from_secs(60);

/// One node's agent.
#[derive(Debug)]
pub struct Agent {
    /// Its watch of ConnectionWatches.
    pub watch: usize,
    /// Changes with each start.
    pub boot: String,
    /// Until when it does nothing at all.
    pub silent: Duration,
    /// How long its reports travel, in milliseconds.
    pub late: (u64, u64),
    object: String,
    sequence: i64,
    counters: BTreeMap<String, Counter>,
    told: Told,
    allowance: Allowance,
    last: Duration,
    heartbeat: Duration,
    under_way: bool,
    not_before: Duration,
    failures: u32,
}

impl Agent {
    /// One that has just started.
    pub fn new(watch: usize, boot: String) -> Self {
        Self {
            watch,
            boot,
            silent: Duration::ZERO,
            late: (5, 80),
            object: String::new(),
            sequence: 0,
            counters: BTreeMap::new(),
            told: Told::default(),
            allowance: Allowance::new(),
            last: Duration::ZERO,
            heartbeat: Duration::ZERO,
            under_way: false,
            not_before: Duration::ZERO,
            failures: 0,
        }
    }
}

impl Sim {
    /// An agent process ends and another one starts: its history is lost.
    pub fn restart_agent(&mut self, node: &str) {
        let boot = format!("boot-{}", self.peers.number());
        if let Some(agent) = self.peers.agents.get_mut(node) {
            let (watch, late, silent) = (agent.watch, agent.late, agent.silent);
            *agent = Agent { late, silent, ..Agent::new(watch, boot) };
        }
    }

    /// The agent of a node takes samples, and reports if that is due.
    pub fn sample(&mut self, node: &str) {
        let now = self.now();
        self.later(Duration::from_millis(500), Happening::Sample(node.to_owned()));
        let up = self.peers.nodes.get(node).is_some_and(|node| node.up);
        let Some(mut agent) = self.peers.agents.remove(node) else { return };
        if up && agent.silent <= now {
            self.count(node, &mut agent);
        }
        self.peers.agents.insert(node.to_owned(), agent);
    }

    fn count(&mut self, node: &str, agent: &mut Agent) {
        let now = self.now();
        let asked = self.watchers.get(agent.watch).and_then(|watch| watch.mirror.values().find(|object| json::name(object) == node)).cloned();
        let Some(asked) = asked.and_then(|asked| serde_json::from_value::<ConnectionWatch>((*asked).clone()).ok()) else {
            agent.counters.clear();
            agent.object.clear();
            return;
        };
        let uid = asked.metadata.uid.clone().unwrap_or_default();
        if agent.object != uid {
            agent.object = uid;
            agent.counters.clear();
            agent.told = Told::default();
            agent.failures = 0;
            agent.not_before = Duration::ZERO;
        }
        let mut before = std::mem::take(&mut agent.counters);
        for spec in asked.spec.pods {
            let counter = match before.remove(&spec.uid) {
                Some(counter) if *counter.spec() == spec => counter,
                Some(counter) => counter.next_round(spec.clone()),
                None => Counter::new(spec.clone()),
            };
            agent.counters.insert(spec.uid, counter);
        }
        let address = self.peers.nodes.get(node).map(|node| node.address);
        for (uid, counter) in &mut agent.counters {
            match self.peers.pods.get_mut(uid).filter(|pod| pod.node == node) {
                Some(pod) => {
                    if let Some(address) = address {
                        probes(pod, address, now, &mut self.peers.number);
                    }
                    counter.add(now, &[table(pod, now)]);
                }
                None => counter.failed(Unreadable::NoProcess),
            }
        }
        if agent.under_way || now < agent.not_before {
            return;
        }
        let pods: Vec<PodReport> = agent.counters.values().filter_map(Counter::report).collect();
        let Some(why) = agent.told.decide(&pods, now.saturating_sub(agent.last), agent.heartbeat) else { return };
        if pods.is_empty() || !agent.allowance.take(why, now) {
            return;
        }
        agent.sequence += 1;
        agent.under_way = true;
        self.history.sampled.insert((agent.boot.clone(), agent.sequence), now);
        let status = ConnectionWatchStatus { boot_id: agent.boot.clone(), sequence: agent.sequence, pods };
        let wait = self.random.millis(agent.late.0, agent.late.1);
        let status =
            Arc::new(json!({"status": status, "since": u64::try_from(now.as_millis()).unwrap_or(0), "reportSeconds": asked.spec.report_seconds}));
        self.later(wait, Happening::Report(node.to_owned(), agent.boot.clone(), status));
    }

    /// A report reaches the API server, perhaps from an agent process that is no more.
    pub fn report(&mut self, node: &str, boot: &str, report: &Value) {
        let now = self.now();
        let away = self.faults.away() || self.peers.nodes.get(node).is_none_or(|node| !node.up);
        let patch = json!({"status": report.get("status")});
        let written = !away
            && self.store.patch(Resource::ConnectionWatch, (OPERATOR, node), true, &Change::Merge(patch), Manager::updates("agent"), now).is_ok();
        self.changed();
        let random = self.random.draw();
        let Some(agent) = self.peers.agents.get_mut(node).filter(|agent| agent.boot == boot) else { return };
        agent.under_way = false;
        let seconds = i32::try_from(json::number(report, "/reportSeconds")).unwrap_or(2);
        if written {
            let status: Option<ConnectionWatchStatus> = report.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
            agent.told.told(&status.map(|status| status.pods).unwrap_or_default());
            agent.last = Duration::from_millis(u64::try_from(json::number(report, "/since")).unwrap_or(0));
            agent.heartbeat = report::heartbeat(seconds, random);
            agent.failures = 0;
        } else {
            agent.failures += 1;
            agent.not_before = now + report::back_off(agent.failures, seconds, random);
        }
    }
}

/// The kubelet's own probes since the last sample: brief connections from the node's address.
fn probes(pod: &mut Running, node: std::net::IpAddr, now: Duration, number: &mut u64) {
    let period = Duration::from_secs(PROBE_PERIOD);
    while pod.probed + period <= now {
        pod.probed += period;
        pod.passive_opens += 1;
        *number += 1;
        let port = 30_000 + u16::try_from(*number % 20_000).unwrap_or(0);
        pod.waiting.push((Socket { number: *number, peer: node, port, opened: pod.probed }, pod.probed));
    }
}

/// What the kernel shows of a pod.
fn table(pod: &mut Running, now: Duration) -> Namespace {
    pod.waiting.retain(|(_, since)| *since + TIME_WAIT > now);
    let row = |socket: &Socket, state| Row {
        local: pod.address,
        local_port: PORT,
        remote: socket.peer,
        remote_port: socket.port,
        state,
        tx_queue: 0,
        inode: if state == State::Established { socket.number } else { 0 },
    };
    let listen = Row {
        local: pod.address,
        local_port: PORT,
        remote: std::net::Ipv4Addr::UNSPECIFIED.into(),
        remote_port: 0,
        state: State::Listen,
        tx_queue: 0,
        inode: 1,
    };
    let open = pod.sockets.values().map(|socket| row(socket, State::Established));
    let over = pod.waiting.iter().map(|(socket, _)| row(socket, State::TimeWait));
    let rows = [listen].into_iter().chain(open).chain(over).collect();
    Namespace { id: 1, passive_before: pod.passive_opens, passive_after: pod.passive_opens, rows }
}
