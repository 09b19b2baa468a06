//! Probes that the API server passes on to a pod, for networks that keep this process from pods.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, timeout_at};

use crate::probe::{Failure, HttpCheck, Proxied, beginning};

use super::prober::PodName;

const AWAY: &str = "the API server could not be reached";
/// How long it may take to get a connection to the API server.
const CONNECT: Duration = Duration::from_millis(900);
/// How long an API server has to show that it is there.
const ALIVE: Duration = Duration::from_secs(3);

/// A client that sends each request once. kube's own would send one again that a pod has answered with 503.
///
/// # Errors
/// As with kube's own.
pub async fn client() -> kube::Result<Client> {
    let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.default_retry = false;
    // Shorter than any attempt: what takes longer is on the way to the API server, and not behind it.
    config.connect_timeout = Some(CONNECT);
    Client::try_from(config)
}

/// One attempt.
///
/// # Errors
/// A [`Failure`] as of a direct attempt; [`Failure::NotTried`] where it says nothing about the pod.
pub async fn attempt(client: Option<&Client>, pod: PodName<'_>, check: &HttpCheck, address: SocketAddr, timeout: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    let (proxied, request) = Proxied::new(check, pod.namespace, pod.name, address)?;
    let Some(client) = client else { return Err(proxied.not_tried("this operator may not send anything through the API server")) };
    let end = begun + timeout;
    let what = || proxied.what.clone();
    let broken = || Failure::Broken { what: what(), how: "closed" };
    let answer = match timeout_at(end, client.send(request.map(Body::from))).await {
        Ok(Ok(answer)) => answer,
        // Where a pod breaks off soon after the head of its answer, the API server ends its own without having sent any of it.
        Ok(Err(error)) if on_the_way(&error) => return Err(proxied.not_tried(AWAY)),
        Ok(Err(_)) => return Err(told_apart(client, &proxied, broken()).await),
        Err(_) => return Err(told_apart(client, &proxied, Failure::SilentThrough { what: what(), after: timeout }).await),
    };
    let (head, body) = answer.into_parts();
    let got = head.status.as_u16();
    match timeout_at(end, beginning(body)).await {
        Ok(Ok(body)) => proxied.judge(head.status, &head.headers, &body, begun.elapsed()),
        Ok(Err(_)) => Err(told_apart(client, &proxied, broken()).await),
        Err(_) => Err(told_apart(client, &proxied, Failure::BodyTimeout { what: what(), got, after: timeout }).await),
    }
}

/// Whether there was no connection to the API server, so that it can't have asked the pod. Another one of several may answer the next request.
fn on_the_way(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(
            kind,
            // The last one is what a handshake of TLS ends with.
            Some(
                ErrorKind::ConnectionRefused
                    | ErrorKind::TimedOut
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::InvalidData
            )
        ) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Silence may be the pod's or the API server's. One that answers for itself has waited for the pod.
async fn told_apart(client: &Client, proxied: &Proxied<'_>, failure: Failure) -> Failure {
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = http::Uri::from_static("/version");
    match tokio::time::timeout(ALIVE, client.send(request)).await {
        Ok(Ok(answer)) if answer.status().is_success() => failure,
        _ => proxied.not_tried(AWAY),
    }
}

#[cfg(test)]
#[path = "tests/proxy.rs"]
mod tests;
