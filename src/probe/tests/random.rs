//! Whatever bytes come back: an attempt ends in time, without a panic, and quotes none of them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Bytes of all kinds: noise, and answers that are right up to some point.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..200),
        "[ -~\r\n]{0,80}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 404 Not Found\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n",
            "HTTP/1.1 999 \r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: upgrade\r\n",
            "\r\n",
            "5\r\nhello\r\n",
            "0\r\n\r\n",
            "ffffffffffffffff\r\n",
            "\r\n\r\n\0",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn checks() -> [Check; 4] {
    let json = vec![("/a".to_owned(), "1".to_owned())];
    let http = || checking("/p", Expect { status: vec![200], body_contains: Some("hello".to_owned()), json: json.clone(), ..Expect::default() });
    let grpc = |tls| Check::Grpc { service: None, tls };
    [http(), over_tls(http()), grpc(false), grpc(true)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_answer_ends_in_time(bytes in answer(), closes in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sent = bytes.clone();
            let address = listen(move |mut stream| {
                let sent = sent.clone();
                async move {
                    // Without waiting for a request: what comes first must not matter.
                    let _ = stream.write_all(&sent).await;
                    if closes {
                        let _ = stream.shutdown().await;
                    }
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            })
            .await;
            let timeout = Duration::from_millis(50);
            for check in checks() {
                let outcome = tokio::time::timeout(timeout + SLACK, attempt(&check, address, timeout)).await;
                let Ok(outcome) = outcome else { panic!("{check:?} took longer than its timeout") };
                if let Err(failure) = outcome {
                    let text = failure.to_string();
                    prop_assert!(text.contains(&format!("on port {}: ", address.port())), "{}", text);
                    prop_assert!(text.len() < 512, "{}", text);
                    prop_assert!(!failure.reason().is_empty());
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_path_header_and_host_is_sent_or_refused(
        path in ".{0,60}", host in "[a-z.:]{0,10}|.{0,20}", key in "x[a-zA-Z-]{1,10}|.{0,20}", value in "[ -~]{0,10}|.{0,20}",
        text in ".{0,300}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (address, mut requests) = answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            let expect = Expect { status: vec![200], body_contains: Some(text.clone()), ..Expect::default() };
            let check = Check::Http(HttpCheck { host, path, headers: vec![(key, value)], expect, ..HttpCheck::default() });
            match attempt(&check, address, LONG).await {
                Ok(()) => prop_assert!(text.is_empty()),
                Err(Failure::InvalidProbe { .. }) => prop_assert!(requests.try_recv().is_err()),
                Err(failure) => {
                    prop_assert_eq!(failure.reason(), "BodyTextMissing");
                    // One request with one line and the headers asked for, whatever the spec holds.
                    let head = requests.recv().await.unwrap();
                    prop_assert_eq!(head.matches("\r\n\r\n").count(), 1);
                    let lines = head.trim_end().split("\r\n").count();
                    prop_assert!((5..=6).contains(&lines), "{}", head);
                }
            }
            Ok(())
        })?;
    }
}
