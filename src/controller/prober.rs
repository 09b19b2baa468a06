//! The seam to the pods: what the controller itself sends to them. A simulation can stand in its place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::api::Exec;
use crate::probe::{self, Check, Failure, HttpCheck, Number, Question, SigningKey};

use super::exec;
use super::proxy;
use super::reach;

/// Talks to pods.
pub trait Prober: Send + Sync + 'static {
    /// One attempt of a smoke probe.
    fn attempt<'a>(&'a self, check: &'a Check, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>>;
    /// Asks something once.
    fn ask<'a>(&'a self, question: &'a Question, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>>;
    /// Reads a number that a pod tells of itself.
    fn read<'a>(&'a self, path: &'a str, number: &'a Number, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<f64, Failure>>;
    /// Runs a command in a pod, and waits for its end.
    fn run<'a>(&'a self, pod: PodName<'a>, exec: &'a Exec, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        // Only the network itself has a way to do that.
        exec::run(None, pod, exec, timeout).boxed()
    }
    /// One attempt of a smoke probe, which the API server passes on to the pod.
    fn through<'a>(&'a self, pod: PodName<'a>, check: &'a HttpCheck, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        // Only the network itself has a way to do that.
        proxy::attempt(None, pod, check, address, timeout).boxed()
    }
    /// Tells a pod that it is being left: an HTTP POST without a body.
    fn tell<'a>(&'a self, path: &'a str, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>>;
}

/// A pod by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodName<'a> {
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
}

/// Over the network.
#[derive(Clone, Default)]
pub struct Network {
    /// Where the key stands with which requests to webhooks are signed. It is read each time, so that it can be changed.
    pub key_file: Option<PathBuf>,
    /// The way to the API server, through which commands are run; without it none is.
    pub client: Option<kube::Client>,
    /// The same, by which the API server is asked to pass probes on to pods.
    pub proxy: Option<kube::Client>,
}

impl Network {
    /// The key, if there is to be one.
    ///
    /// # Errors
    /// Why it can't be used.
    pub async fn signing_key(&self) -> Result<Option<SigningKey>, String> {
        let Some(file) = &self.key_file else { return Ok(None) };
        let bytes = tokio::fs::read(file).await.map_err(|error| format!("{} can't be read: {error}", file.display()))?;
        SigningKey::new(&bytes).map(Some).map_err(|why| format!("{}: {why}", file.display()))
    }

    async fn ask_one(&self, question: &Question, timeout: Duration) -> Result<(), Failure> {
        // A query has no use for it.
        let key = match question {
            Question::Webhook(_) => self.signing_key().await.map_err(|error| {
                tracing::warn!("no webhook is called: {error}");
                Failure::NotTried { what: question.what(), why: "the key that it is to be signed with can't be read" }
            })?,
            Question::Query(_) => None,
        };
        ask(question, key.as_ref(), timeout).await
    }
}

impl Prober for Network {
    fn attempt<'a>(&'a self, check: &'a Check, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        probe::attempt(check, address, timeout).boxed()
    }

    fn ask<'a>(&'a self, question: &'a Question, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        self.ask_one(question, timeout).boxed()
    }

    fn read<'a>(&'a self, path: &'a str, number: &'a Number, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        probe::number(path, number, address, timeout).boxed()
    }

    fn run<'a>(&'a self, pod: PodName<'a>, exec: &'a Exec, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        exec::run(self.client.as_ref(), pod, exec, timeout).boxed()
    }

    fn through<'a>(&'a self, pod: PodName<'a>, check: &'a HttpCheck, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        proxy::attempt(self.proxy.as_ref(), pod, check, address, timeout).boxed()
    }

    fn tell<'a>(&'a self, path: &'a str, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        probe::post(path, address, timeout).boxed()
    }
}

/// Lookups at the same time. Each takes a thread until the name server answers or is given up, however long ago the attempt was over.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// Looks the name up, each time anew, and asks there.
async fn ask(question: &Question, key: Option<&SigningKey>, timeout: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    let host = (question.endpoint().host.clone(), question.endpoint().port);
    let lookup = tokio::spawn(async move {
        let _turn = LOOKUPS.acquire().await;
        tokio::net::lookup_host(host).await.map(|mut found| found.next())
    });
    // That a name can't be looked up from here says nothing about what is behind it.
    let not_tried = |why: &'static str| Failure::NotTried { what: question.what(), why };
    let address = match tokio::time::timeout(timeout, lookup).await {
        Ok(Ok(Ok(Some(address)))) => address,
        Ok(Ok(Ok(None) | Err(_)) | Err(_)) => return Err(not_tried("its name is not known")),
        Err(_) => return Err(not_tried("its name was not looked up in time")),
    };
    // Whoever answers for the name could lead the controller to its own machine, or to a cloud's credentials.
    if reach::special(address.ip()).is_some() {
        let why = "its name leads to a loopback, link-local or multicast address, or to a cloud's metadata; nothing is sent there";
        return Err(Failure::Unreachable { what: question.what(), why });
    }
    probe::ask(question, key, address, timeout.saturating_sub(begun.elapsed())).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::probe::{Empty, Endpoint, Query, Webhook};

    fn query(url: &str) -> Question {
        let endpoint = Endpoint::parse(url).unwrap();
        Question::Query(Query { endpoint, text: "1".into(), at_most: Some(1.0), at_least: None, no_data: Empty::Wait })
    }

    fn webhook(url: &str) -> Question {
        Question::Webhook(Webhook { endpoint: Endpoint::parse(url).unwrap(), body: "{}".into(), expect: crate::probe::Expect::default() })
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"] {
            let url = format!("http://{host}:{port}");
            for question in [query(&url), webhook(&url)] {
                let failure = Network::default().ask(&question, Duration::from_secs(20)).await.unwrap_err();
                assert!(failure.to_string().contains("nothing is sent there") && !failure.undecided(), "{host}: {failure}");
            }
        }
        let reached = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(reached.is_err(), "somebody was there");
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_says_nothing_about_the_revision() {
        let failure = Network::default().ask(&query("http://nobody.invalid:9090"), Duration::from_secs(20)).await.unwrap_err();
        assert!(failure.undecided(), "{failure}");
    }
}
