#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn address(number: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + number).into())
}

#[test]
fn the_five_peers_that_matter_most() {
    let mut port = PortCounter::new(80);
    for (peer, open, arrivals) in [(1, 0, 9), (2, 3, 0), (3, 1, 1), (4, 1, 5), (5, 0, 1), (6, 0, 2), (7, 0, 2)] {
        (0..open).for_each(|_| port.is_open(address(peer)));
        (0..arrivals).for_each(|_| port.arrived(address(peer)));
    }
    let report = port.report();
    assert_eq!((report.open, report.arrivals, port.arrived_in_sample()), (5, 20, 20));
    let shown: Vec<_> = report.peers.iter().map(|peer| (peer.address.as_str(), peer.open, peer.arrivals)).collect();
    assert_eq!(shown, [("10.0.0.2", 3, 0), ("10.0.0.4", 1, 5), ("10.0.0.3", 1, 1), ("10.0.0.1", 0, 9), ("10.0.0.6", 0, 2)]);

    port.begin_sample();
    assert_eq!(port.peers.len(), 6, "a peer that had nothing but open connections is forgotten");
    let report = port.report();
    assert_eq!((report.open, report.arrivals, port.arrived_in_sample()), (0, 20, 0));
    assert!(report.peers.iter().all(|peer| peer.open == 0 && peer.arrivals > 0));
}

#[test]
fn peers_remembered_are_bounded_and_the_busiest_stay() {
    let mut port = PortCounter::new(80);
    for peer in 0..5000 {
        port.arrived(address(peer));
        if peer % 1000 == 0 {
            port.arrived(address(peer));
        }
    }
    port.begin_sample();
    assert!(port.peers.len() <= PEERS_KEPT);
    let report = port.report();
    assert_eq!(report.arrivals, 5005);
    assert!(report.peers.iter().all(|peer| peer.arrivals == 2), "{:?}", report.peers);
}

#[test]
fn networks_and_addresses_are_ignored() {
    let ignored = Ignored::parse(&["10.1.0.0/16".into(), "fd00::/8".into(), "192.0.2.7".into(), "nonsense".into()]);
    for (peer, expected) in
        [("10.1.2.3", true), ("10.2.0.1", false), ("fd00::1", true), ("2001:db8::1", false), ("192.0.2.7", true), ("192.0.2.8", false)]
    {
        assert_eq!(ignored.contains(peer.parse().unwrap()), expected, "{peer}");
    }
}
