//! Status: the findings as they are written down.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{BlueGreenDeploymentStatus, PhaseName, ProbeResult, ProbeStatus, SetStatus};

use super::action::SmokeRun;
use super::bake;
use super::bring_up::selector_text;
use super::conditions;
use super::plan::Findings;
use super::set::Set;
use super::snapshot::{Identity, ProbeObservation};
use super::view::{View, count};

/// Most sets being left in status; one more can come about by a return while all of them drain.
const DRAINING_ROWS: usize = 10;
/// Most probe rows in status.
const PROBE_ROWS: usize = 20;

/// The status that follows from the findings. What must be remembered is carried over; whoever changes it does so on the result.
pub fn make(view: &View<'_>, findings: &Findings) -> BlueGreenDeploymentStatus {
    let before = &view.snapshot.object.status;
    let active = view.active();
    let incoming = view.target().and_then(|revision| view.set(revision));
    // An HPA must see the pods that serve; before there are any, those that are about to.
    let shown = active.or(incoming);
    let inactive = view.target().map(|revision| {
        let shown = incoming.filter(|set| set.desired > 0);
        // A wait before its pods may start is no lack of progress: the time counts anew from then.
        let same = |known: &&SetStatus| known.revision == revision && known.color.is_empty() == shown.is_none();
        // Nor is one for a person's word or a hook, after which the set may have to grow.
        let waited = conditions::has_waited(view, findings) && conditions::phase(view, findings) == PhaseName::BringUp;
        let known = before.inactive.as_ref().filter(|known| same(known) && !waited);
        let since = known.map_or(view.now.wall, |known| known.since);
        shown.map_or_else(
            || SetStatus { revision: revision.into(), color: String::new(), replicas: 0, ready_replicas: 0, since },
            |set| set_status(view, set, since),
        )
    });
    let active_status = active.map(|set| {
        let known = before.active.as_ref().filter(|known| known.revision == set.revision).map(|known| known.since);
        let since = known.or(view.intent.and_then(|intent| intent.completed_at)).unwrap_or(view.now.wall);
        set_status(view, set, since)
    });
    let mut draining = findings.drain.status.clone();
    draining.truncate(DRAINING_ROWS);
    let open = draining.iter().filter_map(|set| set.open_connections).reduce(|one, other| one + other);
    BlueGreenDeploymentStatus {
        observed_generation: view.snapshot.object.generation,
        phase: Some(conditions::phase(view, findings)),
        revision: match view.snapshot.identity {
            // A refused template is no revision.
            Identity::Refused { .. } => None,
            Identity::Known { .. } | Identity::Unknown { .. } => view.revision.map(str::to_owned).or_else(|| before.revision.clone()),
        },
        conditions: conditions::make(view, findings),
        switch: view.intent.cloned(),
        active: active_status,
        inactive,
        // What a person gave up in the middle of a move to it stays given up whatever the template means by now.
        rejected: view.rejected.or(before.rejected.as_ref().filter(|rejected| under_way(view, &rejected.revision))).cloned(),
        smoke_probes: probes(view),
        bake_probes: bake_probes(view),
        hooks: before.hooks.clone(),
        group: findings.group.status.clone(),
        replicas: shown.map_or(0, |set| count(view.pods(set).count())),
        ready_replicas: shown.map_or(0, |set| view.ready(set)),
        selector: shown.map(|set| selector_text(view, &set.revision)).unwrap_or_default(),
        ready_desired: format!("{}/{}", active.map_or(0, |set| view.ready(set)), view.snapshot.object.spec.replicas),
        open_connections: open,
        images: shown.map(|set| set.images.clone()).unwrap_or_default(),
        held_by: draining.iter().flat_map(|set| &set.holders).next().map(|holder| {
            let name = holder.pod.as_deref().unwrap_or(&holder.address);
            format!("{name} ({})", holder.connections)
        }),
        draining,
    }
}

/// Whether the Services are being moved to a revision.
fn under_way(view: &View<'_>, revision: &str) -> bool {
    view.intent.is_some_and(|intent| intent.to == revision && intent.completed_at.is_none())
}

fn set_status(view: &View<'_>, set: &Set, since: Timestamp) -> SetStatus {
    SetStatus {
        revision: set.revision.clone(),
        color: set.color.name().into(),
        replicas: count(view.pods(set).count()),
        ready_replicas: view.ready(set),
        since,
    }
}

/// Rows of the smoke probes, failures first. When nothing is tested any more the last rows stay, as long as they are about the revision of the spec.
fn probes(view: &View<'_>) -> Vec<ProbeStatus> {
    let before = &view.snapshot.object.status;
    if let Some(set) = view.target().and_then(|revision| view.set(revision)) {
        return observed(view, set);
    }
    if before.revision.as_deref() != view.revision && view.revision.is_some() {
        return vec![];
    }
    let Some(set) = view.taken_over() else { return before.smoke_probes.clone() };
    let rows = observed(view, set);
    if !rows.is_empty() {
        return rows;
    }
    // It would not serve if they had not passed; the process that saw it ended before it could tell.
    let mut rows = before.smoke_probes.clone();
    rows.iter_mut().filter(|row| row.result == ProbeResult::Running).for_each(|row| row.result = ProbeResult::Passed);
    rows
}

/// Observations of a set's probes that status does not tell of yet: they are kept until it does, as the switch follows the last of them at once.
pub fn untold(view: &View<'_>) -> Option<SmokeRun> {
    let set = view.taken_over()?;
    let observation = view.snapshot.probes.iter().find(|observation| observation.set_uid == set.uid && !bake::is_of_bake(observation))?;
    (observed(view, set) != view.snapshot.object.status.smoke_probes).then(|| SmokeRun {
        set_uid: set.uid.clone(),
        probes: observation.probes.clone(),
        runs: vec![],
        persistent: false,
        endless: false,
    })
}

fn observed(view: &View<'_>, set: &Set) -> Vec<ProbeStatus> {
    let seen = view.snapshot.probes.iter().filter(|observation| observation.set_uid == set.uid && !bake::is_of_bake(observation));
    // Attempts go on all the time; a row is written again when it says something new.
    let same = |old: &ProbeStatus, new: &ProbeStatus| new.result == ProbeResult::Running && old.result == new.result && old.message == new.message;
    rows(seen, view.snapshot.object.status.smoke_probes.iter(), same)
}

/// Rows of the bake's probes. When it is over the last ones stay as long as the revision that they are about has the traffic by that move.
fn bake_probes(view: &View<'_>) -> Vec<ProbeStatus> {
    let moved = view.intent.map(|intent| intent.started_at);
    let told = view.snapshot.object.status.bake_probes.iter().filter(|row| moved.is_some_and(|moved| row.at >= moved));
    let Some(seen) = bake::seen(view) else { return told.cloned().collect() };
    // These go on after they have passed, too.
    rows(seen.into_iter(), told, |old, new| old.result == new.result && old.message == new.message)
}

/// Observations as rows: at most so many, failures first. One that says the `same` as it did is left as it was told.
fn rows<'a>(
    seen: impl Iterator<Item = &'a ProbeObservation>,
    told: impl Iterator<Item = &'a ProbeStatus>,
    same: impl Fn(&ProbeStatus, &ProbeStatus) -> bool,
) -> Vec<ProbeStatus> {
    let told: BTreeMap<(&str, &str), &ProbeStatus> = told.map(|row| ((row.name.as_str(), row.target.as_str()), row)).collect();
    let mut rows: Vec<ProbeStatus> = seen
        .map(|observation| {
            let row = ProbeStatus {
                name: observation.probe.clone(),
                target: observation.target.clone(),
                result: observation.result,
                attempts: observation.attempts,
                message: conditions::short(&observation.message),
                at: observation.at,
            };
            told.get(&(row.name.as_str(), row.target.as_str())).filter(|old| same(old, &row)).map_or(row.clone(), |old| (*old).clone())
        })
        .collect();
    rows.sort_by(|one, other| (one.result, &one.name, &one.target).cmp(&(other.result, &other.name, &other.target)));
    rows.truncate(PROBE_ROWS);
    rows
}
