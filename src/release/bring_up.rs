//! Bring up: the incoming revision gets its pods.

use crate::api::{HookPoint, keys};

use super::action::{Action, SetChange, SetRef};
use super::bake::{self, Bake};
use super::copies;
use super::drain;
use super::group;
use super::hooks::{self, Gate};
use super::part;
use super::promotion;
use super::services::Block;
use super::set::{Color, Set};
use super::snapshot::Identity;
use super::view::View;

/// How far the incoming revision has come.
#[derive(Clone, Debug, PartialEq)]
pub enum BringUp {
    /// There is nothing to bring up.
    None,
    /// It can't start before something is corrected.
    Blocked(Block),
    /// It waits for something that happens by itself or by a person: reason and message.
    Waiting(&'static str, String),
    /// It waits for a hook before its first pod, or one has failed.
    Hooks(Gate),
    /// Its pods are starting.
    Starting {
        /// Available pods.
        available: i32,
        /// Pods needed.
        wanted: i32,
        /// What keeps a pod from starting, if that can be told.
        trouble: Option<String>,
    },
    /// Enough pods are available.
    Up,
}

/// Decides about the incoming revision's ReplicaSet.
pub fn step(view: &View<'_>, block: Option<&Block>) -> (BringUp, Vec<Action>) {
    if adopting(view) {
        let message = "the pods of a Deployment are being taken over; if nobody does, kubectl bluegreen adopt goes on with it";
        return (BringUp::Waiting("Adopting", message.into()), vec![]);
    }
    let Some(revision) = view.target() else {
        return (BringUp::None, vec![]);
    };
    let spec = &view.snapshot.object.spec;
    let set = view.set(revision);
    if let Some(block) = block {
        return (BringUp::Blocked(block.clone()), vec![]);
    }
    // Its pods must not have to wait for it.
    if view.forward() && !copies::lacking(view).is_empty() {
        return (BringUp::Waiting("CopyingConfig", "the configuration that spec.configSnapshots names is being copied".into()), vec![]);
    }
    if spec.replicas == 0 && view.ready_active() == 0 {
        return (BringUp::Waiting("ScaledToZero", "spec.replicas is 0: the release goes on when there are pods to test".into()), vec![]);
    }
    let wanted = wanted(view);
    if view.forward()
        && set.is_none_or(|set| set.desired == 0)
        && let Some(waiting) = too_many(view)
    {
        return (waiting, vec![]);
    }
    if let Some(set) = set {
        if !view.warm(set) && set.desired > 0 {
            return (
                BringUp::Waiting(
                    "DrainingFirst",
                    format!("the pods of {revision} were told to drain; they are replaced when their connections have ended"),
                ),
                vec![],
            );
        }
        // Up again before the ReplicaSet controller has seen the zero, it would keep the old pods, and with them those that were told to drain.
        if set.desired == 0 && view.pods(set).next().is_some() {
            return (
                BringUp::Waiting("EndingFirst", format!("the earlier pods of {revision} are ending; new ones start when they are gone")),
                vec![],
            );
        }
        if set.desired == 0 && part::within_reach(view, revision) {
            return (parting_first(revision), vec![]);
        }
        let gate = hooks::gate(view, HookPoint::BeforeBringUp, revision);
        if set.desired == 0 && gate != Gate::Open && !spec.paused {
            return (BringUp::Hooks(gate), vec![]);
        }
        let (outcome, mut actions) = up(view, set, wanted);
        // A pause holds the growth from the size for the tests, and the way back to it.
        if spec.paused && set.desired > 0 && spec.bring_up.preview_replicas.is_some() {
            return (outcome, actions);
        }
        if set.desired < wanted || set.min_ready_seconds != spec.min_ready_seconds {
            if spec.paused && set.desired == 0 {
                return (paused(), vec![]);
            }
            let color = (set.desired == 0).then(|| next_color(view));
            let replicas = (set.desired < wanted).then_some(wanted);
            actions.push(Action::PatchSet {
                set: SetRef::of(set),
                change: SetChange { replicas, color, min_ready_seconds: Some(spec.min_ready_seconds), ..SetChange::default() },
            });
        } else if set.desired > most(view, wanted) && !view.served(set) {
            actions.push(Action::PatchSet { set: SetRef::of(set), change: SetChange { replicas: Some(most(view, wanted)), ..SetChange::default() } });
        }
        return (outcome, actions);
    }
    if !view.forward() {
        return (BringUp::Waiting("RevisionGone", format!("revision {revision} to return to no longer exists; apply its template again")), vec![]);
    }
    // A ReplicaSet that lacks the label of a successor would adopt pods that have just lost theirs, and end the surplus.
    if part::within_reach(view, revision) {
        return (parting_first(revision), vec![]);
    }
    if spec.paused {
        return (paused(), vec![]);
    }
    let Identity::Known { raw_hash, .. } = &view.snapshot.identity else {
        return (BringUp::None, vec![]);
    };
    match hooks::gate(view, HookPoint::BeforeBringUp, revision) {
        Gate::Open => {}
        gate => return (BringUp::Hooks(gate), vec![]),
    }
    let create = Action::CreateSet { revision: revision.into(), color: next_color(view), replicas: wanted, raw_hash: raw_hash.clone(), restarts: 0 };
    (BringUp::Starting { available: 0, wanted, trouble: None }, vec![create])
}

/// New pods beside too many old ones would cost more than anybody planned for; the way back is never held up by this.
fn too_many(view: &View<'_>) -> Option<BringUp> {
    // What is kept for a way back only, or for one that there is not, ends by itself or never.
    let kept = |set: &&Set| match bake::step(view).0 {
        Bake::Failed { .. } => bake::holds(view, set),
        Bake::Running { .. } => false,
        // Those of the group may wait for a repair of what is not ready here, and that for this release.
        Bake::None | Bake::Passed | Bake::TooLate => group::holds(view, set),
    };
    let kept = |set: &&Set| drain::only_warm(view, set) || kept(set);
    let left = view.being_left().filter(|set| !kept(set)).count();
    let maximum = usize::try_from(view.snapshot.object.spec.drain.max_sets).unwrap_or(usize::MAX);
    (left >= maximum).then(|| {
        BringUp::Waiting(
            "TooManyDraining",
            format!("{left} earlier revisions still drain (spec.drain.maxSets is {maximum}); the release goes on when one of them has ended"),
        )
    })
}

fn parting_first(revision: &str) -> BringUp {
    BringUp::Waiting("PartingFirst", format!("the earlier pods of {revision} are leaving their ReplicaSet; new ones start when all have left it"))
}

/// Whether nothing can be told yet, since the pods that serve are those of a Deployment.
pub fn adopting(view: &View<'_>) -> bool {
    view.snapshot.object.adopting && view.intent.is_none()
}

fn paused() -> BringUp {
    BringUp::Waiting("Paused", "spec.paused is true: no new pods are started".into())
}

fn up(view: &View<'_>, set: &Set, wanted: i32) -> (BringUp, Vec<Action>) {
    let available = super::view::count(view.available(set).count());
    if available >= wanted {
        return (BringUp::Up, vec![]);
    }
    let trouble =
        set.failure.clone().or_else(|| view.pods(set).find_map(|pod| pod.trouble.as_ref().map(|trouble| format!("pod {}: {trouble}", pod.name))));
    (BringUp::Starting { available, wanted, trouble }, vec![])
}

/// Size of the incoming set. A set to return to needs no more pods than the one that is left has.
fn wanted(view: &View<'_>) -> i32 {
    let replicas = view.snapshot.object.spec.replicas;
    match preview(view) {
        Some(size) => size,
        None if view.forward() => replicas.max(1),
        None => replicas.min(view.ready_active().max(1)).max(1),
    }
}

/// The size that the incoming set is not to exceed. One to return to does not give up pods because the active one has just lost some.
fn most(view: &View<'_>, wanted: i32) -> i32 {
    if view.forward() { wanted } else { wanted.max(view.snapshot.object.spec.replicas) }
}

/// The size for the tests, as long as the incoming set is to have that: until it has passed them and may take the traffic.
pub fn preview(view: &View<'_>) -> Option<i32> {
    let spec = &view.snapshot.object.spec;
    let size = spec.bring_up.preview_replicas.filter(|size| *size < spec.replicas && view.forward())?;
    let revision = view.target()?;
    let Some((set, proof)) = view.set(revision).and_then(|set| Some((set, view.proof(set)?))) else { return Some(size.max(1)) };
    // Whoever has passed with its full size stays whole, also when that grows. And what has begun to grow goes on, be its window over.
    let whole = !proof.preview || set.desired > size;
    (!whole && !promotion::granted(view, revision)).then_some(size.max(1))
}

/// The colour that the active set does not have.
pub fn next_color(view: &View<'_>) -> Color {
    view.active().map_or(Color::Blue, |active| active.color.other())
}

/// Keeps the raw template's hash on the set that the API server found it to mean, so that it is never asked again.
pub fn remember_template(view: &View<'_>) -> Option<Action> {
    let Identity::Known { raw_hash, revision } = &view.snapshot.identity else {
        return None;
    };
    let set = view.set(revision)?;
    if set.template_hashes.contains(raw_hash) {
        return None;
    }
    // Bounded: the oldest are forgotten, which costs one request if such a template ever comes back.
    let mut hashes = set.template_hashes.clone();
    hashes.push(raw_hash.clone());
    let skip = hashes.len().saturating_sub(16);
    Some(Action::PatchSet {
        set: SetRef::of(set),
        change: SetChange { template_hashes: Some(hashes.into_iter().skip(skip).collect()), ..SetChange::default() },
    })
}

/// The label selector of a revision's pods, as text for the scale subresource.
pub fn selector_text(view: &View<'_>, revision: &str) -> String {
    let mut labels = view.snapshot.object.spec.selector.match_labels.clone();
    labels.insert(keys::REVISION.into(), revision.into());
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
