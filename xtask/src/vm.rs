//! A virtual machine with an old kernel and this machine's programs, for `cargo xtask test vm`; and the parts of another
//! for `cargo xtask test ipvs`.
//!
//! ```text
//!   Debian's packages ──> packages ──> cache: kernel, modules, busybox, QEMU
//!                                        │
//!   commands ──> initramfs ──────────────┴──> qemu ──> lines, exit status
//! ```
//!
//! Its root is this machine's, read-only, below a file system in memory: programs are found at the same paths,
//! and what they write is gone when they end. It has no network device.

mod initramfs;
mod modules;
mod packages;
mod qemu;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::console;
use crate::failure::{Failure, Outcome};
use crate::workspace::Workspace;
use packages::Parts;
use qemu::{End, Processor};

/// A program to run in the machine.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// What programs find there.
pub(crate) struct Surroundings<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) variables: &'a [(&'static str, OsString)],
}

/// A directory with user-mode Linux, its modules, ipvsadm and busybox, as Debian's packages hold them; fetched if they
/// are missing.
///
/// # Errors
/// They cannot be had; the failure says what to do.
pub(crate) fn user_mode_linux() -> Outcome<PathBuf> {
    packages::user_mode_linux()
}

/// A machine that is ready to be started.
pub(crate) struct Machine {
    parts: Parts,
    /// For what is made anew for each start.
    directory: PathBuf,
}

impl Machine {
    /// Fetches what is missing.
    ///
    /// # Errors
    /// Something cannot be had; the failure says what to do.
    pub(crate) fn prepare(workspace: &Workspace) -> Outcome<Self> {
        let parts = packages::ensure()?;
        let directory = workspace.target.join("xtask/vm");
        fs::create_dir_all(&directory)
            .map_err(|error| Failure::new(format!("create {}: {error}", directory.display())))?;
        Ok(Self { parts, directory })
    }

    /// Starts the machine, runs programs one after the other, and passes on each line that they print.
    /// `programs` is told whether the processor is emulated, and so some twenty times slower than a real one.
    ///
    /// # Errors
    /// The machine did not start, or did not end by itself, or a program failed.
    pub(crate) fn run(
        &self,
        surroundings: &Surroundings<'_>,
        programs: impl Fn(bool) -> Vec<Program>,
        mut on_line: impl FnMut(&str),
    ) -> Outcome {
        for processor in Processor::usable() {
            let programs = programs(*processor == Processor::Emulated);
            let initramfs = self.directory.join("initramfs");
            let archive = initramfs::archive(&self.parts.guest, surroundings, &programs)?;
            fs::write(&initramfs, archive)
                .map_err(|error| Failure::new(format!("write {}: {error}", initramfs.display())))?;
            console::step("vm", format_args!("starting Debian's kernel; {processor}"));
            let command = qemu::command(&self.parts, &initramfs, *processor, &self.directory);
            match qemu::run(command, &mut on_line)? {
                End::Status(0) => return Ok(()),
                End::Status(status) => {
                    return Err(Failure::new(format!("a program in the virtual machine failed ({status})")));
                }
                End::NotStarted if *processor == Processor::Kvm => {
                    console::step("vm", "the kernel does not start under this machine's KVM");
                }
                End::NotStarted => return Err(Failure::new("the kernel did not start")),
                End::Broken => {
                    return Err(Failure::new("the virtual machine ended before its programs did")
                        .remedy("the kernel's last words are above"));
                }
            }
        }
        Err(Failure::new("no way to run a virtual machine"))
    }
}
