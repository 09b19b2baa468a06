//! The seam to the pods: what the controller itself sends to them. A simulation can stand in its place.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::probe::{self, Check, Failure};

/// Talks to pods.
pub trait Prober: Send + Sync + 'static {
    /// One attempt of a smoke probe.
    fn attempt<'a>(&'a self, check: &'a Check, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>>;
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

    fn tell<'a>(&'a self, path: &'a str, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        probe::post(path, address, timeout).boxed()
    }
}
