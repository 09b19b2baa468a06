//! Commands in containers of pods, by `pods/exec`.
//!
//! It is a WebSocket through the API server to the pod's kubelet, in the protocol `v4.channel.k8s.io`, in which the kubelet itself says how the command
//! ended. In `v5`, the only one that kube's own client takes, the API server says it, and takes a kubelet that was lost for success
//! (kubernetes/kubectl#1726). Kubernetes ends no process when the connection does: what is still running when its time is up goes on in its container.
//! Of what a command writes nothing is kept.

use std::time::Duration;

use futures::StreamExt;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper_util::rt::TokioIo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use kube::client::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::api::Exec;
use crate::probe::{Failure, component};

use super::prober::PodName;

/// The protocol, as the kubelet names it.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// First byte of a message that holds how the command ended.
const STATUS: u8 = 3;
/// Most bytes that a command may write, to keep a chatty one from going through API server and controller for as long as its timeout allows.
const MOST_BYTES: usize = 64 * 1024;
/// Most bytes of one message.
const MOST_OF_ONE: usize = 1024 * 1024;
const AWAY: &str = "the API server or the pod's kubelet could not be reached";

/// Runs a command once, and waits for its end. Exit code 0 is a pass. It has `timeout` to be begun, and again to end.
///
/// # Errors
/// A [`Failure`] that holds the program's name, the container's, and an exit code at most.
pub async fn run(client: Option<&Client>, pod: PodName<'_>, exec: &Exec, timeout: Duration) -> Result<(), Failure> {
    let what = what(exec);
    let Some(client) = client else { return Err(Failure::NotTried { what, why: "this operator may not run commands in pods" }) };
    // That the API server or the kubelet is slow says nothing about the command.
    let Ok(begun) = tokio::time::timeout(timeout, begin(client, pod, exec, &what)).await else {
        return Err(Failure::NotTried { what, why: AWAY });
    };
    match tokio::time::timeout(timeout, end(&what, begun?)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::NotEnded { what, after: timeout }),
    }
}

/// What it is called in sentences. Its arguments stay out: they are long, and may hold what is not for everybody.
fn what(exec: &Exec) -> String {
    format!("{} in container {}", exec.command.first().map(String::as_str).unwrap_or_default(), exec.container)
}

async fn begin(client: &Client, pod: PodName<'_>, exec: &Exec, what: &str) -> Result<WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, Failure> {
    let bad = |why| Failure::BadAnswer { what: what.to_owned(), why };
    let not_tried = |why| Failure::NotTried { what: what.to_owned(), why };
    let request = request(pod, exec).map_err(|_| bad("the command is too long to be sent; put it into the image"))?;
    let answer = client.send(request).await.map_err(|_| not_tried(AWAY))?;
    if let Some(failure) = refused(what, answer.status().as_u16()) {
        return Err(failure);
    }
    if answer.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|agreed| agreed != PROTOCOL) {
        return Err(not_tried("the kubelet does not speak v4.channel.k8s.io"));
    }
    let connection = hyper::upgrade::on(answer).await.map_err(|_| not_tried(AWAY))?;
    Ok(socket(TokioIo::new(connection), Role::Client).await)
}

async fn socket<S: AsyncRead + AsyncWrite + Unpin>(connection: S, role: Role) -> WebSocketStream<S> {
    let bounds = WebSocketConfig::default().max_message_size(Some(MOST_OF_ONE)).max_frame_size(Some(MOST_OF_ONE));
    WebSocketStream::from_raw_socket(connection, role, Some(bounds)).await
}

fn request(pod: PodName<'_>, exec: &Exec) -> Result<http::Request<Body>, http::Error> {
    let PodName { namespace, name } = pod;
    // One of the streams must be asked for; with both of them a command meets what it meets under a kubelet's probe.
    let mut uri = format!("/api/v1/namespaces/{namespace}/pods/{name}/exec?stdout=true&stderr=true&container={}", component(&exec.container));
    for word in &exec.command {
        uri.push_str("&command=");
        uri.push_str(&component(word));
    }
    http::Request::get(uri)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, generate_key())
        .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .body(Body::empty())
}

/// Why it was not even begun. Only what lies in the probe or in the pod counts against the revision.
fn refused(what: &str, code: u16) -> Option<Failure> {
    let what = what.to_owned();
    let why = match code {
        101 => return None,
        400 => {
            let why = "the API server took no command for that container; has the pod one of that name?";
            return Some(Failure::BadAnswer { what, why });
        }
        403 => "the API server refuses it; the right to pods/exec is missing, or a policy of the cluster forbids it",
        404 => "the pod is gone",
        _ => AWAY,
    };
    Some(Failure::NotTried { what, why })
}

/// Reads until the kubelet says how it ended.
async fn end<S: AsyncRead + AsyncWrite + Unpin>(what: &str, mut connection: WebSocketStream<S>) -> Result<(), Failure> {
    let mut written = 0;
    while let Some(Ok(message)) = connection.next().await {
        let Message::Binary(bytes) = message else { continue };
        match bytes.split_first() {
            Some((&STATUS, status)) => return judge(what, serde_json::from_slice(status).ok().as_ref()),
            Some((_, output)) => written += output.len(),
            None => {}
        }
        if written > MOST_BYTES {
            return Err(Failure::BadAnswer { what: what.to_owned(), why: "it wrote more than 64 KiB; send that elsewhere" });
        }
    }
    judge(what, None)
}

/// What the kubelet says: a Status, with the exit code among its causes.
fn judge(what: &str, status: Option<&Status>) -> Result<(), Failure> {
    let what = what.to_owned();
    let said = status.and_then(|status| status.status.as_deref());
    if said == Some("Success") {
        return Ok(());
    }
    let causes = status.iter().filter_map(|status| status.details.as_ref()).flat_map(|details| details.causes.iter().flatten());
    let code = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode")).find_map(|cause| cause.message.as_ref()?.parse().ok());
    match (said, code) {
        (Some("Failure"), Some(code)) => Err(Failure::Exit { what, code }),
        (Some("Failure"), None) => Err(Failure::BadAnswer { what, why: "it could not be started; is that program in the image, and executable?" }),
        _ => Err(Failure::NotTried { what, why: "the connection to the kubelet ended before the command did" }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use futures::SinkExt;
    use serde_json::{Value, json};

    use super::*;

    const NOT_STARTED: &str = "/app in container app: it could not be started; is that program in the image, and executable?";
    const LOST: &str = "/app in container app: could not try from here: the connection to the kubelet ended before the command did";

    /// What comes of these messages, after which the kubelet is gone.
    async fn of(messages: Vec<Message>) -> Result<(), String> {
        let (near, far) = tokio::io::duplex(2 * MOST_OF_ONE);
        let mut kubelet = socket(far, Role::Server).await;
        let said = async move {
            for message in messages {
                kubelet.send(message).await.ok();
            }
        };
        let ended = end("/app in container app", socket(near, Role::Client).await);
        let (ended, ()) = tokio::join!(ended, said);
        ended.map_err(|failure| failure.to_string())
    }

    fn status(status: &Value) -> Message {
        Message::binary([&[STATUS], status.to_string().as_bytes()].concat())
    }

    fn exit(code: &str) -> Value {
        json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": code}]}})
    }

    #[tokio::test]
    async fn the_exit_code_decides() {
        let success = || status(&json!({"status": "Success"}));
        assert_eq!(of(vec![success()]).await, Ok(()));
        let output = |bytes: usize| Message::binary([&[1], &vec![b'y'; bytes][..]].concat());
        assert_eq!(of(vec![output(100), Message::binary(vec![]), success()]).await, Ok(()));
        assert_eq!(of(vec![status(&exit("137"))]).await, Err("/app in container app: ended with exit code 137".into()));
        for other in [exit("many"), json!({"status": "Failure", "reason": "InternalError", "message": "secret"})] {
            assert_eq!(of(vec![status(&other)]).await, Err(NOT_STARTED.into()));
        }
        // What it writes is bounded.
        assert_eq!(of(vec![output(MOST_BYTES), success()]).await, Ok(()));
        let too_much = "/app in container app: it wrote more than 64 KiB; send that elsewhere";
        assert_eq!(of(vec![output(MOST_BYTES), output(1), success()]).await, Err(too_much.into()));
    }

    #[tokio::test]
    async fn a_kubelet_that_is_lost_is_no_pass_and_not_held_against_the_revision() {
        let broken = Message::binary([&[STATUS], &b"{\"status\": \"Succ"[..]].concat());
        for messages in [vec![], vec![Message::Close(None)], vec![Message::binary(vec![1, b'y'])], vec![broken], vec![status(&json!({}))]] {
            assert_eq!(of(messages).await, Err(LOST.into()));
        }
        for code in [200, 401, 403, 404, 429, 500, 502, 503] {
            assert!(refused("x", code).unwrap().undecided(), "{code}");
        }
        assert!(refused("x", 101).is_none() && !refused("x", 400).unwrap().undecided());
    }

    #[test]
    fn words_are_sent_as_they_are() {
        let exec = |word: &str| Exec { command: vec!["/app".into(), word.into()], container: "app".into() };
        let pod = PodName { namespace: "shop", name: "p" };
        let uri = request(pod, &exec("a&command=b c/\u{e9}")).unwrap().uri().to_string();
        let query = "stdout=true&stderr=true&container=app&command=%2Fapp&command=a%26command%3Db%20c%2F%C3%A9";
        assert_eq!(uri, format!("/api/v1/namespaces/shop/pods/p/exec?{query}"));
        assert!(request(pod, &exec(&"\u{e9}".repeat(40_000))).is_err());
    }

    #[tokio::test]
    async fn without_leave_nothing_is_run() {
        let exec = Exec { command: vec!["/app".into(), "--key=secret".into()], container: "app".into() };
        let failure = run(None, PodName { namespace: "shop", name: "p" }, &exec, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(failure.to_string(), "/app in container app: could not try from here: this operator may not run commands in pods");
    }
}
