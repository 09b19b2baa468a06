//! Real clients of protocols that keep a connection: they go elsewhere when the server asks them to.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tonic::{Code, Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    Context,
    client::Fault,
    options::{Grpc, Target, Websocket},
    record::Who,
    report::{Kind, Source},
};

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due
}

/// A call is made anew so often at most.
const ANEW: u32 = 3;

/// Whether a call never left this side: it met a connection that had just ended. gRPC's own libraries make such a call anew by themselves
/// (gRFC A6, transparent retries), and this one leaves it to its user.
fn never_sent(status: &Status) -> bool {
    status.code() == Code::Cancelled && std::error::Error::source(status).is_some()
}

/// Calls on one channel. After a GOAWAY the library opens the next connection by itself, and loses no call.
pub(crate) async fn grpc(context: &Arc<Context>, grpc: Grpc) {
    let Grpc { target, every } = grpc;
    let who = Who::default();
    let endpoint = match Endpoint::from_shared(format!("http://{}", target.address)) {
        Ok(endpoint) => endpoint.connect_timeout(context.timeouts.connect).timeout(context.timeouts.read),
        Err(error) => {
            let begun = context.recorder.begin(Source::Kept);
            return context.recorder.failed(begun, Fault::new(Kind::Local, error.to_string()), &who);
        }
    };
    let mut client = HealthClient::new(endpoint.connect_lazy());
    let mut due = ticks(every);
    let mut open = false;
    loop {
        tokio::select! {
            biased;
            () = context.stop.stopped() => return,
            _ = due.tick() => {}
        }
        let begun = context.recorder.begin(Source::Kept);
        let mut answer = client.check(HealthCheckRequest::default()).await;
        for _ in 0..ANEW {
            if !answer.as_ref().is_err_and(never_sent) {
                break;
            }
            context.recorder.connection(|connections| connections.closed_idle += 1);
            answer = client.check(HealthCheckRequest::default()).await;
        }
        match answer {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => {
                context.recorder.ok(begun, &who);
                if !std::mem::replace(&mut open, true) {
                    context.recorder.say_open("a channel".to_owned(), &who);
                }
            }
            Ok(answer) => context.recorder.failed(begun, Fault::new(Kind::WrongBody, format!("{:?}", answer.get_ref().status())), &who),
            Err(status) => context.recorder.failed(begun, fault(&status), &who),
        }
    }
}

fn fault(status: &Status) -> Fault {
    let kind = match status.code() {
        Code::DeadlineExceeded => Kind::ReadTimeout,
        Code::Unavailable => Kind::ConnectFailed,
        _ => Kind::BadStatus,
    };
    Fault::new(kind, status.to_string())
}

/// How a conversation ended.
enum End {
    /// This side is told to end.
    Stopped,
    /// The server closed it in good order. What was not answered is sent again on the next connection, as with any client of websockets.
    Asked,
}

/// Texts on a websocket, one after the other, each answered before the next. When the server closes it, the next one is opened at once.
pub(crate) async fn websocket(context: &Arc<Context>, websocket: Websocket) {
    let Websocket { target, every } = websocket;
    let mut due = ticks(every);
    let mut number = 0;
    let mut unanswered = None;
    loop {
        let mut who = Who::default();
        let end = match open(context, &target).await {
            Ok(mut socket) => {
                let _opened = context.recorder.opened();
                converse(context, &mut socket, &mut due, &mut number, &mut unanswered, &mut who).await
            }
            Err(fault) => Err(fault),
        };
        match end {
            Ok(End::Asked) if context.stop.reason().is_none() => context.recorder.connection(|connections| connections.told_to_close += 1),
            Ok(End::Asked) => {
                let begun = unanswered.take();
                return begun.into_iter().for_each(|begun| context.recorder.failed(begun, Fault::new(Kind::EarlyEof, "closed at the end"), &who));
            }
            Ok(End::Stopped) => return,
            Err(fault) => {
                let begun = unanswered.take().unwrap_or_else(|| context.recorder.begin(Source::Kept));
                return context.recorder.failed(begun, fault, &who);
            }
        }
    }
}

async fn open(context: &Context, target: &Target) -> Result<WebSocketStream<TcpStream>, Fault> {
    let late = |what: &str| Fault::new(Kind::ConnectTimeout, format!("{what}: no answer in {:?}", context.timeouts.connect));
    let stream = timeout(context.timeouts.connect, TcpStream::connect(target.address)).await.map_err(|_| late("connecting"))?;
    let stream = stream.map_err(|error| Fault::new(Kind::ConnectFailed, error.to_string()))?;
    let opened = timeout(context.timeouts.connect, client_async(format!("ws://{}/", target.address), stream)).await;
    let (socket, _) = opened.map_err(|_| late("the handshake"))?.map_err(|error| Fault::new(Kind::BadAnswer, error.to_string()))?;
    Ok(socket)
}

async fn converse(
    context: &Context,
    socket: &mut WebSocketStream<TcpStream>,
    due: &mut tokio::time::Interval,
    number: &mut u64,
    unanswered: &mut Option<crate::record::Begun>,
    who: &mut Who,
) -> Result<End, Fault> {
    let broken = |error: tokio_tungstenite::tungstenite::Error| Fault::new(Kind::Reset, error.to_string());
    let local = socket.get_ref().local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    let mut told = false;
    loop {
        if unanswered.is_none() {
            tokio::select! {
                biased;
                () = context.stop.stopped() => {
                    return socket.close(None).await.map_err(broken).map(|()| End::Stopped);
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Close(_))) => return finish(socket).await,
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Err(broken(error)),
                    None => return Err(Fault::new(Kind::EarlyEof, "it ended without a close")),
                },
                _ = due.tick() => {
                    *number += 1;
                    *unanswered = Some(context.recorder.begin(Source::Kept));
                }
            }
        }
        let text = format!("text {number}");
        socket.send(Message::text(text.clone())).await.map_err(broken)?;
        let answer = loop {
            match timeout(context.timeouts.read, socket.next()).await {
                Err(_) => return Err(Fault::new(Kind::ReadTimeout, format!("no answer in {:?}", context.timeouts.read))),
                Ok(Some(Ok(Message::Text(answer)))) => break answer,
                Ok(Some(Ok(Message::Close(_)))) => return finish(socket).await,
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(broken(error)),
                Ok(None) => return Err(Fault::new(Kind::EarlyEof, "it ended without an answer")),
            }
        };
        let mut words = answer.splitn(3, ' ').map(str::to_owned);
        let (version, pod, rest) = (words.next(), words.next(), words.next());
        if rest.as_deref() != Some(text.as_str()) {
            return Err(Fault::new(Kind::WrongBody, format!("{text:?} was answered {answer:?}")));
        }
        (who.version, who.pod) = (version, pod);
        if let Some(begun) = unanswered.take() {
            context.recorder.ok(begun, who);
        }
        if !std::mem::replace(&mut told, true) {
            context.recorder.say_open(local.clone(), who);
        }
    }
}

/// The answer to the server's close is on its way; the server ends the connection then.
async fn finish(socket: &mut WebSocketStream<TcpStream>) -> Result<End, Fault> {
    // What follows is of no interest: it was closed in good order.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(End::Asked)
}
