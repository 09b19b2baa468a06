//! What an answer must be: headers, values in JSON, and when it must be there.

use proptest::prelude::*;

use super::*;
use crate::probe::pointer;

fn answer(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn headers(wanted: &[(&str, Option<&str>)]) -> Check {
    let headers = wanted.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
    checking("/", Expect { headers, ..Expect::default() })
}

fn json(wanted: &[(&str, &str)]) -> Expect {
    let json = wanted.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    Expect { json, ..Expect::default() }
}

/// What is said of this body when the value at the path must be `wanted`; nothing when it passes.
async fn said(body: &str, path: &str, wanted: &str) -> String {
    let (address, _) = answers(answer("", body)).await;
    let check = checking("/", json(&[(path, wanted)]));
    match attempt(&check, address, LONG).await {
        Ok(()) => String::new(),
        Err(failure) => failure.to_string().replace(&format!("GET / on port {}: answered 200, but ", address.port()), ""),
    }
}

#[tokio::test]
async fn headers_must_be_there_and_have_their_value() {
    let (address, _) = answers(answer("X-Version: v1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\nX-Odd: caf\u{e9}\r\n", "")).await;
    let passes = [("x-version", None), ("X-VERSION", Some("v1")), ("x-version", Some(" v1\t")), ("set-cookie", Some("b=2")), ("x-empty", Some(""))];
    attempt(&headers(&passes), address, LONG).await.unwrap();
    attempt(&headers(&[("x-odd", Some("caf\u{e9}"))]), address, LONG).await.unwrap();
    for (name, value, said) in [
        ("X-Absent", None, "without the header \"X-Absent\""),
        ("X-Absent", Some(""), "without the header \"X-Absent\""),
        ("X-Version", Some("v2"), "its header \"X-Version\" is not \"v2\""),
        ("X-Version", Some("V1"), "its header \"X-Version\" is not \"V1\""),
        ("X-Version", Some("v"), "its header \"X-Version\" is not \"v\""),
        ("X-Empty", Some("v"), "its header \"X-Empty\" is not \"v\""),
        ("Set-Cookie", Some("a=1; b=2"), "its header \"Set-Cookie\" is not \"a=1; b=2\""),
    ] {
        let text = sentence(&headers(&[("x-version", None), (name, value)]), address).await;
        assert_eq!(text, format!("GET / on port P: answered 200, but {said}"));
    }
    let failure = fails(&headers(&[("X-Absent", None)]), address, LONG).await;
    assert_eq!(failure.reason(), "HeaderMissing");
    assert_eq!(fails(&headers(&[("X-Version", Some("v2"))]), address, LONG).await.reason(), "UnexpectedHeader");
}

#[tokio::test]
async fn a_header_that_fails_is_told_without_waiting_for_the_body() {
    let address = listen(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
        let _ = stream.read_u8().await;
    })
    .await;
    assert_eq!(fails(&headers(&[("x-version", None)]), address, LONG).await.reason(), "HeaderMissing");
}

#[tokio::test]
async fn values_are_found_by_their_pointer_and_compared_as_what_they_are() {
    let body = r#"{"status": "ok", "up": true, "last": null, "n": 3, "half": 0.50, "big": 9007199254740993, "checks": [{"name": "db", "a/b": "c", "~": "t", "": "e"}]}"#;
    for (path, wanted) in [
        ("/status", "ok"),
        ("/up", "true"),
        ("/last", "null"),
        ("/n", "3"),
        ("/n", "3.0"),
        ("/n", "30e-1"),
        ("/half", "0.5"),
        ("/big", "9007199254740993"),
        ("/checks/0/name", "db"),
        ("/checks/0/a~1b", "c"),
        ("/checks/0/~0", "t"),
        ("/checks/0/", "e"),
    ] {
        assert_eq!(said(body, path, wanted).await, "", "{path} {wanted}");
    }
    for (path, wanted, found) in [
        ("/status", "OK", "another text"),
        ("/status", "o", "another text"),
        ("/up", "false", "another boolean"),
        ("/up", "True", "another boolean"),
        ("/last", "", "null"),
        ("/n", "4", "another number"),
        ("/n", " 3", "another number"),
        ("/n", "three", "another number"),
        ("/half", "0", "another number"),
        ("/big", "9007199254740992", "another number"),
        ("/checks", "db", "a list"),
        ("/checks/0", "db", "an object"),
        ("/checks/1/name", "db", "nothing"),
        ("/checks/00/name", "db", "nothing"),
        ("/checks/-/name", "db", "nothing"),
        ("/Status", "ok", "nothing"),
        ("/status/0", "ok", "nothing"),
        ("", "ok", "an object"),
    ] {
        assert_eq!(said(body, path, wanted).await, format!("its JSON has {found} at {path:?}, expected {wanted:?}"));
    }
    assert_eq!(said("\"ok\"", "", "ok").await, "");
    assert_eq!(said(" 7\n", "", "7").await, "");
    // The last one counts, as with nearly every reader of JSON.
    assert_eq!(said(r#"{"a": 1, "a": 2}"#, "/a", "2").await, "");
}

#[tokio::test]
async fn all_values_must_be_right_and_the_first_wrong_one_is_told() {
    let (address, _) = answers(answer("", r#"{"a": 1, "b": 2}"#)).await;
    attempt(&checking("/", json(&[("/a", "1"), ("/b", "2")])), address, LONG).await.unwrap();
    let text = sentence(&checking("/", json(&[("/a", "1"), ("/b", "3"), ("/c", "4")])), address).await;
    assert_eq!(text, "GET / on port P: answered 200, but its JSON has another number at \"/b\", expected \"3\"");
    assert_eq!(fails(&checking("/", json(&[("/c", "")])), address, LONG).await.reason(), "UnexpectedJson");
    // Text and values can be asked for at once.
    let both = Expect { body_contains: Some("\"c\"".into()), ..json(&[("/a", "1")]) };
    assert_eq!(fails(&checking("/", both), address, LONG).await.reason(), "BodyTextMissing");
}

#[tokio::test]
async fn a_body_that_is_no_json_has_its_sentence() {
    let no_json = "its body is not JSON";
    let deep = "[".repeat(20_000);
    for body in ["", "ok\n", "<html>", "{\"a\": 1", "{\"a\": 1} {}", "{a: 1}", "\u{feff}{}", "1e999", &deep] {
        assert_eq!(said(body, "/a", "1").await, no_json, "{body:.20}");
    }
    let (address, _) = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\"\xff\"".as_slice()).await;
    assert_eq!(sentence(&checking("/", json(&[("", "a")])), address).await, format!("GET / on port P: answered 200, but {no_json}"));
    assert_eq!(fails(&checking("/", json(&[("", "a")])), address, LONG).await.reason(), "NoJson");
}

#[tokio::test]
async fn a_body_of_64_kib_is_too_much_to_be_json() {
    let of = |length: usize| format!("{{\"a\":1}}{}", " ".repeat(length - 7));
    assert_eq!(said(&of(64 * 1024 - 1), "/a", "1").await, "");
    for length in [64 * 1024, 200 * 1024] {
        assert_eq!(said(&of(length), "/a", "1").await, "its body has 64 KiB or more, too much to be read as JSON");
    }
    // It would be valid up to there, and says nothing about what follows.
    assert_eq!(said(&format!("{}]", of(64 * 1024)), "/a", "1").await, "its body has 64 KiB or more, too much to be read as JSON");
}

#[tokio::test]
async fn what_takes_most_room_as_values_is_read_like_any_other() {
    let body = format!("[{}0]", "{\"\":0},".repeat(9_000));
    assert_eq!(said(&body, "/8999/", "0").await, "");
    let deepest = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(said(&deepest, &"/0".repeat(100), "1").await, "");
    assert!(said(&deepest, &"/0".repeat(256), "1").await.starts_with("its JSON has nothing at "));
}

/// A server that answers each request after this time, with the end of its body after it once more.
async fn late(head: Duration, body: Duration) -> SocketAddr {
    listen(move |mut stream| async move {
        request(&mut stream).await;
        tokio::time::sleep(head).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsh").await;
        tokio::time::sleep(body).await;
        let _ = stream.write_all(b"op").await;
    })
    .await
}

#[tokio::test]
async fn an_answer_that_comes_later_than_asked_for_fails_with_both_numbers() {
    let within = |millis| checking("/", Expect { max_latency: Some(Duration::from_millis(millis)), ..Expect::default() });
    let (none, some) = (Duration::ZERO, Duration::from_millis(120));
    for (head, body) in [(some, none), (none, some)] {
        let address = late(head, body).await;
        let failure = fails(&within(100), address, LONG).await;
        let Failure::TooSlow { what, got: 200, took, most: 100 } = &failure else { panic!("{failure:?}") };
        assert!((120..20_000).contains(took), "{took}");
        assert_eq!(failure.to_string(), format!("{what}: answered 200 after {took} ms, expected at most 100 ms"));
        assert_eq!(failure.reason(), "TooSlow");
        attempt(&within(19_000), address, LONG).await.unwrap();
    }
    // What is wrong as well is worth more than that it was late.
    let address = late(some, none).await;
    let both = Expect { max_latency: Some(Duration::from_millis(1)), body_contains: Some("home".into()), ..Expect::default() };
    assert_eq!(fails(&checking("/", both), address, LONG).await.reason(), "BodyTextMissing");
}

#[tokio::test]
async fn connecting_counts_as_part_of_the_answers_time() {
    // TLS that takes its time: the answer to the request itself would come at once.
    let address = listen(|mut stream| async move {
        tokio::time::sleep(Duration::from_millis(120)).await;
        request(&mut stream).await;
        let _ = stream.write_all(answer("", "").as_bytes()).await;
    })
    .await;
    let check = checking("/", Expect { max_latency: Some(Duration::from_millis(100)), ..Expect::default() });
    assert_eq!(fails(&check, address, LONG).await.reason(), "TooSlow");
}

#[test]
fn a_second_late_answer_is_no_news() {
    let late = |took, most| Failure::TooSlow { what: "GET /".into(), got: 200, took, most };
    assert!(late(501, 500).repeats(&late(502, 500)));
    assert!(!late(501, 500).repeats(&late(501, 400)));
    let status = |got| Failure::Status { what: "GET /".into(), got, wanted: "200".into() };
    assert!(status(500).repeats(&status(500)) && !status(500).repeats(&status(503)) && !status(500).repeats(&late(501, 500)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_body_any_pointer_and_any_value_end_in_a_bounded_sentence(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "[\\[\\]{}\",:0-9a ]{0,80}".prop_map(String::into_bytes),
            Just(br#"{"a": [0, {"b": "secret"}], "": {"~": "secret"}}"#.to_vec()),
        ],
        path in prop_oneof!["(/[a0~1b]{0,3}){0,4}", ".{0,600}"], wanted in ".{0,1100}",
    ) {
        let expect = json(&[(&path, &wanted)]);
        let outcome = expect.judge_body("GET /", ::http::StatusCode::OK, &bytes, Duration::ZERO);
        if let Err(failure) = outcome {
            let text = failure.to_string();
            // A path and a value of at most 101 characters, each of at most ten as Debug writes it.
            prop_assert!(text.len() < 4096, "{}", text);
            if !path.contains("secret") && !wanted.contains("secret") {
                prop_assert!(!text.contains("secret"), "{}", text);
            }
        }
        if let Err(words) = pointer(&path) {
            prop_assert!(words.len() < 2048, "{}", words);
            // What is no pointer never finds anything.
            if !path.is_empty() && !path.starts_with('/') && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) {
                prop_assert!(value.pointer(&path).is_none());
            }
        }
    }
}
