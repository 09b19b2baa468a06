//! How `build` and `up` tell what they are at.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Is told what happens, as it happens.
pub trait Progress {
    /// Step `number` of `of` begins.
    fn step(&mut self, number: usize, of: usize, what: &str);
    /// How far the current step is; replaces what was said before about it.
    fn detail(&mut self, text: &str);
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&mut self, _number: usize, _of: usize, _what: &str) {}
    fn detail(&mut self, _text: &str) {}
}

/// Writes to standard error: on a terminal the current step's line is kept up to date, elsewhere a line is written
/// at the beginning of a step and then every ten seconds, so that a log shows that it is alive and stays short.
#[derive(Debug)]
pub struct Console {
    begun: Instant,
    head: String,
    written: Instant,
    terminal: bool,
}

const LOG_EVERY: Duration = Duration::from_secs(10);
const REDRAW_EVERY: Duration = Duration::from_millis(200);

impl Default for Console {
    fn default() -> Self {
        Self { begun: Instant::now(), head: String::new(), written: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }
}

impl Console {
    fn write(&mut self, detail: &str) {
        let elapsed = self.begun.elapsed().as_secs_f64();
        let gap = if detail.is_empty() { "" } else { ": " };
        // Back to the line's beginning and clear it: the same line again, or the next one after a step's newline.
        let (start, end) = if self.terminal { ("\r\x1b[2K", "") } else { ("", "\n") };
        // Progress that can't be written is no reason to fail.
        let _ = write!(std::io::stderr(), "{start}[{elapsed:6.1} s] {}{gap}{detail}{end}", self.head);
        self.written = Instant::now();
    }
}

impl Progress for Console {
    fn step(&mut self, number: usize, of: usize, what: &str) {
        if self.terminal && !self.head.is_empty() {
            let _ = writeln!(std::io::stderr());
        }
        self.head = format!("{number}/{of} {what}");
        self.write("");
    }

    fn detail(&mut self, text: &str) {
        let every = if self.terminal { REDRAW_EVERY } else { LOG_EVERY };
        if self.written.elapsed() >= every {
            self.write(text);
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if self.terminal && !self.head.is_empty() {
            let _ = writeln!(std::io::stderr());
        }
    }
}
