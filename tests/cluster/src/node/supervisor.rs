//! What a node's first process does all its life: it starts programs, sends them signals, and waits for every process
//! of the node that ends. Being their parent, it can never signal a process that has taken over an ended one's id.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::control::{Program, Reply, Request};
use crate::error::{Doing, Result};

/// How long a program may take to end after a signal that ends it.
const END_WITHIN: Duration = Duration::from_secs(40);

#[derive(Debug, Default)]
pub(super) struct Supervisor {
    programs: Mutex<BTreeMap<String, Entry>>,
    /// Notified when a program starts or ends.
    changed: Condvar,
}

#[derive(Debug)]
struct Entry {
    pid: i32,
    end: Option<String>,
}

/// Serves requests at `socket` for ever.
pub(super) fn serve(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket).doing(|| format!("listening at {}", socket.display()))?;
    let supervisor = Arc::new(Supervisor::default());
    let reaper = Arc::clone(&supervisor);
    std::thread::spawn(move || reaper.reap());
    loop {
        let (stream, _) = listener.accept().doing(|| "accepting a request".into())?;
        let supervisor = Arc::clone(&supervisor);
        // A request may wait for a program's end, and must not hold up the others.
        std::thread::spawn(move || {
            // Who asked and went away gets no answer.
            let _ = supervisor.converse(&stream);
        });
    }
}

impl Supervisor {
    fn converse(&self, mut stream: &UnixStream) -> std::io::Result<()> {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let reply = match serde_json::from_str(&line) {
            Ok(request) => self.answer(request),
            Err(error) => Reply::Failed(format!("not a request of this version: {error}")),
        };
        let mut text = serde_json::to_string(&reply)?;
        text.push('\n');
        stream.write_all(text.as_bytes())
    }

    fn answer(&self, request: Request) -> Reply {
        let result = match request {
            Request::Start { name, argv, env, log } => self.start(&name, &argv, env, &log),
            Request::Signal { name, signal, wait } => self.signal(&name, signal, wait),
            Request::List => return Reply::Programs(self.list()),
        };
        result.map_or_else(Reply::Failed, |()| Reply::Done)
    }

    fn programs(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self) -> Vec<Program> {
        self.programs().iter().map(|(name, entry)| Program { name: name.clone(), running: entry.end.is_none(), end: entry.end.clone() }).collect()
    }

    fn start(&self, name: &str, argv: &[String], env: Vec<(String, String)>, log: &Path) -> Result<(), String> {
        // Held while the program starts, so that the reaper finds it in the table however soon it ends.
        let mut programs = self.programs();
        if programs.get(name).is_some_and(|entry| entry.end.is_none()) {
            return Err(format!("{name} is running already"));
        }
        let (program, arguments) = argv.split_first().ok_or("nothing to start")?;
        // Looked at first: the standard library waits for a child that could not become the program, and would find
        // that the reaper was faster.
        if !Path::new(program).is_file() {
            return Err(format!("{program} does not exist: build it with `cluster build`"));
        }
        let log = crate::helper::append(log).map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(env)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("starting {program}: {error}"))?;
        programs.insert(name.into(), Entry { pid: i32::try_from(child.id()).unwrap_or(i32::MAX), end: None });
        self.changed.notify_all();
        Ok(())
    }

    fn signal(&self, name: &str, signal: i32, wait: bool) -> Result<(), String> {
        let signal = Signal::try_from(signal).map_err(|_| format!("there is no signal {signal}"))?;
        let mut programs = self.programs();
        let pid = match programs.get(name) {
            Some(Entry { pid, end: None }) => *pid,
            _ => return Err(format!("{name} is not running")),
        };
        // The table is locked and the reaper reaps only under that lock: the id is still this program's.
        kill(Pid::from_raw(pid), signal).map_err(|errno| format!("sending {signal} to {name}: {errno}"))?;
        let deadline = Instant::now() + END_WITHIN;
        while wait && programs.get(name).is_some_and(|entry| entry.pid == pid && entry.end.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{name} has not ended {} s after {signal}", END_WITHIN.as_secs()));
            }
            (programs, _) = self.changed.wait_timeout(programs, left).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn reap(&self) {
        loop {
            // Only looked at here, and waited for under the table's lock, so that no signal can meet a reused id.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(status) => {
                    let mut programs = self.programs();
                    let Some(pid) = status.pid() else { continue };
                    // Started by the standard library and waited for by it, if it was faster.
                    let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                    if let Some(entry) = programs.values_mut().find(|entry| entry.pid == pid.as_raw() && entry.end.is_none()) {
                        entry.end = Some(describe(status));
                    }
                    self.changed.notify_all();
                }
                Err(Errno::ECHILD) => {
                    // No child at all: nothing to wait for before a program is started.
                    let programs = self.programs();
                    let none_runs = |programs: &mut BTreeMap<String, Entry>| programs.values().all(|entry| entry.end.is_some());
                    drop(self.changed.wait_while(programs, none_runs));
                }
                Err(_) => {}
            }
        }
    }
}

fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => signal.to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    /// The reaper waits for every child of its process and would take away those of other tests: a process of its own.
    #[test]
    fn programs_are_started_signalled_reaped_and_started_again() {
        if std::env::var_os("SUPERVISOR_ALONE").is_none() {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "node::supervisor::tests::programs_are_started_signalled_reaped_and_started_again"])
                .env("SUPERVISOR_ALONE", "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let supervisor = Arc::new(Supervisor::default());
        let reaper = Arc::clone(&supervisor);
        std::thread::spawn(move || reaper.reap());
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let start = |argv: &[&str]| {
            let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
            supervisor.start("it", &argv, vec![("WORD".into(), "said".into())], &log)
        };

        start(&["/bin/sleep", "60"]).unwrap();
        assert!(start(&["/bin/sleep", "60"]).unwrap_err().contains("running already"));
        assert!(supervisor.list()[0].running);
        supervisor.signal("it", Signal::SIGSTOP as i32, false).unwrap();
        assert!(supervisor.list()[0].running, "stopped is not ended");
        supervisor.signal("it", Signal::SIGKILL as i32, true).unwrap();
        assert_eq!(supervisor.list()[0].end.as_deref(), Some("SIGKILL"));
        assert!(supervisor.signal("it", Signal::SIGTERM as i32, true).unwrap_err().contains("not running"));

        // The reaper was without children; it must notice the next one, with its environment and its log.
        start(&["/bin/sh", "-c", "echo $WORD; exit 3"]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while supervisor.list()[0].running && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(supervisor.list()[0].end.as_deref(), Some("exit code 3"));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "said\n");

        assert!(start(&["/nowhere/program"]).unwrap_err().contains("cluster build"));
        assert!(supervisor.signal("it", 4711, false).unwrap_err().contains("4711"));
    }
}
