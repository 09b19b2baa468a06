//! Where the health endpoints listen: on IPv6 and IPv4 at once where there is IPv6, on IPv4 alone where there is none.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

/// Listens on `address`. A socket on `[::]` takes connections by IPv4, too (ipv6(7), IPV6_V6ONLY); where the kernel has no
/// IPv6 (`ipv6.disable=1`) it can't be made, and `0.0.0.0` says the same.
///
/// # Errors
/// If the address can't be listened on; for `[::]`, if `0.0.0.0` can't be either.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let error = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    let Some(instead) = without_ipv6(address, &error) else {
        return Err(error);
    };
    TcpListener::bind(instead).await
}

/// The address to take instead. A port that is taken or forbidden is so on both.
fn without_ipv6(address: SocketAddr, error: &Error) -> Option<SocketAddr> {
    let everywhere = address.is_ipv6() && address.ip().is_unspecified();
    let cured = !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied);
    (everywhere && cured).then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn both_families_reach_it() {
        let listener = bind("[::]:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await.unwrap();
        // The kernel may have IPv6 and the loopback interface no address of it.
        if address.is_ipv6() && TcpListener::bind("[::1]:0").await.is_ok() {
            TcpStream::connect(("::1", address.port())).await.unwrap();
        }
    }

    #[test]
    fn without_ipv6_it_is_ipv4_and_nothing_else_is_changed() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        // EAFNOSUPPORT and EADDRNOTAVAIL, as include/uapi/asm-generic/errno.h has them.
        for code in [97, 99] {
            assert_eq!(without_ipv6(address("[::]:8080"), &Error::from_raw_os_error(code)), Some(address("0.0.0.0:8080")));
        }
        assert_eq!(without_ipv6(address("[::]:8080"), &ErrorKind::AddrInUse.into()), None);
        assert_eq!(without_ipv6(address("[::]:80"), &ErrorKind::PermissionDenied.into()), None);
        assert_eq!(without_ipv6(address("[::1]:8080"), &ErrorKind::AddrNotAvailable.into()), None);
        assert_eq!(without_ipv6(address("0.0.0.0:8080"), &ErrorKind::AddrNotAvailable.into()), None);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        let taken = bind("[::]:0".parse().unwrap()).await.unwrap();
        assert_eq!(bind(taken.local_addr().unwrap()).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
