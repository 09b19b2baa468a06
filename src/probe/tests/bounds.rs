//! Answers that are slow, endless, huge or broken off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A server that sends `start`, then `again` for ever (or until the other side is gone); and how many bytes it sent.
async fn endless(start: &'static str, again: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let address = listen(move |mut stream| {
        let (again, count) = (again.clone(), counted.clone());
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(start.as_bytes()).await;
            while stream.write_all(&again).await.is_ok() {
                count.fetch_add(again.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    (address, count)
}

/// A server that sends `start` and then holds the connection until the other side closes it.
async fn stalls(start: &'static str) -> SocketAddr {
    listen(move |mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(start.as_bytes()).await;
        let _ = stream.read_u8().await;
    })
    .await
}

#[tokio::test]
async fn servers_that_stall_are_left_in_time() {
    for start in ["", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "HTTP/1.1 100 Go\r\n\r\n"] {
        let address = stalls(start).await;
        let failure = fails(&get("/slow"), address, SHORT).await;
        let what = format!("GET /slow on port {}", address.port());
        assert_eq!(failure, Failure::NoAnswer { what, after: SHORT }, "{start:?}");
        assert!(failure.to_string().ends_with(": connected, but no answer within 300ms"), "{failure}");
        assert_eq!(failure.reason(), "NoAnswer");
    }
    for start in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshop",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsh",
        "HTTP/1.1 200 OK\r\n\r\nshop",
    ] {
        let address = stalls(start).await;
        let failure = fails(&get("/slow"), address, SHORT).await;
        assert_eq!(failure.reason(), "BodyTimeout", "{start:?}");
        assert!(failure.to_string().ends_with(": answered 200, but its body did not end within 300ms"), "{failure}");
    }
}

#[tokio::test]
async fn a_status_that_fails_is_told_without_waiting_for_the_body() {
    let address = stalls("HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(fails(&get("/"), address, LONG).await.reason(), "UnexpectedStatus");
}

#[tokio::test]
async fn bodies_that_drip_are_left_in_time() {
    // Each byte comes soon after the one before: only a deadline for the whole ends this.
    let address = listen(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
    })
    .await;
    assert_eq!(fails(&get("/"), address, SHORT).await.reason(), "BodyTimeout");
}

#[tokio::test]
async fn endless_bodies_are_read_to_their_bound() {
    let line = "all is well\n".repeat(1000).into_bytes();
    let starts = ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551613\r\n\r\n"];
    for start in starts {
        let (address, count) = endless(start, line.clone()).await;
        attempt(&expecting("/", &[200], Some("all is well")), address, LONG).await.unwrap();
        let text = sentence(&expecting("/", &[200], Some("absent")), address).await;
        assert_eq!(text, "GET / on port P: answered 200, but the first 64 KiB of its body lacks \"absent\"");
        // Two attempts, and what two pairs of socket buffers take.
        let sent = count.load(Ordering::Relaxed);
        assert!(sent < 64 << 20, "{sent} bytes");
    }
}

#[tokio::test]
async fn text_behind_the_bound_is_not_found() {
    let at = |before: usize| {
        let length = before + 4;
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}shop", " ".repeat(before))
    };
    let (address, _) = answers(at(64 * 1024 - 4)).await;
    attempt(&expecting("/", &[], Some("shop")), address, LONG).await.unwrap();
    let (address, _) = answers(at(64 * 1024 - 3)).await;
    assert_eq!(fails(&expecting("/", &[], Some("shop")), address, LONG).await.reason(), "BodyTextMissing");
}

#[tokio::test]
async fn endless_heads_are_refused() {
    let too_much = "the answer's head has more than 64 KiB, more than 256 headers, or an impossible length";
    let many = b"X-Header: value\r\n".repeat(100);
    let cases = [("HTTP/1.1 200 OK\r\n", many), ("HTTP/1.1 200 OK\r\nX: ", vec![b'x'; 4096]), ("HTTP/1.1 200 ", vec![b'x'; 4096])];
    for (start, again) in cases {
        let (address, _) = endless(start, again).await;
        assert_eq!(sentence(&get("/"), address).await, format!("GET / on port P: {too_much}"), "{start:?}");
    }
    let (address, _) = answers("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n").await;
    assert_eq!(sentence(&get("/"), address).await, format!("GET / on port P: {too_much}"));
    for (length, passes) in [(60 * 1024, true), (70 * 1024, false)] {
        let long = "x".repeat(length);
        let (address, _) = answers(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {long}\r\n\r\n")).await;
        assert_eq!(attempt(&get("/"), address, LONG).await.is_ok(), passes);
    }
    let headers = "X: y\r\n".repeat(250);
    let (address, _) = answers(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{headers}\r\n")).await;
    attempt(&get("/"), address, LONG).await.unwrap();
}

#[tokio::test]
async fn endless_interim_answers_are_left_in_time() {
    let (address, _) = endless("", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)).await;
    assert_eq!(fails(&get("/"), address, SHORT).await.reason(), "NoAnswer");
}

#[tokio::test]
async fn connections_closed_or_reset_half_way_are_failures() {
    let starts = [
        "",
        "HTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshop",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nshop\r\n",
    ];
    for start in starts {
        let (address, _) = answers(start).await;
        let text = sentence(&get("/"), address).await;
        assert_eq!(text, "GET / on port P: the connection was closed before the answer was complete", "{start:?}");
        let address = listen(move |mut stream| async move {
            request(&mut stream).await;
            let _ = stream.write_all(start.as_bytes()).await;
            // Closing with a linger of zero is how a socket sends RST.
            stream.set_zero_linger().unwrap();
        })
        .await;
        let text = sentence(&get("/"), address).await;
        assert_eq!(text, "GET / on port P: the connection was reset before the answer was complete", "{start:?}");
    }
}

#[tokio::test]
async fn closing_before_the_request_is_a_failure() {
    let address = listen(|stream| async move { stream.set_zero_linger().unwrap() }).await;
    assert_eq!(fails(&get("/"), address, LONG).await.reason(), "ConnectionBroken");
}
