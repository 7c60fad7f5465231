//! `cargo xtask build-ebpf`: the eBPF objects, built and verified.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::console;
use crate::failure::{Failure, Outcome};
use crate::object::{self, LB_PROGRAMS, Program};
use crate::process;
use crate::route::{Route, TARGET};
use crate::workspace::Workspace;

/// An object, and the programs it must hold.
struct Object {
    name: &'static str,
    programs: &'static [Program],
}

const LB: Object = Object { name: "lb-ebpf", programs: LB_PROGRAMS };

const TESTBED: Object = Object {
    name: "testbed",
    programs: &[
        ("pass", 2),
        ("empty", 2),
        ("swap", 4),
        ("vary_empty", 4),
        ("vary_line", 8),
        ("lb", 100),
        ("vary_lb", 100),
        ("reference", 50),
        ("vary_reference", 50),
        ("generate", 4),
        ("sink", 4),
    ],
};

/// Builds the objects, where a source has changed, and shows them.
///
/// # Errors
/// They do not build, or what was built is not what it should be.
pub(crate) fn build(workspace: &Workspace, route: &Route) -> Outcome {
    compile(workspace, route)?;
    if let Err(failure) = verify(workspace) {
        // Cargo looks at the sources only: it takes a file that was damaged since for a good one.
        console::step("xtask", format_args!("{failure}; building it from nothing"));
        process::run(route.clean(workspace).args(["--package", "lb-ebpf", "--release", "--quiet"]))?;
        compile(workspace, route)?;
    }
    for line in verify(workspace)? {
        console::result(line);
    }
    Ok(())
}

fn compile(workspace: &Workspace, route: &Route) -> Outcome {
    let mut cargo = route.build(workspace);
    cargo.args(["--package", "lb-ebpf", "--features", "programs", "--release", "--bins"]);
    process::run(&mut cargo)
}

/// Checks every object; returns a line about each.
fn verify(workspace: &Workspace) -> Outcome<Vec<String>> {
    let line = |object: &Object| {
        let file = path(workspace, object.name);
        let instructions = verify_file(&file, object.programs)?;
        let stale = object::sources(&file).and_then(|sources| object::why_stale(&file, &sources));
        if let Some(reason) = stale.map_err(Failure::new)? {
            return Err(Failure::new(format!("the eBPF object {} is stale: {reason}", file.display())));
        }
        let size = fs::metadata(&file).map_or(0, |file| file.len());
        Ok(format!("{}: {size} bytes, {instructions} instructions", file.display()))
    };
    [&LB, &TESTBED].into_iter().map(line).collect()
}

/// The variable by which tests, benchmarks and the demo find the testbed's object.
pub(crate) fn testbed_variable(workspace: &Workspace) -> (&'static str, OsString) {
    ("LB_TESTBED_OBJECT", path(workspace, TESTBED.name).into_os_string())
}

/// Checks that a file is a BPF object with these programs; returns how many instructions it has.
///
/// # Errors
/// It is not.
pub(crate) fn verify_file(file: &Path, programs: &[Program]) -> Outcome<u64> {
    let bytes = fs::read(file)
        .map_err(|error| Failure::new(format!("the eBPF object {} is missing: {error}", file.display())))?;
    object::verify(&bytes, programs)
        .map_err(|wrong| Failure::new(format!("the eBPF object {} {wrong}", file.display())))
}

fn path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.bpf_target().join(TARGET).join("release").join(name)
}
