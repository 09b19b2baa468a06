#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use proptest::prelude::*;

use super::*;
use crate::drain_agent::fixture::{self, row as made, wait_for};

fn parse(text: &[u8], family: Family) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    read(text, family, |row| rows.push(row))?;
    Ok(rows)
}

#[test]
fn rows_as_kernels_write_them() {
    // Captured on 6.18, x86-64; the machine's byte order matters.
    let text = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1082 1 000000003288c430 100 0 0 10 0                      \n   1: 0200120A:1F90 0300120A:C350 04 002AE5B0:00000000 01:00000014 00000000     0        0 0 3 0000000000000000 20 4 30 10 -1                     \n   2: 0200120A:1F90 0300120A:C351 06 00000000:00000000 03:000016B8 00000000     0        0 0 3 0000000000000000                                       \n";
    let rows = parse(text, Family::V4).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0], Row { inode: 1082, ..made("0.0.0.0:2024", "0.0.0.0:0", State::Listen) });
    assert_eq!(rows[1], Row { tx_queue: 2_811_312, ..made("10.18.0.2:8080", "10.18.0.3:50000", State::FinWait1) });
    assert_eq!(rows[2], made("10.18.0.2:8080", "10.18.0.3:50001", State::TimeWait));

    let text = b"  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0000000000000000FFFF00000200120A:1F90 0000000000000000FFFF00000300120A:C352 01 00000000:00000000 00:00000000 00000000 64321        0 77 1 0000000000000000 20 4 30 10 -1\n   1: B80D0120000000000000000001000000:1F90 B80D0120000000000000000002000000:C353 08 00000000:00000000 00:00000000 00000000 64321        0 78 1 0000000000000000 20 4 30 10 -1\n";
    let rows = parse(text, Family::V6).unwrap();
    assert_eq!(rows[0], Row { inode: 77, ..made("10.18.0.2:8080", "10.18.0.3:50002", State::Established) });
    assert_eq!(rows[1], Row { inode: 78, ..made("[2001:db8::1]:8080", "[2001:db8::2]:50003", State::CloseWait) });
}

#[test]
fn what_counts_as_open() {
    let open = |state, tx_queue, inode| Row { tx_queue, inode, ..made("10.0.0.1:80", "10.0.0.2:4000", state) }.is_open();
    for state in [State::Established, State::SynRecv, State::CloseWait, State::Unknown] {
        assert!(open(state, 0, 0), "{state:?}");
    }
    for state in [State::FinWait1, State::Closing, State::LastAck] {
        assert!(open(state, 1, 0), "{state:?}");
        assert!(!open(state, 0, 0), "{state:?}");
    }
    assert!(open(State::FinWait2, 0, 7));
    assert!(!open(State::FinWait2, 0, 0));
    for state in [State::TimeWait, State::Close, State::Listen, State::SynSent] {
        assert!(!open(state, 5, 7), "{state:?}");
    }
}

#[test]
fn numbers_of_states() {
    use State::*;
    let known = [Established, SynSent, SynRecv, FinWait1, FinWait2, TimeWait, Close, CloseWait, LastAck, Listen, Closing, SynRecv];
    for (code, state) in (1..).zip(known) {
        assert_eq!(State::from_code(code), state, "{code}");
    }
    for code in [0, 13, 255] {
        assert_eq!(State::from_code(code), Unknown, "{code}");
    }
}

#[test]
fn loopback_is_told_by_either_address() {
    for (local, remote, expected) in [
        ("127.0.0.1:80", "127.0.0.6:4000", true),
        ("10.0.0.1:80", "10.0.0.1:4000", true),
        ("10.0.0.1:80", "127.0.0.6:4000", true),
        ("[::1]:80", "[::1]:4000", true),
        ("10.0.0.1:80", "10.0.0.2:4000", false),
        ("[fd00::1]:80", "[fd00::2]:4000", false),
    ] {
        assert_eq!(made(local, remote, State::Established).is_loopback(), expected, "{local} {remote}");
    }
}

#[test]
fn what_is_no_table_is_an_error() {
    let good = fixture::table(&[made("10.0.0.1:80", "10.0.0.2:4000", State::Established)], Family::V4);
    assert_eq!(parse(good.as_bytes(), Family::V4).unwrap().len(), 1);
    assert!(matches!(parse(b"", Family::V4), Err(TableError::Malformed { line: 1 })));
    assert!(matches!(parse(b"permission denied\n", Family::V4), Err(TableError::Malformed { line: 1 })));
    assert!(matches!(parse(good.trim_end().as_bytes(), Family::V4), Err(TableError::Malformed { line: 2 })));
    assert!(matches!(parse(good.as_bytes(), Family::V6), Err(TableError::Malformed { line: 2 })));
    let wide = format!("{good}{}\n", "x".repeat(40_000));
    assert!(matches!(parse(wide.as_bytes(), Family::V4), Err(TableError::Malformed { line: 3 })));
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    assert!(matches!(read(Broken, Family::V4, |_| ()), Err(TableError::Read(_))));
}

/// The kernel's own table shows the states this module believes in. Loopback never counts, but it is a connection.
#[test]
fn states_of_real_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = || {
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server)
    };
    // The row of the server's end, once it is in the state expected.
    let shown = |client_port: u16, state: State| {
        wait_for(&format!("{state:?}"), || {
            let mut found = None;
            read(File::open("/proc/self/net/tcp").unwrap(), Family::V4, |row| {
                if row.local_port == port && row.remote_port == client_port && row.state == state {
                    found = Some(row);
                }
            })
            .unwrap();
            found
        })
    };

    let (client, server) = connect();
    let peer = client.local_addr().unwrap().port();
    let row = shown(peer, State::Established);
    assert!(row.is_open() && row.is_loopback() && row.inode != 0);
    client.shutdown(Shutdown::Write).unwrap();
    assert!(shown(peer, State::CloseWait).is_open(), "the server may still answer");
    drop((client, server));

    let (client, server) = connect();
    let peer = client.local_addr().unwrap().port();
    server.shutdown(Shutdown::Write).unwrap();
    assert!(shown(peer, State::FinWait2).is_open(), "the server may still read");
    drop(server);
    wait_for("the server let go", || (!shown(peer, State::FinWait2).is_open()).then_some(()));
    drop(client);
    assert!(!shown(peer, State::TimeWait).is_open());

    let (client, mut server) = connect();
    let peer = client.local_addr().unwrap().port();
    server.set_nonblocking(true).unwrap();
    let chunk = vec![0_u8; 1 << 20];
    let full = server.write_all(&chunk.repeat(64)).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    drop(server);
    let row = shown(peer, State::FinWait1);
    assert!(row.is_open() && row.tx_queue > 1 && row.inode == 0, "closed, but the client has not read everything: {row:?}");
    drop(client);
}

#[test]
fn long_tables_take_milliseconds() {
    let rows: Vec<Row> =
        (0..10_000_u32).map(|i| made("10.0.0.1:80", &format!("10.1.{}.{}:{}", i / 250 % 250, i % 250, 1024 + i), State::Established)).collect();
    let text = fixture::table(&rows, Family::V4);
    let start = std::time::Instant::now();
    assert_eq!(parse(text.as_bytes(), Family::V4).unwrap(), rows);
    let took = start.elapsed();
    println!("10,000 rows: {took:?}");
    // About 3 ms; 209 were seen at the lowest priority on a machine that had other things to do.
    assert!(took.as_millis() < 2000, "{took:?}");
}

fn any_row() -> impl Strategy<Value = Row> {
    const STATES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x7f];
    let address = prop_oneof![any::<u32>().prop_map(|a| IpAddr::V4(a.into())), any::<u128>().prop_map(|a| IpAddr::V6(a.into()))];
    (address.clone(), address, any::<(u16, u16, u32, u64)>(), prop::sample::select(&STATES[..])).prop_map(
        |(local, remote, (local_port, remote_port, tx_queue, inode), state)| Row {
            local: local.to_canonical(),
            local_port,
            remote: remote.to_canonical(),
            remote_port,
            state: State::from_code(state),
            tx_queue,
            inode,
        },
    )
}

proptest! {
    #[test]
    fn every_row_written_is_read(rows in prop::collection::vec(any_row(), 0..300)) {
        let text = fixture::table(&rows, Family::V6);
        prop_assert_eq!(parse(text.as_bytes(), Family::V6).unwrap(), rows);
    }

    #[test]
    fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&text, Family::V4);
        let _ = parse(&text, Family::V6);
        let mut headed = b"  sl x\n".to_vec();
        headed.extend(&text);
        let _ = parse(&headed, Family::V4);
    }

    /// A damaged table is refused or read with as many rows as it has lines: none is lost on the way.
    #[test]
    fn damage_loses_no_row(rows in prop::collection::vec(any_row(), 1..20), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = fixture::table(&rows, Family::V6).into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        if let Ok(read) = parse(&text, Family::V6) {
            prop_assert_eq!(read.len(), lines - 1);
        }
    }
}
