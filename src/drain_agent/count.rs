//! Folds samples of a pod into the counters of its report. Pure: the clock is an argument, nothing is read here.
//!
//! Where something cannot be known, the counters err to the side on which the controller waits: a connection is rather
//! counted as new, as open and as not explained than left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::connection::{Seen, Tuple};
use super::ports::{Ignored, PortCounter};
use super::proc::Namespace;
use super::table::{Row, State};
use crate::api::{PodReport, WatchedPod};

/// Why the latest sample could not be taken; the texts of `PodReport::unreadable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No process of the pod is on this node.
    NoProcess,
    /// There is one, but its tables could not be read.
    ReadFailed,
}

impl Unreadable {
    /// As it stands in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Unreadable::NoProcess => "NoProcess",
            Unreadable::ReadFailed => "ReadFailed",
        }
    }
}

/// The counters of one pod in one round.
#[derive(Debug)]
pub struct Counter {
    spec: WatchedPod,
    ignored: Ignored,
    ports: Vec<PortCounter>,
    /// The connections of the latest sample, and no others.
    seen: HashMap<Tuple, Seen>,
    /// `PassiveOpens` of each network namespace at the latest sample.
    passive: BTreeMap<u64, u64>,
    passive_opens: i64,
    elsewhere: i64,
    samples: i64,
    unreadable: Option<Unreadable>,
    /// When the first sample of the latest unbroken run without an open connection was taken.
    zero_since: Option<Duration>,
    oldest_since: Option<Duration>,
    latest: Duration,
    /// New connections lately; halves every second.
    rate: f64,
}

/// What a row of the table means to the report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Accepted on the watched port at this place in the list.
    Watched(usize),
    /// Accepted, but explained without the watched ports.
    Elsewhere,
    /// Opened by the pod itself.
    Outgoing,
}

/// What [`Counter::count_passive_opens`] found in a sample.
struct Passive {
    /// By how much `PassiveOpens` rose in all namespaces.
    rise: i64,
    /// The namespaces without a history.
    fresh: BTreeSet<u64>,
}

impl Counter {
    /// Begins a round.
    pub fn new(spec: WatchedPod) -> Self {
        let mut ports: Vec<PortCounter> = Vec::new();
        for port in &spec.ports {
            // What is no port cannot be counted, and a port that is missing in the report is not a zero.
            let Ok(port) = u16::try_from(*port) else {
                continue;
            };
            if !ports.iter().any(|other| other.port() == port) {
                ports.push(PortCounter::new(port));
            }
        }
        Self {
            ignored: Ignored::parse(&spec.ignore),
            spec,
            ports,
            seen: HashMap::new(),
            passive: BTreeMap::new(),
            passive_opens: 0,
            elsewhere: 0,
            samples: 0,
            unreadable: None,
            zero_since: None,
            oldest_since: None,
            latest: Duration::ZERO,
            rate: 0.0,
        }
    }

    /// Begins another round. Only how long connections have been open is carried over: that is true in any round.
    pub fn next_round(self, spec: WatchedPod) -> Self {
        Self { seen: self.seen, ..Self::new(spec) }
    }

    /// What the controller asked for.
    pub fn spec(&self) -> &WatchedPod {
        &self.spec
    }

    /// Whether so many connections come in that short ones would be missed by sampling at the usual pace.
    pub fn is_busy(&self) -> bool {
        self.rate >= 3.0
    }

    /// Why the latest sample could not be taken.
    pub fn unreadable(&self) -> Option<Unreadable> {
        self.unreadable
    }

    /// A sample could not be taken. What was counted stays, until the next sample begins a new run without an open connection.
    pub fn failed(&mut self, why: Unreadable) {
        self.unreadable = Some(why);
        // The report goes on showing the last good sample's `zeroMillis`, so the run is only ended by the next sample.
    }

    /// Takes in a sample; `at` is when taking it began.
    pub fn add(&mut self, at: Duration, namespaces: &[Namespace]) {
        let first = self.samples == 0;
        let Passive { rise, fresh } = self.count_passive_opens(first, namespaces);
        // Nobody looked in between, or what was looked at before is gone.
        if self.unreadable.take().is_some() || fresh.len() == namespaces.len() {
            self.zero_since = None;
        }
        self.ports.iter_mut().for_each(PortCounter::begin_sample);
        let mut now: HashMap<Tuple, Seen> = HashMap::with_capacity(self.seen.len());
        let mut explained: i64 = 0;
        for namespace in namespaces {
            let listening = listening(&namespace.rows);
            for row in &namespace.rows {
                let Some((row, class)) = self.classify(*row, &listening) else {
                    continue;
                };
                let tuple = Tuple::of(namespace.id, &row);
                let before = self.seen.get(&tuple).filter(|before| !fresh.contains(&namespace.id) && before.continues(&row));
                let is_new = !first && before.is_none();
                let seen = Seen::new(&row, before.map_or(at, |before| before.since));
                // A row can stand twice in one reading. It counts once, and as open if either says so.
                let twice = now.get(&tuple).copied();
                now.insert(tuple, twice.map_or(seen, |other| other.merge(seen)));
                match class {
                    _ if !is_new || twice.is_some() => {}
                    Class::Watched(place) => self.ports.get_mut(place).into_iter().for_each(|port| port.arrived(row.remote)),
                    Class::Elsewhere => explained += 1,
                    Class::Outgoing => {}
                }
            }
        }
        self.count_open(&now);
        if first {
            // Those still being established are accepted in this round, if ever: they are new once they are there.
            now.retain(|_, seen| seen.state != State::SynRecv);
        }
        self.seen = now;
        self.elsewhere += explained;
        let arrived: i64 = self.ports.iter().map(PortCounter::arrived_in_sample).sum();
        let elapsed = at.saturating_sub(self.latest).as_secs_f64();
        self.rate = self.rate * (-elapsed).exp2() + arrived.max(rise - explained) as f64;
        self.samples += 1;
        self.latest = at;
        if self.ports.iter().all(|port| port.open() == 0) {
            self.zero_since.get_or_insert(at);
        } else {
            self.zero_since = None;
        }
    }

    /// Adds what `PassiveOpens` rose by, and tells which namespaces have no history in this round.
    ///
    /// A namespace that appears later than the round's first sample, or whose counter fell, is a new one (the sandbox was
    /// made anew): all it has counted since it was made is added, and all its connections are new.
    fn count_passive_opens(&mut self, first: bool, namespaces: &[Namespace]) -> Passive {
        let mut fresh = BTreeSet::new();
        let mut latest = BTreeMap::new();
        let mut rise: u64 = 0;
        for namespace in namespaces {
            let before = match self.passive.get(&namespace.id) {
                // What is accepted while the first sample is taken belongs to the round.
                _ if first => namespace.passive_before,
                Some(before) if *before <= namespace.passive_after => *before,
                _ => {
                    fresh.insert(namespace.id);
                    0
                }
            };
            rise = rise.saturating_add(namespace.passive_after.saturating_sub(before));
            latest.insert(namespace.id, namespace.passive_after);
        }
        self.passive = latest;
        let rise = i64::try_from(rise).unwrap_or(i64::MAX);
        self.passive_opens = self.passive_opens.saturating_add(rise);
        Passive { rise, fresh }
    }

    /// What a row is, and the row as it is to be remembered; none if it is no connection, or one that is not one yet.
    ///
    /// That a row's port is watched is enough to know that it was accepted there, also when nothing listens there any
    /// more: the kernel picks no port for an outgoing connection that a listener or one of its connections still holds.
    fn classify(&self, row: Row, listening: &BTreeSet<u16>) -> Option<(Row, Class)> {
        if matches!(row.state, State::Listen | State::SynSent | State::Close) {
            return None;
        }
        let watched = self.ports.iter().position(|port| port.port() == row.local_port);
        if row.is_loopback() {
            return self.loopback(row, watched.is_some(), listening);
        }
        match watched {
            Some(place) if !self.ignored.contains(row.remote) => {
                return Some((row, Class::Watched(place)));
            }
            None if !listening.contains(&row.local_port) => return Some((row, Class::Outgoing)),
            _ => {}
        }
        // `elsewhere` explains `passiveOpens`, which counts accepted connections: a half-open one must not explain another.
        (row.state != State::SynRecv).then_some((row, Class::Elsewhere))
    }

    /// Both ends of a loopback connection stand in the table. They are remembered as one, turned to the server's side, so
    /// that also a brief one is explained of which only the client's TIME_WAIT is left.
    fn loopback(&self, row: Row, watched: bool, listening: &BTreeSet<u16>) -> Option<(Row, Class)> {
        let state = match row.state {
            State::SynRecv => return None,
            State::TimeWait => State::TimeWait,
            _ => State::Established,
        };
        let row = Row { state, inode: 0, tx_queue: 0, ..row };
        if watched || listening.contains(&row.local_port) {
            return Some((row, Class::Elsewhere));
        }
        if !listening.contains(&row.remote_port) {
            return Some((row, Class::Outgoing));
        }
        let turned = Row { local: row.remote, local_port: row.remote_port, remote: row.local, remote_port: row.local_port, ..row };
        Some((turned, Class::Elsewhere))
    }

    fn count_open(&mut self, now: &HashMap<Tuple, Seen>) {
        self.oldest_since = None;
        for (tuple, seen) in now {
            if !seen.open || tuple.is_loopback() || self.ignored.contains(tuple.remote) {
                continue;
            }
            let Some(port) = self.ports.iter_mut().find(|port| port.port() == tuple.local_port) else {
                continue;
            };
            port.is_open(tuple.remote);
            self.oldest_since = Some(self.oldest_since.map_or(seen.since, |oldest| oldest.min(seen.since)));
        }
    }

    /// The report of this pod; none before the first attempt of a sample.
    pub fn report(&self) -> Option<PodReport> {
        if self.samples == 0 && self.unreadable.is_none() {
            return None;
        }
        let mut ports = Vec::with_capacity(self.spec.ports.len());
        for asked in &self.spec.ports {
            if let Some(port) = self.ports.iter().find(|port| i32::from(port.port()) == *asked) {
                ports.push(port.report());
            }
        }
        Some(PodReport {
            uid: self.spec.uid.clone(),
            round: self.spec.round,
            samples: self.samples,
            unreadable: self.unreadable.map(|why| why.as_str().to_owned()),
            zero_millis: self.zero_since.map(|since| millis(self.latest.saturating_sub(since))),
            oldest_millis: self.oldest_since.map(|since| millis(self.latest.saturating_sub(since))),
            passive_opens: self.passive_opens,
            elsewhere: self.elsewhere,
            ports,
        })
    }
}

fn listening(rows: &[Row]) -> BTreeSet<u16> {
    rows.iter().filter(|row| row.state == State::Listen).map(|row| row.local_port).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "tests/count.rs"]
mod tests;
