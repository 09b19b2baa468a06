//! Why an attempt failed.

use std::time::Duration;

/// Why an attempt failed: a sentence made for status and events, which names what was asked (method, path, port: the
/// user's own spec) and never holds a byte of what the other side sent, except numbers that have a fixed meaning.
///
/// `what` is "GET /healthz on port 8080" and the like in every variant.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// What is asked for can't be put into a request.
    #[error("{what}: the probe itself can't be sent: {why}")]
    InvalidProbe {
        /// What was asked.
        what: String,
        /// Which part, and what is wrong with it.
        why: String,
    },
    /// The attempt failed here, not there: it says nothing about the application.
    #[error("{what}: could not try from here: {why}")]
    NotTried {
        /// What was asked.
        what: String,
        /// What is missing here.
        why: &'static str,
    },
    /// The address answered that nothing listens on the port.
    #[error("{what}: connection refused; nothing listens on that port of the pod's address")]
    ConnectionRefused {
        /// What was asked.
        what: String,
    },
    /// No answer to the first packet: typical of a NetworkPolicy, or of a pod that is gone.
    #[error("{what}: no connection within {after:?}; a NetworkPolicy may keep the controller out, or the pod is overloaded")]
    ConnectTimeout {
        /// What was asked.
        what: String,
        /// The attempt's timeout.
        after: Duration,
    },
    /// The network has no way to the address.
    #[error("{what}: could not connect: {why}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// What the network said.
        why: &'static str,
    },
    /// TLS could not be agreed on.
    #[error("{what}: TLS handshake failed: {why}")]
    TlsHandshake {
        /// What was asked.
        what: String,
        /// What went wrong.
        why: &'static str,
    },
    /// The port accepts connections, but did not finish the TLS handshake in time.
    #[error("{what}: TLS handshake not finished within {after:?}; the port may not speak TLS")]
    TlsTimeout {
        /// What was asked.
        what: String,
        /// The attempt's timeout.
        after: Duration,
    },
    /// The request was sent, and no status came in time.
    #[error("{what}: connected, but no answer within {after:?}")]
    NoAnswer {
        /// What was asked.
        what: String,
        /// The attempt's timeout.
        after: Duration,
    },
    /// The API server was asked to pass a request on, is there, and had no answer of the pod in time.
    #[error("{what}: no answer of the pod within {after:?}")]
    SilentThrough {
        /// What was asked.
        what: String,
        /// The attempt's timeout.
        after: Duration,
    },
    /// A status came that passes, and the body did not end in time.
    #[error("{what}: answered {got}, but its body did not end within {after:?}")]
    BodyTimeout {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// The attempt's timeout.
        after: Duration,
    },
    /// The connection was closed or reset before the answer was complete.
    #[error("{what}: the connection was {how} before the answer was complete")]
    Broken {
        /// What was asked.
        what: String,
        /// "closed" or "reset".
        how: &'static str,
    },
    /// What came is not an answer in the protocol of the probe.
    #[error("{what}: {why}")]
    BadAnswer {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        why: &'static str,
    },
    /// Another status than expected.
    #[error("{what}: answered {got}, expected {wanted}")]
    Status {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// What would have passed, such as "200" or "200 to 399".
        wanted: String,
    },
    /// A redirect that was not expected. It is never followed: it could lead the controller anywhere.
    #[error("{what}: answered {code}, a redirect, which is not followed; expected {wanted}: ask for the final path, or expect {code}")]
    Redirect {
        /// What was asked.
        what: String,
        /// The status that came.
        code: u16,
        /// What would have passed.
        wanted: String,
    },
    /// The status passes, the body lacks the expected text.
    #[error("{what}: answered {got}, but {where_} lacks {text:?}")]
    BodyMissing {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// The text from the spec, shortened.
        text: String,
        /// Which part of the body was searched: all of it, or its first 64 KiB.
        where_: &'static str,
    },
    /// The status passes, a header is missing.
    #[error("{what}: answered {got}, but without the header {name:?}")]
    HeaderMissing {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// The header's name from the spec, shortened.
        name: String,
    },
    /// The status passes, a header has another value.
    #[error("{what}: answered {got}, but its header {name:?} is not {value:?}")]
    HeaderValue {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// The header's name from the spec, shortened.
        name: String,
        /// The value from the spec, shortened.
        value: String,
    },
    /// The status passes, and no values can be looked for in the body.
    #[error("{what}: answered {got}, but {why}")]
    NoJson {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// What is wrong with the body.
        why: &'static str,
    },
    /// The status passes, and the body is JSON with another value.
    #[error("{what}: answered {got}, but its JSON has {found} at {path:?}, expected {wanted:?}")]
    JsonValue {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// The kind of what stands there.
        found: &'static str,
        /// The pointer from the spec, shortened.
        path: String,
        /// The value from the spec, shortened.
        wanted: String,
    },
    /// A query was answered with another number.
    #[error("{what}: answered {got}, expected {wanted}")]
    Value {
        /// What was asked.
        what: String,
        /// The number that came.
        got: String,
        /// The bound from the spec, such as "at most 0.01".
        wanted: String,
    },
    /// A query was answered without a number.
    #[error("{what}: answered no data")]
    NoData {
        /// What was asked.
        what: String,
    },
    /// The same, where that is no answer yet.
    #[error("{what}: answered no data yet")]
    NoDataYet {
        /// What was asked.
        what: String,
    },
    /// An answer that is no verdict.
    #[error("{what}: answered {got}, which is no verdict yet")]
    NotYet {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
    },
    /// All is as expected, and came too late.
    #[error("{what}: answered {got} after {took} ms, expected at most {most} ms")]
    TooSlow {
        /// What was asked.
        what: String,
        /// The status that came.
        got: u16,
        /// Milliseconds from the beginning of the attempt to the end of the answer.
        took: u128,
        /// Milliseconds from the spec.
        most: u128,
    },
    /// A command ended with another exit code than 0.
    #[error("{what}: ended with exit code {code}")]
    Exit {
        /// Which command, and where.
        what: String,
        /// Its exit code.
        code: i32,
    },
    /// A command was still running when its time was up.
    #[error("{what}: had not ended after {after:?}")]
    NotEnded {
        /// Which command, and where.
        what: String,
        /// The attempt's timeout.
        after: Duration,
    },
    /// The health service says NOT_SERVING, or that it does not know yet.
    #[error("{what}: answered {status}, expected SERVING")]
    GrpcNotServing {
        /// What was asked.
        what: String,
        /// The protocol's name of what came.
        status: &'static str,
    },
    /// The health service does not know the service asked about.
    #[error("{what}: the health service does not know that service; register it, or correct the probe's service name")]
    GrpcUnknownService {
        /// What was asked.
        what: String,
    },
    /// The server speaks gRPC (or HTTP/2) and has no health service.
    #[error("{what}: UNIMPLEMENTED; the server does not offer grpc.health.v1.Health on that port")]
    GrpcUnimplemented {
        /// What was asked.
        what: String,
    },
    /// The call ended with another gRPC status than OK.
    #[error("{what}: the call ended with {code}")]
    GrpcStatus {
        /// What was asked.
        what: String,
        /// The protocol's name of the code; the server's message is left out.
        code: &'static str,
    },
}

impl Failure {
    /// Whether it says nothing about what was asked: it is asked again, and nothing is counted.
    pub fn undecided(&self) -> bool {
        matches!(self, Self::NotTried { .. } | Self::NoDataYet { .. } | Self::NotYet { .. })
    }

    /// Whether it tells a person nothing that `other` did not: of two late answers the time differs, of two numbers the number, and no more.
    pub fn repeats(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TooSlow { what, got, most, .. }, Self::TooSlow { what: asked, got: answered, most: bound, .. }) => {
                (what, got, most) == (asked, answered, bound)
            }
            (Self::Value { what, wanted, .. }, Self::Value { what: asked, wanted: bound, .. }) => (what, wanted) == (asked, bound),
            _ => self == other,
        }
    }

    /// One CamelCase word for conditions, events and counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidProbe { .. } => "InvalidProbe",
            Self::NotTried { .. } => "NotTried",
            Self::ConnectionRefused { .. } => "ConnectionRefused",
            Self::ConnectTimeout { .. } => "ConnectTimeout",
            Self::Unreachable { .. } => "Unreachable",
            Self::TlsHandshake { .. } => "TlsHandshakeFailed",
            Self::TlsTimeout { .. } => "TlsTimeout",
            Self::NoAnswer { .. } | Self::SilentThrough { .. } => "NoAnswer",
            Self::BodyTimeout { .. } => "BodyTimeout",
            Self::Broken { .. } => "ConnectionBroken",
            Self::BadAnswer { .. } => "BadAnswer",
            Self::Status { .. } => "UnexpectedStatus",
            Self::Redirect { .. } => "UnexpectedRedirect",
            Self::BodyMissing { .. } => "BodyTextMissing",
            Self::HeaderMissing { .. } => "HeaderMissing",
            Self::HeaderValue { .. } => "UnexpectedHeader",
            Self::NoJson { .. } => "NoJson",
            Self::JsonValue { .. } => "UnexpectedJson",
            Self::Value { .. } => "UnexpectedValue",
            Self::NoData { .. } | Self::NoDataYet { .. } => "NoData",
            Self::NotYet { .. } => "NotYet",
            Self::TooSlow { .. } => "TooSlow",
            Self::Exit { .. } => "ExitCode",
            Self::NotEnded { .. } => "NotEnded",
            Self::GrpcNotServing { .. } => "NotServing",
            Self::GrpcUnknownService { .. } => "UnknownService",
            Self::GrpcUnimplemented { .. } => "HealthServiceMissing",
            Self::GrpcStatus { .. } => "UnexpectedGrpcStatus",
        }
    }
}

/// Text of the spec for a sentence: at most 100 characters, so that it can't push the rest out of a bounded message.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 100;
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(MOST).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}
