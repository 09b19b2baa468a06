//! What happened, in lines that people can read: when, who, what.

use std::time::Duration;

/// The lines, or nothing where nobody wants them.
#[derive(Debug, Default)]
pub struct Transcript {
    lines: Option<Vec<String>>,
    /// A sum over everything that would be written: equal for equal runs, also where no lines are kept.
    sum: u64,
}

impl Transcript {
    /// Keeps lines only if asked to.
    pub fn new(kept: bool) -> Self {
        Self { lines: kept.then(Vec::new), sum: 0 }
    }

    /// Adds a line.
    pub fn add(&mut self, at: Duration, who: &str, what: impl FnOnce() -> String) {
        for byte in who.bytes().chain(at.as_micros().to_le_bytes()) {
            self.sum = (self.sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3}  {who:<20} {}", at.as_secs_f64(), what()));
        }
    }

    /// Whether lines are kept.
    pub fn kept(&self) -> bool {
        self.lines.is_some()
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// A sum over when and by whom something was done.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}
