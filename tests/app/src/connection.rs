//! HTTP connections one by one, so that draining can be as gentle as a server can be.
//!
//! A server that closes an idle connection may do so just when the client sends its next request on it; the client then
//! sees a closed connection instead of an answer. So a draining app first tells its clients (`Connection: close` on each
//! answer) and closes by itself only those connections that have been silent for a while.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, rt::TokioTimer, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::state::Told;

/// When connections shall end by themselves: once told to drain, after so long a silence.
pub type Draining = Option<(watch::Receiver<Told>, Duration)>;

/// Serves HTTP/1.1 on each connection of the listener, for ever.
pub async fn serve(listener: TcpListener, router: Router, draining: Draining) {
    each_connection(listener, move |stream| connection(stream, router.clone(), draining.clone())).await;
}

/// Runs a task for each connection of the listener, for ever; all of them end with this future.
pub async fn each_connection<F, T>(listener: TcpListener, task: F)
where
    F: Fn(TcpStream) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Small answers shall not wait for more to come.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(task(stream));
                }
                // Out of file descriptors, mostly: they come back when connections end.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, router: Router, draining: Draining) {
    let activity = Activity::new();
    let io = TokioIo::new(Noted { stream, activity: activity.clone() });
    let service = TowerToHyperService::new(router);
    let mut served = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // None: a kept connection may be silent for as long as the client likes.
            .header_read_timeout(None)
            // A client that closed its sending side still gets its answer.
            .half_close(true)
            .serve_connection(io, service)
    );
    tokio::select! {
        // How a connection ended is the client's to tell.
        _ = served.as_mut() => return,
        () = silence(draining, activity) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}

/// Ends once the app drains and the connection has been silent for long enough.
async fn silence(draining: Draining, activity: Activity) {
    let Some((mut told, idle)) = draining else {
        return std::future::pending().await;
    };
    if told.wait_for(|told| told.drain > 0).await.is_err() {
        return std::future::pending().await;
    }
    // Silence before the order does not count: the next request may be on its way.
    let begun = Instant::now();
    loop {
        let end = begun.max(activity.last()) + idle;
        if end <= Instant::now() {
            return;
        }
        sleep_until(end).await;
    }
}

/// When bytes last went over a connection.
#[derive(Clone)]
struct Activity {
    start: Instant,
    /// Milliseconds since `start`.
    last: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Activity {
        Activity { start: Instant::now(), last: Arc::new(AtomicU64::new(0)) }
    }

    fn note(&self) {
        let milliseconds = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(milliseconds, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// A stream that notes when bytes went over it.
struct Noted {
    stream: TcpStream,
    activity: Activity,
}

impl AsyncRead for Noted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.activity.note();
        }
        polled
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.activity.note();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
