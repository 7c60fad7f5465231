//! Debian's packages: what can be had, and installing it.

use std::ffi::OsStr;
use std::process::Command;

use crate::console;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::{self, Privilege, find_program};

const INSTALL: &str = include_str!("apt-install.sh");

/// The distribution's Rust, under the names it has had: compiler, cargo, `core` for BPF, clippy.
///
/// Debian's stable releases carry a newer Rust beside the release's own, for browsers: `rustc-web`.
const RUSTS: [[&str; 4]; 2] = [
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"],
    ["rustc", "cargo", "libstd-rust-dev-bpf", "rust-clippy"],
];

/// Whether this is a machine with apt at all.
pub(crate) fn is_here() -> bool {
    find_program("apt-get").is_some() && find_program("apt-cache").is_some()
}

/// Whether every one of these packages can be installed, as far as the package lists know.
pub(crate) fn offers<S: AsRef<OsStr>>(packages: &[S]) -> bool {
    let answer = process::answer(Command::new("apt-cache").arg("policy").args(packages).env("LC_ALL", "C"));
    answer.is_some_and(|policy| candidates(&policy) == packages.len())
}

/// The distribution's Rust for BPF with the LLVM it needs a bpf-linker for, if the package lists know one.
pub(crate) fn rust_for_bpf() -> Option<Vec<String>> {
    RUSTS.iter().find(|rust| offers(&rust[..])).map(|rust| {
        let mut packages: Vec<String> = rust.iter().map(ToString::to_string).collect();
        packages.extend(llvm_below(rust[0]).map(development_files));
        packages
    })
}

/// The same, from memory, where there are no package lists yet.
pub(crate) fn rust_of_debian_12() -> Vec<String> {
    let [rust, _] = RUSTS;
    rust.iter().map(ToString::to_string).chain([development_files(22)]).collect()
}

/// The package of clippy that belongs to the installed /usr/bin/rustc.
pub(crate) fn clippy_package() -> Option<&'static str> {
    let installed = |package| {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${db:Status-Status}", package]);
        process::answer(&mut query).is_some_and(|status| status == "installed")
    };
    RUSTS.iter().find(|[rustc, ..]| installed(rustc)).map(|[.., clippy]| *clippy)
}

/// The package of LLVM's headers and link libraries.
pub(crate) fn development_files(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

/// The major version of the LLVM that a package is linked with, in the end.
fn llvm_below(package: &str) -> Option<u32> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", "--recurse", "--important", package]).env("LC_ALL", "C");
    llvm_among(&process::answer(&mut command)?)
}

fn llvm_among(depends: &str) -> Option<u32> {
    depends.split_whitespace().find_map(|word| word.strip_prefix("libllvm")?.parse().ok())
}

/// How many packages `apt-cache policy` shows a candidate of. Packages it does not know it leaves out.
fn candidates(policy: &str) -> usize {
    let candidates = policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate: "));
    candidates.filter(|version| *version != "(none)").count()
}

/// Fetches fresh package lists.
///
/// The inner failure need not matter: where one of several sources fails, the others' lists are fresh all the
/// same.
///
/// # Errors
/// Ctrl-C.
pub(crate) fn update(privilege: &Privilege) -> Outcome<Outcome> {
    console::step("setup", "fetching Debian's package lists");
    let mut command = privilege.command(OsStr::new("apt-get"), &[]);
    // Without the mode, apt calls it a success when it has fetched nothing at all.
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Update::Error-Mode=any", "update"]);
    match process::run(&mut command) {
        Ok(()) => Ok(Ok(())),
        Err(failure) if failure.is_interrupt() => Err(failure),
        Err(_) => Ok(Err(Failure::new("Debian's package lists could not be fetched")
            .remedy("apt's own words are above; is the network there?"))),
    }
}

/// Installs packages, and starts no nginx of theirs.
pub(crate) fn install(privilege: &Privilege, packages: &[String]) -> Outcome {
    let list = packages.join(" ");
    let as_whom = if *privilege == Privilege::Root { "" } else { " (with sudo)" };
    console::step("setup", format_args!("installing Debian packages{as_whom}: {list}"));
    let mut command = privilege.command(OsStr::new("sh"), &[]);
    command.args(["-c", INSTALL, "apt-install"]).args(packages);
    process::run_quietly(&mut command).map_err(|failure| {
        if failure.is_interrupt() {
            return failure;
        }
        Failure::new("Debian's packages could not be installed").remedy(format!(
            "apt's own words are above. When that is mended, run `cargo xtask setup` again; or by hand:\n{}",
            by_hand(packages)
        ))
    })
}

/// The command that does the same by hand.
pub(crate) fn by_hand(packages: &[String]) -> String {
    let sudo = if root::privilege() == Some(Privilege::Root) { "" } else { "sudo " };
    format!("  {sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::{candidates, llvm_among};

    #[test]
    fn only_packages_with_a_candidate_count() {
        let policy = "nginx-light:\n  Installed: (none)\n  Candidate: 1.22.1-9\n  Version table:\n\
                      virtual:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(candidates(policy), 1);
        assert_eq!(candidates(""), 0);
    }

    #[test]
    fn the_llvm_of_a_compiler_is_among_its_dependencies() {
        let depends = "rustc-web\n  Depends: libc6\nlibstd-rust-web-1.96\n  Depends: libllvm22\nlibllvm22\n";
        assert_eq!(llvm_among(depends), Some(22));
        assert_eq!(llvm_among("rustc\n  Depends: libc6\n"), None);
    }
}
