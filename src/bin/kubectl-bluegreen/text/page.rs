//! A page: lines of coloured words, kept apart from the colours' codes so that widths can be counted.

use super::wrap::{fit, width, wrap};

/// How a word looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As everything else.
    Plain,
    /// Strong.
    Bold,
    /// In the background.
    Faint,
    /// The first colour of a release.
    Blue,
    /// The other one; also what went well.
    Green,
    /// What went wrong.
    Red,
    /// What waits for somebody.
    Yellow,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Faint => "2",
            Self::Blue => "94",
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
        }
    }
}

/// A coloured piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    ink: Ink,
    text: String,
}

/// A coloured piece. Control characters become spaces: a message may quote what somebody else wrote, and that must not drive the terminal.
pub fn ink(ink: Ink, text: impl AsRef<str>) -> Span {
    Span { ink, text: text.as_ref().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect() }
}

/// A piece as everything else.
pub fn plain(text: impl AsRef<str>) -> Span {
    ink(Ink::Plain, text)
}

/// A strong piece.
pub fn bold(text: impl AsRef<str>) -> Span {
    ink(Ink::Bold, text)
}

/// A piece in the background.
pub fn faint(text: impl AsRef<str>) -> Span {
    ink(Ink::Faint, text)
}

impl Span {
    /// Columns it takes.
    pub fn width(&self) -> usize {
        width(&self.text)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its ink.
    pub fn ink(&self) -> Ink {
        self.ink
    }
}

/// Columns that a text needs at least behind its beginning.
const ROOM: usize = 20;
/// Where it begins on a line of its own.
const INDENT: usize = 4;

/// Lines of a given width.
#[derive(Clone, Debug)]
pub struct Page {
    lines: Vec<Vec<Span>>,
    columns: usize,
}

impl Page {
    /// An empty one.
    pub fn new(columns: usize) -> Self {
        Self { lines: vec![], columns }
    }

    /// Columns of a line.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Adds a line; pieces that do not fit are shortened.
    pub fn line(&mut self, spans: impl IntoIterator<Item = Span>) {
        let mut room = self.columns;
        let short = |span: Span| {
            let text = fit(&span.text, room);
            room = room.saturating_sub(width(&text));
            Span { text, ..span }
        };
        self.lines.push(spans.into_iter().map(short).collect());
    }

    /// Adds an empty line.
    pub fn blank(&mut self) {
        self.lines.push(vec![]);
    }

    /// Adds a text behind a beginning; further lines stand under the text. Where the beginning leaves too little room it gets a line of its own.
    pub fn wrapped(&mut self, mut head: Vec<Span>, paint: Ink, text: &str) {
        let mut indent: usize = head.iter().map(Span::width).sum();
        if indent.saturating_add(ROOM) > self.columns {
            self.line(std::mem::take(&mut head));
            indent = INDENT;
            head.push(plain(" ".repeat(indent)));
        }
        let clean = ink(paint, text);
        let mut pieces = wrap(clean.text(), self.columns.saturating_sub(indent)).into_iter();
        let mut first = head;
        first.extend(pieces.next().map(|piece| ink(paint, piece)));
        self.lines.push(first);
        for piece in pieces {
            self.lines.push(vec![plain(" ".repeat(indent)), ink(paint, piece)]);
        }
    }

    /// Keeps so many lines, and says where some are left out.
    pub fn cut(&mut self, lines: usize) {
        if self.lines.len() > lines && lines > 0 {
            self.lines.truncate(lines - 1);
            self.lines.push(vec![faint("… the terminal is too low for the rest")]);
        }
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// As text, each line with its end.
    pub fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let mut row = String::new();
            for Span { ink, text } in line {
                if colour && *ink != Ink::Plain && !text.trim().is_empty() {
                    row.push_str(&format!("\x1b[{}m{text}\x1b[0m", ink.code()));
                } else {
                    row.push_str(text);
                }
            }
            out.push_str(row.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_stand_under_the_first() {
        let mut page = Page::new(32);
        page.wrapped(vec![plain("  "), ink(Ink::Green, "✓"), plain(" smoke  ")], Ink::Plain, "every one of the pods has passed");
        assert_eq!(page.text(false), "  ✓ smoke  every one of the pods\n           has passed\n");
    }

    #[test]
    fn a_long_beginning_gets_a_line_of_its_own() {
        let mut page = Page::new(24);
        page.wrapped(vec![bold("a-name-that-is-long"), faint(" in a-namespace")], Ink::Plain, "revision abc serves everyone");
        assert_eq!(page.text(false), "a-name-that-is-long…pace\n    revision abc serves\n    everyone\n");
    }

    #[test]
    fn colours_stand_round_words_and_only_where_they_are_wanted() {
        let mut page = Page::new(20);
        page.line([ink(Ink::Red, "no"), plain(" "), faint("  ")]);
        assert_eq!(page.text(true), "\x1b[31mno\x1b[0m\n");
        assert_eq!(page.text(false), "no\n");
    }

    #[test]
    fn a_quoted_message_cannot_drive_the_terminal() {
        let mut page = Page::new(40);
        page.wrapped(vec![], Ink::Plain, "bad\x1b[2Jname\n\rnext\u{9b}31m");
        assert_eq!(page.text(false), "bad [2Jname next 31m\n");
    }

    #[test]
    fn a_low_terminal_gets_what_fits() {
        let mut page = Page::new(40);
        (0..5).for_each(|number| page.line([plain(number.to_string())]));
        page.cut(3);
        assert_eq!(page.text(false), "0\n1\n… the terminal is too low for the rest\n");
        assert_eq!(page.len(), 3);
    }
}
