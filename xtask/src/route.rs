//! The way to an eBPF object: a compiler that knows the BPF target, and a bpf-linker of the same LLVM.
//!
//! ```text
//!   lb-ebpf ──rustc──> LLVM bitcode ──bpf-linker──> lb-ebpf (ELF for BPF)
//!                      └── both of one LLVM major version ──┘
//! ```

pub(crate) mod compiler;
pub(crate) mod linker;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::search_path;
use crate::workspace::Workspace;
use compiler::Compiler;

/// The target, as rustc calls it: little-endian BPF.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// How every eBPF object is compiled.
///
/// `target-cpu=v3` (32-bit instructions, atomics) reaches the linker as `--cpu`; naming it twice is an error.
const FLAGS: [&str; 8] = [
    "-C",
    "debuginfo=2",
    "-C",
    "link-arg=--btf",
    "-C",
    "target-cpu=v3",
    "-C",
    "link-arg=--cpu-features=+alu32,+allows-misaligned-mem-access",
];

/// A compiler and a linker that fit.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

impl Route {
    /// The first compiler of the list that a linker fits.
    pub(crate) fn choose(compilers: &[Compiler]) -> Option<Self> {
        compilers.iter().find_map(|compiler| {
            let linker = linker::find(compiler.llvm)?;
            Some(Self { compiler: compiler.clone(), linker })
        })
    }

    /// `cargo build` for the BPF target.
    pub(crate) fn build(&self, workspace: &Workspace) -> Command {
        let mut command = self.command(workspace, "cargo");
        command.arg("build");
        self.add_target(&mut command, workspace);
        command
    }

    /// `cargo clean` for the BPF target.
    pub(crate) fn clean(&self, workspace: &Workspace) -> Command {
        let mut command = self.command(workspace, "cargo");
        command.args(["clean", "--target", TARGET, "--target-dir"]).arg(workspace.bpf_target());
        command
    }

    /// `cargo clippy` for the BPF target.
    pub(crate) fn clippy(&self, workspace: &Workspace) -> Command {
        // Called by its path: `cargo clippy` would find rustup's, which belongs to another compiler.
        let mut command = self.command(workspace, "cargo-clippy");
        command.arg("clippy");
        self.add_target(&mut command, workspace);
        command
    }

    fn add_target(&self, command: &mut Command, workspace: &Workspace) {
        command.args(["--target", TARGET, "--target-dir"]).arg(workspace.bpf_target());
        if self.compiler.builds_core {
            command.args(["-Z", "build-std=core"]);
        }
    }

    fn command(&self, workspace: &Workspace, program: &str) -> Command {
        let mut command = workspace.command(&self.compiler.program(program));
        command
            .env("CARGO", self.compiler.program("cargo"))
            .env("RUSTC", self.compiler.program("rustc"))
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            // Before all other sources of flags, which a user may have set for userspace.
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
            // lb-ebpf uses atomic intrinsics, which a stable compiler must be told to allow.
            .env("RUSTC_BOOTSTRAP", "1")
            // These speak of the toolchain that runs xtask.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("CARGO_BUILD_TARGET");
        command
    }

    /// Builds the smallest possible program, to see that compiler, `core` and linker fit each other.
    ///
    /// # Errors
    /// They do not. What the compiler said has been shown.
    pub(crate) fn try_out(&self, scratch: &Path) -> Outcome {
        if self.compiler.builds_core {
            // Only cargo can do that; the build itself will tell.
            return Ok(());
        }
        let source = scratch.join("probe.rs");
        std::fs::create_dir_all(scratch)
            .and_then(|()| std::fs::write(&source, PROBE))
            .map_err(|error| Failure::new(format!("write {}: {error}", source.display())))?;
        let mut command = Command::new(self.compiler.program("rustc"));
        command.args(["--edition", "2024", "--target", TARGET, "-C", "panic=abort", "-C", "opt-level=2"]);
        command.args(FLAGS).arg("-C").arg(path_option("linker=", &self.linker));
        command.arg("-o").arg(scratch.join("probe.o")).arg(&source).env("PATH", search_path());
        process::run_quietly(&mut command).map_err(|failure| {
            if failure.is_interrupt() {
                return failure;
            }
            Failure::new(format!("{} cannot build the smallest eBPF program", self.compiler.name)).remedy(
                "the compiler's own words are above; on Debian make sure that rustc and its standard library \
                 for BPF have the same version",
            )
        })?;
        crate::ebpf::verify_file(&scratch.join("probe.o"), &[("probe", 2)]).map(|_| ())
    }
}

fn path_option(option: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(option);
    text.push(path);
    text
}

const PROBE: &str = r#"#![no_std]
#![no_main]
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn probe(_context: *mut u8) -> u32 {
    2
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
"#;
