//! Drain: old pods stay until their connections have really ended, or the deadline is over.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::keys::command;
use crate::api::{DrainSource, DrainingStatus, Holder, ScaleDown, SwitchCause};

use super::action::{Action, BeginCall, Notice, SetChange, SetRef, WatchPod};
use super::bake;
use super::begin;
use super::judge::{self, PodState};
use super::metric::{self, Reads};
use super::overlap;
use super::part;
use super::reached::{Reach, reach};
use super::services::may_lead;
use super::set::Set;
use super::snapshot::{Identity, Pod, Snapshot};
use super::view::{View, count, counted};

/// Why a set that has drained is still there.
pub const KEPT_WARM: &str = "KeptWarm";
/// Old pods behind a headless Service stay at least so long.
const HEADLESS_SECONDS: i32 = 60;

/// What the drain comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Writes.
    pub actions: Vec<Action>,
    /// Pods to count.
    pub watch: Vec<WatchPod>,
    /// Pods to tell.
    pub begin: Vec<BeginCall>,
    /// Pods whose numbers are to be read.
    pub reads: Vec<Reads>,
    /// For status.
    pub status: Vec<DrainingStatus>,
    /// Seconds until a deadline of its own.
    pub again: Option<f64>,
}

/// Looks at every set that is not, and is not about to become, the active one.
pub fn step(view: &View<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    unserved(view, &mut outcome);
    outcome.actions.extend(part::lost_sets(view));
    let Some(intent) = view.intent else {
        return outcome;
    };
    for set in view.being_left() {
        outcome.watch.extend(view.pods(set).filter_map(|pod| watch(view, pod, intent.attempt)));
        // Until every Service has moved, and while traffic is about to come back to it, or may by a bake, a set is not drained.
        let comes_back = view.target() == Some(set.revision.as_str()) && view.warm(set);
        let held = bake::holds(view, set);
        if held && let Some(seconds) = bake::held_for(view) {
            soonest(&mut outcome.again, seconds);
        }
        if intent.completed_at.is_none() || comes_back || held {
            // What is known of it stays: a later move gives nobody more time.
            outcome.status.extend(known(view, set).cloned());
            continue;
        }
        left(view, set, &mut outcome);
    }
    outcome
}

/// Sets that never served: superseded ones go at once, rejected ones after a while for a look.
fn unserved(view: &View<'_>, outcome: &mut Outcome) {
    let spec = &view.snapshot.object.spec;
    if spec.paused || !view.snapshot.unread.is_empty() {
        return;
    }
    let identified = matches!(view.snapshot.identity, Identity::Known { .. });
    // Somebody who keeps widening a selector would send traffic to untested pods: then there are none until it ends.
    let exposed = super::switch::contended(view).is_some();
    for set in view.snapshot.sets.iter().filter(|set| !set.deleting && set.desired > 0 && !view.served(set)) {
        let wanted = (view.target() == Some(set.revision.as_str()) && !exposed) || view.is_active(&set.revision);
        if wanted && !view.spare(set) {
            continue;
        }
        // Where the revision to return to was deleted meanwhile, it is all that users have.
        if view.active().is_none() && !view.spare(set) && selects(view, set) {
            continue;
        }
        let rejected = view.rejected.filter(|rejected| rejected.revision == set.revision);
        // Until the new template is identified nobody knows what is superseded by it; what was given up is given up all the same.
        if !identified && rejected.is_none() {
            continue;
        }
        if let Some(rejected) = rejected {
            let left = f64::from(spec.on_failure.keep_seconds) - view.now.seconds_since(rejected.at);
            if left > 0.0 {
                soonest(&mut outcome.again, left);
                continue;
            }
        }
        let marks = super::switch::withdraw(view, set);
        if !marks.is_empty() {
            outcome.actions.extend(marks);
            continue;
        }
        outcome
            .actions
            .push(Action::PatchSet { set: SetRef::of(set), change: SetChange { replicas: Some(0), drop_proof: true, ..SetChange::default() } });
    }
}

/// Whether a declared Service selects the very revision of a set.
fn selects(view: &View<'_>, set: &Set) -> bool {
    let declared = view.snapshot.object.spec.traffic.services.iter().filter_map(|name| view.snapshot.services.get(name));
    declared.into_iter().any(|service| overlap::leads_to(&service.selector, &set.revision, view.intent))
}

/// What status says of a set that is being left. A revision can be left twice at a time, once by pods that have lost their ReplicaSet.
fn known<'a>(view: &View<'a>, set: &Set) -> Option<&'a DrainingStatus> {
    let mut rows = view.snapshot.object.status.draining.iter().filter(|entry| entry.revision == set.revision);
    match set.loose {
        Some(since) => rows.find(|entry| entry.since == since),
        // A row from before the traffic came to this set is about pods of the same revision that are gone.
        None => rows.find(|entry| !is_loose(view.snapshot, entry) && set.switch.as_ref().is_none_or(|switch| entry.since >= switch.started_at)),
    }
}

/// Whether a row of status is about pods that have lost their ReplicaSet.
pub fn is_loose(snapshot: &Snapshot, entry: &DrainingStatus) -> bool {
    snapshot.sets.iter().any(|set| set.revision == entry.revision && set.loose == Some(entry.since))
}

fn left(view: &View<'_>, set: &Set, outcome: &mut Outcome) {
    let object = &view.snapshot.object;
    let Some(intent) = view.intent else { return };
    let completed = intent.completed_at.unwrap_or(view.now.wall);
    let previous = known(view, set);
    // Its time begins when it is left for good: at the end of a bake, also when that is taken out of the spec.
    let left = match bake::baked_at(intent) {
        _ if intent.from.as_ref() != Some(&set.revision) => completed,
        Some(at) if bake::wanted(view, intent) => at,
        None if intent.converged_at.is_some() => view.now.wall,
        _ => completed,
    };
    let since = set.loose.unwrap_or_else(|| previous.map_or(left, |entry| entry.since));
    let deadline = later(since, object.spec.drain.deadline_seconds);
    // At the deadline nobody is cut off while the pods stay anyway.
    let deadline = warm_until(view, set, since).map_or(deadline, |until| until.max(deadline));
    let fallback = later(since, object.spec.drain.fallback_seconds);
    let pods: Vec<&Pod> = view.pods(set).collect();
    let states: Vec<(&Pod, PodState)> = pods.iter().map(|pod| (*pod, judge::judge(view, pod))).collect();
    let done = |state: &PodState| match state {
        PodState::Drained | PodState::NodeLost | PodState::NeverServed => true,
        // Where nothing can be measured the clock decides, unless only sockets were asked for.
        PodState::NotMeasured(_) => object.spec.drain.source != DrainSource::Sockets && view.now.wall >= fallback,
        PodState::Open | PodState::Busy | PodState::NewConnections | PodState::Settling | PodState::Unknown(_) => false,
    };
    let drained = states.iter().filter(|(_, state)| done(state)).count();
    outcome.reads.extend(metric::reads(view, set));
    let begun = begin::step(view, set, &pods, outcome);
    let rest = intent.converged_at.map(|at| later(at, minimum_seconds(view)));
    let rested = rest.is_some_and(|at| view.now.wall >= at);
    // A person may end a drain, too.
    let ordered = object.commands.get(command::FINISH_DRAIN).is_some_and(|named| *named == set.revision);
    let overdue = ordered || view.now.wall >= deadline;
    let warm = warm_until(view, set, since).filter(|until| !ordered && view.now.wall < *until);
    let selected = still_selected(view, set);
    let reaches: Vec<Reach> = pods.iter().map(|pod| reach(view, pod)).collect();
    let reached = set.loose.is_none() && reaches.iter().any(|reach| *reach != Reach::No);
    let waits = match () {
        () if overdue && selected => Some("StillSelected"),
        () if overdue && reached => Some("StillEndpoint"),
        () if drained < states.len() => None,
        () if !begun && intent.converged_at.is_some() => Some("NotToldYet"),
        () if !rested && intent.converged_at.is_some() => Some("MinimumTime"),
        () if rested && warm.is_some() => Some(KEPT_WARM),
        () if selected => Some("StillSelected"),
        () if reached => Some("StillEndpoint"),
        () => None,
    };
    let entry = status(view, set, &states, drained, since, deadline, previous, waits);
    for at in [Some(deadline), Some(fallback), rest, warm].into_iter().flatten() {
        soonest(&mut outcome.again, -view.now.seconds_since(at));
    }
    for reach in reaches {
        if let Reach::Late(seconds) = reach {
            soonest(&mut outcome.again, seconds);
        }
    }
    let ended = drained == states.len() && rested && begun;
    let over = (ended || overdue) && warm.is_none();
    let one_by_one = object.spec.drain.scale_down == ScaleDown::PerPod && rested && begun && warm.is_none();
    let mut going: Vec<(&Pod, PodState)> = states.into_iter().filter(|(_, state)| over || one_by_one && done(state)).collect();
    if set.loose.is_some() {
        going.retain(|(pod, _)| part::taken(pod) && reach(view, pod) == Reach::No);
        // One at a time: whether the next may go is judged anew, as reports come in while this one is deleted. Where a deletion is refused
        // the others do not wait for it.
        if !overdue && view.snapshot.refused.is_none() {
            going.truncate(1);
        }
    }
    let limit = if ordered { None } else { Some(object.spec.drain.deadline_seconds) };
    let notice = lost(&entry, &going).or_else(|| (!ended && overdue).then(|| cut(&entry, limit)));
    outcome.status.push(entry);
    if selected || reached || !part::may_write(view, set) {
        return;
    }
    match (set.loose, over) {
        (Some(_), _) => outcome.actions.extend(part::delete(view, set, going.iter().map(|(pod, _)| *pod), notice)),
        (None, true) => {
            let services = object.spec.traffic.services.clone();
            outcome.actions.push(Action::Retire { set: SetRef::of(set), attempt: intent.attempt, services, notice });
        }
        (None, false) if !going.is_empty() => outcome.actions.extend(part::step(view, set, intent, since)),
        (None, false) => {}
    }
}

/// Until when a set stays at full size although nobody needs it any more. Only the one that was left last, by a release: of several the
/// others have nobody to go back to them, and what was given up is not kept.
fn warm_until(view: &View<'_>, set: &Set, since: Timestamp) -> Option<Timestamp> {
    let seconds = view.snapshot.object.spec.drain.keep_warm_seconds;
    let last = view.intent.is_some_and(|intent| intent.from.as_ref() == Some(&set.revision) && intent.cause == SwitchCause::Release);
    (seconds > 0 && last && set.loose.is_none() && view.warm(set)).then(|| later(since, seconds))
}

/// Whether a set has drained and stays for nobody's sake but for a way back.
pub fn only_warm(view: &View<'_>, set: &Set) -> bool {
    known(view, set).is_some_and(|entry| entry.reason == KEPT_WARM)
}

/// Whether a set is to be able to take the traffic back as it is, for some time.
pub fn kept_warm(view: &View<'_>, set: &Set) -> bool {
    known(view, set).is_some_and(|entry| warm_until(view, set, entry.since).is_some_and(|until| view.now.wall < until))
}

/// Whether a declared Service could still lead to the pods, as one that was declared later and can't be taken. The live read before they go
/// would refuse, again and again, and nothing would be said of it.
fn still_selected(view: &View<'_>, set: &Set) -> bool {
    let object = &view.snapshot.object;
    let mut declared = object.spec.traffic.services.iter().filter_map(|name| view.snapshot.services.get(name));
    declared.any(|service| may_lead(&service.selector, &set.selector))
}

/// How long old pods stay after convergence in any case. Clients of a headless Service keep for a while what DNS once told them.
fn minimum_seconds(view: &View<'_>) -> i32 {
    let spec = &view.snapshot.object.spec;
    let mut services = spec.traffic.services.iter().filter_map(|name| view.snapshot.services.get(name));
    let least = if services.any(|service| service.headless) { HEADLESS_SECONDS } else { 0 };
    spec.drain.minimum_seconds.max(least)
}

/// Connections that went with their node are nobody's choice, but somebody may ask where they went.
fn lost(entry: &DrainingStatus, states: &[(&Pod, PodState)]) -> Option<Notice> {
    let lost = states.iter().filter(|(_, state)| *state == PodState::NodeLost).count();
    (lost > 0).then(|| Notice {
        warning: true,
        reason: "NodeLost",
        message: format!("revision {}: {lost} of {} pods were lost with their nodes, and the connections to them", entry.revision, entry.pods),
    })
}

/// What is still open at the deadline, or when a person ends the drain, is cut, and that is said.
fn cut(entry: &DrainingStatus, deadline: Option<i32>) -> Notice {
    let open = entry.open_connections.map_or_else(|| "an unknown number of open connections".to_owned(), |open| counted(open, "open connection"));
    let (reason, how) = match deadline {
        Some(seconds) => ("DrainDeadline", format!("reached its drain deadline of {seconds} s")),
        None => ("DrainFinished", "had its drain ended by finish-drain".to_owned()),
    };
    let open = entry.metric.as_ref().map_or(open.clone(), |number| format!("a metric of {number} and {open}"));
    let message =
        format!("revision {} {how} with {open} ({}); {} of {} pods had drained", entry.revision, entry.reason, entry.drained_pods, entry.pods);
    Notice { warning: true, reason, message }
}

fn watch(view: &View<'_>, pod: &Pod, attempt: i64) -> Option<WatchPod> {
    judge::measurable(view, pod).ok()?;
    let node = pod.node.clone()?;
    if view.snapshot.nodes.get(&node).is_some_and(|node| !node.exists) {
        return None;
    }
    Some(WatchPod { node, uid: pod.uid.clone(), epoch: attempt, ports: judge::watched_ports(view, pod), ignore: ignored(view) })
}

/// Networks whose connections never count; addresses of nodes are cut out of them by leaving such a network out.
pub fn ignored(view: &View<'_>) -> Vec<String> {
    let peers = &view.snapshot.object.spec.drain.ignore_peers;
    let node_addresses: Vec<std::net::IpAddr> =
        view.snapshot.nodes.values().flat_map(|node| &node.addresses).filter_map(|address| address.parse().ok()).collect();
    let mut networks: Vec<String> = vec![];
    for (index, peer) in peers.iter().enumerate() {
        if let Some(cidr) = peer.cidr.as_ref().and_then(|cidr| cidr.parse::<ipnet::IpNet>().ok())
            && !node_addresses.iter().any(|address| cidr.contains(address))
        {
            networks.push(cidr.trunc().to_string());
        }
        for address in view.snapshot.ignored_addresses.get(&index).into_iter().flatten() {
            if let Ok(address) = address.parse::<std::net::IpAddr>()
                && !node_addresses.contains(&address)
            {
                networks.push(ipnet::IpNet::from(address).to_string());
            }
        }
    }
    networks.sort();
    networks.dedup();
    networks.truncate(64);
    networks
}

/// Networks of `drain.ignorePeers` that hold a node's address and are therefore not ignored.
pub fn refused_networks(view: &View<'_>) -> Vec<String> {
    let addresses: Vec<std::net::IpAddr> =
        view.snapshot.nodes.values().flat_map(|node| &node.addresses).filter_map(|address| address.parse().ok()).collect();
    let cidrs = view.snapshot.object.spec.drain.ignore_peers.iter().filter_map(|peer| peer.cidr.as_ref());
    cidrs.filter(|cidr| cidr.parse::<ipnet::IpNet>().is_ok_and(|cidr| addresses.iter().any(|address| cidr.contains(address)))).cloned().collect()
}

#[allow(clippy::too_many_arguments, reason = "what one row of status is made of")]
fn status(
    view: &View<'_>,
    set: &Set,
    states: &[(&Pod, PodState)],
    drained: usize,
    since: Timestamp,
    deadline: Timestamp,
    previous: Option<&DrainingStatus>,
    waits: Option<&str>,
) -> DrainingStatus {
    let measured: Vec<&(&Pod, PodState)> = states
        .iter()
        .filter(|(_, state)| matches!(state, PodState::Open | PodState::Busy | PodState::NewConnections | PodState::Settling | PodState::Drained))
        .collect();
    // What a pod says itself tells nothing of whether its connections are counted.
    let counted = |pod: &Pod| judge::samples(view, pod).last().filter(|sample| !judge::silent(view, sample) && sample.report.unreadable.is_none());
    let reports = || measured.iter().filter_map(|(pod, _)| counted(pod));
    let open: i64 = reports().map(|sample| judge::open(&sample.report)).sum();
    // A number that a silent agent once told, or a zero of some pods only, would be taken for the whole truth.
    let sure = states.iter().all(|(_, state)| !matches!(state, PodState::Unknown(_))) && measured.iter().all(|(pod, _)| counted(pod).is_some());
    let seen = reports().next().is_some() && (open > 0 || sure);
    let oldest = reports().filter_map(|sample| {
        let age = sample.report.oldest_millis? + i64::try_from(view.now.mono.saturating_sub(sample.received).as_millis()).unwrap_or(0);
        view.now.wall.checked_sub(SignedDuration::from_millis(age)).ok()
    });
    // An age is reported again and again; only a difference that a person would notice is a change of status.
    let oldest_since = oldest.min().map(|at| match previous.and_then(|entry| entry.oldest_since) {
        Some(before) if before.duration_since(at).as_secs().abs() <= 5 => before,
        _ => at.round(jiff::Unit::Second).unwrap_or(at),
    });
    let worst = states.iter().map(|(_, state)| state).max_by_key(|state| severity(state));
    let asked = view.snapshot.object.spec.drain.source;
    let source = match asked {
        DrainSource::Sockets => asked,
        _ if states.iter().any(|(_, state)| matches!(state, PodState::NotMeasured(_))) => DrainSource::Timer,
        DrainSource::Metric if states.iter().any(|(pod, _)| metric::state(view, pod).is_some()) => asked,
        _ => DrainSource::Sockets,
    };
    let (number, trouble) = metric::told(view, states);
    DrainingStatus {
        revision: set.revision.clone(),
        color: set.color.name().into(),
        pods: count(states.len()),
        drained_pods: count(drained),
        open_connections: seen.then_some(open),
        oldest_since,
        source,
        metric: number,
        message: trouble,
        reason: waits.unwrap_or_else(|| worst.map_or("Drained", PodState::reason)).into(),
        holders: holders(view, reports()),
        since,
        deadline,
    }
}

fn severity(state: &PodState) -> u8 {
    match state {
        PodState::Open | PodState::Busy => 7,
        PodState::Unknown(_) => 6,
        PodState::NotMeasured(_) => 5,
        PodState::NewConnections => 4,
        PodState::Settling => 3,
        PodState::NodeLost => 2,
        PodState::NeverServed => 1,
        PodState::Drained => 0,
    }
}

fn holders<'a>(view: &View<'_>, reports: impl Iterator<Item = &'a super::snapshot::Sample>) -> Vec<Holder> {
    let mut by_peer: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for sample in reports {
        for port in &sample.report.ports {
            for peer in port.peers.iter().filter(|peer| peer.open > 0) {
                *by_peer.entry((peer.address.as_str(), port.port)).or_default() += peer.open;
            }
        }
    }
    let mut holders: Vec<Holder> = by_peer
        .into_iter()
        .map(|((address, port), connections)| Holder {
            address: address.into(),
            pod: view.snapshot.peer_names.get(address).cloned().flatten(),
            port,
            connections,
        })
        .collect();
    holders.sort_by(|one, other| other.connections.cmp(&one.connections).then_with(|| one.cmp(other)));
    holders.truncate(5);
    holders
}

/// So many seconds after a time.
pub fn later(at: Timestamp, seconds: i32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// Keeps the smaller of two waits, leaving out what is over.
pub fn soonest(again: &mut Option<f64>, seconds: f64) {
    if seconds > 0.0 {
        *again = Some(again.map_or(seconds, |known| known.min(seconds)));
    }
}
