//! Attempts against real listeners on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bounds;
mod connections;
mod expect;
mod grpc;
mod hostile;
mod http;
mod random;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Check, Expect, Failure, HttpCheck, Method, Scheme, attempt};

/// For attempts that must not run out of time, however busy the machine is.
const LONG: Duration = Duration::from_secs(20);

/// For attempts that must run out of time.
const SHORT: Duration = Duration::from_millis(300);

/// What a busy machine may add to a timeout before a test calls it exceeded.
const SLACK: Duration = Duration::from_secs(5);

/// A listener whose every connection is given to `talk`; it lives as long as the test's runtime.
async fn listen<F, T>(talk: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

/// The request up to the end of its headers, or to the end of what is sent.
async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that reads a request, answers with these bytes and closes; and the requests it was sent.
async fn answers(bytes: impl Into<Vec<u8>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let bytes = bytes.into();
    let (sent, requests) = mpsc::unbounded_channel();
    let address = listen(move |mut stream| {
        let (bytes, sent) = (bytes.clone(), sent.clone());
        async move {
            let _ = sent.send(request(&mut stream).await);
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (address, requests)
}

/// A GET of the path with the defaults of a spec.
fn get(path: &str) -> Check {
    expecting(path, &[], None)
}

fn expecting(path: &str, status: &[u16], body: Option<&str>) -> Check {
    checking(path, Expect { status: status.to_vec(), body_contains: body.map(str::to_owned), ..Expect::default() })
}

fn checking(path: &str, expect: Expect) -> Check {
    Check::Http(HttpCheck { path: path.to_owned(), expect, ..HttpCheck::default() })
}

/// The same in TLS.
fn over_tls(check: Check) -> Check {
    let Check::Http(http) = check else { unreachable!() };
    Check::Http(HttpCheck { scheme: Scheme::Https, ..http })
}

/// An attempt that must fail, and must not take longer than its timeout.
async fn fails(check: &Check, address: SocketAddr, timeout: Duration) -> Failure {
    let outcome = tokio::time::timeout(timeout + SLACK, attempt(check, address, timeout)).await;
    outcome.expect("longer than its timeout").expect_err("passed")
}

/// The sentence of an attempt that must fail, with the port left out as it differs from run to run.
async fn sentence(check: &Check, address: SocketAddr) -> String {
    fails(check, address, LONG).await.to_string().replace(&format!("port {}", address.port()), "port P")
}
