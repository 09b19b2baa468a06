//! Directories of the host that a node mounts its own over: they must be there to be mounted over. Those that were not
//! there before are written down, and removed with the last cluster.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Doing, Result};

/// The list of directories that were made, below the directory of all clusters. No cluster can have this name.
const MADE: &str = ".made";

/// Makes sure that `place` is there and calls `mount`, and lets nobody remove the place meanwhile.
pub(crate) fn cover(root: &Path, place: &Path, mount: impl FnOnce() -> Result<()>) -> Result<()> {
    let _lock = lock(root)?;
    if !place.exists() {
        // Written down first: killed in between, a directory that is not there is on the list, which harms nobody.
        let list = root.join(MADE);
        let mut file = File::options().create(true).append(true).open(&list).doing(|| format!("opening {}", list.display()))?;
        writeln!(file, "{}", place.display()).doing(|| format!("writing {}", list.display()))?;
        fs::create_dir_all(place).doing(|| format!("making {}", place.display()))?;
    }
    mount()
}

/// Removes the directories that were made, unless some cluster is there. To remove one that another cluster's node has
/// mounted over would take that mount away (the kernel detaches it).
pub(crate) fn remove_unused(root: &Path, some_cluster_is_there: impl FnOnce() -> Result<bool>) -> Result<()> {
    let _lock = lock(root)?;
    if some_cluster_is_there()? {
        return Ok(());
    }
    for place in made(root) {
        // Somebody else may have put something into it since: then it is theirs.
        let _ = fs::remove_dir(place);
    }
    let _ = fs::remove_file(root.join(MADE));
    Ok(())
}

/// The directories that were made and not removed yet.
pub(crate) fn made(root: &Path) -> Vec<PathBuf> {
    fs::read_to_string(root.join(MADE)).unwrap_or_default().lines().map(PathBuf::from).collect()
}

fn lock(root: &Path) -> Result<Flock<File>> {
    let doing = || format!("locking {}", root.display());
    let directory = File::open(root).doing(doing)?;
    Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno).doing(doing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn only_what_was_made_here_is_removed_and_only_with_the_last_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let (root, theirs, ours, filled) = (dir.path().join("root"), dir.path().join("theirs"), dir.path().join("a/ours"), dir.path().join("filled"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&theirs).unwrap();
        for place in [&theirs, &ours, &filled, &ours] {
            cover(&root, place, || if place.is_dir() { Ok(()) } else { panic!("{place:?} is not there") }).unwrap();
        }
        fs::write(filled.join("file"), "").unwrap();
        assert_eq!(made(&root), [ours.clone(), filled.clone()]);
        remove_unused(&root, || Ok(true)).unwrap();
        assert!(ours.exists());
        remove_unused(&root, || Ok(false)).unwrap();
        assert!(theirs.exists() && filled.exists() && !ours.exists());
        assert!(made(&root).is_empty());
        remove_unused(&root, || Ok(false)).unwrap();
    }
}
