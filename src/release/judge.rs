//! Judging raw counts: what a pod's reports say about its connections, on this process' own clock.

use std::time::Duration;

use crate::api::{DrainSource, PodReport, PortReport};

use super::metric;
use super::snapshot::{Pod, Sample};
use super::view::View;

/// What is known about the connections of a pod that is being left.
#[derive(Clone, Debug, PartialEq)]
pub enum PodState {
    /// Connections are open.
    Open,
    /// Its own number is too high.
    Busy,
    /// None is open, but unexplained new ones came within the quiet time.
    NewConnections,
    /// None is open; not seen for long enough to be sure.
    Settling,
    /// None is open and none came.
    Drained,
    /// It should be known and is not: the agent is silent or can't read.
    Unknown(&'static str),
    /// Its node is gone, and its connections with it.
    NodeLost,
    /// It can't be known here: why.
    NotMeasured(&'static str),
    /// It was born after its set had been left, and never was an endpoint.
    NeverServed,
}

impl PodState {
    /// One word for status.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Open => "OpenConnections",
            Self::Busy => "MetricTooHigh",
            Self::NewConnections => "NewConnections",
            Self::Settling => "Settling",
            Self::Drained => "Drained",
            Self::Unknown(why) | Self::NotMeasured(why) => why,
            Self::NodeLost => "NodeLost",
            Self::NeverServed => "NeverServed",
        }
    }
}

/// Whether sockets of a pod can be seen at all; otherwise why not.
pub fn measurable(view: &View<'_>, pod: &Pod) -> Result<(), &'static str> {
    let snapshot = view.snapshot;
    if snapshot.object.spec.drain.source == DrainSource::Timer {
        return Err("TimerRequested");
    }
    if !snapshot.agents.enabled {
        return Err("AgentDisabled");
    }
    if pod.host_network {
        return Err("HostNetwork");
    }
    if pod.runtime_class.as_ref().is_some_and(|class| !snapshot.agents.runtime_classes.contains(class)) {
        return Err("SandboxedRuntime");
    }
    if let Some(node) = &pod.node {
        if snapshot.nodes.get(node).is_some_and(|node| node.exists && !node.linux) {
            return Err("NodeNotLinux");
        }
        if snapshot.agents.settled && !snapshot.agents.nodes.contains(node) {
            return Err("NoAgentOnNode");
        }
    }
    match watched_ports(view, pod).len() {
        0 => Err("NoPortsToWatch"),
        1..=WATCHED_PORTS => Ok(()),
        // Counting some of them would take the rest for zero.
        _ => Err("TooManyPorts"),
    }
}

/// As many ports of a pod are watched at most, as the schema of ConnectionWatch has it.
const WATCHED_PORTS: usize = 64;

/// Container ports of a pod whose connections count.
pub fn watched_ports(view: &View<'_>, pod: &Pod) -> Vec<i32> {
    let drain = &view.snapshot.object.spec.drain;
    let mut ports: Vec<i32> = if !drain.ports.is_empty() {
        drain.ports.iter().filter_map(|port| super::smoke::resolve(port, pod)).collect()
    } else {
        let targets =
            view.intent.into_iter().flat_map(|intent| intent.services.iter().flat_map(|service| &service.target_ports).chain(&intent.earlier_ports));
        let mut ports: Vec<i32> = targets.filter_map(|target| target.parse().ok().or_else(|| pod.ports.get(target).copied())).collect();
        // Behind a mesh the proxy accepts the connections, on ports of its own.
        ports.extend(&pod.mesh_ports);
        ports
    };
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Whether the pod's node is gone, and its connections with it.
pub fn node_lost(view: &View<'_>, pod: &Pod) -> bool {
    let Some(node) = pod.node.as_ref().and_then(|node| view.snapshot.nodes.get(node)) else {
        return false;
    };
    !node.exists || (pod.terminating && node.unreachable)
}

/// Reports of a pod in its current round.
pub fn samples<'a>(view: &View<'a>, pod: &Pod) -> &'a [Sample] {
    view.snapshot.reports.get(&pod.uid).map(Vec::as_slice).unwrap_or_default()
}

/// Whether the agent that counts this pod has fallen silent.
pub fn silent(view: &View<'_>, sample: &Sample) -> bool {
    let limit = Duration::from_secs(u64::try_from(sample.stale_after).unwrap_or(0));
    view.now.mono.saturating_sub(sample.heard) > limit
}

/// What a quiet time looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// No unexplained new connection for the whole time.
    Yes,
    /// There were some.
    No,
    /// The reports do not reach back far enough yet.
    TooShort,
}

/// Whether a pod accepted no unexplained new connection in the trailing `quietSeconds`.
pub fn quiet(view: &View<'_>, pod: &Pod, samples: &[Sample]) -> Quiet {
    let Some(latest) = samples.last() else {
        return Quiet::TooShort;
    };
    let window = Duration::from_secs(u64::try_from(view.snapshot.object.spec.traffic.quiet_seconds).unwrap_or(0));
    // Counting begins when the move is recorded; what was quiet before the Services moved says nothing about afterwards.
    let moved = view
        .intent
        .and_then(|intent| intent.completed_at)
        .map_or(Duration::ZERO, |at| view.now.mono.saturating_sub(Duration::try_from_secs_f64(view.now.seconds_since(at)).unwrap_or_default()));
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.received >= moved).collect();
    // The newest report that is old enough: everything between it and the latest lies in the window.
    let Some(base) = samples.iter().rev().find(|sample| latest.received.saturating_sub(sample.received) >= window) else {
        // Shorter than asked for, but already loud.
        return match samples.first().copied() {
            Some(first) if unexplained(view, pod, first, latest) => Quiet::No,
            _ => Quiet::TooShort,
        };
    };
    if unexplained(view, pod, base, latest) { Quiet::No } else { Quiet::Yes }
}

/// Whether more connections arrived between two reports than the pod's own probes, and readings of its number, explain.
fn unexplained(view: &View<'_>, pod: &Pod, from: &Sample, to: &Sample) -> bool {
    let window = to.received.saturating_sub(from.received).as_secs_f64();
    let reads = metric::asks(view, pod);
    let seen = to.report.ports.iter().any(|port| {
        let before = from.report.ports.iter().find(|earlier| earlier.port == port.port);
        let from_peers = |number| most_from(number, port, before);
        arrivals(port, before) > explained(pod, reads, Some(port.port), window, from_peers)
    });
    // What came and went between two samples is known by number only.
    let accepted = to.report.passive_opens - from.report.passive_opens - (to.report.elsewhere - from.report.elsewhere);
    seen || accepted > explained(pod, reads, None, window, |_| i64::MAX)
}

fn arrivals(port: &PortReport, before: Option<&PortReport>) -> i64 {
    port.arrivals - before.map_or(0, |before| before.arrivals)
}

/// As many came from so few peers at most.
fn most_from(number: usize, port: &PortReport, before: Option<&PortReport>) -> i64 {
    let complete = before.is_none_or(|before| before.peers.iter().map(|peer| peer.arrivals).sum::<i64>() >= before.arrivals);
    let new = port.peers.iter().filter_map(|peer| {
        let earlier = before.and_then(|before| before.peers.iter().find(|earlier| earlier.address == peer.address));
        match earlier {
            Some(earlier) => Some(peer.arrivals - earlier.arrivals),
            // Unknown before, and the earlier list was cut off: its share can't be told.
            None => complete.then_some(peer.arrivals),
        }
    });
    let mut new: Vec<i64> = new.collect();
    new.sort_unstable_by_key(|arrivals| std::cmp::Reverse(*arrivals));
    new.iter().take(number).sum()
}

/// Connections that the kubelet's probes may have made in a window, for each of them window / period + 1, and readings of the pod's number by
/// the same rule. All probes of a pod come from one address, and all readings from another.
fn explained(pod: &Pod, reads: Option<(i32, i32)>, port: Option<i32>, window: f64, from_peers: impl Fn(usize) -> i64) -> i64 {
    let here = |own: i32| port.is_none_or(|port| own == port);
    #[allow(clippy::cast_possible_truncation, reason = "a count of probes in a window of minutes")]
    let expected = |period: i32| (window / f64::from(period.max(1))).ceil() as i64 + 1;
    let probes: Vec<i64> = pod.own_probes.iter().filter(|probe| here(probe.port)).map(|probe| expected(probe.period)).collect();
    let reads: Vec<i64> = reads.into_iter().filter(|(port, _)| here(*port)).map(|(_, period)| expected(period)).collect();
    let peers = usize::from(!probes.is_empty()) + usize::from(!reads.is_empty());
    probes.iter().chain(&reads).sum::<i64>().min(from_peers(peers))
}

/// Open connections of a report, on all watched ports.
pub fn open(report: &PodReport) -> i64 {
    report.ports.iter().map(|port| port.open).sum()
}

/// Puts it together for one pod.
pub fn judge(view: &View<'_>, pod: &Pod) -> PodState {
    if node_lost(view, pod) {
        return PodState::NodeLost;
    }
    // Never given a node, it never ran.
    if pod.node.is_none() {
        return PodState::NeverServed;
    }
    let late = view.snapshot.late_pods.contains(&pod.uid);
    // Also one that was born after the move: it may have taken work by itself.
    if let Some(state) = metric::state(view, pod) {
        return state;
    }
    if let Err(why) = measurable(view, pod) {
        return if late { PodState::NeverServed } else { PodState::NotMeasured(why) };
    }
    let samples = samples(view, pod);
    let Some(latest) = samples.last() else {
        return if late { PodState::NeverServed } else { PodState::Unknown("NoReportYet") };
    };
    // Born after the move, it holds nothing up unless something was ever seen on it.
    let visited = samples.first().is_some_and(|first| unexplained(view, pod, first, latest));
    let never = late && !visited && samples.iter().all(|sample| open(&sample.report) == 0);
    if silent(view, latest) {
        return if never { PodState::NeverServed } else { PodState::Unknown("AgentSilent") };
    }
    if latest.report.unreadable.is_some() {
        return if never { PodState::NeverServed } else { PodState::Unknown("SocketsUnreadable") };
    }
    if open(&latest.report) > 0 {
        return PodState::Open;
    }
    match quiet(view, pod, samples) {
        Quiet::No => PodState::NewConnections,
        // Two samples, at least a second apart, without an open connection.
        Quiet::Yes if latest.report.zero_millis.is_some_and(|millis| millis >= 1000) => PodState::Drained,
        Quiet::Yes | Quiet::TooShort => PodState::Settling,
    }
}
