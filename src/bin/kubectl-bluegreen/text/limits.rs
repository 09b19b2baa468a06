//! Counting down what time limits.

use jiff::Timestamp;

use crate::report::{Limit, Limited};

use super::{Ink, Page, left, plain};

/// A line for each that is still to come.
pub fn lines(page: &mut Page, limits: &[Limit], now: Timestamp) {
    let open: Vec<&Limit> = limits.iter().filter(|limit| limit.at > now).collect();
    if !open.is_empty() {
        page.blank();
    }
    for limit in open {
        page.wrapped(vec![plain("  ")], Ink::Plain, &line(limit, now));
    }
}

fn line(Limit { what, revision, at }: &Limit, now: Timestamp) -> String {
    let left = left(*at, now);
    match what {
        Limited::Progress => format!("{revision} has {left} more to become available; after that the release is stalled"),
        Limited::Promotion => format!("{revision} takes the traffic by itself in {left}"),
        Limited::Overlap => format!("both revisions serve for {left} more at least"),
        Limited::Bake => format!("{revision} bakes for {left} more at least"),
        Limited::Kept => format!("the pods of {revision} stay for a look for {left} more"),
    }
}
