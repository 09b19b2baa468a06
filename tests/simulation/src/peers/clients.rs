//! Clients: they open, hold and close connections through what their node's kube-proxy has heard of.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bluegreen::controller::api::Resource;

use super::kubelet::Socket;
use crate::agenda::Happening;
use crate::json;
use crate::scenario::BAKE;
use crate::sim::{NAMESPACE, Sim};

/// So long after its start an ill version's pods fail the probes of a bake.
const ILL_AFTER: Duration = Duration::from_secs(10);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its node.
    pub node: String,
    /// The Service it talks to.
    pub service: String,
    /// Its address.
    pub address: IpAddr,
    /// Time between two connections, in milliseconds.
    pub every: (u64, u64),
    /// How long it holds one, in milliseconds.
    pub holds: (u64, u64),
}

impl Client {
    /// The address of a client by number.
    pub fn address(number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 2, 0, number))
    }
}

impl Sim {
    /// A client opens a connection.
    pub fn open(&mut self, number: usize) {
        let Some(client) = self.peers.clients.get(number).cloned() else { return };
        let wait = self.random.millis(client.every.0, client.every.1);
        self.later(wait, Happening::Open(number));
        let endpoints = self.endpoints(&client.node, &client.service);
        let Some(pod) = self.random.one(&endpoints).cloned() else {
            self.history.refused += 1;
            return;
        };
        let holds = self.random.millis(client.holds.0, client.holds.1);
        let (now, socket) = (self.now(), self.peers.number());
        let up = |node: &str| self.peers.nodes.get(node).is_some_and(|node| node.up);
        let listens = self.peers.pods.get(&pod).is_some_and(|pod| pod.listens && up(&pod.node));
        match self.peers.pods.get_mut(&pod).filter(|_| listens) {
            Some(running) => {
                let port = 20_000 + u16::try_from(socket % 10_000).unwrap_or(0);
                running.sockets.insert(socket, Socket { number: socket, peer: client.address, port, opened: now });
                running.passive_opens += 1;
                self.history.connections += 1;
                self.later(holds, Happening::Close(pod, socket));
            }
            None => self.history.refused += 1,
        }
    }

    /// A client closes a connection.
    pub fn close(&mut self, pod: &str, number: u64) {
        let now = self.now();
        if let Some(running) = self.peers.pods.get_mut(pod)
            && let Some(socket) = running.sockets.remove(&number)
            // Whoever closes first remembers the connection: now the client, now the server.
            && number.is_multiple_of(2)
        {
            running.waiting.push((socket, now));
        }
    }

    /// Ready endpoints of a Service as a node's kube-proxy knows them: UIDs of pods.
    fn endpoints(&self, node: &str, service: &str) -> Vec<String> {
        let slices = self.peers.proxies.get(node).and_then(|watch| self.watchers.get(*watch));
        let of = |slice: &&std::sync::Arc<serde_json::Value>| json::label(slice, "kubernetes.io/service-name") == Some(service);
        let slices = slices.into_iter().flat_map(|watch| watch.mirror.values()).filter(of);
        let ready = |endpoint: &&serde_json::Value| endpoint.pointer("/conditions/ready").and_then(serde_json::Value::as_bool) == Some(true);
        slices
            .flat_map(|slice| json::items(slice, "/endpoints"))
            .filter(ready)
            .map(|endpoint| json::text(endpoint, "/targetRef/uid").to_owned())
            .collect()
    }

    /// A smoke probe reaches an address. `None`: nothing answers.
    pub fn smoked(&mut self, process: usize, path: &str, address: SocketAddr) -> Option<bool> {
        let direct = self.pod_at(address.ip());
        let through = direct.is_none();
        let pod = match direct {
            Some(pod) => pod,
            None => {
                let service = self
                    .store
                    .all(Resource::Service)
                    .find(|service| json::text(service, "/spec/clusterIP") == address.ip().to_string())
                    .map(|service| json::name(service).to_owned())?;
                let node = self.peers.nodes.keys().next().cloned()?;
                let endpoints = self.endpoints(&node, &service);
                let pod = self.random.one(&endpoints).cloned()?;
                self.peers.pods.contains_key(&pod).then_some(pod)?
            }
        };
        let now = self.now();
        let number = self.peers.number();
        let running = self.peers.pods.get_mut(&pod)?;
        let up = self.peers.nodes.get(&running.node).is_some_and(|node| node.up);
        if !up {
            return None;
        }
        if !running.listens {
            return Some(false);
        }
        running.passive_opens += 1;
        let socket = Socket { number, peer: Client::address(250), port: 40_000 + u16::try_from(number % 10_000).unwrap_or(0), opened: now };
        running.waiting.push((socket, now));
        let (name, revision) = (running.name.clone(), running.revision.clone());
        let behaviour = self.scenario.behaviour(&running.version);
        let ill = behaviour.ill && now >= running.started + ILL_AFTER;
        if path.starts_with(&format!("/{BAKE}?")) {
            self.say("probe", || format!("{path} on {name}: {}", if ill { "fails" } else { "passes" }));
            if ill {
                self.history.ill.insert(revision);
            }
            return Some(!ill);
        }
        let passes = !behaviour.fails_smoke && (!behaviour.smokes_late || now >= running.started + Duration::from_secs(12));
        self.say("probe", || format!("{path} on {name}: {}", if passes { "passes" } else { "fails" }));
        self.history.probed(process, &pod, &revision, path, through, passes);
        Some(passes)
    }

    /// A pod's number is read: how many connections it has, if it answers.
    pub fn number(&mut self, address: SocketAddr) -> Option<(String, Option<i64>)> {
        let pod = self.pod_at(address.ip())?;
        let up = |node: &str| self.peers.nodes.get(node).is_some_and(|node| node.up);
        let open = self.peers.pods.get(&pod).filter(|pod| pod.listens && up(&pod.node)).map(|pod| pod.sockets.len());
        Some((pod, open.map(|open| i64::try_from(open).unwrap_or(i64::MAX))))
    }

    /// A pod is told that it is being left.
    pub fn told(&mut self, address: SocketAddr) -> Option<bool> {
        let pod = self.pod_at(address.ip())?;
        let name = self.peers.pods.get(&pod).filter(|pod| self.peers.nodes.get(&pod.node).is_some_and(|node| node.up))?.name.clone();
        self.say("drain call", || format!("{name} is told that it is being left"));
        Some(true)
    }

    fn pod_at(&self, address: IpAddr) -> Option<String> {
        self.peers.pods.iter().find(|(_, pod)| pod.address == address).map(|(uid, _)| uid.clone())
    }

    /// Whether a name is that of a Service the release moves.
    pub fn is_active_service(&self, name: &str) -> bool {
        self.object().is_some_and(|object| json::items(&object, "/spec/traffic/services").any(|service| service.as_str() == Some(name)))
            && self.store.get(Resource::Service, NAMESPACE, name).is_some()
    }
}
