//! Root: whether we have it, and how to run one program with it.
//!
//! Everything is built as the user who asked. Only the final program runs as root, under sudo if need be,
//! so that no file in the target directory ends up root's.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Failure, Outcome};
use crate::process;

/// Where administrators' programs lie, which a user's PATH often lacks.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// How a program becomes root's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// We are root already.
    Root,
    /// Through the sudo at this path.
    Sudo(PathBuf),
}

/// The way to root, if there is one.
pub(crate) fn privilege() -> Option<Privilege> {
    // The owner of /proc/self is the effective user.
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Some(Privilege::Root);
    }
    find_program("sudo").map(Privilege::Sudo)
}

/// The way to root, asking for a password now rather than after a long build.
///
/// # Errors
/// There is no way to root; `what` says what needs it.
pub(crate) fn require(what: &str) -> Outcome<Privilege> {
    let privilege = privilege().ok_or_else(|| {
        Failure::new(format!("{what} needs root (network namespaces, XDP), and there is no sudo"))
            .remedy("run the same command as root")
    })?;
    if let Privilege::Sudo(sudo) = &privilege {
        process::run_quietly(Command::new(sudo).arg("--validate")).map_err(|failure| {
            if failure.is_interrupt() {
                return failure;
            }
            Failure::new(format!("{what} needs root, and sudo refuses"))
                .remedy("run the same command as root, or as a user whom sudo lets run `env`")
        })?;
    }
    Ok(privilege)
}

impl Privilege {
    /// What to put before a program so that it runs as root with these variables: nothing, or sudo and env.
    ///
    /// Variables go through `env`, because sudo drops what it inherits. PATH is not among them: root's programs
    /// are not to come from a user's directories.
    pub(crate) fn prefix(&self, variables: &[(&str, OsString)]) -> Vec<OsString> {
        let Self::Sudo(sudo) = self else { return Vec::new() };
        let assignment = |name: &OsStr, value: &OsStr| {
            let mut assignment = name.to_owned();
            assignment.push("=");
            assignment.push(value);
            assignment
        };
        let mut prefix = vec![sudo.clone().into_os_string(), "env".into()];
        let inherited = env::vars_os().filter(|(name, _)| concerns_programs(name));
        prefix.extend(inherited.map(|(name, value)| assignment(&name, &value)));
        // The last of two assignments to a variable holds.
        prefix.extend(variables.iter().map(|(name, value)| assignment(OsStr::new(name), value)));
        prefix
    }

    /// A command that runs a program as root with these variables, where the user stands.
    pub(crate) fn command(&self, program: &OsStr, variables: &[(&str, OsString)]) -> Command {
        let mut words = self.prefix(variables).into_iter().chain([program.to_owned()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env("PATH", search_path());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Whether a variable of the user's is for what we run as root: ours, and the usual ones for diagnosis.
fn concerns_programs(name: &OsStr) -> bool {
    const USUAL: [&str; 6] = ["RUST_BACKTRACE", "RUST_LOG", "RUST_TEST_THREADS", "NO_COLOR", "TERM", "CI"];
    name.to_str().is_some_and(|name| name.starts_with("LB_") || USUAL.contains(&name))
}

/// The user's PATH and the directories of administrators' programs.
pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    for directory in SYSTEM_DIRECTORIES.map(PathBuf::from) {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    env::join_paths(directories).unwrap_or(path)
}

/// Where a program lies, on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    programs_named(name).next()
}

/// Every file on the search path that a program's name may mean.
pub(crate) fn programs_named(name: &str) -> impl Iterator<Item = PathBuf> {
    let directories: Vec<PathBuf> = env::split_paths(&search_path()).collect();
    let name = name.to_owned();
    directories.into_iter().map(move |directory| directory.join(&name)).filter(is_executable)
}

fn is_executable(file: &PathBuf) -> bool {
    fs::metadata(file).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::{Privilege, find_program};
    use std::ffi::OsStr;

    #[test]
    fn root_runs_a_program_as_it_is() {
        let command = Privilege::Root.command(OsStr::new("/bin/lb"), &[("LB_BINARY", "/x".into())]);
        assert_eq!(command.get_program(), "/bin/lb");
        assert_eq!(command.get_args().count(), 0);
        assert!(command.get_envs().any(|(name, value)| name == "LB_BINARY" && value.is_some()));
    }

    #[test]
    fn sudo_gets_the_variables_through_env() {
        let sudo = Privilege::Sudo("/usr/bin/sudo".into());
        let command = sudo.command(OsStr::new("/bin/lb"), &[("LB_BINARY", "/with space".into())]);
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(command.get_program(), "/usr/bin/sudo");
        assert_eq!(arguments[0], "env");
        assert_eq!(arguments[arguments.len() - 2..], ["LB_BINARY=/with space", "/bin/lb"]);
    }

    #[test]
    fn programs_are_found_where_a_users_path_does_not_look() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-anywhere"), None);
    }
}
