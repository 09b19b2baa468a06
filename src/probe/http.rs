//! HTTP attempts: one exchange on one connection, in this task, so that dropping the attempt closes the socket.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use futures::future::{Either, select};
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::expect::{Expect, unexpected};
use super::proxied::beginning;
use super::request::Request;
use super::{Deadline, Failure, MOST_BYTES, Scheme, tcp, tls};

/// Headers an answer may have; hyper's own bound of 100 is less than some applications behind proxies send.
const MOST_HEADERS: usize = 256;

/// Sends the request and judges the whole answer.
pub(super) async fn exchange(request: Request, scheme: Scheme, address: SocketAddr, expect: &Expect, deadline: Deadline) -> Result<(), Failure> {
    carry(request, scheme, address, Verdict::Whole(expect), deadline).await
}

async fn carry(request: Request, scheme: Scheme, address: SocketAddr, verdict: Verdict<'_>, deadline: Deadline) -> Result<(), Failure> {
    let stream = tcp::connect(&request.what, address, deadline).await?;
    match scheme {
        Scheme::Http => converse(request, stream, verdict, deadline).await,
        Scheme::Https => {
            let stream = tls::handshake(&request.what, stream, &request.server_name, address, tls::Inside::Http1, deadline).await?;
            converse(request, stream, verdict, deadline).await
        }
    }
}

/// Sends the request and returns when a 2xx status has come.
pub(super) async fn tell(request: Request, address: SocketAddr, deadline: Deadline) -> Result<(), Failure> {
    let stream = tcp::connect(&request.what, address, deadline).await?;
    converse(request, stream, Verdict::Success, deadline).await
}

/// Sends the request and has the whole answer judged by somebody else.
pub(super) async fn fetch(request: Request, scheme: Scheme, address: SocketAddr, judge: Judge<'_>, deadline: Deadline) -> Result<(), Failure> {
    carry(request, scheme, address, Verdict::Other(judge), deadline).await
}

/// Judges a status and a body of which at most [`MOST_BYTES`] were read.
pub(super) type Judge<'a> = &'a (dyn Fn(StatusCode, &[u8]) -> Result<(), Failure> + Sync);

/// What decides.
enum Verdict<'a> {
    /// Any 2xx; the body is left unread.
    Success,
    /// Status, and a body that is read to its end or its bound, as the kubelet does: one that breaks off is a failure.
    Whole(&'a Expect),
    /// Somebody else, by the same.
    Other(Judge<'a>),
}

async fn converse<S>(request: Request, stream: S, verdict: Verdict<'_>, deadline: Deadline) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Request { what, message, .. } = request;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_BYTES)
        .max_header_size(MOST_BYTES)
        .max_headers(MOST_HEADERS)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&what, &error))?;
    let answer = async {
        let response = match deadline.within(sender.send_request(message)).await {
            None => {
                return Err(Failure::NoAnswer { what: what.clone(), after: deadline.allowed });
            }
            Some(response) => response.map_err(|error| broken(&what, &error))?,
        };
        let got = response.status();
        match &verdict {
            Verdict::Success if got.is_success() => Ok(()),
            Verdict::Success => Err(unexpected(&what, got, "200 to 299".to_owned())),
            whole => {
                if let Verdict::Whole(expect) = whole {
                    expect.judge_head(&what, got, response.headers())?;
                }
                let Some(body) = deadline.within(beginning(response.into_body())).await else {
                    return Err(Failure::BodyTimeout { what: what.clone(), got: got.as_u16(), after: deadline.allowed });
                };
                let body = body.map_err(|error| broken(&what, &error))?;
                match whole {
                    Verdict::Other(judge) => judge(got, &body),
                    Verdict::Whole(expect) => expect.judge_body(&what, got, &body, deadline.took()),
                    Verdict::Success => Ok(()),
                }
            }
        }
    };
    // The connection does the reading and writing while the answer is awaited; how it ends shows in the answer.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((result, _)) => result,
        Either::Right((_, answer)) => answer.await,
    }
}

/// What broke an exchange, in fixed words: hyper's own may quote the answer.
fn broken(what: &str, error: &hyper::Error) -> Failure {
    let what = what.to_owned();
    if error.is_parse_too_large() {
        return Failure::BadAnswer { what, why: "the answer's head has more than 64 KiB, more than 256 headers, or an impossible length" };
    }
    if error.is_parse_version_h2() {
        return Failure::BadAnswer { what, why: "the port answers in HTTP/2; probes speak HTTP/1.1" };
    }
    if error.is_parse() {
        return Failure::BadAnswer { what, why: "the answer is not HTTP/1; does the port speak another protocol, or TLS?" };
    }
    if error.is_incomplete_message() {
        return Failure::Broken { what, how: "closed" };
    }
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<io::Error>()) else {
        return Failure::BadAnswer { what, why: "the answer could not be read" };
    };
    if let Some(why) = tls::refusal(error) {
        return Failure::TlsHandshake { what, why };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Broken { what, how: "closed" },
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => Failure::Broken { what, how: "reset" },
        // hyper's words for chunks that break their own rules.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Failure::BadAnswer { what, why: "the answer's body breaks the rules of chunked encoding" }
        }
        _ => Failure::BadAnswer { what, why: "the answer could not be read" },
    }
}
