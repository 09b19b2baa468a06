//! Promotion: whose word the switch waits for, and how long.

use jiff::Timestamp;

use crate::api::{PromotionMode, keys::command};

use super::conditions::second;
use super::drain::later;
use super::view::View;

/// Whether the switch to `revision` may happen now.
pub fn granted(view: &View<'_>, revision: &str) -> bool {
    // A return was already asked for by a person, or forced by a failure: nobody is asked twice.
    !view.forward() || view.snapshot.object.commands.get(command::PROMOTE).is_some_and(|named| named == revision) || automatic(view, revision)
}

fn automatic(view: &View<'_>, revision: &str) -> bool {
    let promotion = &view.snapshot.object.spec.promotion;
    promotion.mode == PromotionMode::Automatic && (promotion.after_seconds == 0 || due(view, revision).is_some_and(|due| view.now.wall >= due))
}

/// When the switch happens without anybody's word, if `promotion.afterSeconds` has begun.
pub fn due(view: &View<'_>, revision: &str) -> Option<Timestamp> {
    let promotion = &view.snapshot.object.spec.promotion;
    if promotion.mode != PromotionMode::Automatic || promotion.after_seconds == 0 {
        return None;
    }
    let passed = view.set(revision).and_then(|set| view.proof(set)).and_then(|proof| proof.at)?;
    Some(later(passed, promotion.after_seconds))
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
