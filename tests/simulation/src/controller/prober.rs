//! The way to the pods: a smoke probe, or the word that a pod is being left, reaches whatever has the address at that moment.

use std::net::SocketAddr;
use std::sync::{Mutex, Weak};
use std::time::Duration;

use bluegreen::controller::prober::Prober;
use bluegreen::probe::{Check, Failure, Number, Question};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::api::gate;
use crate::sim::{Sim, lock};

/// The network between a process and the pods.
pub struct SimProber {
    sim: Weak<Mutex<Sim>>,
    process: usize,
}

impl SimProber {
    /// For a process.
    pub fn new(sim: Weak<Mutex<Sim>>, process: usize) -> Self {
        Self { sim, process }
    }

    async fn reach(&self, path: &str, address: SocketAddr, timeout: Duration, smoke: bool) -> Result<(), Failure> {
        gate(&self.sim, self.process).await;
        let what = || format!("GET {path} on port {}", address.port());
        let Some(wait) = self.sim.upgrade().map(|sim| lock(&sim).random.millis(2, 120)) else { return std::future::pending().await };
        tokio::time::sleep(wait).await;
        let answer = match self.sim.upgrade() {
            Some(sim) if smoke => lock(&sim).smoked(self.process, path, address),
            Some(sim) => lock(&sim).told(address),
            None => return std::future::pending().await,
        };
        let outcome = match answer {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::ConnectionRefused { what: what() }),
            None => {
                tokio::time::sleep(timeout.saturating_sub(wait)).await;
                Err(Failure::ConnectTimeout { what: what(), after: timeout })
            }
        };
        gate(&self.sim, self.process).await;
        outcome
    }

    async fn number(&self, path: &str, address: SocketAddr, timeout: Duration) -> Result<f64, Failure> {
        gate(&self.sim, self.process).await;
        let Some(wait) = self.sim.upgrade().map(|sim| lock(&sim).random.millis(2, 120)) else { return std::future::pending().await };
        tokio::time::sleep(wait).await;
        let Some((taken, answer)) = self.sim.upgrade().map(|sim| {
            let mut sim = lock(&sim);
            (sim.now(), sim.number(address))
        }) else {
            return std::future::pending().await;
        };
        let number = answer.as_ref().and_then(|(_, number)| *number);
        if number.is_none() {
            tokio::time::sleep(timeout.saturating_sub(wait)).await;
        }
        gate(&self.sim, self.process).await;
        if let (Some(sim), Some((pod, _))) = (self.sim.upgrade(), answer) {
            lock(&sim).number_read(self.process, &pod, number.map(|number| (taken, number)));
        }
        let what = format!("GET {path} on port {}", address.port());
        #[allow(clippy::cast_precision_loss, reason = "a few connections")]
        number.map(|number| number as f64).ok_or(Failure::ConnectTimeout { what, after: timeout })
    }
}

impl Prober for SimProber {
    fn attempt<'a>(&'a self, check: &'a Check, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        let path = match check {
            Check::Http(http) => http.path.as_str(),
            _ => "",
        };
        self.reach(path, address, timeout, true).boxed()
    }

    fn ask<'a>(&'a self, query: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        // No object of a run has one.
        let what = query.what();
        async move { Err(Failure::ConnectionRefused { what }) }.boxed()
    }

    fn read<'a>(&'a self, path: &'a str, _: &'a Number, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        self.number(path, address, timeout).boxed()
    }

    fn tell<'a>(&'a self, path: &'a str, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        self.reach(path, address, timeout, false).boxed()
    }
}
