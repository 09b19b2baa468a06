//! Short requests: what is counted as good, and each way to fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{DEADLINE, answer, app, fails, load, request, reset, server};
use load::report::{Kind, Reason, Source, Summary};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// Wants some answers, and no more than the rate (a second) allows for the time it took: a busy machine may be late, not early.
fn in_time(summary: &Summary, ok: u64, rate: u64) {
    let most = 2 + (summary.ended_ms - summary.started_ms) * rate / 1000;
    assert!((1..=most).contains(&ok), "{ok} answers, at most {most}: {summary:?}");
}

#[tokio::test]
async fn a_good_app_is_answered_for_in_full() {
    let app = app(&[]).await;
    let running = load(&format!("run --target http://{}/ --rate 100 --keepalive 3 --pace 10ms", app.http));
    let tick = running.more_ticks(1).await;
    let summary = running.end().await;
    in_time(&summary, summary.sources[&Source::New].ok, 100);
    assert!(summary.sources[&Source::Kept].ok >= 3, "{summary:?}");
    assert_eq!((summary.failed, summary.skipped), (0, 0), "{summary:?}");
    assert_eq!(summary.versions["v1"].answers, summary.ok);
    assert_eq!(summary.pods["pod-1"].answers, summary.ok);
    assert_eq!(summary.connections.opened, summary.sources[&Source::New].ok + 3);
    assert!(summary.latency.p50_us > 0 && summary.latency.p50_us <= summary.latency.max_us);
    assert!(summary.longest_gap_ms < summary.ended_ms - summary.started_ms, "{summary:?}");
    assert!(summary.started_ms <= summary.versions["v1"].first_ms);
    assert!(summary.versions["v1"].last_ms <= summary.ended_ms);
    assert_eq!(summary.reason, Reason::Signal);
    assert_eq!((summary.mode.as_str(), summary.target), ("run", format!("http://{}/", app.http)));
    assert_eq!((tick.ok, tick.failed), (tick.total_ok, 0));
    assert_eq!(tick.versions["v1"], tick.ok);
    assert!(tick.open >= 3 && tick.bytes.received > 0, "{tick:?}");
}

#[tokio::test]
async fn the_times_of_two_versions_show_when_one_followed_the_other() {
    let count = Arc::new(AtomicU32::new(0));
    let address = server(move |mut stream| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            request(&mut stream).await;
            let version = if number < 5 { "v1" } else { "v2" };
            let text = format!("HTTP/1.1 200 OK\r\nx-version: {version}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    })
    .await;
    let running = load(&format!("flood --target http://{address}/ --rate 20"));
    let tick = running.more_ticks(1).await;
    let summary = running.end().await;
    assert_eq!(summary.versions["v1"].answers, 5);
    assert!(summary.versions["v1"].last_ms <= summary.versions["v2"].first_ms);
    assert!(summary.versions["v1"].first_ms < summary.versions["v1"].last_ms);
    assert_eq!(tick.versions.values().sum::<u64>(), tick.ok);
}

#[tokio::test]
async fn the_longest_gap_is_the_downtime() {
    let app = app(&[]).await;
    let running = load(&format!("flood --target http://{}/ --rate 50", app.http));
    let address = app.http;
    running.more_ticks(1).await;
    drop(app);
    running.failure().await;
    sleep(Duration::from_millis(400)).await;
    let app = common::app_on(address.port(), &[]).await;
    let tick = running.more_ticks(2).await;
    assert!(tick.ok > 0 && tick.failed == 0, "{tick:?}");
    drop(app);
    let summary = running.end().await;
    assert!(summary.longest_gap_ms >= 400, "{summary:?}");
    assert!(summary.failures[&Kind::ConnectRefused] >= 5, "{summary:?}");
}

#[tokio::test]
async fn kept_connections_retire_without_a_failure() {
    let app = app(&[]).await;
    let running = load(&format!("run --target http://{}/ --rate 0 --keepalive 2 --pace 5ms --retire-after 100ms", app.http));
    running.more_ticks(1).await;
    let summary = running.end().await;
    assert!(summary.connections.retired >= 4, "{summary:?}");
    assert_eq!(summary.failed, 0, "{summary:?}");
    assert!(!summary.sources.contains_key(&Source::New));
}

#[tokio::test]
async fn a_drain_moves_kept_connections_without_a_failure() {
    let app = app(&[]).await;
    let running = load(&format!("run --target http://{}/ --rate 0 --keepalive 5 --pace 5ms", app.http));
    running.more_ticks(1).await;
    let mut admin = TcpStream::connect(app.admin).await.unwrap();
    admin.write_all(b"POST /drain HTTP/1.1\r\nhost: app\r\n\r\n").await.unwrap();
    let tick = running.more_ticks(2).await;
    assert!(tick.open <= 5, "{tick:?}");
    let summary = running.end().await;
    assert!(summary.connections.told_to_close >= 5, "{summary:?}");
    assert_eq!(summary.failed, 0, "{summary:?}");
}

#[tokio::test]
async fn a_kept_connection_closed_while_idle_is_no_failure() {
    let address = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        answer(&mut stream, "", "").await;
    })
    .await;
    let running = load(&format!("run --target http://{address}/ --rate 0 --keepalive 1 --pace 200ms"));
    running.more_ticks(1).await;
    let summary = running.end().await;
    assert!(summary.connections.closed_idle >= 1, "{summary:?}");
    assert_eq!(summary.failed, 0, "{summary:?}");
}

#[tokio::test]
async fn short_connections_of_every_sort() {
    let app = app(&[]).await;
    let (http, tcp) = (format!("http://{}/", app.http), format!("tcp://{}", app.echo));
    for (words, rate) in [
        (format!("flood --target {http} --rate 100"), 100),
        (format!("flood --target {http} --rate 100 --client-closes"), 100),
        (format!("flood --target {tcp} --rate 100"), 100),
        (format!("flood --target {tcp} --rate 100 --client-closes"), 100),
        (format!("dial --target {http} --every 20ms"), 50),
        (format!("dial --target {tcp} --every 20ms"), 50),
    ] {
        let summary = load(&format!("{words} --duration 300ms")).ended().await;
        assert_eq!(summary.reason, Reason::Duration);
        assert_eq!(summary.failed, 0, "{summary:?}");
        in_time(&summary, summary.ok, rate);
        assert_eq!(summary.versions["v1"].answers, summary.ok);
        assert_eq!(summary.connections.opened, summary.ok);
    }
}

/// Whether the server's side of an exchange closed first, as seen in its TIME_WAIT (state 06 in /proc/net/tcp).
fn server_keeps_time_wait(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.any(|row| row[1].ends_with(&format!(":{port:04X}")) && row[3] == "06")
}

#[tokio::test]
async fn who_closes_first_is_chosen() {
    for (flag, expected) in [("", true), ("--client-closes", false)] {
        let app = app(&[]).await;
        let words = format!("flood --target http://{}/ --rate 20 {flag} --duration 200ms", app.http);
        let summary = load(&words).ended().await;
        // Whoever closes first does not wait for the other, which would end by the read timeout of 10 s.
        assert!(summary.ended_ms - summary.started_ms < 8000, "{summary:?}");
        assert_eq!(server_keeps_time_wait(app.http.port()), expected, "{words}");
    }
}

#[tokio::test]
async fn what_could_not_be_sent_in_time_is_said() {
    let address = server(async |stream: TcpStream| {
        sleep(DEADLINE).await;
        drop(stream);
    })
    .await;
    let running = load(&format!("flood --target http://{address}/ --rate 1000 --duration 1s --read-timeout 2s"));
    let summary = running.ended().await;
    assert_eq!(summary.begun, 512, "{summary:?}");
    assert!(summary.skipped > 200, "{summary:?}");
    assert_eq!(summary.failures[&Kind::ReadTimeout], 512);
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    fails(&format!("flood --target http://{address}/"), Kind::ConnectRefused).await;
    let words = format!("run --target http://{address}/ --rate 0 --keepalive 1");
    let summary = fails(&words, Kind::ConnectRefused).await;
    assert!(summary.sources[&Source::Kept].failed >= 1);
}

#[tokio::test]
async fn nobody_answers_the_syn() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // A full queue of connections that nobody accepts makes the kernel drop SYNs.
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queue.push(connected.unwrap());
        assert!(queue.len() < 100);
    }
    let words = format!("dial --target http://{address}/ --connect-timeout 100ms");
    fails(&words, Kind::ConnectTimeout).await;
}

#[tokio::test]
async fn no_way_there() {
    // TCP can't go to the broadcast address: the kernel refuses before anything is sent.
    fails("dial --target http://255.255.255.255:80/", Kind::ConnectFailed).await;
}

#[tokio::test]
async fn reset_before_the_answer() {
    let address = server(reset).await;
    fails(&format!("dial --target http://{address}/"), Kind::Reset).await;
}

#[tokio::test]
async fn ended_before_and_within_the_answer() {
    let silent = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
    })
    .await;
    fails(&format!("dial --target http://{silent}/"), Kind::EarlyEof).await;
    for half in [
        "HTTP/1.1 200 OK\r\nx-version: v1\r\n",
        "HTTP/1.1 200 OK\r\nx-version: v1\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nx-version: v1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let address = server(async move |mut stream: TcpStream| {
            request(&mut stream).await;
            stream.write_all(half.as_bytes()).await.unwrap();
        })
        .await;
        fails(&format!("dial --target http://{address}/"), Kind::EarlyEof).await;
    }
}

#[tokio::test]
async fn a_server_killed_in_mid_request_is_a_failure() {
    let app = app(&[]).await;
    let running = load(&format!("dial --target http://{}/slow?ms=60000 --every 60s", app.http));
    let begun = running.more_ticks(1).await;
    assert_eq!((begun.open, begun.total_ok, begun.total_failed), (1, 0, 0));
    drop(app);
    let failed = running.failure().await;
    assert!(matches!(failed.kind, Kind::EarlyEof | Kind::Reset), "{failed:?}");
    assert!(failed.after_ms >= 900, "{failed:?}");
    let summary = running.end().await;
    assert_eq!((summary.ok, summary.failed), (0, 1), "{summary:?}");
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let address = server(async |stream: TcpStream| {
        sleep(DEADLINE).await;
        drop(stream);
    })
    .await;
    fails(&format!("dial --target http://{address}/ --read-timeout 100ms"), Kind::ReadTimeout).await;
    // Also one that never ends but never finishes.
    let drip = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        loop {
            sleep(Duration::from_millis(20)).await;
            if stream.write_all(b"x: y\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    fails(&format!("dial --target http://{drip}/ --read-timeout 300ms"), Kind::ReadTimeout).await;
}

#[tokio::test]
async fn a_wrong_status_and_wrong_bodies() {
    let app = app(&["--fail=home"]).await;
    fails(&format!("dial --target http://{}/", app.http), Kind::BadStatus).await;
    let json = "content-type: application/json\r\n";
    for (headers, body) in [(json, r#"{"version":"v2"}"#), (json, "{"), (json, "{}")] {
        let address = server(async move |mut stream: TcpStream| {
            request(&mut stream).await;
            answer(&mut stream, headers, body).await;
        })
        .await;
        fails(&format!("dial --target http://{address}/"), Kind::WrongBody).await;
    }
    let other = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    fails(&format!("dial --target http://{other}/"), Kind::WrongBody).await;
    let no_echo = server(async |mut stream: TcpStream| {
        stream.write_all(b"v1 pod-1 tall\n").await.unwrap();
        sleep(DEADLINE).await;
    })
    .await;
    fails(&format!("dial --target tcp://{no_echo}"), Kind::WrongBody).await;
}

#[tokio::test]
async fn what_is_not_http() {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70_000));
    for text in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nx-version: v1\r\ncontent-length: 1\r\n\r\nab", &endless] {
        let text = text.to_owned();
        let address = server(move |mut stream| {
            let text = text.clone();
            async move {
                request(&mut stream).await;
                let _ = stream.write_all(text.as_bytes()).await;
                sleep(DEADLINE).await;
            }
        })
        .await;
        fails(&format!("dial --target http://{address}/"), Kind::BadAnswer).await;
    }
}

#[tokio::test]
async fn a_kept_connection_lost_with_the_next_request_has_its_own_kind() {
    let ends = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        answer(&mut stream, "", "").await;
        request(&mut stream).await;
    })
    .await;
    let resets = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        answer(&mut stream, "", "").await;
        reset(stream).await;
    })
    .await;
    for address in [ends, resets] {
        let words = format!("run --target http://{address}/ --rate 0 --keepalive 1 --pace 10ms");
        let summary = fails(&words, Kind::KeptClosed).await;
        assert_eq!(summary.failed, summary.failures[&Kind::KeptClosed], "{summary:?}");
    }
    // With a byte of the answer it is no such race.
    let half = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        answer(&mut stream, "", "").await;
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 2").await.unwrap();
    })
    .await;
    fails(&format!("run --target http://{half}/ --rate 0 --keepalive 1 --pace 10ms"), Kind::EarlyEof).await;
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let address = server(async |mut stream: TcpStream| {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        answer(&mut stream, "connection: close\r\n", "").await;
    })
    .await;
    let summary = load(&format!("dial --target http://{address}/ --duration 200ms")).ended().await;
    assert_eq!((summary.ok, summary.failed), (1, 0), "{summary:?}");
}
