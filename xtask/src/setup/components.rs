//! rustfmt and clippy: of the toolchain that builds userspace, and clippy of the one that builds for BPF.

use std::process::Command;

use super::apt;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::find_program;
use crate::route::compiler::Compiler;
use crate::workspace::Workspace;

/// The components that the userspace toolchain lacks.
pub(crate) fn missing(workspace: &Workspace) -> Vec<&'static str> {
    let programs = [("rustfmt", ["cargo-fmt", "rustfmt"]), ("clippy", ["cargo-clippy", "clippy-driver"])];
    // Beside cargo itself: rustup's stand-ins on PATH are there even when the component is not.
    let directory = workspace.cargo.parent().unwrap_or(&workspace.root);
    let lacks = |(_, programs): &(_, [&str; 2])| programs.iter().any(|name| !directory.join(name).is_file());
    programs.iter().filter(|component| lacks(component)).map(|(name, _)| *name).collect()
}

/// Has rustup add components to the userspace toolchain.
pub(crate) fn add(components: &[&str]) -> Outcome {
    let names = components.join(" and ");
    let by_hand = format!("rustup component add {}", components.join(" "));
    let debian = format!("apt-get install {}", components.join(" ").replace("clippy", "rust-clippy"));
    let Some(rustup) = find_program("rustup") else {
        return Err(Failure::new(format!("{names} is missing, and there is no rustup to add it"))
            .remedy(format!("{by_hand}\nor, for Debian's own Rust: {debian}")));
    };
    process::run(Command::new(rustup).args(["component", "add"]).args(components)).map_err(|failure| {
        if failure.is_interrupt() {
            return failure;
        }
        Failure::new(format!("{names} is missing, and rustup could not add it"))
            .remedy(format!("with a network: {by_hand}"))
    })
}

/// The compiler for BPF has no clippy.
pub(crate) fn no_clippy_for_bpf(compiler: &Compiler) -> Failure {
    let remedy = match apt::clippy_package() {
        Some(package) if !compiler.builds_core => {
            format!("as root: apt-get install --no-install-recommends {package}")
        }
        _ => "rustup component add clippy --toolchain nightly".into(),
    };
    Failure::new(format!("{} has no clippy", compiler.name)).remedy(remedy)
}
