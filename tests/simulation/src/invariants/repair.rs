//! Invariant 10: a selector changed by somebody else is put back within a second, with an Event naming the field manager, unless paused.

use std::time::Duration;

use bluegreen::api::keys;
use bluegreen::controller::api::Resource;

use crate::json;
use crate::sim::{NAMESPACE, Sim};

/// For so long before nobody may have edited that Service, since repairs back off.
const CALM: Duration = Duration::from_secs(300);

/// Looks a second, and what the watches and requests take, after an edit. Where anything else went wrong meanwhile nothing is promised
/// about the time; that the selector comes back at all is checked at the end.
pub fn repaired(sim: &mut Sim, number: usize) {
    let Some(edit) = sim.history.edits.get(number).cloned() else { return };
    let Some(service) = sim.store.get(Resource::Service, NAMESPACE, &edit.service).cloned() else { return };
    let Some(object) = sim.object() else { return };
    // One that came after it may have put it back.
    let others = sim.history.edits.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, other)| other);
    let another = others.filter(|other| other.service == edit.service).any(|other| other.at + CALM > edit.at);
    let disturbed = sim.faults.disturbed(edit.at);
    let paused = object.pointer("/spec/paused").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let moving = sim.intent().is_some_and(|intent| intent.get("completedAt").is_none());
    let led = sim.working().len() == 1 && sim.led_since().is_some_and(|since| since + Duration::from_secs(10) < edit.at);
    let moving = moving || edit.moving;
    let taken = json::annotation(&service, keys::OWNER).is_some() && edit.revision.is_some();
    if another || disturbed || paused || moving || !led || !taken {
        return;
    }
    sim.history.repairs += 1;
    let revision = json::annotation(&service, keys::SELECTED)
        .and_then(|selected| selected.rsplit_once('@'))
        .map(|(revision, _)| revision.to_owned())
        .unwrap_or_default();
    let selector = service.pointer("/spec/selector").cloned().unwrap_or_default();
    if selector != serde_json::json!({"app": "shop", keys::REVISION: revision}) {
        sim.violated(
            "10 edited selectors are put back",
            format!("Service {} still selects {selector}, edited at {:.3}", edit.service, edit.at.as_secs_f64()),
        );
        return;
    }
    let told =
        sim.history.events.iter().any(|(at, reason, message)| *at >= edit.at && *reason == "SelectorRepaired" && message.contains("kubectl-edit"));
    // Traffic that was just being moved takes the Service along: it is not put back, but moved on.
    let moved = edit.revision.as_deref() != Some(revision.as_str());
    if !told && !moved {
        sim.violated("10 edited selectors are put back", format!("nobody is told that kubectl-edit changed Service {}", edit.service));
    }
}
