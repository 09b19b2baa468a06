#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[test]
fn a_signature_is_what_others_make_of_it() {
    let key = SigningKey::new(b"0123456789abcdef\n").unwrap();
    assert_eq!(key.sign(1_700_000_000, "{\"revision\":\"abc\"}"), EXPECTED);
    assert_eq!(format!("{key:?}"), "SigningKey");
    assert_eq!(SigningKey::new(b"short\n").unwrap_err(), "the key has 5 bytes, and needs at least 16");
}

/// `printf '1700000000.{"revision":"abc"}' | openssl dgst -sha256 -hmac 0123456789abcdef`
const EXPECTED: &str = "sha256=a3f1f2005b5a02cef7c96a0d40a24dcda7d8d2ef7cf5cee233b971bd64e6a0da";

#[test]
fn a_place_covers_what_is_below_it() {
    let covers = |place: &str, url: &str| Endpoint::parse(place).unwrap().covers(&Endpoint::parse(url).unwrap());
    for url in ["http://a/judge", "http://a/judge/", "http://a/judge/one", "http://A:80/judge"] {
        assert!(covers("http://a/judge", url) && covers("http://a", url), "{url}");
    }
    let others = [
        "http://a/judges",
        "http://a/",
        "http://a:81/judge",
        "https://a/judge",
        "http://b/judge",
        "http://a/judge/../-/quit",
        "http://a/judge/%2e%2e/x",
    ];
    for url in others {
        assert!(!covers("http://a/judge", url), "{url}");
    }
}

/// Answers once with a status, and tells what had come.
async fn answering(status: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let come = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = vec![];
        while !String::from_utf8_lossy(&all).ends_with('}') {
            let mut some = [0; 1024];
            let count = stream.read(&mut some).await.unwrap();
            assert!(count > 0, "{:?}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&some[..count]);
        }
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        String::from_utf8(all).unwrap()
    });
    (port, come)
}

async fn asked(status: &'static str, expect: Expect, key: Option<&SigningKey>) -> (Result<(), Failure>, String) {
    let (port, come) = answering(status).await;
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}/judge/")).unwrap();
    let webhook = Webhook { endpoint, body: "{\"revision\":\"abc\"}".into(), expect };
    let outcome = webhook.ask(key, SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(20)).await;
    (outcome, come.await.unwrap())
}

#[tokio::test]
async fn it_posts_what_it_is_about_with_a_signature_of_it() {
    let key = SigningKey::new(b"0123456789abcdef").unwrap();
    let (outcome, sent) = asked("200 OK", Expect::default(), Some(&key)).await;
    assert_eq!(outcome, Ok(()));
    assert!(sent.starts_with("POST /judge/ HTTP/1.1\r\n") && sent.contains("content-type: application/json\r\n"), "{sent}");
    let header = |name: &str| sent.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let timestamp: u64 = header("bluegreen-timestamp:").parse().unwrap();
    assert_eq!(header("bluegreen-signature:"), key.sign(timestamp, "{\"revision\":\"abc\"}"));
    let (_, unsigned) = asked("200 OK", Expect::default(), None).await;
    assert!(unsigned.contains("bluegreen-timestamp") && !unsigned.contains("bluegreen-signature"), "{unsigned}");
}

#[tokio::test]
async fn accepted_is_no_verdict_unless_it_was_asked_for() {
    let (outcome, _) = asked("202 Accepted", Expect::default(), None).await;
    let failure = outcome.unwrap_err();
    assert!(failure.undecided() && failure.to_string().ends_with(": answered 202, which is no verdict yet"), "{failure}");
    let (outcome, _) = asked("202 Accepted", Expect { status: vec![200, 202], ..Expect::default() }, None).await;
    assert_eq!(outcome, Ok(()));
    // Somebody who is led to a login page has got no word.
    let (outcome, _) = asked("302 Found", Expect::default(), None).await;
    assert!(outcome.unwrap_err().to_string().contains("a redirect, which is not followed; expected 200 to 299"));
    let (outcome, _) = asked("409 Conflict", Expect::default(), None).await;
    let failure = outcome.unwrap_err();
    assert!(!failure.undecided() && failure.to_string().contains("the webhook at 127.0.0.1:"), "{failure}");
}
