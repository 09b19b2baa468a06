//! What this machine must offer. Whatever is missing is said in one sentence that holds the command to bring it.

use std::path::Path;
use std::process::Command;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use crate::cgroup;
use crate::error::{Doing, Error, Result};
use crate::layout::ROOT;

/// Installs all packages named here; the script lies beside this crate's Cargo.toml.
const INSTALL: &str = "tests/cluster/install-dependencies.sh";

/// Everything but building takes root: namespaces, mounts, and the state directory, which holds an administrator's key.
pub(crate) fn root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::Requirement("a cluster needs root, for namespaces and mounts: run it with `sudo`".into()))
}

/// Checks what `up` needs.
pub(crate) fn for_up() -> Result<()> {
    root()?;
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables"), ("mount", "mount")] {
        need(program, package)?;
    }
    cgroup::prepare_host()?;
    std::fs::create_dir_all(ROOT).doing(|| format!("making {ROOT}"))?;
    if statfs(ROOT).doing(|| format!("looking at {ROOT}"))?.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        return Err(Error::Requirement(format!(
            "{ROOT} is on an overlay file system, on which containers' own can't be made: give it a disk, such as with `mount -t tmpfs tmpfs {ROOT}`"
        )));
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !has_filesystem(&filesystems, "overlay") {
        // The mount that containerd will make would load it, on a host that has it as a module.
        let loaded = Command::new("modprobe").arg("overlay").output().is_ok_and(|output| output.status.success());
        if !loaded {
            return Err(Error::Requirement("the kernel has no overlay file system: load it with `modprobe overlay`".into()));
        }
    }
    Ok(())
}

fn has_filesystem(table: &str, name: &str) -> bool {
    table.lines().any(|line| line.split_ascii_whitespace().last() == Some(name))
}

/// Go, which `sudo` often hides: it is looked for where its makers put it, too.
pub(crate) fn go() -> Command {
    let mut command = Command::new("go");
    command.env("PATH", format!("{}:/usr/local/go/bin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// The version of Go, which is part of what a build is made from.
pub(crate) fn go_version() -> Result<String> {
    let output = go().args(["env", "GOVERSION", "GOARCH"]).current_dir("/").output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().replace('\n', " ")),
        _ => Err(Error::Requirement(
            "Go is missing (1.26.6 or newer builds the cluster's programs): install it from https://go.dev/dl, such as with \
             `curl -fsSL https://go.dev/dl/go1.26.8.linux-amd64.tar.gz | tar -C /usr/local -xz`, and add /usr/local/go/bin to PATH"
                .into(),
        )),
    }
}

/// Checks what building runc needs.
pub(crate) fn for_cgo() -> Result<()> {
    need("gcc", "gcc")?;
    need("pkg-config", "pkg-config")?;
    let found = Command::new("pkg-config").args(["--exists", "libseccomp"]).status().is_ok_and(|status| status.success());
    if found { Ok(()) } else { Err(missing("the library libseccomp", "libseccomp-dev")) }
}

fn need(program: &str, package: &str) -> Result<()> {
    // Root's usual PATH, even if this was started with a user's.
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').chain(crate::helper::SYSTEM_PATH.split(':')).any(|dir| Path::new(dir).join(program).is_file());
    if found { Ok(()) } else { Err(missing(&format!("the program {program}"), package)) }
}

fn missing(what: &str, package: &str) -> Error {
    Error::Requirement(format!("{what} is missing: install it with `apt-get install {package}`, or all there is to install with {INSTALL}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        assert!(need("sh", "dash").is_ok());
        let sentence = need("no-such-program", "its-package").unwrap_err().to_string();
        assert!(sentence.contains("no-such-program") && sentence.contains("apt-get install its-package"), "{sentence}");
        assert_eq!(sentence.lines().count(), 1);
    }

    #[test]
    fn the_script_installs_every_package_that_is_asked_for() {
        let script = include_str!("../install-dependencies.sh");
        for package in ["iproute2", "nftables", "mount", "gcc", "pkg-config", "libseccomp-dev"] {
            assert!(script.contains(package), "{package}");
        }
    }

    #[test]
    fn a_file_system_is_found_by_its_whole_name() {
        let table = "nodev\tsysfs\n\text4\nnodev\toverlay\n";
        assert!(has_filesystem(table, "overlay") && has_filesystem(table, "ext4"));
        assert!(!has_filesystem(table, "over"));
    }
}
