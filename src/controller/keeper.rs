//! The keeper of the ConnectionWatches: what all releases together want measured becomes one object a node.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::api::{ConnectionWatchSpec, WatchedPod};
use crate::release::action::WatchPod;

use super::api::{ApiError, ApiServer, Change, Dependents, Resource};
use super::context::{Context, pause};

/// What one BlueGreenDeployment wants measured from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// UID of the BlueGreenDeployment.
    pub uid: String,
    /// Its pods.
    pub pods: Vec<WatchPod>,
}

/// Shortest report interval, in seconds.
const REPORT: usize = 2;
/// Agents together report so often a second at the most, however many nodes there are.
const REPORTS_A_SECOND: usize = 25;
/// How often all objects are compared with what is wanted, though nobody wants anything else.
const CHECK: Duration = Duration::from_secs(30);
/// Most pods of one node, as the schema has it.
const PODS: usize = 110;

/// Turns wishes into objects.
#[derive(Debug, Default)]
pub struct Keeper {
    wanted: HashMap<String, Vec<WatchPod>>,
    rounds: HashMap<String, (WatchPod, i64)>,
}

impl Keeper {
    /// Takes a wish; answers whether it is a new one.
    pub fn take(&mut self, wanted: Wanted) -> bool {
        if self.wanted.get(&wanted.uid) == Some(&wanted.pods) {
            return false;
        }
        self.wanted.insert(wanted.uid, wanted.pods);
        true
    }

    /// Forgets objects that are gone.
    pub fn keep(&mut self, living: &std::collections::BTreeSet<String>) -> bool {
        let before = self.wanted.len();
        self.wanted.retain(|uid, _| living.contains(uid));
        before != self.wanted.len()
    }

    /// Whether a node that is to be measured has no object: somebody deleted it, or it went with its Node.
    fn lacks(&self, there: impl Fn(&str) -> bool) -> bool {
        self.wanted.values().flatten().any(|pod| !there(&pod.node))
    }

    /// UIDs of all pods that are wanted.
    fn asked(&self) -> HashSet<String> {
        self.wanted.values().flatten().map(|pod| pod.uid.clone()).collect()
    }

    /// The objects there should be, by node. `known` are the specs there are; `undecided` tells whether a pod's owner has not been looked at by this process.
    fn specs(&mut self, known: &BTreeMap<String, ConnectionWatchSpec>, undecided: impl Fn(&str) -> bool) -> BTreeMap<String, ConnectionWatchSpec> {
        let mut specs: BTreeMap<String, ConnectionWatchSpec> = BTreeMap::new();
        let asked = self.asked();
        self.rounds.retain(|uid, _| asked.contains(uid));
        for pod in self.wanted.values().flatten() {
            let before = known.get(&pod.node).and_then(|spec| spec.pods.iter().find(|known| known.uid == pod.uid));
            let round = match self.rounds.get(&pod.uid) {
                Some((same, round)) if same == pod && before.is_some_and(|before| before.round == *round) => *round,
                // Something else is wanted; or the object was deleted or changed by others, and the agent counts from zero
                // again: its counts must not be compared with the former ones.
                Some((_, round)) => before.map_or(*round, |before| before.round.max(*round)) + 1,
                // Another process asked before: what it was told must not be used.
                None => before.map_or(1, |before| before.round + 1),
            };
            self.rounds.insert(pod.uid.clone(), (pod.clone(), round));
            let spec = specs.entry(pod.node.clone()).or_default();
            spec.pods.push(WatchedPod { uid: pod.uid.clone(), round, ports: pod.ports.clone(), ignore: pod.ignore.clone() });
        }
        // Right after a change of leader nobody has asked yet; that is no reason to stop counting.
        for (node, spec) in known {
            for pod in spec.pods.iter().filter(|pod| !asked.contains(&pod.uid) && undecided(&pod.uid)) {
                specs.entry(node.clone()).or_default().pods.push(pod.clone());
            }
        }
        let report = i32::try_from(REPORT.max(specs.len().div_ceil(REPORTS_A_SECOND))).unwrap_or(i32::MAX);
        for spec in specs.values_mut() {
            spec.report_seconds = report;
            spec.pods.sort_by(|one, other| one.uid.cmp(&other.uid));
            spec.pods.truncate(PODS);
        }
        specs
    }
}

/// Keeps the objects as wanted, for as long as the controller runs.
pub async fn run<A: ApiServer>(context: Arc<Context<A>>, namespace: String, mut wishes: UnboundedReceiver<Wanted>) {
    let mut keeper = Keeper::default();
    let mut failures = 0;
    let mut checked = Instant::now();
    loop {
        let mut changed = failures > 0;
        let wait = if failures > 0 { pause(failures + 2) } else { CHECK };
        match tokio::time::timeout(wait, wishes.recv()).await {
            Ok(Some(wanted)) => {
                changed |= keeper.take(wanted);
                // Several releases often want something at the same moment.
                while let Ok(wanted) = wishes.try_recv() {
                    changed |= keeper.take(wanted);
                }
            }
            Ok(None) => return,
            Err(_) => {}
        }
        let living = context.world().uids();
        changed |= keeper.keep(&living);
        context.tasks.keep(&living);
        context.peers.keep(&living);
        context.forget_all_but(&living);
        // The wishes of releases are the same after an object was deleted as before.
        changed |= checked.elapsed() >= CHECK || {
            let world = context.world();
            keeper.lacks(|node| world.watch(node).is_some())
        };
        if !changed {
            continue;
        }
        checked = Instant::now();
        context.reports().keep(&keeper.asked());
        failures = match converge(&context, &namespace, &mut keeper).await {
            Ok(()) => 0,
            // Its watch has not brought it yet.
            Err(ApiError::AlreadyExists) => failures.saturating_add(1),
            Err(error) => {
                tracing::warn!(%error, "a ConnectionWatch could not be written");
                failures.saturating_add(1)
            }
        };
    }
}

async fn converge<A: ApiServer>(context: &Context<A>, namespace: &str, keeper: &mut Keeper) -> Result<(), ApiError> {
    let (known, specs) = {
        let world = context.world();
        let known: BTreeMap<String, (ConnectionWatchSpec, String, String)> = world
            .watches()
            .filter_map(|heard| {
                let metadata = &heard.watch.metadata;
                Some((metadata.name.clone()?, (heard.watch.spec.clone(), metadata.uid.clone()?, metadata.resource_version.clone()?)))
            })
            .collect();
        let bare = known.iter().map(|(node, (spec, ..))| (node.clone(), spec.clone())).collect();
        let undecided = |pod: &str| world.owner_of_pod(pod).is_some_and(|owner| !keeper.wanted.contains_key(owner));
        // Borrowed apart: the rounds change while the wishes are read.
        let undecided: HashSet<String> =
            known.values().flat_map(|(spec, ..)| &spec.pods).map(|pod| pod.uid.clone()).filter(|uid| undecided(uid)).collect();
        let specs = keeper.specs(&bare, |uid| undecided.contains(uid));
        (known, specs)
    };
    for (node, (_, uid, _)) in known.iter().filter(|(node, _)| !specs.contains_key(*node)) {
        context.api.delete(Resource::ConnectionWatch, namespace, node, (uid, None), Dependents::Deleted).await?;
        context.forgot(Resource::ConnectionWatch, uid);
    }
    let mut unseen = false;
    for (node, spec) in &specs {
        let written = match known.get(node) {
            Some((before, ..)) if before == spec => continue,
            Some((_, uid, version)) => {
                let patch = json!({"metadata": {"uid": uid, "resourceVersion": version}, "spec": spec});
                match context.api.patch(Resource::ConnectionWatch, namespace, node, false, Change::Merge(patch)).await {
                    // The agent has reported meanwhile; its report is in the next version.
                    Err(ApiError::Conflict) => retry(context, namespace, node, uid, spec).await?,
                    answer => answer?,
                }
            }
            None => match context.api.create(Resource::ConnectionWatch, namespace, object(context, namespace, node, spec), false).await {
                Err(ApiError::AlreadyExists) => {
                    unseen = true;
                    continue;
                }
                answer => answer?,
            },
        };
        context.wrote(Resource::ConnectionWatch, &written);
    }
    if unseen { Err(ApiError::AlreadyExists) } else { Ok(()) }
}

/// The spec is ours alone, so that only the UID needs to be guarded when the version has moved on.
async fn retry<A: ApiServer>(context: &Context<A>, namespace: &str, node: &str, uid: &str, spec: &ConnectionWatchSpec) -> Result<Value, ApiError> {
    let patch = json!({"metadata": {"uid": uid}, "spec": spec});
    context.api.patch(Resource::ConnectionWatch, namespace, node, false, Change::Merge(patch)).await
}

fn object<A: ApiServer>(context: &Context<A>, namespace: &str, node: &str, spec: &ConnectionWatchSpec) -> Value {
    let mut metadata = json!({"name": node, "namespace": namespace});
    // Goes with its node, if that goes.
    if let (Some(uid), Some(metadata)) = (context.world().node_uid(node), metadata.as_object_mut()) {
        metadata.insert("ownerReferences".into(), json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}]));
    }
    json!({"apiVersion": "bluegreen.dev/v1alpha1", "kind": "ConnectionWatch", "metadata": metadata, "spec": spec})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn pod(uid: &str, epoch: i64) -> WatchPod {
        WatchPod { node: "n".into(), uid: uid.into(), epoch, ports: vec![80], ignore: vec![] }
    }

    fn round(specs: &BTreeMap<String, ConnectionWatchSpec>) -> i64 {
        specs["n"].pods[0].round
    }

    #[test]
    fn a_round_rises_with_every_change_and_with_another_controller() {
        let mut keeper = Keeper::default();
        assert!(keeper.take(Wanted { uid: "b".into(), pods: vec![pod("p", 1)] }));
        assert!(!keeper.take(Wanted { uid: "b".into(), pods: vec![pod("p", 1)] }));
        let first = keeper.specs(&BTreeMap::new(), |_| false);
        assert_eq!(round(&first), 1);
        assert_eq!(round(&keeper.specs(&first, |_| false)), 1);
        keeper.take(Wanted { uid: "b".into(), pods: vec![pod("p", 2)] });
        let second = keeper.specs(&first, |_| false);
        assert_eq!(round(&second), 2);
        assert_eq!(round(&keeper.specs(&second, |_| false)), 2);
        let mut other = Keeper::default();
        other.take(Wanted { uid: "b".into(), pods: vec![pod("p", 2)] });
        assert_eq!(round(&other.specs(&second, |_| false)), 3);
    }

    #[test]
    fn an_object_that_was_deleted_is_missed_and_made_again_in_another_round() {
        let mut keeper = Keeper::default();
        assert!(!keeper.lacks(|_| false));
        keeper.take(Wanted { uid: "b".into(), pods: vec![pod("p", 1)] });
        assert!(keeper.lacks(|_| false));
        assert!(!keeper.lacks(|node| node == "n"));
        let first = keeper.specs(&BTreeMap::new(), |_| false);
        let again = keeper.specs(&BTreeMap::new(), |_| false);
        assert_eq!((round(&first), round(&again)), (1, 2));
        assert_eq!(keeper.specs(&again, |_| false), again);
    }

    #[test]
    fn what_others_wrote_into_a_spec_is_put_right_in_another_round() {
        let mut keeper = Keeper::default();
        keeper.take(Wanted { uid: "b".into(), pods: vec![pod("p", 1)] });
        let told = keeper.specs(&BTreeMap::new(), |_| false);
        let mut emptied = told.clone();
        emptied.get_mut("n").unwrap().pods.clear();
        assert_eq!(round(&keeper.specs(&emptied, |_| false)), 2);
        let mut ahead = told;
        ahead.get_mut("n").unwrap().pods[0].round = 9;
        assert_eq!(round(&keeper.specs(&ahead, |_| false)), 10);
    }

    #[test]
    fn what_a_former_leader_asked_for_goes_on_until_its_owner_is_looked_at() {
        let mut former = Keeper::default();
        former.take(Wanted { uid: "b".into(), pods: vec![pod("p", 1)] });
        let known = former.specs(&BTreeMap::new(), |_| false);
        let mut keeper = Keeper::default();
        assert_eq!(keeper.specs(&known, |uid| uid == "p"), known);
        keeper.take(Wanted { uid: "b".into(), pods: vec![] });
        assert!(keeper.specs(&known, |_| false).is_empty());
    }

    #[test]
    fn many_nodes_report_less_often() {
        let mut keeper = Keeper::default();
        let pods = (0..1000).map(|number| WatchPod { node: format!("n{number}"), ..pod(&format!("p{number}"), 1) }).collect();
        keeper.take(Wanted { uid: "b".into(), pods });
        assert_eq!(keeper.specs(&BTreeMap::new(), |_| false)["n0"].report_seconds, 40);
    }
}
