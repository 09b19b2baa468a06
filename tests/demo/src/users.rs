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
        let failures = self.child.failures();
        Ok((block_in_place(|| self.child.stop())?, failures))
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

    fn end(&mut self, how: impl FnOnce(Child) -> std::result::Result<Summary, ChildError>) -> Result<bool> {
        let Some(child) = self.child.take() else {
            return Ok(false);
        };
        let failures = child.failures();
        let summary = block_in_place(|| how(child))?;
        self.ended = Some(Ended { summary, failures });
        Ok(true)
    }

    /// Who answers it: the pod's name, unless its answer has not begun.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.open.pod.as_deref().or_else(|| self.ended.as_ref()?.summary.pods.keys().next().map(String::as_str))
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
        let Some(Ended { summary, failures }) = &self.ended else {
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

    /// When it ended, in milliseconds since the Unix epoch; now if it has not.
    #[must_use]
    pub fn ended_ms(&self) -> u64 {
        self.ended.as_ref().map_or_else(now_ms, |ended| ended.summary.ended_ms)
    }
}

/// Shows what came of it all. Answers whether no request failed and no long connection was cut.
pub fn result(summary: &Summary, failures: &[Failed], long: &[Long], timeline: &Timeline, from: &str, screen: &mut Screen) -> bool {
    let others = || long.iter().filter_map(|one| one.ended.as_ref());
    let answered = summary.ok + others().map(|ended| ended.summary.ok).sum::<u64>();
    let failed = summary.failed + others().map(|ended| ended.summary.failed).sum::<u64>();
    let slowest = Duration::from_micros(summary.latency.max_us).as_secs_f64() * 1000.0;
    screen.line(&format!("  {answered} requests answered, {failed} failed; the slowest short one took {slowest:.0} ms"));
    for failure in failures.iter().take(5) {
        screen.bad(&format!(
            "  failed: {:?} on a {:?} connection, {} {}",
            failure.kind,
            failure.source,
            failure.detail,
            failure.pod.as_deref().unwrap_or("")
        ));
    }
    let switched = timeline.switched_ms().unwrap_or_default();
    for one in long {
        let after = Duration::from_millis(one.ended_ms().saturating_sub(switched)).as_secs_f64();
        let pod = one.pod().unwrap_or(from);
        let text = format!("  {:6} outlived the switch by {after:4.1} s on pod {pod}: {}", one.purpose.name(), one.story());
        if one.was_whole() == Some(true) { screen.line(&text) } else { screen.bad(&text) }
    }
    if let Some(scaled) = timeline.scaled_down_ms() {
        let last = long.iter().map(Long::ended_ms).max().unwrap_or_default();
        let after = Duration::from_millis(scaled.saturating_sub(last)).as_secs_f64();
        screen.line(&format!("  the pods of {from} were ended {after:.1} s after the last of these was over, and not before"));
    }
    failed == 0 && long.iter().all(|one| one.was_whole() == Some(true))
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
