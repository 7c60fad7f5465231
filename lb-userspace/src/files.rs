//! Files that are replaced as a whole or not at all: whoever reads one, and a machine that loses power, finds the old
//! content or the new.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Replaces a file, or makes it. The new one has the owner and the permissions of the old one.
///
/// # Errors
/// Those of the file system; what was there still is then, and nothing else.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = with_suffix(path, "new");
    let written = write_beside(&new, path, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_beside(new: &Path, old: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(new)?;
    if let Ok(old) = fs::metadata(old) {
        let made = file.metadata()?;
        // Only what differs: who may not change owners may replace his own files.
        if made.mode() != old.mode() {
            file.set_permissions(Permissions::from_mode(old.mode()))?;
        }
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.write_all(content)?;
    file.sync_all()
}

/// The path with a dot and this behind it.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}
