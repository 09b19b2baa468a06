//! Other programs: where they are, and running them to their end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use tokio::task::block_in_place;

use crate::failure::{Failure, Result, io};

/// A program of this workspace, which lies beside this one.
///
/// # Errors
/// If it was not built.
pub fn beside(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().map_err(io("finding this program"))?;
    let path = here.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(Failure::NotBuilt { path: path.display().to_string() }) }
}

/// A file of the sources, by its path from their root.
#[must_use]
pub fn source(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root).join(path)
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// If it does not start, or fails; then with what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let line = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = block_in_place(|| command.stdin(Stdio::null()).output()).map_err(io(format!("starting `{line}`")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(Failure::Command { command: line, output: String::from_utf8_lossy(&text).trim().to_owned() })
}

/// A tag that changes with the files, so that a cluster that was kept takes new ones.
///
/// # Errors
/// If a file can't be read.
pub fn tag(files: &[&Path]) -> Result<String> {
    let mut digest = Sha256::new();
    for file in files {
        digest.update(std::fs::read(file).map_err(io(format!("reading {}", file.display())))?);
    }
    Ok(digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}
