//! Which addresses the controller sends nothing to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::json;

use super::super::api::Resource;
use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A cluster with a node and two Services, one of them of both families.
fn world() -> World {
    let mut world = World::new(vec![], true);
    let now = Duration::ZERO;
    let addresses = json!([
        {"type": "Hostname", "address": "node-1"}, {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "2001:db8::1"}]);
    world.insert(
        Resource::Node,
        &json!({"metadata": {"name": "node-1", "uid": "n", "resourceVersion": "1"}, "status": {"addresses": addresses}}),
        now,
    );
    for (name, spec) in
        [("kubernetes", json!({"clusterIP": "10.96.0.1"})), ("both", json!({"clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2", "fd00::2"]}))]
    {
        world.insert(
            Resource::Service,
            &json!({"metadata": {"name": name, "namespace": "other", "uid": name, "resourceVersion": "1"}, "spec": spec}),
            now,
        );
    }
    world
}

#[test]
fn addresses_of_pods_are_asked() {
    for text in
        ["10.244.1.7", "172.16.0.9", "192.168.3.4", "100.64.0.1", "100.100.100.201", "198.18.0.7", "fd00::17", "2600:1f13::7", "64:ff9b::a0a:a0a"]
    {
        for claim in [Claim::Pod, Claim::Service] {
            assert_eq!(refusal(&world(), address(text), claim), None, "{text}");
        }
    }
}

#[test]
fn addresses_that_no_pod_has_are_never_asked() {
    for (text, what) in [
        ("127.0.0.1", "a loopback address"),
        ("127.8.9.10", "a loopback address"),
        ("::1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("::127.0.0.1", "a loopback address"),
        ("64:ff9b::7f00:1", "a loopback address"),
        ("2002:7f00:1::1", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("64:ff9b::a9fe:a9fe", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("0.0.0.0", "no address of one machine"),
        ("0.1.2.3", "no address of one machine"),
        ("255.255.255.255", "no address of one machine"),
        ("::", "no address of one machine"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("100.100.100.200", "an address of the cloud's metadata"),
        ("168.63.129.16", "an address of the cloud's metadata"),
        ("fd00:ec2::254", "an address of the cloud's metadata"),
        ("fd20:ce::254", "an address of the cloud's metadata"),
    ] {
        for claim in [Claim::Pod, Claim::Service] {
            let said = refusal(&world(), address(text), claim).unwrap_or_default();
            assert!(said.ends_with(&format!("which is {what}")), "{text}: {said:?}");
        }
    }
}

#[test]
fn addresses_of_nodes_and_services_are_no_pods() {
    let pod = |text: &str| refusal(&world(), address(text), Claim::Pod);
    assert_eq!(pod("10.0.0.1").unwrap(), "nothing is sent there: a pod's status names 10.0.0.1, which is the address of node \"node-1\"");
    assert_eq!(pod("::ffff:10.0.0.1").unwrap_or_default().split(", ").last(), Some("which is the address of node \"node-1\""));
    assert!(pod("2001:db8::1").is_some());
    assert_eq!(
        pod("10.96.0.1").unwrap(),
        "nothing is sent there: a pod's status names 10.96.0.1, which is the address of Service \"other/kubernetes\""
    );
    assert!(pod("10.96.0.2").is_some() && pod("fd00::2").is_some());
    // A preview Service is asked by its own address, which is no node's.
    assert_eq!(refusal(&world(), address("10.96.0.2"), Claim::Service), None);
    assert!(refusal(&world(), address("10.0.0.1"), Claim::Service).is_some());
}

#[test]
fn no_address_at_all_panics() {
    use proptest::prelude::*;
    proptest!(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }, |(bits in any::<u128>(), low in any::<u32>())| {
        let world = world();
        let (six, four) = (Ipv6Addr::from(bits), Ipv4Addr::from(low));
        refusal(&world, six.into(), Claim::Pod);
        // What an IPv4 address may not be, none of its disguises may be.
        let plain = refusal(&world, four.into(), Claim::Pod).is_some();
        prop_assert_eq!(refusal(&world, four.to_ipv6_mapped().into(), Claim::Pod).is_some(), plain);
    });
}
