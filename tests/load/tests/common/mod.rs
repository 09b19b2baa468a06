//! A load within the test, good servers and bad ones.
#![allow(dead_code)]

use std::{
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use app::{App, config::Config};
use clap::Parser;
use load::{
    execute,
    options::Options,
    report::{Failed, Kind, Line, Reason, Summary, Tick},
    stop::Stop,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// No step of a test takes longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An app on free loopback ports, with these flags besides.
pub async fn app(flags: &[&str]) -> App {
    app_on(0, flags).await
}

/// An app on this HTTP port.
pub async fn app_on(port: u16, flags: &[&str]) -> App {
    let http = format!("--http-port={port}");
    let ports = [http.as_str(), "--grpc-port=0", "--echo-port=0", "--websocket-port=0", "--admin-port=0"];
    let who = ["--listen=127.0.0.1", "--app-version=v1", "--pod=pod-1"];
    let all = ["app"].iter().chain(&ports).chain(&who).chain(flags);
    App::start(&Config::try_parse_from(all).unwrap()).await.unwrap()
}

/// A server that does this with each connection.
pub async fn server<F, T>(script: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    address
}

/// Reads one request; false at the end of the connection.
pub async fn request(stream: &mut TcpStream) -> bool {
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => all.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Answers 200 with this body, said to be of v1, with these headers besides.
pub async fn answer(stream: &mut TcpStream, headers: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 200 OK\r\nx-version: v1\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Closes with bytes unread, which sends a reset (RFC 1122, section 4.2.2.13).
pub async fn reset(stream: TcpStream) {
    // Readiness may be an old tale; a peek waits for a byte.
    stream.peek(&mut [0]).await.unwrap();
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A load that runs within the test.
pub struct Running {
    output: Output,
    pub stop: Stop,
    task: JoinHandle<Summary>,
}

/// Starts a load with the words of a command line.
pub fn load(words: &str) -> Running {
    let all = ["load"].into_iter().chain(words.split_whitespace()).chain(["--ignore-stdin"]);
    let options = Options::try_parse_from(all).unwrap();
    let (output, stop) = (Output::default(), Stop::default());
    let task = tokio::spawn(execute(options, Box::new(output.clone()), stop.clone()));
    Running { output, stop, task }
}

impl Running {
    pub fn lines(&self) -> Vec<Line> {
        let text = String::from_utf8(self.output.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| Line::parse(line).unwrap()).collect()
    }

    /// Waits for a line.
    pub async fn until<T>(&self, mut find: impl FnMut(&Line) -> Option<T>) -> T {
        timeout(DEADLINE, async {
            loop {
                if let Some(found) = self.lines().iter().find_map(&mut find) {
                    return found;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("it did not come: {:?}", self.lines()))
    }

    pub fn ticks(&self) -> Vec<Tick> {
        let lines = self.lines().into_iter().filter_map(|line| match line {
            Line::Tick(tick) => Some(tick),
            _ => None,
        });
        lines.collect()
    }

    /// Waits for so many more ticks, and returns the last.
    pub async fn more_ticks(&self, count: usize) -> Tick {
        let wanted = self.ticks().len() + count;
        let ticks = async {
            while self.ticks().len() < wanted {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, ticks).await.unwrap();
        self.ticks().remove(wanted - 1)
    }

    /// Waits until a long connection is in use.
    pub async fn open(&self) -> load::report::Open {
        self.until(|line| match line {
            Line::Open(open) => Some(open.clone()),
            _ => None,
        })
        .await
    }

    /// Waits for a failure.
    pub async fn failure(&self) -> Failed {
        self.until(|line| match line {
            Line::Failed(failed) => Some(failed.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until it ends by itself; the accounts must balance.
    pub async fn ended(self) -> Summary {
        let summary = timeout(DEADLINE, self.task).await.unwrap().unwrap();
        assert_eq!(summary.begun, summary.ok + summary.failed, "{summary:?}");
        assert_eq!(summary.failed, summary.failures.values().sum::<u64>());
        let sources = summary.sources.values();
        assert_eq!(summary.begun, sources.map(|counts| counts.ok + counts.failed).sum::<u64>());
        let text = String::from_utf8(self.output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(Line::parse(text.lines().last().unwrap()).unwrap(), Line::Summary(summary.clone()));
        summary
    }

    /// Ends it.
    pub async fn end(self) -> Summary {
        self.stop.stop(Reason::Signal);
        self.ended().await
    }
}

/// Ends a load at its first failure, which must be of this kind, and returns its summary.
pub async fn fails(words: &str, kind: Kind) -> Summary {
    let running = load(words);
    let failed = running.failure().await;
    assert_eq!(failed.kind, kind, "{failed:?}");
    let summary = running.end().await;
    assert!(summary.failures[&kind] >= 1, "{summary:?}");
    summary
}
