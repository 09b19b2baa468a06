//! The loop: takes what is asked, samples when it is time, reports when it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tracing::{debug, info, warn};

use super::count::{Counter, Unreadable};
use super::health::Pulse;
use super::proc::Proc;
use super::report::{self, Allowance, Told};
use super::sampler::{Sampled, Sampler};
use super::watch::{Asked, NodeWatch, ReportError};
use crate::api::{ConnectionWatchStatus, PodReport};

/// Time between two samples of a pod.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// The same while many connections come in, of which short ones would be missed.
const SAMPLE_BUSY_EVERY: Duration = Duration::from_millis(200);

/// Sampling may take one part in this of a processor; with many pods the samples come less often then.
const SHARE: u32 = 5;

/// But never less often than this.
const SAMPLE_AT_LEAST: Duration = Duration::from_secs(2);

/// Pods due within this are sampled together.
const TOGETHER: Duration = Duration::from_millis(50);

/// How often the loop turns while nothing is to be counted.
const IDLE: Duration = Duration::from_secs(5);

/// Everything the loop knows.
pub struct Agent {
    node: NodeWatch,
    proc: Proc,
    pulse: Pulse,
    start: Instant,
    object: Option<String>,
    report_seconds: i32,
    pods: BTreeMap<String, Pod>,
    reports: Reports,
}

/// Whether the `ConnectionWatch` is still the one that was reported to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Object {
    Same,
    Another,
}

struct Pod {
    counter: Counter,
    due: Duration,
}

/// What has been reported, and when the next report may go out.
struct Reports {
    boot_id: String,
    sequence: i64,
    told: Told,
    allowance: Allowance,
    last: Duration,
    heartbeat: Duration,
    failures: u32,
    not_before: Duration,
    trouble: Option<String>,
}

/// A report on its way, and what it says.
struct UnderWay {
    sending: Pin<Box<dyn Future<Output = Result<(), ReportError>> + Send>>,
    pods: Vec<PodReport>,
    since: Duration,
}

impl Agent {
    /// An agent that reads below `proc` and whose clock began at `start`.
    pub fn new(node: NodeWatch, proc: Proc, pulse: Pulse, start: Instant) -> Self {
        let reports = Reports {
            // A 128 bit name; the standard library seeds its hashers from the system's randomness.
            boot_id: format!("{:016x}{:016x}", random(), random()),
            sequence: 0,
            told: Told::default(),
            allowance: Allowance::new(),
            last: Duration::ZERO,
            heartbeat: Duration::ZERO,
            failures: 0,
            not_before: Duration::ZERO,
            trouble: None,
        };
        Self { node, proc, pulse, start, object: None, report_seconds: 0, pods: BTreeMap::new(), reports }
    }

    /// Works until dropped.
    pub async fn run(mut self) {
        let mut asked = pin!(self.node.asked());
        let mut sampler = Sampler::new(self.proc.clone(), self.start);
        let mut under_way: Option<UnderWay> = None;
        loop {
            self.pulse.beat();
            let now = self.start.elapsed();
            let wait = self.pods.values().map(|pod| pod.due).min().map_or(IDLE, |due| due.saturating_sub(now));
            tokio::select! {
                Some(asked) = asked.next() => {
                    if self.take(asked) == Object::Another {
                        under_way = None;
                    }
                    continue;
                }
                result = sent(&mut under_way) => {
                    if let Some(UnderWay { sending: _, pods, since }) = under_way.take() {
                        self.reports.sent(result, &pods, since, self.start.elapsed(), self.report_seconds);
                    }
                    continue;
                }
                () = tokio::time::sleep(wait) => {}
            }
            if self.pods.is_empty() {
                continue;
            }
            sampler = self.sample(sampler).await;
            if under_way.is_none() {
                under_way = self.report();
            }
        }
    }

    /// Follows a change of what is asked. Counters go on for a pod of which nothing changed.
    fn take(&mut self, asked: Asked) -> Object {
        let object = asked.as_ref().map(|task| task.object.clone());
        let same = if object == self.object { Object::Same } else { Object::Another };
        if same == Object::Another {
            // An object made anew knows nothing of what was told to the one before.
            self.pods.clear();
            self.reports.told = Told::default();
            self.reports.failures = 0;
            self.reports.not_before = Duration::ZERO;
            info!(pods = asked.as_ref().map_or(0, |task| task.spec.pods.len()), "what to count has changed");
            self.object = object;
        }
        let Some(task) = asked else { return same };
        self.report_seconds = task.spec.report_seconds;
        let now = self.start.elapsed();
        let mut before = std::mem::take(&mut self.pods);
        for spec in task.spec.pods {
            let pod = match before.remove(&spec.uid) {
                Some(pod) if *pod.counter.spec() == spec => pod,
                Some(pod) => Pod { counter: pod.counter.next_round(spec.clone()), due: now },
                None => Pod { counter: Counter::new(spec.clone()), due: now },
            };
            self.pods.insert(spec.uid, pod);
        }
        same
    }

    /// Samples the pods that are due.
    async fn sample(&mut self, mut sampler: Sampler) -> Sampler {
        let begin = self.start.elapsed();
        let watched: BTreeSet<String> = self.pods.keys().cloned().collect();
        let due: Vec<String> = self.pods.iter().filter(|(_, pod)| pod.due <= begin + TOGETHER).map(|(uid, _)| uid.clone()).collect();
        let work = tokio::task::spawn_blocking(move || {
            let sampled = sampler.sample(&due, &watched);
            (sampler, sampled)
        });
        let Ok((sampler, sampled)) = work.await else {
            // Only a bug in the sampler gets here. All counts of this round of the loop are unknown, not zero.
            warn!("a sample was lost to an internal error; please report it");
            for pod in self.pods.values_mut() {
                pod.counter.failed(Unreadable::ReadFailed);
                pod.due = begin + SAMPLE_EVERY;
            }
            return Sampler::new(self.proc.clone(), self.start);
        };
        let took = self.start.elapsed().saturating_sub(begin);
        let pause = (took * SHARE).min(SAMPLE_AT_LEAST);
        for Sampled { uid, at, result } in sampled {
            let Some(pod) = self.pods.get_mut(&uid) else {
                continue;
            };
            let before = pod.counter.unreadable();
            match result {
                Ok(namespaces) => pod.counter.add(at, &namespaces),
                Err(why) => pod.counter.failed(why),
            }
            let every = if pod.counter.is_busy() { SAMPLE_BUSY_EVERY } else { SAMPLE_EVERY };
            pod.due = begin + every.max(pause);
            match pod.counter.unreadable() {
                now if now == before => {}
                Some(why) => warn!(pod = uid, why = why.as_str(), "the pod's connections cannot be counted"),
                None => info!(pod = uid, "the pod's connections can be counted again"),
            }
        }
        sampler
    }

    /// Sends a report if one is due.
    fn report(&mut self) -> Option<UnderWay> {
        let now = self.start.elapsed();
        let pods: Vec<PodReport> = self.pods.values().filter_map(|pod| pod.counter.report()).collect();
        let object = self.object.clone()?;
        let status = self.reports.next(&pods, now)?;
        Some(UnderWay { sending: Box::pin(self.node.clone().report(object, status)), pods, since: now })
    }
}

impl Reports {
    /// The report to send now, if one is due.
    fn next(&mut self, pods: &[PodReport], now: Duration) -> Option<ConnectionWatchStatus> {
        let why = self.told.decide(pods, now.saturating_sub(self.last), self.heartbeat)?;
        if now < self.not_before || !self.allowance.take(why, now) {
            return None;
        }
        self.sequence += 1;
        debug!(?why, sequence = self.sequence, "report");
        Some(ConnectionWatchStatus { boot_id: self.boot_id.clone(), sequence: self.sequence, pods: pods.to_vec() })
    }

    /// Takes note of what became of a report made at `since`.
    fn sent(&mut self, result: Result<(), ReportError>, pods: &[PodReport], since: Duration, now: Duration, report_seconds: i32) {
        match result {
            Ok(()) => {
                self.told.told(pods);
                self.last = since;
                self.heartbeat = report::heartbeat(report_seconds, random());
                self.failures = 0;
                if self.trouble.take().is_some() {
                    info!("reports are written again");
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.not_before = now + report::back_off(self.failures, report_seconds, random());
                // The watch says so too, in a moment.
                if matches!(error, ReportError::Gone) {
                    debug!("{error}");
                    return;
                }
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    warn!("{error}");
                    self.trouble = Some(error);
                }
            }
        }
    }
}

/// The end of the report under way; waits for ever if there is none.
async fn sent(under_way: &mut Option<UnderWay>) -> Result<(), ReportError> {
    match under_way {
        Some(UnderWay { sending, .. }) => sending.await,
        None => std::future::pending().await,
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
#[path = "tests/agent.rs"]
mod tests;
