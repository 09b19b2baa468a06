//! Drain by a number that each old pod tells of itself.

use std::net::SocketAddr;
use std::time::Duration;

use crate::api::{DrainMetric, DrainSource};
use crate::probe::written;

use super::judge::PodState;
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

/// What a reading is about: one of another move, or of another number, says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The attempt of the switch that left the pod.
    pub attempt: i64,
    /// What is asked.
    pub metric: DrainMetric,
}

/// What a pod's number was.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What was asked.
    pub about: About,
    /// When, on the controller's clock.
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

    /// Whether enough of them in a row were good.
    pub fn enough(&self) -> bool {
        self.good >= IN_A_ROW
    }
}

/// What is asked of the pods that are being left, if they are asked.
fn about(view: &View<'_>) -> Option<About> {
    let drain = &view.snapshot.object.spec.drain;
    let metric = drain.metric.clone().filter(|_| drain.source == DrainSource::Metric)?;
    Some(About { attempt: view.intent?.attempt, metric })
}

/// Where a pod is asked.
fn address(pod: &Pod, metric: &DrainMetric) -> Option<SocketAddr> {
    let port = u16::try_from(resolve(&metric.port, pod)?).ok()?;
    Some(SocketAddr::new(pod.addresses.first()?.parse().ok()?, port))
}

/// The pods of a set whose numbers are to be read.
pub fn reads<'a>(view: &View<'a>, set: &'a Set) -> impl Iterator<Item = Reads> + use<'a> {
    let pods: Vec<&Pod> = view.pods(set).collect();
    let about = about(view);
    pods.into_iter().filter_map(move |pod| {
        let about = about.clone().filter(|_| pod.node.is_some() && !pod.host_network)?;
        Some(Reads { pod: pod.uid.clone(), name: pod.name.clone(), address: address(pod, &about.metric)?, about })
    })
}

/// On which port a pod is asked for its number, and every how many seconds.
pub fn asks(view: &View<'_>, pod: &Pod) -> Option<(i32, i32)> {
    let metric = about(view)?.metric;
    Some((resolve(&metric.port, pod)?, metric.period_seconds))
}

/// What a pod's number says of it; `None` where numbers are not asked for.
pub fn state(view: &View<'_>, pod: &Pod) -> Option<PodState> {
    let about = about(view)?;
    // In its node's network the port may be anybody's.
    if pod.host_network {
        return Some(PodState::NotMeasured("HostNetwork"));
    }
    // That of an earlier template may not have the port.
    if resolve(&about.metric.port, pod).is_none() {
        return Some(PodState::NotMeasured("NoMetricPort"));
    }
    let old = LONGEST + 3 * Duration::from_secs(u64::try_from(about.metric.period_seconds).unwrap_or(1));
    Some(match reading(view, pod, &about) {
        Some(Reading { outcome: Err(_), .. }) => PodState::Unknown("MetricUnreadable"),
        None => PodState::Unknown("MetricNotRead"),
        Some(reading) if view.now.mono.saturating_sub(reading.at) > old => PodState::Unknown("MetricNotRead"),
        Some(reading) if reading.enough() => PodState::Drained,
        Some(reading) if reading.good > 0 => PodState::Settling,
        Some(_) => PodState::Busy,
    })
}

fn reading<'a>(view: &View<'a>, pod: &Pod, about: &About) -> Option<&'a Reading> {
    view.snapshot.readings.get(&pod.uid).filter(|reading| reading.about == *about)
}

/// What the numbers of some pods come to, if all of them are known; or the first that can't be read, and why.
pub fn told(view: &View<'_>, pods: &[&Pod]) -> (Option<String>, Option<String>) {
    let Some(about) = about(view) else { return (None, None) };
    let readings: Vec<(&Pod, Option<&Reading>)> = pods.iter().map(|pod| (*pod, reading(view, pod, &about))).collect();
    let sum = readings.iter().map(|(_, reading)| reading.and_then(|reading| reading.outcome.as_ref().ok())).sum::<Option<f64>>();
    let trouble = readings.iter().find_map(|(pod, reading)| Some(format!("pod {}: {}", pod.name, reading.as_ref()?.outcome.as_ref().err()?)));
    (sum.filter(|_| !pods.is_empty()).map(written), trouble)
}
