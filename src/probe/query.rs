//! A question to Prometheus: one instant query (`/api/v1/query` of its HTTP API), and the values that are good.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::expect::unexpected;
use super::number::written;
use super::{Deadline, Failure, HttpCheck, MOST_BYTES, Scheme, http as exchange, request};

/// A question, and which answers are good.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Who is asked.
    pub endpoint: Endpoint,
    /// The question, in PromQL.
    pub text: String,
    /// No value may be greater.
    pub at_most: Option<f64>,
    /// No value may be less.
    pub at_least: Option<f64>,
    /// What an answer without a value is.
    pub no_data: Empty,
}

/// What an answer without a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// No answer yet.
    Wait,
    /// A good one.
    Pass,
    /// A bad one.
    Fail,
}

/// Where something answers by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Plain or in TLS.
    pub scheme: Scheme,
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What its paths begin with; empty, or with a slash before and none behind.
    pub base: String,
    /// The path as it was written.
    pub path: String,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let example = "write a URL such as http://prometheus.monitoring:9090";
        let parsed: http::Uri = url.parse().map_err(|_| format!("it is no URL; {example}"))?;
        let scheme = match parsed.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(format!("it does not begin with http:// or https://; {example}")),
        };
        let authority = parsed.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(|| format!("it has no host; {example}"))?;
        if authority.as_str().contains('@') || parsed.query().is_some() {
            return Err(format!("it has a user or a query, which are not sent; {example}"));
        }
        let after_host = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        if !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(format!("it has no port from 1 to 65535 after the colon; {example}"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        Ok(Self { scheme, host, port, base: parsed.path().trim_end_matches('/').to_owned(), path: parsed.path().to_owned() })
    }

    /// Host and port as one writes them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether another one is this place, or below its path.
    pub fn covers(&self, other: &Self) -> bool {
        let below = other.base.strip_prefix(&self.base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // Servers may take such a path for another one.
        let plain = !other.path.split('/').any(|part| part == ".." || part.contains('%') || part.contains('\\'));
        self.same_origin(other) && below && (self.base.is_empty() || plain)
    }

    /// Whether both are the same place, whatever their paths.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

impl Query {
    /// What it is called in sentences.
    pub fn what(&self) -> String {
        format!("the query to {}", self.endpoint.authority())
    }
}

/// Asks once, on a new connection.
///
/// # Errors
/// A [`Failure`] as for [`super::attempt`]; of the answer it holds at most one number.
pub async fn ask(query: &Query, address: SocketAddr, timeout: Duration) -> Result<(), Failure> {
    let deadline = Deadline::new(timeout);
    let Endpoint { scheme, base, .. } = &query.endpoint;
    let path = format!("{base}/api/v1/query?query={}", component(&query.text));
    let check = HttpCheck { scheme: *scheme, host: query.endpoint.authority(), path, ..HttpCheck::default() };
    let mut request = request::of(&check, address)?;
    request.what = query.what();
    let judge = |got: StatusCode, body: &[u8]| query.judge(got, body);
    match exchange::fetch(request, *scheme, address, &judge, deadline).await {
        Err(Failure::ConnectionRefused { what }) => Err(Failure::Unreachable { what, why: "connection refused; nothing listens there" }),
        outcome => outcome,
    }
}

impl Query {
    fn judge(&self, got: StatusCode, body: &[u8]) -> Result<(), Failure> {
        let bad = |why: &'static str| Err(Failure::BadAnswer { what: self.what(), why });
        match got {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                return bad("Prometheus does not understand or can't carry it out; try it there");
            }
            _ => return Err(unexpected(&self.what(), got, "200".into())),
        }
        if body.len() >= MOST_BYTES {
            return bad("the answer has 64 KiB or more; let the query sum up");
        }
        let Ok(Answer { data }) = serde_json::from_slice(body) else { return bad("the answer is not one of Prometheus's numbers") };
        let texts: Vec<String> = match data {
            Data::Vector(samples) => samples.into_iter().map(|sample| sample.value.1).collect(),
            Data::Scalar((_, value)) => vec![value],
            Data::Matrix(_) => return bad("the answer is a matrix; ask for one moment, without a range at the end"),
            Data::String(_) => return bad("the answer is a text, and no number"),
        };
        let mut values = vec![];
        for text in texts {
            let Ok(value) = text.parse::<f64>() else { return bad("the answer is not one of Prometheus's numbers") };
            values.push(value);
        }
        values.retain(|value| !value.is_nan());
        if values.is_empty() {
            return match self.no_data {
                Empty::Pass => Ok(()),
                Empty::Fail => Err(Failure::NoData { what: self.what() }),
                Empty::Wait => Err(Failure::NoDataYet { what: self.what() }),
            };
        }
        let outside = |bound: Option<f64>, words: &str, is: fn(f64, f64) -> bool| {
            let bound = bound?;
            let value = values.iter().copied().find(|value| is(*value, bound))?;
            Some(Failure::Value { what: self.what(), got: written(value), wanted: format!("{words} {}", written(bound)) })
        };
        let failure = outside(self.at_most, "at most", |value, bound| value > bound)
            .or_else(|| outside(self.at_least, "at least", |value, bound| value < bound));
        failure.map_or(Ok(()), Err)
    }
}

/// A text as the value of a query (RFC 3986): everything but unreserved characters is encoded.
pub fn component(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

/// Prometheus's `queryData`.
#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Sample>),
    Scalar((IgnoredAny, String)),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Sample {
    value: (IgnoredAny, String),
}

#[cfg(test)]
#[path = "tests/query.rs"]
mod tests;
