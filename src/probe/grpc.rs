//! gRPC attempts: the health protocol (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>), in TLS or without.

use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::Service;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::failure::shorten;
use super::request::authority;
use super::{Deadline, Failure, MOST_BYTES, USER_AGENT, tcp, tls};

/// Asks the health service about `service`; empty is the server as a whole.
pub(super) async fn check(service: &str, in_tls: bool, address: SocketAddr, deadline: Deadline) -> Result<(), Failure> {
    let how = if in_tls { "gRPC health check in TLS" } else { "gRPC health check" };
    let what = match service {
        "" => format!("{how} on port {}", address.port()),
        service => format!("{how} of {:?} on port {}", shorten(service), address.port()),
    };
    let stream = tcp::connect(&what, address, deadline).await?;
    let result = if in_tls {
        let stream = tls::handshake(&what, stream, "", address, tls::Inside::Http2, deadline).await?;
        deadline.within(call(&what, service, &format!("https://{}", authority(address)), NO_GRPC_IN_TLS, stream)).await
    } else {
        deadline.within(call(&what, service, &format!("http://{}", authority(address)), NO_GRPC, stream)).await
    };
    result.unwrap_or(Err(Failure::NoAnswer { what, after: deadline.allowed }))
}

async fn call<S>(what: &str, service: &str, url: &str, no_grpc: &'static str, stream: S) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let channel = match Endpoint::from_shared(url.to_owned()).and_then(|endpoint| endpoint.user_agent(USER_AGENT)) {
        Ok(endpoint) => endpoint.http2_max_header_list_size(16 * 1024).connect_with_connector(Once(Some(stream))).await,
        Err(error) => Err(error),
    };
    let channel = channel.map_err(|_| Failure::BadAnswer { what: what.to_owned(), why: no_grpc })?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).max_decoding_message_size(MOST_BYTES).check(request).await;
    match answer {
        Err(status) => Err(refused(what.to_owned(), no_grpc, &status)),
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            ServingStatus::ServiceUnknown => Err(Failure::GrpcUnknownService { what: what.to_owned() }),
            ServingStatus::NotServing => Err(Failure::GrpcNotServing { what: what.to_owned(), status: "NOT_SERVING" }),
            ServingStatus::Unknown => Err(Failure::GrpcNotServing { what: what.to_owned(), status: "UNKNOWN" }),
        },
    }
}

/// A server that speaks something else and one that breaks off look alike: either way HTTP/2 ends in an error.
const NO_GRPC: &str = "no gRPC answer: the connection broke, or the port does not speak gRPC (HTTP/2 without TLS)";
const NO_GRPC_IN_TLS: &str = "no gRPC answer: the connection broke, or the port does not speak gRPC (HTTP/2 in TLS)";

fn refused(what: String, no_grpc: &'static str, status: &Status) -> Failure {
    // A status that came from the server has no cause on this side; one with a cause stands for a broken transport.
    if status.source().is_some() {
        return Failure::BadAnswer { what, why: no_grpc };
    }
    let code = match status.code() {
        Code::NotFound => return Failure::GrpcUnknownService { what },
        Code::Unimplemented => return Failure::GrpcUnimplemented { what },
        Code::Ok => "OK without an answer",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    };
    Failure::GrpcStatus { what, code }
}

/// Hands out the one connection of an attempt. A channel that lost it asks again, and gets none: an attempt that
/// reconnects would hide the break it should report.
struct Once<S>(Option<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Service<Uri> for Once<S> {
    type Response = TokioIo<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<S>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset)))
    }
}
