//! Pins that a daemon of another version left, whose maps have another layout.
//!
//! Where this version reads what is in them, they become its own: only the directory has another name. Where it does
//! not, the program that is attached is replaced like one of our own, without an interface being without a program at
//! any moment, and connections begin anew: their entries mean nothing to us.

use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::Flock;

use super::attach;
use super::error::DataplaneError;
use super::lock::lock;

/// A bpffs directory that is ours alone, and those of other layouts that are in use until we are attached.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) earlier: Earlier,
    _lock: Flock<File>,
}

/// Directories of other layouts. Their daemons have ended, and do not start again as long as this lives.
#[derive(Default)]
pub(super) struct Earlier(Vec<(PathBuf, Flock<File>)>);

impl Directory {
    /// Makes the directory below `bpffs` for the layout that ends `readable`, or renames one whose layout is in that
    /// range, and keeps other daemons out of it.
    ///
    /// # Errors
    /// [`DataplaneError::InUse`] if a daemon of any version has one, [`DataplaneError::Directory`].
    pub(super) fn open(bpffs: &Path, readable: &RangeInclusive<u32>) -> Result<Self, DataplaneError> {
        let path = bpffs.join(format!("{PREFIX}{}", readable.end()));
        let failed = |source| DataplaneError::Directory { directory: path.clone(), source };
        let (mut earlier, mut ours) = (Vec::new(), None);
        for (version, other) in layouts(bpffs).map_err(failed)? {
            if other == path {
                continue;
            }
            let held = lock(&other, thread::sleep)?;
            if readable.contains(&version) && is_empty(&path) {
                // Replaces one that is empty.
                fs::rename(&other, &path).map_err(failed)?;
                tracing::info!("took over the maps of layout {version}, which are as this version's");
                ours = Some(held);
            } else {
                earlier.push((other, held));
            }
        }
        let ours = match ours {
            Some(held) => held,
            None => {
                fs::create_dir_all(&path).map_err(failed)?;
                lock(&path, thread::sleep)?
            }
        };
        Ok(Self { path, earlier: Earlier(earlier), _lock: ours })
    }
}

impl Earlier {
    /// Moves the pinned attachment to an interface to where we look for our own.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn hand_over(&self, index: u32, directory: &Path) -> io::Result<()> {
        let ours = attach::pin(directory, index);
        let theirs = self.0.iter().map(|(other, _)| attach::pin(other, index)).find(|pin| pin.exists());
        match theirs {
            Some(theirs) if !ours.exists() => fs::rename(theirs, ours),
            _ => Ok(()),
        }
    }

    /// Removes what is left of them, once our programs are attached.
    pub(super) fn remove(&mut self) {
        for (directory, _lock) in self.0.drain(..) {
            match fs::remove_dir_all(&directory) {
                Ok(()) => tracing::warn!(
                    "{} was another version's, whose connections this one cannot read: they begin anew",
                    directory.display()
                ),
                Err(error) => tracing::warn!("remove {}: {error}", directory.display()),
            }
        }
    }
}

const PREFIX: &str = "layout-";

/// The directories of all layouts with their versions, the newest first.
pub(super) fn layouts(bpffs: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(bpffs)? {
        let entry = entry?;
        let name = entry.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        found.extend(version.map(|version| (version, entry.path())));
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    Ok(found)
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: &[&str]) -> io::Result<tempfile::TempDir> {
        let bpffs = tempfile::tempdir()?;
        for name in names {
            let path = bpffs.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(bpffs.path()))?;
            fs::write(path, "")?;
        }
        Ok(bpffs)
    }

    fn names(directory: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    #[test]
    fn maps_that_this_version_reads_become_its_own() -> io::Result<()> {
        let bpffs = directory(&["layout-6/SETTINGS", "layout-8/SETTINGS", "other/thing"])?;
        let mut opened = Directory::open(bpffs.path(), &(7..=9)).expect("nobody has it");
        assert_eq!(names(&opened.path)?, ["SETTINGS"]);
        assert_eq!(names(bpffs.path())?, ["layout-6", "layout-9", "other"]);
        let again = Directory::open(bpffs.path(), &(7..=9)).err();
        assert!(matches!(again, Some(DataplaneError::InUse { .. })), "the lock came with it");
        opened.earlier.remove();
        assert_eq!(names(bpffs.path())?, ["layout-9", "other"]);
        Ok(())
    }

    #[test]
    fn of_others_the_attachment_is_taken_and_the_rest_removed_when_ours_is_there() -> io::Result<()> {
        let bpffs = directory(&["layout-6/link-3", "layout-6/SETTINGS", "layout-7/SETTINGS"])?;
        let mut opened = Directory::open(bpffs.path(), &(7..=7)).expect("nobody has it");
        assert_eq!(names(&opened.path)?, ["SETTINGS"], "nothing changes before we attach");
        opened.earlier.hand_over(3, &opened.path)?;
        opened.earlier.hand_over(4, &opened.path)?;
        assert_eq!(names(&opened.path)?, ["SETTINGS", "link-3"]);
        opened.earlier.remove();
        assert_eq!(names(bpffs.path())?, ["layout-7"]);
        Ok(())
    }
}
