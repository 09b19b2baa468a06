//! Where output goes.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::args::Format;
use crate::failure::Result;
use crate::text::Page;

/// Columns where nobody says how many there are.
const COLUMNS: usize = 80;
/// More make lines that nobody likes to read.
const WIDEST: usize = 120;

/// Where output goes.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Whether somebody looks at it.
    pub live: bool,
    /// Whether it gets colours.
    pub colour: bool,
    /// The form of the answer to a program. It alone goes to the standard output then, and what is for people to the standard error.
    pub output: Option<Format>,
}

impl Terminal {
    /// Standard output.
    pub fn new(no_color: bool, output: Option<Format>) -> Self {
        let live = output.is_none() && std::io::stdout().is_terminal();
        // By the convention of no-color.org an empty value does not count.
        let refused = no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { live: live && !dumb, colour: live && !dumb && !refused, output }
    }

    /// Columns and, on a terminal, rows.
    pub fn size(self) -> (usize, Option<usize>) {
        let size = if self.live { rustix::termios::tcgetwinsize(std::io::stdout()).ok() } else { None };
        match size {
            Some(size) if size.ws_col > 0 => (usize::from(size.ws_col).min(WIDEST), Some(usize::from(size.ws_row)).filter(|rows| *rows > 1)),
            _ => (COLUMNS, None),
        }
    }

    /// Columns.
    pub fn columns(self) -> usize {
        self.size().0
    }

    /// Prints a page.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn print(self, page: &Page) -> Result {
        self.write(&page.text(self.colour))
    }

    /// Prints a text as it is.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(self, text: &str) -> Result {
        if self.output.is_some() { put(std::io::stderr().lock(), text) } else { put(std::io::stdout().lock(), text) }
    }

    /// Prints the answer to a program, where one asks.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn answer<T: Serialize>(self, what: &T) -> Result {
        self.output.map_or(Ok(()), |format| put(std::io::stdout().lock(), &format.text(what)?))
    }

    /// Prints a line.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn say(self, line: &str) -> Result {
        self.write(&format!("{line}\n"))
    }
}

fn put(mut out: impl Write, text: &str) -> Result {
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A page that is drawn again and again in the same place.
#[derive(Debug, Default)]
pub struct Live {
    /// Lines that are there.
    lines: usize,
}

impl Live {
    /// What draws a page over the one before.
    pub fn draw(&mut self, page: &mut Page, rows: Option<usize>, colour: bool) -> String {
        if let Some(rows) = rows {
            // What has left the screen at the top can't be drawn again; the last row is where the cursor waits.
            page.cut(rows.saturating_sub(1));
        }
        let up = if self.lines > 0 { format!("\x1b[{}A\r\x1b[J", self.lines) } else { String::new() };
        self.lines = page.len();
        format!("{up}{}", page.text(colour))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::plain;

    fn page(lines: usize) -> Page {
        let mut page = Page::new(20);
        (0..lines).for_each(|number| page.line([plain(number.to_string())]));
        page
    }

    #[test]
    fn a_page_is_drawn_over_the_one_before() {
        let mut live = Live::default();
        assert_eq!(live.draw(&mut page(2), Some(10), false), "0\n1\n");
        assert_eq!(live.draw(&mut page(1), Some(10), false), "\x1b[2A\r\x1b[J0\n");
        assert_eq!(live.draw(&mut page(1), Some(10), false), "\x1b[1A\r\x1b[J0\n");
    }

    #[test]
    fn no_more_is_drawn_than_can_be_drawn_over() {
        let mut live = Live::default();
        live.draw(&mut page(20), Some(5), false);
        assert!(live.draw(&mut page(20), Some(5), false).starts_with("\x1b[4A"));
    }
}
