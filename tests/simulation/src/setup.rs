//! The cluster at the beginning: nodes, agents, Services, the object, everybody's watches.

use std::time::Duration;

use bluegreen::controller::api::Resource;
use serde_json::{Value, json};

use crate::agenda::Happening;
use crate::controller::process::PLACES;
use crate::json;
use crate::peers::agent::Agent;
use crate::peers::clients::Client;
use crate::peers::kubelet::Node;
use crate::sim::{AGENT, NAME, NAMESPACE, OPERATOR, Sim};
use crate::store::Manager;
use crate::watch::{Sink, of};

const NODES: [&str; 3] = ["n1", "n2", "n3"];

impl Sim {
    /// Makes the cluster.
    pub fn set_up(&mut self) {
        for (number, name) in NODES.into_iter().enumerate() {
            let last = u8::try_from(number + 1).unwrap_or(1);
            self.peers.nodes.insert(name.to_owned(), Node { address: std::net::Ipv4Addr::new(10, 0, 0, last).into(), up: true });
        }
        if self.scenario.agent {
            let spec = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": AGENT}, "spec": {}});
            self.make(Resource::DaemonSet, OPERATOR, spec).ok();
        }
        for name in NODES {
            self.make_node(name);
        }
        self.daemon_set();
        for service in self.scenario.services.clone() {
            self.make_service(&service);
        }
        if self.scenario.preview {
            self.make_service("shop-preview");
        }
        self.apply_object();
        self.make_bystander();
        self.peers_watch();
        self.clients();
        for place in 0..PLACES {
            let wait = self.random.millis(0, 800);
            self.later(wait, Happening::Start(place));
        }
        self.plan_acts();
        self.later(Duration::from_secs(self.scenario.busy_seconds), Happening::Calm);
    }

    /// The object, as soon as nothing of that name is there any more.
    pub fn apply_object(&mut self) {
        if let Some(there) = self.object() {
            if !json::alive(&there) {
                self.later(Duration::from_millis(500), Happening::Apply);
            }
            return;
        }
        let object =
            json!({"apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment", "metadata": {"name": NAME}, "spec": self.scenario.spec});
        self.say("person", || "applies the BlueGreenDeployment".into());
        // What another one was called, and which numbers it gave to its moves, is none of its business.
        self.history.stored.clear();
        self.make(Resource::BlueGreenDeployment, NAMESPACE, object).ok();
        let (now, replicas) = (self.now(), json::number(&self.scenario.spec, "/replicas"));
        self.history.replicas.push((now, replicas));
    }

    fn peers_watch(&mut self) {
        let since = self.store.revision();
        self.peers.replica_sets.sets = self.watch(of(Resource::ReplicaSet), Sink::Mirror, (1, 250), since);
        self.peers.replica_sets.pods = self.watch(of(Resource::Pod), Sink::Mirror, (1, 250), since);
        self.peers.endpoint_slices.services = self.watch(of(Resource::Service), Sink::Mirror, (1, 300), since);
        self.peers.endpoint_slices.pods = self.watch(of(Resource::Pod), Sink::Mirror, (1, 300), since);
        self.later(Duration::from_millis(10), Happening::ReplicaSets);
        self.later(Duration::from_millis(20), Happening::EndpointSlices);
        if self.what.story.is_none() {
            self.later(Duration::from_secs(7), Happening::Autoscale);
        }
        for name in NODES {
            let proxy = self.watch(of(Resource::EndpointSlice), Sink::Mirror, (20, 1500), since);
            self.peers.proxies.insert(name.to_owned(), proxy);
            let watch = self.watch(of(Resource::ConnectionWatch), Sink::Mirror, (1, 300), since);
            let boot = format!("boot-{}", self.peers.number());
            self.peers.agents.insert(name.to_owned(), Agent::new(watch, boot));
            let wait = self.random.millis(0, 500);
            self.later(wait, Happening::Sample(name.to_owned()));
        }
    }

    fn clients(&mut self) {
        let services = self.scenario.services.clone();
        for (number, node) in NODES.iter().cycle().take(4).enumerate() {
            let mut every = *self.random.one(&[(200, 1500), (1000, 5000), (5000, 20_000)]).unwrap_or(&(1000, 5000));
            let mut holds = *self.random.one(&[(5, 300), (500, 8000), (5000, 40_000), (30_000, 200_000)]).unwrap_or(&(5, 300));
            if self.what.story.is_some() {
                (every, holds) = ((2000, 5000), (5000, 12_000));
            }
            let service = self.random.one(&services).cloned().unwrap_or_default();
            let address = Client::address(u8::try_from(number + 1).unwrap_or(1));
            self.peers.clients.push(Client { node: (*node).to_owned(), service, address, every, holds });
            let wait = self.random.millis(3000, 6000);
            self.later(wait, Happening::Open(number));
        }
    }

    /// A node, and the agent's pod on it.
    pub fn make_node(&mut self, name: &str) {
        let address = self.peers.nodes.get(name).map(|node| node.address.to_string()).unwrap_or_default();
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}}, "spec": {},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        });
        self.make(Resource::Node, "", node).ok();
        if self.scenario.agent {
            let labels = json!({"bluegreen.dev/component": AGENT});
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{AGENT}-{name}"), "labels": labels}, "spec": {"nodeName": name}});
            self.make(Resource::Pod, OPERATOR, pod).ok();
        }
    }

    /// The DaemonSet says how many pods it wants and has.
    pub fn daemon_set(&mut self) {
        let nodes = self.store.all(Resource::Node).count();
        let pods = self.store.all(Resource::Pod).filter(|pod| json::text(pod, "/metadata/namespace") == OPERATOR).count();
        self.write(Manager::updates("daemonset-controller"), Resource::DaemonSet, OPERATOR, AGENT, |set| {
            let generation = json::number(set, "/metadata/generation");
            if let Some(set) = set.as_object_mut() {
                let status = json!({
                    "observedGeneration": generation, "desiredNumberScheduled": nodes, "currentNumberScheduled": pods,
                    "updatedNumberScheduled": pods, "numberMisscheduled": 0,
                });
                set.insert("status".into(), status);
            }
        });
    }

    /// A Service without a selector: the operator writes it.
    pub fn make_service(&mut self, name: &str) {
        let number = self.peers.number();
        let address = format!("10.96.{}.{}", number / 250 % 250, number % 250 + 1);
        let spec =
            json!({"type": "ClusterIP", "clusterIP": address, "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]});
        let service: Value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        self.make(Resource::Service, NAMESPACE, service).ok();
    }
}
