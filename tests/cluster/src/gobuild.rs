//! Running `go build` so that one sees how far it is.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::dist::Build;
use crate::error::{Doing, Error, Result};
use crate::progress::Progress;
use crate::requirements;

/// Lines of output shown when a build fails.
const LAST_LINES: usize = 15;

/// How packages are compiled; the last pattern that matches counts. The linker drops what debuggers read (-w), so compilers need not
/// write it. Nor do they inline calls (-l), which is a fifth of the time of building containerd, but in what every request to the API
/// server passes through.
pub(crate) const COMPILED: [&str; 8] = [
    "all=-dwarf=false -l",
    "std=-dwarf=false",
    "go.etcd.io/...=-dwarf=false",
    "golang.org/x/...=-dwarf=false",
    "google.golang.org/...=-dwarf=false",
    "k8s.io/apimachinery/...=-dwarf=false",
    "k8s.io/apiserver/...=-dwarf=false",
    "sigs.k8s.io/...=-dwarf=false",
];

/// Runs one build of the module in `source`; its programs go below `result`.
pub(crate) fn run(build: &Build, source: &Path, result: &Path, progress: &mut dyn Progress) -> Result<()> {
    let mut meter = Meter::default();
    let mut list = go(build, source);
    list.args(["list", "-deps", "-tags", build.tags]).args(build.packages);
    meter.packages = follow(list, build.what, |line| {
        meter.read(line);
        progress.detail(&meter.to_string());
    })?;
    let mut compile = go(build, source);
    compile
        .args(["build", "-v", "-trimpath", "-tags", build.tags, "-ldflags", build.ldflags])
        .args(COMPILED.map(|how| format!("-gcflags={how}")))
        .arg("-o")
        .arg(result.join(build.output))
        .args(build.packages);
    if build.output.ends_with('/') {
        let dir = result.join(build.output);
        std::fs::create_dir_all(&dir).doing(|| format!("making {}", dir.display()))?;
    }
    follow(compile, build.what, |line| {
        meter.read(line);
        progress.detail(&meter.to_string());
    })?;
    Ok(())
}

fn go(build: &Build, source: &Path) -> Command {
    let mut command = requirements::go();
    command
        .current_dir(source)
        .env("CGO_ENABLED", if build.cgo { "1" } else { "0" })
        // What is set for other modules must not change what is built here.
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        // With the usual 100 the compiler spends about a sixth of its time collecting garbage.
        .env("GOGC", "400")
        .stdin(Stdio::null());
    command
}

/// Runs `go`, hands on each line of its standard error, and returns the number of lines of its standard output.
fn follow(mut command: Command, what: &str, mut each: impl FnMut(&str)) -> Result<usize> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().doing(|| "starting go".into())?;
    let output = child.stdout.take();
    let counter = std::thread::spawn(move || output.map_or(0, |output| BufReader::new(output).lines().count()));
    let mut last = VecDeque::new();
    for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(std::io::Result::ok) {
        each(&line);
        last.push_back(line);
        if last.len() > LAST_LINES {
            last.pop_front();
        }
    }
    let status = child.wait().doing(|| "waiting for go".into())?;
    if status.success() {
        return Ok(counter.join().unwrap_or_default());
    }
    Err(Error::Build { what: what.into(), output: Vec::from(last).join("\n") })
}

/// What `go` has told so far.
#[derive(Debug, Default)]
struct Meter {
    packages: usize,
    compiled: usize,
    downloaded: usize,
}

impl Meter {
    /// `go` writes a line for each module it downloads and, with -v, for each package it compiles (not for those that
    /// it finds in its own cache).
    fn read(&mut self, line: &str) {
        if line.starts_with("go: downloading ") {
            self.downloaded += 1;
        } else if !line.contains(' ') && !line.is_empty() {
            self.compiled += 1;
        }
    }
}

impl std::fmt::Display for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.packages == 0 {
            return write!(f, "{} modules downloaded", self.downloaded);
        }
        write!(f, "{} of at most {} packages compiled", self.compiled, self.packages)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn downloads_and_packages_are_counted_apart() {
        let mut meter = Meter::default();
        meter.read("go: downloading k8s.io/api v0.36.3");
        assert_eq!(meter.to_string(), "1 modules downloaded");
        meter.packages = 1200;
        meter.read("k8s.io/api/core/v1");
        meter.read("# k8s.io/api/core/v1");
        assert_eq!(meter.to_string(), "1 of at most 1200 packages compiled");
    }

    #[test]
    fn a_failing_build_shows_what_it_said() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo one; echo main.go:1:1: wrong >&2; exit 1"]);
        let mut lines = Vec::new();
        let error = follow(command, "it", |line| lines.push(line.to_string())).unwrap_err();
        assert!(error.to_string().contains("main.go:1:1: wrong"), "{error}");
        assert_eq!(lines, ["main.go:1:1: wrong"]);
    }
}
