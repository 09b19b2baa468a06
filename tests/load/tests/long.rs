//! Long connections: whole ones are good, cut ones are failures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::{DEADLINE, answer, app, fails, load, request, server};
use load::report::{Kind, Reason, Source};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

#[tokio::test]
async fn a_whole_upload() {
    let app = app(&[]).await;
    let running = load(&format!("upload --target http://{}/upload --seconds 1 --every 50ms", app.http));
    running.open().await;
    let summary = running.ended().await;
    assert_eq!((summary.ok, summary.failed, summary.reason), (1, 0, Reason::Done), "{summary:?}");
    assert!((16..=16 * 21).contains(&summary.bytes.sent), "{summary:?}");
    assert_eq!(summary.pods["pod-1"].answers, 1);
    assert_eq!(summary.sources[&Source::Long].ok, 1);
    assert!(summary.latency.p50_us >= 1_000_000, "{summary:?}");
}

#[tokio::test]
async fn an_upload_that_is_stopped_is_finished() {
    let app = app(&[]).await;
    let running = load(&format!("upload --target http://{}/upload --every 10ms", app.http));
    running.open().await;
    let summary = running.end().await;
    assert_eq!((summary.ok, summary.reason), (1, Reason::Signal), "{summary:?}");
}

#[tokio::test]
async fn an_upload_that_is_cut() {
    let app = app(&[]).await;
    let running = load(&format!("upload --target http://{}/upload --every 10ms", app.http));
    running.open().await;
    drop(app);
    let failed = running.failure().await;
    assert!(matches!(failed.kind, Kind::Reset | Kind::EarlyEof), "{failed:?}");
    let summary = running.ended().await;
    assert_eq!((summary.failed, summary.reason), (1, Reason::Done), "{summary:?}");
}

#[tokio::test]
async fn an_upload_answered_with_the_wrong_length_or_too_early() {
    for early in [true, false] {
        let address = server(move |mut stream: TcpStream| async move {
            request(&mut stream).await;
            let mut body = Vec::new();
            while !early && !body.ends_with(b"0\r\n\r\n") {
                body.push(stream.read_u8().await.unwrap());
            }
            answer(&mut stream, "", r#"{"version":"v1","bytes":7}"#).await;
            sleep(DEADLINE).await;
        })
        .await;
        let words = format!("upload --target http://{address}/upload --seconds 1");
        fails(&words, Kind::WrongBody).await;
    }
}

#[tokio::test]
async fn a_whole_stream() {
    let app = app(&[]).await;
    let running = load(&format!("stream --target http://{}/stream?seconds=1&every=20ms", app.http));
    let open = running.open().await;
    assert_eq!((open.version.as_deref(), open.pod.as_deref()), (Some("v1"), Some("pod-1")));
    assert!(open.local.starts_with("127.0.0.1:"));
    let summary = running.ended().await;
    assert_eq!((summary.ok, summary.failed, summary.reason), (1, 0, Reason::Done), "{summary:?}");
    assert!(summary.bytes.received > 50 * 10, "{summary:?}");
}

#[tokio::test]
async fn a_stream_that_is_cut_or_left() {
    let first = app(&[]).await;
    let running = load(&format!("stream --target http://{}/stream", first.http));
    running.open().await;
    drop(first);
    let failed = running.failure().await;
    assert!(matches!(failed.kind, Kind::Reset | Kind::EarlyEof), "{failed:?}");
    assert_eq!(failed.version.as_deref(), Some("v1"));
    running.ended().await;

    let second = app(&[]).await;
    let running = load(&format!("stream --target http://{}/stream", second.http));
    running.open().await;
    let summary = running.end().await;
    assert_eq!((summary.ok, summary.reason), (1, Reason::Signal), "{summary:?}");
}

#[tokio::test]
async fn a_stream_that_falls_silent() {
    let address = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\nx-version: v1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n0 ";
        stream.write_all(head.as_bytes()).await.unwrap();
        sleep(DEADLINE).await;
    })
    .await;
    let words = format!("stream --target http://{address}/stream --read-timeout 200ms");
    let summary = fails(&words, Kind::ReadTimeout).await;
    assert_eq!(summary.bytes.received, 2, "{summary:?}");
}

#[tokio::test]
async fn a_stream_without_its_end_or_out_of_order() {
    for body in ["0 v1 p\n1 v1 p\n", "0 v1 p\n2 v1 p\nend 2\n", "0 v1 p\nend 2\n", "end 0\n0 v1 p\n"] {
        let address = server(move |mut stream: TcpStream| async move {
            request(&mut stream).await;
            answer(&mut stream, "", body).await;
        })
        .await;
        fails(&format!("stream --target http://{address}/stream"), Kind::WrongBody).await;
    }
}

#[tokio::test]
async fn an_echo_goes_on_until_it_is_stopped_or_cut() {
    let app = app(&[]).await;
    let words = format!("echo --target tcp://{} --every 10ms", app.echo);
    let (stopped, cut) = (load(&words), load(&words));
    for running in [&stopped, &cut] {
        let open = running.open().await;
        assert_eq!((open.version.as_deref(), open.pod.as_deref()), (Some("v1"), Some("pod-1")));
        let tick = running.more_ticks(1).await;
        assert!(tick.total_ok > 10 && tick.open == 1, "{tick:?}");
    }
    let summary = stopped.end().await;
    assert_eq!(summary.failed, 0, "{summary:?}");
    drop(app);
    let failed = cut.failure().await;
    assert!(matches!(failed.kind, Kind::Reset | Kind::EarlyEof), "{failed:?}");
    let summary = cut.ended().await;
    assert_eq!((summary.failed, summary.reason), (1, Reason::Done), "{summary:?}");
}

#[tokio::test]
async fn an_echo_lost_between_two_lines_is_a_failure() {
    let app = app(&[]).await;
    let running = load(&format!("echo --target tcp://{} --every 60s", app.echo));
    running.open().await;
    drop(app);
    let failed = running.failure().await;
    assert_eq!(failed.kind, Kind::EarlyEof, "{failed:?}");
    let summary = running.ended().await;
    assert_eq!((summary.ok, summary.failed), (1, 1), "{summary:?}");
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let app = app(&[]).await;
    for target in [format!("http://{}/stream?seconds=0.3", app.http), format!("tcp://{}", app.echo)] {
        let running = load(&format!("half-close --target {target}"));
        let open = running.open().await;
        assert_eq!(open.version.as_deref(), Some("v1"));
        let summary = running.ended().await;
        assert_eq!((summary.ok, summary.failed, summary.reason), (1, 0, Reason::Done), "{summary:?}");
    }
    // A server that gives up on such a client.
    let address = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the sending side is closed");
    })
    .await;
    fails(&format!("half-close --target http://{address}/"), Kind::EarlyEof).await;
}

#[tokio::test]
async fn a_held_connection_is_open_and_silent() {
    let app = app(&[]).await;
    let (stopped, closed) = (load(&format!("hold --target http://{}/", app.http)), load(&format!("hold --target http://{}/", app.http)));
    for running in [&stopped, &closed] {
        running.open().await;
        let tick = running.more_ticks(1).await;
        assert_eq!((tick.open, tick.total_ok), (1, 1));
    }
    let summary = stopped.end().await;
    assert_eq!((summary.ok, summary.failed, summary.connections.closed_idle), (1, 0, 0));
    drop(app);
    let summary = closed.ended().await;
    assert_eq!((summary.ok, summary.failed, summary.connections.closed_idle), (1, 0, 1));
    assert_eq!(summary.reason, Reason::Done);
}

/// Bytes in the send queue of the server's connections on this port (/proc/net/tcp), by state.
fn unsent(port: u16) -> Option<(String, u64)> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&format!(":{port:04X}")) && row[3] != "0A").find_map(|row| {
        let (unsent, _) = row[4].split_once(':')?;
        Some((row[3].to_owned(), u64::from_str_radix(unsent, 16).ok()?))
    })
}

#[tokio::test]
async fn a_stalled_answer_waits_in_the_closed_servers_kernel_and_arrives_whole() {
    let app = app(&["--send-buffer=212992"]).await;
    let words = format!("hold --target http://{}/bytes?n=200000 --stall --receive-buffer 4096", app.http);
    let running = load(&words);
    running.open().await;
    // FIN_WAIT1 (04): the server has closed, with bytes yet to be sent.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let state = unsent(app.http.port());
        if state.as_ref().is_some_and(|(state, unsent)| state == "04" && *unsent > 100_000) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{state:?}");
        sleep(Duration::from_millis(10)).await;
    }
    let summary = running.end().await;
    assert_eq!((summary.ok, summary.failed), (1, 0), "{summary:?}");
    assert_eq!(summary.bytes.received, 200_000);
}

#[tokio::test]
async fn a_stalled_answer_that_is_cut() {
    let app = app(&[]).await;
    let running = load(&format!("hold --target http://{}/bytes?n=100000000 --stall", app.http));
    running.open().await;
    drop(app);
    let summary = running.end().await;
    assert_eq!(summary.failed, 1, "{summary:?}");
}
