//! What only this process knows: results of long-running work and of questions asked. All of it can be lost; a new leader
//! asks again, and measured windows start again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::late::Presence;
use crate::api::{ConnectionWatch, PodReport, WatchedPod};
use crate::release::metric::Reading;
use crate::release::switch::CALM;
use crate::release::{Begun, Identity, JobSeen, OwnerState, ProbeObservation, Refusal, Repairs, Sample};

/// So long an owner that the caches don't know is taken to live, once a live read has found it.
const ALIVE: Duration = Duration::from_secs(30);
/// Samples kept for one pod: enough for the longest window at the shortest report interval.
const SAMPLES: usize = 256;

/// A pod that could not be written.
#[derive(Clone, Copy, Debug)]
pub struct Unwritten {
    /// When it is tried again, on the controller's clock.
    pub until: Duration,
    /// Whether the API server does not want it.
    pub refused: bool,
}

/// What is remembered about one BlueGreenDeployment, by UID.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The answer to the last dry run, for exactly that raw template.
    pub identity: Option<(String, Identity)>,
    /// When a refusal may be asked again, and how often it was.
    pub ask_again: Option<(Duration, u32)>,
    /// Names of new ReplicaSets that were found taken.
    pub collisions: i32,
    /// The write that was last refused.
    pub refused: Option<Refusal>,
    /// Whether owners of Services live, and when that was asked.
    pub owners: BTreeMap<String, (OwnerState, Duration)>,
    /// Smoke probes: the set they are about, and what they showed.
    pub probes: Vec<ProbeObservation>,
    /// Outcome of telling pods to drain.
    pub begun: BTreeMap<String, Begun>,
    /// What the numbers of pods that are being left were, by UID.
    pub readings: BTreeMap<String, Reading>,
    /// Selector repairs, by Service.
    pub repairs: BTreeMap<String, Repairs>,
    /// Which pods a set had that is being left, by its UID.
    pub present: HashMap<String, Presence>,
    /// Since when pods are no endpoints, by UID.
    pub absent: BTreeMap<String, Duration>,
    /// Since when pods are ready endpoints of every declared Service, while a move overlaps.
    pub endpoints: BTreeMap<String, Duration>,
    /// Pods on which what belongs to their role could not be written, by UID.
    pub unwritten: BTreeMap<String, Unwritten>,
    /// Jobs of hooks as they were last seen, by name.
    pub jobs: BTreeMap<String, JobSeen>,
    /// The hooks that the API server was last asked about, by hash, what it has against them, and until when that holds.
    pub hooks_checked: Option<(String, Result<(), String>, Duration)>,
    /// Addresses for `drain.ignorePeers[].podLabels`.
    pub ignored: BTreeMap<usize, Vec<String>>,
    /// Since when nothing refers to a copy of configuration, by its UID.
    pub unused: BTreeMap<String, Duration>,
    /// Names by address.
    pub peers: BTreeMap<String, Option<String>>,
    /// Failures of reconciling without a success in between.
    pub failures: u32,
    /// When status was last written.
    pub written: Option<Duration>,
    /// A status of which the API server dropped a part, and the version of the object with the rest: written again it would be cut again.
    pub cut: Option<(Value, String)>,
    /// Since when a status waits to be written.
    pub waits: Option<Duration>,
    /// What was told of the drain under way.
    pub told: BTreeSet<String>,
}

impl Remembered {
    /// What the API server has against hooks. What it has may have been cured without a change of the object, and is asked about again.
    pub fn hooks_checked(&self, now: Duration) -> Option<(String, Result<(), String>)> {
        let (hash, answer, until) = self.hooks_checked.as_ref()?;
        (answer.is_ok() || now < *until).then(|| (hash.clone(), answer.clone()))
    }

    /// Notes that a Service's selector had to be put back.
    pub fn repaired(&mut self, service: &str, editor: Option<&str>, now: Duration) {
        let repairs = self.repairs.entry(service.to_owned()).or_insert(Repairs { count: 0, last: now, editor: None });
        repairs.editor = editor.map(str::to_owned);
        repairs.count = if now.saturating_sub(repairs.last) > CALM { 1 } else { repairs.count + 1 };
        repairs.last = now;
    }

    /// Whether the owner of a Service lives, by the last live read. That it does is asked again after a while: it may be one that the
    /// caches can't hold, and whose end they don't tell.
    pub fn owner(&self, uid: &str, now: Duration) -> Option<OwnerState> {
        let (state, asked) = self.owners.get(uid)?;
        (*state == OwnerState::Gone || now.saturating_sub(*asked) < ALIVE).then_some(*state)
    }

    /// How long until that is asked again.
    pub fn owners_again(&self, now: Duration) -> Option<Duration> {
        let alive = self.owners.values().filter(|(state, _)| *state == OwnerState::Alive);
        alive.map(|(_, asked)| (*asked + ALIVE).saturating_sub(now)).filter(|wait| !wait.is_zero()).min()
    }

    /// Repairs that still matter.
    pub fn recent_repairs(&self, now: Duration) -> BTreeMap<String, Repairs> {
        self.repairs
            .iter()
            .filter(|(_, repairs)| now.saturating_sub(repairs.last) <= CALM)
            .map(|(name, repairs)| (name.clone(), repairs.clone()))
            .collect()
    }
}

/// What the agents reported, by pod UID, in the current round only.
#[derive(Debug, Default)]
pub struct Reports {
    samples: HashMap<String, VecDeque<Sample>>,
}

impl Reports {
    /// Takes what a ConnectionWatch says. `heard` is when its sequence last changed.
    /// Only pods that are asked for, in the round that is asked for, count.
    pub fn absorb(&mut self, watch: &ConnectionWatch, heard: Duration, now: Duration) {
        let Some(status) = &watch.status else { return };
        for asked in &watch.spec.pods {
            let samples = self.samples.entry(asked.uid.clone()).or_default();
            samples.retain(|sample| sample.report.round == asked.round);
            let Some(report) = status.pods.iter().find(|report| report.uid == asked.uid && report.round == asked.round) else {
                continue;
            };
            if !possible(report, asked) {
                continue;
            }
            // Another agent process: what was counted before is not comparable.
            if samples.back().is_some_and(|sample| sample.boot_id != status.boot_id) {
                samples.clear();
            }
            match samples.back_mut() {
                Some(last) if last.report == *report => {
                    last.heard = heard;
                    // An unchanged report is still a later observation: it ends a quiet window.
                    if heard > last.received {
                        samples.push_back(Sample {
                            received: heard,
                            boot_id: status.boot_id.clone(),
                            report: report.clone(),
                            stale_after: stale_after(watch),
                            heard,
                        });
                    }
                }
                _ => samples.push_back(Sample {
                    received: heard.min(now),
                    boot_id: status.boot_id.clone(),
                    report: report.clone(),
                    stale_after: stale_after(watch),
                    heard,
                }),
            }
            while samples.len() > SAMPLES {
                samples.pop_front();
            }
        }
    }

    /// Samples of a pod, oldest first.
    pub fn of(&self, pod: &str) -> Vec<Sample> {
        self.samples.get(pod).map(|samples| samples.iter().cloned().collect()).unwrap_or_default()
    }

    /// Forgets pods that are not asked about any more.
    pub fn keep(&mut self, asked: &HashSet<String>) {
        self.samples.retain(|uid, _| asked.contains(uid));
    }
}

/// More than any counter of one pod reaches; sums of so many fit into 64 bits.
const MOST: i64 = 1 << 40;

/// Whether an agent can have counted this. What is left out or below zero would be taken for fewer connections than there are: such a report
/// counts as none, and its pod's connections are unknown.
fn possible(report: &PodReport, asked: &WatchedPod) -> bool {
    let counted = |number: i64| (0..=MOST).contains(&number);
    let ports = report.ports.iter().all(|port| {
        let peers = port.peers.iter().all(|peer| counted(peer.open) && counted(peer.arrivals));
        counted(port.open) && counted(port.arrivals) && peers
    });
    let times = [report.zero_millis, report.oldest_millis].into_iter().flatten().all(counted);
    let complete = asked.ports.iter().all(|port| report.ports.iter().any(|counted| counted.port == *port));
    ports && times && complete && [report.samples, report.passive_opens, report.elsewhere].into_iter().all(counted)
}

/// An agent that has not been heard of for so long is silent: three report intervals.
fn stale_after(watch: &ConnectionWatch) -> i32 {
    watch.spec.report_seconds.max(1).saturating_mul(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ConnectionWatchSpec, ConnectionWatchStatus, PeerReport, PortReport};

    fn watch(boot: &str, sequence: i64, round: i64, asked: i64) -> ConnectionWatch {
        let mut watch = ConnectionWatch::new(
            "node",
            ConnectionWatchSpec { report_seconds: 2, pods: vec![WatchedPod { uid: "p".into(), round: asked, ports: vec![80], ignore: vec![] }] },
        );
        watch.status = Some(ConnectionWatchStatus {
            boot_id: boot.into(),
            sequence,
            pods: vec![report(round, vec![PortReport { port: 80, ..PortReport::default() }])],
        });
        watch
    }

    fn report(round: i64, ports: Vec<PortReport>) -> PodReport {
        PodReport { uid: "p".into(), round, ports, ..PodReport::default() }
    }

    #[test]
    fn a_report_that_no_agent_can_have_made_counts_as_none() {
        let port = |open, arrivals, peers| PortReport { port: 80, open, arrivals, peers };
        let peer = |open, arrivals| vec![PeerReport { address: "10.0.0.1".into(), open, arrivals }];
        let taken = |report: PodReport| {
            let mut watch = watch("a", 1, 1, 1);
            watch.status.as_mut().unwrap().pods = vec![report];
            let mut reports = Reports::default();
            reports.absorb(&watch, at(1), at(1));
            !reports.of("p").is_empty()
        };
        assert!(taken(report(1, vec![port(3, 7, peer(3, 7))])), "the test of the test");
        for bad in [
            // A watched port that is left out is not one without connections.
            report(1, vec![]),
            report(1, vec![PortReport { port: 81, ..PortReport::default() }]),
            // What is below zero would make up for what is open elsewhere.
            report(1, vec![port(5, 0, vec![]), PortReport { port: 81, open: -5, ..PortReport::default() }]),
            report(1, vec![port(0, -1, vec![])]),
            report(1, vec![port(0, 0, peer(-1, 0))]),
            report(1, vec![port(0, 0, peer(0, i64::MIN))]),
            // And what is beyond all measure would overflow where it is added up.
            report(1, vec![port(i64::MAX, 0, vec![])]),
            PodReport { passive_opens: i64::MAX, ..report(1, vec![port(0, 0, vec![])]) },
            PodReport { elsewhere: -1, ..report(1, vec![port(0, 0, vec![])]) },
            PodReport { zero_millis: Some(i64::MAX), ..report(1, vec![port(0, 0, vec![])]) },
            PodReport { oldest_millis: Some(-1), ..report(1, vec![port(0, 0, vec![])]) },
        ] {
            assert!(!taken(bad.clone()), "{bad:?}");
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_report_of_a_former_round_does_not_count() {
        let mut reports = Reports::default();
        reports.absorb(&watch("a", 1, 1, 2), at(1), at(1));
        assert!(reports.of("p").is_empty());
    }

    #[test]
    fn an_agent_that_was_restarted_begins_anew() {
        let mut reports = Reports::default();
        reports.absorb(&watch("a", 1, 1, 1), at(1), at(1));
        reports.absorb(&watch("a", 2, 1, 1), at(3), at(3));
        assert_eq!(reports.of("p").len(), 2);
        reports.absorb(&watch("b", 1, 1, 1), at(4), at(4));
        assert_eq!(reports.of("p").len(), 1);
    }

    #[test]
    fn repairs_are_forgiven_after_a_calm_spell() {
        let mut remembered = Remembered::default();
        remembered.repaired("shop", None, at(0));
        remembered.repaired("shop", None, at(1));
        assert_eq!(remembered.repairs["shop"].count, 2);
        remembered.repaired("shop", None, at(1000));
        assert_eq!(remembered.repairs["shop"].count, 1);
        assert!(remembered.recent_repairs(at(5000)).is_empty());
    }
}
