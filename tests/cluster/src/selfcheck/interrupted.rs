//! Starts that are killed or interrupted at different moments, and what the next command makes of what they leave.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{INTERRUPTED, check};
use crate::cluster::{Cluster, Found, Options};
use crate::component::Component;
use crate::error::{Doing, Error, Result};
use crate::helper::{self, LASTING};
use crate::layout::Layout;
use crate::process::{helpers_of, wait_for};
use crate::progress::{Progress, Quiet};
use crate::{cluster, leftovers};

pub(super) fn all(progress: &mut dyn Progress) -> Result<()> {
    let layout = Layout::new(INTERRUPTED)?;
    // Each file appears at a later point of a start.
    let moments: [(PathBuf, Signal); 5] = [
        (layout.record(), Signal::SIGKILL),
        (layout.hub_log(), Signal::SIGKILL),
        (layout.log(1, "init"), Signal::SIGKILL),
        (layout.log(1, Component::KubeApiserver.name()), Signal::SIGINT),
        (layout.log(2, Component::Kubelet.name()), Signal::SIGKILL),
    ];
    for (file, signal) in &moments {
        let moment = format!("{} is there", file.display());
        progress.detail(&format!("{signal} when {moment}"));
        interrupt(&moment, || file.exists(), *signal)?;
        cluster::down(INTERRUPTED)?;
        nothing_left(INTERRUPTED)?;
    }
    progress.detail("`up` after an `up` that was killed when its last program had been started");
    let last_started = || Cluster::attach(INTERRUPTED).is_ok_and(|cluster| cluster.parts().is_ok());
    interrupt("its last program runs", last_started, Signal::SIGKILL)?;
    let options = Options { name: INTERRUPTED.into(), nodes: 2, audit: false };
    let (interrupted, found) = Cluster::up(&options, &mut Quiet)?;
    check(found == Found::Started, || "a half-started cluster was taken for a running one".into())?;
    interrupted.health()?;

    progress.detail("killed keepers and hub");
    for process in helpers_of(&LASTING, layout.dir()) {
        process.kill()?;
    }
    let (again, found) = Cluster::up(&options, &mut Quiet)?;
    check(found == Found::Started, || "a cluster without nodes was taken for a running one".into())?;
    again.down()?;
    nothing_left(INTERRUPTED)
}

/// Starts a cluster by the command line and sends a signal as soon as `reached` says so; `moment` is that in words.
fn interrupt(moment: &str, reached: impl Fn() -> bool, signal: Signal) -> Result<()> {
    let mut up = Command::new(helper::program()?)
        .args(["up", "--name", INTERRUPTED, "--nodes", "2"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .doing(|| "starting `cluster up`".into())?;
    let there = wait_for(Duration::from_secs(60), Duration::from_millis(1), || Ok(reached().then_some(())));
    let pid = i32::try_from(up.id()).unwrap_or_default();
    let ended = up.try_wait().doing(|| "waiting for `cluster up`".into())?;
    // A child that has not been waited for keeps its id.
    let signalled = if ended.is_none() { kill(Pid::from_raw(pid), signal) } else { Ok(()) };
    let _ = up.wait();
    signalled.doing(|| "signalling `cluster up`".into())?;
    match there? {
        Some(()) if ended.is_none() => Ok(()),
        _ => Err(Error::Check(format!("`cluster up` was not to be interrupted when {moment}: {ended:?}"))),
    }
}

/// Looks for anything of the cluster `name`.
pub(super) fn nothing_left(name: &str) -> Result<()> {
    let found = leftovers(&[name.to_owned()])?;
    check(found.is_empty(), || format!("of {name} is left: {}", found.join("; ")))
}
