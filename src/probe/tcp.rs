//! Opening the connection of an attempt.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{Deadline, Failure};

/// A new connection to the address.
///
/// # Errors
/// Refused, unreachable or not answered in time; [`Failure::NotTried`] if this side lacks what a connection needs.
pub(super) async fn connect(what: &str, address: SocketAddr, deadline: Deadline) -> Result<TcpStream, Failure> {
    match deadline.within(TcpStream::connect(address)).await {
        None => Err(Failure::ConnectTimeout { what: what.to_owned(), after: deadline.allowed }),
        Some(Ok(stream)) => {
            // Requests are one small write; waiting to fill a packet would only add to the time measured.
            // A refusal to set it costs nothing but that.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Some(Err(error)) => Err(not_connected(what, &error, deadline)),
    }
}

fn not_connected(what: &str, error: &io::Error, deadline: Deadline) -> Failure {
    let what = what.to_owned();
    // Numbers of Linux' errno-base.h and errno.h for which the standard library has no kind.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EAFNOSUPPORT: i32 = 97;
    match (error.kind(), error.raw_os_error()) {
        (_, Some(EMFILE | ENFILE)) => Failure::NotTried { what, why: "no file descriptor is free; raise the controller's limit" },
        (_, Some(EAFNOSUPPORT)) => Failure::NotTried { what, why: "no network of the address's family here" },
        (io::ErrorKind::AddrNotAvailable | io::ErrorKind::WouldBlock, _) => {
            Failure::NotTried { what, why: "no local port is free for another connection" }
        }
        (io::ErrorKind::OutOfMemory, _) => Failure::NotTried { what, why: "no memory for another connection" },
        (io::ErrorKind::ConnectionRefused, _) => Failure::ConnectionRefused { what },
        // The kernel gave up before the deadline did.
        (io::ErrorKind::TimedOut, _) => Failure::ConnectTimeout { what, after: deadline.allowed },
        (io::ErrorKind::HostUnreachable, _) => Failure::Unreachable { what, why: "no route to the pod's address" },
        (io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown, _) => Failure::Unreachable { what, why: "no route to the pod's network" },
        (io::ErrorKind::PermissionDenied, _) => Failure::Unreachable { what, why: "a firewall rule forbids it" },
        _ => Failure::Unreachable { what, why: "the connection broke while it was being opened" },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::time::Duration;

    use super::*;

    /// What loopback can't bring about: the numbers are those of Linux, as tokio passes them on.
    #[test]
    fn what_the_kernel_says_is_told_apart() {
        let deadline = Deadline::new(Duration::from_secs(1));
        for (errno, reason, part) in [
            (13, "Unreachable", "firewall"),
            (24, "NotTried", "file descriptor"),
            (97, "NotTried", "address's family"),
            (99, "NotTried", "local port"),
            (101, "Unreachable", "network"),
            (104, "Unreachable", "while it was being opened"),
            (110, "ConnectTimeout", "no connection within 1s"),
            (111, "ConnectionRefused", "nothing listens"),
            (113, "Unreachable", "route to the pod's address"),
        ] {
            let failure = not_connected("x", &io::Error::from_raw_os_error(errno), deadline);
            assert_eq!(failure.reason(), reason, "{errno}");
            assert!(failure.to_string().contains(part), "{errno}: {failure}");
        }
    }
}
