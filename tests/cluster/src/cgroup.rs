//! A node's control groups: one group in every hierarchy of the host, which the node's cgroup namespace shows as the
//! root. They are also the surest list of a node's processes.
//!
//! Both layouts of the kernel are served: version 1 (a hierarchy per controller, perhaps with an empty unified one
//! beside it) and version 2 (cgroups(7)).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, Error, Result};
use crate::layout::CGROUP_PREFIX;

const ROOT: &str = "/sys/fs/cgroup";

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    at: PathBuf,
    kind: String,
    /// What mounts the same hierarchy again: controllers or a name; empty for version 2.
    options: String,
}

/// The hierarchies of this host, from mountinfo (proc(5)); version 2 alone is a single one at the root.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let table = fs::read_to_string("/proc/self/mountinfo").doing(|| "reading /proc/self/mountinfo".into())?;
    let found = parse_mountinfo(&table);
    if found.is_empty() {
        return Err(Error::Requirement(
            "no control groups are mounted under /sys/fs/cgroup: mount them with `mount -t cgroup2 cgroup2 /sys/fs/cgroup`".into(),
        ));
    }
    Ok(found)
}

fn parse_mountinfo(table: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in table.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(at), mut filesystem) = (mount.split(' ').nth(4), filesystem.split(' ')) else {
            continue;
        };
        let (Some(kind), Some(options)) = (filesystem.next(), filesystem.nth(1)) else {
            continue;
        };
        if !kind.starts_with("cgroup") || !at.starts_with(ROOT) {
            continue;
        }
        let own = ["rw", "ro", "xattr", "clone_children", "nsdelegate", "memory_recursiveprot", "memory_hugetlb_accounting"];
        let options: Vec<&str> = options.split(',').filter(|option| !own.contains(option) && !option.starts_with("release_agent=")).collect();
        let hierarchy = Hierarchy { at: at.into(), kind: kind.into(), options: options.join(",") };
        if !found.contains(&hierarchy) {
            found.push(hierarchy);
        }
    }
    found
}

fn is_v2_alone(hierarchies: &[Hierarchy]) -> bool {
    hierarchies.iter().all(|hierarchy| hierarchy.at == Path::new(ROOT))
}

/// Makes the groups and puts the calling process, a node's first, into them.
pub(crate) fn enter(group: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let dir = hierarchy.at.join(group);
        fs::create_dir_all(&dir).doing(|| format!("making the control group {}", dir.display()))?;
        // In version 1 a new cpuset is empty and would take no process.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.kind == "cgroup" && dir.join(file).exists() {
                let value = read(&hierarchy.at.join(file))?;
                write(&dir.join(file), &value)?;
                write(&dir.join("cgroup.clone_children"), "1")?;
            }
        }
        // 0 stands for the writing process.
        write(&dir.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Mounts the hierarchies again, after the cgroup namespace was made: each then shows the node's group as its root.
pub(crate) fn mount_inside() -> Result<()> {
    // The table still lists the host's mounts, although a new /sys hides them by now.
    let hierarchies = hierarchies()?;
    if is_v2_alone(&hierarchies) {
        mount_at("cgroup2", Path::new(ROOT), "")?;
        return delegate();
    }
    mount(Some("tmpfs"), ROOT, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).doing(|| format!("mounting {ROOT}"))?;
    for hierarchy in &hierarchies {
        fs::create_dir_all(&hierarchy.at).doing(|| format!("making {}", hierarchy.at.display()))?;
        mount_at(&hierarchy.kind, &hierarchy.at, &hierarchy.options)?;
        // cpu and cpuacct are often mounted together as `cpu,cpuacct`, with a link for each.
        let name = hierarchy.at.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for part in name.split(',').filter(|part| *part != name) {
            let link = Path::new(ROOT).join(part);
            std::os::unix::fs::symlink(name, &link).doing(|| format!("linking {}", link.display()))?;
        }
    }
    Ok(())
}

fn mount_at(kind: &str, at: &Path, options: &str) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options)).doing(|| format!("mounting {}", at.display()))
}

/// Version 2 lets no group have both processes and controlled children, so the node's own processes move one down.
fn delegate() -> Result<()> {
    let root = Path::new(ROOT);
    let own = root.join("init");
    fs::create_dir_all(&own).doing(|| format!("making the control group {}", own.display()))?;
    write(&own.join("cgroup.procs"), "0")?;
    for controller in read(&root.join("cgroup.controllers"))?.split_ascii_whitespace() {
        write(&root.join("cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(())
}

/// On version 2 alone, the root must hand its controllers down before a node's group can have them.
pub(crate) fn prepare_host() -> Result<()> {
    let hierarchies = hierarchies()?;
    if is_v2_alone(&hierarchies) {
        for controller in read(&Path::new(ROOT).join("cgroup.controllers"))?.split_ascii_whitespace() {
            write(&Path::new(ROOT).join("cgroup.subtree_control"), &format!("+{controller}"))?;
        }
    }
    let has = |controller: &str| {
        hierarchies.iter().any(|hierarchy| hierarchy.options.split(',').any(|option| option == controller))
            || read(&Path::new(ROOT).join("cgroup.controllers")).is_ok_and(|all| all.split_ascii_whitespace().any(|one| one == controller))
    };
    match ["cpu", "memory", "pids"].into_iter().find(|controller| !has(controller)) {
        Some(missing) => Err(Error::Requirement(format!(
            "the kernel offers no control group controller `{missing}`: boot with `cgroup_enable={missing}` on the kernel's command line"
        ))),
        None => Ok(()),
    }
}

/// The groups of clusters on this host, by name, each once.
pub(crate) fn existing() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for hierarchy in hierarchies()? {
        for entry in fs::read_dir(&hierarchy.at).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(CGROUP_PREFIX) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Kills every process in the group and below, and removes it from every hierarchy.
pub(crate) fn clear(group: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut left = false;
        for hierarchy in hierarchies()? {
            let dir = hierarchy.at.join(group);
            if dir.exists() {
                kill_below(&dir);
                left |= !remove_below(&dir);
            }
        }
        if !left {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Start {
                what: format!("the end of control group {group}"),
                message: "its processes do not die of SIGKILL; they may wait for a disk".into(),
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill_below(dir: &Path) {
    for pid in read(&dir.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|line| line.parse().ok()) {
        // Ids in this file belong to the group at this moment; 0 would be a process this namespace can't see.
        if pid > 1 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for child in children(dir) {
        kill_below(&child);
    }
}

/// False as long as something is left; a group with dying processes can't be removed yet.
fn remove_below(dir: &Path) -> bool {
    for child in children(dir) {
        remove_below(&child);
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_string()).doing(|| format!("reading {}", path.display()))
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).doing(|| format!("writing {value:?} to {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_read_with_what_mounts_them_again() {
        let table = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n\
            42 31 0:39 / /mnt/other rw - cgroup2 cgroup2 rw\n";
        let found = parse_mountinfo(table);
        let short: Vec<(&str, &str, &str)> = found.iter().map(|h| (h.at.to_str().unwrap(), h.kind.as_str(), h.options.as_str())).collect();
        assert_eq!(
            short,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
                ("/sys/fs/cgroup/systemd", "cgroup", "name=systemd"),
                ("/sys/fs/cgroup/unified", "cgroup2", ""),
            ]
        );
        assert!(!is_v2_alone(&found));
        let v2 = parse_mountinfo("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n");
        assert!(is_v2_alone(&v2));
    }

    #[test]
    fn removing_goes_from_the_leaves_up() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("g");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir_all(top.join("c")).unwrap();
        assert!(remove_below(&top));
        assert!(!top.exists());
        fs::create_dir_all(top.join("a")).unwrap();
        fs::write(top.join("a/busy"), "").unwrap();
        assert!(!remove_below(&top));
    }
}
