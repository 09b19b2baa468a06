//! A client that sees the bytes, so that the tests can tell how a connection ended.
#![allow(dead_code)]

use std::{net::SocketAddr, time::Duration};

use app::{App, config::Config};
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// No step of a test takes longer.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// An app on free loopback ports, with these flags besides.
pub async fn start(flags: &[&str]) -> App {
    let ports = ["--http-port=0", "--grpc-port=0", "--echo-port=0", "--websocket-port=0", "--admin-port=0"];
    let who = ["--listen=127.0.0.1", "--app-version=v1", "--pod=pod-1"];
    let all = ["app"].iter().chain(&ports).chain(&who).chain(flags);
    App::start(&Config::try_parse_from(all).unwrap()).await.unwrap()
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    timeout(DEADLINE, TcpStream::connect(address)).await.unwrap().unwrap()
}

/// Sends a request and leaves the connection open.
pub async fn send(stream: &mut TcpStream, request_line: &str) {
    let request = format!("{request_line} HTTP/1.1\r\nhost: app\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads until these bytes have come.
pub async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if text.contains(end) {
            return text;
        }
        let mut piece = [0; 4096];
        let count = timeout(DEADLINE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(count > 0, "closed before {end:?} came: {text:?}");
        all.extend_from_slice(&piece[..count]);
    }
}

/// Reads to the end of the connection.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    String::from_utf8(all).unwrap()
}

/// One request on its own connection; the whole answer, head and body.
pub async fn ask(address: SocketAddr, request_line: &str) -> String {
    let mut stream = connect(address).await;
    let request = format!("{request_line} HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

/// Asks until the answer contains this text.
pub async fn ask_until(address: SocketAddr, request_line: &str, wanted: &str) {
    timeout(DEADLINE, async {
        while !ask(address, request_line).await.contains(wanted) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}
