#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::drain_agent::fixture::{Tree, listen, row};
use crate::drain_agent::table::State;

#[test]
fn counters_of_the_kernel() {
    assert_eq!(passive_opens(b"Tcp: RtoAlgorithm RtoMin PassiveOpens\nTcp: 1 -1 43\n"), Some(43));
    assert_eq!(passive_opens(b"Ip: Forwarding\nIp: 1\nTcp: MaxConn PassiveOpens X\nTcp: -1 18446744073709551615 0\n"), Some(u64::MAX));
    for text in ["", "Tcp: PassiveOpens\n", "Tcp: Other\nTcp: 1\n", "Tcp: A PassiveOpens\nTcp: 1\n", "Tcp: PassiveOpens\nTcp: x\n"] {
        assert_eq!(passive_opens(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn start_of_a_process() {
    let stat = |name: &str, state: &str| format!("17 ({name}) {state} {}4711 99\n", "0 ".repeat(18));
    assert_eq!(start_time(stat("sleep", "S").as_bytes()), Some(4711));
    assert_eq!(start_time(stat("a) R 1 (b", "R").as_bytes()), Some(4711));
    assert_eq!(start_time(stat("gone", "Z").as_bytes()), None);
    assert_eq!(start_time(b"17 (x"), None);
}

#[test]
fn a_sample_holds_both_tables_and_the_counter() {
    let tree = Tree::new();
    tree.process(7, 100, "0::/\n");
    let rows = [listen(80), row("10.0.0.1:80", "10.0.0.2:4000", State::Established), row("[fd00::1]:80", "[fd00::2]:4001", State::CloseWait)];
    tree.sockets(7, &rows, 5);
    let proc = Proc::new(tree.path());
    assert_eq!(proc.pids().unwrap(), [7]);
    let process = proc.process(7).unwrap();
    assert_eq!(process, Process { started: 100, pid: 7 });
    let id = proc.namespace_of(7).unwrap();
    let sample = proc.sample(process, id).unwrap();
    assert_eq!(sample, Namespace { id, passive_before: 5, passive_after: 5, rows: rows.to_vec() });

    // Without IPv6 there is no second table.
    fs::remove_file(tree.net(7, "tcp6")).unwrap();
    assert_eq!(proc.sample(process, id).unwrap().rows.len(), 2);

    // What cannot be read is an error, not an empty table.
    fs::write(tree.net(7, "tcp"), "").unwrap();
    assert!(matches!(proc.sample(process, id), Err(ProcError::Table(_))));
    fs::remove_file(tree.net(7, "snmp")).unwrap();
    assert!(matches!(proc.sample(process, id), Err(ProcError::Read { .. })));

    // Another process under the same number, another namespace, or none at all.
    assert!(matches!(proc.sample(Process { started: 99, ..process }, id), Err(ProcError::Ended)));
    assert!(matches!(proc.sample(process, id + 1), Err(ProcError::Ended)));
    tree.end(7);
    assert!(matches!(proc.sample(process, id), Err(ProcError::Ended)));
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real /proc: inode numbers tell network namespaces apart, and accepting raises the counter.
#[test]
fn the_real_proc() {
    let proc = Proc::new("/proc");
    let own = std::process::id();
    assert!(proc.pids().unwrap().contains(&own));
    let sleep =
        |program: &str, arguments: &[&str]| Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn().map(Killed);
    let beside = sleep("sleep", &["60"]).unwrap();
    let id = proc.namespace_of(own).unwrap();
    assert_eq!(proc.namespace_of(beside.0.id()), Some(id));
    assert!(proc.process(beside.0.id()).unwrap().started >= proc.process(own).unwrap().started);

    // Where namespaces may be made.
    if Command::new("unshare").args(["--user", "--net", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        let apart = sleep("unshare", &["--user", "--net", "sleep", "60"]).unwrap();
        crate::drain_agent::fixture::wait_for("a namespace of its own", || {
            let other = proc.namespace_of(apart.0.id())?;
            (other != id).then_some(())
        });
        let process = proc.process(apart.0.id()).unwrap();
        let sample = proc.sample(process, proc.namespace_of(process.pid).unwrap()).unwrap();
        assert_eq!((sample.passive_after, sample.rows.len()), (0, 0));
    }

    let process = proc.process(own).unwrap();
    let before = proc.sample(process, id).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let after = proc.sample(process, id).unwrap();
    assert!(after.passive_after > before.passive_after);
    assert!(after.rows.iter().any(|row| row.local_port == server.local_addr().unwrap().port() && row.state == State::Established));
    drop((client, server));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = passive_opens(&text);
        let _ = start_time(&text);
        let mut tcp = b"Tcp: PassiveOpens\nTcp:".to_vec();
        tcp.extend(&text);
        let _ = passive_opens(&tcp);
        let mut stat = b"1 (x)".to_vec();
        stat.extend(&text);
        let _ = start_time(&stat);
    }
}
