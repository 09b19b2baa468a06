//! The seam to the pods: what the controller itself sends to them. A simulation can stand in its place.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::probe::{self, Check, Failure, Query};

use super::reach;

/// Talks to pods.
pub trait Prober: Send + Sync + 'static {
    /// One attempt of a smoke probe.
    fn attempt<'a>(&'a self, check: &'a Check, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>>;
    /// Asks something once.
    fn ask<'a>(&'a self, query: &'a Query, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>>;
    /// Tells a pod that it is being left: an HTTP POST without a body.
    fn tell<'a>(&'a self, path: &'a str, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Over the network.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Prober for Network {
    fn attempt<'a>(&'a self, check: &'a Check, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        probe::attempt(check, address, timeout).boxed()
    }

    fn ask<'a>(&'a self, query: &'a Query, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        ask(query, timeout).boxed()
    }

    fn tell<'a>(&'a self, path: &'a str, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        probe::post(path, address, timeout).boxed()
    }
}

/// Looks the name up, each time anew, and asks there.
async fn ask(query: &Query, timeout: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    let unreachable = |why: &'static str| Failure::Unreachable { what: query.what(), why };
    let host = (query.endpoint.host.as_str(), query.endpoint.port);
    let found = match tokio::time::timeout(timeout, tokio::net::lookup_host(host)).await {
        Err(_) => return Err(unreachable("its name was not found in time")),
        Ok(Err(_)) => return Err(unreachable("its name is not known")),
        Ok(Ok(mut found)) => found.next(),
    };
    let address = found.ok_or_else(|| unreachable("its name has no address"))?;
    // Whoever answers for the name could lead the controller to its own machine, or to a cloud's credentials.
    if reach::special(address.ip()).is_some() {
        return Err(unreachable("its name leads to a loopback, link-local or multicast address, or to a cloud's metadata; nothing is sent there"));
    }
    probe::ask(query, address, timeout.saturating_sub(begun.elapsed())).await
}
