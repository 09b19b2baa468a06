//! How a node's first process is asked to start and stop programs: one JSON line there, one back, over a Unix socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::Layout;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start a program that is not running.
    Start { name: String, argv: Vec<String>, env: Vec<(String, String)>, log: PathBuf },
    /// Send a signal; `wait`: answer when the program has ended.
    Signal { name: String, signal: i32, wait: bool },
    /// Tell of all programs ever started.
    List,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Programs(Vec<Program>),
    Failed(String),
}

/// A program of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The component's name.
    pub name: String,
    /// Whether it runs (a stopped process, as by SIGSTOP, counts as running).
    pub running: bool,
    /// How it ended, once it has.
    pub end: Option<String>,
}

/// Asks a node's first process; `Failed` becomes an error.
pub(crate) fn ask(layout: &Layout, node: usize, request: &Request) -> Result<Vec<Program>> {
    let failed = |message: String| Error::Node { node, message };
    let exchange = || -> std::io::Result<Reply> {
        let mut stream = UnixStream::connect(layout.control(node))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    };
    match exchange() {
        Ok(Reply::Done) => Ok(Vec::new()),
        Ok(Reply::Programs(programs)) => Ok(programs),
        Ok(Reply::Failed(message)) => Err(failed(message)),
        Err(error) => Err(failed(format!("is not running ({error}): start it with `cluster start-node`, or end the cluster with `cluster down`"))),
    }
}
