//! The heads of HTTP/1.1 answers (RFC 9112), as far as a load generator needs them.

use crate::{client::Fault, record::Who, report::Kind};

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The app's `x-version` and `x-pod`.
    pub who: Who,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection ends with this answer.
    pub close: bool,
    /// Whether the body says it is JSON.
    pub is_json: bool,
}

/// Where a body ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the chunk of size 0.
    Chunked,
    /// With the connection.
    ToEnd,
}

/// Parses a head, if it is there as a whole; with its length in bytes.
///
/// # Errors
/// If it isn't HTTP.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
    const START: &[u8] = b"HTTP/1.";
    if !START.iter().zip(bytes).all(|(wanted, got)| wanted == got) {
        return Err(bad("it does not begin as HTTP/1"));
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = bytes.get(..end).and_then(|head| std::str::from_utf8(head).ok()).ok_or_else(|| bad("a head that is not text"))?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status: u16 = first
        .split(' ')
        .nth(1)
        .filter(|status| status.len() == 3)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| bad("no status in its first line"))?;
    let mut head = Head {
        status,
        who: Who::default(),
        framing: match status {
            100..=199 | 204 | 304 => Framing::Length(0),
            _ => Framing::ToEnd,
        },
        close: first.starts_with("HTTP/1.0"),
        is_json: false,
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
        note(&mut head, &name.to_ascii_lowercase(), value.trim())?;
    }
    if head.framing == Framing::ToEnd {
        head.close = true;
    }
    Ok(Some((head, end + 4)))
}

fn note(head: &mut Head, name: &str, value: &str) -> Result<(), Fault> {
    match name {
        "content-length" if head.framing == Framing::ToEnd => {
            let length = value.parse().map_err(|_| bad("a length that is no number"))?;
            head.framing = Framing::Length(length);
        }
        // Chunked wins over a length (RFC 9112, section 6.3).
        "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.framing = Framing::Chunked,
        "transfer-encoding" => return Err(bad("an unknown transfer encoding")),
        "connection" => {
            let mut options = value.split(',').map(str::trim);
            head.close |= options.any(|option| option.eq_ignore_ascii_case("close"));
        }
        "content-type" => head.is_json = value.starts_with("application/json"),
        "x-version" => head.who.version = Some(value.to_owned()),
        "x-pod" => head.who.pod = Some(value.to_owned()),
        _ => {}
    }
    Ok(())
}

/// The size of a chunk, from its first line.
///
/// # Errors
/// If there is none.
pub fn chunk_size(line: &[u8]) -> Result<u64, Fault> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.split(';').next())
        .and_then(|size| u64::from_str_radix(size.trim(), 16).ok())
        .ok_or_else(|| bad("a chunk without a size"))
}

fn bad(detail: &str) -> Fault {
    Fault::new(Kind::BadAnswer, detail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn framing() {
        assert_eq!(head("HTTP/1.1 200 OK\r\n\r\n").framing, Framing::ToEnd);
        assert_eq!(head("HTTP/1.1 204 No Content\r\n\r\n").framing, Framing::Length(0));
        assert_eq!(head("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").framing, Framing::Length(7));
        for order in ["content-length: 7\r\ntransfer-encoding: chunked", "transfer-encoding: Chunked\r\ncontent-length: 7"] {
            assert_eq!(head(&format!("HTTP/1.1 200 OK\r\n{order}\r\n\r\n")).framing, Framing::Chunked);
        }
    }

    #[test]
    fn the_end_of_the_connection() {
        assert!(!head("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").close);
        assert!(head("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: foo, Close\r\n\r\n").close);
        assert!(head("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").close);
        assert!(head("HTTP/1.1 200 OK\r\n\r\n").close);
    }

    #[test]
    fn who_answers() {
        let head = head("HTTP/1.1 200 OK\r\nX-Version: v1\r\nx-pod: p\r\ncontent-type: application/json\r\n\r\n");
        assert_eq!(head.who, Who { version: Some("v1".into()), pod: Some("p".into()) });
        assert!(head.is_json);
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "SSH-2.0\r\n",
            "HTTP/2 200",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().kind, Kind::BadAnswer, "{text}");
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nx-pod: p\r\n").unwrap(), None);
        assert!(chunk_size(b"\r\n").is_err());
        assert_eq!(chunk_size(b"1f;a=b\r\n").unwrap(), 31);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), http: bool) {
            let mut bytes = if http { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
            bytes.extend(tail);
            bytes.extend(b"\r\n\r\n");
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            let _ = chunk_size(&bytes);
        }
    }
}
