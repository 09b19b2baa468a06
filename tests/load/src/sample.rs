//! What is known of the sample app: how to ask it, and how its right answers look.

use std::net::SocketAddr;

use crate::{
    client::{Answer, Fault},
    record::Who,
    report::Kind,
    response::Head,
};

/// The request line and head of a GET.
pub(crate) fn get(path: &str, host: SocketAddr, keep: bool) -> Vec<u8> {
    let connection = if keep { "" } else { "connection: close\r\n" };
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: load\r\n{connection}\r\n").into_bytes()
}

/// Checks a short answer of the app, and says whose it is.
///
/// # Errors
/// [`Kind::BadStatus`] or [`Kind::WrongBody`].
pub(crate) fn check(answer: &Answer) -> Result<&Who, Fault> {
    check_head(&answer.head)?;
    if answer.head.is_json {
        let says: serde_json::Value =
            serde_json::from_slice(&answer.body).map_err(|error| Fault::new(Kind::WrongBody, format!("not JSON: {error}")))?;
        let version = says.get("version").and_then(|version| version.as_str());
        if version != answer.head.who.version.as_deref() {
            return Err(Fault::new(Kind::WrongBody, "the body names another version than x-version"));
        }
    }
    Ok(&answer.head.who)
}

/// Checks the head of an answer of the app.
///
/// # Errors
/// [`Kind::BadStatus`], or [`Kind::WrongBody`] if it is not the app that answers.
pub(crate) fn check_head(head: &Head) -> Result<(), Fault> {
    if head.status != 200 {
        return Err(Fault::new(Kind::BadStatus, format!("status {}", head.status)));
    }
    if head.who.version.is_none() {
        return Err(Fault::new(Kind::WrongBody, "no x-version: this is not the app"));
    }
    Ok(())
}

/// Whose echo it is: `<version> <pod> <line>`.
pub(crate) fn echoed(answer: &[u8], line: &[u8]) -> Result<Who, Fault> {
    let mut parts = answer.splitn(3, |byte| *byte == b' ');
    let mut word = || {
        let word = String::from_utf8_lossy(parts.next()?);
        Some(word.into_owned())
    };
    let who = Who { version: word(), pod: word() };
    if parts.next() != Some(line) {
        let detail = format!("not an echo: {:?}", String::from_utf8_lossy(answer));
        return Err(Fault::new(Kind::WrongBody, detail));
    }
    Ok(who)
}
