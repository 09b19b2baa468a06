//! The revisions there are, for people.

use jiff::Timestamp;

use crate::history::Entry;

use super::table::table;
use super::{Ink, Page, ago, bold, faint, ink, of_color, plain};

/// The whole page.
pub fn page(entries: &[Entry], now: Timestamp, columns: usize) -> Page {
    let mut page = Page::new(columns);
    let mut rows = vec![["REVISION", "COLOR", "STATE", "PODS", "AGE", "ATTEMPT", "IMAGES"].map(faint).to_vec()];
    for entry in entries {
        let paint = match entry.state.as_str() {
            "active" => Ink::Bold,
            "rejected" => Ink::Red,
            _ => Ink::Plain,
        };
        let attempt = entry.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string());
        let mut images = entry.images.iter().map(String::as_str);
        rows.push(vec![
            ink(of_color(&entry.color), &entry.revision),
            ink(of_color(&entry.color), &entry.color),
            ink(paint, &entry.state),
            plain(entry.pods.to_string()),
            plain(ago(entry.created, now)),
            plain(attempt),
            plain(images.next().unwrap_or_default()),
        ]);
        rows.extend(images.map(|image| ["", "", "", "", "", "", image].map(plain).to_vec()));
    }
    table(&mut page, 0, rows);
    for entry in entries.iter().filter(|entry| entry.asked_for && entry.state != "active") {
        page.blank();
        page.wrapped(vec![], Ink::Plain, &format!("spec.template asks for {}.", entry.revision));
    }
    if entries.is_empty() {
        page = Page::new(columns);
        page.line([bold("There are no revisions yet.")]);
    }
    page
}
