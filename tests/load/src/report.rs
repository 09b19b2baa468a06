//! What a load generator says on its standard output: one JSON object a line.
//!
//! All times are milliseconds since the Unix epoch of the machine's clock, so that reports of several generators and of
//! whoever started them can be laid side by side.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line {
    /// A long-lived connection is in use from now on.
    Open(Open),
    /// Something failed, just now. After [`FAILURES_SHOWN`] of them they are only counted.
    Failed(Failed),
    /// Once a second.
    Tick(Tick),
    /// The last line.
    Summary(Summary),
}

/// How many failures get a line of their own.
pub const FAILURES_SHOWN: u64 = 1000;

impl Line {
    /// Reads a line of output.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn parse(line: &str) -> Result<Line, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// How a request failed. Nothing is ever tried again in secret: each of these is a failure that a user would have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nobody listens there (RST to the SYN).
    ConnectRefused,
    /// No answer to the SYN in time.
    ConnectTimeout,
    /// No way there, or another error of connecting.
    ConnectFailed,
    /// The connection was reset, before the answer was complete.
    Reset,
    /// The connection ended in good order, before the answer was complete.
    EarlyEof,
    /// Nothing came, or nothing could be sent, for too long.
    ReadTimeout,
    /// Another status than 200.
    BadStatus,
    /// A complete answer that says something else than it should.
    WrongBody,
    /// Not HTTP.
    BadAnswer,
    /// A request on a kept connection got a reset or an end in place of the answer's first byte: the server may have closed
    /// just when it was sent. A client library would perhaps try it again; here it is a failure, with a name of its own.
    KeptClosed,
    /// Something on this side: no free port, no file descriptor. It says nothing about the server, and must not happen.
    Local,
}

/// What sent the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A new connection for this request.
    New,
    /// A connection kept for many requests.
    Kept,
    /// The one long connection of `upload`, `stream`, `echo`, `half-close` and `hold`.
    Long,
}

/// A long-lived connection is in use from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// When.
    pub at_ms: u64,
    /// This side's address and port.
    pub local: String,
    /// Who answers there, where an answer has begun already.
    pub version: Option<String>,
    /// The pod that answers.
    pub pod: Option<String>,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// When it was noticed.
    pub at_ms: u64,
    /// What sent the request.
    pub source: Source,
    /// How it failed.
    pub kind: Kind,
    /// More about it, for people.
    pub detail: String,
    /// Time since the request began.
    pub after_ms: u64,
    /// Who was to answer, if that is known from the answer's head or from an earlier answer on this connection.
    pub version: Option<String>,
    /// The pod that was to answer.
    pub pod: Option<String>,
}

/// The state of things, once a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// When.
    pub at_ms: u64,
    /// Good answers since the last tick.
    pub ok: u64,
    /// Failures since the last tick.
    pub failed: u64,
    /// Good answers since the last tick, by version.
    pub versions: BTreeMap<String, u64>,
    /// Good answers since the start.
    pub total_ok: u64,
    /// Failures since the start.
    pub total_failed: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes since the start.
    pub bytes: Bytes,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The time was up.
    Duration,
    /// Standard input was closed, or nobody reads the output any more.
    Closed,
    /// SIGTERM or SIGINT.
    Signal,
    /// There was no more to do: the one long answer is complete, or the connection is lost.
    Done,
}

/// Everything counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The subcommand.
    pub mode: String,
    /// What was loaded.
    pub target: String,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// Why it ended.
    pub reason: Reason,
    /// Requests begun: always `ok + failed`, for whatever was under way at the end was waited for.
    pub begun: u64,
    /// Good answers.
    pub ok: u64,
    /// Failures.
    pub failed: u64,
    /// Failures by kind.
    pub failures: BTreeMap<Kind, u64>,
    /// Requests not sent, since too many were under way: the rate asked for was not kept. Not a failure, not a success.
    pub skipped: u64,
    /// Good answers and failures by what sent the request.
    pub sources: BTreeMap<Source, Counts>,
    /// Who answered well, by version.
    pub versions: BTreeMap<String, Seen>,
    /// Who answered well, by pod.
    pub pods: BTreeMap<String, Seen>,
    /// What became of connections.
    pub connections: Connections,
    /// The longest time without a good answer, between the first and the last.
    pub longest_gap_ms: u64,
    /// How long good answers took, connecting included.
    pub latency: Latency,
    /// Bytes sent and received in bodies and lines.
    pub bytes: Bytes,
}

/// Good answers and failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Good answers.
    pub ok: u64,
    /// Failures.
    pub failed: u64,
}

/// A version or a pod that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Good answers.
    pub answers: u64,
    /// When the first of them was complete.
    pub first_ms: u64,
    /// When the last of them was complete.
    pub last_ms: u64,
}

/// What became of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Opened.
    pub opened: u64,
    /// Closed by this side because they were old (`--retire-after`).
    pub retired: u64,
    /// Ended as the server asked, with `Connection: close`.
    pub told_to_close: u64,
    /// Found closed by the server while no request was under way. No request was lost.
    pub closed_idle: u64,
}

/// How long good answers took, in microseconds; at most 7 % too much, for the sake of small tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them were at least as fast.
    pub p50_us: u64,
    /// 99 of 100 were at least as fast.
    pub p99_us: u64,
    /// The slowest, exactly.
    pub max_us: u64,
}

/// Bytes sent and received in bodies and lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// Now, in milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or_default()
}
