//! HTTP attempts that the API server passes on to a pod (`pods/proxy`).
//!
//! The request carries this process's own token, and its path begins with what the API server is asked for. So no word of a spec may reach past that:
//! whatever a path decodes to, and however often somebody on the way decodes it, it stays below the pod's prefix, and no header of a spec is one that
//! the API server itself obeys. And the API server answers for itself, too: what it says of its own troubles is no verdict about a pod.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{CONNECTION, HOST};
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::{Failure, HttpCheck, Scheme, component, request};

/// Header that every API server puts on every answer, also on one that it passes on.
const AUDIT_ID: &str = "audit-id";
/// What an API server's word about a pod begins with.
const TRIED: &str = "error trying to reach service: ";
/// Headers that the API server obeys, or that mean the connection to it. It would answer its own errors in the form that Accept names.
const ITS_OWN: [&str; 13] = [
    "accept",
    "audit-id",
    "authorization",
    "connection",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    // The audit log would name it as where the request came from.
    "x-real-ip",
];
const ITS_FAMILIES: [&str; 5] = ["impersonate-", "x-remote-", "x-forwarded-", "x-kubernetes-", "sec-websocket-"];

/// Whether the API server can pass a header of a probe on, known before any attempt.
///
/// # Errors
/// Why not, in words that hold at most 100 characters of its name and none of its value.
pub fn passed_on(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if ITS_OWN.contains(&lower.as_str()) || ITS_FAMILIES.iter().any(|family| lower.starts_with(family)) {
        return Err(format!("the header {:?} would mean the API server itself, and not the pod", super::failure::shorten(name)));
    }
    Ok(())
}

/// Headers of an answer that the API server adds, replaces or takes out.
const ITS_ANSWERS: [&str; 4] = ["audit-id", "cache-control", "date", "strict-transport-security"];
const ITS_ANSWERS_FAMILIES: [&str; 2] = ["access-control-", "x-kubernetes-"];

/// Whether a header of an answer that the API server passes back is the pod's own, known before any attempt.
///
/// # Errors
/// Why not, in words that hold at most 100 characters of its name.
pub fn passed_back(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if ITS_ANSWERS.contains(&lower.as_str()) || ITS_ANSWERS_FAMILIES.iter().any(|family| lower.starts_with(family)) {
        return Err(format!("the header {:?} of an answer is the API server's own, or taken out by it", super::failure::shorten(name)));
    }
    Ok(())
}

/// Whether the API server can pass a path on as it is, known before any attempt.
///
/// # Errors
/// What is wrong with it.
pub fn passable(path: &str) -> Result<(), &'static str> {
    let encoded = request::encode(path);
    let path = encoded.split_once('?').map_or(encoded.as_str(), |(path, _)| path);
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let decoded = decode(segment).ok_or("it has a % without two hexadecimal digits behind it")?;
        if segment.is_empty() && segments.peek().is_some() {
            return Err("it has two slashes in a row, of which the API server would make one");
        }
        if matches!(decoded.as_slice(), b"." | b"..") {
            return Err("it has . or .. between slashes; write the path that is meant");
        }
        if decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | b'%') || byte.is_ascii_control()) {
            return Err("it has an encoded slash, backslash, percent sign or control character, which the API server would not pass on as it is");
        }
    }
    Ok(())
}

fn decode(segment: &str) -> Option<Vec<u8>> {
    let mut decoded = vec![];
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            decoded.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

/// A request to the API server, and how its answer is judged.
#[derive(Debug)]
pub struct Proxied<'a> {
    check: &'a HttpCheck,
    address: SocketAddr,
    /// What it is called in sentences.
    pub what: String,
}

impl<'a> Proxied<'a> {
    /// The request for a pod, without its body's length.
    ///
    /// # Errors
    /// [`Failure::InvalidProbe`] with what can't be passed on.
    pub fn new(check: &'a HttpCheck, namespace: &str, pod: &str, address: SocketAddr) -> Result<(Self, http::Request<Bytes>), Failure> {
        let request::Request { what, mut message, .. } = request::of(check, address)?;
        let what = format!("{what} through the API server");
        let invalid = |why| Failure::InvalidProbe { what: what.clone(), why };
        passable(&check.path).map_err(|why| invalid(format!("the path can't go through the API server: {why}")))?;
        let host = (!check.host.is_empty()).then_some("Host");
        check.headers.iter().map(|(name, _)| name.as_str()).chain(host).try_for_each(passed_on).map_err(invalid)?;
        check.expect.headers.iter().try_for_each(|(name, _)| passed_back(name)).map_err(invalid)?;
        let scheme = match check.scheme {
            Scheme::Http => "",
            Scheme::Https => "https:",
        };
        let (namespace, pod, port) = (component(namespace), component(pod), address.port());
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{scheme}{pod}:{port}/proxy{}", request::encode(&check.path));
        *message.uri_mut() = Uri::try_from(uri).map_err(|_| invalid("the path is too long for a URL".into()))?;
        // Those of the connection to the pod; the one to the API server has its own.
        message.headers_mut().remove(HOST);
        message.headers_mut().remove(CONNECTION);
        let body = match &check.method {
            super::Method::Get => Bytes::new(),
            super::Method::Post(body) => Bytes::from(body.clone()),
        };
        Ok((Self { check, address, what }, message.map(|_| body)))
    }

    /// Judges an answer, of whose body at most 64 KiB were read.
    ///
    /// # Errors
    /// A [`Failure`] as of a direct attempt, or [`Failure::NotTried`] where the API server speaks for itself.
    pub fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], took: Duration) -> Result<(), Failure> {
        if let Some(failure) = self.of_the_api_server(status, headers, body) {
            return Err(failure);
        }
        self.check.expect.judge_head(&self.what, status, headers)?;
        self.check.expect.judge_body(&self.what, status, body, took)
    }

    /// It could not be tried.
    pub fn not_tried(&self, why: &'static str) -> Failure {
        Failure::NotTried { what: self.what.clone(), why }
    }

    fn of_the_api_server(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Failure> {
        if !headers.contains_key(AUDIT_ID) {
            return Some(self.not_tried("what answered is not an API server"));
        }
        // It says that in plain text, which looks like any other answer.
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Some(self.not_tried("the API server, or the pod, has too many requests"));
        }
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        // Some of its own troubles it tells in plain text.
        let own: [&[u8]; 2] = [b"Internal Server Error: \"/api/v1/namespaces/", b"This request caused apiserver to panic"];
        if status == StatusCode::INTERNAL_SERVER_ERROR && own.iter().any(|words| body.starts_with(words)) {
            return Some(self.not_tried("the API server could not pass it on"));
        }
        let said = serde_json::from_slice::<serde_json::Value>(body).ok()?;
        let text = |field: &str| said.get(field).and_then(serde_json::Value::as_str);
        if (text("kind"), text("apiVersion")) != (Some("Status"), Some("v1")) {
            return None;
        }
        let said: Status = serde_json::from_value(said).unwrap_or_default();
        let message = said.message.unwrap_or_default();
        if let Some(why) = message.strip_prefix(TRIED) {
            return Some(self.not_reached(why));
        }
        if message.contains("error trying to parse Location header") {
            return Some(Failure::BadAnswer { what: self.what.clone(), why: "it leads to something that is no URL" });
        }
        Some(self.not_tried(match status.as_u16() {
            403 => "the API server refuses it; the right to pods/proxy is missing, or a policy of the cluster forbids it",
            404 => "the pod is gone",
            _ => "the API server could not pass it on",
        }))
    }

    /// The API server tried, and says what came of it in the words of Go's library. None of them is passed on.
    fn not_reached(&self, why: &str) -> Failure {
        let what = self.what.clone();
        let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
        let elsewhere = why.contains("dial ") && !why.contains(&format!("dial tcp {}:", self.address));
        // What is missing on its side, between it and its agents in the pods' network included.
        if has(&["No agent available", "dial unix", "too many open files", "cannot assign requested address", "context canceled"]) || elsewhere {
            return self.not_tried("the API server has no way to pods just now");
        }
        if has(&["server closed idle connection"]) {
            return self.not_tried("the API server used a connection that the pod had closed");
        }
        if has(&["connection refused"]) {
            return Failure::ConnectionRefused { what };
        }
        if has(&["server gave HTTP response to HTTPS client", "tls: ", "x509: "]) {
            return Failure::TlsHandshake { what, why: "the API server and the pod did not agree; does the port speak TLS?" };
        }
        if has(&["malformed HTTP"]) {
            return Failure::BadAnswer { what, why: "the answer is not HTTP/1; does the port speak another protocol, or TLS?" };
        }
        if has(&["connection reset", "broken pipe"]) {
            return Failure::Broken { what, how: "reset" };
        }
        if has(&["EOF"]) {
            return Failure::Broken { what, how: "closed" };
        }
        if has(&["timeout", "timed out", "deadline exceeded"]) {
            return Failure::Unreachable { what, why: "the API server had no connection to the pod in time" };
        }
        Failure::Unreachable { what, why: "the API server did not reach the pod" }
    }
}

/// The body, or its first 64 KiB.
///
/// # Errors
/// Where it broke off.
pub async fn beginning<B: hyper::body::Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Vec<u8>, B::Error> {
    let mut read = Vec::new();
    while read.len() < super::MOST_BYTES {
        let Some(frame) = body.frame().await else { break };
        if let Some(data) = frame?.data_ref() {
            let room = super::MOST_BYTES - read.len();
            read.extend(data.iter().take(room));
        }
    }
    Ok(read)
}

#[cfg(test)]
#[path = "tests/proxied.rs"]
mod tests;
