//! Decides when to report. Pure: what was told, what is now, and the time since go in.
//!
//! A report costs a write to etcd, on every node at once while much is drained. So only what changes the controller's
//! judgement is told at once, and even that no faster than an allowance; the counts ride on a heartbeat.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ports::PEERS_SHOWN;
use crate::api::PodReport;

/// How long without an open connection is worth a report of its own: two samples so far apart are what a pod needs to be
/// taken for drained.
const ZERO_WORTH_TELLING_MILLIS: i64 = 1000;

/// How many reports may follow each other at once after a quiet time.
const BURST: f64 = 4.0;

/// How many reports a second may be sent in the long run because of transitions.
const PER_SECOND: f64 = 1.0;

/// Two reports are never closer than this.
const GAP: Duration = Duration::from_millis(250);

/// Why a report is due; of several reasons the first one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A pod, or a round of it, has not been told of.
    FirstOfRound,
    /// A pod became unreadable, became readable again, or is unreadable for another reason.
    Unreadable,
    /// A pod has an open connection and had none.
    Open,
    /// A pod has no open connection any more.
    Zero,
    /// A pod has had none for a second.
    ZeroForASecond,
    /// A peer has connected that was not told of for that port.
    NewPeer,
    /// Connections came that neither loopback nor other ports explain, seen or only counted by the kernel, while none had
    /// come between the two reports before. What keeps coming rides on the heartbeat.
    Arrival,
    /// Long enough since the last report.
    Heartbeat,
}

/// What the controller has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pods: BTreeMap<String, ToldPod>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ToldPod {
    round: i64,
    unreadable: Option<String>,
    open: bool,
    zero_for_a_second: bool,
    /// For each port the peers told of that had arrived in this round, at most [`PEERS_SHOWN`]: a controller that knows
    /// of so many needs no report for each one more.
    peers: BTreeMap<i32, BTreeSet<String>>,
    /// Connections that came in this round, without the explained ones.
    came: i64,
    /// Whether some came between the last report and the one before.
    kept_coming: bool,
}

impl Told {
    /// Whether a report of `now` is due `since_last` after the last one, if the heartbeat is every `heartbeat`.
    pub fn decide(&self, now: &[PodReport], since_last: Duration, heartbeat: Duration) -> Option<Why> {
        let transition = now.iter().filter_map(|pod| self.transition(pod)).min();
        transition.or_else(|| (since_last >= heartbeat).then_some(Why::Heartbeat))
    }

    fn transition(&self, now: &PodReport) -> Option<Why> {
        let Some(told) = self.pods.get(&now.uid).filter(|told| told.round == now.round) else {
            return Some(Why::FirstOfRound);
        };
        let is = ToldPod::of(now);
        if told.unreadable != is.unreadable {
            Some(Why::Unreadable)
        } else if told.open != is.open {
            Some(if is.open { Why::Open } else { Why::Zero })
        } else if !told.zero_for_a_second && is.zero_for_a_second {
            Some(Why::ZeroForASecond)
        } else if is.peers.iter().any(|(port, peers)| told.knows_not(*port, peers)) {
            Some(Why::NewPeer)
        } else if !told.kept_coming && is.came > told.came {
            Some(Why::Arrival)
        } else {
            None
        }
    }

    /// Takes note that `now` has reached the API server.
    pub fn told(&mut self, now: &[PodReport]) {
        let mut before = std::mem::take(&mut self.pods);
        for pod in now {
            let mut is = ToldPod::of(pod);
            if let Some(earlier) = before.remove(&pod.uid).filter(|earlier| earlier.round == pod.round) {
                is.kept_coming = is.came > earlier.came;
                for (port, peers) in earlier.peers {
                    let all = is.peers.entry(port).or_default();
                    for peer in peers {
                        if all.len() < PEERS_SHOWN {
                            all.insert(peer);
                        }
                    }
                }
            }
            self.pods.insert(pod.uid.clone(), is);
        }
    }
}

impl ToldPod {
    fn of(pod: &PodReport) -> Self {
        let arrived = |port: &crate::api::PortReport| {
            port.peers.iter().filter(|peer| peer.arrivals > 0).map(|peer| peer.address.clone()).collect::<BTreeSet<_>>()
        };
        let seen = pod.ports.iter().map(|port| port.arrivals).sum::<i64>();
        Self {
            round: pod.round,
            unreadable: pod.unreadable.clone(),
            open: pod.ports.iter().any(|port| port.open > 0),
            zero_for_a_second: pod.zero_millis.is_some_and(|millis| millis >= ZERO_WORTH_TELLING_MILLIS),
            peers: pod.ports.iter().map(|port| (port.port, arrived(port))).collect(),
            came: seen.max(pod.passive_opens - pod.elsewhere),
            kept_coming: false,
        }
    }

    fn knows_not(&self, port: i32, peers: &BTreeSet<String>) -> bool {
        match self.peers.get(&port) {
            Some(told) => told.len() < PEERS_SHOWN && !peers.is_subset(told),
            None => !peers.is_empty(),
        }
    }
}

/// How often transitions may be told: a few at once, then one a second.
#[derive(Clone, Debug)]
pub struct Allowance {
    left: f64,
    at: Duration,
    last: Option<Duration>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new()
    }
}

impl Allowance {
    /// Full.
    pub fn new() -> Self {
        Self { left: BURST, at: Duration::ZERO, last: None }
    }

    /// Whether a report for this reason may go out now; if so, it is taken as sent. Heartbeats always may.
    pub fn take(&mut self, why: Why, now: Duration) -> bool {
        self.left = BURST.min(self.left + now.saturating_sub(self.at).as_secs_f64() * PER_SECOND);
        self.at = now;
        let too_close = self.last.is_some_and(|last| now.saturating_sub(last) < GAP);
        if why != Why::Heartbeat {
            if too_close || self.left < 1.0 {
                return false;
            }
            self.left -= 1.0;
        }
        self.last = Some(now);
        true
    }
}

/// The time between heartbeats: `seconds` (between 1 and 3600), 20 % more or less, so that nodes do not report in step.
/// `random` picks the place in that range.
pub fn heartbeat(seconds: i32, random: u64) -> Duration {
    let seconds = f64::from(seconds.clamp(1, 3600));
    Duration::from_secs_f64(seconds * (0.8 + 0.4 * unit(random)))
}

/// How long to wait after so many failed reports in a row: 1 s, doubled each time, up to `seconds`, with the upper half
/// drawn by `random`.
pub fn back_off(failures: u32, seconds: i32, random: u64) -> Duration {
    let most = f64::from(seconds.clamp(1, 3600));
    let doubled = 2_f64.powi(failures.saturating_sub(1).min(16) as i32).min(most);
    Duration::from_secs_f64(doubled * (0.5 + 0.5 * unit(random)))
}

/// A number from 0 to 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[path = "tests/report.rs"]
mod tests;
