//! Takes the samples. Blocking: it runs outside the asynchronous threads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::debug;

use super::count::Unreadable;
use super::pods::{self, PodProcesses};
use super::proc::{Namespace, Proc, ProcError};

/// How often all processes are looked through although every pod is known: a pod may have made another network namespace.
const SCAN_EVERY: Duration = Duration::from_secs(10);

/// How long a pod without processes is not searched again: this, doubled each time, up to [`SCAN_EVERY`].
const SEARCH_AGAIN: Duration = Duration::from_secs(1);

/// One sample of one pod, or why there is none.
#[derive(Debug)]
pub struct Sampled {
    /// The pod's UID.
    pub uid: String,
    /// When taking it began, by the agent's clock.
    pub at: Duration,
    /// The sample.
    pub result: Result<Vec<Namespace>, Unreadable>,
}

/// Knows the processes of the pods.
#[derive(Debug)]
pub struct Sampler {
    proc: Proc,
    start: Instant,
    known: BTreeMap<String, PodProcesses>,
    /// The pods without processes: when to search again, and how long to wait after that.
    absent: BTreeMap<String, (Duration, Duration)>,
    scanned: Option<Duration>,
}

impl Sampler {
    /// Reads below `proc`; times count from `start`.
    pub fn new(proc: Proc, start: Instant) -> Self {
        Self { proc, start, known: BTreeMap::new(), absent: BTreeMap::new(), scanned: None }
    }

    /// Samples the pods `due`, a part of those `watched`.
    pub fn sample(&mut self, due: &[String], watched: &BTreeSet<String>) -> Vec<Sampled> {
        let now = self.start.elapsed();
        self.known.retain(|uid, _| watched.contains(uid));
        self.absent.retain(|uid, _| watched.contains(uid));
        let search = due.iter().any(|uid| !self.known.contains_key(uid) && self.absent.get(uid).is_none_or(|(again, _)| *again <= now));
        let mut scan_failed = false;
        if search || self.scanned.is_none_or(|scanned| now.saturating_sub(scanned) >= SCAN_EVERY) {
            scan_failed = !self.scan(watched);
        }
        let mut sampled = Vec::with_capacity(due.len());
        let mut again = Vec::new();
        for uid in due {
            match self.sample_one(uid, scan_failed) {
                Ok(sample) => sampled.push(sample),
                Err(Ended) => again.push(uid),
            }
        }
        if !again.is_empty() {
            let scan_failed = !self.scan(watched);
            for uid in again {
                let at = self.start.elapsed();
                // Two processes ending between a search and the reading right after it: the next sample will do better.
                let failed = || Sampled { uid: uid.clone(), at, result: Err(Unreadable::ReadFailed) };
                sampled.push(self.sample_one(uid, scan_failed).unwrap_or_else(|Ended| failed()));
            }
        }
        sampled
    }

    fn sample_one(&self, uid: &str, scan_failed: bool) -> Result<Sampled, Ended> {
        let at = self.start.elapsed();
        let result = match self.known.get(uid) {
            None if scan_failed => Err(Unreadable::ReadFailed),
            None => Err(Unreadable::NoProcess),
            Some(processes) => match processes.sample(&self.proc) {
                Ok(namespaces) => Ok(namespaces),
                Err(ProcError::Ended) => return Err(Ended),
                Err(error) => {
                    debug!(pod = uid, %error, "no sample");
                    Err(Unreadable::ReadFailed)
                }
            },
        };
        Ok(Sampled { uid: uid.to_owned(), at, result })
    }

    /// Looks through all processes; false if that failed, and then nothing known is given up.
    fn scan(&mut self, watched: &BTreeSet<String>) -> bool {
        let now = self.start.elapsed();
        match pods::scan(&self.proc, watched) {
            Ok(found) => {
                self.scanned = Some(now);
                for uid in watched {
                    if found.contains_key(uid) {
                        self.absent.remove(uid);
                    } else {
                        let (_, wait) = self.absent.get(uid).copied().unwrap_or((now, SEARCH_AGAIN));
                        self.absent.insert(uid.clone(), (now + wait, SCAN_EVERY.min(wait * 2)));
                    }
                }
                self.known = found;
                true
            }
            Err(error) => {
                debug!(%error, "cannot list processes");
                false
            }
        }
    }
}

/// A process of the pod ended: the pod's processes must be searched again.
struct Ended;

#[cfg(test)]
#[path = "tests/sampler.rs"]
mod tests;
