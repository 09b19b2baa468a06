//! What the tests of the drain agent share: rows, tables as the kernel writes them, and a made-up `/proc`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::table::{Family, Row, State};

/// A row between two addresses such as `10.1.0.2:8080`; sockets of applications get an inode, others none.
pub fn row(local: &str, remote: &str, state: State) -> Row {
    let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
    let held = matches!(state, State::Established | State::CloseWait | State::Listen);
    Row {
        local: local.ip(),
        local_port: local.port(),
        remote: remote.ip(),
        remote_port: remote.port(),
        state,
        tx_queue: 0,
        inode: if held { 1000 + u64::from(remote.port()) } else { 0 },
    }
}

/// A listener on a port.
pub fn listen(port: u16) -> Row {
    row(&format!("0.0.0.0:{port}"), "0.0.0.0:0", State::Listen)
}

pub fn code(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynRecv => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Close => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
        State::Unknown => 0x7f,
    }
}

/// The file the kernel would show for these sockets; IPv4 addresses are mapped ones in `tcp6`.
pub fn table(rows: &[Row], family: Family) -> String {
    let mut text = String::from(match family {
        Family::V4 => "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
        Family::V6 => {
            "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        }
    });
    for (number, row) in rows.iter().enumerate() {
        let line = format!(
            "{number:4}: {}:{:04X} {}:{:04X} {:02X} {:08X}:00000000 00:00000000 00000000  1000        0 {} 1 0000000000000000 20 4 30 10 -1",
            words(row.local, family),
            row.local_port,
            words(row.remote, family),
            row.remote_port,
            code(row.state),
            row.tx_queue,
            row.inode,
        );
        writeln!(text, "{line:<149}").unwrap();
    }
    text
}

fn words(address: IpAddr, family: Family) -> String {
    let bytes = match (address, family) {
        (IpAddr::V4(address), Family::V4) => address.octets().to_vec(),
        (IpAddr::V4(address), Family::V6) => address.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(address), Family::V6) => address.octets().to_vec(),
        (IpAddr::V6(_), Family::V4) => panic!("an IPv6 address in an IPv4 table"),
    };
    bytes.chunks(4).map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap()))).collect()
}

pub fn snmp(passive_opens: u64) -> String {
    format!(
        "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
         Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails\n\
         Tcp: 1 200 120000 -1 60 {passive_opens} 0\nUdp: InDatagrams\nUdp: 1\n"
    )
}

/// A `/proc` made of files.
pub struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // What else there is in /proc.
        fs::create_dir(root.path().join("sys")).unwrap();
        fs::write(root.path().join("uptime"), "1.0 1.0\n").unwrap();
        Self { root }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A process with a network namespace of its own that has no sockets.
    pub fn process(&self, pid: u32, started: u64, cgroup: &str) {
        let net = self.root.path().join(pid.to_string()).join("net");
        fs::create_dir_all(&net).unwrap();
        self.describe(pid, started, cgroup);
        self.sockets(pid, &[], 0);
    }

    /// A process in the network namespace of another one.
    pub fn process_beside(&self, pid: u32, started: u64, cgroup: &str, other: u32) {
        let directory = self.root.path().join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        self.describe(pid, started, cgroup);
        std::os::unix::fs::symlink(self.root.path().join(other.to_string()).join("net"), directory.join("net")).unwrap();
    }

    fn describe(&self, pid: u32, started: u64, cgroup: &str) {
        let directory = self.root.path().join(pid.to_string());
        fs::write(directory.join("cgroup"), cgroup).unwrap();
        let zeros = "0 ".repeat(18);
        fs::write(directory.join("stat"), format!("{pid} (a (b) c) S {zeros}{started} 4096\n")).unwrap();
    }

    /// What is in the network namespace of a process. Files keep their inodes, by which namespaces are known.
    pub fn sockets(&self, pid: u32, rows: &[Row], passive_opens: u64) {
        let (v4, v6): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| row.local.is_ipv4());
        overwrite(&self.net(pid, "snmp"), &snmp(passive_opens));
        overwrite(&self.net(pid, "tcp"), &table(&v4, Family::V4));
        overwrite(&self.net(pid, "tcp6"), &table(&v6, Family::V6));
    }

    pub fn net(&self, pid: u32, name: &str) -> PathBuf {
        self.root.path().join(pid.to_string()).join("net").join(name)
    }

    pub fn end(&self, pid: u32) {
        // Renamed first: a process vanishes at once.
        let gone = self.root.path().join(format!("gone-{pid}"));
        fs::rename(self.root.path().join(pid.to_string()), &gone).unwrap();
        fs::remove_dir_all(gone).unwrap();
    }
}

fn overwrite(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path).unwrap();
    file.set_len(text.len() as u64).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Waits until `condition` holds.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
