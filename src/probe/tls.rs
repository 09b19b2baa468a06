//! TLS for HTTPS attempts and for gRPC with TLS, with any certificate.
//!
//! A probe goes to a pod's IP, while the pod's certificate names a Service or a public host, and its issuer is often
//! known to the application's clients alone: checking it would fail probes of sound applications. The kubelet does not
//! check it for `httpGet` either. Nothing is lost: an attempt sends no credentials but what the spec holds, and one
//! who can answer for a pod's IP could answer without TLS as well.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Deadline, Failure};

/// The protocol that is asked for in the handshake (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    /// None: every server that speaks HTTP/1.1 does so without being asked.
    Http1,
    /// `h2`, without which some gRPC servers refuse.
    Http2,
}

/// TLS on the connection. `name` is asked for (SNI) if it is a DNS name; otherwise none is, as with an IP address.
///
/// # Errors
/// [`Failure::TlsHandshake`] with the kind of refusal, or [`Failure::TlsTimeout`].
pub(super) async fn handshake(
    what: &str,
    stream: TcpStream,
    name: &str,
    address: SocketAddr,
    inside: Inside,
    deadline: Deadline,
) -> Result<TlsStream<TcpStream>, Failure> {
    let failed = |why| Failure::TlsHandshake { what: what.to_owned(), why };
    let config = config(inside).map_err(|_| failed("no TLS version is available here"))?;
    let name = ServerName::try_from(name.to_owned()).unwrap_or(ServerName::from(address.ip()));
    match deadline.within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        None => Err(Failure::TlsTimeout { what: what.to_owned(), after: deadline.allowed }),
        Some(Ok(stream)) => Ok(stream),
        Some(Err(error)) => Err(failed(refusal(&error).unwrap_or("the connection was closed during it"))),
    }
}

/// A configuration for one attempt: made anew, so that no session is resumed and every attempt is a full handshake.
fn config(inside: Inside) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    if inside == Inside::Http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(config)
}

/// What TLS itself objected to, if that is what broke the connection. With TLS 1.3 a refusal for want of a client
/// certificate comes after the handshake, on the first read.
pub(super) fn refusal(error: &io::Error) -> Option<&'static str> {
    let inner: &(dyn Error + 'static) = error.get_ref()?;
    Some(match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate | AlertDescription::AccessDenied) => {
            "the server wants a client certificate, and probes have none"
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server does not know the host name; an HTTP probe names one by the header Host in httpHeaders"
        }
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => "the server does not speak HTTP/2 on that port",
        rustls::Error::AlertReceived(_) => "the server refused it with an alert",
        rustls::Error::PeerIncompatible(_) => "no TLS version or cipher in common; probes speak TLS 1.2 and 1.3",
        rustls::Error::InvalidMessage(_) => "the answer is not TLS; does the port speak plain HTTP?",
        _ => "the server broke the rules of TLS",
    })
}

/// Accepts every certificate and, as nothing depends on whose it is, every signature made with it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
