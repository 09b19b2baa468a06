//! One long connection: what a drain has to wait for.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::{
    Context,
    client::{Connection, Fault},
    options::{Echo, HalfClose, Hold, Scheme, Stream, Target, Upload},
    record::{Begun, Who},
    report::{Kind, Source},
    sample::{check, check_head, echoed, get},
};

/// At the end, how long a stalled answer may take to be read.
const LAST_READ: Duration = Duration::from_secs(60);

/// Counts how a long request ended.
fn count(context: &Context, begun: Begun, who: &Who, result: Result<(), Fault>) {
    match result {
        Ok(()) => context.recorder.ok(begun, who),
        Err(fault) => context.recorder.failed(begun, fault, who),
    }
}

pub(crate) async fn upload(context: &Arc<Context>, upload: Upload) {
    let begun = context.recorder.begin(Source::Long);
    let mut who = Who::default();
    let result = try_upload(context, &upload, &mut who).await;
    count(context, begun, &who, result);
}

async fn try_upload(context: &Context, upload: &Upload, who: &mut Who) -> Result<(), Fault> {
    /// One chunk (RFC 9112, section 7.1) of [`PIECE`] bytes.
    const CHUNK: &[u8] = b"10\r\n0123456789abcdef\r\n";
    const PIECE: usize = 16;
    let Upload { target, seconds, every } = upload;
    let mut connection = Connection::open(target.address, context.timeouts, None).await?;
    let _opened = context.recorder.opened();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: load\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        target.path, target.address
    );
    connection.send(head.as_bytes()).await?;
    context.recorder.say_open(connection.local(), who);
    let end = Instant::now() + Duration::from_secs(*seconds);
    let mut due = interval(*every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    let is_ours = loop {
        tokio::select! {
            biased;
            () = context.stop.stopped() => break true,
            () = sleep_until(end) => break true,
            () = connection.ended() => break false,
            _ = due.tick() => {
                connection.send(CHUNK).await?;
                context.recorder.bytes(PIECE, 0);
                sent += PIECE;
            }
        }
    };
    if is_ours {
        connection.send(b"0\r\n\r\n").await?;
    }
    let answer = connection.answer().await?;
    *who = answer.head.who.clone();
    check(&answer)?;
    let says: Option<u64> = serde_json::from_slice::<serde_json::Value>(&answer.body).ok().and_then(|says| says.get("bytes")?.as_u64());
    if says != u64::try_from(sent).ok() {
        let detail = format!("sent {sent} bytes, and the answer names {says:?}");
        return Err(Fault::new(Kind::WrongBody, detail));
    }
    Ok(())
}

pub(crate) async fn stream(context: &Arc<Context>, stream: Stream) {
    whole_answer(context, &stream.target, false).await;
}

pub(crate) async fn half_close(context: &Arc<Context>, half_close: HalfClose) {
    let target = &half_close.target;
    match target.scheme {
        Scheme::Http => whole_answer(context, target, true).await,
        Scheme::Tcp => {
            let begun = context.recorder.begin(Source::Long);
            let mut who = Who::default();
            let result = half_closed_echo(context, target, &mut who).await;
            count(context, begun, &who, result);
        }
    }
}

async fn half_closed_echo(context: &Context, target: &Target, who: &mut Who) -> Result<(), Fault> {
    let mut connection = Connection::open(target.address, context.timeouts, None).await?;
    let _opened = context.recorder.opened();
    connection.send(b"half").await?;
    connection.finish_sending().await?;
    *who = echoed(&connection.line().await?, b"half\n")?;
    context.recorder.say_open(connection.local(), who);
    connection.wait_for_end().await;
    Ok(())
}

/// One request, read to the end of its answer.
async fn whole_answer(context: &Context, target: &Target, half_close: bool) {
    let begun = context.recorder.begin(Source::Long);
    let mut who = Who::default();
    let result = try_whole_answer(context, target, half_close, &mut who).await;
    count(context, begun, &who, result);
}

async fn try_whole_answer(context: &Context, target: &Target, half_close: bool, who: &mut Who) -> Result<(), Fault> {
    let mut connection = Connection::open(target.address, context.timeouts, None).await?;
    let _opened = context.recorder.opened();
    connection.send(&get(&target.path, target.address, false)).await?;
    if half_close {
        connection.finish_sending().await?;
    }
    let head = connection.head().await?;
    *who = head.who.clone();
    check_head(&head)?;
    context.recorder.say_open(connection.local(), who);
    let mut lines = target.path.starts_with("/stream").then(Lines::default);
    let body = connection.body(head.framing, |piece| {
        context.recorder.bytes(0, piece.len());
        lines.as_mut().map_or(Ok(()), |lines| lines.read(piece))
    });
    tokio::select! {
        biased;
        complete = body => complete?,
        // What came so far was right.
        () = context.stop.stopped() => return Ok(()),
    }
    match lines {
        Some(lines) if !lines.ended => Err(Fault::new(Kind::WrongBody, "no last line")),
        _ => Ok(()),
    }
}

/// The lines of the app's `/stream`: numbered from 0, and `end <count>` at last.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    count: u64,
    ended: bool,
}

impl Lines {
    fn read(&mut self, piece: &[u8]) -> Result<(), Fault> {
        for byte in piece {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            let mut words = line.split(' ');
            let count = Some(self.count.to_string());
            let is_next = match words.next() {
                _ if self.ended => false,
                Some("end") => {
                    self.ended = true;
                    words.next().map(str::to_owned) == count
                }
                number => {
                    self.count += 1;
                    number.map(str::to_owned) == count
                }
            };
            if !is_next {
                return Err(Fault::new(Kind::WrongBody, format!("out of order: {line:?}")));
            }
        }
        Ok(())
    }
}

pub(crate) async fn echo(context: &Arc<Context>, echo: Echo) {
    let Echo { target, every } = echo;
    let begun = context.recorder.begin(Source::Long);
    let mut who = Who::default();
    let mut connection = match Connection::open(target.address, context.timeouts, None).await {
        Ok(connection) => connection,
        Err(fault) => return context.recorder.failed(begun, fault, &who),
    };
    let _opened = context.recorder.opened();
    let mut begun = Some(begun);
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        let ended = tokio::select! {
            biased;
            // The first line is under way since the connection was begun.
            () = context.stop.stopped(), if number > 0 => return,
            () = connection.ended() => true,
            _ = due.tick() => false,
        };
        let begun = begun.take().unwrap_or_else(|| context.recorder.begin(Source::Long));
        // Unlike an idle kept connection, one like this is missed by its user also between two lines.
        let result =
            if ended { Err(lost(&mut connection).await) } else { echo_line(context, &mut connection, format!("line {number}\n").as_bytes()).await };
        match result {
            Ok(answered) => who = answered,
            Err(fault) => return context.recorder.failed(begun, fault, &who),
        }
        context.recorder.ok(begun, &who);
        if number == 0 {
            context.recorder.say_open(connection.local(), &who);
        }
    }
}

async fn lost(connection: &mut Connection) -> Fault {
    match connection.line().await {
        Ok(_) => Fault::new(Kind::BadAnswer, "a line nobody asked for"),
        Err(fault) => fault,
    }
}

async fn echo_line(context: &Context, connection: &mut Connection, line: &[u8]) -> Result<Who, Fault> {
    connection.send(line).await?;
    let answer = connection.line().await?;
    context.recorder.bytes(line.len(), answer.len());
    echoed(&answer, line)
}

pub(crate) async fn hold(context: &Arc<Context>, hold: Hold) {
    let begun = context.recorder.begin(Source::Long);
    let mut who = Who::default();
    let opened = Connection::open(hold.target.address, context.timeouts, hold.receive_buffer).await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(fault) => return context.recorder.failed(begun, fault, &who),
    };
    let _opened = context.recorder.opened();
    let request = get(&hold.target.path, hold.target.address, true);
    if hold.stall {
        let result = stalled(context, &mut connection, &request, &mut who).await;
        return count(context, begun, &who, result);
    }
    let result = connection.ask(&request).await.and_then(|answer| {
        context.recorder.bytes(0, answer.body.len());
        who = check(&answer)?.clone();
        Ok(())
    });
    let is_held = result.is_ok();
    count(context, begun, &who, result);
    if is_held {
        context.recorder.say_open(connection.local(), &who);
        tokio::select! {
            () = context.stop.stopped() => {}
            () = connection.ended() => {
                context.recorder.connection(|connections| connections.closed_idle += 1);
            }
        }
    }
}

async fn stalled(context: &Context, connection: &mut Connection, request: &[u8], who: &mut Who) -> Result<(), Fault> {
    connection.send(request).await?;
    let head = connection.head().await?;
    *who = head.who.clone();
    check_head(&head)?;
    context.recorder.say_open(connection.local(), who);
    context.stop.stopped().await;
    let rest = connection.body(head.framing, |piece| {
        context.recorder.bytes(0, piece.len());
        Ok(())
    });
    timeout(LAST_READ, rest).await.unwrap_or_else(|_| {
        let detail = format!("the answer was not complete {LAST_READ:?} after reading went on");
        Err(Fault::new(Kind::ReadTimeout, detail))
    })
}
