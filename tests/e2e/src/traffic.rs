//! Load on the cluster: what users see of a release.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use load::child::Child;
use load::report::{Failed, Line, Open, Reason, Summary, Tick};
use tokio::task::block_in_place;

use crate::claim;
use crate::failure::Result;
use crate::wait::{Look, wait_for};
use crate::world::{World, beside};

/// Things said about a case while it runs: measurements, and the loads where it fails.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    /// Says something.
    pub fn say(&self, text: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
    }

    /// All that was said.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running load generator, inside a node's network.
pub struct Load {
    child: Child,
    about: String,
}

impl Load {
    /// Starts `load` with these words in the network of a node.
    pub fn start(world: &World, node: usize, words: &[&str]) -> Result<Self> {
        let program = beside("load")?;
        let argv = std::iter::once(program.as_os_str()).chain(words.iter().map(std::ffi::OsStr::new));
        let command = world.cluster.command_in_node(node, argv)?;
        Ok(Self { child: Child::spawn(command)?, about: words.join(" ") })
    }

    /// Waits until the long connection is in use.
    pub fn open(&self) -> Result<Open> {
        Ok(block_in_place(|| self.child.wait_open(Duration::from_secs(15)))?)
    }

    /// The latest tick.
    pub fn tick(&self) -> Option<Tick> {
        self.child.lines().into_iter().rev().find_map(|line| match line {
            Line::Tick(tick) => Some(tick),
            _ => None,
        })
    }

    /// Good answers of a version in the seconds that lie between two times, in milliseconds since the Unix epoch.
    pub fn answers(&self, version: &str, from_ms: u64, to_ms: u64) -> u64 {
        let lines = self.child.lines();
        let ticks = lines.iter().filter_map(|line| match line {
            Line::Tick(tick) if tick.at_ms.saturating_sub(1000) >= from_ms && tick.at_ms <= to_ms => tick.versions.get(version),
            _ => None,
        });
        ticks.sum()
    }

    /// Failures so far.
    pub fn failures(&self) -> Vec<Failed> {
        self.child.failures()
    }

    /// Waits until at least so many more requests were answered well.
    pub async fn more(&self, answers: u64) -> Result {
        let before = self.tick().map_or(0, |tick| tick.total_ok);
        wait_for(format!("{answers} more good answers to {}", self.about), 30, || async {
            let now = self.tick().map_or(0, |tick| tick.total_ok);
            Ok(if now >= before + answers { Look::Done(()) } else { Look::NotYet(format!("{now} after {before}")) })
        })
        .await
    }

    /// Waits for a second in which this version alone answered.
    pub async fn only(&self, version: &str, seconds: u64) -> Result {
        wait_for(format!("only {version} answers"), seconds, || async {
            let tick = self.tick();
            let alone = tick.as_ref().is_some_and(|tick| tick.versions.keys().eq([version]));
            Ok(if alone { Look::Done(()) } else { Look::NotYet(format!("{tick:?}")) })
        })
        .await
    }

    /// Waits until a long connection was cut: in the middle of an answer, or between two of them.
    pub async fn ends_cut(self, seconds: u64) -> Result {
        let summary = wait_for(format!("the end of {}", self.about), seconds, || async {
            let ended = self.child.lines().into_iter().find_map(|line| if let Line::Summary(summary) = line { Some(summary) } else { None });
            Ok(ended.map_or_else(|| Look::NotYet(format!("{:?}", self.tick())), Look::Done))
        })
        .await?;
        claim!(summary.reason == Reason::Done, "it was not cut: {summary:?}");
        Ok(())
    }

    /// Waits for its own end, and wants it whole and without failures.
    pub fn ends_well(self, seconds: u64) -> Result<Summary> {
        let Self { child, about } = self;
        let summary = block_in_place(|| {
            child.wait_for(Duration::from_secs(seconds), |line| match line {
                Line::Summary(summary) => Some(summary.clone()),
                _ => None,
            })
        })?;
        check(&about, &summary, &child.failures())?;
        // An echo goes on for as long as it was told to; everything else has an end of its own.
        let whole = if summary.mode == "echo" { Reason::Duration } else { Reason::Done };
        claim!(summary.reason == whole, "`{about}` ended because of {:?}", summary.reason);
        Ok(summary)
    }

    /// Ends it.
    pub fn stop(self) -> Result<Summary> {
        Ok(block_in_place(|| self.child.stop())?)
    }

    /// Ends it, and wants no failure.
    pub fn stop_clean(self) -> Result<Summary> {
        let Self { child, about } = self;
        let failures = child.failures();
        let summary = block_in_place(|| child.stop())?;
        check(&about, &summary, &failures)?;
        Ok(summary)
    }
}

/// Wants good answers and not one failure.
fn check(about: &str, summary: &Summary, failures: &[Failed]) -> Result {
    let first: Vec<String> = failures.iter().take(3).map(|failed| format!("{failed:?}")).collect();
    claim!(
        summary.failed == 0,
        "{} of {} requests failed in `{about}`: {:?}; the first: {}",
        summary.failed,
        summary.begun,
        summary.failures,
        first.join(" | ")
    );
    claim!(summary.ok > 0, "`{about}` got no answer at all");
    Ok(())
}
