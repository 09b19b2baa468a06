#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::super::{Expect, Method};
use super::*;

const PREFIX: &str = "/api/v1/namespaces/shop/pods/p:8080/proxy/";

fn address() -> SocketAddr {
    "10.1.2.3:8080".parse().unwrap()
}

fn check(path: &str) -> HttpCheck {
    HttpCheck { path: path.into(), ..HttpCheck::default() }
}

fn uri(path: &str) -> Result<String, String> {
    let check = check(path);
    Proxied::new(&check, "shop", "p", address()).map(|(_, request)| request.uri().to_string()).map_err(|failure| failure.to_string())
}

#[test]
fn a_request_says_which_pod_and_what_is_asked() {
    assert_eq!(uri("/").unwrap(), PREFIX);
    assert_eq!(uri("").unwrap(), PREFIX);
    assert_eq!(uri("status?deep=1&x=../..#part").unwrap(), format!("{PREFIX}status?deep=1&x=../.."));
    assert_eq!(uri("/a b/c/?q=%2e%2e").unwrap(), format!("{PREFIX}a%20b/c/?q=%2e%2e"));
    let headers = vec![("X-A".to_owned(), "1".to_owned())];
    let post = HttpCheck { method: Method::Post("{}".into()), scheme: Scheme::Https, headers, ..check("/orders") };
    let (proxied, request) = Proxied::new(&post, "shop", "p", address()).unwrap();
    assert_eq!(proxied.what, "HTTPS POST /orders on port 8080 through the API server");
    assert_eq!((request.method().as_str(), request.body().as_ref()), ("POST", &b"{}"[..]));
    assert_eq!(request.uri(), "/api/v1/namespaces/shop/pods/https:p:8080/proxy/orders");
    let headers = request.headers();
    assert_eq!((headers["x-a"].as_bytes(), headers["content-type"].as_bytes()), (&b"1"[..], &b"application/json"[..]));
    assert!(!headers.contains_key(HOST) && !headers.contains_key(CONNECTION), "{headers:?}");
}

#[test]
fn no_path_leads_out_of_the_pod() {
    for path in [
        "/../../../../../../api/v1/secrets",
        "..",
        "/.",
        "/a/../b",
        "/%2e%2e/%2E%2e/x",
        "/.%2e/x",
        "/..%2f..%2fx",
        "/a%2Fb",
        "/a%5cb",
        "/..\\..\\x",
        "/%252e%252e/x",
        "/%25252fx",
        "//elsewhere/x",
        "/a//b",
        "/a%0d%0aX:%20y",
        "/a\r\nX: y",
        "/a%00",
        "/a%",
        "/a%g1",
        "/a%2",
        "/?/../x/..",
    ] {
        let built = uri(path);
        if path == "/?/../x/.." {
            // A query goes to the pod as it is.
            assert_eq!(built.unwrap(), format!("{PREFIX}?/../x/.."));
            continue;
        }
        let said = built.unwrap_err();
        assert!(said.contains("the path can't go through the API server: "), "{path}: {said}");
    }
    // Names come from the API server, and could do nothing all the same.
    let path = check("/");
    let (_, request) = Proxied::new(&path, "../x", "a/../b?c#d", address()).unwrap();
    assert_eq!(request.uri().path(), "/api/v1/namespaces/..%2Fx/pods/a%2F..%2Fb%3Fc%23d:8080/proxy/");
}

#[test]
fn no_header_means_the_api_server() {
    for name in [
        "Authorization",
        "HOST",
        "Impersonate-User",
        "impersonate-extra-scopes",
        "X-Remote-Group",
        "Connection",
        "Upgrade",
        "Accept",
        "X-Forwarded-For",
        "X-Real-IP",
    ] {
        let refused = HttpCheck { headers: vec![(name.into(), "x".into())], ..check("/") };
        let said = Proxied::new(&refused, "shop", "p", address()).unwrap_err().to_string();
        assert!(said.contains(&format!("the header {name:?} would mean the API server itself, and not the pod")), "{said}");
    }
    let hosted = HttpCheck { host: "shop.example.com".into(), ..check("/") };
    assert!(Proxied::new(&hosted, "shop", "p", address()).is_err());
    for name in ["Cookie", "X-Api-Key", "User-Agent", "Content-Type"] {
        assert_eq!(passed_on(name), Ok(()));
    }
}

#[test]
fn no_header_of_the_api_server_is_taken_for_the_pods() {
    for name in ["Cache-Control", "Date", "access-control-allow-origin", "Audit-Id", "X-Kubernetes-Pf-Flowschema-Uid"] {
        let expect = Expect { headers: vec![(name.into(), None)], ..Expect::default() };
        let said = Proxied::new(&HttpCheck { expect, ..check("/") }, "shop", "p", address()).unwrap_err().to_string();
        assert!(said.contains(&format!("the header {name:?} of an answer is the API server's own, or taken out by it")), "{said}");
    }
    assert_eq!(passed_back("X-Version"), Ok(()));
}

/// What a server that decodes a path, again and again, and then resolves its dots makes of it.
fn resolved(uri: &str, times: usize) -> Vec<Vec<u8>> {
    let mut path = uri.split('?').next().unwrap().as_bytes().to_vec();
    for _ in 0..times {
        path = decode_all(&path);
    }
    let mut kept: Vec<Vec<u8>> = vec![];
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')).skip(1) {
        match segment {
            b"." | b"" => {}
            b".." => drop(kept.pop()),
            other => kept.push(other.to_vec()),
        }
    }
    kept
}

fn decode_all(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = vec![];
    let mut rest = bytes;
    while let [first, more @ ..] = rest {
        let digits = more.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match digits {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &more[2..];
            }
            _ => {
                decoded.push(*first);
                rest = more;
            }
        }
    }
    decoded
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn whatever_is_asked_it_stays_below_the_pod(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec!["..", ".", "/", "//", "%2e", "%2E%2e", "%2f", "%252f", "%25", "%", "\\", "%5c", "?", "#", ";", ":", "@", "a", "\r\n", "%00", " ", "é", "api", "http://x"])
                    .prop_map(str::to_owned),
                "[ -~]{0,6}",
            ],
            0..10,
        ),
        times in 0..4usize,
    ) {
        let path = pieces.concat();
        if let Ok(uri) = uri(&path) {
            prop_assert!(uri.starts_with(PREFIX), "{uri}");
            prop_assert!(!uri.contains('#') && uri.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{uri}");
            let kept = resolved(&uri, times);
            let prefix: Vec<&[u8]> = PREFIX.split('/').filter(|part| !part.is_empty()).map(str::as_bytes).collect();
            prop_assert!(kept.len() >= prefix.len() && kept.iter().zip(&prefix).all(|(kept, wanted)| kept == wanted), "{uri} is {kept:?}");
        }
    }
}

fn judged(expect: &Expect, status: u16, body: &str, from_one: bool) -> Result<(), Failure> {
    let check = HttpCheck { expect: expect.clone(), ..check("/") };
    let (proxied, _) = Proxied::new(&check, "shop", "p", address()).unwrap();
    let mut headers = HeaderMap::new();
    if from_one {
        headers.insert(AUDIT_ID, "x".try_into().unwrap());
    }
    proxied.judge(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), Duration::from_millis(10))
}

fn status(code: u16, message: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code}).to_string()
}

#[test]
fn a_pods_answer_decides_as_a_direct_one_does() {
    let plain = Expect::default();
    assert_eq!(judged(&plain, 200, "hello", true), Ok(()));
    assert_eq!(judged(&plain, 302, "", true), Ok(()));
    let text = Expect { body_contains: Some("shop".into()), ..Expect::default() };
    assert!(matches!(judged(&text, 200, "hello", true), Err(Failure::BodyMissing { .. })));
    let late = Expect { max_latency: Some(Duration::from_millis(5)), ..Expect::default() };
    assert!(matches!(judged(&late, 200, "hello", true), Err(Failure::TooSlow { .. })));
    // Errors of its own, in JSON or not.
    for (code, body) in [(500, "broken"), (503, "not ready"), (404, "{\"kind\": \"Status\"}"), (403, "{}"), (500, "[]")] {
        assert!(matches!(judged(&plain, code, body, true), Err(Failure::Status { got, .. }) if got == code), "{code}");
    }
    assert_eq!(judged(&Expect { status: vec![404], ..Expect::default() }, 404, "none", true), Ok(()));
}

#[test]
fn what_the_api_server_says_of_itself_is_no_verdict() {
    let any = Expect { status: (200..600).collect(), ..Expect::default() };
    for code in [400, 401, 403, 404, 405, 409, 500, 503, 504] {
        let said = judged(&any, code, &status(code, "no"), true).unwrap_err();
        assert!(said.undecided(), "{code} {said}");
    }
    assert!(judged(&any, 429, "Too many requests, please try again later.", true).unwrap_err().undecided());
    // Nor is what somebody before it says.
    for code in [200, 404, 502] {
        assert!(judged(&any, code, "<html>", false).unwrap_err().undecided(), "{code}");
    }
    let missing = judged(&any, 403, &status(403, "pods \"p\" is forbidden"), true).unwrap_err().to_string();
    assert!(missing.contains("the right to pods/proxy is missing"), "{missing}");
}

#[test]
fn a_pod_that_can_not_be_reached_fails() {
    let any = Expect { status: vec![503], ..Expect::default() };
    for (why, reason) in [
        ("dial tcp 10.1.2.3:8080: connect: connection refused", "ConnectionRefused"),
        ("dial tcp 10.1.2.3:8080: i/o timeout", "Unreachable"),
        ("dial tcp 10.1.2.3:8080: connect: no route to host", "Unreachable"),
        ("EOF", "ConnectionBroken"),
        ("read tcp 10.0.0.1:1->10.1.2.3:8080: read: connection reset by peer", "ConnectionBroken"),
        ("http: server gave HTTP response to HTTPS client", "TlsHandshakeFailed"),
        ("remote error: tls: handshake failure", "TlsHandshakeFailed"),
        ("net/http: HTTP/1.x transport connection broken: malformed HTTP response \"secret\"", "BadAnswer"),
        ("proxy error from 127.0.0.1:8131 while dialing 10.1.2.3:8080, code 502: Bad Gateway", "Unreachable"),
        ("something new", "Unreachable"),
        // What is missing on the API server's side.
        ("dial tcp 10.9.9.9:8131: connect: connection refused", "NotTried"),
        ("dial unix /etc/srv/konnectivity.socket: connect: no such file or directory", "NotTried"),
        ("No agent available", "NotTried"),
        ("http: server closed idle connection", "NotTried"),
        ("dial tcp 10.1.2.3:8080: socket: too many open files", "NotTried"),
    ] {
        let failure = judged(&any, 503, &status(503, &format!("{TRIED}{why}")), true).unwrap_err();
        assert_eq!(failure.reason(), reason, "{why}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
    let odd = judged(&any, 500, &status(500, "Internal error occurred: error trying to parse Location header: x"), true).unwrap_err();
    assert_eq!(odd.reason(), "BadAnswer");
}
