//! Puts the eBPF object where `dataplane::object` embeds it, or says why it cannot.
//!
//! The object is built by `cargo xtask build-ebpf` (it takes another compiler and linker than this crate) and
//! found in cargo's target directory, or where `LB_EBPF_OBJECT` says.

#[path = "../xtask/src/object.rs"]
mod object;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where xtask builds the object, below cargo's target directory.
const IN_TARGET: &str = "bpf/bpfel-unknown-none/release/lb-ebpf";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=LB_EBPF_OBJECT");
    let destination = directory("OUT_DIR").join("lb-ebpf");
    match usable_object().and_then(|bytes| write(&destination, &bytes)) {
        Ok(()) => ExitCode::SUCCESS,
        // Lints read no object, and a machine may lint without the toolchain that builds one.
        Err(problem) if is_clippy() => stand_in(&destination, &problem),
        Err(problem) => fail(&problem),
    }
}

/// The object's bytes, once they are found, right and of today.
fn usable_object() -> Result<Vec<u8>, String> {
    let named = env::var_os("LB_EBPF_OBJECT").map(PathBuf::from);
    let (file, remedy) = match &named {
        Some(file) => (file.clone(), "LB_EBPF_OBJECT names it"),
        None => (built_object()?, "run `cargo xtask build-ebpf`"),
    };
    println!("cargo::rerun-if-changed={}", file.display());
    let bad = |wrong: String| format!("the eBPF object {} {wrong}: {remedy}", file.display());
    let bytes = fs::read(&file).map_err(|error| bad(format!("cannot be read ({error})")))?;
    object::verify(&bytes, object::LB_PROGRAMS).map_err(bad)?;
    if named.is_none() {
        let sources = object::sources(&file).map_err(|error| bad(format!("is of unknown age ({error})")))?;
        sources.iter().for_each(|source| println!("cargo::rerun-if-changed={}", source.display()));
        if let Some(reason) = object::why_stale(&file, &sources)? {
            return Err(bad(format!("is stale ({reason})")));
        }
    }
    Ok(bytes)
}

/// The object that xtask built. `OUT_DIR` lies some way below the target directory, or below a directory that
/// is itself in it (`--target-dir target/other`).
fn built_object() -> Result<PathBuf, String> {
    let workspace = directory("CARGO_MANIFEST_DIR").join("..");
    let mut places: Vec<PathBuf> = directory("OUT_DIR").ancestors().map(Path::to_owned).collect();
    // For a build whose OUT_DIR is elsewhere (`build.build-dir`).
    places.extend(env::var_os("CARGO_TARGET_DIR").map(|target| workspace.join(target)));
    places.push(workspace.join("target"));
    places
        .iter()
        .map(|place| place.join(IN_TARGET))
        .find(|file| file.is_file())
        .ok_or_else(|| "the eBPF object is missing: run `cargo xtask build-ebpf`".into())
}

/// Clippy compiles through a wrapper, of which cargo tells build scripts too.
fn is_clippy() -> bool {
    env::var_os("RUSTC_WORKSPACE_WRAPPER")
        .is_some_and(|wrapper| Path::new(&wrapper).file_stem().is_some_and(|name| name == "clippy-driver"))
}

/// An empty object, for lints only: a file that never is there makes cargo run this script again next time.
fn stand_in(destination: &Path, problem: &str) -> ExitCode {
    println!("cargo::rerun-if-changed={}", destination.with_extension("never").display());
    println!("cargo::warning=linting without the eBPF object: {problem}");
    write(destination, &[]).map_or_else(|problem| fail(&problem), |()| ExitCode::SUCCESS)
}

fn fail(problem: &str) -> ExitCode {
    println!("cargo::error={problem}");
    ExitCode::FAILURE
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(file, bytes).map_err(|error| format!("write {}: {error}", file.display()))
}

/// A directory that cargo tells build scripts of.
fn directory(variable: &str) -> PathBuf {
    PathBuf::from(env::var_os(variable).unwrap_or_default())
}
