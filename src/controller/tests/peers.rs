//! Peers against a small API server that holds pods, or refuses to list them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::controller::api::{Change, Dependents};
use crate::controller::context::{Clock, Outlets};
use crate::controller::observe::{Installation, observe};
use crate::controller::prober::Network;
use crate::controller::world::{Key, World};
use crate::release::Now;

/// What is listed, and every question.
#[derive(Clone)]
struct Fake(Arc<Mutex<(Listed, Vec<String>)>>);

type Listed = Result<Vec<Value>, ApiError>;

impl ApiServer for Fake {
    async fn get(&self, _: Resource, _: &str, _: &str) -> Result<Option<Value>, ApiError> {
        Err(ApiError::NotFound)
    }

    async fn list(&self, _: Resource, namespace: &str, which: Which) -> Result<Vec<Value>, ApiError> {
        let mut inside = self.0.lock().unwrap();
        inside.1.push(format!("{namespace}?{}", which.labels.or(which.fields).unwrap_or_default()));
        inside.0.clone()
    }

    async fn create(&self, _: Resource, _: &str, _: Value, _: bool) -> Result<Value, ApiError> {
        Err(ApiError::NotFound)
    }

    async fn patch(&self, _: Resource, _: &str, _: &str, _: bool, _: Change) -> Result<Value, ApiError> {
        Err(ApiError::NotFound)
    }

    async fn delete(&self, _: Resource, _: &str, _: &str, _: (&str, Option<&str>), _: Dependents) -> Result<(), ApiError> {
        Err(ApiError::NotFound)
    }

    async fn log_end(&self, _: &str, _: &str, _: &str) -> Result<String, ApiError> {
        Err(ApiError::NotFound)
    }

    async fn publish(&self, _: &Value, _: &Notice) -> Result<(), ApiError> {
        Err(ApiError::NotFound)
    }
}

#[derive(Clone)]
struct Watch(Arc<Mutex<Duration>>);

impl Clock for Watch {
    fn now(&self) -> Now {
        Now { wall: jiff::Timestamp::UNIX_EPOCH, mono: *self.0.lock().unwrap() }
    }
}

/// A BlueGreenDeployment, the API server it lives in, and what is said about it.
struct Stage {
    context: Context<Fake>,
    api: Fake,
    watch: Watch,
    said: UnboundedReceiver<(Value, Notice)>,
    version: u32,
}

fn key() -> Key {
    Key { namespace: "shop".into(), name: "shop".into() }
}

fn pod(name: &str, phase: &str, address: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "monitoring"},
        "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}]},
    })
}

fn draining(holders: &[&str]) -> BlueGreenDeploymentStatus {
    let holders: Vec<Value> = holders.iter().map(|address| json!({"address": address, "port": 80, "connections": 1})).collect();
    serde_json::from_value(json!({"draining": [{
        "revision": "a", "color": "blue", "pods": 1, "drainedPods": 0, "source": "Sockets", "reason": "OpenConnections",
        "holders": holders, "since": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:10:00Z",
    }]}))
    .unwrap()
}

impl Stage {
    fn new(cluster_wide: bool, ignore: &Value) -> Self {
        let api = Fake(Arc::new(Mutex::new((Ok(vec![]), vec![]))));
        let watch = Watch(Arc::new(Mutex::new(Duration::from_secs(1000))));
        let (wake, _) = unbounded_channel();
        let (wanted, _) = unbounded_channel();
        let (events, said) = unbounded_channel();
        let installation = Installation {
            agent: true,
            runtime_classes: vec![],
            cluster_wide,
            allowed_urls: Some(vec![]),
            allowed_webhooks: Some(vec![]),
            allowed_exec: Some(false),
            job_logs: false,
            config_snapshots: None,
            allowed_proxy: Some(false),
        };
        let world = World::new(vec![], true);
        let context =
            Context::new(api.clone(), Arc::new(watch.clone()), Arc::new(Network::default()), installation, world, Outlets { wake, wanted, events });
        let mut stage = Self { context, api, watch, said, version: 0 };
        stage.ignore(ignore);
        stage
    }

    /// Changes `drain.ignorePeers`.
    fn ignore(&mut self, peers: &Value) {
        self.version += 1;
        let object = json!({
            "apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": "shop", "namespace": "shop", "uid": "u", "resourceVersion": self.version.to_string()},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": []}},
                "drain": {"ignorePeers": peers},
            },
        });
        self.context.wrote(Resource::BlueGreenDeployment, &object);
    }

    fn holds(&self, pods: Result<Vec<Value>, ApiError>) {
        self.api.0.lock().unwrap().0 = pods;
    }

    fn later(&self, seconds: u64) {
        *self.watch.0.lock().unwrap() += Duration::from_secs(seconds);
    }

    /// Questions since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.api.0.lock().unwrap().1)
    }

    fn snapshot(&self) -> Snapshot {
        let world = self.context.world();
        let mut reports = self.context.reports();
        let now = self.context.clock.now();
        self.context.remember("u", |remembered| observe(&world, remembered, &mut reports, &self.context.installation, &key(), now)).unwrap()
    }

    async fn look(&self, status: &BlueGreenDeploymentStatus) -> bool {
        name(&self.context, &self.snapshot(), status).await
    }

    fn ignored(&self) -> BTreeMap<usize, Vec<String>> {
        self.snapshot().ignored_addresses
    }
}

fn prometheus() -> Value {
    json!([{"podLabels": {"app": "prometheus"}, "namespace": "monitoring"}])
}

#[tokio::test]
async fn pods_that_have_ended_are_neither_ignored_nor_named() {
    let stage = Stage::new(true, &prometheus());
    stage.holds(Ok(vec![pod("gone", "Failed", "10.0.0.1"), pod("done", "Succeeded", "10.0.0.1"), pod("there", "Running", "10.0.0.2")]));
    assert!(stage.look(&draining(&["10.0.0.1"])).await);
    assert_eq!(stage.ignored(), BTreeMap::from([(0, vec!["10.0.0.2".to_owned()])]));
    assert_eq!(stage.snapshot().peer_names["10.0.0.1"].as_deref(), Some("monitoring/there"));
    // The fake answers every question alike; what counts is that the two that ended were passed over.
    stage.holds(Ok(vec![pod("gone", "Failed", "10.0.0.9")]));
    stage.look(&draining(&["10.0.0.9"])).await;
    assert_eq!(stage.snapshot().peer_names["10.0.0.9"], None);
}

#[tokio::test]
async fn pods_to_ignore_are_looked_up_again_while_a_drain_lasts() {
    let stage = Stage::new(false, &prometheus());
    stage.holds(Ok(vec![pod("a", "Running", "10.0.0.1")]));
    assert!(stage.look(&draining(&[])).await);
    assert!(!stage.look(&draining(&[])).await);
    assert_eq!(stage.asked(), ["monitoring?app=prometheus"]);
    stage.holds(Ok(vec![pod("b", "Running", "10.0.0.2")]));
    stage.later(29);
    assert!(!stage.look(&draining(&[])).await);
    stage.later(1);
    assert!(stage.look(&draining(&[])).await);
    assert_eq!(stage.asked().len(), 1);
    assert_eq!(stage.ignored(), BTreeMap::from([(0, vec!["10.0.0.2".to_owned()])]));
    stage.look(&BlueGreenDeploymentStatus::default()).await;
    assert!(stage.ignored().is_empty());
}

#[tokio::test]
async fn a_refusal_is_told_once_and_asked_again_at_intervals() {
    let mut stage = Stage::new(true, &prometheus());
    stage.holds(Ok(vec![pod("a", "Running", "10.0.0.1")]));
    stage.look(&draining(&[])).await;
    stage.holds(Err(ApiError::Forbidden("pods is forbidden".into())));
    stage.later(30);
    assert!(stage.look(&draining(&[])).await);
    // Whose address it is now can't be known.
    assert!(stage.ignored().is_empty());
    let (_, notice) = stage.said.try_recv().unwrap();
    assert_eq!((notice.warning, notice.reason), (true, "PeersUnread"));
    assert_eq!(
        notice.message,
        "spec.drain.ignorePeers[0]: pods with app=prometheus in namespace \"monitoring\" can't be looked up, so none of them is ignored; write their network as cidr, or let the operator watch that namespace: pods is forbidden"
    );
    stage.asked();
    for _ in 0..3 {
        assert!(!stage.look(&draining(&[])).await);
    }
    assert!(stage.asked().is_empty());
    stage.later(30);
    stage.look(&draining(&[])).await;
    assert_eq!(stage.asked().len(), 1);
    assert!(stage.said.try_recv().is_err());
}

#[tokio::test]
async fn trouble_that_may_pass_changes_nothing_and_is_tried_again() {
    let stage = Stage::new(false, &prometheus());
    stage.holds(Ok(vec![pod("a", "Running", "10.0.0.1")]));
    stage.look(&draining(&[])).await;
    stage.holds(Err(ApiError::Transient("etcd".into())));
    stage.later(30);
    stage.asked();
    assert!(!stage.look(&draining(&[])).await);
    assert!(!stage.look(&draining(&[])).await);
    assert_eq!(stage.asked().len(), 2);
    assert_eq!(stage.ignored().len(), 1);
}

#[tokio::test]
async fn a_changed_entry_does_not_keep_the_addresses_of_the_former_one() {
    let mut stage = Stage::new(false, &prometheus());
    stage.holds(Ok(vec![pod("a", "Running", "10.0.0.1")]));
    stage.look(&draining(&[])).await;
    stage.ignore(&json!([{"podLabels": {"app": "other"}, "namespace": "monitoring"}]));
    stage.holds(Ok(vec![pod("b", "Running", "10.0.0.2")]));
    assert!(stage.look(&draining(&[])).await);
    assert_eq!(stage.ignored(), BTreeMap::from([(0, vec!["10.0.0.2".to_owned()])]));
    stage.ignore(&json!([{"cidr": "10.9.0.0/24"}]));
    assert!(stage.look(&draining(&[])).await);
    assert!(stage.ignored().is_empty());
}

#[test]
fn what_is_known_of_objects_that_are_gone_is_forgotten() {
    let asked = Asked::default();
    let question = Question { namespace: "n".into(), labels: "a=b".into() };
    asked.answered("u", 0, Answer { question, at: Duration::ZERO, refused: None });
    asked.keep(&BTreeSet::from(["u".to_owned()]));
    assert_eq!(asked.of("u").len(), 1);
    asked.keep(&BTreeSet::new());
    assert!(asked.of("u").is_empty());
}
