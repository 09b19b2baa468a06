//! The gRPC health service (`grpc.health.v1.Health`), as probes and gRPC clients use it.
//!
//! When the app is told to drain, all connections get a GOAWAY and end with their calls; new ones are still served.

use std::{io, sync::Arc};

use futures::{Stream, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::health_reporter};

use crate::state::Told;

/// The names the service answers for: the server as a whole, and the app.
pub const SERVICES: [&str; 2] = ["", "app"];

/// Serves gRPC on the listener, for ever.
pub async fn serve(listener: TcpListener, mut told: watch::Receiver<Told>) {
    let (reporter, health) = health_reporter();
    let listener = Arc::new(listener);
    let mut servers = JoinSet::new();
    let mut before = None;
    loop {
        let now = *told.borrow_and_update();
        let status = if now.grpc { ServingStatus::NotServing } else { ServingStatus::Serving };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        // One server until the order to drain and one after it, on the same listener: a server ends its connections with a
        // GOAWAY only when it ends itself.
        let drains = now.drain > 0;
        if before != Some(drains) {
            before = Some(drains);
            let mut signal = told.clone();
            let ended = async move {
                if drains || signal.wait_for(|told| told.drain > 0).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            servers.spawn(Server::builder().serve_with_incoming_shutdown(health.clone(), accept(listener.clone()), ended));
        }
        if told.changed().await.is_err() {
            return;
        }
    }
}

fn accept(listener: Arc<TcpListener>) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    })
}
