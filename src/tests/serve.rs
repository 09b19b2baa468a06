//! Clients that mean no good, on real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;

use axum::routing::get;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(20);
const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

async fn start(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(within(limits, listener, Router::new().route("/healthz", get(|| async { "ok\n" }))));
    address
}

/// Endpoints that anybody may ask tell `known`, path by path, and nothing else, whatever is asked for.
pub(crate) async fn tells_only(router: Router, known: &[(&str, &str)]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router));
    let ask = async |method: &str, path: &str| {
        let answer = say(address, format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("it is left open");
        let (head, body) = answer.split_once("\r\n\r\n").expect("no answer");
        (head.to_ascii_lowercase(), body.to_owned())
    };
    for (path, body) in known {
        let (head, said) = ask("GET", path).await;
        assert_eq!(said, *body, "{path}");
        // No word about who answers, in which version.
        for line in head.lines().skip(1) {
            let name = line.split(':').next().unwrap_or_default();
            assert!(["content-type", "content-length", "connection", "date"].contains(&name), "{path}: {line}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"] {
            let (head, said) = ask(method, path).await;
            assert!(
                head.starts_with("http/1.1 405") || head.starts_with("http/1.1 404") || head.starts_with("http/1.1 400"),
                "{method} {path}: {head}"
            );
            assert_eq!(said, "", "{method} {path}");
        }
    }
    let first = known[0].0;
    let others = [
        "/",
        "/metrics",
        "/debug/pprof/",
        "/debug/vars",
        "/config",
        "/version",
        "/livez",
        "//healthz",
        "/..",
        "/%2e%2e/healthz",
        "/static/../../etc/passwd",
    ];
    let spelt = [format!("{first}/"), format!("{first}/x"), format!("{first}%00"), first.to_uppercase(), format!("/x{first}")];
    for path in others.iter().map(|path| (*path).to_owned()).chain(spelt) {
        let (head, said) = ask("GET", &path).await;
        assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
        assert_eq!(said, "", "{path}");
    }
}

/// What comes back until the other side closes; None if it does not.
async fn say(address: SocketAddr, words: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be refused half way.
    let _ = stream.write_all(words).await;
    let mut answer = vec![];
    timeout(LONG, stream.read_to_end(&mut answer)).await.ok().map(|_| String::from_utf8_lossy(&answer).into_owned())
}

async fn healthy(address: SocketAddr) {
    let answer = say(address, QUESTION).await.expect("the connection stays open after its answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer:?}");
}

#[tokio::test]
async fn clients_that_never_finish_keep_nobody_out_and_are_few() {
    let limits = Limits { connections: 16, time: LONG };
    let address = start(limits).await;
    let mut slow = vec![];
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nX: ").await.unwrap();
        slow.push(stream);
    }
    healthy(address).await;
    // All but the last few have been let go: with an end, or a reset.
    for stream in slow.iter_mut().take(200 - limits.connections) {
        let ended = timeout(LONG, stream.read_u8()).await.expect("one of the first is still held");
        assert!(ended.is_err());
    }
    healthy(address).await;
}

#[tokio::test]
async fn a_client_that_drips_is_left_in_time() {
    let address = start(Limits { connections: 16, time: Duration::from_millis(300) }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    // Each byte comes soon after the one before: only a deadline for the whole ends this.
    for byte in b"GET /healthz HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        assert!(begun.elapsed() < LONG, "it may go on for ever");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert_eq!(timeout(LONG, idle.read(&mut [0])).await.expect("one that says nothing is held").unwrap_or(0), 0);
    healthy(address).await;
}

#[tokio::test]
async fn what_is_too_long_is_not_read() {
    let address = start(Limits { connections: 16, time: LONG }).await;
    for head in [format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)), format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(10_000))]
    {
        let answer = say(address, head.as_bytes()).await.expect("it waits for more");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    // A body that nobody asked for: the answer comes without it, and it goes nowhere.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n").await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let flood = async {
        let mut sent = 0;
        while writer.write_all(&[0; 4096]).await.is_ok() {
            sent += 4096;
            assert!(sent < 256 << 20, "all of it is read");
        }
    };
    let answer = async {
        let mut answer = [0; 15];
        reader.read_exact(&mut answer).await.map(|_| answer)
    };
    let ((), answer) = timeout(LONG, async { tokio::join!(flood, answer) }).await.expect("it goes on reading");
    if let Ok(answer) = answer {
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    healthy(address).await;
}

#[tokio::test]
async fn one_request_a_connection_and_no_other_protocol() {
    let address = start(Limits { connections: 16, time: LONG }).await;
    let twice = say(address, &[QUESTION, QUESTION].concat()).await.unwrap();
    assert_eq!(twice.matches("HTTP/1.1 ").count(), 1, "{twice:?}");
    let preface = say(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    assert!(!preface.starts_with("HTTP/1.1 2"), "{preface:?}");
    let upgrade = say(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n").await.unwrap();
    assert!(upgrade.starts_with("HTTP/1.1 200 OK"), "{upgrade:?}");
    let tls = say(address, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03").await.unwrap();
    assert!(!tls.starts_with("HTTP/1.1 2"), "{tls:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered_or_left(
        pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            prop::sample::select(vec![
                "GET /healthz HTTP/1.1\r\n", "POST /healthz HTTP/1.0\r\n", "Host: x\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
                "Expect: 100-continue\r\n", "\r\n", "ffffffffffffffff\r\n", "0\r\n\r\n", "Content-Length: 99999999999999999999\r\n",
            ]).prop_map(|text| text.as_bytes().to_vec()),
        ], 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address = start(Limits { connections: 16, time: Duration::from_millis(20) }).await;
            let answer = say(address, &pieces.concat()).await;
            let Some(answer) = answer else { panic!("it is neither answered nor left") };
            prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{:?}", answer);
            healthy(address).await;
            Ok(())
        })?;
    }
}
