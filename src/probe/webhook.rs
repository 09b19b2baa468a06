//! A question to a webhook: a POST that says which revision it is about, signed with a key that both know.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Deadline, Endpoint, Expect, Failure, HttpCheck, Method, http as exchange, request};

/// Header with the time of the request, in seconds since the Unix epoch.
const TIMESTAMP: &str = "Bluegreen-Timestamp";
/// Header with the signature: `sha256=` and the HMAC-SHA256, in hexadecimal digits, of the timestamp, a dot, and the body.
const SIGNATURE: &str = "Bluegreen-Signature";
/// The answer of one that has not come to a verdict.
const NOT_YET: u16 = 202;

/// A question, and which answers are good.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Who is asked; its path is that of the request.
    pub endpoint: Endpoint,
    /// What is posted.
    pub body: String,
    /// What passes.
    pub expect: Expect,
}

/// The key that requests are signed with.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SigningKey")
    }
}

impl SigningKey {
    /// From what stands in a file; the line end that editors leave there is no part of it.
    ///
    /// # Errors
    /// Where it is too short to keep anything safe.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        const LEAST: usize = 16;
        let key = bytes.strip_suffix(b"\n").map_or(bytes, |key| key.strip_suffix(b"\r").unwrap_or(key));
        if key.len() < LEAST { Err(format!("the key has {} bytes, and needs at least {LEAST}", key.len())) } else { Ok(Self(key.to_vec())) }
    }

    /// The signature of a body that is sent at a time.
    pub fn sign(&self, timestamp: u64, body: &str) -> String {
        // Of any length: it is hashed where it is longer than a block (RFC 2104).
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{timestamp}.{body}").as_bytes());
        let digest: Vec<String> = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={}", digest.concat())
    }
}

impl Webhook {
    /// What it is called in sentences.
    pub fn what(&self) -> String {
        format!("the webhook at {}", self.endpoint.authority())
    }

    /// Asks once, on a new connection.
    pub(super) async fn ask(&self, key: Option<&SigningKey>, address: SocketAddr, timeout: Duration) -> Result<(), Failure> {
        let deadline = Deadline::new(timeout);
        let Endpoint { scheme, path, .. } = &self.endpoint;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut headers = vec![(TIMESTAMP.to_owned(), timestamp.to_string())];
        headers.extend(key.map(|key| (SIGNATURE.to_owned(), key.sign(timestamp, &self.body))));
        let check = HttpCheck {
            method: Method::Post(self.body.clone()),
            scheme: *scheme,
            host: self.endpoint.authority(),
            path: path.clone(),
            headers,
            expect: Expect::default(),
        };
        let mut request = request::of(&check, address)?;
        request.what = self.what();
        let undecided = Some(NOT_YET).filter(|status| !self.expect.status.contains(status));
        let expect = Expect { undecided, success_only: true, ..self.expect.clone() };
        match exchange::exchange(request, *scheme, address, &expect, deadline).await {
            Err(Failure::ConnectionRefused { what }) => Err(Failure::Unreachable { what, why: "connection refused; nothing listens there" }),
            outcome => outcome,
        }
    }
}

#[cfg(test)]
#[path = "tests/webhook.rs"]
mod tests;
