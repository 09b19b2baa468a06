//! `api-docs`: writes docs/api-reference.md from the CustomResourceDefinitions, or checks that it is up to date.

mod render;
mod schema;
mod words;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// The page that is written.
const PAGE: &str = "api-reference.md";

/// Writes the API reference from the kinds.
#[derive(Parser)]
struct Cli {
    /// Write nothing; fail if the page is not what would be written.
    #[arg(long)]
    check: bool,
    /// The folder of the pages.
    #[arg(long, default_value = "docs")]
    directory: PathBuf,
}

/// Why the page could not be written, or is not up to date.
#[derive(thiserror::Error, Debug)]
enum Error {
    /// The kinds make no schema.
    #[error(transparent)]
    Crd(#[from] bluegreen::api::CrdError),
    /// Something that the page needs is not in the schema.
    #[error("the schema has no {0}; schema.rs must follow the way the CRDs are generated")]
    Missing(&'static str),
    /// The page can't be read or written.
    #[error("{}: {source}; run this from the root of the repository, or name the folder with --directory", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The page differs from what the kinds say.
    #[error("{} is not up to date at line {line}: it has {has:?}, the kinds say {wants:?}; run make generate and commit it", path.display())]
    Drift {
        /// Which.
        path: PathBuf,
        /// The first line that differs, from 1.
        line: usize,
        /// What stands there.
        has: String,
        /// What should stand there.
        wants: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.directory.join(PAGE), cli.check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api-docs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path, check: bool) -> Result<(), Error> {
    let page = page()?;
    let file = |source| Error::File { path: path.into(), source };
    if !check {
        return std::fs::write(path, page).map_err(file);
    }
    compare(path, &std::fs::read_to_string(path).map_err(file)?, &page)
}

/// The whole page.
fn page() -> Result<String, Error> {
    let crds = bluegreen::api::crds()?;
    let [main, watch] = crds.as_slice() else {
        return Err(Error::Missing("two kinds"));
    };
    render::page(&schema::Kind::read(main)?, &schema::Kind::read(watch)?)
}

/// Names the first line in which a page differs from what it should be.
fn compare(path: &Path, has: &str, wants: &str) -> Result<(), Error> {
    if has == wants {
        return Ok(());
    }
    let mut lines = has.lines().zip(wants.lines());
    let same = lines.by_ref().take_while(|(one, other)| one == other).count();
    let at = |text: &str| text.lines().nth(same).unwrap_or("nothing").to_owned();
    Err(Error::Drift { path: path.into(), line: same + 1, has: at(has), wants: at(wants) })
}
