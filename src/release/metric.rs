//! Drain by a number that each old pod tells of itself.

use std::net::SocketAddr;
use std::time::Duration;

use crate::api::{DrainMetric, DrainSource};
use crate::probe::written;

use super::judge::PodState;
use super::reached::{Reach, reach};
use super::set::Set;
use super::smoke::resolve;
use super::snapshot::Pod;
use super::view::View;

/// Longest time for one reading.
pub const LONGEST: Duration = Duration::from_secs(5);
/// So many readings in a row must be good: between two requests of one session a pod may have none.
const IN_A_ROW: u32 = 2;

/// A pod whose number is to be read, on and on.
#[derive(Clone, Debug, PartialEq)]
pub struct Reads {
    /// Its UID.
    pub pod: String,
    /// Its name.
    pub name: String,
    /// Where it is asked.
    pub address: SocketAddr,
    /// What is asked.
    pub about: About,
}

/// What a reading is about: one of another move or of another number says nothing, and none from before the pod was left for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The attempt of the switch that left the pod.
    pub attempt: i64,
    /// What is asked.
    pub metric: DrainMetric,
    /// Whether the move has counted as done by then: until then somebody may have come since.
    pub converged: bool,
    /// Whether nodes have followed the endpoints by then.
    pub left: bool,
    /// Whether it had been told that it is being left, where that is to be: until then it may take work by itself.
    pub told: bool,
}

/// What a pod's number was.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What was asked.
    pub about: About,
    /// When it was asked, on the controller's clock.
    pub at: Duration,
    /// The number, or why it can't be read.
    pub outcome: Result<f64, String>,
    /// So many readings in a row were good.
    pub good: u32,
}

impl Reading {
    /// The reading that follows another one.
    pub fn after(before: Option<&Self>, about: About, at: Duration, outcome: Result<f64, String>) -> Self {
        let before = before.filter(|before| before.about == about).map_or(0, |before| before.good);
        let good = outcome.as_ref().is_ok_and(|number| *number <= f64::from(about.metric.at_most));
        Self { about, at, outcome, good: if good { before.saturating_add(1) } else { 0 } }
    }

    /// What follows from it: how many were good, as far as that matters, or why it can't be read.
    pub fn says(&self) -> Result<u32, &String> {
        self.outcome.as_ref().map(|_| self.good.min(IN_A_ROW))
    }

    /// Whether enough of them in a row were good.
    pub fn enough(&self) -> bool {
        self.good >= IN_A_ROW
    }
}

/// The metric, where it decides.
fn metric<'a>(view: &View<'a>) -> Option<&'a DrainMetric> {
    let drain = &view.snapshot.object.spec.drain;
    drain.metric.as_ref().filter(|_| drain.source == DrainSource::Metric)
}

/// What a pod is asked now, if it can be.
fn about(view: &View<'_>, pod: &Pod) -> Option<About> {
    let metric = metric(view)?;
    let intent = view.intent?;
    // In its node's network the port may be anybody's, and one of an earlier template may not have it.
    if pod.host_network || resolve(&metric.port, pod).is_none() {
        return None;
    }
    let set = view.snapshot.sets.iter().find(|set| set.uid == pod.set_uid);
    let known = set.and_then(|set| set.drain_begun.as_ref()).is_some_and(|told| told.contains(&pod.uid));
    let told = view.snapshot.object.spec.drain.begin.is_none() || known || view.snapshot.begun.contains_key(&pod.uid);
    let left = reach(view, pod) == Reach::No;
    Some(About { attempt: intent.attempt, metric: metric.clone(), converged: intent.converged_at.is_some(), left, told })
}

/// Where a pod is asked.
fn address(pod: &Pod, metric: &DrainMetric) -> Option<SocketAddr> {
    let port = u16::try_from(resolve(&metric.port, pod)?).ok()?;
    Some(SocketAddr::new(pod.addresses.first()?.parse().ok()?, port))
}

/// The pods of a set whose numbers are to be read.
pub fn reads<'a>(view: &View<'a>, set: &'a Set) -> impl Iterator<Item = Reads> + use<'a> {
    let read = |pod: &Pod| {
        let about = about(view, pod).filter(|_| pod.node.is_some())?;
        Some(Reads { pod: pod.uid.clone(), name: pod.name.clone(), address: address(pod, &about.metric)?, about })
    };
    view.pods(set).filter_map(read).collect::<Vec<_>>().into_iter()
}

/// On which port a pod is asked for its number now, and every how many seconds.
pub fn asks(view: &View<'_>, pod: &Pod) -> Option<(i32, i32)> {
    let metric = metric(view).filter(|_| view.snapshot.readings.contains_key(&pod.uid))?;
    Some((resolve(&metric.port, pod)?, metric.period_seconds))
}

/// What a pod's number says of it; `None` where it is not asked for one.
pub fn state(view: &View<'_>, pod: &Pod) -> Option<PodState> {
    let about = about(view, pod)?;
    // It never ran, and nobody can have given it anything to do.
    if pod.addresses.is_empty() {
        return Some(PodState::NeverServed);
    }
    let old = oldest(&about.metric);
    Some(match reading(view, pod, &about) {
        Some(Reading { outcome: Err(_), .. }) => PodState::Unknown("MetricUnreadable"),
        None => PodState::Unknown("MetricNotRead"),
        Some(reading) if view.now.mono.saturating_sub(reading.at) > old => PodState::Unknown("MetricNotRead"),
        Some(reading) if reading.enough() => PodState::Drained,
        Some(reading) if reading.good > 0 => PodState::Settling,
        Some(_) => PodState::Busy,
    })
}

/// How old a reading may be.
pub fn oldest(metric: &DrainMetric) -> Duration {
    LONGEST + 3 * Duration::from_secs(u64::try_from(metric.period_seconds).unwrap_or(1))
}

fn reading<'a>(view: &View<'a>, pod: &Pod, about: &About) -> Option<&'a Reading> {
    view.snapshot.readings.get(&pod.uid).filter(|reading| reading.about == *about)
}

/// What the numbers of some pods come to, if all of them are known; or the first that can't be read, and why.
pub fn told(view: &View<'_>, states: &[(&Pod, PodState)]) -> (Option<String>, Option<String>) {
    if metric(view).is_none() {
        return (None, None);
    }
    let known = |pod: &Pod| about(view, pod).and_then(|about| reading(view, pod, &about));
    let waited = || states.iter().filter(|(_, state)| !matches!(state, PodState::NeverServed | PodState::NodeLost));
    let sure = |state: &PodState| matches!(state, PodState::Busy | PodState::Settling | PodState::Drained);
    let number = |(pod, state): &(&Pod, PodState)| known(pod).filter(|_| sure(state)).and_then(|reading| reading.outcome.as_ref().ok());
    let sum = waited().map(number).sum::<Option<f64>>().filter(|_| waited().next().is_some());
    let unreadable = waited().filter(|(_, state)| *state == PodState::Unknown("MetricUnreadable"));
    let mut troubles = unreadable.filter_map(|(pod, _)| Some(format!("pod {}: {}", pod.name, known(pod)?.outcome.as_ref().err()?)));
    (sum.map(written), troubles.next())
}
