//! How a cluster ends, also one that was interrupted in the middle of anything: what is there is looked up in the
//! system itself (processes by their arguments, control groups by their names), not only in what was written down.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::cgroup;
use crate::error::{Doing, Result};
use crate::helper::{KEEPER, LASTING};
use crate::layout::{CGROUP_PREFIX, Layout};
use crate::process::{Process, helpers_of, network_of, own_networks};

/// Ends every process of a cluster and removes all it left.
pub(crate) fn clear(layout: &Layout) -> Result<()> {
    let networks = networks_of(layout);
    // Keepers first: each takes its node's whole process namespace with it.
    loop {
        let found = helpers_of(&LASTING, layout.dir());
        if found.is_empty() {
            break;
        }
        found.iter().try_for_each(Process::kill)?;
    }
    for group in cgroup::existing()?.iter().filter(|group| cluster_of(group) == Some(layout.name())) {
        cgroup::clear(group)?;
    }
    // What was started in a node's network only is the host's process in everything else, and would keep the network.
    for process in Process::all().filter(|process| network_of(process.pid).is_some_and(|network| networks.contains(&network))) {
        process.kill()?;
    }
    // All mounts are in the nodes' namespaces and gone with them. Should one be on the host all the same, removing the
    // directory would go through it into what is mounted.
    let table = fs::read_to_string("/proc/self/mountinfo").doing(|| "reading /proc/self/mountinfo".into())?;
    for mounted in mounts_below(&table, layout.dir()) {
        umount2(&mounted, MntFlags::MNT_DETACH).doing(|| format!("unmounting {}", mounted.display()))?;
    }
    match fs::remove_dir_all(layout.dir()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).doing(|| format!("removing {}", layout.dir().display())),
        _ => Ok(()),
    }
}

/// The networks of a cluster's nodes and hub, as far as these live. A helper that has only just started is still in
/// the network it was started from, which is nobody's to clear.
fn networks_of(layout: &Layout) -> BTreeSet<PathBuf> {
    let own = own_networks();
    let networks = helpers_of(&LASTING, layout.dir()).into_iter().filter_map(|process| network_of(process.pid));
    networks.filter(|network| !own.contains(network)).collect()
}

/// Ends one node and leaves its files.
pub(crate) fn clear_node(layout: &Layout, node: usize) -> Result<()> {
    let number = node.to_string();
    let keepers = helpers_of(&[KEEPER], layout.dir());
    let init = Process::recorded(&layout.init(node));
    for keeper in keepers.into_iter().filter(|keeper| keeps(keeper, &number)).chain(init) {
        keeper.kill()?;
    }
    cgroup::clear(&layout.cgroup(node))
}

fn keeps(keeper: &Process, node: &str) -> bool {
    let arguments = fs::read(format!("/proc/{}/cmdline", keeper.pid)).unwrap_or_default();
    let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    arguments.windows(2).any(|pair| matches!(pair, [b"--node", number] if *number == node.as_bytes()))
}

/// The clusters of which anything is left.
pub(crate) fn names(root: &Path) -> Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        names.insert(name.strip_suffix(".lock").unwrap_or(&name).to_string());
    }
    names.extend(cgroup::existing()?.iter().filter_map(|group| cluster_of(group)).map(String::from));
    Ok(names.into_iter().filter(|name| Layout::new(name).is_ok()).collect())
}

/// Whether a cluster has a directory or a control group. A lock alone is none: who holds it has made nothing yet, or
/// has removed it all.
pub(crate) fn any_is_there(root: &Path) -> Result<bool> {
    let is_cluster =
        |entry: fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && Layout::new(&entry.file_name().to_string_lossy()).is_ok();
    Ok(fs::read_dir(root).into_iter().flatten().flatten().any(is_cluster) || cgroup::existing()?.iter().any(|group| cluster_of(group).is_some()))
}

/// The cluster a control group's name stands for.
pub(crate) fn cluster_of(group: &str) -> Option<&str> {
    let (name, node) = group.strip_prefix(CGROUP_PREFIX)?.rsplit_once("-n")?;
    node.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}

/// Mount points at or below `dir`, innermost first.
pub(crate) fn mounts_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).filter(|at| at.starts_with(dir)).collect();
    found.sort_by_key(|at| std::cmp::Reverse(at.components().count()));
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_control_group_tells_its_cluster() {
        assert_eq!(cluster_of("bluegreen-demo-n1"), Some("demo"));
        assert_eq!(cluster_of("bluegreen-a-n1-n12"), Some("a-n1"));
        assert_eq!(cluster_of("bluegreen-demo-nx"), None);
        assert_eq!(cluster_of("docker-demo-n1"), None);
    }

    #[test]
    fn mounts_of_other_clusters_are_left_alone() {
        let table = "1 0 0:1 / / rw - ext4 a rw\n\
            2 1 0:2 / /var/lib/x/demo/n1/a rw - tmpfs a rw\n\
            3 2 0:3 / /var/lib/x/demo/n1/a/b rw - tmpfs a rw\n\
            4 1 0:4 / /var/lib/x/demo2/n1 rw - tmpfs a rw\n";
        let found = mounts_below(table, Path::new("/var/lib/x/demo"));
        assert_eq!(found, [Path::new("/var/lib/x/demo/n1/a/b"), Path::new("/var/lib/x/demo/n1/a")]);
    }
}
