//! bpf-linker: found where it fits the compiler's LLVM, or built into a cache that all clones share.

use std::env;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::console;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::programs_named;
use crate::workspace::{Workspace, cache};

/// The release that xtask builds, where none is found.
const RELEASE: &str = "0.13.0";
/// The LLVM major versions that this release can be built with: its features `llvm-NN`.
const BUILDABLE: RangeInclusive<u32> = 21..=23;

/// A bpf-linker that runs and has this LLVM: the cached one, else one on PATH or in cargo's directory.
pub(crate) fn find(llvm: u32) -> Option<PathBuf> {
    if let Some(cached) = cached(llvm).ok().filter(|linker| runs(linker)) {
        return Some(cached);
    }
    let installed = cargo_home().map(|home| home.join("bin/bpf-linker"));
    programs_named("bpf-linker")
        .chain(installed.filter(|linker| linker.is_file()))
        .find(|linker| llvm_of(linker) == Some(llvm) && runs(linker))
}

/// Whether everything is there to build a bpf-linker with this LLVM.
pub(crate) fn can_build(llvm: u32) -> bool {
    BUILDABLE.contains(&llvm) && llvm_prefix(llvm).is_some()
}

/// Whether a bpf-linker with this LLVM could be built, were its development files there.
pub(crate) fn is_buildable(llvm: u32) -> bool {
    BUILDABLE.contains(&llvm)
}

/// Builds a bpf-linker with this LLVM into the cache.
///
/// # Errors
/// No cache directory, no LLVM, or the build failed; cargo has said why.
pub(crate) fn build(workspace: &Workspace, llvm: u32) -> Outcome<PathBuf> {
    let linker = cached(llvm)?;
    let prefix = llvm_prefix(llvm)
        .ok_or_else(|| Failure::new(format!("the development files of LLVM {llvm} are missing")))?;
    let root = linker.ancestors().nth(2).unwrap_or(&linker);
    console::step(
        "setup",
        format_args!(
            "building bpf-linker {RELEASE} with LLVM {llvm} into {}, once (a minute)",
            root.display()
        ),
    );
    let mut command = workspace.install("bpf-linker", RELEASE, root);
    command.args(["--features", &format!("llvm-{llvm}")]).env("LLVM_PREFIX", prefix);
    process::run(&mut command).map_err(|failure| {
        if failure.is_interrupt() {
            return failure;
        }
        Failure::new(format!("bpf-linker {RELEASE} could not be built with LLVM {llvm}")).remedy(
            "cargo's own words are above. It needs the crates registry, a C++ standard library (g++) and the \
             development files of LLVM",
        )
    })?;
    if !runs(&linker) {
        return Err(Failure::new(format!("{} was built but does not run", linker.display())));
    }
    Ok(linker)
}

/// `$XDG_CACHE_HOME/lb-build/bpf-linker-VERSION-llvmNN/bin/bpf-linker`
fn cached(llvm: u32) -> Outcome<PathBuf> {
    let directory = cache("bpf-linker")?.join(format!("bpf-linker-{RELEASE}-llvm{llvm}"));
    Ok(directory.join("bin/bpf-linker"))
}

/// Catches, among others, a linker whose libLLVM has been removed.
fn runs(linker: &Path) -> bool {
    linker.is_file()
        && process::answer(Command::new(linker).arg("--version").env_remove("LD_LIBRARY_PATH")).is_some()
}

/// Where LLVM of this major version is installed with its development files.
fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let suffixed = format!("llvm-config-{llvm}");
    let own_directories = [format!("/usr/lib/llvm-{llvm}"), format!("/usr/lib64/llvm{llvm}")];
    let own = own_directories.iter().map(|directory| Path::new(directory).join("bin/llvm-config"));
    let on_path = programs_named(&suffixed).chain(programs_named("llvm-config"));
    own.chain(on_path).filter(|config| config.is_file()).find_map(|config| {
        let answer = process::answer(Command::new(&config).args(["--version", "--libdir", "--prefix"]))?;
        let mut lines = answer.lines();
        let right = lines.next()?.split('.').next()?.parse() == Ok(llvm);
        let developed = Path::new(lines.next()?).join("libLLVM.so").exists();
        let prefix = lines.next()?;
        (right && developed).then(|| PathBuf::from(prefix))
    })
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

/// The LLVM major version in a bpf-linker, which `--version` does not tell.
fn llvm_of(linker: &Path) -> Option<u32> {
    llvm_in(&fs::read(linker).ok()?)
}

/// Finds what names the LLVM in a binary: `libLLVM.so.22.1` or `libLLVM-22.so` (the library it needs), or
/// `LLVM22.1.8` (what a statically linked LLVM calls itself in the bitcode it writes).
fn llvm_in(binary: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"LLVM";
    binary.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).find_map(|(at, _)| {
        let rest = &binary[at + NAME.len()..];
        let rest = rest.strip_prefix(b".so.").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest);
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || rest.get(digits) != Some(&b'.') {
            return None;
        }
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::llvm_in;

    #[test]
    fn the_llvm_of_a_linker_is_read_from_its_bytes() {
        assert_eq!(llvm_in(b"\0\x01libLLVM.so.22.1\0libc.so.6"), Some(22));
        assert_eq!(llvm_in(b"libLLVM-19.so.1\0"), Some(19));
        assert_eq!(llvm_in(b"LLVM ERROR: \0LLVMContext\0LLVM21.1.2\0"), Some(21));
    }

    #[test]
    fn other_mentions_of_llvm_are_passed_over() {
        assert_eq!(llvm_in(b"clang LLVM (rustc version 1.95.0)\0LLVM_PREFIX\0LLVM-\0LLVM22"), None);
        assert_eq!(llvm_in(b""), None);
        assert_eq!(llvm_in(b"LLVM"), None);
    }
}
