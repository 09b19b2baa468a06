//! Clients that follow when a server asks them to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{app, load};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn tell_to_drain(app: &app::App) {
    let mut stream = TcpStream::connect(app.admin).await.unwrap();
    stream.write_all(b"POST /drain HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_channel_and_a_websocket_go_on_when_the_server_lets_them_go() {
    let app = app(&[]).await;
    let grpc = load(&format!("grpc --target http://{}/ --every 5ms", app.grpc));
    let websocket = load(&format!("websocket --target tcp://{} --every 5ms", app.websocket));
    for running in [&grpc, &websocket] {
        running.open().await;
    }
    tell_to_drain(&app).await;
    for running in [&grpc, &websocket] {
        running.more_ticks(1).await;
        assert!(running.more_ticks(1).await.ok > 0, "it goes on");
    }
    let summary = grpc.end().await;
    assert!(summary.failed == 0, "{summary:?}");
    let summary = websocket.end().await;
    assert!(summary.failed == 0 && summary.connections.told_to_close == 1 && summary.connections.opened == 2, "{summary:?}");
    assert!(summary.versions.contains_key("v1"));
}

#[tokio::test]
async fn one_that_is_cut_is_a_failure() {
    let app = app(&[]).await;
    let websocket = load(&format!("websocket --target tcp://{} --every 5ms", app.websocket));
    websocket.open().await;
    drop(app);
    let summary = websocket.ended().await;
    assert_eq!(summary.failed, 1, "{summary:?}");
}
