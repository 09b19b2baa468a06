//! A line echo in place of a websocket: a connection that lives for as long as both sides like.
//!
//! Each line comes back as `<version> <pod> <line>`. A client that closed its sending side is still answered, also for a
//! last line without an end; then the server closes.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    connection::each_connection,
    state::{Identity, State},
};

/// A longer line is answered in pieces.
const LONGEST_LINE: u64 = 64 << 10;

/// Serves the echo on each connection of the listener, for ever.
pub async fn serve(listener: TcpListener, state: Arc<State>) {
    each_connection(listener, move |stream| {
        let identity = state.identity.clone();
        async move {
            // How a connection ended is the client's to tell.
            let _ = echo(stream, &identity).await;
        }
    })
    .await;
}

async fn echo(mut stream: TcpStream, identity: &Identity) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        (&mut read).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return write.shutdown().await;
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        let mut answer = format!("{} {} ", identity.version, identity.pod).into_bytes();
        answer.append(&mut line);
        write.write_all(&answer).await?;
    }
}
