//! Requests from what a user's spec says, and their names in sentences.

use std::net::{IpAddr, SocketAddr};

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use http_body_util::Full;
use hyper::body::Bytes;

use super::failure::shorten;
use super::{Failure, HttpCheck, Method, Scheme};

/// A request that is ready to be sent, and its name.
pub(super) struct Request {
    /// "GET /healthz on port 8080"
    pub(super) what: String,
    /// What is sent; its length is said by hyper.
    pub(super) message: http::Request<Full<Bytes>>,
    /// The name in the Host header, without its port: what TLS asks for.
    pub(super) server_name: String,
}

/// The request of a probe. Defaults are the kubelet's, except for the name in User-Agent.
///
/// # Errors
/// [`Failure::InvalidProbe`] with the header or path that can't be sent.
pub(super) fn of(check: &HttpCheck, address: SocketAddr) -> Result<Request, Failure> {
    let HttpCheck { method, scheme, host, path, headers, .. } = check;
    let method_name = match (scheme, method) {
        (Scheme::Http, Method::Get) => "GET",
        (Scheme::Https, Method::Get) => "HTTPS GET",
        (Scheme::Http, Method::Post(_)) => "POST",
        (Scheme::Https, Method::Post(_)) => "HTTPS POST",
    };
    let mut chosen = HeaderMap::new();
    let path = encode(path);
    let what = name(method_name, &path, address);
    let invalid = |why: String| Failure::InvalidProbe { what: what.clone(), why };
    for (key, value) in headers {
        let (key, value) = header(key, value).map_err(invalid)?;
        chosen.append(key, value);
    }
    if !host.is_empty() && !chosen.contains_key(HOST) {
        let value =
            HeaderValue::try_from(host).map_err(|_| invalid(format!("the Host {:?} has characters that HTTP does not allow", shorten(host))))?;
        chosen.insert(HOST, value);
    }
    chosen.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    match method {
        Method::Get => build(http::Method::GET, Bytes::new(), what, &path, chosen, address),
        Method::Post(body) => {
            if !body.is_empty() {
                chosen.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            }
            build(http::Method::POST, Bytes::from(body.clone()), what, &path, chosen, address)
        }
    }
}

/// A header of a probe as it is sent.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn header(key: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = parse(key, value)?;
    if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
        return Err(format!("the header {name:?} announces a body, which only the probe itself may do"));
    }
    Ok((name, value))
}

/// A header as HTTP has it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(key: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::from_bytes(value.as_bytes())) else {
        return Err(format!("the header {:?} has characters that HTTP does not allow", shorten(key)));
    };
    Ok((name, value))
}

/// The POST of `drain.begin`.
///
/// # Errors
/// [`Failure::InvalidProbe`] for a path that can't be sent.
pub(super) fn post(path: &str, address: SocketAddr) -> Result<Request, Failure> {
    let path = encode(path);
    build(http::Method::POST, Bytes::new(), name("POST", &path, address), &path, HeaderMap::new(), address)
}

fn name(method: &str, path: &str, address: SocketAddr) -> String {
    format!("{method} {} on port {}", shorten(path), address.port())
}

fn build(method: http::Method, body: Bytes, what: String, path: &str, mut headers: HeaderMap, address: SocketAddr) -> Result<Request, Failure> {
    let Ok(path) = PathAndQuery::try_from(path) else {
        return Err(Failure::InvalidProbe { what, why: "the path is too long for a URL".to_owned() });
    };
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(super::USER_AGENT));
    headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
    if !headers.contains_key(HOST) {
        let Ok(value) = HeaderValue::try_from(authority(address)) else {
            return Err(Failure::InvalidProbe { what, why: "the address can't be a Host header".to_owned() });
        };
        headers.insert(HOST, value);
    }
    let server_name = headers.get(HOST).and_then(|host| host.to_str().ok()).map(without_port).unwrap_or_default();
    if method == http::Method::POST && body.is_empty() {
        // Some servers answer 411 to a POST that does not say it has no body, which hyper leaves out.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let mut message = http::Request::new(Full::new(body));
    *message.method_mut() = method;
    *message.uri_mut() = Uri::from(path);
    *message.headers_mut() = headers;
    Ok(Request { what, message, server_name })
}

/// The address as a URL's authority: no scope identifier, which is only valid on this machine.
pub(super) fn authority(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}

/// The host of "host", "host:port", "[v6]:port" or "[v6]".
fn without_port(host: &str) -> String {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, _)) => ip.to_owned(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned(),
    }
}

/// A path and query that can be sent: a leading slash, and nothing that would end the request line or that a URL can't
/// hold. A percent sign stays: the spec may hold a path that is encoded already. A fragment is never sent.
pub(super) fn encode(path: &str) -> String {
    let path = path.split_once('#').map_or(path, |(before, _)| before);
    let mut encoded = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        encoded.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => encoded.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn address() -> SocketAddr {
        "10.1.2.3:8080".parse().unwrap()
    }

    fn get(scheme: Scheme, host: &str, path: &str, headers: &[(String, String)]) -> Result<Request, Failure> {
        of(&HttpCheck { scheme, host: host.into(), path: path.into(), headers: headers.to_vec(), ..HttpCheck::default() }, address())
    }

    #[test]
    fn paths_can_never_end_the_request_line() {
        assert_eq!(encode("/a b\r\nX: y"), "/a%20b%0D%0AX:%20y");
        assert_eq!(encode("/straße?q=é|{}"), "/stra%C3%9Fe?q=%C3%A9%7C%7B%7D");
        assert_eq!(encode("/a%20b?c=d&e=%7B"), "/a%20b?c=d&e=%7B");
        assert_eq!(encode("/page#part"), "/page");
    }

    #[test]
    fn paths_stay_on_the_address() {
        assert_eq!(encode(""), "/");
        assert_eq!(encode("healthz"), "/healthz");
        assert_eq!(encode("?x"), "/?x");
        // Neither another host nor another scheme: the address alone decides where the connection goes.
        for path in ["http://elsewhere/x", "//elsewhere/x", "*"] {
            let request = get(Scheme::Http, "", path, &[]).unwrap();
            assert_eq!(request.message.uri().authority(), None, "{path}");
            assert_eq!(request.message.headers()[HOST], "10.1.2.3:8080", "{path}");
        }
    }

    #[test]
    fn defaults_and_what_replaces_them() {
        let plain = get(Scheme::Http, "", "/", &[]).unwrap();
        let headers = plain.message.headers();
        assert_eq!(headers[USER_AGENT], "bluegreen-probe");
        assert_eq!(headers[CONNECTION], "close");
        assert_eq!(headers[ACCEPT], "*/*");
        let own: Vec<(String, String)> =
            [("user-agent", "me"), ("Host", "b.example:81"), ("X-A", "1"), ("X-A", "zwölf")].map(|(k, v)| (k.into(), v.into())).into();
        let changed = get(Scheme::Https, "a.example", "/", &own).unwrap();
        let headers = changed.message.headers();
        assert_eq!(headers[USER_AGENT], "me");
        assert_eq!(headers.get_all(HOST).iter().collect::<Vec<_>>(), ["b.example:81"]);
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert_eq!(changed.server_name, "b.example");
    }

    #[test]
    fn hosts_lose_their_port() {
        for (host, name) in [("a.b", "a.b"), ("a.b:443", "a.b"), ("[::1]:443", "::1"), ("[::1]", "::1"), ("10.0.0.1:1", "10.0.0.1")] {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn the_scope_of_an_address_is_not_sent() {
        assert_eq!(authority("[fe80::1%3]:80".parse().unwrap()), "[fe80::1]:80");
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        let with = |key: &str, value: &str| get(Scheme::Http, "", "/", &[(key.into(), value.into())]).err().map(|e| e.to_string());
        let sentence = with("X\nY", "1").unwrap();
        assert_eq!(sentence, "GET / on port 8080: the probe itself can't be sent: the header \"X\\nY\" has characters that HTTP does not allow");
        assert!(with("X", "a\r\nHost: b").is_some());
        assert!(with("Content-Length", "5").unwrap().contains("announces a body"));
        assert!(with("transfer-encoding", "chunked").unwrap().contains("announces a body"));
        let host = get(Scheme::Http, "a\r\nb", "/", &[]).err().unwrap();
        assert_eq!(host.reason(), "InvalidProbe");
        let long = get(Scheme::Http, "", &"/a".repeat(40_000), &[]).err().unwrap().to_string();
        assert!(long.ends_with("the path is too long for a URL") && long.len() < 250, "{long}");
    }
}
