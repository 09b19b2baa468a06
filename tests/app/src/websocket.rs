//! Websockets (RFC 6455): each text comes back as `<version> <pod> <text>`.
//!
//! When the app is told to drain, each of them is closed with 1001, "going away", as a browser's client expects it. What had come before that is
//! answered; what crosses it is the client's to send again. New ones are still served.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{connection::each_connection, state::State};

/// Serves websockets on each connection of the listener, for ever.
pub async fn serve(listener: TcpListener, state: Arc<State>) {
    each_connection(listener, move |stream| talk(stream, state.clone())).await;
}

async fn talk(stream: TcpStream, state: Arc<State>) {
    // How a connection ended is the client's to tell.
    let Ok(mut socket) = accept_async(stream).await else { return };
    let (version, pod) = (&state.identity.version, &state.identity.pod);
    let mut told = state.watch();
    let before = told.borrow_and_update().drain;
    loop {
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if socket.send(Message::text(format!("{version} {pod} {text}"))).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            _ = async { told.wait_for(|told| told.drain > before).await.is_ok() } => break,
        }
    }
    let away = CloseFrame { code: CloseCode::Away, reason: "told to drain".into() };
    if socket.close(Some(away)).await.is_ok() {
        // The client's answer ends it.
        while let Some(Ok(_)) = socket.next().await {}
    }
}
