//! Where the controller itself may be sent: to addresses that pods can have, and to nobody else's.
//!
//! Addresses come out of objects that others write, such as a pod's status, and what is asked there comes out of a spec.
//! Together they must not become a way to the controller's own machine, to a cloud's credentials, or past a network policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::world::World;

/// Whose an address is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A pod's own.
    Pod,
    /// That of a Service which this operator moves.
    Service,
}

/// Why nothing is sent to an address, in words for status; `None` if something may be.
pub fn refusal(world: &World, address: IpAddr, claim: Claim) -> Option<String> {
    let whose = match claim {
        Claim::Pod => "a pod's status names",
        Claim::Service => "the Service has",
    };
    let taken = || match claim {
        Claim::Pod => world.node_at(address).or_else(|| world.service_at(address)),
        Claim::Service => world.node_at(address),
    };
    let what = special(address).map(str::to_owned).or_else(taken)?;
    Some(format!("nothing is sent there: {whose} {address}, which is {what}"))
}

/// Addresses at which clouds give credentials to whoever asks, besides the link-local ones: Alibaba Cloud, Azure, and by IPv6 AWS and Google Cloud.
const CREDENTIALS: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What an address is that no pod has (RFC 6890), if it is one.
pub fn special(address: IpAddr) -> Option<&'static str> {
    let address = inner(address);
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast() || address.octets().first() == Some(&0));
    match () {
        () if address.is_unspecified() || broadcast => Some("no address of one machine"),
        () if address.is_loopback() => Some("a loopback address"),
        () if address.is_multicast() => Some("a multicast address"),
        () if link_local => Some("a link-local address"),
        () if CREDENTIALS.contains(&address) => Some("an address of the cloud's metadata"),
        () => None,
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped and compatible ones (RFC 4291), and those of NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match six.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => four(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        [0x2002, high, low, ..] => four(high, low),
        _ => address,
    }
}

#[cfg(test)]
#[path = "tests/reach.rs"]
mod tests;
