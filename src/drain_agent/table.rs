//! Reads the kernel's socket tables: `/proc/PID/net/tcp` and `tcp6` (written by `tcp4_seq_show` in net/ipv4/tcp_ipv4.c
//! and `tcp6_seq_show` in net/ipv6/tcp_ipv6.c).
//!
//! A row that does not read as expected fails the whole table: a count that may miss a connection must not be taken for
//! a count.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// State of a TCP socket; the numbers are those of the kernel's include/net/tcp_states.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// 01.
    Established,
    /// 02: a connection this pod opens itself.
    SynSent,
    /// 03. Request sockets that have not become a connection yet (NEW_SYN_RECV) are shown as this as well.
    SynRecv,
    /// 04: closed here, with the FIN or data before it not acknowledged yet.
    FinWait1,
    /// 05: closed here and acknowledged; the peer may still send.
    FinWait2,
    /// 06.
    TimeWait,
    /// 07.
    Close,
    /// 08: the peer has closed its half; the application may still be answering.
    CloseWait,
    /// 09: both have closed; our FIN or data before it is not acknowledged yet.
    LastAck,
    /// 0A.
    Listen,
    /// 0B: both closed at once.
    Closing,
    /// A number this program does not know, from a newer kernel. Counted as open, because it may be.
    Unknown,
}

impl State {
    fn from_code(code: u8) -> Self {
        match code {
            0x01 => State::Established,
            0x02 => State::SynSent,
            0x03 | 0x0C => State::SynRecv,
            0x04 => State::FinWait1,
            0x05 => State::FinWait2,
            0x06 => State::TimeWait,
            0x07 => State::Close,
            0x08 => State::CloseWait,
            0x09 => State::LastAck,
            0x0A => State::Listen,
            0x0B => State::Closing,
            _ => State::Unknown,
        }
    }
}

/// One socket. IPv4 addresses are [`IpAddr::V4`] also where the socket is an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Address of this pod.
    pub local: IpAddr,
    /// Port of this pod.
    pub local_port: u16,
    /// The peer's address.
    pub remote: IpAddr,
    /// The peer's port.
    pub remote_port: u16,
    /// The state.
    pub state: State,
    /// Bytes written but not acknowledged by the peer. A FIN that is not acknowledged counts as one.
    pub tx_queue: u32,
    /// Inode of the socket; 0 while no application holds it: before it is accepted, after it is closed.
    pub inode: u64,
}

impl Row {
    /// Whether ending the pod now could lose something of this connection: the states of `PortReport::open`.
    ///
    /// An unacknowledged FIN alone (`tx_queue` of 1) counts too: without it a client that reads until the end would
    /// hang. The kernel gives up on a peer that vanished after a few retries, so this ends.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Established | State::SynRecv | State::CloseWait | State::Unknown => true,
            State::FinWait1 | State::Closing | State::LastAck => self.tx_queue > 0,
            State::FinWait2 => self.inode != 0,
            State::SynSent | State::TimeWait | State::Close | State::Listen => false,
        }
    }

    /// Whether both ends are inside the pod.
    pub fn is_loopback(&self) -> bool {
        self.remote.is_loopback() || self.remote == self.local
    }
}

/// Which of the two tables is read; they differ in the width of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `net/tcp`.
    V4,
    /// `net/tcp6`.
    V6,
}

/// Why a table does not count.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Reading failed; the process has usually ended.
    #[error("cannot read a socket table: {0}; it is tried again with the next sample")]
    Read(#[from] io::Error),
    /// The text is not a socket table of the kernel.
    #[error("line {line} of a socket table is not what the kernel writes; please report the kernel's version")]
    Malformed {
        /// Counted from 1, the heading included.
        line: usize,
    },
}

/// Reads a whole table and hands every socket to `each`. The memory used does not depend on the table's length.
///
/// The kernel does not write a table at one instant, so a row can appear twice, and one that moves while it is read can
/// be missed; that is why nothing is concluded from a single sample.
pub fn read(mut from: impl Read, family: Family, mut each: impl FnMut(Row)) -> Result<(), TableError> {
    let mut buffer = vec![0_u8; 32 * 1024];
    let mut filled = 0;
    let mut line = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        if free.is_empty() {
            return Err(TableError::Malformed { line: line + 1 });
        }
        let read = match from.read(free) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            break;
        }
        filled += read;
        let text = buffer.get(..filled).unwrap_or_default();
        let mut rest = text;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (this, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            line += 1;
            if line == 1 {
                if !this.trim_ascii_start().starts_with(b"sl ") {
                    return Err(TableError::Malformed { line });
                }
                continue;
            }
            each(row(this, family).ok_or(TableError::Malformed { line })?);
        }
        let kept = rest.len();
        buffer.copy_within(filled - kept..filled, 0);
        filled = kept;
    }
    // The kernel ends every line; without a heading nothing was read at all.
    if filled > 0 || line == 0 { Err(TableError::Malformed { line: line + 1 }) } else { Ok(()) }
}

/// One line without its end, such as
/// `   3: 0100007F:1F90 0200007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1 ...`.
fn row(line: &[u8], family: Family) -> Option<Row> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    fields.next()?.strip_suffix(b":")?;
    let (local, local_port) = endpoint(fields.next()?, family)?;
    let (remote, remote_port) = endpoint(fields.next()?, family)?;
    let state = State::from_code(u8::try_from(hex(fields.next()?, 2)?).ok()?);
    let tx_queue = hex(fields.next()?.split(|byte| *byte == b':').next()?, 8)?;
    // Timer, retransmissions, uid and timeout stand between the queues and the inode.
    let inode = decimal(fields.nth(4)?)?;
    Some(Row { local, local_port, remote, remote_port, state, tx_queue, inode })
}

/// `0100007F:1F90`: each 32 bits of the address as a hexadecimal number in the machine's byte order, the port as a plain one.
fn endpoint(field: &[u8], family: Family) -> Option<(IpAddr, u16)> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    let (address, port) = field.split_at(colon);
    let port = u16::try_from(hex(port.get(1..)?, 4)?).ok()?;
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(hex(address, 8)?.to_ne_bytes())),
        Family::V6 => {
            if address.len() != 32 {
                return None;
            }
            let mut bytes = [0_u8; 16];
            for (to, word) in bytes.chunks_exact_mut(4).zip(address.chunks_exact(8)) {
                to.copy_from_slice(&hex(word, 8)?.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
    };
    Some((address, port))
}

/// Exactly `digits` (at most 8) hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0_u32, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| value.checked_mul(10)?.checked_add(u64::from(char::from(*byte).to_digit(10)?)))
}

#[cfg(test)]
#[path = "tests/table.rs"]
mod tests;
