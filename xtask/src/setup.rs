//! Makes a bare machine one that can build and test, and says what it does before doing it.
//!
//! ```text
//!   look around ──nothing missing──> done (well under a second)
//!        │ missing
//!        └──> one apt call ──> bpf-linker into the cache ──> build a probe ──> done
//! ```

pub(crate) mod apt;
mod by_hand;
mod components;
mod programs;

use std::process::Command;

use crate::console;
use crate::failure::Outcome;
use crate::process;
use crate::root::{self, Privilege};
use crate::route::compiler::{self, Compiler, Survey};
use crate::route::{Route, linker};
use crate::workspace::Workspace;
use programs::Program;

/// What a command needs beyond the way to an eBPF object.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    /// The programs that labs start.
    pub(crate) programs: bool,
    /// rustfmt and clippy, on the BPF target too.
    pub(crate) lints: bool,
}

/// `cargo xtask setup`: everything, and a word about it.
pub(crate) fn everything(workspace: &Workspace) -> Outcome {
    let route = ensure(workspace, Needs { programs: true, lints: true })?;
    console::result(format_args!("eBPF: {}, {}", route.compiler.name, route.linker.display()));
    console::result("ready: `cargo xtask demo`, `cargo xtask test`");
    Ok(())
}

/// Installs what is missing of what a command needs; returns the way to an eBPF object.
///
/// # Errors
/// Something is missing and cannot be installed; the failure says what to do by hand.
pub(crate) fn ensure(workspace: &Workspace, needs: Needs) -> Outcome<Route> {
    let survey = compiler::survey();
    let route = Route::choose(&survey.usable);
    let programs = if needs.programs { programs::missing() } else { Vec::new() };

    let mut packages: Vec<String> = programs.iter().map(|program| program.debian.to_owned()).collect();
    match &route {
        Some(route) if needs.lints => packages.extend(clippy_package(&route.compiler)),
        Some(_) => {}
        None => packages.extend(toolchain_packages(&survey, &programs)?),
    }
    if !packages.is_empty() {
        match root::privilege().filter(|_| apt::is_here()) {
            Some(privilege) => {
                install(&privilege, &packages)?;
                // A package may be there and its program not, where somebody has removed it by hand.
                let programs = if needs.programs { programs::missing() } else { Vec::new() };
                if !programs.is_empty() {
                    return Err(by_hand::programs(&programs));
                }
            }
            None if !programs.is_empty() => return Err(by_hand::programs(&programs)),
            // Only clippy is missing; that is said below.
            None => {}
        }
    }
    let route = match route {
        Some(route) => route,
        None => complete(workspace, &programs)?,
    };
    if needs.lints {
        let components = components::missing(workspace);
        if !components.is_empty() {
            components::add(&components)?;
        }
        if !route.compiler.has_clippy() {
            return Err(components::no_clippy_for_bpf(&route.compiler));
        }
    }
    Ok(route)
}

/// The packages that are missing to a compiler and a linker; none where the linker only needs building.
fn toolchain_packages(survey: &Survey, programs: &[&Program]) -> Outcome<Vec<String>> {
    if survey.usable.iter().any(|compiler| linker::can_build(compiler.llvm) && has_cpp_library()) {
        return Ok(Vec::new());
    }
    if !apt::is_here() {
        return Err(by_hand::toolchain(&why_not(survey), programs));
    }
    let Some(privilege) = root::privilege() else {
        let mut reasons = why_not(survey);
        reasons.push("to install what is missing xtask needs root, and there is no sudo".into());
        return Err(by_hand::toolchain(&reasons, programs));
    };
    let mut packages = debian_toolchain(survey);
    if packages.is_none() {
        let update = apt::update(&privilege)?;
        packages = debian_toolchain(survey);
        if packages.is_none() {
            update?;
        }
    }
    let mut packages = packages.ok_or_else(|| by_hand::toolchain(&why_not(survey), programs))?;
    if !has_cpp_library() {
        packages.push("g++".into());
    }
    Ok(packages)
}

/// Why none of the compilers leads to an object.
fn why_not(survey: &Survey) -> Vec<String> {
    let unlinked = survey
        .usable
        .iter()
        .map(|compiler| format!("{} has no bpf-linker with LLVM {}", compiler.name, compiler.llvm));
    unlinked.chain(survey.rejected.iter().cloned()).collect()
}

/// LLVM's files for a compiler that is there, else the distribution's whole Rust for BPF.
fn debian_toolchain(survey: &Survey) -> Option<Vec<String>> {
    let present = survey.usable.iter().filter(|compiler| linker::is_buildable(compiler.llvm));
    let mut llvms = present.map(|compiler| vec![apt::development_files(compiler.llvm)]);
    llvms.find(|packages| apt::offers(packages)).or_else(apt::rust_for_bpf)
}

fn clippy_package(compiler: &Compiler) -> Option<String> {
    if compiler.has_clippy() || compiler.builds_core {
        return None;
    }
    apt::clippy_package().map(str::to_owned)
}

fn install(privilege: &Privilege, packages: &[String]) -> Outcome {
    if !apt::offers(packages) {
        // Whether a failure matters, the installation shows.
        let _ = apt::update(privilege)?;
    }
    apt::install(privilege, packages)
}

/// Builds the linker for a compiler that is there by now, and tries the pair out.
fn complete(workspace: &Workspace, programs: &[&Program]) -> Outcome<Route> {
    let survey = compiler::survey();
    if let Some(route) = Route::choose(&survey.usable) {
        return Ok(route);
    }
    let buildable = |compiler: &&Compiler| linker::can_build(compiler.llvm);
    if survey.usable.iter().find(buildable).is_none() && apt::is_here() {
        // The compiler came with another LLVM than its dependencies let expect.
        let llvms = survey.usable.iter().map(|compiler| apt::development_files(compiler.llvm));
        let offered = llvms.map(|package| vec![package]).find(|package| apt::offers(package));
        if let (Some(package), Some(privilege)) = (offered, root::privilege()) {
            apt::install(&privilege, &package)?;
        }
    }
    let compiler = survey
        .usable
        .iter()
        .find(buildable)
        .ok_or_else(|| by_hand::toolchain(&why_not(&survey), programs))?;
    let linker = linker::build(workspace, compiler.llvm)?;
    let route = Route { compiler: compiler.clone(), linker };
    console::step("setup", "trying compiler and linker out on a probe");
    route.try_out(&workspace.target.join("xtask"))?;
    Ok(route)
}

/// Whether the C++ standard library can be linked, which LLVM is written against.
fn has_cpp_library() -> bool {
    let mut command = Command::new("cc");
    command.arg("-print-file-name=libstdc++.so").env("PATH", root::search_path());
    // A library that gcc does not find it answers with the bare name.
    process::answer(&mut command).is_some_and(|path| path.contains('/'))
}
