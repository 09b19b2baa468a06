//! What the public HTTP port and the admin port answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, ask, ask_until, connect, read_to_end, read_until, send, start};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn home_says_who_answers_and_keeps_the_connection() {
    let app = start(&[]).await;
    let mut stream = connect(app.http).await;
    for _ in 0..3 {
        send(&mut stream, "GET /").await;
        let answer = read_until(&mut stream, "}\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("x-version: v1\r\n"), "{answer}");
        assert!(answer.contains("x-pod: pod-1\r\n"), "{answer}");
        assert!(answer.contains(r#"{"app":"shop","pod":"pod-1","version":"v1"}"#), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_stream_is_slow_and_ends_with_its_count() {
    let app = start(&[]).await;
    let begun = Instant::now();
    let answer = ask(app.http, "GET /stream?seconds=0.3&every=100ms").await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(answer.contains("transfer-encoding: chunked\r\n"), "{answer}");
    for line in ["0 v1 pod-1\n", "1 v1 pod-1\n", "2 v1 pod-1\n", "end 3\n"] {
        assert!(answer.contains(line), "{answer}");
    }
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    let refused = ask(app.http, "GET /stream?every=soon").await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
}

#[tokio::test]
async fn an_upload_is_read_to_its_end() {
    let app = start(&[]).await;
    for method in ["POST", "PUT"] {
        let mut stream = connect(app.http).await;
        let head = format!("{method} /upload HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..5 {
            stream.write_all(b"3\r\nabc\r\n").await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let answer = read_until(&mut stream, "}\n").await;
        assert!(answer.contains(r#"{"bytes":15,"pod":"pod-1","version":"v1"}"#), "{answer}");
    }
}

#[tokio::test]
async fn slow_takes_its_time() {
    let app = start(&[]).await;
    let begun = Instant::now();
    let answer = ask(app.http, "GET /slow?ms=200").await;
    assert!(answer.contains("\"v1\""), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_query_is_answered_with_the_number_that_it_names() {
    let app = start(&[]).await;
    let value = async |query: &str| ask(app.http, &format!("GET /api/v1/query?query={query}")).await;
    assert!(value("0.5%20by%20pod").await.contains(r#""value":[0,"0.5"]"#));
    assert!(value("home%7Ba%7D").await.contains(r#""value":[0,"0"]"#));
    assert!(value("nothing").await.contains(r#""result":[]"#));
    ask(app.admin, "POST /fail?what=home&on=true").await;
    assert!(value("home").await.contains(r#""value":[0,"1"]"#));
}

#[tokio::test]
async fn bytes_come_in_full_and_then_the_server_closes() {
    let app = start(&["--send-buffer=65536"]).await;
    let mut stream = connect(app.http).await;
    send(&mut stream, "GET /bytes?n=1000000").await;
    let answer = read_to_end(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 1000000"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body.len(), 1_000_000);
    assert!(body.bytes().all(|byte| byte == b'x'));
    let refused = ask(app.http, "GET /bytes?n=268435457").await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
}

#[tokio::test]
async fn a_half_closed_client_is_answered() {
    let app = start(&[]).await;
    let mut stream = connect(app.http).await;
    send(&mut stream, "GET /stream?seconds=0.3").await;
    stream.shutdown().await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("end 3\n"), "{answer}");
}

#[tokio::test]
async fn it_is_alive_but_ready_only_after_a_while() {
    let app = start(&["--ready-after=1"]).await;
    assert!(ask(app.http, "GET /healthz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(app.http, "GET /readyz").await.starts_with("HTTP/1.1 503"));
    ask_until(app.http, "GET /readyz", "HTTP/1.1 200").await;
}

#[tokio::test]
async fn faults_from_the_start_can_be_taken_back() {
    let app = start(&["--fail=ready,home,slow", "--slow-ms=100"]).await;
    let begun = Instant::now();
    assert!(ask(app.http, "GET /readyz").await.starts_with("HTTP/1.1 503"));
    let broken = ask(app.http, "GET /").await;
    assert!(broken.starts_with("HTTP/1.1 500"), "{broken}");
    assert!(!broken.contains("shop"), "{broken}");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let switches = ask(app.admin, "GET /fail").await;
    assert!(switches.contains(r#"{"drain":0,"grpc":false,"home":true,"ready":true,"sessions":0,"slow":true}"#), "{switches}");
    for what in ["ready", "home", "slow"] {
        ask(app.admin, &format!("POST /fail?what={what}&on=false")).await;
    }
    assert!(ask(app.http, "GET /readyz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(app.http, "GET /").await.starts_with("HTTP/1.1 200"));
    ask(app.admin, "POST /fail?what=home&on=true").await;
    assert!(ask(app.http, "GET /").await.starts_with("HTTP/1.1 500"));
    assert!(ask(app.admin, "POST /fail?what=else&on=true").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn it_shows_the_sessions_that_it_was_told_of() {
    let app = start(&[]).await;
    assert!(ask(app.admin, "GET /metrics").await.contains("app_sessions{version=\"v1\"} 0\n"));
    assert!(ask(app.admin, "POST /sessions?open=3").await.contains(r#""sessions":3"#));
    assert!(ask(app.admin, "GET /metrics").await.contains("app_sessions{version=\"v1\"} 3\n"));
}

#[tokio::test]
async fn it_counts_how_often_it_was_asked_and_by_whom() {
    let app = start(&[]).await;
    ask(app.http, "GET /").await;
    assert!(ask(app.http, "GET / HTTP/1.1\r\nX-Forwarded-Uri: /api/v1/pods").await.starts_with("HTTP/1.1 200"));
    assert!(ask(app.admin, "GET /metrics").await.ends_with("app_requests_total 2\napp_requests_passed_on_total 1\n"));
}

#[tokio::test]
async fn told_to_drain_it_counts_and_says_close_on_the_next_answer() {
    let app = start(&["--drain-idle-ms=60000"]).await;
    let mut kept = connect(app.http).await;
    send(&mut kept, "GET /").await;
    read_until(&mut kept, "}\n").await;
    assert!(ask(app.admin, "GET /drain").await.contains("\"drain\":0"));
    ask(app.admin, "POST /drain").await;
    assert!(ask(app.admin, "POST /drain").await.contains("\"drain\":2"));
    assert!(ask(app.admin, "GET /drain").await.contains("\"drain\":2"));
    send(&mut kept, "GET /").await;
    let last = read_to_end(&mut kept).await;
    assert!(last.starts_with("HTTP/1.1 200"), "{last}");
    assert!(last.contains("connection: close\r\n"), "{last}");
    let new = ask(app.http, "GET /").await;
    assert!(new.contains("\"v1\""), "{new}");
}

#[tokio::test]
async fn a_file_tells_it_to_drain_once_it_holds_something() {
    let directory = std::env::temp_dir().join(format!("app-drain-file-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("draining");
    std::fs::write(&file, "").unwrap();
    let app = start(&[&format!("--drain-file={}", file.display())]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(ask(app.admin, "GET /drain").await.contains("\"drain\":0"));
    std::fs::write(&file, "true").unwrap();
    let told = async {
        while !ask(app.admin, "GET /drain").await.contains("\"drain\":1") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, told).await.unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn told_to_drain_it_ends_silent_connections_but_no_busy_ones() {
    let app = start(&["--drain-idle-ms=300"]).await;
    let mut silent = connect(app.http).await;
    send(&mut silent, "GET /").await;
    read_until(&mut silent, "}\n").await;
    let mut busy = connect(app.http).await;
    send(&mut busy, "GET /stream?seconds=1&every=50ms").await;
    read_until(&mut busy, "0 v1").await;
    let begun = Instant::now();
    ask(app.admin, "POST /drain").await;
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let rest = read_to_end(&mut busy).await;
    assert!(rest.contains("end 20\n"), "{rest}");
}
