//! The counters of one watched port and its peers.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use tracing::warn;

use crate::api::{PeerReport, PortReport};

/// How many peers a report names for each port.
pub const PEERS_SHOWN: usize = 5;

/// How many peers are remembered for each port. Beyond, the arrivals of those with the fewest are forgotten; the port's
/// own count is not touched by that.
const PEERS_KEPT: usize = 1024;

/// One watched port.
#[derive(Debug)]
pub struct PortCounter {
    port: u16,
    open: i64,
    arrivals: i64,
    arrived_in_sample: i64,
    peers: BTreeMap<IpAddr, Peer>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    open: i64,
    arrivals: i64,
}

impl PortCounter {
    /// Begins with nothing counted.
    pub fn new(port: u16) -> Self {
        Self { port, open: 0, arrivals: 0, arrived_in_sample: 0, peers: BTreeMap::new() }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Open connections in the latest sample.
    pub fn open(&self) -> i64 {
        self.open
    }

    /// New connections in the latest sample.
    pub fn arrived_in_sample(&self) -> i64 {
        self.arrived_in_sample
    }

    /// Forgets what only a single sample can tell.
    pub fn begin_sample(&mut self) {
        self.open = 0;
        self.arrived_in_sample = 0;
        for peer in self.peers.values_mut() {
            peer.open = 0;
        }
        self.peers.retain(|_, peer| peer.arrivals > 0);
        if self.peers.len() > PEERS_KEPT {
            let mut peers: Vec<(IpAddr, Peer)> = std::mem::take(&mut self.peers).into_iter().collect();
            peers.sort_by_key(|(_, peer)| Reverse(peer.arrivals));
            // Half of them, so that it is not sorted again with each new peer.
            peers.truncate(PEERS_KEPT / 2);
            self.peers = peers.into_iter().collect();
        }
    }

    /// A connection was seen for the first time.
    pub fn arrived(&mut self, peer: IpAddr) {
        self.arrivals += 1;
        self.arrived_in_sample += 1;
        self.peers.entry(peer).or_default().arrivals += 1;
    }

    /// A connection is open in this sample.
    pub fn is_open(&mut self, peer: IpAddr) {
        self.open += 1;
        self.peers.entry(peer).or_default().open += 1;
    }

    /// As it stands in the report.
    pub fn report(&self) -> PortReport {
        let mut peers: Vec<(IpAddr, Peer)> = self.peers.iter().map(|(address, peer)| (*address, *peer)).collect();
        // Stable: equal ones stay in the order of their addresses.
        peers.sort_by_key(|(_, peer)| Reverse((peer.open, peer.arrivals)));
        peers.truncate(PEERS_SHOWN);
        PortReport {
            port: i32::from(self.port),
            open: self.open,
            arrivals: self.arrivals,
            peers: peers.into_iter().map(|(address, Peer { open, arrivals })| PeerReport { address: address.to_string(), open, arrivals }).collect(),
        }
    }
}

/// The networks whose connections do not count.
#[derive(Debug, Default)]
pub struct Ignored(Vec<IpNet>);

impl Ignored {
    /// Reads networks or single addresses. What is neither is left out: its connections count.
    pub fn parse(texts: &[String]) -> Self {
        let mut networks = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => networks.push(network),
                Err(_) => {
                    warn!(network = %text, "not a network in CIDR notation; its connections are counted")
                }
            }
        }
        Self(networks)
    }

    /// Whether a peer is in one of them.
    pub fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&peer))
    }
}

#[cfg(test)]
#[path = "tests/ports.rs"]
mod tests;
