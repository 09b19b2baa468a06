//! What the echo and gRPC answer, and how the process ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use common::{DEADLINE, ask, connect, read_to_end, read_until, start};
use tokio::{io::AsyncWriteExt, time::timeout};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

#[tokio::test]
async fn the_echo_answers_each_line_also_after_a_half_close() {
    let app = start(&[]).await;
    let mut stream = connect(app.echo).await;
    stream.write_all(b"one\ntwo\n").await.unwrap();
    assert_eq!(read_until(&mut stream, "two\n").await, "v1 pod-1 one\nv1 pod-1 two\n");
    stream.write_all(b"three\nfo").await.unwrap();
    stream.write_all(b"ur").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "v1 pod-1 three\nv1 pod-1 four\n");
}

#[tokio::test]
async fn grpc_health_follows_the_switch() {
    let app = start(&["--fail=grpc"]).await;
    let channel = Endpoint::from_shared(format!("http://{}", app.grpc)).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in app::grpc::SERVICES {
        let answer = client.check(check(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing);
    }
    assert_eq!(client.check(check("other")).await.unwrap_err().code(), Code::NotFound);
    let mut watch = client.watch(check("app")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    ask(app.admin, "POST /fail?what=grpc&on=false").await;
    let changed = timeout(DEADLINE, watch.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(changed.status(), ServingStatus::Serving);
}

/// The frames after our own greeting, until a GOAWAY (RFC 9113, section 6.8: type 7) or the end.
async fn has_goaway(stream: &mut tokio::net::TcpStream) -> bool {
    use tokio::io::AsyncReadExt;
    loop {
        let mut head = [0; 9];
        if timeout(DEADLINE, stream.read_exact(&mut head)).await.unwrap().is_err() {
            return false;
        }
        if head[3] == 7 {
            return true;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.unwrap();
    }
}

#[tokio::test]
async fn told_to_drain_grpc_says_goaway_and_serves_new_connections() {
    let app = start(&[]).await;
    let mut stream = connect(app.grpc).await;
    // The client's preface and an empty SETTINGS frame (RFC 9113, section 3.4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // Its SETTINGS show that the server has taken the connection.
    let mut head = [0; 9];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.unwrap();
    assert_eq!(head[3], 4);
    let mut settings = vec![0; usize::from(head[2])];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut settings).await.unwrap();
    ask(app.admin, "POST /drain").await;
    assert!(has_goaway(&mut stream).await);

    let channel = Endpoint::from_shared(format!("http://{}", app.grpc)).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let answer = client.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}

#[test]
fn the_process_takes_its_settings_from_the_environment_and_is_gone_at_sigterm() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_app"))
        .env_clear()
        .envs([("APP_LISTEN", "127.0.0.1"), ("APP_HTTP_PORT", "0"), ("APP_GRPC_PORT", "0")])
        .envs([("APP_ECHO_PORT", "0"), ("APP_ADMIN_PORT", "0"), ("APP_VERSION", "v7")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[..4], ["app", "v7", "serves", "http"]);
    let mut stream = TcpStream::connect(words[4]).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /stream?seconds=60 HTTP/1.1\r\nhost: app\r\n\r\n").unwrap();
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece).unwrap();
    assert!(String::from_utf8_lossy(&piece[..count]).contains("x-version: v7"));
    let sent = Command::new("/bin/kill").arg(child.id().to_string()).status();
    assert!(sent.unwrap().success());
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
    let mut rest = Vec::new();
    // Either the end or a reset; never the stream's own end.
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("end "));
}
