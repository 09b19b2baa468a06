//! The command line, as a library has it too.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand};

/// No load lasts longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// A load generator for blue-green releases.
#[derive(Clone, Debug, Parser)]
#[command(name = "load", version)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub mode: Mode,
    /// When to end at the latest [at most 1h].
    #[arg(long, global = true, value_parser = length, default_value = "15m")]
    pub duration: Duration,
    /// How long to wait for a connection.
    #[arg(long, global = true, value_parser = length, default_value = "5s")]
    pub connect_timeout: Duration,
    /// How long to wait for each next byte, and for each short answer as a whole.
    #[arg(long, global = true, value_parser = length, default_value = "10s")]
    pub read_timeout: Duration,
    /// Go on when standard input ends.
    #[arg(long, global = true)]
    pub ignore_stdin: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Mode {
    /// New connections at a rate, and kept ones that send requests all the time.
    Run(Run),
    /// Short connections only, at a rate.
    Flood(Flood),
    /// A short connection now and then, as a client that goes on dialling a pod directly.
    Dial(Dial),
    /// One long, slow upload.
    Upload(Upload),
    /// One long answer.
    Stream(Stream),
    /// One connection to the echo, in steady use.
    Echo(Echo),
    /// Calls on one gRPC channel.
    Grpc(Grpc),
    /// Texts on websockets, one after the other.
    Websocket(Websocket),
    /// One request whose client closes its sending side at once.
    HalfClose(HalfClose),
    /// One connection, used once and then held silently.
    Hold(Hold),
}

impl Mode {
    /// The name of the subcommand, and what it loads.
    #[must_use]
    pub fn name(&self) -> (&'static str, &Target) {
        match self {
            Mode::Run(run) => ("run", &run.target),
            Mode::Flood(flood) => ("flood", &flood.target),
            Mode::Dial(dial) => ("dial", &dial.target),
            Mode::Upload(upload) => ("upload", &upload.target),
            Mode::Stream(stream) => ("stream", &stream.target),
            Mode::Echo(echo) => ("echo", &echo.target),
            Mode::Grpc(grpc) => ("grpc", &grpc.target),
            Mode::Websocket(websocket) => ("websocket", &websocket.target),
            Mode::HalfClose(half_close) => ("half-close", &half_close.target),
            Mode::Hold(hold) => ("hold", &hold.target),
        }
    }
}

/// `load run`
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// What to load, as http://10.0.0.1:8080/
    #[arg(long, value_parser = http)]
    pub target: Target,
    /// New connections a second, with one request each; 0 for none.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub rate: u32,
    /// Kept connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=512))]
    pub keepalive: u32,
    /// The pause between two requests of a kept connection.
    #[arg(long, value_parser = length, default_value = "100ms")]
    pub pace: Duration,
    /// Close and reopen a kept connection when it is so old [default: never].
    #[arg(long, value_parser = length)]
    pub retire_after: Option<Duration>,
    /// New connections are closed by this side first, in place of the server.
    #[arg(long)]
    pub client_closes: bool,
}

/// `load flood`
#[derive(Clone, Debug, Args)]
pub struct Flood {
    /// What to load, as http://10.0.0.1:8080/ or (for the echo) tcp://10.0.0.1:9000
    #[arg(long)]
    pub target: Target,
    /// Connections a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Connections are closed by this side first, in place of the server.
    #[arg(long)]
    pub client_closes: bool,
}

/// `load dial`
#[derive(Clone, Debug, Args)]
pub struct Dial {
    /// What to load, as http://10.0.0.1:8080/ or (for the echo) tcp://10.0.0.1:9000
    #[arg(long)]
    pub target: Target,
    /// The time from one connection to the next.
    #[arg(long, value_parser = length, default_value = "1s")]
    pub every: Duration,
}

/// `load upload`
#[derive(Clone, Debug, Args)]
pub struct Upload {
    /// Where to, as http://10.0.0.1:8080/upload
    #[arg(long, value_parser = http)]
    pub target: Target,
    /// How long the upload takes.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// The time from one piece to the next.
    #[arg(long, value_parser = length, default_value = "100ms")]
    pub every: Duration,
}

/// `load stream`
#[derive(Clone, Debug, Args)]
pub struct Stream {
    /// What to read, as http://10.0.0.1:8080/stream?seconds=60
    #[arg(long, value_parser = http)]
    pub target: Target,
}

/// `load echo`
#[derive(Clone, Debug, Args)]
pub struct Echo {
    /// The echo, as tcp://10.0.0.1:9000
    #[arg(long, value_parser = tcp)]
    pub target: Target,
    /// The time from one line to the next.
    #[arg(long, value_parser = length, default_value = "100ms")]
    pub every: Duration,
}

/// `load grpc`
#[derive(Clone, Debug, Args)]
pub struct Grpc {
    /// The health service, as http://10.0.0.1:9090/
    #[arg(long, value_parser = http)]
    pub target: Target,
    /// The time from one call to the next.
    #[arg(long, value_parser = length, default_value = "100ms")]
    pub every: Duration,
}

/// `load websocket`
#[derive(Clone, Debug, Args)]
pub struct Websocket {
    /// The websockets, as tcp://10.0.0.1:9001
    #[arg(long, value_parser = tcp)]
    pub target: Target,
    /// The time from one text to the next.
    #[arg(long, value_parser = length, default_value = "100ms")]
    pub every: Duration,
}

/// `load half-close`
#[derive(Clone, Debug, Args)]
pub struct HalfClose {
    /// What to ask, as http://10.0.0.1:8080/stream?seconds=20 or (for the echo) tcp://10.0.0.1:9000
    #[arg(long)]
    pub target: Target,
}

/// `load hold`
#[derive(Clone, Debug, Args)]
pub struct Hold {
    /// What to ask, as http://10.0.0.1:8080/bytes?n=8388608
    #[arg(long, value_parser = http)]
    pub target: Target,
    /// Stop reading after the answer's head, and read the rest only at the end.
    #[arg(long)]
    pub stall: bool,
    /// Size of the receive buffer in bytes (the kernel doubles it) [default: the kernel's own].
    #[arg(long)]
    pub receive_buffer: Option<u32>,
}

/// An address to load. It is an IP address: a load must not wait for a name server, nor hide which address failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The protocol.
    pub scheme: Scheme,
    /// Where.
    pub address: SocketAddr,
    /// Path and query of HTTP.
    pub path: String,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1.
    Http,
    /// Lines, as the app's echo has them.
    Tcp,
}

/// A target that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// No known scheme.
    #[error("write it as http://10.0.0.1:8080/path or tcp://10.0.0.1:9000")]
    Scheme,
    /// No IP address and port.
    #[error("{0:?} is not an IP address and a port, as 10.0.0.1:8080 or [fd00::1]:8080")]
    Address(String),
    /// Characters that have no place in a request line.
    #[error("a path has no spaces or control characters: write them as %20")]
    Path,
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Target, BadTarget> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            _ => return Err(BadTarget::Scheme),
        };
        let (address, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if path.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(BadTarget::Path);
        }
        let address = address.parse().map_err(|_| BadTarget::Address(address.to_owned()))?;
        Ok(Target { scheme, address, path: path.to_owned() })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.scheme {
            Scheme::Http => write!(formatter, "http://{}{}", self.address, self.path),
            Scheme::Tcp => write!(formatter, "tcp://{}", self.address),
        }
    }
}

fn http(text: &str) -> Result<Target, String> {
    only(text, Scheme::Http, "this needs http://")
}

fn tcp(text: &str) -> Result<Target, String> {
    only(text, Scheme::Tcp, "this needs tcp://")
}

fn only(text: &str, scheme: Scheme, otherwise: &str) -> Result<Target, String> {
    let target: Target = text.parse().map_err(|error: BadTarget| error.to_string())?;
    if target.scheme == scheme { Ok(target) } else { Err(otherwise.to_owned()) }
}

/// `100ms`, `5s`, `15m` or `1h`; more than nothing and at most an hour.
fn length(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    UNITS
        .iter()
        .find_map(|(unit, milliseconds)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(Duration::from_millis(number.checked_mul(*milliseconds)?))
        })
        .filter(|length| (Duration::from_millis(1)..=LONGEST).contains(length))
        .ok_or_else(|| "write it as 100ms, 5s, 15m or 1h; at most 1h".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn lengths() {
        for (text, milliseconds) in [("100ms", 100), ("5s", 5000), ("15m", 900_000), ("1h", 3_600_000)] {
            assert_eq!(length(text).unwrap(), Duration::from_millis(milliseconds));
        }
        for text in ["", "5", "0s", "-1s", "61m", "2h", "18446744073709551615m", "s"] {
            assert!(length(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets() {
        for text in ["http://10.0.0.1:80/a?b=c", "http://[fd00::1]:80/", "tcp://127.0.0.1:9000"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        assert_eq!("http://10.0.0.1:80".parse::<Target>().unwrap().path, "/");
        assert_eq!("https://10.0.0.1:80/".parse::<Target>(), Err(BadTarget::Scheme));
        assert_eq!("http://shop:80/".parse::<Target>(), Err(BadTarget::Address("shop:80".into())));
        assert_eq!("http://10.0.0.1:80/a\r\nb".parse::<Target>(), Err(BadTarget::Path));
        assert!(http("tcp://10.0.0.1:80").is_err());
        assert!(tcp("http://10.0.0.1:80").is_err());
    }

    #[test]
    fn everything_is_bounded() {
        let parse = |words: &str| Options::try_parse_from(words.split(' '));
        let options = parse("load run --target http://10.0.0.1:80/").unwrap();
        assert_eq!(options.duration, Duration::from_secs(900));
        assert!(parse("load run --target http://10.0.0.1:80/ --rate 1001").is_err());
        assert!(parse("load run --target http://10.0.0.1:80/ --keepalive 513").is_err());
        assert!(parse("load flood --target http://10.0.0.1:80/ --rate 1001").is_err());
        assert!(parse("load echo --target tcp://10.0.0.1:80 --duration 2h").is_err());
    }
}
