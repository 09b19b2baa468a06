//! Text for people: pure functions from plain objects, the time and a width.

mod ago;
pub mod diff;
pub mod history;
mod limits;
pub mod list;
mod page;
pub mod status;
pub mod table;
mod wrap;

pub use ago::{ago, left, short};
pub use limits::lines as limits;
pub use page::{Ink, Page, Span, bold, faint, ink, plain};
pub use wrap::fit;

/// The ink of a colour.
pub fn of_color(color: &str) -> Ink {
    match color {
        "blue" => Ink::Blue,
        "green" => Ink::Green,
        _ => Ink::Plain,
    }
}
