#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;

use super::*;

type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// An API server that is there for `/version` only if it is said so, and what it was asked.
async fn serving(alive: bool) -> (Client, Seen) {
    let seen = Seen::default();
    let asked = seen.clone();
    let answer = move |request: Request| {
        let path = request.uri().path().to_owned();
        asked.lock().unwrap().push((request.method().to_string(), path.clone()));
        async move {
            let audit = [("audit-id", "x")];
            match path.rsplit('/').next().unwrap() {
                "version" if alive => "{}".into_response(),
                "good" => (audit, "hello").into_response(),
                "busy" => (http::StatusCode::SERVICE_UNAVAILABLE, audit, "busy").into_response(),
                "much" => (audit, "x".repeat(1_000_000)).into_response(),
                "endless" => {
                    let pieces = futures::stream::once(async { Ok::<_, std::io::Error>("hello") });
                    (audit, axum::body::Body::from_stream(futures::StreamExt::chain(pieces, futures::stream::pending()))).into_response()
                }
                "broken" => {
                    let pieces = [Ok("hello"), Err(std::io::Error::other("broken"))];
                    (audit, axum::body::Body::from_stream(futures::stream::iter(pieces))).into_response()
                }
                _ => futures::future::pending().await,
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = kube::Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    config.default_retry = false;
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    (Client::try_from(config).unwrap(), seen)
}

async fn ask(client: Option<&Client>, path: &str) -> Result<(), Failure> {
    let check = HttpCheck {
        path: path.into(),
        expect: crate::probe::Expect { body_contains: Some("hello".into()), ..Default::default() },
        ..Default::default()
    };
    let pod = PodName { namespace: "shop", name: "p" };
    attempt(client, pod, &check, "10.1.2.3:8080".parse().unwrap(), Duration::from_millis(500)).await
}

#[tokio::test]
async fn the_answer_that_is_passed_on_decides() {
    let (client, seen) = serving(true).await;
    assert_eq!(ask(Some(&client), "/good").await, Ok(()));
    let failure = ask(Some(&client), "/busy").await.unwrap_err();
    assert_eq!(failure.to_string(), "GET /busy on port 8080 through the API server: answered 503, expected 200 to 399");
    let long = ask(Some(&client), "/much").await.unwrap_err().to_string();
    assert!(long.contains("the first 64 KiB of its body lacks"), "{long}");
    // Each was sent once, and to the pod.
    let paths: Vec<(String, String)> =
        ["good", "busy", "much"].map(|path| ("GET".into(), format!("/api/v1/namespaces/shop/pods/p:8080/proxy/{path}"))).into();
    assert_eq!(*seen.lock().unwrap(), paths);
}

#[tokio::test]
async fn a_silent_pod_fails_and_a_silent_api_server_does_not() {
    for alive in [true, false] {
        let (client, _) = serving(alive).await;
        for (path, reason) in [("/silent", "NoAnswer"), ("/endless", "BodyTimeout"), ("/broken", "ConnectionBroken")] {
            let failure = ask(Some(&client), path).await.unwrap_err();
            assert_eq!(failure.reason(), if alive { reason } else { "NotTried" }, "{path} {failure}");
        }
    }
    let mut config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    config.default_retry = false;
    let nobody = Client::try_from(config).unwrap();
    assert!(ask(Some(&nobody), "/good").await.unwrap_err().undecided());
    // Told by the error alone, whoever else answers meanwhile.
    let refused = nobody.send(http::Request::new(Body::empty())).await.unwrap_err();
    assert!(on_the_way(&refused), "{refused:?}");
}

#[tokio::test]
async fn without_leave_nothing_is_sent() {
    let failure = ask(None, "/good").await.unwrap_err().to_string();
    assert!(failure.ends_with("could not try from here: this operator may not send anything through the API server"), "{failure}");
}
