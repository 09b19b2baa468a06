#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::drain_agent::fixture::wait_for;
use crate::serve::tests::tells_only;

async fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn healthy_while_the_loop_turns() {
    let pulse = Pulse::new(Instant::now());
    let limit = Duration::from_secs(3600);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(crate::serve::serve(listener, routes(pulse.clone(), limit)));
    assert_eq!(get(address).await, "HTTP/1.1 200 OK");
    server.abort();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let short = Duration::from_millis(1);
    let server = tokio::spawn(crate::serve::serve(listener, routes(pulse.clone(), short)));
    wait_for("the pulse to stop", || (!pulse.is_alive(short)).then_some(()));
    assert_eq!(get(address).await, "HTTP/1.1 503 Service Unavailable");
    server.abort();

    pulse.beat();
    assert!(pulse.is_alive(limit));
}

#[tokio::test]
async fn whether_it_turns_and_nothing_else() {
    let pulse = Pulse::new(Instant::now());
    tells_only(routes(pulse, Duration::from_secs(3600)), &[("/healthz", "ok\n")]).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(address, Pulse::new(Instant::now())).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
