//! Part: the pods of a set that is being left go one by one, each when it has drained (`drain.scaleDown: PerPod`).
//!
//! A ReplicaSet that is lowered chooses its victims itself, pods that are not ready first, whatever a deletion cost says. So it is never
//! lowered: it is deleted without its pods, which then belong to the BlueGreenDeployment and are deleted by UID. Each step can be seen in
//! the objects, so that whoever comes next goes on from there:
//!
//! 1. *Part*: the fence of a retirement, and a successor without pods that keeps the template for history.
//! 2. *Mark* each pod, with what must be known of the set when it is gone; the BlueGreenDeployment becomes a second owner.
//! 3. *Orphan*: the ReplicaSet is deleted without its pods, at a version at which it had exactly the marked ones and wanted no other.
//! 4. *Own* each pod once the garbage collector has taken the ReplicaSet out of it; with another value of the revision's label, so that
//!    no Service that ever selects the revision again leads to it.
//! 5. *DeletePod*, when it has drained or the deadline is over.
//!
//! Until 3 is done the set is whole, and traffic can go back to it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::{Switch, keys};

use super::action::{Action, Notice, PodRef, SetRef};
use super::overlap;
use super::set::{Left, Marks, Role, Set};
use super::snapshot::{Control, Pod};
use super::view::{View, count};

/// Whether a set that is being left may be written: nobody overwrites a higher attempt, as another leader then has plans for it that are not
/// in the caches yet.
pub fn may_write(view: &View<'_>, set: &Set) -> bool {
    let outdated = view.intent.is_some_and(|intent| set.role.is_some_and(|role| role.attempt > intent.attempt));
    !outdated && !view.snapshot.object.spec.paused && view.snapshot.unread.is_empty()
}

/// The next step of a set of which some pods have drained and others have not.
pub fn step(view: &View<'_>, set: &Set, intent: &Switch, since: Timestamp) -> Vec<Action> {
    let services = || view.snapshot.object.spec.traffic.services.clone();
    let succeeded =
        view.snapshot.sets.iter().any(|other| other.revision == set.revision && other.uid != set.uid && view.spare(other) && !other.deleting);
    if set.role != Some(Role::retiring(intent.attempt)) || !succeeded {
        return vec![Action::Part { set: SetRef::of(set), attempt: intent.attempt, services: services(), issue: set.issue + 1 }];
    }
    let left = Left { set: set.uid.clone(), revision: set.revision.clone(), issue: set.issue, color: set.color, attempt: intent.attempt, since };
    let there = || view.snapshot.pods.iter().filter(|pod| pod.set_uid == set.uid && !pod.terminating);
    let unmarked: Vec<&Pod> = there().filter(|pod| pod.left.as_ref() != Some(&left)).collect();
    if !unmarked.is_empty() {
        return unmarked.into_iter().map(|pod| Action::Mark { pod: PodRef::of(pod), left: left.clone() }).collect();
    }
    // Whatever it is about to create or delete would be missed.
    let alive = count(view.pods(set).count());
    let quiet = set.observed && set.replicas == set.desired && set.desired == alive;
    if quiet { vec![Action::Orphan { set: SetRef::of(set), labels: set.selector.clone(), services: services() }] } else { vec![] }
}

/// Pods that have lost their set are taken over, and those that have ended are cleared away.
pub fn lost_sets(view: &View<'_>) -> Vec<Action> {
    let mut actions = vec![];
    for set in view.snapshot.sets.iter().filter(|set| set.loose.is_some() && may_write(view, set)) {
        for pod in view.snapshot.pods.iter().filter(|pod| pod.set_uid == set.uid && !pod.terminating) {
            match (&pod.control, &pod.left) {
                (Control::Nobody(_), Some(left)) => actions.push(Action::Own { pod: PodRef::of(pod), left: left.clone() }),
                (Control::Object(_), _) if pod.finished => actions.extend(delete(view, set, [pod].into_iter(), None)),
                _ => {}
            }
        }
    }
    actions
}

/// Deletions of pods that were taken over. What is to be said is said with the last of them.
pub fn delete<'a>(view: &View<'_>, set: &Set, pods: impl Iterator<Item = &'a Pod>, notice: Option<Notice>) -> Vec<Action> {
    let mut actions: Vec<Action> = pods
        .map(|pod| Action::DeletePod {
            pod: PodRef::of(pod),
            revision: set.revision.clone(),
            services: view.snapshot.object.spec.traffic.services.clone(),
            notice: None,
        })
        .collect();
    if let Some(Action::DeletePod { notice: last, .. }) = actions.last_mut() {
        *last = notice;
    }
    actions
}

/// What the label of the revision says on a pod that has left its set.
pub fn away(revision: &str) -> String {
    format!("{}{revision}", keys::LEFT_PREFIX)
}

/// Whether a pod has been taken over from its set.
pub fn taken(pod: &Pod) -> bool {
    matches!(pod.control, Control::Object(_))
}

/// Whether a Service that selects a revision could lead to pods that have lost their set: new pods must not stand beside them.
pub fn within_reach(view: &View<'_>, revision: &str) -> bool {
    let loose = view.snapshot.sets.iter().filter(|set| set.loose.is_some() && set.revision == revision);
    loose.flat_map(|set| view.pods(set)).any(|pod| match &pod.control {
        Control::Set => true,
        Control::Object(_) => false,
        // Of an earlier object of the same name.
        Control::Nobody(labels) => labels.get(keys::REVISION).is_none_or(|label| label == revision),
    })
}

/// Gives pods without a ReplicaSet their place among the sets of a reading: those that are marked form a set for themselves, by UID of the
/// one that they left; a set that is being deleted is replaced by it. One that its ReplicaSet created just before its end is unmarked: it is
/// known by its labels (`selector` are those of the object), and marked as the others are. A mark from before the traffic came back to the
/// revision that the last move (`switch`) has left is as good as new: their time begins with that move. Pods that a Service (of `services` the selectors)
/// sends users to are nobody's until others of their revision are ready: somebody has deleted a set that serves without its pods, or has
/// chosen them by hand.
pub fn regroup(
    sets: &mut Vec<Set>,
    pods: &mut Vec<Pod>,
    selector: &BTreeMap<String, String>,
    services: &[&BTreeMap<String, String>],
    switch: Option<&Switch>,
    now: Timestamp,
) {
    let within =
        |selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let ready: BTreeSet<String> =
        pods.iter().filter(|pod| pod.ready && pod.alive() && pod.control == Control::Set).map(|pod| pod.set_uid.clone()).collect();
    // Pods of a set that is going itself replace nobody.
    let replaced: BTreeSet<String> = sets.iter().filter(|set| !set.deleting && ready.contains(&set.uid)).map(|set| set.revision.clone()).collect();
    // Of pods in a ReplicaSet only the revision is known here: whatever else a Service asks for, they may have.
    let serves = |revision: Option<&String>, labels: Option<&BTreeMap<String, String>>| {
        // The mark of another object's move could be anybody's.
        let elsewhere = |asked: &BTreeMap<String, String>| {
            asked.contains_key(keys::SERVING) && !asked.iter().all(|(key, value)| key == keys::SERVING || selector.get(key) == Some(value))
        };
        let of =
            |asked: &&&BTreeMap<String, String>| !elsewhere(asked) && revision.is_some_and(|revision| overlap::leads_to(asked, revision, switch));
        services.iter().filter(of).any(|selector| labels.is_none_or(|labels| within(selector, labels)))
            && !revision.is_some_and(|revision| replaced.contains(revision))
    };
    let there: BTreeSet<String> = sets.iter().filter(|set| !set.deleting).map(|set| set.uid.clone()).collect();
    // Taken out of a set that is still there, or not to be told by its labels: somebody wants it so.
    pods.retain(|pod| match &pod.control {
        Control::Nobody(labels) => !there.contains(&pod.set_uid) && within(selector, labels) && !serves(labels.get(keys::REVISION), Some(labels)),
        Control::Set | Control::Object(_) => true,
    });
    for pod in pods.iter_mut().filter(|pod| !taken(pod) && !there.contains(&pod.set_uid)) {
        if let (Some(left), Some(switch)) = (&mut pod.left, switch)
            && switch.from.as_ref() == Some(&left.revision)
            && left.attempt < switch.attempt
        {
            left.attempt = switch.attempt;
            left.since = switch.completed_at.unwrap_or(now);
        }
    }
    let marks: Vec<Left> = pods.iter().filter_map(|pod| pod.left.clone()).collect();
    for pod in pods.iter_mut().filter(|pod| pod.left.is_none()) {
        if let Control::Nobody(labels) = &pod.control {
            pod.left = stray(labels, sets, &marks, now);
            pod.set_uid = pod.left.as_ref().map(|left| left.set.clone()).unwrap_or_default();
        }
    }
    pods.retain(|pod| pod.left.is_some() || pod.control == Control::Set);
    let mut groups: BTreeMap<&str, (&Left, Vec<&Pod>)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !there.contains(&pod.set_uid)) {
        // Marked once, and back in service since.
        if let Some(left) = pod.left.as_ref().filter(|left| pod.control != Control::Set || !serves(Some(&left.revision), None)) {
            let group = groups.entry(&left.set).or_insert_with(|| (left, vec![]));
            group.1.push(pod);
            // Under the latest attempt, and so since the same time.
            if left.attempt > group.0.attempt {
                group.0 = left;
            }
        }
    }
    let loose: Vec<Set> = groups.into_values().map(|(left, pods)| loose(left, &pods, selector)).collect();
    sets.retain(|set| !loose.iter().any(|other| other.uid == set.uid));
    sets.extend(loose);
}

/// The mark for a pod that its ReplicaSet created just before its end; `None` where that is still there, or left no successor.
fn stray(labels: &BTreeMap<String, String>, sets: &[Set], marks: &[Left], now: Timestamp) -> Option<Left> {
    let revision = labels.get(keys::REVISION)?;
    let issue = labels.get(keys::ISSUE).map_or(Some(1), |issue| issue.parse().ok())?;
    let of = |set: &&Set| set.revision == *revision && set.loose.is_none();
    if sets.iter().filter(of).any(|set| set.issue == issue && !set.deleting) {
        return None;
    }
    let successor = sets.iter().filter(of).find(|set| set.issue > issue)?;
    let known = marks.iter().filter(|left| left.revision == *revision && left.issue == issue).max_by_key(|left| left.attempt);
    // With nobody left to tell, its time begins now.
    Some(known.cloned().unwrap_or_else(|| Left {
        set: format!("{}-before", successor.uid),
        revision: revision.clone(),
        issue,
        color: successor.color,
        attempt: successor.role.map_or(0, |role| role.attempt),
        since: now,
    }))
}

/// Pods that have lost their ReplicaSet, as a set.
fn loose(left: &Left, pods: &[&Pod], selector: &BTreeMap<String, String>) -> Set {
    let mut selector = selector.clone();
    selector.insert(keys::REVISION.into(), away(&left.revision));
    Set {
        name: format!("pods of {}", left.revision),
        uid: left.set.clone(),
        resource_version: String::new(),
        created: left.since,
        revision: left.revision.clone(),
        issue: left.issue,
        color: left.color,
        selector,
        desired: count(pods.iter().filter(|pod| pod.alive()).count()),
        min_ready_seconds: 0,
        replicas: count(pods.len()),
        counted: None,
        observed: true,
        marks: Marks::default(),
        role: Some(Role::retiring(left.attempt)),
        switch: None,
        proof: None,
        restarts: 0,
        template_hashes: vec![],
        template_identity: String::new(),
        // All that were to be told had been told before the first of them left.
        drain_begun: Some(pods.iter().map(|pod| pod.uid.clone()).collect()),
        failure: None,
        images: String::new(),
        // What its pods refer to, they themselves say.
        configs: BTreeSet::new(),
        deleting: false,
        loose: Some(left.since),
    }
}
