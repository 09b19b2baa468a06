//! The programs a cluster is made of: built from Go modules, kept in a cache under the hash of everything they were
//! built from, and built again only when that changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::error::{Doing, Error, Result};
use crate::gobuild;
use crate::image::{Image, hex};
use crate::progress::Progress;
use crate::requirements;

/// The image whose process holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// Kubernetes' version; the module's go.mod requires the same.
const VERSION: &str = "1.36.3";

/// A Go module of ours and what is built in it.
#[derive(Debug)]
struct Module {
    kind: &'static str,
    files: &'static [(&'static str, &'static str)],
    builds: &'static [Build],
}

/// One call of `go build`.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) what: &'static str,
    pub(crate) packages: &'static [&'static str],
    /// Below the result's directory; ends with a slash if there are several programs.
    pub(crate) output: &'static str,
    pub(crate) tags: &'static str,
    pub(crate) ldflags: &'static str,
    pub(crate) cgo: bool,
}

const COMPONENTS: Module = Module {
    kind: "components",
    files: &[
        ("go.mod", include_str!("../go/components/go.mod")),
        ("go.sum", include_str!("../go/components/go.sum")),
        ("main.go", include_str!("../go/components/main.go")),
    ],
    builds: &[Build {
        what: "Kubernetes, etcd, CoreDNS, kubectl and Helm",
        packages: &["."],
        output: "bin/components",
        tags: "providerless,dockerless",
        ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 \
                  -X k8s.io/component-base/version.gitMinor=36",
        cgo: true,
    }],
};

const RUNTIME: Module = Module {
    kind: "runtime",
    files: &[
        ("go.mod", include_str!("../go/runtime/go.mod")),
        ("go.sum", include_str!("../go/runtime/go.sum")),
        ("tools.go", include_str!("../go/runtime/tools.go")),
        ("pause/main.go", include_str!("../go/runtime/pause/main.go")),
    ],
    builds: &[
        Build {
            what: "containerd",
            packages: &[
                "github.com/containerd/containerd/v2/cmd/containerd",
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                "github.com/containerd/containerd/v2/cmd/ctr",
            ],
            output: "bin/",
            tags: "no_btrfs,no_zfs,no_devmapper,no_tracing",
            ldflags: "-s -w",
            cgo: false,
        },
        Build {
            what: "pod networking",
            packages: &[
                "github.com/containernetworking/plugins/plugins/ipam/host-local",
                "github.com/containernetworking/plugins/plugins/main/loopback",
                "github.com/containernetworking/plugins/plugins/main/ptp",
                "github.com/containernetworking/plugins/plugins/meta/portmap",
            ],
            output: "cni/",
            tags: "",
            ldflags: "-s -w",
            cgo: false,
        },
        // Without seccomp every pod would fail: the kubelet's and containerd's defaults ask for it.
        Build { what: "runc", packages: &["github.com/opencontainers/runc"], output: "bin/", tags: "seccomp", ldflags: "-s -w", cgo: true },
        Build { what: "the pause image", packages: &["./pause"], output: "bin/", tags: "", ldflags: "-s -w", cgo: false },
    ],
};

/// The names under which the one binary of [`COMPONENTS`] is called, in `bin/`, and of these the user's, in `tools/`.
const PROGRAMS: [&str; 9] =
    ["coredns", "etcd", "helm", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];
const TOOLS: [&str; 2] = ["helm", "kubectl"];

/// The built programs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Dist {
    components: PathBuf,
    runtime: PathBuf,
}

impl Dist {
    #[cfg(test)]
    pub(crate) fn at(components: &Path, runtime: &Path) -> Self {
        Self { components: components.into(), runtime: runtime.into() }
    }

    /// Whether all of it is there.
    pub(crate) fn is_built(&self) -> bool {
        self.components.exists() && self.runtime.exists()
    }

    /// Kubernetes' programs, etcd and CoreDNS.
    pub(crate) fn bin(&self) -> PathBuf {
        self.components.join("bin")
    }

    /// kubectl and helm, and nothing else.
    pub(crate) fn tools(&self) -> PathBuf {
        self.components.join("tools")
    }

    /// containerd, its shim, ctr and runc.
    pub(crate) fn runtime_bin(&self) -> PathBuf {
        self.runtime.join("bin")
    }

    pub(crate) fn cni(&self) -> PathBuf {
        self.runtime.join("cni")
    }

    pub(crate) fn pause_image(&self) -> PathBuf {
        self.runtime.join("pause.tar")
    }
}

/// The directory of built programs: `$BLUEGREEN_CACHE`, or `.cache/cluster` in the workspace this was compiled in.
fn cache() -> PathBuf {
    match std::env::var_os("BLUEGREEN_CACHE") {
        Some(dir) if !dir.is_empty() => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).join(".cache/cluster"),
    }
}

/// Where the programs are, or will be once they are built.
pub(crate) fn find() -> Result<Dist> {
    let (cache, go_version) = (cache(), requirements::go_version()?);
    Ok(Dist { components: cache.join(COMPONENTS.result_name(&go_version)), runtime: cache.join(RUNTIME.result_name(&go_version)) })
}

/// Builds what is missing; with everything there, it takes milliseconds.
///
/// # Errors
/// When Go or a package is missing (named, with the command that installs it) or a build fails.
pub(crate) fn build(progress: &mut dyn Progress) -> Result<Dist> {
    let (cache, dist) = (cache(), find()?);
    if dist.is_built() {
        return Ok(dist);
    }
    fs::create_dir_all(&cache).doing(|| format!("making {}", cache.display()))?;
    let lock = cache.join("lock");
    let lock_file = fs::File::create(&lock).doing(|| format!("making {}", lock.display()))?;
    progress.detail("waiting for another build to end");
    let _lock = Flock::lock(lock_file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).doing(|| format!("locking {}", lock.display()))?;

    let missing: Vec<(&Module, &Path)> =
        [(&COMPONENTS, dist.components.as_path()), (&RUNTIME, dist.runtime.as_path())].into_iter().filter(|(_, result)| !result.exists()).collect();
    if missing.iter().any(|(module, _)| module.builds.iter().any(|build| build.cgo)) {
        requirements::for_cgo()?;
    }
    let of = missing.iter().map(|(module, _)| module.builds.len()).sum();
    let mut number = 0;
    for (module, result) in missing {
        module.build(&cache, result, (&mut number, of), progress)?;
    }
    Ok(dist)
}

impl Module {
    /// A name that changes with every input of the build.
    fn result_name(&self, go_version: &str) -> String {
        let mut hash = Sha256::new();
        // Lengths keep two different lists of inputs from running together into the same bytes.
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        };
        add(go_version);
        add(PAUSE_IMAGE);
        add(&format!("{:?} {PROGRAMS:?} {:?}", self.builds, gobuild::COMPILED));
        for (name, content) in self.files {
            add(name);
            add(content);
        }
        let digest = hex(&hash.finalize());
        format!("{}-{}", self.kind, digest.get(..16).unwrap_or_default())
    }

    fn build(&self, cache: &Path, result: &Path, (number, of): (&mut usize, usize), progress: &mut dyn Progress) -> Result<()> {
        let work = cache.join(format!("{}.unfinished", self.kind));
        // What an interrupted build left; the lock says that nobody else is at it.
        if work.exists() {
            fs::remove_dir_all(&work).doing(|| format!("removing {}", work.display()))?;
        }
        let source = work.join("source");
        for (name, content) in self.files {
            let path = source.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&source)).doing(|| format!("making the directory of {}", path.display()))?;
            fs::write(&path, content).doing(|| format!("writing {}", path.display()))?;
        }
        for build in self.builds {
            *number += 1;
            progress.step(*number, of, &format!("building {}", build.what));
            gobuild::run(build, &source, &work, progress)?;
        }
        self.finish(&work)?;
        fs::remove_dir_all(&source).doing(|| format!("removing {}", source.display()))?;
        fs::rename(&work, result).doing(|| format!("renaming {} to {}", work.display(), result.display()))
    }

    fn finish(&self, work: &Path) -> Result<()> {
        if self.kind == RUNTIME.kind {
            return Image::new(PAUSE_IMAGE).file(work.join("bin/pause"), "/pause").entrypoint(["/pause"]).write(&work.join("pause.tar"));
        }
        fs::create_dir_all(work.join("tools")).doing(|| "making tools/".into())?;
        let bin = PROGRAMS.iter().map(|name| ("components", work.join("bin").join(name)));
        let tools = TOOLS.iter().map(|name| ("../bin/components", work.join("tools").join(name)));
        for (to, link) in bin.chain(tools) {
            std::os::unix::fs::symlink(to, &link).doing(|| format!("linking {}", link.display()))?;
        }
        // One look at the result: a program that can't say its version is not worth keeping.
        let kubectl = work.join("tools/kubectl");
        let output = Command::new(&kubectl).args(["version", "--client"]).output().doing(|| format!("running {}", kubectl.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains(&format!("v{VERSION}")) {
            return Ok(());
        }
        Err(Error::Build { what: "kubectl".into(), output: format!("it calls itself {text:?}, not v{VERSION}") })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_result_is_named_by_all_that_went_into_it() {
        let name = COMPONENTS.result_name("go1.26.8");
        assert_eq!(name, COMPONENTS.result_name("go1.26.8"));
        assert_ne!(name, COMPONENTS.result_name("go1.26.9"));
        let files: &[(&str, &str)] = &[("go.mod", "a"), ("go.sum", "b")];
        let files: &'static [(&'static str, &'static str)] = files.to_vec().leak();
        let other = |files, builds| Module { kind: "components", files, builds }.result_name("go1.26.8");
        let moved: &'static [(&'static str, &'static str)] = vec![("go.mod", "ab"), ("go.sum", "")].leak();
        assert_ne!(other(files, COMPONENTS.builds), other(moved, COMPONENTS.builds));
        assert_ne!(other(files, COMPONENTS.builds), other(files, RUNTIME.builds));
    }

    #[test]
    fn the_version_shown_is_the_version_required() {
        let go_mod = COMPONENTS.files[0].1;
        assert!(go_mod.contains(&format!("k8s.io/kubernetes v{VERSION}\n")));
        assert!(COMPONENTS.builds[0].ldflags.contains(&format!("gitVersion=v{VERSION} ")));
    }
}
