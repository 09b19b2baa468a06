//! The sample app of the end-to-end tests, the demo and the benchmarks: a small server that stands for a user's app.
//!
//! It does what many apps do, also what they do badly: on SIGTERM it exits at once and cuts every connection it has.
//! Whatever survives a release therefore survives because the operator waited, not because the app was polite.
//!
//! | port (flag, variable) | what answers |
//! |---|---|
//! | 8080 (`--http-port`, `APP_HTTP_PORT`) | HTTP/1.1: `/`, `/stream`, `/upload`, `/slow`, `/bytes`, `/healthz`, `/readyz` ([`http`]) |
//! | 9090 (`--grpc-port`, `APP_GRPC_PORT`) | `grpc.health.v1.Health` for the services `` and `app` ([`grpc`]) |
//! | 9000 (`--echo-port`, `APP_ECHO_PORT`) | a line echo in place of a websocket ([`echo`]) |
//! | 9001 (`--websocket-port`, `APP_WEBSOCKET_PORT`) | websockets that answer each text ([`websocket`]) |
//! | 8081 (`--admin-port`, `APP_ADMIN_PORT`) | `POST /drain`, `GET /drain`, `POST /fail`, `GET /fail`, `POST /sessions`, `GET /metrics` ([`admin`]) |
//!
//! Who answers is in every answer: `APP_NAME` (default `shop`), `APP_VERSION` (default `v0`) and `POD_NAME` (default: the
//! host name), in the headers `x-version` and `x-pod` and in the bodies.
//!
//! It can be made to fail, from the start (`APP_FAIL=ready,home,slow,grpc`) or later (`POST /fail?what=home&on=true`),
//! see [`config::Fault`]. `APP_READY_AFTER` (seconds) delays readiness, `APP_SLOW_MS` is how slow slow is.
//!
//! An image needs nothing but the binary: no shell, no file, no user database.

pub mod admin;
pub mod config;
pub mod connection;
pub mod echo;
pub mod grpc;
pub mod http;
pub mod state;
pub mod websocket;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::{config::Config, state::State};

/// Why the app did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be opened.
    #[error("cannot listen on {address}: {source}; free the port or choose another with --{flag}")]
    Listen {
        /// What was to be opened.
        address: SocketAddr,
        /// The flag that chooses the port.
        flag: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The running app. Dropping it cuts its HTTP and echo connections, as the end of the process would.
#[derive(Debug)]
pub struct App {
    /// Where the public HTTP port listens.
    pub http: SocketAddr,
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where the echo listens.
    pub echo: SocketAddr,
    /// Where websockets are served.
    pub websocket: SocketAddr,
    /// Where the admin port listens.
    pub admin: SocketAddr,
    servers: JoinSet<()>,
}

impl App {
    /// Opens the five ports and serves them in the background until the value is dropped.
    ///
    /// # Errors
    /// If one of the ports can't be opened.
    pub async fn start(config: &Config) -> Result<App, StartError> {
        let (http, http_address) = listen(config, config.http_port, "http-port")?;
        let (grpc, grpc_address) = listen(config, config.grpc_port, "grpc-port")?;
        let (echo, echo_address) = listen(config, config.echo_port, "echo-port")?;
        let (websocket, websocket_address) = listen(config, config.websocket_port, "websocket-port")?;
        let (admin, admin_address) = listen(config, config.admin_port, "admin-port")?;
        let state = Arc::new(State::new(config));
        let mut servers = JoinSet::new();
        let draining = Some((state.watch(), state.drain_idle));
        servers.spawn(connection::serve(http, http::router(state.clone()), draining));
        servers.spawn(connection::serve(admin, admin::router(state.clone()), None));
        servers.spawn(grpc::serve(grpc, state.watch()));
        servers.spawn(websocket::serve(websocket, state.clone()));
        servers.spawn(echo::serve(echo, state.clone()));
        if let Some(file) = config.drain_file.clone() {
            servers.spawn(drain_by(file, state.clone()));
        }
        servers.spawn(drain_by_signal(state));
        Ok(App { http: http_address, grpc: grpc_address, echo: echo_address, websocket: websocket_address, admin: admin_address, servers })
    }

    /// Serves for ever; for the binary, which ends by a signal.
    pub async fn run(mut self) {
        while self.servers.join_next().await.is_some() {}
    }
}

/// Drains when a file holds something.
async fn drain_by(file: PathBuf, state: Arc<State>) {
    while std::fs::read(&file).unwrap_or_default().is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    state.drain();
}

/// Drains when SIGUSR1 comes.
async fn drain_by_signal(state: Arc<State>) {
    let Ok(mut signals) = signal(SignalKind::user_defined1()) else { return };
    while signals.recv().await.is_some() {
        state.drain();
    }
}

/// A listening socket, and its address (the port may have been 0: any free one).
fn listen(config: &Config, port: u16, flag: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = SocketAddr::new(config.listen, port);
    let opened = open(address, config.send_buffer).or_else(|error| {
        // `::` takes IPv4 too; where the kernel has no IPv6 at all, IPv4 is what is left of it.
        if config.listen.is_unspecified() && config.listen.is_ipv6() && is_no_ipv6(&error) {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
            return open(v4, config.send_buffer);
        }
        Err(error)
    });
    opened
        .and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        })
        .map_err(|source| StartError::Listen { address, flag, source })
}

fn open(address: SocketAddr, send_buffer: Option<u32>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = send_buffer {
        // Accepted sockets inherit it.
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(1024)
}

/// EAFNOSUPPORT (no IPv6 in the kernel) or EADDRNOTAVAIL (switched off by sysctl): errno(3).
fn is_no_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    const EADDRNOTAVAIL: i32 = 99;
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}
