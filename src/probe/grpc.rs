//! gRPC attempts: the health protocol (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>) without TLS.

use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::failure::shorten;
use super::request::authority;
use super::{Deadline, Failure, MOST_BYTES, USER_AGENT, tcp};

/// Asks the health service about `service`; empty is the server as a whole.
pub(super) async fn check(service: &str, address: SocketAddr, deadline: Deadline) -> Result<(), Failure> {
    let what = match service {
        "" => format!("gRPC health check on port {}", address.port()),
        service => format!("gRPC health check of {:?} on port {}", shorten(service), address.port()),
    };
    let stream = tcp::connect(&what, address, deadline).await?;
    match deadline.within(call(&what, service, address, stream)).await {
        None => Err(Failure::NoAnswer { what, after: deadline.allowed }),
        Some(result) => result,
    }
}

async fn call(what: &str, service: &str, address: SocketAddr, stream: TcpStream) -> Result<(), Failure> {
    let channel = match Endpoint::from_shared(format!("http://{}", authority(address))).and_then(|endpoint| endpoint.user_agent(USER_AGENT)) {
        Ok(endpoint) => endpoint.http2_max_header_list_size(16 * 1024).connect_with_connector(Once(Some(stream))).await,
        Err(error) => Err(error),
    };
    let channel = channel.map_err(|_| Failure::BadAnswer { what: what.to_owned(), why: NO_GRPC })?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).max_decoding_message_size(MOST_BYTES).check(request).await;
    match answer {
        Err(status) => Err(refused(what.to_owned(), &status)),
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

fn refused(what: String, status: &Status) -> Failure {
    // A status that came from the server has no cause on this side; one with a cause stands for a broken transport.
    if status.source().is_some() {
        return Failure::BadAnswer { what, why: NO_GRPC };
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
struct Once(Option<TcpStream>);

impl Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset)))
    }
}
