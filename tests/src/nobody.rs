//! Running a program without any rights: for tests of what it says then.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::error::{Doing, Result};

/// The user and the group that own nothing.
const NOBODY: u32 = 65_534;

/// Runs the program to its end as user nobody.
pub fn run_as_nobody(program: &Path, arguments: &[&str]) -> Result<Output> {
    let doing = || format!("run {} as nobody", program.display());
    // A copy, because nobody else may look into root's directories.
    let directory = tempfile::tempdir().doing(doing)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).doing(doing)?;
    let copy = directory.path().join("program");
    // By a child: a file that this process writes may still be open in a child that another thread starts.
    Command::new("cp").arg(program).arg(&copy).status().doing(doing)?;
    Command::new(copy).args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/").output().doing(doing)
}
