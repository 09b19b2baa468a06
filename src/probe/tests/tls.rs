//! HTTPS attempts against rustls servers with certificates made here.

use std::sync::Arc;

use futures::StreamExt;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::*;

fn get_over_tls(host: &str) -> Check {
    let Check::Http(http) = expecting("/healthz", &[200], Some("shop")) else { unreachable!() };
    Check::Http(HttpCheck { scheme: Scheme::Https, host: host.to_owned(), ..http })
}

/// A certificate that signed itself, has long expired, and names neither address nor host of any probe.
fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["unrelated.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

/// A server for the versions, with or without a demand for client certificates; and the server names asked for.
async fn serve(
    versions: &[&'static SupportedProtocolVersion],
    clients_need_certificates: bool,
) -> (SocketAddr, mpsc::UnboundedReceiver<Option<String>>) {
    let (certificate, key) = certificate();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = if clients_need_certificates {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sent, names) = mpsc::unbounded_channel();
    let address = listen(move |stream| {
        let (acceptor, sent) = (acceptor.clone(), sent.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let _ = sent.send(stream.get_ref().1.server_name().map(str::to_owned));
            request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nshop").await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (address, names)
}

#[tokio::test]
async fn any_certificate_will_do_in_both_versions() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (address, mut names) = serve(&[version], false).await;
        attempt(&get_over_tls(""), address, LONG).await.unwrap();
        assert_eq!(names.recv().await.unwrap(), None, "an address is no server name");
        attempt(&get_over_tls("shop.example:8443"), address, LONG).await.unwrap();
        assert_eq!(names.recv().await.unwrap().as_deref(), Some("shop.example"));
        // A host that can be a header and can't be a server name is no obstacle.
        attempt(&get_over_tls("a_b..c"), address, LONG).await.unwrap();
    }
}

/// A gRPC server in TLS whose health service says SERVING, and that speaks these protocols (ALPN); and which was agreed on.
async fn serve_grpc(protocols: &[&[u8]]) -> (SocketAddr, mpsc::UnboundedReceiver<Option<Vec<u8>>>) {
    let (certificate, key) = certificate();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(rustls::ALL_VERSIONS).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sent, agreed) = mpsc::unbounded_channel();
    let address = listen(move |stream| {
        let (acceptor, sent) = (acceptor.clone(), sent.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let _ = sent.send(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
            let (_, health) = tonic_health::server::health_reporter();
            // tonic does not know streams of this kind.
            let (inner, mut outer) = tokio::io::duplex(64 * 1024);
            let connection = futures::stream::iter([Ok::<_, std::io::Error>(inner)]).chain(futures::stream::pending());
            let serve = tonic::transport::Server::builder().serve_with_incoming(health, connection);
            let _ = futures::future::select(std::pin::pin!(serve), std::pin::pin!(tokio::io::copy_bidirectional(&mut stream, &mut outer))).await;
        }
    })
    .await;
    (address, agreed)
}

#[tokio::test]
async fn grpc_in_tls_takes_any_certificate_and_asks_for_http_2() {
    let check = Check::Grpc { service: None, tls: true };
    let h2 = || Some(b"h2".to_vec());
    let cases: [(&[&[u8]], _); 3] = [(&[b"h2"], h2()), (&[], None), (&[b"http/1.1", b"h2"], h2())];
    for (protocols, agreed) in cases {
        let (address, mut said) = serve_grpc(protocols).await;
        attempt(&check, address, LONG).await.unwrap();
        assert_eq!(said.recv().await.unwrap(), agreed);
        let asked = Check::Grpc { service: Some("cart".into()), tls: true };
        assert_eq!(
            sentence(&asked, address).await,
            "gRPC health check in TLS of \"cart\" on port P: the health service does not know that service; \
             register it, or correct the probe's service name"
        );
    }
    let (address, _) = serve_grpc(&[b"http/1.1"]).await;
    let refused = "gRPC health check in TLS on port P: TLS handshake failed: the server does not speak HTTP/2 on that port";
    assert_eq!(sentence(&check, address).await, refused);
    // TLS, and HTTP/1 in it.
    let (address, _) = serve(&[&rustls::version::TLS13], false).await;
    let other = "gRPC health check in TLS on port P: no gRPC answer: the connection broke, or the port does not speak gRPC (HTTP/2 in TLS)";
    assert_eq!(sentence(&check, address).await, other);
    let plain = listen(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.read_u8().await;
    })
    .await;
    assert!(sentence(&check, plain).await.ends_with("TLS handshake failed: the answer is not TLS; does the port speak plain HTTP?"));
}

#[tokio::test]
async fn answers_are_judged_as_without_tls() {
    let (address, _) = serve(&[&rustls::version::TLS13], false).await;
    assert_eq!(sentence(&over_tls(expecting("/healthz", &[204], None)), address).await, "HTTPS GET /healthz on port P: answered 200, expected 204");
}

#[tokio::test]
async fn a_server_that_demands_a_client_certificate_is_told() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (address, _) = serve(&[version], true).await;
        assert_eq!(
            sentence(&get_over_tls(""), address).await,
            "HTTPS GET /healthz on port P: TLS handshake failed: the server wants a client certificate, and probes have none",
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn ports_that_do_not_speak_tls_are_told() {
    let plain = listen(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.read_u8().await;
    })
    .await;
    assert_eq!(
        sentence(&get_over_tls(""), plain).await,
        "HTTPS GET /healthz on port P: TLS handshake failed: the answer is not TLS; does the port speak plain HTTP?"
    );
    let closes = listen(|mut stream| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    assert_eq!(sentence(&get_over_tls(""), closes).await, "HTTPS GET /healthz on port P: TLS handshake failed: the connection was closed during it");
    let silent = listen(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let failure = fails(&get_over_tls(""), silent, SHORT).await;
    assert_eq!(failure.reason(), "TlsTimeout");
    assert!(failure.to_string().contains("TLS handshake not finished within 300ms"), "{failure}");
}

#[tokio::test]
async fn http_to_a_tls_port_is_told() {
    let (address, _) = serve(&[&rustls::version::TLS13], false).await;
    assert_eq!(sentence(&get("/"), address).await, "GET / on port P: the answer is not HTTP/1; does the port speak another protocol, or TLS?");
}
