//! Preview Services follow the incoming revision, and the active one while there is none.

use crate::api::keys;

use super::action::{Action, SelectWhy};
use super::services;
use super::snapshot::Selected;
use super::switch;
use super::view::View;

/// Moves preview Services to where they belong.
pub fn step(view: &View<'_>) -> Vec<Action> {
    let object = &view.snapshot.object;
    if object.spec.paused {
        return vec![];
    }
    let incoming = view.target().filter(|revision| view.set(revision).is_some_and(|set| set.desired > 0));
    let active = view.intent.map(|intent| intent.to.as_str());
    // A rejected revision's pods stay for a look; the preview is where one looks.
    let rejected = view
        .rejected
        .map(|rejected| rejected.revision.as_str())
        .filter(|revision| view.set(revision).is_some_and(|set| set.desired > 0 && !view.served(set)));
    let revision = incoming.or(rejected).or(active).unwrap_or(keys::REVISION_NONE);
    let attempt = view.intent.map_or(0, |intent| intent.attempt);
    let names = object.spec.traffic.preview_services.iter().enumerate();
    names
        .filter(|(index, name)| services::check(view.snapshot, &format!("spec.traffic.previewServices[{index}]"), name).is_ok())
        .filter_map(|(_, name)| view.snapshot.services.get(name))
        .filter_map(|service| {
            let ours = services::owned(view.snapshot, service);
            let wanted = Selected { revision: revision.into(), attempt };
            let right = service.selector == view.selector(revision);
            if ours && right && service.selected.as_ref().is_some_and(|selected| selected.revision == revision) {
                return None;
            }
            let drifted = ours && !right && service.selected.as_ref().is_some_and(|selected| selected.revision == revision);
            if drifted && !switch::repair_is_due(view, &service.name) {
                return None;
            }
            let why = if drifted { SelectWhy::Repair { editor: service.editor.clone() } } else { SelectWhy::Preview };
            Some(switch::select(view, service, &wanted.revision, wanted.attempt, why))
        })
        .collect()
}
