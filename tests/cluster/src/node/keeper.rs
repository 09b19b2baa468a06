//! How a node comes up. The keeper is an ordinary process of the host that makes the namespaces; its child is the node's
//! first process. Two are needed because a process namespace begins with its maker's next child, not with the maker.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{sethostname, setsid};

use super::{control, mounts, supervisor};
use crate::cgroup;
use crate::error::{Doing, Error, Result};
use crate::helper;
use crate::layout::Layout;
use crate::process::{Process, wait_for};

/// Starts a node's keeper and waits until the node's first process takes requests.
pub(crate) fn start(layout: &Layout, node: usize) -> Result<Process> {
    let log = layout.log(node, "init");
    for stale in [layout.init(node), layout.control(node)] {
        let _ = fs::remove_file(stale);
    }
    let mut keeper =
        helper::command(helper::KEEPER, layout, &log)?.args(["--node", &node.to_string()]).spawn().doing(|| format!("starting node {node}"))?;
    let init = wait_for(Duration::from_secs(15), Duration::from_millis(5), || {
        if keeper.try_wait().doing(|| format!("waiting for node {node}"))?.is_some() {
            return Ok(Some(None));
        }
        let answers = control::ask(layout, node, &control::Request::List).is_ok();
        Ok(if answers { Process::recorded(&layout.init(node)).map(Some) } else { None })
    })?;
    init.flatten().ok_or_else(|| Error::Start { what: format!("node {node}"), message: fs::read_to_string(&log).unwrap_or_default().trim().into() })
}

/// The keeper's own life: it ends when the node's first process does, and takes the node with it when it is killed.
///
/// # Errors
/// When the namespaces can't be made.
pub fn keep(state: &Path, node: usize) -> Result<()> {
    let layout = Layout::of_dir(state)?;
    // Out of the terminal's reach: Ctrl-C is for the command that started this.
    let _ = setsid();
    let namespaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWPID;
    unshare(namespaces).doing(|| "making the node's namespaces (run as root)".into())?;
    let mut init = helper::command(helper::INIT, &layout, &layout.log(node, "init"))?
        .args(["--node", &node.to_string()])
        .spawn()
        .doing(|| "starting the node's first process".into())?;
    if let Some(process) = Process::of(i32::try_from(init.id()).unwrap_or_default()) {
        process.record(&layout.init(node))?;
    }
    init.wait().doing(|| "waiting for the node's first process".into())?;
    Ok(())
}

/// The life of a node's first process.
///
/// # Errors
/// When the node can't be furnished; otherwise it never returns.
pub fn init(state: &Path, node: usize) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).doing(|| "tying the node to its keeper".into())?;
    let layout = Layout::of_dir(state)?;
    // Before the cgroup namespace is made: it shows as its root the group its maker is in.
    cgroup::enter(&layout.cgroup(node))?;
    unshare(CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS).doing(|| "making the node's mount namespace".into())?;
    sethostname(layout.node_name(node)).doing(|| "setting the host name".into())?;
    mounts::make(&layout, node)?;
    supervisor::serve(&layout.control(node))
}
