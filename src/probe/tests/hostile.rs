//! Answers made to cost: compressed ones, floods of HTTP/2 frames, TLS that is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// "all is well in the shop" in gzip (RFC 1952).
const GZIP: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 75, 204, 201, 81, 200, 44, 86, 40, 79, 5, 209, 121, 10, 37, 25, 169, 10, 197, 25, 249, 5, 0, 217, 33, 54, 36,
    23, 0, 0, 0,
];

/// An HTTP/2 frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;
/// ":status: 200" of the static table, and content-type: application/grpc as a literal (RFC 7541).
const GRPC_200: &[u8] = b"\x88\x0f\x10\x10application/grpc";

/// A server that reads the preface, sends `start` and then `again` until the other side is gone; and how many bytes it sent.
async fn floods(start: Vec<u8>, again: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let address = listen(move |stream| {
        let (start, again, count) = (start.clone(), again.clone(), counted.clone());
        async move {
            let (mut reader, mut writer) = stream.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
            if writer.write_all(&start).await.is_err() {
                return;
            }
            while !again.is_empty() && writer.write_all(&again).await.is_ok() {
                count.fetch_add(again.len(), Ordering::Relaxed);
            }
            // With nothing more to say it holds the connection.
            std::future::pending::<()>().await;
        }
    })
    .await;
    (address, count)
}

#[tokio::test]
async fn a_compressed_answer_is_taken_as_it_is() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", GZIP.len());
    let (address, mut requests) = answers([head.as_bytes(), GZIP].concat()).await;
    assert_eq!(fails(&expecting("/", &[200], Some("shop")), address, LONG).await.reason(), "BodyTextMissing");
    attempt(&expecting("/", &[200], None), address, LONG).await.unwrap();
    // Nor is it asked for.
    let asked = requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(!asked.contains("accept-encoding") && !asked.contains("te:"), "{asked}");
    // A gRPC message whose first byte says that it is compressed.
    let message = [&[1, 0, 0, 0, u8::try_from(GZIP.len()).unwrap()], GZIP].concat();
    let headers = [GRPC_200, b"\x00\x0dgrpc-encoding\x04gzip"].concat();
    let answer = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS, 1, &headers), frame(0, 0, 1, &message)].concat();
    let (address, _) = floods(answer, vec![]).await;
    let failure = fails(&Check::Grpc { service: None, tls: false }, address, LONG).await;
    // Nothing here could unpack it, which the client library calls UNIMPLEMENTED.
    assert_eq!(failure.reason(), "HealthServiceMissing", "{failure}");
}

#[tokio::test]
async fn floods_of_frames_end_in_time_and_are_not_kept() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let answer = [settings.clone(), frame(HEADERS, END_HEADERS, 1, GRPC_200)].concat();
    let cookie = [b"\x00\x01x\x7f\x81\x7d".as_slice(), &[b'y'; 16_256]].concat();
    let cases: [(&str, Vec<u8>, Vec<u8>); 9] = [
        ("settings", settings.clone(), settings.clone()),
        ("pings", settings.clone(), frame(6, 0, 0, &[0; 8])),
        ("frames of no known kind", settings.clone(), frame(0xbe, 0, 0, &[0; 1000])),
        ("windows", settings.clone(), frame(8, 0, 0, &[0, 0, 0, 1])),
        ("resets", settings.clone(), frame(3, 0, 1, &[0, 0, 0, 8])),
        ("headers without end", [settings.clone(), frame(HEADERS, 0, 1, GRPC_200)].concat(), frame(9, 0, 1, &cookie)),
        ("promises", settings.clone(), frame(5, END_HEADERS, 1, b"\0\0\0\x02\x88")),
        ("a message of 4 GiB", [answer.clone(), frame(0, 0, 1, b"\0\xff\xff\xff\xff")].concat(), frame(0, 0, 1, &[0; 8192])),
        ("empty pieces", answer.clone(), frame(0, 0, 1, &[])),
    ];
    for (what, start, again) in cases {
        let (address, count) = floods(start, again.repeat(50)).await;
        let failure = fails(&Check::Grpc { service: None, tls: false }, address, SHORT).await;
        assert!(["NoAnswer", "BadAnswer", "UnexpectedGrpcStatus"].contains(&failure.reason()), "{what}: {failure}");
        assert!(failure.to_string().len() < 512, "{what}: {failure}");
        let sent = count.load(Ordering::Relaxed);
        // It may be read and thrown away for as long as the attempt lasts, but it ends with it.
        tokio::time::timeout(SLACK, async {
            let mut last = sent;
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let now = count.load(Ordering::Relaxed);
                if now == last {
                    return;
                }
                last = now;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{what}: it is still read"));
    }
}

#[tokio::test]
async fn an_answer_in_http_2_is_no_answer_to_http_1() {
    let (address, _) = floods(frame(SETTINGS, 0, 0, &[]), vec![]).await;
    assert_eq!(fails(&get("/"), address, LONG).await.reason(), "BadAnswer");
}

#[tokio::test]
async fn what_only_looks_like_tls_is_left() {
    let http = Check::Http(HttpCheck { scheme: Scheme::Https, host: "shop.example".into(), path: "/".into(), ..HttpCheck::default() });
    let grpc = Check::Grpc { service: None, tls: true };
    // Records (RFC 8446, 5.1): alerts without end, a handshake message that is never complete, one that says it has 16 MiB, empty ones, noise.
    let cases: [(&str, Vec<u8>, Vec<u8>); 5] = [
        ("warnings", vec![], b"\x15\x03\x03\0\x02\x01\x5a".repeat(50)),
        ("half a server hello", b"\x16\x03\x03\0\x10\x02\0\0\x50\x03\x03".to_vec(), vec![]),
        ("a certificate of 16 MiB", b"\x16\x03\x03\x40\0\x02\xff\xff\xff".to_vec(), vec![0; 4096]),
        ("empty records", vec![], b"\x16\x03\x03\0\0".repeat(50)),
        ("noise", vec![0xff; 64], vec![0xff; 4096]),
    ];
    for (what, start, again) in cases {
        let (address, _) = floods(start, again).await;
        for check in [&http, &grpc] {
            let failure = fails(check, address, SHORT).await;
            assert!(["TlsHandshakeFailed", "TlsTimeout"].contains(&failure.reason()), "{what}: {failure}");
        }
    }
}
