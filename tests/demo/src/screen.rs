//! What is shown: lines that stay, and on a terminal one last line that is kept up to date.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use cluster::progress::Progress;

use crate::failure::{Result, io};

/// The widest line, so that a terminal of 100 columns need not break it.
pub const WIDTH: usize = 100;

/// What is shown.
#[derive(Debug)]
pub struct Screen {
    begun: Instant,
    terminal: bool,
    colour: bool,
    record: Option<File>,
    live: bool,
    step: String,
}

impl Screen {
    /// A screen, whose lines also go to a file if one is named.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn new(record: Option<&Path>) -> Result<Self> {
        let record = record.map(|path| File::create(path).map_err(io(format!("writing {}", path.display())))).transpose()?;
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Ok(Self { begun: Instant::now(), terminal, colour, record, live: false, step: String::new() })
    }

    /// Times are shown from now on.
    pub fn restart(&mut self) {
        self.begun = Instant::now();
    }

    /// A headline, after an empty line.
    pub fn heading(&mut self, text: &str) {
        self.write("");
        self.styled(text, "1");
    }

    /// A line as it is.
    pub fn line(&mut self, text: &str) {
        self.write(text);
    }

    /// A line with the time before it.
    pub fn at(&mut self, text: &str) {
        let line = self.timed(text);
        self.write(&line);
    }

    /// A line with the time before it that must not be overlooked.
    pub fn important(&mut self, text: &str) {
        let line = self.timed(text);
        self.styled(&line, "1;32");
    }

    /// A line about something that went wrong.
    pub fn bad(&mut self, text: &str) {
        self.styled(text, "1;31");
    }

    /// On a terminal: the last line, until the next one takes its place.
    pub fn live(&mut self, text: &str) {
        if self.terminal {
            let line: String = self.timed(text).chars().take(WIDTH).collect();
            let (on, off) = if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
            self.print(&format!("\r\x1b[2K{on}{line}{off}"));
            self.live = true;
        }
    }

    fn timed(&self, text: &str) -> String {
        format!("{:6.1} s  {text}", self.begun.elapsed().as_secs_f64())
    }

    fn write(&mut self, text: &str) {
        self.styled(text, "");
    }

    fn styled(&mut self, text: &str, style: &str) {
        let clear = if std::mem::take(&mut self.live) { "\r\x1b[2K" } else { "" };
        let text = text.trim_end();
        if self.colour && !style.is_empty() {
            self.print(&format!("{clear}\x1b[{style}m{text}\x1b[0m\n"));
        } else {
            self.print(&format!("{clear}{text}\n"));
        }
        if let Some(record) = &mut self.record {
            // The record is a by-product: without it the demo is still worth watching.
            let _ = writeln!(record, "{text}");
        }
    }

    fn print(&self, text: &str) {
        let mut output = std::io::stdout();
        // Nobody may be reading any more.
        let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    }
}

impl Progress for Screen {
    fn step(&mut self, _number: usize, _of: usize, what: &str) {
        what.clone_into(&mut self.step);
        self.live(what);
    }

    fn detail(&mut self, text: &str) {
        let line = format!("{}: {text}", self.step);
        self.live(&line);
    }
}
