//! The cluster's network: a bridge in the hub's namespace, and from every node a pair of virtual interfaces into it.
//! No namespace has a way out: there is no uplink and no default route, so nothing a pod sends can leave the machine.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::error::{Doing, Error, Result};
use crate::helper::SYSTEM_PATH;
use crate::layout::{DNS_SERVICE, SERVICES, node_address, pod_network};
use crate::process::Process;

/// Runs `work` on a thread of its own inside the network namespace of `process`; sockets made and programs started
/// there stay in it.
pub(crate) fn inside<T: Send>(process: Process, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(process)?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(Error::Start { what: "work in a network namespace".into(), message: "it panicked".into() }))
    })
}

/// Moves the calling thread, and it alone, into the network namespace of `process`.
pub(crate) fn enter(process: Process) -> Result<()> {
    let path = format!("/proc/{}/ns/net", process.pid);
    let namespace = File::open(&path).doing(|| format!("opening {path}"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).doing(|| format!("entering {path}"))
}

/// Feeds commands to `ip -batch` in the calling thread's network namespace.
pub(crate) fn ip(commands: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .env("PATH", SYSTEM_PATH)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .doing(|| "starting ip (of the package iproute2)".into())?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(commands.as_bytes()).doing(|| "writing to ip".into())?;
    }
    let output = child.wait_with_output().doing(|| "waiting for ip".into())?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command { command: "ip -batch".into(), status: output.status, output: String::from_utf8_lossy(&output.stderr).trim().into() })
}

/// What makes the bridge, in the hub's namespace.
pub(crate) const BRIDGE: &str = "link set lo up\nlink add br0 type bridge\nlink set br0 up\n";

/// What joins a node to the bridge, in the hub's namespace; `init` is the node's first process.
pub(crate) fn plug(node: usize, init: i32) -> String {
    format!("link add port{node} type veth peer name eth0 netns {init}\nlink set port{node} master br0 up\n")
}

/// What takes a dead node's end off the bridge. The kernel does so too, but only some time after the node's last process.
pub(crate) fn unplug(node: usize) -> String {
    format!("link del port{node}\n")
}

/// What cuts or restores a node's link, in the hub's namespace.
pub(crate) fn link(node: usize, up: bool) -> String {
    format!("link set port{node} {}\n", if up { "up" } else { "down" })
}

/// A node's own interfaces and routes, in its namespace.
pub(crate) fn node(node: usize, nodes: usize) -> String {
    let mut commands = format!("link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n", node_address(node));
    // The kernel routes before it translates, so Services need a route; what no rule translates dies on the bridge.
    commands.push_str(&format!("route add {SERVICES} dev eth0\n"));
    for other in (1..=nodes).filter(|other| *other != node) {
        commands.push_str(&format!("route add {} via {}\n", pod_network(other), node_address(other)));
    }
    commands
}

/// Asks the cluster's DNS service for the address of `name`, from the calling thread's namespace; none within half a
/// second is no answer.
pub(crate) fn resolve(name: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    socket.send_to(&dns_query(name), (DNS_SERVICE, 53)).ok()?;
    let mut answer = [0; 512];
    let (length, _) = socket.recv_from(&mut answer).ok()?;
    dns_address(answer.get(..length)?)
}

/// A question for an A record (RFC 1035, section 4).
fn dns_query(name: &str) -> Vec<u8> {
    // Id 1, a plain recursive question, one entry in the question section.
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(u8::try_from(label.len()).unwrap_or(63));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// The address in an answer that holds exactly one A record at its end, as CoreDNS gives for a Service.
fn dns_address(answer: &[u8]) -> Option<Ipv4Addr> {
    let [_, _, _, code, _, _, 0, 1, ..] = answer else {
        return None;
    };
    if code & 0x0f != 0 {
        return None;
    }
    let record = answer.get(answer.len().checked_sub(6)?..)?;
    match record {
        [0, 4, a, b, c, d] => Some(Ipv4Addr::new(*a, *b, *c, *d)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_node_gets_routes_to_the_others_pods_and_none_to_anywhere_else() {
        let commands = node(2, 3);
        assert!(commands.contains("addr add 198.18.0.2/24 dev eth0"));
        assert!(commands.contains("route add 198.18.16.0/24 via 198.18.0.1"));
        assert!(commands.contains("route add 198.18.18.0/24 via 198.18.0.3"));
        assert!(!commands.contains("198.18.17.0"), "its own pods are routed by the CNI plugin");
        assert!(!commands.contains("default"), "a default route would be a way out");
    }

    #[test]
    fn a_dns_question_and_its_answer() {
        let mut answer = dns_query("a.bc");
        assert_eq!(&answer[12..], &[1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 198, 19, 0, 1]);
        assert_eq!(dns_address(&answer), Some(Ipv4Addr::new(198, 19, 0, 1)));
        answer[3] = 3;
        assert_eq!(dns_address(&answer), None, "NXDOMAIN");
        assert_eq!(dns_address(&[0; 5]), None);
    }
}
