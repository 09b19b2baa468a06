//! The plan: from a snapshot to what is to be done, in one pass over the steps.

use crate::api::{BlueGreenDeploymentStatus, GroupState, GroupStatus, HookPoint, Rejected, Switch};

use super::action::{Action, Effects, Plan, SetRef};
use super::again::again;
use super::bake::{self, Bake};
use super::bring_up::{self, BringUp};
use super::budget;
use super::conditions;
use super::converge::{self, Convergence};
use super::copies;
use super::drain;
use super::group::{self, Pledge};
use super::growth;
use super::history;
use super::hooks::{self, Gate};
use super::intent::{self, Intent};
use super::local;
use super::metadata;
use super::overlap;
use super::preflight;
use super::preview;
use super::promotion;
use super::rollback;
use super::scale;
use super::services::Block;
use super::set::Set;
use super::smoke::{self, Smoke};
use super::snapshot::{Identity, Now, Refusal, Snapshot};
use super::status;
use super::switch::{self, Direction};
use super::view::View;

/// Somebody with a higher fencing number has gone on: nothing of ours may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated;

/// Everything the steps found, for conditions and status.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Something to correct.
    pub block: Option<Block>,
    /// Bring up.
    pub bring_up: BringUp,
    /// Smoke.
    pub smoke: Smoke,
    /// Hooks before which it stands.
    pub gate: Gate,
    /// Converge.
    pub convergence: Convergence,
    /// Bake.
    pub bake: Bake,
    /// Drain.
    pub drain: drain::Outcome,
    /// Group.
    pub group: group::Outcome,
}

/// What must be on record before anything else is written.
pub fn durable(one: &BlueGreenDeploymentStatus, other: &BlueGreenDeploymentStatus) -> bool {
    one.switch != other.switch
        || one.rejected != other.rejected
        || hooks::durable(&one.hooks, &other.hooks)
        || group::durable(one.group.as_ref(), other.group.as_ref())
}

/// Decides. Pure and total: the same snapshot and time give the same plan, and every snapshot gives one.
pub fn plan(snapshot: &Snapshot, now: Now) -> Plan {
    let plan = decide(snapshot, now);
    let Some(group) = snapshot.object.status.group.as_ref().filter(|group| group.call.is_some()) else {
        return plan;
    };
    if plan.stands_by_call || snapshot.object.deleting || !snapshot.unread.is_empty() {
        return plan;
    }
    // Whatever else is to be done: first nobody may rely on the call any more.
    let group = Some(GroupStatus { call: None, called_at: None, state: GroupState::Preparing, revision: None, ..group.clone() });
    Plan { status: BlueGreenDeploymentStatus { group, ..snapshot.object.status.clone() }, effects: plan.effects, ..Plan::default() }
}

fn decide(snapshot: &Snapshot, now: Now) -> Plan {
    let before = &snapshot.object.status;
    if snapshot.object.deleting {
        // The garbage collector does the rest; Services are released by the sweep once the pods are gone.
        return Plan { status: before.clone(), ..Plan::default() };
    }
    if snapshot.object.ejecting {
        // What it misses is on its way to somebody else: nothing follows from that, and nothing of it is worth telling.
        let status = BlueGreenDeploymentStatus { observed_generation: snapshot.object.generation, ..before.clone() };
        return Plan { status, ..Plan::default() };
    }
    // Who serves can only be told when everything that an earlier object left behind has been looked at.
    let questions = inheritance(snapshot);
    if !questions.is_empty() {
        // Nothing else is decided before they are answered, so an answer that is refused must be told of here.
        let Some(refusal) = &snapshot.refused else {
            return Plan { status: before.clone(), actions: questions, ..Plan::default() };
        };
        let view = View::new(snapshot, now, before.switch.as_ref(), before.rejected.as_ref());
        return Plan { actions: questions, ..blocked(&view, Block::new(refusal.reason, refusal.message.clone())) };
    }
    let intent = match intent::read(snapshot, now) {
        Intent::None => None,
        Intent::Recorded(switch) => Some(switch),
        // What is rebuilt from half a reading may be an older intent.
        Intent::Rebuilt(_) if !snapshot.unread.is_empty() => before.switch.clone(),
        Intent::Rebuilt(switch) => {
            return remember(snapshot, BlueGreenDeploymentStatus { switch: Some(switch), ..before.clone() });
        }
        Intent::Contradictory(message) => {
            let view = View::new(snapshot, now, before.switch.as_ref(), before.rejected.as_ref());
            return blocked(&view, Block::new("IntentLost", message));
        }
    };
    let view = View::new(snapshot, now, intent.as_ref(), before.rejected.as_ref());
    if !snapshot.unread.is_empty() {
        return blocked(
            &view,
            Block::new("Unreadable", format!("could not read {}; nothing is changed until that works again", snapshot.unread.join(", "))),
        );
    }
    if bring_up::adopting(&view) {
        // Whose pods serve is not known yet, whatever the spec says meanwhile: its Services must not be parked, nor its set be given up. Nor
        // is it asked what the template means: the set that has it is still to come.
        let (bring_up, _) = bring_up::step(&view, None);
        return undecided(&view, None, bring_up);
    }
    if let Some(plan) = promised(&view) {
        return plan;
    }
    if let Some(plan) = decided_by_person_or_failure(&view) {
        return plan;
    }
    steps(&view)
}

/// A set that gets traffic again is not being left any more: if it is left once more, its time begins then.
fn forget_drain(snapshot: &Snapshot, status: &mut BlueGreenDeploymentStatus, switch: &Switch) {
    status.draining.retain(|entry| entry.revision != switch.to || drain::is_loose(snapshot, entry));
}

/// A plan that only puts something on record.
fn remember(snapshot: &Snapshot, status: BlueGreenDeploymentStatus) -> Plan {
    debug_assert!(durable(&status, &snapshot.object.status));
    Plan { status, ..Plan::default() }
}

fn blocked(view: &View<'_>, block: Block) -> Plan {
    undecided(view, Some(block), BringUp::None)
}

/// A plan that decides nothing.
fn undecided(view: &View<'_>, block: Option<Block>, bring_up: BringUp) -> Plan {
    let drain = drain::step(view);
    let effects = going_on(view, &drain);
    let (bake, _) = bake::step(view);
    let group = group::step(view, None);
    let findings = Findings { block, bring_up, smoke: Smoke::None, gate: Gate::Open, convergence: converge::step(view), bake, drain, group };
    Plan { status: status::make(view, &findings), effects, ..Plan::default() }
}

/// What is being counted and tested goes on while nothing is decided: windows that were begun anew would make every drain longer.
fn going_on(view: &View<'_>, drain: &drain::Outcome) -> Effects {
    Effects { smoke: smoke::step(view).1.run, bake: bake::step(view).1, watch: drain.watch.clone(), begin: vec![], reads: drain.reads.clone() }
}

/// Nothing is decided by one that has promised to follow others.
fn promised(view: &View<'_>) -> Option<Plan> {
    let before = &view.snapshot.object.status;
    let mut status = before.clone();
    match group::pledge(view) {
        Pledge::None => return None,
        Pledge::Waits => return Some(Plan { status, effects: going_on(view, &drain::step(view)), again: Some(5.0), ..Plan::default() }),
        Pledge::Kept(intent) => {
            forget_drain(view.snapshot, &mut status, &intent);
            status.switch = Some(*intent);
        }
        Pledge::Over => {}
    }
    status.group = group::freed(view);
    Some(remember(view.snapshot, status))
}

fn decided_by_person_or_failure(view: &View<'_>) -> Option<Plan> {
    let before = &view.snapshot.object.status;
    let outcome = super::command::step(view);
    let mut status = before.clone();
    if let Some(rejected) = &outcome.rejected {
        status.rejected.clone_from(rejected);
    }
    if let Some(hooks) = &outcome.hooks {
        status.hooks.clone_from(hooks);
    }
    if let Some(intent) = &outcome.intent {
        forget_drain(view.snapshot, &mut status, intent);
        status.switch = Some(intent.clone());
    }
    // An annotation that can't be taken off is all that is dealt with as long as it stays, so that must be told; the rest of it was.
    let about = |refusal: &&Refusal| {
        outcome.actions.iter().any(|action| match action {
            Action::RemoveCommand { key, .. } => refusal.command == Some(*key),
            _ => refusal.command.is_none(),
        })
    };
    if let Some(refusal) = view.snapshot.refused.as_ref().filter(|_| outcome.rejected.is_none()).filter(about) {
        return Some(Plan { actions: outcome.actions, ..blocked(view, Block::new(refusal.reason, refusal.message.clone())) });
    }
    if outcome.rejected.is_some() || !outcome.actions.is_empty() {
        return Some(Plan { status, actions: outcome.actions, notices: outcome.notices, ..Plan::default() });
    }
    let back = rollback::step(view)?;
    forget_drain(view.snapshot, &mut status, &back.intent);
    status.switch = Some(back.intent);
    if back.rejected.is_some() {
        status.rejected = back.rejected;
    }
    Some(remember(view.snapshot, status))
}

fn steps(view: &View<'_>) -> Plan {
    let snapshot = view.snapshot;
    let spec = &snapshot.object.spec;
    let mut actions = lookups(snapshot);
    let mut moved = None;
    if let Some(intent) = view.intent
        && !spec.paused
        && (view.settled() || switch::direction(view, intent) == Direction::On)
    {
        match switch::finish(view, intent) {
            Ok((true, _)) if !view.settled() => moved = overlap::next(view, intent),
            Ok((_, writes)) => actions.extend(writes),
            // Another leader is ahead of what this one has read: wait for the caches.
            Err(Outdated) => {
                let effects = going_on(view, &drain::step(view));
                return Plan { status: snapshot.object.status.clone(), effects, again: Some(1.0), ..Plan::default() };
            }
        }
    }
    // A pod that comes while two revisions serve together must get the label to get traffic, whatever else waits.
    if actions.is_empty()
        && moved.is_none()
        && let Some(intent) = view.intent.filter(|_| !view.settled())
    {
        actions.extend(overlap::marks(view, intent));
    }
    let block = if way_back_is_open(view) {
        None
    } else {
        preflight::check(snapshot).err().or_else(|| budget::held(view)).or_else(|| hooks::check(view).err())
    };
    let block = block.or_else(|| contended(view));
    // A container that starts anew needs it at once.
    actions.extend(copies::lacking(view));
    let (bring_up, writes) = bring_up::step(view, block.as_ref());
    let parked = switch::park(view);
    // A Service that an earlier object of this name left behind may select the very revision that is to start.
    actions.extend(if parked.is_empty() { writes } else { parked });
    let (smoke, tested) = smoke::step(view);
    let convergence = converge::step(view);
    let (bake, baking) = bake::step(view);
    let mut drain = drain::step(view);

    let record = moved.or_else(|| converged(view, &convergence)).or_else(|| baked(view, &bake));
    // The proof goes on record first: whoever comes next must be able to see on what the switch rests.
    let proven = tested.actions.is_empty();
    let next = may_take_over(view, &smoke);
    // It comes after bring up: a set may have to grow to close a gap. A return is not held up by it.
    let block = block.or_else(|| local::gap(view, view.active()?, next.filter(|_| view.forward())?));
    let next = next.filter(|_| block.is_none() && proven && record.is_none());
    let (at_gate, gate) = match (&bring_up, next) {
        (BringUp::Hooks(gate), _) => (Some(HookPoint::BeforeBringUp), gate.clone()),
        (_, Some(set)) => (Some(HookPoint::BeforeSwitch), hooks::gate(view, HookPoint::BeforeSwitch, &set.revision)),
        _ => match &smoke {
            Smoke::Job { why, may_begin: true } if block.is_none() => (Some(HookPoint::SmokeProbes), Gate::Waits(why.clone())),
            _ => (None, Gate::Open),
        },
    };
    let next = next.filter(|_| gate == Gate::Open);
    let begun = next.and_then(|set| begin_switch(view, set));
    let together = next.is_some_and(|set| group::waits(view, set));
    let covered = begun.as_ref().is_some_and(|(_, moves)| !moves.is_empty());
    let group = group::step(view, next.filter(|_| together && covered));
    let rejected = failed(view, &smoke, &gate);
    let hooked = hooks::step(view, at_gate.filter(|_| matches!(gate, Gate::Waits(_))));
    actions.extend(tested.actions);
    actions.extend(bring_up::remember_template(view));
    actions.extend(scale::step(view));
    actions.extend(preview::step(view));
    actions.extend(std::mem::take(&mut drain.actions));
    actions.extend(switch::released(view));
    actions.extend(history::step(view));
    actions.extend(copies::spare(view));
    // Last: what is wrong with Jobs holds up nothing else.
    actions.extend(hooks::question(view));
    actions.extend(hooked.actions);
    one_write_a_set(&mut actions);
    let (budget, moves) = begun.unwrap_or_else(|| (budget::step(view), vec![]));
    let moves = if together { vec![] } else { moves };
    // The Services of a release follow it. On a way back it comes when they have moved, and what puts one right comes before it.
    let place = if view.settled() { actions.len() } else { 0 };
    actions.splice(place..place, budget.filter(|_| view.forward() || view.settled()));

    let effects = Effects {
        smoke: tested.run,
        bake: baking,
        watch: std::mem::take(&mut drain.watch),
        begin: std::mem::take(&mut drain.begin),
        reads: std::mem::take(&mut drain.reads),
    };
    // That of an overlap holds up its end, and nothing else.
    let block = block.or_else(|| overlap::gap(view)).or_else(|| copies::lost(view));
    let decided = group.intent.clone();
    let findings = Findings { block, bring_up, smoke, gate, convergence, bake, drain, group };
    let mut status = status::make(view, &findings);
    status.hooks = hooked.rows;
    let again = again(view, &findings, &status).into_iter().chain(hooked.again).reduce(f64::min);
    let promises = group::durable(status.group.as_ref(), snapshot.object.status.group.as_ref());
    if promises {
        actions.clear();
    }
    // It is never decided beside something else that goes on record.
    if let Some(switch) = record.or(decided) {
        forget_drain(snapshot, &mut status, &switch);
        if !view.settled() && switch.completed_at.is_some() {
            let runs = hooks::of_move(view, &switch, status.hooks.len());
            status.hooks.extend(runs);
        }
        status.switch = Some(switch);
        actions.clear();
    }
    if !moves.is_empty() {
        actions = moves;
    }
    if let Some(rejected) = rejected {
        status.rejected = Some(rejected);
        actions.clear();
    }
    let called = findings.group.status.as_ref().is_some_and(|group| group.state == GroupState::Ready);
    Plan { status, actions, effects, metadata: metadata::step(view), notices: hooked.notices, again, stands_by_call: called }
}

/// A mistake in the new spec must not hold up the return to pods that still run as they served; each Service is looked at by itself
/// when it is moved.
fn way_back_is_open(view: &View<'_>) -> bool {
    let set = view.target().and_then(|revision| view.set(revision));
    !view.forward() && set.is_some_and(|set| set.desired > 0 && view.served(set) && view.warm(set))
}

/// What has to be asked before it can be decided.
fn lookups(snapshot: &Snapshot) -> Vec<Action> {
    let mut actions = vec![];
    if let Identity::Unknown { raw_hash } = &snapshot.identity {
        actions.push(Action::Identify { raw_hash: raw_hash.clone() });
    }
    actions
}

/// ReplicaSets to adopt, and owners of Services to look up.
fn inheritance(snapshot: &Snapshot) -> Vec<Action> {
    if !snapshot.unread.is_empty() {
        return vec![];
    }
    let adopt = snapshot.orphans.iter().map(|set| Action::Adopt { set: SetRef::of(set) });
    let owners = snapshot.services.values().filter_map(|service| service.owner.as_ref());
    let unknown = owners.filter(|owner| owner.uid != snapshot.object.uid && !snapshot.owners.contains_key(&owner.uid));
    adopt.chain(unknown.map(|owner| Action::LookUpOwner { owner: owner.clone() })).collect()
}

fn contended(view: &View<'_>) -> Option<Block> {
    let (service, editor) = switch::contended(view)?;
    Some(Block::new(
        "Contended",
        format!(
            "the selector of Service \"{service}\" is changed again and again by {}; it is put back with growing pauses: stop it from writing spec.selector",
            editor.map_or_else(|| "somebody else".to_owned(), |editor| format!("\"{editor}\""))
        ),
    ))
}

/// Records when the move took effect, or that it is not sure any more.
fn converged(view: &View<'_>, convergence: &Convergence) -> Option<Switch> {
    let intent = view.intent?;
    match (convergence, intent.converged_at) {
        (Convergence::Yes | Convergence::Unknown(..), None) => {
            // Where nothing bakes that is over, too: a bake that is asked for later is one of the next release.
            let baked_at = bake::baked_at(intent).or_else(|| (!bake::wanted(view, intent)).then_some(view.now.wall));
            Some(Switch { converged_at: Some(view.now.wall), baked_at, ..intent.clone() })
        }
        (Convergence::Pending("NewConnectionOnOld", _), Some(_)) => Some(Switch { converged_at: None, ..intent.clone() }),
        _ => None,
    }
}

/// Records that the new revision has borne the traffic for long enough.
fn baked(view: &View<'_>, bake: &Bake) -> Option<Switch> {
    let intent = view.intent.filter(|intent| matches!(bake, Bake::Passed | Bake::TooLate) && intent.converged_at.is_some())?;
    if group::still_bakes(view, intent).is_some() {
        return None;
    }
    Some(Switch { baked_at: Some(view.now.wall), ..intent.clone() })
}

/// The set that may take over: tested with its full size, granted, no smaller than what serves, and nothing is on its way before it.
fn may_take_over<'a>(view: &View<'a>, smoke: &Smoke) -> Option<&'a Set> {
    let revision = view.target()?;
    // A move that can be neither finished nor undone ends with the next one: that moves every Service, with a higher number.
    let free = view.intent.is_none_or(|intent| view.settled() || switch::direction(view, intent) == Direction::Wait);
    // With the size for the tests it has passed; with its full size it has to pass again.
    let ready = matches!(smoke, Smoke::Passed { .. }) && bring_up::preview(view).is_none();
    let set = view.set(revision).filter(|_| ready && free && !view.snapshot.object.spec.paused && promotion::granted(view, revision))?;
    growth::lack(view, set).is_none().then_some(set)
}

/// The writes that begin the switch, if it would not be undone: that of the budget, and those of the move, none as long as it waits for the budget.
fn begin_switch(view: &View<'_>, set: &Set) -> Option<(Option<Action>, Vec<Action>)> {
    let cause = if view.forward() { crate::api::SwitchCause::Release } else { crate::api::SwitchCause::Rollback };
    let record = switch::record(view, &set.revision, cause);
    // What is enough for the way back may be too little for the look after it, which would undo it: it is growing.
    if switch::direction(view, &record) == Direction::Back {
        return None;
    }
    let record = Switch { cutover: overlap::cutover(view, cause), ..record };
    // Nobody is moved to pods that the budget does not cover. On a way back nobody waits for it.
    if view.forward() && !budget::covers(view, &record) {
        return Some((budget::write(view, &record), vec![]));
    }
    let marks = overlap::marks(view, &record);
    Some((None, if marks.is_empty() { switch::begin(view, set, &record) } else { marks }))
}

/// Rejects the revision of the spec when its smoke probes or a hook before the switch failed.
fn failed(view: &View<'_>, smoke: &Smoke, gate: &Gate) -> Option<Rejected> {
    let revision = view.target()?;
    let (reason, message) = match (smoke, gate) {
        (Smoke::Failed { message }, _) => ("SmokeFailed", message.clone()),
        (_, Gate::Failed(message)) => ("HookFailed", message.clone()),
        _ => return None,
    };
    // A set to return to is not given up a second time; it is tried until a person decides otherwise.
    view.forward().then(|| Rejected {
        revision: revision.into(),
        reason: reason.into(),
        message: conditions::short(&message),
        at: view.now.wall,
        return_to: None,
    })
}

/// Two steps may want to change the same set; each write is guarded by the same resourceVersion, so the second waits for the next round.
fn one_write_a_set(actions: &mut Vec<Action>) {
    let mut written = std::collections::BTreeSet::new();
    actions.retain(|action| match action {
        Action::Fence { set, .. }
        | Action::PatchSet { set, .. }
        | Action::Retire { set, .. }
        | Action::Part { set, .. }
        | Action::Orphan { set, .. }
        | Action::DeleteSet { set } => written.insert(set.uid.clone()),
        _ => true,
    });
}
