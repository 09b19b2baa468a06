//! The few requests that `up` itself makes to the API server: each on a connection of its own, through the same port
//! and with the same credentials as a user's kubectl, so that what `up` has seen working works for the user.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::layout::Layout;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An administrator's access to the API server.
#[derive(Debug)]
pub(crate) struct Api {
    port: u16,
    tls: Arc<ClientConfig>,
}

impl Api {
    pub(crate) fn new(layout: &Layout, port: u16) -> Result<Self> {
        let failed = |error: String| Error::NoAnswer(format!("its certificates can't be used: {error}"));
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(layout.pki("ca.crt")).map_err(|error| failed(error.to_string()))?;
        roots.add(authority).map_err(|error| failed(error.to_string()))?;
        let certificate = CertificateDer::from_pem_file(layout.pki("admin.crt")).map_err(|error| failed(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(layout.pki("admin.key")).map_err(|error| failed(error.to_string()))?;
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key))
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { port, tls: Arc::new(tls) })
    }

    /// Whether the API server is ready; no answer is no.
    pub(crate) fn ready(&self) -> bool {
        matches!(self.exchange("GET", "/readyz", None), Ok((200, _)))
    }

    /// Reads an object; `None` if there is none, or if the API server does not answer (yet).
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        match self.exchange("GET", path, None) {
            Ok((200, body)) => serde_json::from_slice(&body).ok(),
            _ => None,
        }
    }

    /// Creates an object; that it exists already is fine.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<()> {
        let (status, body) = self.exchange("POST", path, Some(&object.to_string()))?;
        match status {
            200..=299 | 409 => Ok(()),
            _ => Err(Error::Api {
                request: format!("POST {path}"),
                status,
                message: serde_json::from_slice::<Value>(&body)
                    .ok()
                    .and_then(|answer| Some(answer.get("message")?.as_str()?.to_string()))
                    .unwrap_or_default(),
            }),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&str>) -> Result<(u16, Vec<u8>)> {
        let lost = |error: std::io::Error| Error::NoAnswer(error.to_string());
        let host = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let tls = ClientConnection::new(Arc::clone(&self.tls), host).map_err(|error| Error::NoAnswer(error.to_string()))?;
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(lost)?;
        tcp.set_read_timeout(Some(ANSWER_WITHIN)).map_err(lost)?;
        tcp.set_write_timeout(Some(ANSWER_WITHIN)).map_err(lost)?;
        let mut stream = StreamOwned::new(tls, tcp);
        // HTTP/1.0: one answer, in one piece, ended by the connection's end.
        let body = body.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nUser-Agent: cluster\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).map_err(lost)?;
        let mut answer = Vec::new();
        // The end of the connection may come without the end of TLS; what was read tells whether it is whole.
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(lost(error)),
        }
        parse(&answer).ok_or_else(|| Error::NoAnswer("the connection ended before an answer".into()))
    }
}

/// Status and body of an answer; none if it is cut short.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let body = answer.get(end + 4..)?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
            && value.trim().parse::<usize>().ok()? != body.len()
        {
            return None;
        }
    }
    Some((status, body.to_vec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), Some((200, b"ok".to_vec())));
        assert_eq!(parse(b"HTTP/1.0 404 Not Found\r\n\r\n{}"), Some((404, b"{}".to_vec())));
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok"), None);
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\nContent"), None);
        assert_eq!(parse(b""), None);
    }
}
