//! The helper processes. They are the program `cluster` itself under hidden subcommands, so that a library user (a
//! test, a benchmark) needs the program built beside its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Doing, Error, Result};
use crate::layout::Layout;

/// Holds the bridge between the nodes and forwards the API server's port to the host.
pub const HUB: &str = "__hub";
/// Makes a node's namespaces and waits for the node's first process.
pub const KEEPER: &str = "__keeper";
/// Is a node's first process.
pub const INIT: &str = "__init";
/// Runs a program in a node.
pub const ENTER: &str = "__enter";
/// Turns into a program that dies with its parent.
pub const BECOME: &str = "__become";
/// What the self-check's pods run.
pub const ANSWER: &str = "__answer";

/// Those that stay; `down` looks for them.
pub(crate) const LASTING: [&str; 3] = [HUB, KEEPER, INIT];

/// Where the program `cluster` is: this very program, or beside it, or (for tests of cargo, in `deps/`) one above.
pub(crate) fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().doing(|| "looking for this program's own path".into())?;
    if own.file_name().is_some_and(|name| name == "cluster") {
        return Ok(own);
    }
    own.ancestors().skip(1).take(2).map(|dir| dir.join("cluster")).find(|path| path.is_file()).ok_or_else(|| {
        Error::Requirement(format!("the program `cluster` is not beside {}: build it with `cargo build --release -p cluster`", own.display()))
    })
}

/// A lasting helper of a cluster, with nothing of this process's terminal or environment; its output goes to `log`.
pub(crate) fn command(kind: &str, layout: &Layout, log: &Path) -> Result<Command> {
    let log = append(log)?;
    let mut command = Command::new(program()?);
    command
        .args([kind, "--state"])
        .arg(layout.dir())
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().doing(|| "opening a log twice".into())?)
        .stderr(log);
    Ok(command)
}

/// Where the system's own programs are.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Opens a log to be written at its end.
pub(crate) fn append(log: &Path) -> Result<std::fs::File> {
    std::fs::OpenOptions::new().create(true).append(true).open(log).doing(|| format!("opening {}", log.display()))
}
