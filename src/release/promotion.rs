//! Promotion: whose word the switch waits for.

use crate::api::{PromotionMode, keys::command};

use super::view::View;

/// Whether the switch to `revision` may happen now.
pub fn granted(view: &View<'_>, revision: &str) -> bool {
    // A return was already asked for by a person, or forced by a failure: nobody is asked twice.
    !view.forward()
        || view.snapshot.object.spec.promotion.mode == PromotionMode::Automatic
        || view.snapshot.object.commands.get(command::PROMOTE).is_some_and(|named| named == revision)
}

/// What a person has to type.
pub fn how(view: &View<'_>, revision: &str) -> String {
    format!(
        "revision {revision} passed and waits for: kubectl annotate bgd {} -n {} {}={revision}",
        view.snapshot.object.name,
        view.snapshot.object.namespace,
        command::PROMOTE
    )
}
