//! Converge: the move has taken effect when endpoints have moved and no old pod is reached any more.

use super::judge::{self, Quiet};
use super::services;
use super::view::View;

/// Whether traffic still reaches old pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Convergence {
    /// No traffic was moved yet.
    NotYet,
    /// It may: why it waits.
    Pending(&'static str, String),
    /// It does not.
    Yes,
    /// It can't be told: why.
    Unknown(&'static str, String),
}

/// Looks whether the latest move has taken effect.
pub fn step(view: &View<'_>) -> Convergence {
    let Some(intent) = view.intent else {
        return Convergence::NotYet;
    };
    let Some(completed) = intent.completed_at else {
        return Convergence::Pending("Switching", "the Services are being moved".into());
    };
    let Err((reason, message, forever)) = certain(view) else {
        return Convergence::Yes;
    };
    let timeout = f64::from(view.snapshot.object.spec.traffic.convergence_timeout_seconds);
    if forever || view.now.seconds_since(completed) >= timeout {
        return Convergence::Unknown(reason, message);
    }
    Convergence::Pending(reason, message)
}

/// Seconds until the search for certainty is given up.
pub fn gives_up_in(view: &View<'_>) -> Option<f64> {
    let completed = view.intent?.completed_at?;
    let left = f64::from(view.snapshot.object.spec.traffic.convergence_timeout_seconds) - view.now.seconds_since(completed);
    (left > 0.0).then_some(left)
}

type Doubt = (&'static str, String, bool);

fn certain(view: &View<'_>) -> Result<(), Doubt> {
    endpoints(view)?;
    for service in view.snapshot.object.spec.traffic.services.iter().filter_map(|name| view.snapshot.services.get(name)) {
        if service.headless && view.being_left().next().is_some() {
            return Err(("Headless", format!("Service \"{}\" is headless: clients keep the addresses that DNS gave them", service.name), true));
        }
    }
    // Structural doubts are for ever, so they are looked for last: what can still be measured is measured first.
    let mut structural = None;
    for set in view.being_left() {
        for pod in view.pods(set) {
            if pod.node.is_none() || view.snapshot.late_pods.contains(&pod.uid) || judge::node_lost(view, pod) {
                continue;
            }
            if let Err(why) = judge::measurable(view, pod) {
                structural = Some((why, format!("connections of pod {} can't be counted here ({why})", pod.name), true));
                continue;
            }
            let samples = judge::samples(view, pod);
            let Some(latest) = samples.last() else {
                return Err(("NoReportYet", format!("the drain agent has not reported about pod {} yet", pod.name), false));
            };
            if judge::silent(view, latest) {
                return Err(("AgentSilent", format!("the drain agent on the node of pod {} is silent", pod.name), false));
            }
            if latest.report.unreadable.is_some() {
                return Err(("SocketsUnreadable", format!("the drain agent can't read the sockets of pod {}", pod.name), false));
            }
            match judge::quiet(view, pod, samples) {
                Quiet::Yes => {}
                Quiet::No => {
                    return Err(("NewConnectionOnOld", format!("old pod {} still accepts new connections", pod.name), false));
                }
                Quiet::TooShort => {
                    let seconds = view.snapshot.object.spec.traffic.quiet_seconds;
                    return Err(("QuietTime", format!("waiting for {seconds} s without a new connection on old pods"), false));
                }
            }
        }
    }
    structural.map_or(Ok(()), Err)
}

/// Every moved Service's endpoints are pods of the active set, by UID.
fn endpoints(view: &View<'_>) -> Result<(), Doubt> {
    let Some(active) = view.active() else {
        return Err(("EndpointsNotMoved", "the active ReplicaSet is gone".into(), false));
    };
    for name in &view.snapshot.object.spec.traffic.services {
        let Some(service) = view.snapshot.services.get(name) else {
            continue;
        };
        if !services::owned(view.snapshot, service) || service.selector != view.selector(&active.revision) {
            return Err(("SelectorChanged", format!("the selector of Service \"{name}\" was changed by somebody else"), false));
        }
        let Some(endpoints) = view.snapshot.endpoints.get(name) else {
            if view.ready(active) > 0 {
                return Err(("EndpointsNotMoved", format!("Service \"{name}\" has no endpoints yet"), false));
            }
            continue;
        };
        let ours = |uid: &String| view.snapshot.pods.iter().any(|pod| &pod.uid == uid && pod.set_uid == active.uid);
        if !endpoints.pods.keys().all(ours) {
            return Err(("EndpointsNotMoved", format!("Service \"{name}\" still has old pods among its endpoints"), false));
        }
        if endpoints.pods.is_empty() && view.ready(active) > 0 {
            return Err(("EndpointsNotMoved", format!("Service \"{name}\" has no endpoints yet"), false));
        }
    }
    Ok(())
}
