//! What an answer must be to pass.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::failure::shorten;
use super::request::parse;
use super::{Failure, MOST_BYTES, json};

/// What an answer must be to pass: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// Codes that pass. Empty: 200 to 399, as the kubelet has it.
    pub status: Vec<u16>,
    /// Names of headers that must be there, with one of their values if it matters.
    pub headers: Vec<(String, Option<String>)>,
    /// Text the first 64 KiB of the body must contain, compared as UTF-8 and case by case.
    pub body_contains: Option<String>,
    /// JSON pointers into the body, and what must stand there, written as text.
    pub json: Vec<(String, String)>,
    /// Without codes: 200 to 299 alone. A login page that somebody is led to is no good word.
    pub success_only: bool,
    /// A code that is no verdict.
    pub undecided: Option<u16>,
    /// Longest time from the beginning of the attempt to the end of the answer.
    pub max_latency: Option<Duration>,
}

/// Whether an answer can have this header at all, known before any attempt.
///
/// # Errors
/// What is wrong with it, in words that hold at most 100 characters of its name and none of its value.
pub fn comparable(name: &str, value: &str) -> Result<(), String> {
    parse(name, value).map(drop)
}

impl Expect {
    /// Judges what is known before the body has come.
    pub(super) fn judge_head(&self, what: &str, got: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
        if self.undecided == Some(got.as_u16()) {
            return Err(Failure::NotYet { what: what.to_owned(), got: got.as_u16() });
        }
        let allowed = match self.status.as_slice() {
            [] if self.success_only => got.is_success(),
            [] => (200..=399).contains(&got.as_u16()),
            some => some.contains(&got.as_u16()),
        };
        if !allowed {
            return Err(unexpected(what, got, self.wanted()));
        }
        for (name, value) in &self.headers {
            let mut found = headers.get_all(name).iter().peekable();
            let (what, got) = (what.to_owned(), got.as_u16());
            match value {
                _ if found.peek().is_none() => return Err(Failure::HeaderMissing { what, got, name: shorten(name) }),
                // Space around a value is no part of it.
                Some(value) if !found.any(|header| header.as_bytes() == value.trim_matches([' ', '\t']).as_bytes()) => {
                    return Err(Failure::HeaderValue { what, got, name: shorten(name), value: shorten(value) });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Judges the body, of which at most [`MOST_BYTES`] were read, and the time all of it took.
    pub(super) fn judge_body(&self, what: &str, got: StatusCode, body: &[u8], took: Duration) -> Result<(), Failure> {
        self.look_for_text(what, got, body)?;
        self.look_for_values(what, got, body)?;
        match self.max_latency {
            Some(most) if took > most => Err(Failure::TooSlow {
                what: what.to_owned(),
                got: got.as_u16(),
                // What is just above the bound must not read as if it were within.
                took: took.as_millis().max(most.as_millis() + 1),
                most: most.as_millis(),
            }),
            _ => Ok(()),
        }
    }

    fn wanted(&self) -> String {
        match self.status.as_slice() {
            [] if self.success_only => "200 to 299".to_owned(),
            [] => "200 to 399".to_owned(),
            some => shorten(&some.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")),
        }
    }

    fn look_for_text(&self, what: &str, got: StatusCode, body: &[u8]) -> Result<(), Failure> {
        let Some(text) = &self.body_contains else { return Ok(()) };
        if String::from_utf8_lossy(body).contains(text) {
            return Ok(());
        }
        let where_ = if body.len() < MOST_BYTES { "its body" } else { "the first 64 KiB of its body" };
        Err(Failure::BodyMissing { what: what.to_owned(), got: got.as_u16(), text: shorten(text), where_ })
    }

    fn look_for_values(&self, what: &str, got: StatusCode, body: &[u8]) -> Result<(), Failure> {
        if self.json.is_empty() {
            return Ok(());
        }
        let (what, got) = (what.to_owned(), got.as_u16());
        if body.len() >= MOST_BYTES {
            return Err(Failure::NoJson { what, got, why: "its body has 64 KiB or more, too much to be read as JSON" });
        }
        for (path, wanted) in &self.json {
            match json::look(body, path, wanted) {
                Ok(Ok(())) => {}
                Ok(Err(found)) => return Err(Failure::JsonValue { what, got, found, path: shorten(path), wanted: shorten(wanted) }),
                Err(_) => return Err(Failure::NoJson { what, got, why: "its body is not JSON" }),
            }
        }
        Ok(())
    }
}

/// The failure for a status that does not pass.
pub(super) fn unexpected(what: &str, got: StatusCode, wanted: String) -> Failure {
    let what = what.to_owned();
    match got.as_u16() {
        // 304 is among the 3xx but points nowhere.
        code @ (300..=303 | 305..=399) => Failure::Redirect { what, code, wanted },
        got => Failure::Status { what, got, wanted },
    }
}
