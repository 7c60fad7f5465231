//! The level `package`: the Debian package, on a systemd that is booted for it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{LevelRun, pass_on};
use crate::build;
use crate::failure::{Failure, Outcome};
use crate::package;
use crate::process;
use crate::root::Privilege;
use crate::workspace::Profile;

const BOOT: &str = include_str!("package/boot.sh");
/// What is typed, which is what the README says.
pub(crate) const CHECKS: &str = include_str!("package/checks.sh");

impl LevelRun<'_> {
    /// Installs, upgrades, removes and purges packages.
    pub(super) fn package(&mut self, privilege: &Privilege) -> Outcome {
        if !Path::new("/lib/systemd/systemd").exists() {
            return Err(Failure::new("there is no systemd on this machine, which this test boots")
                .remedy("on Debian: apt-get install systemd man-db"));
        }
        let workspace = self.workspace;
        build::product(workspace, Profile::Debug)?;
        let directory = workspace.target.join("xtask/package");
        let failed = |error| Failure::new(format!("prepare {}: {error}", directory.display()));
        // As root, whose some of it is after a run that was killed.
        let mut remove = privilege.command("rm".as_ref(), &[]);
        process::run_quietly(remove.arg("-rf").arg(&directory))?;
        fs::create_dir_all(&directory).map_err(failed)?;
        let newer = format!("{}+newer", package::VERSION);
        // The older one has the name that the README says.
        for (version, name) in [(package::VERSION, None), (&newer, Some("new.deb"))] {
            let made = package::make(workspace, Profile::Debug, version)?;
            let name = name.map(OsStr::new).or(made.file_name()).unwrap_or_default();
            fs::rename(&made, directory.join(name)).map_err(failed)?;
        }
        let boot = directory.join("boot.sh");
        fs::write(&boot, BOOT)
            .and_then(|()| fs::write(directory.join("checks.sh"), CHECKS))
            .map_err(failed)?;
        fs::write(directory.join("log"), "").map_err(failed)?;
        let mut command: Command = privilege.command("sh".as_ref(), &[]);
        process::run(command.arg(&boot).arg(&directory))?;
        let log = fs::read_to_string(directory.join("log")).map_err(failed)?;
        log.lines().for_each(|line| pass_on(line.as_bytes(), &mut self.counts));
        if self.counts.run() == 0 {
            let log = directory.join("boot.log");
            self.problems
                .push(format!("systemd did not carry out the checks; it says why in {}", log.display()));
        }
        Ok(())
    }
}
