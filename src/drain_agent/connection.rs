//! Tells connections apart from one sample to the next.

use std::net::IpAddr;
use std::time::Duration;

use super::table::{Row, State};

/// Names a connection while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    namespace: u64,
    local: IpAddr,
    /// The pod's port.
    pub local_port: u16,
    /// The peer's address.
    pub remote: IpAddr,
    remote_port: u16,
}

impl Tuple {
    /// The connection of a row.
    pub fn of(namespace: u64, row: &Row) -> Self {
        let Row { local, local_port, remote, remote_port, state: _, tx_queue: _, inode: _ } = *row;
        Self { namespace, local, local_port, remote, remote_port }
    }

    /// Whether both ends are inside the pod.
    pub fn is_loopback(&self) -> bool {
        self.remote.is_loopback() || self.remote == self.local
    }
}

/// How a connection looked when it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it was first seen.
    pub since: Duration,
    /// Its state.
    pub state: State,
    /// Whether it is open, [`Row::is_open`].
    pub open: bool,
    inode: u64,
}

impl Seen {
    /// A connection as this row shows it.
    pub fn new(row: &Row, since: Duration) -> Self {
        Self { since, state: row.state, open: row.is_open(), inode: row.inode }
    }

    /// Whether `row`, of the same addresses and ports, can be this connection later on. If not, this one has ended and
    /// another of the same client port has come: its TIME_WAIT was taken over, it went back in its life, or another socket
    /// was accepted.
    pub fn continues(&self, row: &Row) -> bool {
        let lives = matches!(row.state, State::Established | State::CloseWait);
        let another_socket = self.inode != 0 && row.inode != self.inode && (row.inode != 0 || lives);
        age(self.state) <= age(row.state) && !another_socket
    }

    /// The same connection twice in one reading of the table.
    pub fn merge(self, other: Self) -> Self {
        let later = if age(self.state) > age(other.state) { self } else { other };
        Self { open: self.open || other.open, since: self.since.min(other.since), ..later }
    }
}

/// The order in which a server's socket passes through its states.
fn age(state: State) -> u8 {
    match state {
        State::Listen | State::SynSent => 0,
        State::SynRecv => 1,
        State::Established => 2,
        State::CloseWait | State::FinWait1 => 3,
        State::FinWait2 | State::Closing | State::LastAck => 4,
        State::TimeWait | State::Close => 5,
        // Nothing is known of it, so it ends nothing; and what follows it counts as new.
        State::Unknown => 6,
    }
}

#[cfg(test)]
#[path = "tests/connection.rs"]
mod tests;
