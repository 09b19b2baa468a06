//! What can be set from outside: flags, each an environment variable too, as pods set those.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// The app's settings.
#[derive(Clone, Debug, Parser)]
#[command(name = "app", version, about = "A sample app for blue-green releases")]
pub struct Config {
    /// What the app is called in its answers.
    #[arg(long, env = "APP_NAME", default_value = "shop")]
    pub name: String,
    /// The version it says it is.
    #[arg(id = "app-version", long = "app-version", env = "APP_VERSION", default_value = "v0")]
    pub version: String,
    /// The pod it says it is [default: the host name].
    #[arg(long, env = "POD_NAME")]
    pub pod: Option<String>,
    /// The address all ports listen on; `::` takes IPv4 too.
    #[arg(long, env = "APP_LISTEN", default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    pub listen: IpAddr,
    /// Port of the public HTTP server; 0 takes any free one.
    #[arg(long, env = "APP_HTTP_PORT", default_value_t = 8080)]
    pub http_port: u16,
    /// Port of the gRPC health service.
    #[arg(long, env = "APP_GRPC_PORT", default_value_t = 9090)]
    pub grpc_port: u16,
    /// Port of the line echo.
    #[arg(long, env = "APP_ECHO_PORT", default_value_t = 9000)]
    pub echo_port: u16,
    /// Port of the websockets.
    #[arg(long, env = "APP_WEBSOCKET_PORT", default_value_t = 9001)]
    pub websocket_port: u16,
    /// Port of the admin server.
    #[arg(long, env = "APP_ADMIN_PORT", default_value_t = 8081)]
    pub admin_port: u16,
    /// What fails from the start, separated by commas.
    #[arg(long, env = "APP_FAIL", value_enum, value_delimiter = ',')]
    pub fail: Vec<Fault>,
    /// How long `/` takes while `slow` is on, in milliseconds.
    #[arg(long, env = "APP_SLOW_MS", default_value_t = 5000)]
    pub slow_ms: u64,
    /// Seconds after the start before `/readyz` says yes.
    #[arg(long, env = "APP_READY_AFTER", default_value_t = 0)]
    pub ready_after: u64,
    /// Once told to drain: how long a connection may be silent before it is closed, in milliseconds. Busy clients learn of
    /// the end from `Connection: close` before that, so that none of them sends into a closing connection.
    #[arg(long, env = "APP_DRAIN_IDLE_MS", default_value_t = 2000)]
    pub drain_idle_ms: u64,
    /// A file that tells it to drain once it holds anything, such as a label in a downward API volume.
    #[arg(long, env = "APP_DRAIN_FILE")]
    pub drain_file: Option<PathBuf>,
    /// Do nothing but send SIGUSR1 to process 1, which drains by it: a command in a container of an image that has no `kill`.
    #[arg(long)]
    pub signal_drain: bool,
    /// The key with which requests to `POST /judge` of the admin port must be signed; without it none is taken.
    #[arg(long, env = "APP_WEBHOOK_KEY")]
    pub webhook_key: Option<String>,
    /// Size of each connection's send buffer in bytes (the kernel takes twice as much, at most twice net.core.wmem_max)
    /// [default: the kernel's own]. A large one lets `/bytes` close with much of the answer still unsent.
    #[arg(long, env = "APP_SEND_BUFFER")]
    pub send_buffer: Option<u32>,
}

/// A way to fail on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// `/readyz` answers 503.
    Ready,
    /// `/` answers 500, without the app's name.
    Home,
    /// `/` answers late.
    Slow,
    /// gRPC health says `NOT_SERVING`.
    Grpc,
}
