//! Groups: BlueGreenDeployments of one namespace that switch together, or not at all.
//!
//! Each object is looked at by itself, in any order, by a process that may end at any time or may have read the others a while ago. So the
//! decision must be one write, and nobody may change its mind between saying yes and that write. It is a commit in two steps, in status:
//!
//! 1. A member says how far it is (`status.group.state`). That is only information: it may change at any time.
//! 2. The first by name of those that are ready, once it sees that nobody is to be waited for, calls (`status.group.call`): who goes to which
//!    revision, under a number that only grows. As soon as it sees anything else than what it called for, it withdraws.
//! 3. A member that is called, is ready for that revision, and sees the same, joins (`status.group.joined`). From then on it decides nothing:
//!    it starts no move, gives up no revision, takes no command, until it reads what became of the call. That lasts for a few requests.
//! 4. When all have joined the one that called records the decision together with its own intent, in one write (`status.switch.group`). The
//!    write is guarded by its object's version, so it excludes the withdrawal.
//! 5. A member that has joined and finds the decision on record, be it with the one that called or with one that has followed already, records
//!    its own intent with it, whatever its spec says by then and whatever became of its pods. From there on it is a move like any other: an
//!    interrupted one is finished, or undone where the new pods are gone, which takes the others back (below). One that finds the call
//!    withdrawn is free. That is told by the number: what it reads may be older than the call itself, and then it goes on waiting.
//!
//! So: an intent with a decision is recorded only if every member that the decision names had promised to follow it, and a member that has
//! promised is never left without an answer: the one that called either stands by the call, decides it, withdraws it or is deleted; and
//! whoever has lost his status counts on from the highest number that others name.
//!
//! After the switch, until all of them have borne it for long enough (`spec.bake`), one that goes back takes the others back, each by its own
//! way back, once, and only to an old set that is still whole and warm ([`gone_back`]). The old sets of those that bake stay until all have.
//!
//! What is not promised. The members switch one after the other within moments, not in one instant: no Service of Kubernetes is written
//! together with another. Without `release` a member whose template changes in the very moment of the decision is not a part of it. A status
//! that somebody removes between the decision and its last write makes the rest switch later, by a decision of its own. A member that is
//! deleted, ejected or taken out of the group is none any more.

use crate::api::{Group, GroupMember, GroupMove, GroupPledge, GroupState, GroupStatus, Switch, SwitchCause};

use super::bake;
use super::overlap;
use super::peer::Peer;
use super::set::Set;
use super::switch::{self, Direction};
use super::view::View;

/// Seconds for which a call stands. Who has joined does nothing else meanwhile, and one that can't join must not keep it from that.
const STANDS: f64 = 10.0;
/// Seconds after a call that not all have followed until the next one.
const AGAIN: f64 = 60.0;
/// As many members a decision can hold.
const MOST_MEMBERS: usize = 32;

/// What the group means for this round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What to tell the others.
    pub status: Option<GroupStatus>,
    /// The decision, as the intent that goes on record with it.
    pub intent: Option<Switch>,
    /// For whom it waits, in words; absent where it does not stand before its switch.
    pub waits: Option<String>,
}

/// Where a member stands that has promised to follow a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Pledge {
    /// It has promised nothing.
    None,
    /// Nothing is known of the outcome yet.
    Waits,
    /// It was decided: this is to be recorded.
    Kept(Box<Switch>),
    /// It was withdrawn, or undone already.
    Over,
}

fn group<'a>(view: &View<'a>) -> Option<&'a Group> {
    view.snapshot.object.spec.promotion.group.as_ref()
}

fn before<'a>(view: &View<'a>) -> Option<&'a GroupStatus> {
    view.snapshot.object.status.group.as_ref()
}

/// The decision by which this member came to where it is.
fn decision<'a>(view: &View<'_>, intent: &'a Switch) -> Option<&'a GroupMove> {
    intent.group.as_ref().filter(|decision| decision.led(&view.snapshot.object.uid, &intent.to))
}

/// Whether a member waits for the others with its switch to a set. What takes users back to pods that have served them, or gives some to users who
/// have none, waits for nobody.
pub fn waits(view: &View<'_>, set: &Set) -> bool {
    let back = view.intent.is_some_and(|intent| intent.from.as_ref() == Some(&set.revision)) && view.served(set) && view.warm(set);
    let nobody = view.intent.is_some() && view.ready_active() == 0 && view.snapshot.object.spec.replicas > 0;
    group(view).is_some() && view.forward() && !back && !nobody
}

/// Seconds since the last call; none where the clock has been set since.
fn call_age(view: &View<'_>) -> Option<f64> {
    let at = before(view).and_then(|group| group.called_at)?;
    Some(view.now.seconds_since(at)).filter(|age| *age >= 0.0)
}

/// Seconds until a call is withdrawn, or made again.
pub fn due_in(view: &View<'_>) -> Option<f64> {
    let lasts = if before(view)?.call.is_some() { STANDS } else { AGAIN };
    Some(lasts - call_age(view)?)
}

fn is(moved: &GroupMove, by: &str, number: i64) -> bool {
    moved.by == by && moved.number == number
}

/// The decisions of peers that are this one.
fn acts<'a>(view: &View<'a>, by: &str, number: i64) -> impl Iterator<Item = (&'a Peer, &'a GroupMove)> {
    let moved = |peer: &'a Peer| peer.moved.as_ref().and_then(|moved| moved.group.as_ref());
    view.snapshot.peers.iter().filter_map(move |peer| Some((peer, moved(peer)?))).filter(move |(_, moved)| is(moved, by, number))
}

/// Whether a peer that had switched by a decision is not where that led any more.
fn went_back(peer: &Peer, decision: &GroupMove) -> bool {
    let named = decision.members.iter().find(|member| member.uid == peer.uid);
    named.is_none_or(|named| peer.moved.as_ref().is_some_and(|moved| moved.to != named.revision))
}

/// What became of the call that this member has joined.
pub fn pledge(view: &View<'_>) -> Pledge {
    let Some(joined) = before(view).and_then(|group| group.joined.as_ref()) else {
        return Pledge::None;
    };
    let GroupPledge { by, number, revision } = joined;
    if acts(view, by, *number).any(|(peer, moved)| went_back(peer, moved)) {
        return Pledge::Over;
    }
    if let Some((_, decision)) = acts(view, by, *number).next() {
        return if view.is_active(revision) { Pledge::Over } else { Pledge::Kept(Box::new(intent(view, revision, decision))) };
    }
    let Some(caller) = view.snapshot.peers.iter().find(|peer| peer.uid == *by && !peer.deleting) else {
        // Who is gone decides nothing, and nobody has followed him.
        return Pledge::Over;
    };
    match &caller.status {
        Some(status) if status.call.as_ref().is_some_and(|call| is(call, by, *number)) => Pledge::Waits,
        Some(status) if status.called >= *number => Pledge::Over,
        // What is read is older than the call, or the one that called has lost his status and is about to count on.
        _ => Pledge::Waits,
    }
}

/// The status without the promise that is fulfilled or void.
pub fn freed(view: &View<'_>) -> Option<GroupStatus> {
    before(view).map(|group| GroupStatus { joined: None, ..group.clone() })
}

/// The intent that a decision means. Where the new pods are gone by now that is to be found out as for any interrupted move, at once: two revisions
/// do not serve together then.
fn intent(view: &View<'_>, revision: &str, decision: &GroupMove) -> Switch {
    let record = Switch { group: Some(decision.clone()), ..switch::record(view, revision, SwitchCause::Release) };
    if switch::direction(view, &record) != Direction::On {
        return record;
    }
    Switch { cutover: overlap::cutover(view, SwitchCause::Release), ..record }
}

/// What is told while nothing is decided, or where there is nothing to decide about.
pub fn told(view: &View<'_>) -> Option<GroupStatus> {
    let known = before(view);
    let Some(group) = group(view) else {
        // The number stays: somebody may have read less than that it has left.
        return known.filter(|known| known.called > 0).map(|known| GroupStatus {
            name: known.name.clone(),
            called: called(view),
            state: GroupState::Idle,
            ..GroupStatus::default()
        });
    };
    let rests = view.rejected.is_none() && view.settled() && view.revision.is_some_and(|revision| view.is_active(revision));
    // It has no users to be kept in step with others'.
    let asleep = view.snapshot.object.spec.replicas == 0 && view.ready_active() == 0;
    let state = if rests || asleep { GroupState::Idle } else { GroupState::Preparing };
    let joined = known.and_then(|known| known.joined.clone());
    Some(GroupStatus {
        name: group.name.clone(),
        state,
        revision: None,
        borne: borne(view),
        joined,
        call: None,
        called: called(view),
        called_at: None,
    })
}

/// The number of the last call of this member, as far as anybody knows.
fn called(view: &View<'_>) -> i64 {
    let uid = &view.snapshot.object.uid;
    let own = before(view).map_or(0, |group| group.called);
    let moved = view.intent.and_then(|intent| decision(view, intent));
    let others = view.snapshot.peers.iter().filter_map(|peer| peer.moved.as_ref()?.group.as_ref());
    let decided = moved.into_iter().chain(others).filter(|moved| moved.by == *uid).map(|moved| moved.number);
    let joined = view.snapshot.peers.iter().filter_map(|peer| peer.status.as_ref()?.joined.as_ref()).filter(|joined| joined.by == *uid);
    joined.map(|joined| joined.number).chain(decided).fold(own, i64::max)
}

/// Whom this member sees ready beside itself, or for whom it waits.
fn ready_with(view: &View<'_>, group: &Group, revision: &str) -> Result<Vec<GroupMember>, String> {
    let object = &view.snapshot.object;
    let mut members = vec![GroupMember { name: object.name.clone(), uid: object.uid.clone(), revision: revision.into() }];
    let mut waits = vec![];
    for peer in view.snapshot.peers.iter().filter(|peer| peer.member(&group.name)) {
        let release = peer.group.as_ref().and_then(|own| own.release.as_ref());
        let why = match (peer.state(&group.name), &peer.status) {
            _ if release != group.release.as_ref() => {
                release.map_or_else(|| "no release named".to_owned(), |release| format!("at release {release}"))
            }
            (Some(GroupState::Idle), _) => continue,
            (Some(GroupState::Ready), Some(GroupStatus { revision: Some(revision), .. })) => {
                members.push(GroupMember { name: peer.name.clone(), uid: peer.uid.clone(), revision: revision.clone() });
                continue;
            }
            _ => peer.says(&group.name),
        };
        waits.push(format!("{} ({why})", peer.name));
    }
    if !waits.is_empty() {
        return Err(waits.join(" and "));
    }
    if members.len() > MOST_MEMBERS {
        return Err(format!("a smaller group: {} members are ready, and at most {MOST_MEMBERS} can switch together", members.len()));
    }
    members.sort();
    Ok(members)
}

/// The step of a member, which could begin its switch to `ready` now if it were alone.
pub fn step(view: &View<'_>, ready: Option<&Set>) -> Outcome {
    let told = told(view);
    let (Some(group), Some(mut status), Some(set)) = (group(view), told.clone(), ready) else {
        return Outcome { status: told, intent: None, waits: None };
    };
    (status.state, status.revision) = (GroupState::Ready, Some(set.revision.clone()));
    let outcome = |status, waits| Outcome { status: Some(status), intent: None, waits: Some(waits) };
    let members = match ready_with(view, group, &set.revision) {
        Ok(members) => members,
        Err(waits) => return outcome(status, waits),
    };
    let uid = &view.snapshot.object.uid;
    let first = members.first().filter(|first| first.uid != *uid);
    if let Some(first) = first {
        let caller = view.snapshot.peers.iter().find(|peer| peer.uid == first.uid);
        let call = caller.and_then(|peer| peer.status.as_ref()).and_then(|status| status.call.as_ref()).filter(|call| call.members == members);
        status.joined = call.map(|call| GroupPledge { by: call.by.clone(), number: call.number, revision: set.revision.clone() });
        let waits = format!("{} (about to decide)", first.name);
        return outcome(status, waits);
    }
    let alone = members.len() == 1;
    let call = before(view).and_then(|group| group.call.as_ref()).filter(|call| call.members == members && !alone && call.number == status.called);
    let joined = |call: &GroupMove| {
        let follows = |member: &GroupMember| view.snapshot.peers.iter().any(|peer| peer.uid == member.uid && joins(peer, call, member));
        members.iter().filter(|member| member.uid != *uid).all(follows)
    };
    let age = call_age(view);
    status.called_at = before(view).and_then(|group| group.called_at);
    let decision = match call {
        Some(call) if joined(call) => Some(call.clone()),
        Some(_) if age.is_none_or(|age| age >= STANDS) => {
            return outcome(status, "those who have not followed its call, which is made again in a minute".into());
        }
        Some(_) => None,
        None if !alone && age.is_some_and(|age| age < AGAIN) => {
            return outcome(status, "those who have not followed its call, which is made again in a minute".into());
        }
        None => Some(GroupMove { by: uid.clone(), number: status.called.saturating_add(1), members: members.clone() }),
    };
    match decision {
        Some(decision) if call.is_some() || alone => {
            (status.called, status.called_at) = (decision.number, None);
            let intent = intent(view, &set.revision, &decision);
            Outcome { status: Some(status), intent: Some(intent), waits: None }
        }
        new => {
            if let Some(call) = &new {
                (status.called, status.called_at) = (call.number, Some(view.now.wall));
            }
            status.call = new.or_else(|| call.cloned());
            let others: Vec<&str> = members.iter().filter(|member| member.uid != *uid).map(|member| member.name.as_str()).collect();
            outcome(status, format!("{} (about to follow)", others.join(" and ")))
        }
    }
}

fn joins(peer: &Peer, call: &GroupMove, member: &GroupMember) -> bool {
    let joined = peer.status.as_ref().and_then(|status| status.joined.as_ref());
    joined.is_some_and(|joined| is(call, &joined.by, joined.number) && joined.revision == member.revision)
}

/// Whether two states of a member differ in what it has called or promised.
pub fn durable(one: Option<&GroupStatus>, other: Option<&GroupStatus>) -> bool {
    let recorded = |group: Option<&GroupStatus>| group.map(|group| (group.joined.clone(), group.call.clone(), group.called)).unwrap_or_default();
    recorded(one) != recorded(other)
}

/// What a move that is no release of the group keeps of the decision that it undoes, as long as that takes the others back.
pub fn mark(view: &View<'_>, cause: SwitchCause) -> Option<GroupMove> {
    let decision =
        view.intent.and_then(|intent| decision(view, intent)).filter(|decision| cause != SwitchCause::Release && !decision.members.is_empty())?;
    let baked = view.intent.is_some_and(|intent| bake::baked_at(intent).is_some());
    let over = baked && acts(view, &decision.by, decision.number).all(|(peer, _)| peer.moved.as_ref().is_some_and(|moved| moved.baked));
    (!over).then(|| GroupMove { members: vec![], ..decision.clone() })
}

/// The member that went back from the decision by which this one has switched.
pub fn gone_back<'a>(view: &View<'a>, intent: &Switch) -> Option<&'a str> {
    let decision = decision(view, intent).filter(|_| intent.cause == SwitchCause::Release)?;
    acts(view, &decision.by, decision.number).find(|(peer, moved)| went_back(peer, moved)).map(|(peer, _)| peer.name.as_str())
}

/// Whether this member has borne its last common switch for long enough by itself.
fn borne(view: &View<'_>) -> bool {
    let Some(intent) = view.intent.filter(|intent| decision(view, intent).is_some_and(|group| group.members.len() > 1)) else {
        return false;
    };
    // Where the bake was taken out of the spec meanwhile there is nothing more to bear.
    let enough = !bake::wanted(view, intent) || bake::step(view).0 == bake::Bake::Passed;
    bake::baked_at(intent).is_some() || intent.converged_at.is_some() && enough
}

/// Whether the set that this member has left stays for the sake of others, who may take it back.
pub fn holds(view: &View<'_>, set: &Set) -> bool {
    let left = view.intent.filter(|intent| intent.completed_at.is_some() && intent.from.as_ref() == Some(&set.revision));
    set.loose.is_none() && left.is_some_and(|intent| still_bakes(view, intent).is_some())
}

/// For whom a member that has borne the switch waits before its old pods may go.
pub fn still_bakes<'a>(view: &View<'a>, intent: &Switch) -> Option<&'a str> {
    let decision = decision(view, intent).filter(|_| intent.cause == SwitchCause::Release)?;
    let bakes = |peer: &&Peer| {
        let follows = peer
            .moved
            .as_ref()
            .is_some_and(|moved| !moved.baked && moved.group.as_ref().is_some_and(|group| is(group, &decision.by, decision.number)));
        let about_to = peer.status.as_ref().and_then(|status| status.joined.as_ref()).is_some_and(|joined| is(decision, &joined.by, joined.number));
        let named = decision.members.iter().any(|member| member.uid == peer.uid);
        named && !peer.deleting && (about_to || follows && !peer.status.as_ref().is_some_and(|status| status.borne))
    };
    view.snapshot.peers.iter().find(bakes).map(|peer| peer.name.as_str())
}
