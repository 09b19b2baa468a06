//! Reads one process of `/proc`: which network namespace it is in, and that namespace's sockets and counters.
//!
//! Everything here is readable without any privilege. `/proc/PID/ns/net` is not, but the files below `/proc/PID/net`
//! belong to the namespace, and their inode numbers tell namespaces apart just as well.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::table::{self, Family, Row, TableError};

/// The `/proc` of the host.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

/// A process: the number alone may be given to another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Ticks between the machine's start and the process's: the older process sorts first.
    pub started: u64,
    /// Its number.
    pub pid: u32,
}

/// One network namespace of a pod, as it was during one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Tells it from the others that exist at the same time.
    pub id: u64,
    /// `PassiveOpens` before the tables were read.
    pub passive_before: u64,
    /// `PassiveOpens` after the tables were read.
    pub passive_after: u64,
    /// All TCP sockets, those of IPv4 and of IPv6.
    pub rows: Vec<Row>,
}

/// Why a process could not be read. None of these ever means "no connections".
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// It ended, or another process now has its number.
    #[error("the process has ended; the pod's processes are searched again")]
    Ended,
    /// A table could not be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The counters could not be read.
    #[error("cannot read {path}: {source}; it is tried again with the next sample")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The counters are not what the kernel writes.
    #[error("{path} does not hold Tcp PassiveOpens; please report the kernel's version")]
    NoPassiveOpens {
        /// The file.
        path: PathBuf,
    },
}

impl Proc {
    /// The tree at `root`, which is `/proc` outside tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Numbers of all processes.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            // An entry that went away in the meantime is a process that ended.
            let Ok(entry) = entry else { continue };
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                pids.push(pid);
            }
        }
        Ok(pids)
    }

    /// The text of `/proc/PID/cgroup`, if the process still lives.
    pub fn cgroup(&self, pid: u32) -> Option<Vec<u8>> {
        fs::read(self.file(pid, "cgroup")).ok()
    }

    /// The process that now has this number; none if it has ended, also if nobody has taken notice of that yet (a zombie).
    pub fn process(&self, pid: u32) -> Option<Process> {
        let started = start_time(&fs::read(self.file(pid, "stat")).ok()?)?;
        Some(Process { started, pid })
    }

    /// What tells this process's network namespace from others.
    pub fn namespace_of(&self, pid: u32) -> Option<u64> {
        fs::metadata(self.file(pid, "net/tcp")).ok().map(|file| file.ino())
    }

    /// Reads the sockets and counters of the process's network namespace. Takes milliseconds: the kernel walks its whole
    /// hash table of connections once for each of the two files.
    ///
    /// # Errors
    /// If anything could not be read, or if the process ended in the meantime.
    pub fn sample(&self, process: Process, id: u64) -> Result<Namespace, ProcError> {
        let read = self.read_namespace(process.pid, id);
        // Looked at after reading: if the number still belongs to the same process, it did so all the time.
        match self.process(process.pid) {
            Some(now) if now == process && self.namespace_of(process.pid) == Some(id) => read,
            _ => Err(ProcError::Ended),
        }
    }

    fn read_namespace(&self, pid: u32, id: u64) -> Result<Namespace, ProcError> {
        let passive_before = self.passive_opens(pid)?;
        let mut rows = Vec::new();
        table::read(open(&self.file(pid, "net/tcp"))?, Family::V4, |row| rows.push(row))?;
        // A machine started with ipv6.disable=1 has no such file; whether the process lives is asked afterwards.
        match File::open(self.file(pid, "net/tcp6")) {
            Ok(file) => table::read(file, Family::V6, |row| rows.push(row))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ProcError::Read { path: self.file(pid, "net/tcp6"), source });
            }
        }
        Ok(Namespace { id, passive_before, passive_after: self.passive_opens(pid)?, rows })
    }

    fn passive_opens(&self, pid: u32) -> Result<u64, ProcError> {
        let path = self.file(pid, "net/snmp");
        let mut text = Vec::new();
        if let Err(source) = open(&path)?.read_to_end(&mut text) {
            return Err(ProcError::Read { path, source });
        }
        passive_opens(&text).ok_or(ProcError::NoPassiveOpens { path })
    }

    fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }
}

fn open(path: &Path) -> Result<File, ProcError> {
    File::open(path).map_err(|source| ProcError::Read { path: path.to_owned(), source })
}

/// `Tcp: ... PassiveOpens` of `net/snmp`: a line of names, then one of numbers.
fn passive_opens(text: &[u8]) -> Option<u64> {
    let mut lines = text.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"Tcp:"));
    let mut names = words(lines.next()?);
    let column = names.position(|name| name == b"PassiveOpens")?;
    std::str::from_utf8(words(lines.next()?).nth(column)?).ok()?.parse().ok()
}

/// Field 22 of `/proc/PID/stat`, proc_pid_stat(5). The name in field 2 may hold anything, parentheses too.
fn start_time(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = words(stat.get(after_name + 1..)?);
    let state = fields.next()?;
    if matches!(state, b"Z" | b"X" | b"x") {
        return None;
    }
    std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
#[path = "tests/proc.rs"]
mod tests;
