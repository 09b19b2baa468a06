//! Begin: old pods are told once that they are being left, when the move counts as done.

use crate::api::Begin;

use super::action::{Action, BeginCall, PodRef, SetChange, SetRef, Telling};
use super::drain::Outcome;
use super::set::Set;
use super::smoke::resolve;
use super::snapshot::{Begun, Pod};
use super::view::View;

/// So many pods get the label that tells them in one pass.
const TOLD_AT_ONCE: usize = 16;

/// Tells each pod of a set once; whether nobody has to be waited for any more. The set is marked first: whatever happens, these pods never serve again.
pub fn step(view: &View<'_>, set: &Set, pods: &[&Pod], outcome: &mut Outcome) -> bool {
    let object = &view.snapshot.object;
    let Some(begin) = object.spec.drain.begin.as_ref() else {
        return true;
    };
    if object.spec.paused || view.intent.is_none_or(|intent| intent.converged_at.is_none()) {
        return false;
    }
    let Some(told) = &set.drain_begun else {
        let change = SetChange { drain_begun: Some(vec![]), ..SetChange::default() };
        outcome.actions.push(Action::PatchSet { set: SetRef::of(set), change });
        return false;
    };
    let mut all = true;
    let mut newly = vec![];
    let mut labelled = 0;
    for pod in pods.iter().filter(|pod| pod.node.is_some() && !told.contains(&pod.uid)) {
        match view.snapshot.begun.get(&pod.uid) {
            Some(Begun::Told) => newly.push(pod.uid.clone()),
            Some(Begun::Failed(_)) => {}
            // Not all of many in one pass: whatever happens meanwhile is looked at in between.
            None if begin.label.is_some() && labelled >= TOLD_AT_ONCE => all = false,
            None => {
                labelled += 1;
                all &= !tell(begin, pod, outcome);
            }
        }
    }
    // One write for all of them, when the last one has been told.
    if all && !newly.is_empty() {
        let known = told.iter().cloned().chain(newly).collect();
        outcome.actions.push(Action::PatchSet { set: SetRef::of(set), change: SetChange { drain_begun: Some(known), ..SetChange::default() } });
    }
    all
}

/// Asks for one pod to be told; whether that can be done at all.
fn tell(begin: &Begin, pod: &Pod, outcome: &mut Outcome) -> bool {
    if let Some(label) = &begin.label {
        outcome.actions.push(Action::TellByLabel { pod: PodRef::of(pod), key: label.key.clone(), value: label.value.clone() });
        return true;
    }
    let call = |how| BeginCall { pod: pod.uid.clone(), name: pod.name.clone(), how };
    if let Some(exec) = &begin.exec {
        outcome.begin.push(call(Telling::Run(exec.clone())));
        return true;
    }
    // A pod in its node's network has the node's address, where the port may be anybody's. An old template may lack the port that a new spec
    // names: nobody there can be told, and waiting would not help.
    let Some(http) = begin.http.as_ref().filter(|_| !pod.host_network) else { return false };
    let port = resolve(&http.port, pod).and_then(|port| u16::try_from(port).ok());
    let address = pod.addresses.first().and_then(|address| address.parse().ok());
    let (Some(port), Some(address)) = (port, address) else { return false };
    outcome.begin.push(call(Telling::Post { address, port, path: http.path.clone() }));
    true
}
