//! What a node sees of the file system: the host's, with directories and settings of its own where programs of a node
//! expect theirs. Everything is mounted in the node's mount namespace and goes with it.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::cgroup;
use crate::error::{Doing, Result};
use crate::layout::Layout;
use crate::places;

/// Directories of the node over the places where the kubelet and containerd's CNI library look, whatever they are told.
const DIRS: [(&str, &str); 4] =
    [("kubelet", "/var/lib/kubelet"), ("cni", "/var/lib/cni"), ("pods", "/var/log/pods"), ("containers", "/var/log/containers")];

/// Settings the kubelet insists on. They are the whole machine's, so it is shown files with the wanted values instead.
const SHOWN_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Settings of the node's network namespace: it routes, and answers may come back another way than they went.
const NETWORK_SETTINGS: [(&str, &str); 3] =
    [("net/ipv4/ip_forward", "1"), ("net/ipv4/conf/all/rp_filter", "0"), ("net/ipv4/conf/default/rp_filter", "0")];

/// Mounts all of it; the calling process must be the first of its process, mount, network and cgroup namespaces.
pub(super) fn make(layout: &Layout, node: usize) -> Result<()> {
    // First of all: nothing that is mounted from here on may reach the host.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .doing(|| "making the node's mounts its own".into())?;
    fresh("proc", "/proc", "")?;
    fresh("sysfs", "/sys", "")?;
    cgroup::mount_inside()?;
    fresh("tmpfs", "/run", "mode=755")?;
    for dir in ["/run/lock", "/run/netns"] {
        fs::create_dir_all(dir).doing(|| format!("making {dir}"))?;
    }
    for (own, place) in DIRS {
        let place = Path::new(place);
        places::cover(layout.root(), place, || bind(&layout.node(node, own), place))?;
    }
    for (setting, value) in SHOWN_SETTINGS {
        let file = layout.node(node, "sysctl").join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n")).doing(|| format!("writing {}", file.display()))?;
        bind(&file, &Path::new("/proc/sys").join(setting))?;
    }
    for (setting, value) in NETWORK_SETTINGS {
        let file = Path::new("/proc/sys").join(setting);
        fs::write(&file, value).doing(|| format!("writing {}", file.display()))?;
    }
    // Pods with mount propagation need it, and it ends at the node.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
        .doing(|| "sharing the node's mounts with its pods".into())
}

fn fresh(kind: &str, at: &str, options: &str) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options)).doing(|| format!("mounting {at}"))
}

fn bind(from: &Path, at: &Path) -> Result<()> {
    mount(Some(from), at, None::<&str>, MsFlags::MS_BIND, None::<&str>).doing(|| format!("mounting {} at {}", from.display(), at.display()))
}
