//! Users of the sample app: short requests all the time, and a few long connections.

use std::time::Duration;

use load::child::{Child, ChildError};
use load::report::{Failed, Line, Open, Reason, Summary, Tick, now_ms};
use tokio::task::block_in_place;

use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::screen::Screen;
use crate::timeline::Timeline;

/// How long a connection may take to be in use.
const OPENED_WITHIN: Duration = Duration::from_secs(20);

/// A running load generator for short requests.
pub struct Short {
    child: Child,
    told: usize,
}

impl Short {
    /// New connections at a rate, and eight kept ones that retire after 5 s. Returns when the first second is over.
    ///
    /// # Errors
    /// If it does not start, or nothing is answered.
    pub fn begin(place: &Place, address: &str, rate: u32) -> Result<Self> {
        let (target, rate) = (format!("http://{address}/"), rate.to_string());
        let words = ["run", "--target", &target, "--rate", &rate, "--keepalive", "8", "--retire-after", "5s"];
        let child = Child::spawn(place.load(&words)?)?;
        block_in_place(|| child.wait_for(OPENED_WITHIN, |line| matches!(line, Line::Tick(_)).then_some(())))?;
        Ok(Self { child, told: 0 })
    }

    /// The reports of seconds that were not returned before.
    pub fn ticks(&mut self) -> Vec<Tick> {
        let lines = self.child.lines();
        let new = lines.iter().skip(self.told).filter_map(|line| match line {
            Line::Tick(tick) => Some(tick.clone()),
            _ => None,
        });
        let ticks = new.collect();
        self.told = lines.len();
        ticks
    }

    /// Ends it; also returns the failures it told of.
    ///
    /// # Errors
    /// If it ended badly.
    pub fn stop(self) -> Result<(Summary, Vec<Failed>)> {
        let summary = block_in_place(|| self.child.stop())?;
        Ok((summary, self.child.failures()))
    }
}

/// What a long connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A slow upload, in seconds.
    Upload(u64),
    /// A slow answer, in seconds.
    Stream(u64),
    /// Lines back and forth, as with a websocket, until it is stopped.
    Echo,
}

impl Purpose {
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upload(_) => "upload",
            Self::Stream(_) => "stream",
            Self::Echo => "echo",
        }
    }

    /// For people.
    #[must_use]
    pub fn about(self) -> String {
        match self {
            Self::Upload(seconds) => format!("an upload of {seconds} s"),
            Self::Stream(seconds) => format!("a streamed answer of {seconds} s"),
            Self::Echo => "an echo, ten lines a second as on a websocket".into(),
        }
    }
}

/// How a long connection ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// All that was counted.
    pub summary: Summary,
    /// Its failures.
    pub failures: Vec<Failed>,
    /// When that was heard here, in milliseconds since the Unix epoch. What else is seen of a release is seen by this clock;
    /// the load generator may run on another machine.
    pub heard_ms: u64,
}

/// A long connection.
pub struct Long {
    /// What it is for.
    pub purpose: Purpose,
    /// Who answers it.
    pub open: Open,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
    child: Option<Child>,
}

impl Long {
    /// Begins long connections, and returns when all are in use. HTTP goes to `http`, the echo to `echo`.
    ///
    /// # Errors
    /// If one does not come about.
    pub fn begin(place: &Place, http: &str, echo: &str, purposes: &[Purpose]) -> Result<Vec<Self>> {
        let mut children = vec![];
        for purpose in purposes {
            let (mode, target, more) = match purpose {
                Purpose::Upload(seconds) => ("upload", format!("http://{http}/upload"), vec!["--seconds".to_owned(), seconds.to_string()]),
                Purpose::Stream(seconds) => ("stream", format!("http://{http}/stream?seconds={seconds}"), vec![]),
                Purpose::Echo => ("echo", format!("tcp://{echo}"), vec![]),
            };
            let words: Vec<&str> = [mode, "--target", &target].into_iter().chain(more.iter().map(String::as_str)).collect();
            children.push((*purpose, Child::spawn(place.load(&words)?)?));
        }
        let wait = |(purpose, child): (Purpose, Child)| -> Result<Self> {
            let open = child.wait_open(OPENED_WITHIN)?;
            Ok(Self { purpose, open, ended: None, child: Some(child) })
        };
        block_in_place(|| children.into_iter().map(wait).collect())
    }

    /// Returns when both addresses answer. Right after a first install a node's kube-proxy may not know the pods yet, and refuses.
    ///
    /// # Errors
    /// If they do not answer in time.
    pub async fn reachable(place: &Place, http: &str, echo: &str) -> Result {
        let deadline = tokio::time::Instant::now() + OPENED_WITHIN;
        loop {
            match Self::begin(place, http, echo, &[Purpose::Stream(1), Purpose::Echo]) {
                Ok(long) => return long.into_iter().try_for_each(|mut one| one.stop().map(drop)),
                Err(Failure::Load(ChildError::Ended { .. })) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks whether it has ended by itself just now.
    ///
    /// # Errors
    /// If the load generator ended without a word.
    pub fn look(&mut self) -> Result<bool> {
        let Some(child) = &self.child else {
            return Ok(false);
        };
        if !child.lines().iter().any(|line| matches!(line, Line::Summary(_))) {
            return Ok(false);
        }
        self.end(|child| child.wait(Duration::from_secs(5)))
    }

    /// Ends it, if it has not ended.
    ///
    /// # Errors
    /// If the load generator ended without a word.
    pub fn stop(&mut self) -> Result<bool> {
        self.end(Child::stop)
    }

    fn end(&mut self, how: impl FnOnce(&Child) -> std::result::Result<Summary, ChildError>) -> Result<bool> {
        let Some(child) = self.child.take() else {
            return Ok(false);
        };
        let summary = block_in_place(|| how(&child))?;
        self.ended = Some(Ended { summary, failures: child.failures(), heard_ms: now_ms() });
        Ok(true)
    }

    /// Who answers it: the pod's name, unless its answer has not begun.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.open.pod.as_deref().or_else(|| self.ended.as_ref()?.summary.pods.keys().next().map(String::as_str))
    }

    /// The version that answered it, as far as that is known.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.open.version.as_deref().or_else(|| self.ended.as_ref()?.summary.versions.keys().next().map(String::as_str))
    }

    /// Whether it was whole; none while it goes on.
    #[must_use]
    pub fn was_whole(&self) -> Option<bool> {
        let Ended { summary, .. } = self.ended.as_ref()?;
        let done = summary.reason == Reason::Done || self.purpose == Purpose::Echo;
        Some(done && summary.failed == 0 && summary.ok > 0)
    }

    /// How it ended, for people.
    #[must_use]
    pub fn story(&self) -> String {
        let Some(Ended { summary, failures, heard_ms: _ }) = &self.ended else {
            return "goes on".into();
        };
        if self.was_whole() == Some(true) {
            return match self.purpose {
                Purpose::Upload(_) => format!("all {} bytes confirmed", summary.bytes.sent),
                Purpose::Stream(_) => format!("all {} bytes read", summary.bytes.received),
                Purpose::Echo => format!("all {} lines echoed", summary.ok),
            };
        }
        let kind = failures.first().map_or_else(|| "not complete".to_owned(), |failed| format!("{:?}: {}", failed.kind, failed.detail));
        format!("CUT ({kind})")
    }

    /// When its end was heard of, in milliseconds since the Unix epoch; now if it goes on.
    #[must_use]
    pub fn ended_ms(&self) -> u64 {
        self.ended.as_ref().map_or_else(now_ms, |ended| ended.heard_ms)
    }

    /// What it shows about a switch from version `from`: how long it outlived it, whole; otherwise why it shows nothing good.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn outlived(&self, from: &str, switched_ms: Option<u64>) -> std::result::Result<Duration, String> {
        if self.was_whole() != Some(true) {
            return Err(self.story());
        }
        if let Some(version) = self.version().filter(|version| *version != from) {
            return Err(format!("was answered by {version}: it began too late to show anything"));
        }
        switched_ms
            .and_then(|at| self.ended_ms().checked_sub(at))
            .map(Duration::from_millis)
            .ok_or_else(|| "ended before the switch: it shows nothing".into())
    }
}

/// Shows what came of it all. Answers whether no request failed, every long connection outlived the switch whole, and no old
/// pod was ended before the last of them was over. `before` are long connections that were over before the switch.
pub fn result(short: &(Summary, Vec<Failed>), before: &[Long], long: &[Long], timeline: &Timeline, from: &str, screen: &mut Screen) -> bool {
    let (summary, failures) = short;
    let others = || before.iter().chain(long).filter_map(|one| one.ended.as_ref());
    let answered = summary.ok + others().map(|ended| ended.summary.ok).sum::<u64>();
    let failed = summary.failed + others().map(|ended| ended.summary.failed).sum::<u64>();
    let slowest = Duration::from_micros(summary.latency.max_us).as_secs_f64() * 1000.0;
    let text = format!("  {answered} requests answered, {failed} failed; the slowest short one took {slowest:.0} ms");
    let mut good = failed == 0;
    if good {
        screen.line(&text)
    } else {
        screen.bad(&text)
    }
    for failure in failures.iter().take(5) {
        let pod = failure.pod.as_deref().unwrap_or("");
        screen.bad(&format!("  failed: {:?} on a {:?} connection, {} {pod}", failure.kind, failure.source, failure.detail));
    }
    for one in before.iter().filter(|one| one.was_whole() != Some(true)) {
        good = false;
        screen.bad(&format!("  {:6} before the switch: {}", one.purpose.name(), one.story()));
    }
    for one in long {
        let (name, pod) = (one.purpose.name(), one.pod().unwrap_or(from));
        match one.outlived(from, timeline.switched_ms()) {
            Ok(after) => screen.line(&format!("  {name:6} outlived the switch by {:4.1} s on pod {pod}: {}", after.as_secs_f64(), one.story())),
            Err(reason) => {
                good = false;
                screen.bad(&format!("  {name:6} on pod {pod} {reason}"));
            }
        }
    }
    let last = long.iter().map(Long::ended_ms).max().unwrap_or_default();
    let seconds = |from: u64, to: u64| Duration::from_millis(to.saturating_sub(from)).as_secs_f64();
    match timeline.scaled_down_ms() {
        Some(scaled) if scaled >= last => {
            screen.line(&format!("  the pods of {from} were ended {:.1} s after the last of these was over, and not before", seconds(last, scaled)));
        }
        Some(scaled) => {
            good = false;
            screen.bad(&format!("  the pods of {from} were ended {:.1} s BEFORE the last of these was over", seconds(scaled, last)));
        }
        None => {
            good = false;
            screen.bad(&format!("  nobody saw the pods of {from} being ended"));
        }
    }
    good
}

/// Who answers, second by second: says only what changed, and every five seconds that nothing did.
#[derive(Debug, Default)]
pub struct Shares {
    shown: Vec<String>,
    since: u32,
}

impl Shares {
    /// What to show of a second, and whether it is worth a line that stays.
    pub fn of(&mut self, tick: &Tick) -> (String, bool) {
        let all: u64 = tick.versions.values().sum();
        let shares: Vec<String> = tick.versions.iter().map(|(version, count)| format!("{version} {:3.0} %", percent(*count, all))).collect();
        let text = format!("users: {} answers in the last second, {}; {} failed", tick.ok, shares.join(", "), tick.total_failed);
        let names: Vec<String> = tick.versions.keys().cloned().collect();
        self.since += 1;
        let stays = names != self.shown || self.since >= 5 || tick.failed > 0;
        if stays {
            (self.shown, self.since) = (names, 0);
        }
        (text, stays)
    }
}

fn percent(part: u64, all: u64) -> f64 {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    100.0 * number(part) / number(all).max(1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use load::report::Bytes;

    fn tick(versions: &[(&str, u64)], failed: u64) -> Tick {
        let versions = versions.iter().map(|(version, count)| ((*version).to_owned(), *count)).collect();
        Tick { at_ms: 0, ok: 100, failed, versions, total_ok: 0, total_failed: failed, open: 0, bytes: Bytes::default() }
    }

    /// A long connection to v1 that ended at a time, in milliseconds.
    fn ended(purpose: Purpose, version: &str, reason: Reason, heard_ms: u64) -> Long {
        let seen = load::report::Seen { answers: 1, first_ms: 0, last_ms: 0 };
        let summary = Summary {
            mode: "stream".into(),
            target: String::new(),
            started_ms: 0,
            // Another machine's clock.
            ended_ms: 1,
            reason,
            begun: 1,
            ok: 1,
            failed: 0,
            failures: [].into(),
            skipped: 0,
            sources: [].into(),
            versions: [(version.to_owned(), seen)].into(),
            pods: [].into(),
            connections: load::report::Connections::default(),
            longest_gap_ms: 0,
            latency: load::report::Latency::default(),
            bytes: Bytes::default(),
        };
        let open = Open { at_ms: 0, local: String::new(), version: None, pod: None };
        Long { purpose, open, ended: Some(Ended { summary, failures: vec![], heard_ms }), child: None }
    }

    #[test]
    fn only_what_outlived_the_switch_whole_and_on_the_old_version_shows_something() {
        let stream = |version, reason, heard_ms| ended(Purpose::Stream(25), version, reason, heard_ms);
        assert_eq!(stream("v1", Reason::Done, 5000).outlived("v1", Some(3000)), Ok(Duration::from_secs(2)));
        assert!(stream("v1", Reason::Done, 2999).outlived("v1", Some(3000)).unwrap_err().contains("before the switch"));
        assert!(stream("v1", Reason::Done, 5000).outlived("v1", None).is_err());
        assert!(stream("v2", Reason::Done, 5000).outlived("v1", Some(3000)).unwrap_err().contains("answered by v2"));
        assert!(stream("v1", Reason::Closed, 5000).outlived("v1", Some(3000)).unwrap_err().contains("CUT"));
        assert!(ended(Purpose::Echo, "v1", Reason::Closed, 5000).outlived("v1", Some(3000)).is_ok());
    }

    #[test]
    fn only_changes_are_worth_a_line() {
        let mut shares = Shares::default();
        let one = tick(&[("v1", 100)], 0);
        let stays: Vec<bool> = (0..7).map(|_| shares.of(&one).1).collect();
        assert_eq!(stays, [true, false, false, false, false, true, false]);
        let (text, stays) = shares.of(&tick(&[("v1", 25), ("v2", 75)], 0));
        assert_eq!((text.as_str(), stays), ("users: 100 answers in the last second, v1  25 %, v2  75 %; 0 failed", true));
        assert!(shares.of(&tick(&[("v2", 100)], 0)).1);
        assert!(!shares.of(&tick(&[("v2", 100)], 0)).1);
        assert!(shares.of(&tick(&[("v2", 100)], 1)).1, "a failure is never left out");
    }
}
