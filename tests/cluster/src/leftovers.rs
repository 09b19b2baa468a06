//! Whether anything of a cluster is left on this machine. All of it is looked up in the system, as `down` does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};
use crate::layout::{Layout, ROOT};
use crate::process::{Process, helpers_of, network_of, own_networks};
use crate::{cgroup, cluster, down, helper, places};

/// What is left of the clusters named `of`, or named so with a dash and more behind; of all clusters if none is named.
/// A sentence each: directories, control groups, processes and mounts. Programs of this project in a network whose
/// cluster is gone are told whatever it was called, and so are directories of the host that outlived all clusters.
///
/// # Errors
/// When the system can't be looked at.
pub fn leftovers(of: &[String]) -> Result<Vec<String>> {
    let root = Path::new(ROOT);
    let wanted = |name: &str| {
        of.is_empty() || of.iter().any(|one| name.strip_prefix(one.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(".lock").unwrap_or(&name);
        if Layout::new(name).is_ok() && wanted(name) {
            found.push(format!("{} is there", entry.path().display()));
        }
    }
    let groups = cgroup::existing()?;
    found.extend(groups.iter().filter(|group| down::cluster_of(group).is_some_and(wanted)).map(|group| format!("control group {group} is there")));
    for (pid, line) in command_lines()? {
        if let Some(name) = named_in(&line, root).filter(|name| wanted(name)) {
            found.push(format!("process {pid} belongs to cluster {name}: {}", words(&line)));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").doing(|| "reading /proc/self/mountinfo".into())?;
    for at in down::mounts_below(&mounts, root) {
        let name =
            at.strip_prefix(root).ok().and_then(|below| below.components().next()).map(|first| first.as_os_str().to_string_lossy().into_owned());
        if name.is_some_and(|name| wanted(&name)) {
            found.push(format!("{} is mounted on the host", at.display()));
        }
    }
    found.extend(strays()?);
    if !down::any_is_there(root)? {
        found.extend(places::made(root).iter().map(|place| format!("{} was made for nodes and not removed", place.display())));
    }
    Ok(found)
}

/// Programs of this project in a network that is neither this process's own nor a living cluster's.
fn strays() -> Result<Vec<String>> {
    let mut networks: BTreeSet<PathBuf> = own_networks();
    for name in cluster::names()? {
        let layout = Layout::new(&name)?;
        networks.extend(helpers_of(&helper::LASTING, layout.dir()).iter().filter_map(|process| network_of(process.pid)));
    }
    let programs = helper::program()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut found = Vec::new();
    for (pid, line) in command_lines()? {
        let ours = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.parent() == Some(&programs));
        // One that ended just now has no network any more.
        if ours && network_of(pid).is_some_and(|network| !networks.contains(&network)) && Process::of(pid).is_some() {
            found.push(format!("process {pid} is in a network whose cluster is gone: {}", words(&line)));
        }
    }
    Ok(found)
}

/// All processes but this one, with their arguments; kernel threads have none.
fn command_lines() -> Result<Vec<(i32, Vec<u8>)>> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let entries = fs::read_dir("/proc").doing(|| "reading /proc".into())?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| *pid != own);
    Ok(pids.filter_map(|pid| Some((pid, fs::read(format!("/proc/{pid}/cmdline")).ok()?))).filter(|(_, line)| !line.is_empty()).collect())
}

/// The cluster whose directory is named in a command line: components, helpers and containers' shims all name it.
fn named_in(line: &[u8], root: &Path) -> Option<String> {
    let prefix = format!("{}/", root.display());
    let line = String::from_utf8_lossy(line);
    let (_, rest) = line.split_once(&prefix)?;
    let name = rest.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')).next()?;
    Layout::new(name).is_ok().then(|| name.to_owned())
}

fn words(line: &[u8]) -> String {
    String::from_utf8_lossy(line).replace('\0', " ").chars().take(120).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_command_line_names_its_cluster() {
        let root = Path::new("/var/lib/x");
        assert_eq!(named_in(b"kubelet\0--config=/var/lib/x/demo-2/n1/etc/kubelet.json\0", root).as_deref(), Some("demo-2"));
        assert_eq!(named_in(b"cluster\0__hub\0--state\0/var/lib/x/demo\0", root).as_deref(), Some("demo"));
        assert_eq!(named_in(b"ls\0/var/lib/x/\0", root), None);
        assert_eq!(named_in(b"ls\0/var/lib/xy/demo\0", root), None);
        assert_eq!(words(b"ls\0-l\0"), "ls -l");
    }
}
