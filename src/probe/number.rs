//! A number that an application tells of itself, read once.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;

use super::expect::unexpected;
use super::{Deadline, Failure, HttpCheck, MOST_BYTES, Scheme, Series, http as exchange, json, request};

/// Where the number stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// In a Prometheus text.
    Series(Series),
    /// In a JSON text, at this pointer.
    Json(String),
}

/// Asks by GET on a new connection.
///
/// # Errors
/// A [`Failure`] as for [`super::attempt`]; of the answer it holds nothing.
pub async fn number(path: &str, number: &Number, address: SocketAddr, timeout: Duration) -> Result<f64, Failure> {
    let request = request::of(&HttpCheck { path: path.to_owned(), ..HttpCheck::default() }, address)?;
    let what = request.what.clone();
    let found = OnceLock::new();
    let judge = |got: StatusCode, body: &[u8]| {
        let value = number.find(&what, got, body)?;
        found.get_or_init(|| value);
        Ok(())
    };
    exchange::fetch(request, Scheme::Http, address, &judge, Deadline::new(timeout)).await?;
    found.get().copied().ok_or(Failure::BadAnswer { what, why: "the answer has no number" })
}

/// A number as people write it.
pub fn written(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e9).contains(&size) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Number {
    fn find(&self, what: &str, got: StatusCode, body: &[u8]) -> Result<f64, Failure> {
        if got != StatusCode::OK {
            return Err(unexpected(what, got, "200".into()));
        }
        let bad = |why| Failure::BadAnswer { what: what.to_owned(), why };
        if body.len() >= MOST_BYTES {
            return Err(bad("the answer has 64 KiB or more; let the application show the number on a page of its own"));
        }
        match self {
            Self::Series(series) => series.sum(str::from_utf8(body).map_err(|_| bad("the answer is not in UTF-8"))?).map_err(bad),
            Self::Json(pointer) => match json::number(body, pointer) {
                Err(_) => Err(bad("the answer is no JSON")),
                Ok(None) => Err(bad("the answer's JSON has no number there")),
                Ok(Some(number)) if number < 0.0 => Err(bad("the number is below zero")),
                Ok(Some(number)) => Ok(number),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn found(number: &Number, status: u16, body: &[u8]) -> Result<f64, String> {
        number.find("GET /metrics on port 80", StatusCode::from_u16(status).unwrap(), body).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_number_is_found_in_both_kinds_of_text() {
        let json = Number::Json("/open/0".into());
        assert_eq!(found(&json, 200, br#"{"open": [3, 4], "x": {}}"#), Ok(3.0));
        assert_eq!(found(&json, 200, br#"{"open": [0.5]}"#), Ok(0.5));
        assert_eq!(found(&Number::Json(String::new()), 200, b"7"), Ok(7.0));
        assert_eq!(found(&Number::Series(Series::parse("up").unwrap()), 200, b"up 7\n"), Ok(7.0));
    }

    #[test]
    fn whatever_else_comes_is_no_number() {
        let json = Number::Json("/open".into());
        let series = Number::Series(Series::parse("up").unwrap());
        for body in [r#"{"open": "3"}"#, r#"{"open": null}"#, r#"{"open": [0]}"#, "{}", "[]", r#"{"open": -1}"#, r#"{"open": 0"#, ""] {
            assert!(found(&json, 200, body.as_bytes()).is_err(), "{body}");
        }
        assert!(found(&json, 204, br#"{"open": 0}"#).unwrap_err().ends_with("answered 204, expected 200"));
        assert!(found(&series, 404, b"up 0\n").is_err());
        assert!(found(&series, 200, b"up 0\n\xff").is_err());
        let long = format!("up 0\n{}", "x".repeat(MOST_BYTES));
        assert!(found(&series, 200, long.as_bytes()).unwrap_err().contains("64 KiB"));
    }
}
