//! What must hold for every plan and every write, whatever the story (the invariants of the design, as far as a pure plan can break them).

use super::fixtures::*;
use super::simulator::World;
use crate::api::{BlueGreenDeploymentStatus, ConditionStatus, ConditionType, DrainSource, HookPoint, PhaseName, SwitchCause, keys};
use crate::release::action::{Action, Plan, SelectWhy};
use crate::release::config::ConfigName;
use crate::release::plan::durable;
use crate::release::revision::probes_hash;
use crate::release::*;

/// Looks at a plan as such.
pub fn of_plan(planned: &Snapshot, plan: &Plan) {
    if !planned.unread.is_empty() {
        assert!(plan.actions.is_empty(), "a write follows from a failed read: {:?}", plan.actions);
        assert!(!durable(&plan.status, &planned.object.status), "something is put on record after a failed read");
    }
    if planned.object.deleting {
        assert!(plan.actions.is_empty());
    }
    assert!(plan.again.is_none_or(|again| again > 0.0), "looks again in the past");
    // Also in the plan that only puts something on record: who waits for Ready takes one moment of True for the end of the release.
    let ready = plan.status.conditions.iter().any(|condition| condition.kind == ConditionType::Ready && condition.status == ConditionStatus::True);
    assert!(!ready || plan.status.phase != Some(PhaseName::Bake), "ready in a bake: {:?}", plan.status.conditions);
    for condition in &plan.status.conditions {
        assert!(condition.message.chars().count() <= 512);
    }
    assert!(plan.status.draining.iter().all(|entry| entry.holders.len() <= 5));
    assert!(plan.status.smoke_probes.len() <= 20 && plan.status.bake_probes.len() <= 20);
}

/// A plan at rest, with its own status written, stays at rest: nothing spins.
pub fn at_rest(snapshot: &Snapshot, now: Now) {
    let again = plan(snapshot, now);
    assert!(again.actions.is_empty(), "at rest, and yet: {:?}", again.actions);
    assert!(again.metadata.is_empty(), "at rest, and yet: {:?}", again.metadata);
    assert!(!durable(&again.status, &snapshot.object.status), "at rest, and yet on record: {:?}", again.status);
    assert_eq!(again.status, snapshot.object.status, "status is written again and again");
}

/// Looks at a new status: an intent names a revision that may serve.
pub fn of_status(snapshot: &Snapshot, status: &BlueGreenDeploymentStatus) {
    let before = &snapshot.object.status;
    let Some(switch) = &status.switch else {
        assert!(before.switch.is_none(), "the intent is forgotten");
        return;
    };
    let known = before.switch.as_ref();
    assert!(known.is_none_or(|known| switch.attempt >= known.attempt), "the fencing number falls");
    if known.is_none_or(|known| known.to == switch.to) {
        return;
    }
    assert!(known.is_none_or(|known| switch.attempt > known.attempt), "another revision under the same fencing number");
    let set = set_of(snapshot, &switch.to).expect("an intent names a revision without a set");
    assert!(set.drain_begun.is_none(), "traffic goes to pods that were told to drain");
    let ready = |set: &Set| snapshot.pods.iter().filter(|pod| pod.set_uid == set.uid && pod.alive() && pod.ready).count();
    // A promise to the group is kept on record even then; no Service is moved, and the next look undoes it.
    let promised = switch.group.as_ref().is_some_and(|decision| decision.by != snapshot.object.uid && !decision.members.is_empty());
    assert!(ready(set) > 0 || promised, "traffic goes to a set without a ready pod");
    if switch.cause == SwitchCause::Rollback || switch.cause == SwitchCause::Failure {
        let left = switch.from.as_ref().and_then(|from| set_of(snapshot, from)).map_or(0, ready);
        let needed = usize::try_from(snapshot.object.spec.replicas).unwrap().min(left).max(1);
        assert!(ready(set) >= needed || switch.cause == SwitchCause::Failure, "back to {} ready pods where {needed} are needed", ready(set));
    }
}

/// The old pods of two revisions that serve together leave only when enough new ones have been endpoints of all Services for long enough.
pub fn of_narrowing(world: &World, switch: &crate::api::Switch) {
    let snapshot = &world.snapshot;
    let spec = &snapshot.object.spec;
    let pods = |revision: &str| {
        let set = set_of(snapshot, revision).map(|set| set.uid.clone());
        snapshot.pods.iter().filter(move |pod| Some(&pod.set_uid) == set.as_ref() && pod.alive() && pod.ready)
    };
    let long = f64::from(spec.traffic.overlap_seconds);
    let joined = pods(&switch.to).filter(|pod| world.joined_at.get(&pod.uid).is_some_and(|at| world.seconds - at >= long)).count();
    let needed = usize::try_from(spec.replicas).unwrap().min(switch.from.as_deref().map_or(0, |from| pods(from).count()));
    let leads = |name: &String| snapshot.services.get(name).is_some_and(|service| service.selector.contains_key(keys::SERVING));
    let nobody = spec.replicas == 0 || !spec.traffic.services.iter().any(leads);
    let needed = if nobody { 0 } else { needed.max(1) };
    assert!(joined >= needed, "the old pods leave with {joined} of {needed} new ones among the endpoints for {long} s");
}

/// A release begins its switch with as many ready pods as serve, or as the spec wants.
fn of_size(planned: &Snapshot, switch: &crate::api::Switch) {
    let ready = |revision: &str| {
        let set = set_of(planned, revision);
        planned.pods.iter().filter(|pod| set.is_some_and(|set| set.uid == pod.set_uid) && pod.alive() && pod.ready).count()
    };
    let needed = usize::try_from(planned.object.spec.replicas).unwrap().min(switch.from.as_deref().map_or(0, ready));
    let settled = planned.object.status.switch.as_ref().is_none_or(|switch| switch.completed_at.is_some());
    let has = ready(&switch.to);
    assert!(has >= needed || !settled || switch.cause != SwitchCause::Release, "the switch begins with {has} ready pods, and {needed} serve");
}

/// The set of a revision that counts: not the pods that have lost theirs, and not a successor while the first is there.
pub fn set_of<'a>(snapshot: &'a Snapshot, revision: &str) -> Option<&'a Set> {
    let sets = snapshot.sets.iter().filter(|set| set.revision == revision && set.loose.is_none() && !set.deleting);
    sets.min_by_key(|set| set.issue)
}

/// Looks at one write, before it is carried out.
pub fn of_action(world: &World, planned: &Snapshot, action: &Action) {
    let spec = &planned.object.spec;
    let active = planned.object.status.switch.as_ref().map(|switch| switch.to.as_str());
    if spec.paused {
        let harmless = match action {
            Action::PatchSet { set, change } => {
                let desired = planned.sets.iter().find(|known| known.uid == set.uid).map_or(0, |set| set.desired);
                change.drain_begun.is_none() && change.replicas.is_none_or(|replicas| desired > 0 && replicas >= 1)
                    || change.replicas == Some(0) && spec.replicas == 0
                    || change.replicas == Some(spec.replicas)
            }
            Action::RunHook { run } => run.uid.is_some(),
            Action::MarkServing { .. } | Action::CopyConfig { .. } => true,
            Action::Identify { .. }
            | Action::CheckHooks { .. }
            | Action::LookUpOwner { .. }
            | Action::RemoveCommand { .. }
            | Action::Adopt { .. } => true,
            _ => false,
        };
        assert!(harmless, "while paused: {action:?}");
    }
    match action {
        Action::Select { service, selector, selected, record, why, .. } => {
            super::budgets::of_select(world, planned, service, selector, record.as_deref());
            if let Some(switch) = record.as_deref().filter(|switch| switch.narrowed_at.is_none()) {
                of_size(planned, switch);
            }
            match selector.get(keys::SERVING) {
                None => assert_eq!(*selector, self::selector(&selected.revision), "a selector without the revision"),
                Some(serving) => {
                    assert_eq!(*selector, labels(&[("app", SHOP), (keys::SERVING, serving)]));
                    assert_eq!(*serving, format!("{}.{}", selected.revision, selected.attempt), "the label of another move");
                    let switch = record.as_deref().or(planned.object.status.switch.as_ref()).unwrap();
                    let sets = [Some(&switch.to), switch.from.as_ref()].into_iter().flatten().filter_map(|revision| set_of(planned, revision));
                    let mut pods = sets.flat_map(|set| planned.pods.iter().filter(|pod| pod.set_uid == set.uid && pod.alive()));
                    // One that somebody changed meanwhile is put back all the same.
                    let first = service.selected.as_ref() != Some(selected);
                    assert!(!first || pods.all(|pod| pod.serving.as_ref() == Some(serving)), "a Service asks for a label that a pod lacks");
                    assert!(switch.narrowed_at.is_none() && switch.completed_at.is_none(), "a Service leads to both again");
                }
            }
            let serves = spec.traffic.services.contains(&service.name) && selected.revision != keys::REVISION_NONE;
            if serves {
                assert!(!matches!(why, SelectWhy::Preview | SelectWhy::Park));
                let set = set_of(planned, &selected.revision).expect("a Service selects a revision without a set");
                match record.as_ref().filter(|switch| switch.narrowed_at.is_none()) {
                    Some(switch) => {
                        assert_eq!((&switch.to, switch.attempt), (&selected.revision, selected.attempt), "the record of another move");
                        let forward = switch.cause == SwitchCause::Release;
                        let hooks = world.hooks_passed(HookPoint::BeforeSwitch, &switch.to, switch.attempt);
                        assert!(!forward || hooks, "the switch begins before its hooks have run");
                        assert!(set.role.is_none() && !service.withdrawn.contains(&selected.revision), "the fence is missing");
                        of_status(planned, &BlueGreenDeploymentStatus { switch: Some((**switch).clone()), ..planned.object.status.clone() });
                    }
                    None => {
                        assert_eq!(Some(selected.revision.as_str()), active, "a Service goes where no intent says");
                        let fenced = set.role.map(|role| (role.kind, role.attempt)) == Some((RoleKind::Serving, selected.attempt));
                        assert!(fenced || set.role.is_none(), "the fence is missing");
                    }
                }
                let proven = world.passed.contains(&set.uid) || world.served.contains(&set.uid);
                assert!(
                    spec.smoke_probes.iter().all(|probe| probe.job.is_some()) || proven,
                    "a Service selects a revision that was neither tested nor ever served"
                );
            }
            let owner = service.owner.as_ref().filter(|owner| owner.uid != planned.object.uid);
            assert!(
                owner.is_none_or(|owner| planned.owners.get(&owner.uid) == Some(&OwnerState::Gone)),
                "a Service is taken from a living owner: {service:?}"
            );
        }
        Action::Fence { set, switch, .. } => {
            let known = planned.sets.iter().find(|known| known.uid == set.uid).unwrap();
            assert!(known.role.is_none_or(|known| known.attempt <= switch.attempt), "a higher fencing number is overwritten");
            assert_eq!(known.revision, switch.to, "the fence of another set");
            // With a new number it is the record of a new intent.
            of_status(planned, &BlueGreenDeploymentStatus { switch: Some((**switch).clone()), ..planned.object.status.clone() });
        }
        Action::PatchSet { set, change } => {
            let known = planned.sets.iter().find(|known| known.uid == set.uid).unwrap();
            let served = known.role.is_some_and(|role| role.kind != RoleKind::Retired);
            if let Some(replicas) = change.replicas {
                if replicas == 0 && !served {
                    let ours = planned.services.values().filter(|service| services::owned(planned, service) && !service.deleting);
                    let marked = ours.into_iter().all(|service| service.withdrawn.contains(&known.revision));
                    assert!(
                        marked || Some(known.revision.as_str()) == active,
                        "a set that never served is scaled to zero while a Service may still be moved to it"
                    );
                }
                if Some(known.revision.as_str()) == active && set_of(planned, &known.revision).is_some_and(|first| first.uid == known.uid) {
                    assert!(replicas == spec.replicas || replicas > known.desired, "the active set shrinks");
                } else if served {
                    assert!(replicas >= known.desired, "a set that is being left shrinks to {replicas}");
                }
            }
            if let Some(proof) = &change.proof
                && spec.smoke_probes.iter().any(crate::api::SmokeProbe::on_each_pod)
            {
                assert_eq!(proof.probes, probes_hash(&spec.smoke_probes));
                for pod in &proof.pods {
                    assert!(world.passed_pods.contains(&(pod.clone(), proof.probes.clone())), "a proof for a pod that did not pass");
                    assert!(planned.pods.iter().any(|known| &known.uid == pod && known.set_uid == set.uid), "a proof of another set's pod");
                }
            }
        }
        Action::Retire { set, .. } => {
            assert_ne!(Some(set.revision.as_str()), active, "the active set is retired");
            assert_eq!(planned.object.status.switch.as_ref().map(|switch| switch.completed_at.is_some()), Some(true), "retired during a move");
            drained(world, planned, set.uid.as_str(), None);
        }
        Action::Part { set, .. } | Action::Orphan { set, .. } => {
            assert_ne!(Some(set.revision.as_str()), active, "the active set is taken apart");
            assert_eq!(planned.object.status.switch.as_ref().map(|switch| switch.completed_at.is_some()), Some(true), "taken apart during a move");
            if matches!(action, Action::Orphan { .. }) {
                let marked = planned.pods.iter().filter(|pod| pod.set_uid == set.uid && !pod.terminating).all(|pod| pod.left.is_some());
                assert!(marked, "a set goes although a pod of it is not marked");
            }
        }
        Action::Mark { .. } | Action::MarkServing { .. } => {}
        Action::TellByLabel { pod, .. } => {
            let known = planned.pods.iter().find(|known| known.uid == pod.uid).unwrap();
            let set = planned.sets.iter().find(|set| set.uid == known.set_uid).unwrap();
            assert!(set.loose.is_some() || Some(set.revision.as_str()) != active, "a pod that serves is told that it is being left");
        }
        Action::Own { pod, .. } => {
            let known = planned.pods.iter().find(|known| known.uid == pod.uid).unwrap();
            assert!(matches!(known.control, Control::Nobody(_)), "a pod is taken from its set");
        }
        Action::DeletePod { pod, .. } => {
            let known = planned.pods.iter().find(|known| known.uid == pod.uid).unwrap();
            assert!(matches!(known.control, Control::Object(_)), "a pod is deleted that still belongs to a set, or to nobody");
            drained(world, planned, &known.set_uid, Some(&pod.uid));
        }
        Action::DeleteSet { set } => {
            let spare = set_of(planned, &set.revision).is_some_and(|first| first.uid != set.uid);
            assert!(spare || Some(set.revision.as_str()) != active, "the active set is deleted");
            assert!(!planned.pods.iter().any(|pod| pod.set_uid == set.uid), "a set with pods is deleted");
        }
        Action::CreateSet { revision, replicas, .. } => {
            let attempt = planned.object.status.switch.as_ref().map_or(0, |switch| switch.attempt) + 1;
            assert!(*replicas == 0 || world.hooks_passed(HookPoint::BeforeBringUp, revision, attempt), "pods before the hooks have run");
            let there = |id: &ConfigName| planned.configs.copies.iter().any(|copy| copy.config.id == *id && !copy.config.deleting);
            let wanted = planned.configs.sources.iter().filter_map(|source| source.copy.as_ref());
            assert!(wanted.into_iter().all(there), "pods before the configuration that they need");
        }
        Action::CopyConfig { source, .. } => {
            let named = |name: &String| *name == source.name;
            assert!(source.kind.named(&spec.config_snapshots).iter().any(named), "a copy that nobody has asked for");
        }
        Action::DeleteConfig { config } => {
            let pods = planned.pods.iter().any(|pod| pod.configs.contains(&config.id));
            assert!(!pods && !planned.sets.iter().any(|set| set.configs.contains(&config.id)), "a copy is deleted that something needs");
            assert!(config.copy_for.is_some(), "what is no copy is deleted");
        }
        Action::Identify { .. }
        | Action::CheckHooks { .. }
        | Action::RunHook { .. }
        | Action::DeleteJob { .. }
        | Action::Adopt { .. }
        | Action::LookUpOwner { .. }
        | Action::Release { .. }
        | Action::Withdraw { .. }
        | Action::WriteBudget { .. }
        | Action::DeleteBudget { .. }
        | Action::RemoveCommand { .. } => {}
    }
}

/// No pod of a set that served is deleted before the deadline while its latest sample shows an open connection or is unknown.
/// Judged from the samples alone, without the code under test.
fn drained(world: &World, planned: &Snapshot, set: &str, one: Option<&str>) {
    let drain = &planned.object.spec.drain;
    let now = world.now();
    let left = world.left_at.get(set).map_or(0.0, |at| now.seconds_since(*at));
    let revision = planned.sets.iter().find(|known| known.uid == set).map(|set| &set.revision);
    if planned.object.commands.get(keys::command::FINISH_DRAIN) == revision {
        return;
    }
    if left >= f64::from(drain.deadline_seconds) {
        return;
    }
    for pod in planned.pods.iter().filter(|pod| pod.set_uid == set && pod.alive() && one.is_none_or(|one| pod.uid == one)) {
        let lost = pod.node.as_ref().and_then(|node| planned.nodes.get(node)).is_some_and(|node| !node.exists);
        let by_number = drain.source == DrainSource::Metric;
        if lost || (planned.late_pods.contains(&pod.uid) && !by_number) || pod.node.is_none() || (by_number && pod.addresses.is_empty()) {
            continue;
        }
        let has_port = |metric: &crate::api::DrainMetric| !pod.host_network && crate::release::smoke::resolve(&metric.port, pod).is_some();
        if let Some(metric) = drain.metric.as_ref().filter(|metric| drain.source == DrainSource::Metric && has_port(metric)) {
            let reading = planned.readings.get(&pod.uid).unwrap_or_else(|| panic!("pod {} goes without a single reading", pod.name));
            assert!(reading.outcome.as_ref().is_ok_and(|number| *number <= f64::from(metric.at_most)) && reading.good >= 2, "{reading:?}");
            assert!(reading.about.metric == *metric && reading.about.told && reading.about.left && reading.about.converged, "{reading:?}");
            assert!(now.mono.saturating_sub(reading.at) <= crate::release::metric::oldest(metric), "{reading:?}");
            continue;
        }
        let agent = planned.agents.enabled && pod.node.as_ref().is_none_or(|node| planned.agents.nodes.contains(node));
        if !agent || drain.source == DrainSource::Timer {
            assert!(left >= f64::from(drain.fallback_seconds), "an unmeasured pod goes after {left} s");
            continue;
        }
        let latest = planned.reports.get(&pod.uid).and_then(|samples| samples.last());
        let latest = latest.unwrap_or_else(|| panic!("pod {} goes {left} s after the move without a single report", pod.name));
        assert!(latest.report.ports.iter().all(|port| port.open == 0), "a pod with open connections goes");
        assert!(now.mono.saturating_sub(latest.heard) <= world.stale(), "a pod goes on an old report");
    }
}
