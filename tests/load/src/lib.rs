//! A load generator for blue-green releases: it sees what users see, and counts every failure by its kind.
//!
//! It is meant to run inside a node's network namespace, talk to Services' and pods' addresses, and be read by its caller:
//! one JSON object a line ([`report`]), a [`report::Tick`] each second and a [`report::Summary`] at the end.
//!
//! | subcommand | what it does |
//! |---|---|
//! | `load run --target http://IP:PORT/ --rate 50 --keepalive 8 [--pace 100ms] [--retire-after 5s]` | new connections at a rate, and kept connections that send requests all the time |
//! | `load flood --target http://IP:PORT/ --rate 50 [--client-closes]` | short connections only |
//! | `load dial --target http://IP:PORT/ --every 1s` | a short connection now and then, to a pod's own address |
//! | `load upload --target http://IP:PORT/upload --seconds 60` | one slow upload, whose length the app has to confirm |
//! | `load stream --target 'http://IP:PORT/stream?seconds=60'` | one slow answer, checked line by line to its end |
//! | `load echo --target tcp://IP:PORT --every 100ms` | one connection like a websocket: a line, its echo, and so on |
//! | `load grpc --target http://IP:PORT/ --every 100ms` | calls on one gRPC channel, of a library as users have it |
//! | `load websocket --target tcp://IP:PORT --every 100ms` | texts on one websocket, and on the next when the server closes it |
//! | `load half-close --target 'http://IP:PORT/stream?seconds=20'` | closes its sending side after the request, and reads the answer |
//! | `load hold --target http://IP:PORT/ [--stall] [--receive-buffer 4096]` | holds a connection silently; with `--stall` it stops reading within the answer and reads the rest at the end |
//!
//! It ends after `--duration` (15m unless said otherwise, 1h at most), at SIGTERM and SIGINT, and when standard input ends,
//! so that a caller that dies takes its load with it (`--ignore-stdin` for use in scripts). What is under way then is waited for. An
//! upload that is stopped is finished early, a stream left; both count as good if nothing was wrong so far, and
//! [`report::Summary::reason`] is `done` only for a whole one. The exit status is 0 without failures, 1 with some, and 2 if
//! the command line is wrong.
//!
//! Nothing is tried again in secret. The one case where a client library would, a kept connection that the server closed at
//! the moment of the next request, is a failure too, of its own kind ([`report::Kind::KeptClosed`]). Only a gRPC call that never left
//! this side is made anew, as gRPC's own libraries do, and is counted.
//!
//! In Rust: [`child::Child`] starts the program and reads its lines; [`execute`] does the same within a process.

pub mod child;
pub mod client;
mod followers;
mod histogram;
mod long;
pub mod options;
pub mod record;
pub mod report;
mod response;
mod sample;
mod short;
pub mod stop;

use std::{io::Write, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, interval_at, sleep},
};

use crate::{
    client::Timeouts,
    options::{Mode, Options},
    record::Recorder,
    report::{Reason, Summary},
    stop::Stop,
};

/// What everything that sends needs.
pub(crate) struct Context {
    pub(crate) recorder: Recorder,
    pub(crate) stop: Stop,
    pub(crate) timeouts: Timeouts,
}

/// Does what the options say until it is done or stopped, and writes its lines to `output`.
pub async fn execute(options: Options, output: Box<dyn Write + Send>, stop: Stop) -> Summary {
    let Options { mode, duration, connect_timeout, read_timeout, ignore_stdin } = options;
    if !ignore_stdin {
        stop.at_end_of_input();
    }
    let (name, target) = mode.name();
    let context = Arc::new(Context {
        recorder: Recorder::new(name, target.to_string(), output),
        stop,
        timeouts: Timeouts { connect: connect_timeout, read: read_timeout },
    });
    // Ends with this function.
    let mut helpers = JoinSet::new();
    helpers.spawn(ticks(context.clone()));
    helpers.spawn(end(context.clone(), duration));
    match mode {
        Mode::Run(run) => short::run(&context, run).await,
        Mode::Flood(flood) => short::flood(&context, flood).await,
        Mode::Dial(dial) => short::dial(&context, dial).await,
        Mode::Upload(upload) => long::upload(&context, upload).await,
        Mode::Stream(stream) => long::stream(&context, stream).await,
        Mode::Echo(echo) => long::echo(&context, echo).await,
        Mode::Grpc(grpc) => followers::grpc(&context, grpc).await,
        Mode::Websocket(websocket) => followers::websocket(&context, websocket).await,
        Mode::HalfClose(half_close) => long::half_close(&context, half_close).await,
        Mode::Hold(hold) => long::hold(&context, hold).await,
    }
    let reason = context.stop.reason().unwrap_or(Reason::Done);
    context.recorder.say_summary(reason)
}

async fn ticks(context: Arc<Context>) {
    const SECOND: Duration = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now() + SECOND, SECOND);
    loop {
        ticks.tick().await;
        context.recorder.say_tick();
    }
}

async fn end(context: Arc<Context>, duration: Duration) {
    let mut deaf = context.recorder.deaf();
    tokio::select! {
        () = sleep(duration) => context.stop.stop(Reason::Duration),
        _ = deaf.wait_for(|deaf| *deaf) => context.stop.stop(Reason::Closed),
    }
}
