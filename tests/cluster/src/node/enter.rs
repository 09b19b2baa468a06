//! Running a program inside a node.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::execvp;

use crate::error::{Doing, Error, Result};
use crate::helper;
use crate::layout::Layout;
use crate::process::Process;

/// Runs `argv` in a node and returns its exit code, as a shell would put it.
///
/// With `network_only`, this process itself becomes the program, inside the node's network namespace and nothing else
/// of the node: it sees the host's files and processes, and what signals this process signals the program. Otherwise
/// it is inside the node altogether, with the node's files and processes, as a child that dies with this process.
///
/// # Errors
/// When the node does not run or the program does not exist.
pub fn enter(state: &Path, node: usize, network_only: bool, argv: &[OsString]) -> Result<i32> {
    let layout = Layout::of_dir(state)?;
    let init = Process::recorded(&layout.init(node)).ok_or_else(|| Error::Node { node, message: "is not running".into() })?;
    let own_program = helper::program()?;
    let mut kinds = vec![("net", CloneFlags::CLONE_NEWNET)];
    if !network_only {
        kinds.extend([
            ("cgroup", CloneFlags::CLONE_NEWCGROUP),
            ("ipc", CloneFlags::CLONE_NEWIPC),
            ("uts", CloneFlags::CLONE_NEWUTS),
            ("pid", CloneFlags::CLONE_NEWPID),
            ("mnt", CloneFlags::CLONE_NEWNS),
        ]);
    }
    // All opened first: once in the node's mounts, /proc shows other numbers.
    let namespaces: Vec<(CloneFlags, File)> = kinds
        .into_iter()
        .map(|(name, kind)| {
            let path = format!("/proc/{}/ns/{name}", init.pid);
            Ok((kind, File::open(&path).doing(|| format!("opening {path}"))?))
        })
        .collect::<Result<_>>()?;
    for (kind, namespace) in namespaces {
        setns(namespace, kind).doing(|| format!("entering node {node}"))?;
    }
    if network_only {
        return become_program(argv, false);
    }
    // Only a child of this process is in the process namespace.
    let status = Command::new(own_program)
        .arg(helper::BECOME)
        .arg("--")
        .args(argv)
        .current_dir("/")
        .status()
        .doing(|| "starting a program in the node".into())?;
    Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1))
}

/// Turns this process into `argv`; with `dies_with_parent`, it is killed when its parent ends.
///
/// # Errors
/// Only ever returns with one: the program does not exist or can't be executed.
pub fn become_program(argv: &[OsString], dies_with_parent: bool) -> Result<i32> {
    if dies_with_parent {
        set_pdeathsig(Signal::SIGKILL).doing(|| "tying the program to its parent".into())?;
    }
    let words: Vec<CString> = argv.iter().filter_map(|word| CString::new(word.as_bytes()).ok()).collect();
    let Some(program) = words.first() else {
        return Err(Error::Requirement("nothing to run: give a command after `--`".into()));
    };
    match execvp(program, &words) {
        Ok(never) => match never {},
        Err(errno) => Err(errno).doing(|| format!("running {}", program.to_string_lossy())),
    }
}
