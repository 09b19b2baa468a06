//! What passes and what fails over HTTP, and what is sent.

use super::*;
use crate::probe::post;

#[tokio::test]
async fn any_status_from_200_to_399_passes_unless_the_spec_says_otherwise() {
    for (status, passes) in [(200, true), (204, true), (302, true), (399, true), (400, false), (404, false), (500, false)] {
        let (address, _) = answers(format!("HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(attempt(&get("/"), address, LONG).await.is_ok(), passes, "{status}");
    }
    let (address, _) = answers("HTTP/1.1 503 Word\r\nContent-Length: 0\r\n\r\n").await;
    attempt(&expecting("/", &[200, 503], None), address, LONG).await.unwrap();
}

#[tokio::test]
async fn a_wrong_status_is_told_without_the_answers_words() {
    let (address, _) = answers("HTTP/1.1 500 Secret\r\nContent-Length: 6\r\n\r\nsecret").await;
    let failure = fails(&expecting("/healthz?a=b", &[200, 204], None), address, LONG).await;
    let what = format!("GET /healthz?a=b on port {}", address.port());
    assert_eq!(failure, Failure::Status { what, got: 500, wanted: "200 or 204".to_owned() });
    assert_eq!(failure.reason(), "UnexpectedStatus");
    assert_eq!(sentence(&get("/healthz"), address).await, "GET /healthz on port P: answered 500, expected 200 to 399");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (elsewhere, mut requests) = answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let (address, _) = answers(format!("HTTP/1.1 307 Go\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n")).await;
    let text = sentence(&expecting("/old", &[200], None), address).await;
    assert_eq!(text, "GET /old on port P: answered 307, a redirect, which is not followed; expected 200: ask for the final path, or expect 307");
    attempt(&expecting("/old", &[307], None), address, LONG).await.unwrap();
    assert!(requests.try_recv().is_err(), "the redirect was followed");
    let (unchanged, _) = answers("HTTP/1.1 304 Same\r\n\r\n").await;
    assert_eq!(fails(&expecting("/", &[200], None), unchanged, LONG).await.reason(), "UnexpectedStatus");
}

#[tokio::test]
async fn the_body_is_searched_however_it_is_framed() {
    let framings = [
        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nthe shop: ön!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nthe sh\r\n7\r\nop: ön\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nthe shop: ön",
        "HTTP/1.0 200 OK\r\n\r\nthe shop: ön",
        "HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nshop: ö",
    ];
    for framing in framings {
        let (address, _) = answers(framing).await;
        attempt(&expecting("/", &[200], Some("shop: ö")), address, LONG).await.unwrap();
        attempt(&expecting("/", &[200], Some("")), address, LONG).await.unwrap();
        let text = sentence(&expecting("/", &[200], Some("Shop \"B\"")), address).await;
        assert_eq!(text, "GET / on port P: answered 200, but its body lacks \"Shop \\\"B\\\"\"", "{framing}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_neither_asked_for_nor_unpacked() {
    // "shop", packed by gzip.
    let packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x2b\xce\xc8\x2f\x00\x00\x3d\x1c\x0c\x8c\x04\x00\x00\x00";
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".to_vec();
    answer.extend_from_slice(packed);
    let (address, mut requests) = answers(answer).await;
    let failure = fails(&expecting("/", &[], Some("shop")), address, LONG).await;
    assert_eq!(failure.reason(), "BodyTextMissing");
    assert!(!requests.recv().await.unwrap().to_lowercase().contains("accept-encoding"));
}

#[tokio::test]
async fn what_is_sent() {
    let (address, mut requests) = answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    attempt(&get("health check?deep=1"), address, LONG).await.unwrap();
    let head = requests.recv().await.unwrap();
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /health%20check?deep=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {address}");
    assert_eq!(lines, ["accept: */*", "connection: close", &host, "user-agent: bluegreen-probe"]);

    let headers = vec![("X-Probe".to_owned(), "one".to_owned()), ("X-Probe".to_owned(), "two".to_owned())];
    let check = Check::Http(HttpCheck { host: "shop.example".to_owned(), path: "/".to_owned(), headers, ..HttpCheck::default() });
    attempt(&check, address, LONG).await.unwrap();
    let head = requests.recv().await.unwrap();
    assert!(head.contains("\r\nhost: shop.example\r\n"), "{head}");
    assert!(head.contains("\r\nx-probe: one\r\nx-probe: two\r\n"), "{head}");
}

#[tokio::test]
async fn a_switch_to_another_protocol_can_be_expected() {
    let (address, mut requests) = answers("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi").await;
    let Check::Http(http) = expecting("/socket", &[101], None) else { unreachable!() };
    let headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    let check = Check::Http(HttpCheck { headers, ..http });
    attempt(&check, address, LONG).await.unwrap();
    assert!(requests.recv().await.unwrap().contains("\r\nconnection: Upgrade\r\n"));
}

#[tokio::test]
async fn other_protocols_are_told_apart_from_wrong_answers() {
    let other = "the answer is not HTTP/1; does the port speak another protocol, or TLS?";
    for answer in ["220 mail.example ESMTP\r\n", "\x15\u{3}\u{1}\0\u{2}\u{2}\u{16}", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"] {
        let (address, _) = answers(answer).await;
        assert_eq!(sentence(&get("/"), address).await, format!("GET / on port P: {other}"), "{answer:?}");
    }
    let (address, _) = answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").await;
    assert_eq!(sentence(&get("/"), address).await, "GET / on port P: the answer's body breaks the rules of chunked encoding");
}

/// A server that reads a request with a body of this length, answers, and closes; and what it was sent.
async fn takes(length: usize, bytes: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<(String, String)>) {
    let (sent, requests) = mpsc::unbounded_channel();
    let address = listen(move |mut stream| {
        let sent = sent.clone();
        async move {
            let head = request(&mut stream).await;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            let _ = sent.send((head, String::from_utf8(body).unwrap()));
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    })
    .await;
    (address, requests)
}

fn posting(body: &str, headers: &[(&str, &str)]) -> Check {
    let headers = headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Check::Http(HttpCheck { method: Method::Post(body.to_owned()), path: "/orders?dry=1".to_owned(), headers, ..HttpCheck::default() })
}

#[tokio::test]
async fn a_post_sends_its_body_with_its_length_and_type() {
    const OK: &str = "HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n";
    let body = "{\"item\": \"öl\"}\r\n\r\nGET / HTTP/1.1\r\n";
    let (address, mut requests) = takes(body.len(), OK).await;
    attempt(&posting(body, &[]), address, LONG).await.unwrap();
    let (head, sent) = requests.recv().await.unwrap();
    assert_eq!(sent, body);
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /orders?dry=1 HTTP/1.1");
    lines.sort_unstable();
    let (host, length) = (format!("host: {address}"), format!("content-length: {}", body.len()));
    let all = ["accept: */*", "connection: close", &length, "content-type: application/json", &host, "user-agent: bluegreen-probe"];
    assert_eq!(lines, all);

    attempt(&posting(&"x".repeat(body.len()), &[("Content-Type", "text/plain")]), address, LONG).await.unwrap();
    let head = requests.recv().await.unwrap().0.to_ascii_lowercase();
    assert!(head.contains("\r\ncontent-type: text/plain\r\n") && !head.contains("json"), "{head}");

    let (address, mut requests) = takes(0, OK).await;
    attempt(&posting("", &[]), address, LONG).await.unwrap();
    let head = requests.recv().await.unwrap().0;
    assert!(head.contains("\r\ncontent-length: 0\r\n") && !head.contains("content-type"), "{head}");
}

#[tokio::test]
async fn the_answer_to_a_post_is_judged_like_any_other() {
    let (address, _) = takes(2, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(sentence(&posting("{}", &[]), address).await, "POST /orders?dry=1 on port P: answered 500, expected 200 to 399");
    let (elsewhere, mut requests) = answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let address = listen(move |mut stream| async move {
        request(&mut stream).await;
        stream.read_exact(&mut [0; 2]).await.unwrap();
        let answer = format!("HTTP/1.1 307 Go\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let Check::Http(http) = posting("{}", &[]) else { unreachable!() };
    let check = Check::Http(HttpCheck { expect: Expect { status: vec![200], ..Expect::default() }, ..http });
    assert_eq!(fails(&check, address, LONG).await.reason(), "UnexpectedRedirect");
    assert!(requests.try_recv().is_err(), "the redirect was followed");
    for header in ["Content-Length", "Transfer-Encoding"] {
        let text = sentence(&posting("{}", &[(header, "2")]), elsewhere).await;
        let name = header.to_ascii_lowercase();
        let why = format!("the probe itself can't be sent: the header \"{name}\" announces a body, which only the probe itself may do");
        assert_eq!(text, format!("POST /orders?dry=1 on port P: {why}"));
    }
    let (address, _) = answers("").await;
    let in_tls = over_tls(posting("{}", &[]));
    assert!(fails(&in_tls, address, LONG).await.to_string().starts_with("HTTPS POST /orders?dry=1 on port "));
}

#[tokio::test]
async fn telling_is_a_post_without_a_body_and_any_2xx_is_success() {
    let (address, mut requests) = answers("HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n").await;
    post("/drain", address, LONG).await.unwrap();
    let head = requests.recv().await.unwrap();
    assert!(head.starts_with("POST /drain HTTP/1.1\r\n"), "{head}");
    for header in ["content-length: 0", "connection: close", "user-agent: bluegreen-probe"] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
    }
    for (status, reason) in [(404, "UnexpectedStatus"), (302, "UnexpectedRedirect"), (500, "UnexpectedStatus")] {
        let (address, _) = answers(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")).await;
        let failure = post("/drain", address, LONG).await.unwrap_err();
        assert_eq!(failure.reason(), reason);
        let text = failure.to_string();
        assert!(text.starts_with(&format!("POST /drain on port {}: answered {status}", address.port())), "{text}");
        assert!(text.contains("expected 200 to 299"), "{text}");
    }
}

#[tokio::test]
async fn telling_does_not_wait_for_the_body() {
    let address = listen(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await.unwrap();
        // Held open until the other side is done with it.
        let _ = stream.read_u8().await;
    })
    .await;
    tokio::time::timeout(LONG, post("/drain", address, LONG + LONG)).await.expect("waited for the body").unwrap();
}
