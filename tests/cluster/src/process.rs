//! Processes that outlive the command that started them, and how they are found again.
//!
//! Each helper process carries the cluster's state directory in its arguments, so that even one that died unrecorded
//! (its parent was killed between starting it and writing that down) is found. What is recorded holds the process's
//! start time besides its id, because ids come round again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};

/// One process, told apart from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
    pub(crate) started: u64,
}

impl Process {
    /// The process that has this id now; none if there is none or it is only waiting to be reaped.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (state != 'Z' && state != 'X').then_some(Self { pid, started })
    }

    /// Reads a record written by [`Process::record`]; none if there is no such file or the process is gone.
    pub(crate) fn recorded(path: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        record.alive().then_some(record)
    }

    /// Writes the record, whole or not at all.
    pub(crate) fn record(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// All processes there are, but this one.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let entries = fs::read_dir("/proc").into_iter().flatten();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(move |pid| *pid != own).filter_map(Self::of)
    }

    pub(crate) fn alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Kills it, unless another process has its id by now, and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.alive() {
            match kill(Pid::from_raw(self.pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).doing(|| format!("killing process {}", self.pid)),
            }
            // If it is a child of this process, it stays a zombie until it is waited for.
            let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
            if Instant::now() > deadline {
                return Err(Error::Start {
                    what: format!("the end of process {}", self.pid),
                    message: "it does not die of SIGKILL; it may wait for a disk".into(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
        Ok(())
    }
}

/// State and start time out of `/proc/PID/stat`; the name before them may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

/// What names the network namespace of a process; none if it has ended.
pub(crate) fn network_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// The networks of this process and of the machine's first one: no cluster's.
pub(crate) fn own_networks() -> BTreeSet<PathBuf> {
    [i32::try_from(std::process::id()).unwrap_or_default(), 1].into_iter().filter_map(network_of).collect()
}

/// The living processes whose arguments after the program's name begin with one of `commands` and then hold
/// `--state DIR`: the helpers of one cluster. Newest first, so that nothing found here is started again by another.
pub(crate) fn helpers_of(commands: &[&str], state: &Path) -> Vec<Process> {
    let mut found: Vec<Process> = Process::all()
        .filter(|process| fs::read(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|line| is_helper(&line, commands, state)))
        .collect();
    found.sort_by_key(|process| std::cmp::Reverse(process.started));
    found
}

fn is_helper(cmdline: &[u8], commands: &[&str], state: &Path) -> bool {
    let arguments: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
    let state = state.as_os_str().as_encoded_bytes();
    matches!(arguments.as_slice(), [_, command, flag, dir, ..]
        if commands.iter().any(|known| known.as_bytes() == *command) && *flag == b"--state" && *dir == state)
}

/// Writes a JSON file so that a reader sees the old or the new one, never half of it.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let text = serde_json::to_vec_pretty(value).map_err(|source| Error::State { path: path.to_path_buf(), source })?;
    fs::write(&temporary, text).doing(|| format!("writing {}", temporary.display()))?;
    fs::rename(&temporary, path).doing(|| format!("renaming {} to its place", temporary.display()))
}

/// Asks again and again until there is an answer or the time is over; `None` then.
pub(crate) fn wait_for<T>(within: Duration, every: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(every);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21";
        assert_eq!(parse_stat(stat), Some(('S', 987_654)));
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn a_recycled_id_is_not_taken_for_the_recorded_process() {
        let me = Process::of(std::process::id() as i32).unwrap();
        assert!(me.alive());
        let other = Process { started: me.started + 1, ..me };
        assert!(!other.alive());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.json");
        me.record(&file).unwrap();
        assert_eq!(Process::recorded(&file), Some(me));
        other.record(&file).unwrap();
        assert_eq!(Process::recorded(&file), None);
        // Killing what is not alive any more must not touch the process that has the id now: this one.
        other.kill().unwrap();
    }

    #[test]
    fn a_child_is_killed_and_reaped() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id() as i32).unwrap();
        process.kill().unwrap();
        assert!(!Path::new(&format!("/proc/{}", process.pid)).exists());
        assert!(child.wait().is_err(), "reaped already");
    }

    #[test]
    fn helpers_are_told_by_their_whole_state_directory() {
        let state = Path::new("/var/lib/x/a");
        let line = |dir: &str| format!("/bin/cluster\0__hub\0--state\0{dir}\0").into_bytes();
        assert!(is_helper(&line("/var/lib/x/a"), &["__keeper", "__hub"], state));
        assert!(!is_helper(&line("/var/lib/x/ab"), &["__hub"], state));
        assert!(!is_helper(&line("/var/lib/x/a"), &["__keeper"], state));
        assert!(!is_helper(b"vi\0/var/lib/x/a\0", &["__hub"], state));
    }

    #[test]
    fn waiting_ends_with_the_answer_or_the_deadline() {
        let mut left = 3;
        let answer = wait_for(Duration::from_secs(5), Duration::from_millis(1), || {
            left -= 1;
            Ok((left == 0).then_some("here"))
        });
        assert_eq!(answer.unwrap(), Some("here"));
        let none: Option<()> = wait_for(Duration::from_millis(5), Duration::from_millis(1), || Ok(None)).unwrap();
        assert_eq!(none, None);
    }
}
