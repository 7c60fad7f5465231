//! `cargo xtask fuzz`: libFuzzer on the targets of fuzz/.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::console;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::setup::{self, Needs};
use crate::workspace::Workspace;

const TARGETS: [&str; 3] = ["parse", "process", "vrrp"];
/// The longest input: a few frames of the usual size.
const MAX_BYTES: u32 = 8192;

/// Runs every target for so many seconds.
///
/// # Errors
/// It does not build, or a target found an input that fails.
pub(crate) fn run(workspace: &Workspace, seconds: u32) -> Outcome {
    setup::ensure(workspace, Needs { programs: true, lints: false })?;
    let fuzz = workspace.root.join("fuzz");
    let target = workspace.target.join("fuzz");
    let mut failed = Vec::new();
    for name in TARGETS {
        let corpus = fuzz.join("corpus").join(name);
        let artifacts = fuzz.join("artifacts").join(name);
        for directory in [&corpus, &artifacts] {
            fs::create_dir_all(directory)
                .map_err(|error| Failure::new(format!("create {}: {error}", directory.display())))?;
        }
        let mut command = cargo(workspace, &fuzz, &target);
        command.args(["run", "--release", "--locked", "--bin", name, "--"]);
        // What it finds goes to the first directory.
        command.arg(&corpus).arg(fuzz.join("seeds").join(name));
        command.args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={MAX_BYTES}"),
            format!("-artifact_prefix={}/", artifacts.display()),
            "-timeout=10".into(),
            "-print_final_stats=1".into(),
            "-verbosity=0".into(),
        ]);
        console::step("xtask", format_args!("fuzzing {name} for {seconds} s"));
        match process::run(&mut command) {
            Err(failure) if failure.is_interrupt() => return Err(failure),
            Err(_) => failed.push(name),
            Ok(()) => {}
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("fuzzing failed: {}", failed.join(", "))).remedy(
        "the input lies in fuzz/artifacts; in fuzz/, `cargo run --release --bin TARGET -- FILE` repeats it",
    ))
}

/// cargo in fuzz/, whose configuration has the instrumentation.
fn cargo(workspace: &Workspace, fuzz: &Path, target: &Path) -> Command {
    let mut cargo = workspace.cargo();
    // Flags of the environment would replace those of the configuration.
    cargo
        .current_dir(fuzz)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}
