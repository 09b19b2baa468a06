//! Copies of configuration: made before the pods that need them, made again if somebody deletes one, and deleted when nothing refers to them.
//!
//! That a copy is not deleted that a set needs rests on this: no ReplicaSet of the object, no pod of the namespace, and not the template as it
//! is now may have referred to it for [`SPARE`] as far as this process has seen, and a live list of ReplicaSets right before the deletion must
//! not either; the deletion is of that very object at that version. What is left is another leader that creates a set in the same moment: such
//! a set has not served, its configuration is what its source holds, and the copy is made again from that. Should the source have changed in
//! that moment as well, then the set is out of date before its first pod is ready.

use std::time::Duration;

use super::action::Action;
use super::config::{ConfigName, Copy};
use super::revision::{copy_of, copy_stem};
use super::services::Block;
use super::snapshot::{Object, Snapshot};
use super::view::View;

/// For so long nothing must have referred to a copy before it is deleted.
pub const SPARE: Duration = Duration::from_secs(30);

/// Copies of what the template refers to, as far as they are lacking.
pub fn lacking(view: &View<'_>) -> Vec<Action> {
    let configs = &view.snapshot.configs;
    let there = |copy: &ConfigName, digest: &str| configs.copies.iter().any(|known| usable(&view.snapshot.object, known, copy, digest));
    let wanted = configs.sources.iter().filter(|source| source.used && !source.copied).filter_map(|source| Some((source, source.copy.as_ref()?)));
    let lacking = wanted.filter_map(|(source, copy)| {
        let digest = source.digest.as_ref().filter(|digest| !there(copy, digest))?;
        Some(Action::CopyConfig { source: source.id.clone(), copy: copy.name.clone(), digest: digest.clone() })
    });
    if configs.allowed.is_some_and(|allowed| configs.sources.iter().all(|source| allowed.allow(source.id.kind))) { lacking.collect() } else { vec![] }
}

/// Whether a copy is as it should be. One that nobody owns was left behind by an earlier object of the same name, and is as good.
fn usable(object: &Object, known: &Copy, copy: &ConfigName, digest: &str) -> bool {
    let config = &known.config;
    config.id == *copy && config.digest == digest && !config.deleting && config.owner.as_ref().is_none_or(|owner| *owner == object.uid)
}

/// Whether something now refers to a copy: a set, a pod of the object, or the template.
pub fn needed(snapshot: &Snapshot, id: &ConfigName) -> bool {
    let sets = snapshot.sets.iter().chain(&snapshot.orphans).any(|set| set.configs.contains(id));
    sets || snapshot.pods.iter().any(|pod| pod.configs.contains(id)) || snapshot.configs.sources.iter().any(|source| source.copy.as_ref() == Some(id))
}

/// Deletes copies that nothing refers to any more.
pub fn spare(view: &View<'_>) -> Vec<Action> {
    let Snapshot { configs, object, unread, .. } = view.snapshot;
    // What the template refers to can't be told before that is mended.
    if object.spec.paused || !unread.is_empty() || configs.problem().is_some() {
        return vec![];
    }
    let over = |copy: &&Copy| due(view, copy).is_some_and(|left| left.is_zero()) && !needed(view.snapshot, &copy.config.id);
    let known = |copy: &&Copy| !configs.unread.contains(&copy.config.id.kind);
    let ours = |copy: &&Copy| !copy.config.deleting && copy.config.owner.as_ref().is_none_or(|owner| *owner == object.uid);
    configs.copies.iter().filter(known).filter(ours).filter(over).map(|copy| Action::DeleteConfig { config: copy.config.clone() }).collect()
}

/// For how long a copy must still be unused.
fn due(view: &View<'_>, copy: &Copy) -> Option<Duration> {
    copy.unused_since.map(|since| (since + SPARE).saturating_sub(view.now.mono))
}

/// Seconds until a copy may be deleted.
pub fn due_in(view: &View<'_>) -> Option<f64> {
    let waits = view.snapshot.configs.copies.iter().filter_map(|copy| due(view, copy)).filter(|left| !left.is_zero());
    waits.min().map(|left| left.as_secs_f64())
}

/// A copy that the set needs which is to serve, or serves in place of a revision that was given up, and that can't be made again. Of what is
/// being left nothing is said: its pods run, and go.
pub fn lost(view: &View<'_>) -> Option<Block> {
    let Snapshot { configs, object, .. } = view.snapshot;
    let set = view.target().and_then(|revision| view.set(revision)).or_else(|| view.active()).filter(|set| set.desired > 0)?;
    let there = |id: &ConfigName| configs.copies.iter().any(|copy| copy.config.id == *id && !copy.config.deleting);
    let mut known = set.configs.iter().filter(|id| !configs.unread.contains(&id.kind));
    let gone = known.find(|id| source_of(object, id).is_some() && !there(id) && !made(view, id))?;
    let source = source_of(object, gone)?;
    let (kind, name) = (gone.kind.name(), &gone.name);
    Some(Block::new(
        "ConfigLost",
        format!(
            "{kind} \"{name}\", the copy that revision {} needs, was deleted, and \"{source}\" holds something else now: its containers can't start anew; give \"{source}\" its earlier content back, or release what it holds now",
            set.revision
        ),
    ))
}

/// Whether a copy is one that can be made.
fn made(view: &View<'_>, id: &ConfigName) -> bool {
    view.snapshot.configs.sources.iter().any(|source| source.copy.as_ref() == Some(id))
}

/// What a name is a copy of, of what the spec names.
fn source_of<'a>(object: &'a Object, id: &ConfigName) -> Option<&'a str> {
    let stem = copy_of(&id.name)?;
    id.kind.named(&object.spec.config_snapshots).iter().map(String::as_str).find(|name| copy_stem(name) == stem)
}
