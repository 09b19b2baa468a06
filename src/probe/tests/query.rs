#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn query() -> Query {
    let endpoint = Endpoint::parse("http://prometheus.monitoring:9090/base/").unwrap();
    Query { endpoint, text: "rate(errors{pod=~\"shop-abc-.*\"}[1m]) + 1".into(), at_most: Some(0.01), at_least: None, no_data: Empty::Wait }
}

fn vector(values: &[&str]) -> String {
    let samples: Vec<String> =
        values.iter().map(|value| format!("{{\"metric\":{{\"pod\":\"secret\"}},\"value\":[1700000000.123,\"{value}\"]}}")).collect();
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{}]}}}}", samples.join(","))
}

fn judged(query: &Query, body: &str) -> Result<(), String> {
    query.judge(StatusCode::OK, body.as_bytes()).map_err(|failure| failure.to_string())
}

#[test]
fn urls_are_read_and_compared_by_where_they_lead() {
    let read = |url: &str| Endpoint::parse(url).map(|endpoint| (endpoint.authority(), endpoint.base));
    assert_eq!(read("http://prometheus.monitoring:9090"), Ok(("prometheus.monitoring:9090".into(), String::new())));
    assert_eq!(read("HTTPS://Metrics.Example.com/p/"), Ok(("metrics.example.com:443".into(), "/p".into())));
    assert_eq!(read("http://[fd00::7]:9090/"), Ok(("[fd00::7]:9090".into(), String::new())));
    assert_eq!(Endpoint::parse("http://[fd00::7]").unwrap().host, "fd00::7");
    for (url, why) in [
        ("prometheus:9090", "http://"),
        ("ftp://prometheus", "http://"),
        ("http://", "no"),
        ("http://user@prometheus", "a user"),
        ("http://prometheus/?query=up", "a query"),
        ("http://prometheus:90900", "no port"),
        ("http://prometheus:abc", "no port"),
        ("http://prometheus:0", "no port"),
        ("http://prometheus:", "no port"),
        ("http://pro metheus", "no URL"),
        ("", "no URL"),
    ] {
        assert!(Endpoint::parse(url).unwrap_err().contains(why), "{url}: {:?}", Endpoint::parse(url));
    }
}

#[test]
fn every_value_must_be_within_the_bounds() {
    let query = query();
    assert_eq!(judged(&query, &vector(&["0.01", "0"])), Ok(()));
    let what = "the query to prometheus.monitoring:9090";
    assert_eq!(judged(&query, &vector(&["0", "0.0834"])), Err(format!("{what}: answered 0.0834, expected at most 0.01")));
    assert_eq!(judged(&query, &vector(&["+Inf"])), Err(format!("{what}: answered inf, expected at most 0.01")));
    let least = Query { at_most: None, at_least: Some(5.0), ..query.clone() };
    assert_eq!(judged(&least, &vector(&["5", "7"])), Ok(()));
    assert_eq!(judged(&least, &vector(&["7", "4.5"])), Err(format!("{what}: answered 4.5, expected at least 5")));
    let scalar = "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1700000000,\"3\"]}}";
    assert_eq!(judged(&least, scalar), Err(format!("{what}: answered 3, expected at least 5")));
}

#[test]
fn no_data_means_what_the_spec_says() {
    for none in [vector(&[]), vector(&["NaN", "NaN"])] {
        let with = |no_data| query_with(no_data).judge(StatusCode::OK, none.as_bytes());
        assert_eq!(with(Empty::Pass), Ok(()));
        let (wait, fail) = (with(Empty::Wait).unwrap_err(), with(Empty::Fail).unwrap_err());
        assert!(wait.undecided() && !fail.undecided());
        assert_eq!(fail.to_string(), "the query to prometheus.monitoring:9090: answered no data");
    }
    // A value beside it is one.
    assert!(query_with(Empty::Pass).judge(StatusCode::OK, vector(&["NaN", "1"]).as_bytes()).is_err());
}

fn query_with(no_data: Empty) -> Query {
    Query { no_data, ..query() }
}

#[test]
fn what_is_no_answer_is_told_without_a_word_of_it() {
    let result = |kind: &str, result: &str| format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":{result}}}}}");
    for body in [
        result("matrix", "[{\"metric\":{},\"values\":[[1,\"secret\"]]}]"),
        result("string", "[1,\"secret\"]"),
        result("vector", "[{\"metric\":{},\"value\":[1,\"secret\"]}]"),
        result("vector", "[{\"metric\":{},\"histogram\":[1,{}]}]"),
        "secret".into(),
        String::new(),
        vector(&["0"; 2000]),
    ] {
        let why = judged(&query(), &body).unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }
    let refused = |status| query().judge(status, b"secret").unwrap_err().to_string();
    assert!(refused(StatusCode::BAD_REQUEST).contains("try it there"));
    assert!(refused(StatusCode::SERVICE_UNAVAILABLE).contains("answered 503, expected 200"));
    assert!(refused(StatusCode::FOUND).contains("redirect"));
}

#[test]
fn numbers_are_short() {
    for (value, text) in [(0.0, "0"), (0.1 + 0.2, "0.3"), (12.5, "12.5"), (1e12, "1.000e12"), (0.000_012_34, "1.234e-5"), (-3.0, "-3")] {
        assert_eq!(written(value), text);
    }
}

#[tokio::test]
async fn the_question_arrives_letter_by_letter() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let body = vector(&["0"]);
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    ask(&query(), address, LONG).await.unwrap();
    let head = asked.await.unwrap();
    let line = head.lines().next().unwrap();
    assert_eq!(line, "GET /base/api/v1/query?query=rate%28errors%7Bpod%3D~%22shop-abc-.%2A%22%7D%5B1m%5D%29%20%2B%201 HTTP/1.1");
    assert!(head.contains("host: prometheus.monitoring:9090\r\n") && !head.to_lowercase().contains("authorization"), "{head}");
}

#[tokio::test]
async fn nobody_there_is_told_without_pods() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let why = ask(&query(), address, LONG).await.unwrap_err().to_string();
    assert_eq!(why, "the query to prometheus.monitoring:9090: could not connect: connection refused; nothing listens there");
}
