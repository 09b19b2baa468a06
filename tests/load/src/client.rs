//! One connection, and HTTP/1.1 on it, written out so that every way to fail keeps its name.
//!
//! An HTTP library would hide what is to be measured here: it tries again, and it calls a reset, an early end and a closed
//! kept connection by the same name.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    report::Kind,
    response::{self, Framing, Head},
};

/// No head, and no line, is longer.
const LONGEST_HEAD: usize = 64 << 10;
/// No answer that is held in memory is longer.
const LONGEST_BODY: usize = 1 << 20;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}: {detail}")]
pub struct Fault {
    /// What it is counted as.
    pub kind: Kind,
    /// More about it, for people.
    pub detail: String,
}

impl Fault {
    /// A fault with its detail.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault { kind, detail: detail.into() }
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For each next byte, and for each short answer as a whole.
    pub read: Duration,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Received and not yet used.
    buffer: Vec<u8>,
    patience: Duration,
    /// Complete answers so far.
    answers: u64,
    /// Whether a byte came since the last request was begun.
    heard: bool,
}

/// A complete short answer.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// One of the kinds of failing to connect.
    pub async fn open(address: SocketAddr, timeouts: Timeouts, receive_buffer: Option<u32>) -> Result<Connection, Fault> {
        let connecting = async {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(bytes) = receive_buffer {
                socket.set_recv_buffer_size(bytes)?;
            }
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = match timeout(timeouts.connect, connecting).await {
            Ok(connected) => connected.map_err(|error| connect_fault(&error))?,
            Err(_) => {
                let detail = format!("no answer in {:?}", timeouts.connect);
                return Err(Fault::new(Kind::ConnectTimeout, detail));
            }
        };
        Ok(Connection { stream, buffer: Vec::new(), patience: timeouts.read, answers: 0, heard: false })
    }

    /// This side's address.
    pub fn local(&self) -> String {
        self.stream.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Reset or timeout.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match timeout(self.patience, self.stream.write_all(bytes)).await {
            Ok(sent) => sent.map_err(|error| stream_fault(&error)),
            Err(_) => Err(self.silence("nothing could be sent")),
        }
    }

    /// Closes the sending side.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn finish_sending(&mut self) -> Result<(), Fault> {
        self.stream.shutdown().await.map_err(|error| stream_fault(&error))
    }

    fn silence(&self, what: &str) -> Fault {
        Fault::new(Kind::ReadTimeout, format!("{what} in {:?}", self.patience))
    }

    /// Reads what comes next into the buffer; false at the end of the connection. May be dropped without losing a byte.
    async fn fill(&mut self) -> Result<bool, Fault> {
        let read = timeout(self.patience, self.stream.read_buf(&mut self.buffer)).await;
        match read {
            Ok(Ok(0)) => Ok(false),
            Ok(Ok(_)) => {
                self.heard = true;
                Ok(true)
            }
            Ok(Err(error)) => Err(stream_fault(&error)),
            Err(_) => Err(self.silence("nothing came")),
        }
    }

    /// As [`Self::fill`], where an end is a fault.
    async fn need(&mut self, what: &str) -> Result<(), Fault> {
        if self.fill().await? {
            return Ok(());
        }
        let detail = format!("the connection ended {what}");
        Err(Fault::new(Kind::EarlyEof, detail))
    }

    /// The next line, with its end. May be dropped without losing a byte.
    ///
    /// # Errors
    /// If the connection ends first, or the line is too long.
    pub async fn line(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return Ok(self.buffer.drain(..=end).collect());
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(Fault::new(Kind::BadAnswer, "an endless line"));
            }
            self.need("within a line").await?;
        }
    }

    /// The head of the next answer.
    ///
    /// # Errors
    /// If it isn't HTTP, or the connection ends first.
    pub async fn head(&mut self) -> Result<Head, Fault> {
        loop {
            if let Some((head, length)) = response::parse(&self.buffer)? {
                self.buffer.drain(..length);
                if head.status >= 200 {
                    return Ok(head);
                }
                // 1xx: the answer is still to come (RFC 9110, section 15.2).
                continue;
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(Fault::new(Kind::BadAnswer, "an endless head"));
            }
            self.need("before the answer's head was complete").await?;
        }
    }

    /// The body that belongs to a head, piece by piece.
    ///
    /// # Errors
    /// If the connection ends first, or the framing is wrong.
    pub async fn body(&mut self, framing: Framing, mut piece: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        match framing {
            Framing::Length(length) => self.exactly(length, &mut piece).await?,
            Framing::Chunked => loop {
                let size = response::chunk_size(&self.line().await?)?;
                if size == 0 {
                    // Trailers, if any, up to an empty line.
                    while self.line().await?.trim_ascii() != b"" {}
                    break;
                }
                self.exactly(size, &mut piece).await?;
                if self.line().await?.trim_ascii() != b"" {
                    return Err(Fault::new(Kind::BadAnswer, "a chunk without its end"));
                }
            },
            Framing::ToEnd => loop {
                piece(&std::mem::take(&mut self.buffer))?;
                if !self.fill().await? {
                    break;
                }
            },
        }
        self.answers += 1;
        Ok(())
    }

    async fn exactly(&mut self, mut left: u64, piece: &mut impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        while left > 0 {
            if self.buffer.is_empty() {
                self.need("within the body").await?;
            }
            let usable = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let used: Vec<u8> = self.buffer.drain(..usable).collect();
            piece(&used)?;
            left -= u64::try_from(usable).unwrap_or(left);
        }
        Ok(())
    }

    /// Sends a request and reads the short answer to it, each within the time for one read.
    ///
    /// # Errors
    /// Any kind but those of connecting. On a connection that answered before, an end or a reset in place of the first byte
    /// is [`Kind::KeptClosed`].
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer, Fault> {
        self.heard = false;
        let answer = match self.send(request).await {
            Ok(()) => self.answer().await,
            Err(fault) => Err(fault),
        };
        answer.map_err(|fault| match fault.kind {
            Kind::Reset | Kind::EarlyEof if self.answers > 0 && !self.heard => Fault::new(Kind::KeptClosed, fault.detail),
            _ => fault,
        })
    }

    /// Reads a short answer, within the time for one read.
    ///
    /// # Errors
    /// Any kind but those of connecting.
    pub async fn answer(&mut self) -> Result<Answer, Fault> {
        let read = timeout(self.patience, self.answer_patiently()).await;
        read.unwrap_or_else(|_| Err(self.silence("no complete answer")))
    }

    async fn answer_patiently(&mut self) -> Result<Answer, Fault> {
        let head = self.head().await?;
        let mut body = Vec::new();
        self.body(head.framing, |piece| {
            body.extend_from_slice(piece);
            if body.len() > LONGEST_BODY {
                return Err(Fault::new(Kind::BadAnswer, "an endless body"));
            }
            Ok(())
        })
        .await?;
        if !self.buffer.is_empty() {
            return Err(Fault::new(Kind::BadAnswer, "more than the answer"));
        }
        Ok(Answer { head, body })
    }

    /// Ends when the server ends the connection, or says something nobody asked for.
    pub async fn ended(&self) {
        // Zero bytes: the end. One: unasked for. An error: a reset. After each of them the connection is of no use.
        let _ = self.stream.peek(&mut [0]).await;
    }

    /// Waits until the server has closed, for a second at most: who closes first keeps the connection's TIME_WAIT.
    pub async fn wait_for_end(mut self) {
        let _ = timeout(Duration::from_secs(1), async {
            while let Ok(true) = self.fill().await {
                self.buffer.clear();
            }
        })
        .await;
    }
}

fn connect_fault(error: &io::Error) -> Fault {
    let kind = match error.kind() {
        ErrorKind::ConnectionRefused => Kind::ConnectRefused,
        ErrorKind::TimedOut => Kind::ConnectTimeout,
        // No local port is left.
        ErrorKind::AddrNotAvailable => Kind::Local,
        _ if is_shortage(error) => Kind::Local,
        _ => Kind::ConnectFailed,
    };
    Fault::new(kind, error.to_string())
}

/// errno(3): ENFILE, EMFILE and ENOBUFS.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 105))
}

fn stream_fault(error: &io::Error) -> Fault {
    let kind = match error.kind() {
        ErrorKind::TimedOut => Kind::ReadTimeout,
        // A write into a connection that was reset before: EPIPE. And whatever else ends a connection from outside.
        _ => Kind::Reset,
    };
    Fault::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_on_this_side_is_not_held_against_the_server() {
        // errno(3): ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS; ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH.
        let kinds = [23, 24, 99, 105, 111, 110, 113].map(|errno| connect_fault(&io::Error::from_raw_os_error(errno)).kind);
        let [one, two, three, four, refused, late, other] = kinds;
        assert_eq!([one, two, three, four], [Kind::Local; 4]);
        assert_eq!([refused, late, other], [Kind::ConnectRefused, Kind::ConnectTimeout, Kind::ConnectFailed]);
    }
}
