//! Observe: one consistent snapshot, from caches that know this process' own last writes.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{BlueGreenDeploymentStatus, keys};
use crate::probe::Endpoint;
use crate::release::config::{Configs, Snapshots};
use crate::release::intent::on_record;
use crate::release::revision::{known, raw_hash};
use crate::release::services::{matches_template, owned, template_labels};
use crate::release::{Agents, Identity, Now, Object, OwnerState, Pod, RoleKind, Set, Snapshot};
use crate::release::{overlap, part, reached};

use super::config;
use super::memory::{Remembered, Reports};
use super::world::{Key, Leaving, World};

/// What the operator was started with, as far as it matters to a release.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// Whether the drain agent is installed.
    pub agent: bool,
    /// Values of runtimeClassName behind which sockets are visible.
    pub runtime_classes: Vec<String>,
    /// Whether pods of other namespaces may be looked up.
    pub cluster_wide: bool,
    /// Where queries may go; `None` where that is not known.
    pub allowed_urls: Option<Vec<Endpoint>>,
    /// Below which places webhooks may be.
    pub allowed_webhooks: Option<Vec<Endpoint>>,
    /// Whether commands may be run in pods.
    pub allowed_exec: Option<bool>,
    /// Whether the last words of a Job that failed may be shown.
    pub job_logs: bool,
    /// Which kinds of configuration may be copied.
    pub config_snapshots: Option<Snapshots>,
    /// Whether probes may go through the API server.
    pub allowed_proxy: Option<bool>,
}

/// Reads everything that concerns one object; `None` where it does not exist (any more).
pub fn observe(
    world: &World,
    remembered: &mut Remembered,
    reports: &mut Reports,
    installation: &Installation,
    key: &Key,
    now: Now,
) -> Option<Snapshot> {
    let object = world.object(key)?;
    let uid = object.metadata.uid.clone()?;
    let mut sets: Vec<_> = world.sets(&uid).into_iter().cloned().collect();
    let stored = object.status.clone().unwrap_or_default();
    let moved = world.services(&key.namespace).filter(|service| service.owner.as_ref().is_some_and(|owner| owner.uid == uid));
    let mut object = Object {
        name: key.name.clone(),
        namespace: key.namespace.clone(),
        resource_version: object.metadata.resource_version.clone()?,
        generation: object.metadata.generation.unwrap_or(0),
        deleting: object.metadata.deletion_timestamp.is_some(),
        spec: object.spec.clone(),
        stored_switch: stored.switch.clone(),
        status: BlueGreenDeploymentStatus { switch: on_record(stored.switch.as_ref(), &sets, moved), ..stored },
        commands: object
            .metadata
            .annotations
            .iter()
            .flatten()
            .filter(|(name, _)| keys::command::ALL.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        adopting: object.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(keys::ADOPTING)),
        ejecting: object.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(keys::EJECTING)),
        uid,
    };
    let mut pods = pods(world, &object, &sets);
    let selectors: Vec<_> = world.services(&key.namespace).map(|service| &service.selector).collect();
    part::regroup(&mut sets, &mut pods, &object.spec.selector.match_labels, &selectors, object.status.switch.as_ref(), now.wall);
    let configs = config::read(world, remembered, installation.config_snapshots, (&object, &sets, &pods), now.mono);
    // The one place: whatever follows knows only the template that refers to copies.
    if configs.problem().is_none() {
        configs.put_copies(&mut object.spec.template);
    }
    let identity = identity(&object, &configs, &sets, remembered);

    let mut late_pods = BTreeSet::new();
    if let Some(switch) = &object.status.switch {
        for set in sets
            .iter()
            .filter(|set| (set.revision != switch.to || set.loose.is_some()) && set.role.is_some_and(|role| role.kind != RoleKind::Retired))
        {
            let present = pods.iter().filter(|pod| pod.set_uid == set.uid).map(|pod| (pod.uid.as_str(), pod.created));
            let left = switch.completed_at.filter(|_| set.loose.is_none());
            let seen = remembered.present.entry(set.uid.clone()).or_default();
            late_pods.extend(seen.late(switch.attempt, left, present).into_iter().map(str::to_owned));
        }
    }
    remembered.present.retain(|set, _| sets.iter().any(|known| &known.uid == set));
    remembered.jobs.retain(|name, _| object.status.hooks.iter().any(|row| row.job == *name));
    remembered.begun.retain(|pod, _| pods.iter().any(|known| &known.uid == pod));

    let node_names: BTreeSet<&String> = pods.iter().filter_map(|pod| pod.node.as_ref()).collect();
    let mut nodes: BTreeMap<_, _> = node_names.iter().filter_map(|name| Some(((*name).clone(), world.node(name)?))).collect();
    // A network to ignore must not hold any node's address, whoever runs there.
    if !object.spec.drain.ignore_peers.is_empty() {
        nodes.extend(world.nodes().cloned());
    }
    for name in &node_names {
        if let Some(heard) = world.watch(name) {
            reports.absorb(&heard.watch, heard.at, now.mono);
        }
    }
    // Where none is asked for, only its own matters: it is to go.
    let budgets = world.budgets(&key.namespace, |budget| object.spec.disruption_budget.is_some() || budget.name == object.name);
    let (agent_nodes, settled) = world.agents();
    let mut snapshot = Snapshot {
        identity,
        peers: world.peers(key),
        orphans: world.orphans(&key.namespace, &key.name).into_iter().cloned().collect(),
        refused: remembered.refused.clone(),
        allowed_urls: installation.allowed_urls.clone(),
        allowed_webhooks: installation.allowed_webhooks.clone(),
        allowed_exec: installation.allowed_exec,
        unread: world.unread(&key.namespace),
        configs,
        allowed_proxy: installation.allowed_proxy,
        jobs: remembered.jobs.clone(),
        hooks_checked: remembered.hooks_checked(now.mono),
        services: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        budgets,
        owners: BTreeMap::new(),
        probes: remembered.probes.clone(),
        reports: pods.iter().map(|pod| (pod.uid.clone(), reports.of(&pod.uid))).filter(|(_, samples)| !samples.is_empty()).collect(),
        agents: Agents {
            enabled: installation.agent,
            settled,
            nodes: agent_nodes,
            runtime_classes: installation.runtime_classes.iter().cloned().collect(),
        },
        nodes,
        begun: remembered.begun.clone(),
        readings: remembered.readings.clone(),
        late_pods,
        absent_since: BTreeMap::new(),
        present_since: BTreeMap::new(),
        repairs: remembered.recent_repairs(now.mono),
        ignored_addresses: remembered.ignored.clone(),
        peer_names: remembered.peers.clone(),
        sets,
        pods,
        object,
    };
    services(world, remembered, &mut snapshot, now.mono);
    // Whatever stands in a declared Service is reached, whenever it was born.
    let Snapshot { late_pods, endpoints, object, .. } = &mut snapshot;
    for found in object.spec.traffic.services.iter().filter_map(|name| endpoints.get(name)) {
        late_pods.retain(|uid| !found.pods.contains_key(uid));
    }
    reached::note(&mut remembered.absent, &snapshot, now.mono);
    snapshot.absent_since.clone_from(&remembered.absent);
    overlap::note(&mut remembered.endpoints, &snapshot, now.mono);
    snapshot.present_since.clone_from(&remembered.endpoints);
    Some(snapshot)
}

/// Pods of the object's ReplicaSets, and those that have left one.
fn pods(world: &World, object: &Object, sets: &[Set]) -> Vec<Pod> {
    let mut pods: BTreeMap<&str, &Pod> = BTreeMap::new();
    let of_sets = sets.iter().flat_map(|set| world.pods(&set.uid));
    let revisions: BTreeSet<&String> = sets.iter().map(|set| &set.revision).collect();
    let free = revisions.into_iter().flat_map(|revision| world.leaving(&Leaving::Free(object.namespace.clone(), revision.clone())));
    for pod in of_sets.chain(world.leaving(&Leaving::Of(object.uid.clone()))).chain(free) {
        pods.insert(&pod.uid, pod);
    }
    let mut pods: Vec<Pod> = pods.into_values().cloned().collect();
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    pods
}

/// Services that concern the object: declared, owned, or matching its pods.
fn services(world: &World, remembered: &Remembered, snapshot: &mut Snapshot, now: std::time::Duration) {
    let traffic = &snapshot.object.spec.traffic;
    let labels = template_labels(snapshot);
    let relevant = |service: &&crate::release::Service| {
        traffic.services.iter().chain(&traffic.preview_services).any(|name| *name == service.name)
            || owned(snapshot, service)
            || matches_template(&service.selector, &labels)
    };
    let found: Vec<_> = world.services(&snapshot.object.namespace).filter(relevant).cloned().collect();
    for service in found {
        if let Some(endpoints) = world.endpoints(&snapshot.object.namespace, &service.name) {
            snapshot.endpoints.insert(service.name.clone(), endpoints);
        }
        if let Some(owner) = &service.owner {
            // Only a live read may say that an owner is gone; the cache may only say that it lives.
            let state = if world.knows(&owner.uid) { Some(OwnerState::Alive) } else { remembered.owner(&owner.uid, now) };
            if let Some(state) = state {
                snapshot.owners.insert(owner.uid.clone(), state);
            }
        }
        snapshot.services.insert(service.name.clone(), service);
    }
}

/// Which revision the template is: known from the ReplicaSets themselves, or from the last answer of the API server.
fn identity(object: &Object, configs: &Configs, sets: &[Set], remembered: &Remembered) -> Identity {
    if let Some(block) = configs.problem() {
        return Identity::Refused { reason: block.reason.into(), message: block.message };
    }
    let raw_hash = raw_hash(&object.spec.template);
    if let Some(set) = known(sets, &raw_hash) {
        return Identity::Known { raw_hash, revision: set.revision.clone() };
    }
    match &remembered.identity {
        Some((asked, answer)) if *asked == raw_hash => answer.clone(),
        _ => Identity::Unknown { raw_hash },
    }
}
