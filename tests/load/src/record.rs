//! Counts what happens, and tells of it.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    client::Fault,
    histogram::Histogram,
    report::{Bytes, Connections, Counts, FAILURES_SHOWN, Failed, Kind, Line, Open, Reason, Seen, Source, Summary, Tick, now_ms},
};

/// Who answered, as its headers or lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// `x-version`.
    pub version: Option<String>,
    /// `x-pod`.
    pub pod: Option<String>,
}

/// Counts what happens; shared by everything that sends.
pub struct Recorder {
    mode: &'static str,
    target: String,
    started_ms: u64,
    counted: Mutex<Counted>,
    output: Mutex<Box<dyn Write + Send>>,
    /// Becomes true when the output can't be written any more.
    deaf: watch::Sender<bool>,
}

#[derive(Default)]
struct Counted {
    begun: u64,
    ok: u64,
    failures: BTreeMap<Kind, u64>,
    skipped: u64,
    sources: BTreeMap<Source, Counts>,
    versions: BTreeMap<String, Seen>,
    pods: BTreeMap<String, Seen>,
    connections: Connections,
    open: u64,
    last_ok: Option<Instant>,
    longest_gap: Duration,
    latency: Histogram,
    bytes: Bytes,
    tick: Counts,
    tick_versions: BTreeMap<String, u64>,
}

impl Counted {
    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// A request under way. It ends as an answer or as a failure, and is counted as one of them.
#[must_use]
#[derive(Debug)]
pub struct Begun {
    source: Source,
    at: Instant,
}

impl Recorder {
    /// Nothing counted yet; lines go to `output`.
    #[must_use]
    pub fn new(mode: &'static str, target: String, output: Box<dyn Write + Send>) -> Recorder {
        Recorder { mode, target, started_ms: now_ms(), counted: Mutex::default(), output: Mutex::new(output), deaf: watch::Sender::new(false) }
    }

    /// Becomes true when nobody reads the output any more.
    pub fn deaf(&self) -> watch::Receiver<bool> {
        self.deaf.subscribe()
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &Line) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_string(line).map_err(Into::into).and_then(|text| writeln!(output, "{text}")).and_then(|()| output.flush());
        if written.is_err() {
            self.deaf.send_replace(true);
        }
    }

    /// A request begins.
    pub fn begin(&self, source: Source) -> Begun {
        self.counted().begun += 1;
        Begun { source, at: Instant::now() }
    }

    /// It was answered well.
    pub fn ok(&self, begun: Begun, who: &Who) {
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut counted = self.counted();
        let counted = &mut *counted;
        counted.ok += 1;
        counted.tick.ok += 1;
        counted.sources.entry(begun.source).or_default().ok += 1;
        counted.latency.add(now.duration_since(begun.at));
        if let Some(last) = counted.last_ok.replace(now) {
            counted.longest_gap = counted.longest_gap.max(now.duration_since(last));
        }
        if let Some(version) = &who.version {
            *counted.tick_versions.entry(version.clone()).or_default() += 1;
            see(&mut counted.versions, version, now_ms);
        }
        if let Some(pod) = &who.pod {
            see(&mut counted.pods, pod, now_ms);
        }
    }

    /// It failed.
    pub fn failed(&self, begun: Begun, fault: Fault, who: &Who) {
        let Fault { kind, detail } = fault;
        let total = {
            let mut counted = self.counted();
            *counted.failures.entry(kind).or_default() += 1;
            counted.tick.failed += 1;
            counted.sources.entry(begun.source).or_default().failed += 1;
            counted.failed()
        };
        if total <= FAILURES_SHOWN {
            self.say(&Line::Failed(Failed {
                at_ms: now_ms(),
                source: begun.source,
                kind,
                detail,
                after_ms: u64::try_from(begun.at.elapsed().as_millis()).unwrap_or(u64::MAX),
                version: who.version.clone(),
                pod: who.pod.clone(),
            }));
        }
    }

    /// It was due, but too many were under way.
    pub fn skipped(&self) {
        self.counted().skipped += 1;
    }

    /// Notes something about connections.
    pub fn connection(&self, note: impl FnOnce(&mut Connections)) {
        note(&mut self.counted().connections);
    }

    /// A connection is open until the value is dropped.
    pub fn opened(&self) -> Opened<'_> {
        let mut counted = self.counted();
        counted.connections.opened += 1;
        counted.open += 1;
        Opened { recorder: self }
    }

    /// Bytes of bodies and lines.
    pub fn bytes(&self, sent: usize, received: usize) {
        let mut counted = self.counted();
        counted.bytes.sent += u64::try_from(sent).unwrap_or(u64::MAX);
        counted.bytes.received += u64::try_from(received).unwrap_or(u64::MAX);
    }

    /// Says that a long-lived connection is in use.
    pub fn say_open(&self, local: String, who: &Who) {
        self.say(&Line::Open(Open { at_ms: now_ms(), local, version: who.version.clone(), pod: who.pod.clone() }));
    }

    /// Says what happened since the last tick.
    pub fn say_tick(&self) {
        let tick = {
            let mut counted = self.counted();
            let Counts { ok, failed } = std::mem::take(&mut counted.tick);
            Tick {
                at_ms: now_ms(),
                ok,
                failed,
                versions: std::mem::take(&mut counted.tick_versions),
                total_ok: counted.ok,
                total_failed: counted.failed(),
                open: counted.open,
                bytes: counted.bytes,
            }
        };
        self.say(&Line::Tick(tick));
    }

    /// Says the last line, and returns it.
    pub fn say_summary(&self, reason: Reason) -> Summary {
        let summary = {
            let counted = self.counted();
            Summary {
                mode: self.mode.to_owned(),
                target: self.target.clone(),
                started_ms: self.started_ms,
                ended_ms: now_ms(),
                reason,
                begun: counted.begun,
                ok: counted.ok,
                failed: counted.failed(),
                failures: counted.failures.clone(),
                skipped: counted.skipped,
                sources: counted.sources.clone(),
                versions: counted.versions.clone(),
                pods: counted.pods.clone(),
                connections: counted.connections,
                longest_gap_ms: u64::try_from(counted.longest_gap.as_millis()).unwrap_or(u64::MAX),
                latency: counted.latency.latency(),
                bytes: counted.bytes,
            }
        };
        self.say(&Line::Summary(summary.clone()));
        summary
    }
}

fn see(seen: &mut BTreeMap<String, Seen>, name: &str, now_ms: u64) {
    let seen = seen.entry(name.to_owned()).or_insert_with(|| Seen { answers: 0, first_ms: now_ms, last_ms: now_ms });
    seen.answers += 1;
    seen.last_ms = now_ms;
}

/// A connection that is open.
pub struct Opened<'a> {
    recorder: &'a Recorder,
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.recorder.counted().open -= 1;
    }
}
