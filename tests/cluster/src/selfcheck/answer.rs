//! What the self-check's pods run: a server that says its host name, resolves names and fetches from others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::error::{Doing, Result};

const PATIENCE: Duration = Duration::from_secs(3);

/// Serves for ever at `port`: `/` gives the host name, `/resolve/NAME` the addresses of a name, `/fetch/HOST:PORT` what
/// the server there says at `/`.
///
/// # Errors
/// When the port can't be had.
pub fn answer(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).doing(|| format!("listening at port {port}"))?;
    loop {
        let (stream, _) = listener.accept().doing(|| "accepting a connection".into())?;
        std::thread::spawn(move || {
            // A client that goes away in the middle has no claim to an answer.
            let _ = converse(stream);
        });
    }
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < 4096 {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&request);
    let path = text.split(' ').nth(1).unwrap_or("/");
    let body = match path.trim_start_matches('/').split_once('/') {
        Some(("resolve", name)) => addresses(&format!("{name}:0")).map(|found| {
            let found: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
            found.join(" ")
        }),
        Some(("fetch", to)) => addresses(to).and_then(|found| {
            let first = found.first().ok_or_else(|| std::io::Error::other("no address"))?;
            fetch(*first, "/")
        }),
        _ => nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).map_err(Into::into),
    };
    let (status, body) = body.map_or_else(|error| ("500 Failed", error.to_string()), |body| ("200 OK", body));
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn addresses(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    Ok(name.to_socket_addrs()?.collect())
}

/// One GET; the body of a 200, anything else is an error.
pub(super) fn fetch(to: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.0 200") => Ok(body.to_string()),
        _ => Err(std::io::Error::other(format!("answered {answer:?}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn it_says_its_name_resolves_and_fetches() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            loop {
                let stream = listener.accept().unwrap().0;
                std::thread::spawn(move || converse(stream));
            }
        });
        let name = nix::unistd::gethostname().unwrap().to_string_lossy().into_owned();
        assert_eq!(fetch(address, "/").unwrap(), name);
        assert_eq!(fetch(address, "/resolve/127.0.0.1").unwrap(), "127.0.0.1");
        assert_eq!(fetch(address, &format!("/fetch/{address}")).unwrap(), name);
        assert!(fetch(address, "/fetch/127.0.0.1:1").is_err());
    }
}
