//! Where things lie: the repository, the target directory, and the cargo that runs us.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::search_path;

/// The repository and where it builds.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory with the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, absolute, wherever the user has put it.
    pub(crate) target: PathBuf,
    /// The cargo (and with it the toolchain) that userspace is built with.
    pub(crate) cargo: PathBuf,
}

/// How userspace is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Profile {
    /// The profile's option on cargo's command line.
    pub(crate) fn option(self) -> Option<&'static str> {
        match self {
            Self::Debug => None,
            Self::Release => Some("--release"),
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

impl Workspace {
    /// Finds the repository this xtask belongs to, and asks cargo where it builds.
    pub(crate) fn locate() -> Outcome<Self> {
        // Cargo sets both for a program that it runs; the rest is for a copy of the binary run by hand.
        let own_crate = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
        let cargo = PathBuf::from(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let root = Path::new(&own_crate)
            .parent()
            .filter(|root| root.join("Cargo.toml").is_file())
            .ok_or_else(|| {
                Failure::new(format!("{} lies in no workspace", own_crate.display()))
                    .remedy("run it as `cargo xtask` inside the repository")
            })?
            .to_owned();
        let target = target_directory(&cargo, &root)?;
        Ok(Self { root, target, cargo })
    }

    /// A cargo command for userspace, run in the repository's root.
    pub(crate) fn cargo(&self) -> Command {
        self.command(&self.cargo)
    }

    /// A command run in the repository's root, without what `cargo run` told xtask about itself.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in env::vars_os().filter(|(name, _)| is_about_xtask(name)) {
            command.env_remove(name);
        }
        if env::var_os("CARGO_TARGET_DIR").is_some() {
            // It may be relative to where the user stands, which is not where the command runs.
            command.env("CARGO_TARGET_DIR", &self.target);
        }
        command
    }

    /// `cargo install --locked` of a tool into `root`, as if outside of this repository.
    pub(crate) fn install(&self, tool: &str, release: &str, root: &Path) -> Command {
        let mut command = self.command(&self.cargo);
        command
            .args(["install", tool, "--locked", "--force", "--version", release, "--no-default-features"])
            .arg("--root")
            .arg(root)
            .env("PATH", search_path())
            // Meant for this repository, not for a tool.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS");
        command
    }

    /// Where cargo puts an executable.
    pub(crate) fn executable(&self, profile: Profile, name: &str) -> PathBuf {
        self.target.join(profile.directory()).join(name)
    }

    /// Cargo's target directory for the BPF target: other compilers and flags than userspace's.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.target.join("bpf")
    }
}

/// `$XDG_CACHE_HOME/lb-build`: what all clones share because it takes long to fetch or to build.
///
/// # Errors
/// There is no such place for `what`.
pub(crate) fn cache(what: &str) -> Outcome<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        // The specification says to ignore a relative path.
        .filter(|cache| cache.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("lb-build")).ok_or_else(|| {
        Failure::new(format!("no place for {what}: neither XDG_CACHE_HOME nor HOME is set"))
            .remedy("set HOME")
    })
}

/// Build scripts of dependencies may watch these; left alone they would differ between `cargo build` and us.
fn is_about_xtask(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

fn target_directory(cargo: &Path, root: &Path) -> Outcome<PathBuf> {
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
    command.arg(root.join("Cargo.toml"));
    let metadata = process::answer(&mut command)
        .ok_or_else(|| Failure::new("`cargo metadata` failed").remedy("run it by hand to see why"))?;
    json_string(&metadata, "target_directory")
        .map(PathBuf::from)
        .ok_or_else(|| Failure::new("`cargo metadata` names no target directory"))
}

/// The first string value of a key in a JSON text.
///
/// Enough for what cargo prints, and spares a bare machine the build of a JSON parser. A quotation
/// of the key inside another string cannot be mistaken for it: quotes inside strings are escaped.
pub(crate) fn json_string(json: &str, key: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{key}\":\""))?;
    let mut value = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => value.push(match characters.next()? {
                // Cargo writes paths; of the escapes JSON has, these can occur in one.
                escaped @ ('"' | '\\' | '/') => escaped,
                _ => return None,
            }),
            plain => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::json_string;

    #[test]
    fn the_target_directory_is_read_out_of_cargos_metadata() {
        let json = r#"{"packages":[{"description":"\"target_directory\":\"no\""}],"target_directory":"/a \"b\"/t","version":1}"#;
        assert_eq!(json_string(json, "target_directory").as_deref(), Some("/a \"b\"/t"));
        assert_eq!(json_string(json, "workspace_root"), None);
        assert_eq!(json_string("{\"target_directory\":\"/cut", "target_directory"), None);
    }
}
