//! Starts the load generator as a process, where it has to run, and reads what it says.

use std::{
    io::{self, BufRead, BufReader},
    process::{self, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::report::{Failed, Line, Open, Summary};

/// How long it may take to end once it was told to: longer than any of its own time limits, unless those were raised.
const END: Duration = Duration::from_secs(90);

/// What went wrong with the process.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It did not start.
    #[error("cannot start the load generator ({command}): {source}; is it built?")]
    Start {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// What was waited for did not come in time.
    #[error("the load generator did not say what was waited for within {within:?}; its last line: {last:?}")]
    Late {
        /// How long it was waited.
        within: Duration,
        /// What it said last.
        last: Option<Box<Line>>,
    },
    /// It ended without a summary, or before what was waited for; its standard error may tell more.
    #[error("the load generator ended early; its last line: {last:?}; not understood: {strange:?}")]
    Ended {
        /// What it said last.
        last: Option<Box<Line>>,
        /// A line that is no report.
        strange: Option<String>,
    },
}

#[derive(Default)]
struct Heard {
    lines: Vec<Line>,
    strange: Option<String>,
    ended: bool,
}

impl Heard {
    fn last(&self) -> Option<Box<Line>> {
        self.lines.last().cloned().map(Box::new)
    }
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running load generator. Dropping it kills it. What it said can be read after its end too: what failed in its last
/// moments is told only then.
pub struct Child {
    process: Mutex<process::Child>,
    input: Mutex<Option<ChildStdin>>,
    shared: Arc<Shared>,
}

impl Child {
    /// Starts a command that ends up being `load` with its arguments (`nsenter ... load run ...`).
    ///
    /// # Errors
    /// If it does not start.
    pub fn spawn(mut command: Command) -> Result<Child, ChildError> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.map_err(|source| ChildError::Start { command: format!("{command:?}"), source })?;
        let shared = Arc::new(Shared::default());
        if let Some(output) = process.stdout.take() {
            let shared = shared.clone();
            thread::spawn(move || listen(BufReader::new(output), &shared));
        }
        let input = Mutex::new(process.stdin.take());
        Ok(Child { process: Mutex::new(process), input, shared })
    }

    /// All it said so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.shared.heard().lines.clone()
    }

    /// The failures it told of so far.
    #[must_use]
    pub fn failures(&self) -> Vec<Failed> {
        let heard = self.shared.heard();
        let failed = heard.lines.iter().filter_map(|line| match line {
            Line::Failed(failed) => Some(failed.clone()),
            _ => None,
        });
        failed.collect()
    }

    /// Waits for a line, among those said before too.
    ///
    /// # Errors
    /// If it does not come in time, or can't come any more.
    pub fn wait_for<T>(&self, within: Duration, mut find: impl FnMut(&Line) -> Option<T>) -> Result<T, ChildError> {
        let deadline = Instant::now() + within;
        let mut heard = self.shared.heard();
        let mut seen = 0;
        loop {
            if let Some(found) = heard.lines.iter().skip(seen).find_map(&mut find) {
                return Ok(found);
            }
            seen = heard.lines.len();
            if heard.ended {
                let strange = heard.strange.clone();
                return Err(ChildError::Ended { last: heard.last(), strange });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ChildError::Late { within, last: heard.last() });
            }
            heard = self.shared.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the long connection is in use.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_open(&self, within: Duration) -> Result<Open, ChildError> {
        self.wait_for(within, |line| match line {
            Line::Open(open) => Some(open.clone()),
            _ => None,
        })
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait(&self, within: Duration) -> Result<Summary, ChildError> {
        let summary = self.wait_for(within, |line| match line {
            Line::Summary(summary) => Some(summary.clone()),
            _ => None,
        });
        if summary.is_ok() {
            // The last line is said; what is left is to exit.
            let _ = self.process.lock().unwrap_or_else(PoisonError::into_inner).wait();
        }
        summary
    }

    /// Tells it to end, and waits for its summary.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn stop(&self) -> Result<Summary, ChildError> {
        drop(self.input.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.wait(END)
    }
}

fn listen(output: impl BufRead, shared: &Shared) {
    for line in output.lines().map_while(Result::ok) {
        let mut heard = shared.heard();
        match Line::parse(&line) {
            Ok(line) => heard.lines.push(line),
            Err(_) => heard.strange = Some(line),
        }
        shared.changed.notify_all();
    }
    shared.heard().ended = true;
    shared.changed.notify_all();
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended is not signalled: std knows it was waited for.
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }
}
