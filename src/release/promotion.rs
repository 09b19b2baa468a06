//! Promotion: whose word the switch waits for, and how long.

use jiff::Timestamp;

use crate::api::{PromotionMode, keys::command};

use super::conditions::second;
use super::drain::later;
use super::view::View;
use super::window;

/// Whether the switch to `revision` may happen now.
pub fn granted(view: &View<'_>, revision: &str) -> bool {
    // A return was already asked for by a person, or forced by a failure: nobody is asked twice.
    !view.forward() || view.snapshot.object.commands.get(command::PROMOTE).is_some_and(|named| named == revision) || automatic(view, revision)
}

fn automatic(view: &View<'_>, revision: &str) -> bool {
    view.snapshot.object.spec.promotion.mode == PromotionMode::Automatic && (!waits(view) || due(view, revision) == Some(view.now.wall))
}

/// Whether there is something to wait for without a person's word.
fn waits(view: &View<'_>) -> bool {
    let promotion = &view.snapshot.object.spec.promotion;
    promotion.after_seconds > 0 || !promotion.windows.is_empty()
}

/// When the switch may happen without anybody's word, at the earliest, if that is known: `promotion.afterSeconds` after the tests, in a window.
pub fn due(view: &View<'_>, revision: &str) -> Option<Timestamp> {
    let promotion = &view.snapshot.object.spec.promotion;
    if promotion.mode != PromotionMode::Automatic || !waits(view) {
        return None;
    }
    let proof = view.set(revision).and_then(|set| view.proof(set))?;
    let rested = if promotion.after_seconds > 0 { later(proof.at?, promotion.after_seconds) } else { view.now.wall };
    window::open_from(&promotion.windows, rested.max(view.now.wall))
}

/// What a person has to type.
pub fn how(view: &View<'_>, revision: &str) -> String {
    let object = &view.snapshot.object;
    let command = format!("kubectl annotate bgd {} -n {} {}={revision}", object.name, object.namespace, command::PROMOTE);
    match due(view, revision) {
        Some(due) => format!("revision {revision} passed and takes the traffic at {}; at once by: {command}", second(due)),
        None => format!("revision {revision} passed and waits for: {command}"),
    }
}
