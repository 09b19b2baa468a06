//! gRPC attempts against tonic servers, and against ports that speak something else.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use ::http::{HeaderValue, Request, Response};
use futures::stream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::*;

fn whole() -> Check {
    Check::Grpc { service: None, tls: false }
}

fn service(name: &str) -> Check {
    Check::Grpc { service: Some(name.to_owned()), tls: false }
}

/// A health service that answers what it is made of.
#[derive(Clone)]
struct Fixed(Result<i32, Code>);

#[tonic::async_trait]
impl Health for Fixed {
    async fn check(&self, _: tonic::Request<HealthCheckRequest>) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        match self.0 {
            Ok(status) => Ok(tonic::Response::new(HealthCheckResponse { status })),
            Err(code) => Err(Status::new(code, "secret")),
        }
    }

    type WatchStream = stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: tonic::Request<HealthCheckRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("secret"))
    }
}

/// An HTTP/2 server without any health service: with this status and, if it speaks gRPC, this grpc-status.
#[derive(Clone)]
struct Http2(u16, Option<&'static str>);

impl Service<Request<Body>> for Http2 {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.try_into().unwrap();
        if let Some(status) = self.1 {
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
        }
        ready(Ok(response))
    }
}

async fn incoming() -> (SocketAddr, TcpIncoming) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), TcpIncoming::from(listener))
}

async fn fixed(answer: Result<i32, Code>) -> SocketAddr {
    let (address, incoming) = incoming().await;
    tokio::spawn(Server::builder().serve_with_incoming(HealthServer::new(Fixed(answer)), incoming));
    address
}

async fn http2(status: u16, grpc_status: Option<&'static str>) -> SocketAddr {
    let (address, incoming) = incoming().await;
    tokio::spawn(Server::builder().serve_with_incoming(Http2(status, grpc_status), incoming));
    address
}

#[tokio::test]
async fn services_are_asked_one_by_one() {
    let (reporter, health) = tonic_health::server::health_reporter();
    let (address, incoming) = incoming().await;
    tokio::spawn(Server::builder().serve_with_incoming(health, incoming));
    reporter.set_service_status("cart", tonic_health::ServingStatus::NotServing).await;
    reporter.set_service_status("home", tonic_health::ServingStatus::Serving).await;
    attempt(&whole(), address, LONG).await.unwrap();
    attempt(&service(""), address, LONG).await.unwrap();
    attempt(&service("home"), address, LONG).await.unwrap();
    let failure = fails(&service("cart"), address, LONG).await;
    assert_eq!(failure.reason(), "NotServing");
    assert_eq!(sentence(&service("cart"), address).await, "gRPC health check of \"cart\" on port P: answered NOT_SERVING, expected SERVING");
    assert_eq!(
        sentence(&service("absent"), address).await,
        "gRPC health check of \"absent\" on port P: the health service does not know that service; \
         register it, or correct the probe's service name"
    );
    // Each attempt has a connection of its own, so each sees what is true now.
    reporter.set_service_status("cart", tonic_health::ServingStatus::Serving).await;
    attempt(&service("cart"), address, LONG).await.unwrap();
}

#[tokio::test]
async fn every_answer_of_the_protocol_has_its_sentence() {
    for (status, reason) in
        [(ServingStatus::Unknown, "NotServing"), (ServingStatus::NotServing, "NotServing"), (ServingStatus::ServiceUnknown, "UnknownService")]
    {
        let address = fixed(Ok(status as i32)).await;
        assert_eq!(fails(&whole(), address, LONG).await.reason(), reason, "{status:?}");
    }
    // A number that the protocol does not know is no SERVING.
    let address = fixed(Ok(77)).await;
    assert_eq!(sentence(&whole(), address).await, "gRPC health check on port P: answered UNKNOWN, expected SERVING");
    let address = fixed(Err(Code::PermissionDenied)).await;
    assert_eq!(
        sentence(&whole(), address).await,
        "gRPC health check on port P: the call ended with PERMISSION_DENIED",
        "and nothing of the server's message"
    );
    let address = fixed(Err(Code::Unavailable)).await;
    assert_eq!(fails(&whole(), address, LONG).await.reason(), "UnexpectedGrpcStatus");
}

#[tokio::test]
async fn servers_without_the_health_service_are_told() {
    for address in [http2(200, Some("12")).await, http2(404, None).await] {
        assert_eq!(
            sentence(&whole(), address).await,
            "gRPC health check on port P: UNIMPLEMENTED; the server does not offer grpc.health.v1.Health on that port"
        );
    }
}

#[tokio::test]
async fn ports_that_do_not_speak_grpc_are_told() {
    let not_grpc = "gRPC health check on port P: no gRPC answer: the connection broke, or the port does not speak gRPC (HTTP/2 without TLS)";
    let speaks = ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "220 mail.example ESMTP\r\n", ""];
    for bytes in speaks {
        let (address, _) = answers(bytes).await;
        assert_eq!(sentence(&whole(), address).await, not_grpc, "{bytes:?}");
    }
    let reset = listen(|mut stream| async move {
        request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(sentence(&whole(), reset).await, not_grpc);
}

#[tokio::test]
async fn servers_that_stall_are_left_in_time() {
    let silent = listen(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let failure = fails(&service("cart"), silent, SHORT).await;
    let what = format!("gRPC health check of \"cart\" on port {}", silent.port());
    assert_eq!(failure, Failure::NoAnswer { what, after: SHORT });
}

#[tokio::test]
async fn one_connection_an_attempt_and_no_second_try() {
    let (accepted, mut count) = mpsc::unbounded_channel();
    let address = listen(move |stream| {
        let _ = accepted.send(());
        async move { drop(stream) }
    })
    .await;
    fails(&whole(), address, LONG).await;
    count.recv().await.unwrap();
    assert!(count.try_recv().is_err(), "it connected again");
}
