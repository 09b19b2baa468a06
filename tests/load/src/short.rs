//! Short requests: on new connections, and on kept ones.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    Context,
    client::{Connection, Fault},
    options::{Dial, Flood, Run, Scheme, Target},
    record::Who,
    report::Source,
    sample::{check, echoed, get},
};

/// No more new connections than this are under way at a time.
const MOST_UNDER_WAY: usize = 512;

pub(crate) async fn run(context: &Arc<Context>, run: Run) {
    let Run { target, rate, keepalive, pace, retire_after, client_closes } = run;
    let target = Arc::new(target);
    let mut drivers = JoinSet::new();
    if rate > 0 {
        let every = Duration::from_secs(1) / rate;
        drivers.spawn(news(context.clone(), target.clone(), every, client_closes));
    }
    for number in 0..keepalive {
        let kept = Kept { context: context.clone(), target: target.clone(), pace, retire_after };
        // Spread over one pace, so that they do not all ask at once.
        let begin = pace * number / keepalive;
        drivers.spawn(async move {
            if kept.pause(begin).await {
                kept.drive().await;
            }
        });
    }
    while drivers.join_next().await.is_some() {}
}

pub(crate) async fn flood(context: &Arc<Context>, flood: Flood) {
    let Flood { target, rate, client_closes } = flood;
    let every = Duration::from_secs(1) / rate.max(1);
    news(context.clone(), Arc::new(target), every, client_closes).await;
}

pub(crate) async fn dial(context: &Arc<Context>, dial: Dial) {
    let Dial { target, every } = dial;
    news(context.clone(), Arc::new(target), every, false).await;
}

/// New connections, one each so often, until the stop; then waits for those under way.
async fn news(context: Arc<Context>, target: Arc<Target>, every: Duration, client_closes: bool) {
    let mut due = interval(every);
    // A late tick is made up for: the rate is what was asked for, also on a busy machine.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = context.stop.stopped() => break,
            _ = due.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= MOST_UNDER_WAY {
            context.recorder.skipped();
            continue;
        }
        let (context, target) = (context.clone(), target.clone());
        under_way.spawn(async move {
            new(&context, &target, client_closes).await;
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// One new connection with its request, to its end.
async fn new(context: &Context, target: &Target, client_closes: bool) {
    let Context { recorder, timeouts, .. } = context;
    let begun = recorder.begin(Source::New);
    let mut connection = match Connection::open(target.address, *timeouts, None).await {
        Ok(connection) => connection,
        Err(fault) => return recorder.failed(begun, fault, &Who::default()),
    };
    let _opened = recorder.opened();
    match exchange(context, &mut connection, target, client_closes).await {
        Ok(who) => recorder.ok(begun, &who),
        Err(fault) => return recorder.failed(begun, fault, &Who::default()),
    }
    if !client_closes {
        if target.scheme == Scheme::Tcp {
            // The echo closes only after its client.
            let _ = connection.finish_sending().await;
        }
        connection.wait_for_end().await;
    }
}

async fn exchange(context: &Context, connection: &mut Connection, target: &Target, keep: bool) -> Result<Who, Fault> {
    match target.scheme {
        Scheme::Http => {
            let answer = connection.ask(&get(&target.path, target.address, keep)).await?;
            context.recorder.bytes(0, answer.body.len());
            Ok(check(&answer)?.clone())
        }
        Scheme::Tcp => {
            const LINE: &[u8] = b"short\n";
            connection.send(LINE).await?;
            let line = connection.line().await?;
            context.recorder.bytes(LINE.len(), line.len());
            echoed(&line, LINE)
        }
    }
}

/// One kept connection after the other.
struct Kept {
    context: Arc<Context>,
    target: Arc<Target>,
    pace: Duration,
    retire_after: Option<Duration>,
}

impl Kept {
    async fn drive(&self) {
        loop {
            self.connection().await;
            if !self.pause(self.pace).await {
                return;
            }
        }
    }

    /// Waits; false if it is time to end.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.context.stop.stopped() => false,
            () = sleep(pause) => true,
        }
    }

    /// A connection from its opening, which is part of its first request, to its end.
    async fn connection(&self) {
        let Context { recorder, stop, timeouts } = &*self.context;
        let request = get(&self.target.path, self.target.address, true);
        let mut who = Who::default();
        let mut begun = recorder.begin(Source::Kept);
        let mut connection = match Connection::open(self.target.address, *timeouts, None).await {
            Ok(connection) => connection,
            Err(fault) => return recorder.failed(begun, fault, &who),
        };
        let opened = Instant::now();
        let _opened = recorder.opened();
        loop {
            let answer = connection.ask(&request).await.and_then(|answer| {
                who = check(&answer)?.clone();
                Ok(answer)
            });
            let closes = match answer {
                Ok(answer) => {
                    recorder.bytes(0, answer.body.len());
                    recorder.ok(begun, &who);
                    answer.head.close
                }
                Err(fault) => {
                    // After a complete answer the connection could go on, but a client that got a wrong one lets go of it.
                    return recorder.failed(begun, fault, &who);
                }
            };
            if closes {
                return recorder.connection(|connections| connections.told_to_close += 1);
            }
            if self.retire_after.is_some_and(|age| opened.elapsed() >= age) {
                return recorder.connection(|connections| connections.retired += 1);
            }
            tokio::select! {
                biased;
                () = stop.stopped() => return,
                () = connection.ended() => {
                    return recorder.connection(|connections| connections.closed_idle += 1);
                }
                () = sleep(self.pace) => {}
            }
            begun = recorder.begin(Source::Kept);
        }
    }
}
