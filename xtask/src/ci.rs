//! `cargo xtask ci`: what has to hold before a change lands.

use std::process::Command;
use std::time::Duration;

use crate::console::{self, Stopwatch};
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::setup::{self, Needs};
use crate::workspace::Workspace;

/// Runs every stage, whatever becomes of the one before, so that one run shows all there is to mend.
///
/// # Errors
/// A stage failed, or Ctrl-C.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let route = setup::ensure(workspace, Needs { programs: true, lints: true })?;

    let mut format = workspace.cargo();
    format.args(["fmt", "--all", "--check"]);
    let mut host_lints = workspace.cargo();
    host_lints.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut bpf_lints = route.clippy(workspace);
    // In the profile of the build, which then finds the macros of its dependencies compiled.
    bpf_lints.args(["--package", "lb-ebpf", "--features", "programs", "--release", "--", "-D", "warnings"]);
    // To the letter what the README tells a reader to type.
    let mut tests = workspace.cargo();
    tests.args(["xtask", "test"]);

    let mut fuzzing = workspace.cargo();
    fuzzing.args(["xtask", "fuzz"]);

    let mut stages = Stages::default();
    stages.run("formatting", format)?;
    stages.run("lints, host", host_lints)?;
    stages.run("lints, BPF", bpf_lints)?;
    stages.run("tests", tests)?;
    stages.run("fuzzing", fuzzing)?;
    stages.sum_up()
}

#[derive(Default)]
struct Stages(Vec<(&'static str, bool, Duration)>);

impl Stages {
    fn run(&mut self, name: &'static str, mut command: Command) -> Outcome {
        let watch = Stopwatch::start();
        let outcome = process::run(&mut command);
        if let Err(failure) = outcome.as_ref().map_err(ToString::to_string) {
            console::error(failure);
        }
        self.0.push((name, outcome.is_ok(), watch.elapsed()));
        match outcome {
            Err(failure) if failure.is_interrupt() => Err(failure),
            _ => Ok(()),
        }
    }

    fn sum_up(&self) -> Outcome {
        console::result(format_args!("\n{:<12} {:<8} time", "stage", "result"));
        for (name, passed, took) in &self.0 {
            let result = if *passed { "passed" } else { "FAILED" };
            console::result(format_args!("{name:<12} {result:<8} {}", console::duration(*took)));
        }
        let failed: Vec<&str> =
            self.0.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
        if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("failed: {}", failed.join("; ")))) }
    }
}
