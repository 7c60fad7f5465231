//! Compilers that can build for BPF: rustup's nightlies with rust-src, and the distribution's with `core`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::TARGET;
use crate::process;

/// A rustc, with the cargo that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// As a person knows it.
    pub(crate) name: String,
    /// Where its programs lie.
    directory: PathBuf,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
    /// Whether it brings `core` as source only.
    pub(crate) builds_core: bool,
}

/// What a look around for compilers gave.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Those that can be used, best first.
    pub(crate) usable: Vec<Compiler>,
    /// Why others cannot, for the person who has to mend it.
    pub(crate) rejected: Vec<String>,
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    release: String,
    llvm: u32,
}

impl Compiler {
    /// The path of one of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whether it can check style on the BPF target.
    pub(crate) fn has_clippy(&self) -> bool {
        ["cargo-clippy", "clippy-driver"].iter().all(|program| self.program(program).is_file())
    }
}

/// Looks for compilers: a few files and one `rustc -vV` for each that may do.
pub(crate) fn survey() -> Survey {
    let mut survey = Survey::default();
    let nightlies = nightlies();
    if nightlies.is_empty() {
        survey.rejected.push("rustup has no nightly toolchain".into());
    }
    for toolchain in &nightlies {
        survey.add(nightly(toolchain));
    }
    survey.add(distribution());
    survey
}

impl Survey {
    fn add(&mut self, compiler: Result<Compiler, String>) {
        match compiler {
            Ok(compiler) => self.usable.push(compiler),
            Err(reason) => self.rejected.push(reason),
        }
    }
}

/// The directories of rustup's nightly toolchains, newest name first.
fn nightlies() -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".rustup")));
    let Some(toolchains) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    let mut nightlies: Vec<PathBuf> = toolchains
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("nightly"))
        .map(|entry| entry.path())
        .collect();
    nightlies.sort_unstable_by(|a, b| b.cmp(a));
    nightlies
}

fn nightly(toolchain: &Path) -> Result<Compiler, String> {
    let name = toolchain.file_name().unwrap_or_default().to_string_lossy();
    if !toolchain.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() {
        return Err(format!("rustup's {name} has no component rust-src"));
    }
    let directory = toolchain.join("bin");
    let version = version(&directory).ok_or_else(|| format!("rustup's {name} does not run"))?;
    let name = format!("rustup's {name} ({}, LLVM {})", version.release, version.llvm);
    Ok(Compiler { name, directory, llvm: version.llvm, builds_core: true })
}

fn distribution() -> Result<Compiler, String> {
    let directory = PathBuf::from("/usr/bin");
    if !directory.join("cargo").is_file() {
        return Err("the distribution's Rust is not installed".into());
    }
    let version = version(&directory).ok_or("the distribution's rustc is not installed or does not run")?;
    let core = Path::new("/usr/lib/rustlib").join(TARGET).join("lib");
    let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
    let has_core = fs::read_dir(core)
        .is_ok_and(|files| files.flatten().any(|file| is_core(&file.file_name().to_string_lossy())));
    if !has_core {
        return Err(format!("the distribution's rustc {} has no `core` for {TARGET}", version.release));
    }
    let name = format!("the distribution's Rust ({}, LLVM {})", version.release, version.llvm);
    Ok(Compiler { name, directory, llvm: version.llvm, builds_core: false })
}

fn version(directory: &Path) -> Option<Version> {
    let mut command = Command::new(directory.join("rustc"));
    // Cargo's library path leads to the libraries of the toolchain that runs xtask.
    command.arg("-vV").env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
    parse_version(&process::answer(&mut command)?)
}

fn parse_version(text: &str) -> Option<Version> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some(Version { release: field("release:")?.to_owned(), llvm })
}

#[cfg(test)]
mod tests {
    use super::{Version, parse_version};

    #[test]
    fn rustc_tells_its_release_and_its_llvm() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                    host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_version(text), Some(Version { release: "1.96.0".into(), llvm: 22 }));
        let nightly = "release: 1.97.0-nightly\nLLVM version: 22.1.4-rust-1.97.0-nightly\n";
        assert_eq!(parse_version(nightly), Some(Version { release: "1.97.0-nightly".into(), llvm: 22 }));
    }

    #[test]
    fn a_rustc_without_llvm_is_none_for_us() {
        assert_eq!(parse_version("rustc 1.96.0\nrelease: 1.96.0\n"), None);
        assert_eq!(parse_version("release: 1.96.0\nLLVM version: unknown\n"), None);
    }
}
