//! `cargo xtask test`: unit tests, verdict fixtures, labs, and one summary.

mod ipvs;
mod package;
mod report;
mod vm;

use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use crate::arguments::{Level, Selection};
use crate::build;
use crate::console::{self, Stopwatch};
use crate::ebpf;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::{self, Privilege};
use crate::setup::{self, Needs};
use crate::workspace::{Profile, Workspace};
#[cfg(test)]
pub(crate) use package::CHECKS;
use report::{Counts, LevelReport};

/// The integration tests of lb-tests that are levels of their own.
const FIXTURES: &str = "fixtures";
const IPVS: &str = "ipvs";
/// The one that needs a kernel with IPVS, which that of the level `vm` is.
const MIGRATION: &str = "migration";

const COLOR: &str = "--color=always";

/// Runs the levels chosen, whatever becomes of each, and sums them up.
///
/// # Errors
/// A test failed, a level could not be run, or Ctrl-C.
pub(crate) fn run(workspace: &Workspace, selection: &Selection) -> Outcome {
    let levels = selection.level.map_or(Level::USUAL.to_vec(), |level| vec![level]);
    let needs_root =
        levels.iter().any(|level| matches!(level, Level::Fixtures | Level::Labs | Level::Package));
    let programs = levels.iter().any(|level| *level != Level::Unit);
    // Without root the levels that can run do, and the others fail.
    let privilege = if needs_root { root::require("this level") } else { Ok(Privilege::Root) };
    let route = setup::ensure(workspace, Needs { programs, lints: false })?;
    ebpf::build(workspace, &route)?;

    let mut reports = Vec::new();
    for level in levels {
        console::step("test", format_args!("level {}", level.name()));
        let watch = Stopwatch::start();
        let mut run = LevelRun { workspace, selection, counts: Counts::default(), problems: Vec::new() };
        let outcome = match (&privilege, level) {
            (_, Level::Unit) => run.unit(),
            (_, Level::Vm) => run.vm(),
            (_, Level::Ipvs) => run.ipvs(),
            (Ok(privilege), Level::Package) => run.package(privilege),
            (Ok(privilege), Level::Fixtures) => run.fixtures(privilege),
            (Ok(privilege), Level::Labs) => run.labs(privilege),
            (Err(failure), _) if failure.is_interrupt() => Err(Failure::interrupted()),
            (Err(failure), _) => {
                run.problems.push(failure.to_string());
                Ok(())
            }
        };
        let LevelRun { counts, problems, .. } = run;
        reports.push(LevelReport { name: level.name(), counts, problems, took: watch.elapsed() });
        if let Err(failure) = outcome {
            report::print(&reports);
            return Err(failure);
        }
    }
    report::print(&reports);
    judge(&reports, selection)
}

fn judge(reports: &[LevelReport], selection: &Selection) -> Outcome {
    let failed: Vec<&str> =
        reports.iter().filter(|report| !report.succeeded()).map(|report| report.name).collect();
    if !failed.is_empty() {
        return Err(Failure::new(format!("tests failed: {}", failed.join(", "))));
    }
    if reports.iter().all(|report| report.counts.run() == 0) {
        return Err(Failure::new(format!("no test matches: {}", selection.filters.join(" "))));
    }
    Ok(())
}

/// A level on its way.
struct LevelRun<'a> {
    workspace: &'a Workspace,
    selection: &'a Selection,
    counts: Counts,
    problems: Vec<String>,
}

impl LevelRun<'_> {
    fn unit(&mut self) -> Outcome {
        // One selection of packages for all levels: cargo builds dependencies once, with the same features.
        self.cargo_test(&["--workspace", "--lib", "--bins"], None, &[])?;
        self.cargo_test(&["--workspace", "--test", "streams"], None, &[])?;
        self.cargo_test(&["--workspace", "--doc"], None, &[])?;
        self.loom()?;
        self.nothing_run_is_a_problem();
        Ok(())
    }

    /// lb-common's models of concurrent access, compiled with loom's atomics in place of the processor's.
    fn loom(&mut self) -> Outcome {
        let mut cargo = self.workspace.cargo();
        cargo
            .args(["test", "--release", "--package", "lb-common", "--test", "loom", "--target-dir"])
            .arg(self.workspace.target.join("loom"))
            .env("RUSTFLAGS", "--cfg loom")
            // It would win over the other.
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        self.stream(cargo, &[])
    }

    fn fixtures(&mut self, privilege: &Privilege) -> Outcome {
        self.with_product(&["--test", FIXTURES], privilege, &[])
    }

    fn labs(&mut self, privilege: &Privilege) -> Outcome {
        let labs = self.integration_tests(&[FIXTURES, IPVS, MIGRATION]);
        let mut targets = Vec::new();
        for lab in &labs {
            targets.extend(["--test", lab]);
        }
        if targets.is_empty() {
            self.problems.push("there is no lab: tests/tests holds no integration test".into());
            return Ok(());
        }
        self.with_product(&targets, privilege, &self.parallelism())
    }

    /// Builds `lb`, which these tests start, then runs them as root.
    fn with_product(&mut self, targets: &[&str], privilege: &Privilege, libtest: &[String]) -> Outcome {
        if self.build(targets, &[])?.is_none() {
            return Ok(());
        }
        let mut arguments = vec!["--workspace"];
        arguments.extend(targets);
        self.cargo_test(&arguments, Some(privilege), libtest)?;
        self.nothing_run_is_a_problem();
        Ok(())
    }

    /// Builds `lb` and tests; what cargo says about it on stdout, or nothing where something does not build.
    fn build(&mut self, targets: &[&str], options: &[&str]) -> Outcome<Option<String>> {
        let mut cargo = self.workspace.cargo();
        // Together with the tests, or cargo would build dependencies twice: with and without tests' features.
        cargo.args(["build", "--workspace", "--bin", "lb"]).args(targets).args(options);
        match process::output(&mut cargo) {
            Ok(output) => Ok(Some(output)),
            Err(failure) if failure.is_interrupt() => Err(failure),
            Err(_) => {
                self.problems.push("`lb` or a test does not build".into());
                Ok(None)
            }
        }
    }

    fn cargo_test(&mut self, arguments: &[&str], root: Option<&Privilege>, libtest: &[String]) -> Outcome {
        let mut cargo = self.workspace.cargo();
        cargo.arg("test");
        if let Some(privilege) = root {
            let variables = build::variables(self.workspace, Profile::Debug);
            cargo.args(build::cargo_runner(privilege, &variables)).envs(variables);
            cargo.env("PATH", root::search_path());
        }
        cargo.arg("--no-fail-fast").args(arguments);
        self.stream(cargo, libtest)
    }

    /// Runs `cargo test`, passing on what it prints as it comes, and adds up what the test programs report.
    fn stream(&mut self, mut cargo: Command, libtest: &[String]) -> Outcome {
        let options = self.libtest(libtest);
        if !options.is_empty() {
            cargo.arg("--").args(options);
        }
        process::show(&cargo);
        let mut child =
            cargo.stdout(Stdio::piped()).spawn().map_err(|error| process::cannot_start(&cargo, &error))?;
        let failed_before = self.counts.failed;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                pass_on(&line, &mut self.counts);
            }
        }
        let status = child.wait().map_err(|error| process::cannot_start(&cargo, &error))?;
        match process::judge(&cargo, status) {
            Err(failure) if failure.is_interrupt() => Err(failure),
            // Failed tests speak for themselves; else cargo has said what went wrong.
            Err(_) if self.counts.failed == failed_before => {
                self.problems.push(format!("a test program did not build or did not finish: {status}"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the test programs are told: filters, ours, the user's.
    fn libtest(&self, ours: &[String]) -> Vec<String> {
        let mut options = self.selection.filters.clone();
        options.extend_from_slice(ours);
        options.extend_from_slice(&self.selection.libtest);
        if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            // Through a pipe libtest sees no terminal.
            options.push(COLOR.into());
        }
        options
    }

    /// A level that runs no test tests nothing, unless the filters say so.
    fn nothing_run_is_a_problem(&mut self) {
        if self.counts.run() == 0 && self.selection.filters.is_empty() && self.problems.is_empty() {
            self.problems.push("no test was run".into());
        }
    }

    /// The integration tests of lb-tests but these: `tests/tests/NAME.rs` and `tests/tests/NAME/main.rs`.
    fn integration_tests(&self, but: &[&str]) -> Vec<String> {
        let entries = fs::read_dir(self.workspace.root.join("tests/tests"));
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").is_file())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .filter(|name| !but.contains(&name.as_str()))
            .collect();
        names.sort_unstable();
        names
    }

    /// Labs wait more than they compute, but each is a handful of daemons.
    fn parallelism(&self) -> Vec<String> {
        let chosen = |option: &String| option.starts_with("--test-threads");
        if std::env::var_os("RUST_TEST_THREADS").is_some() || self.selection.libtest.iter().any(chosen) {
            return Vec::new();
        }
        let cores = available_parallelism().map_or(2, usize::from);
        vec![format!("--test-threads={}", cores.clamp(2, 4))]
    }
}

/// Passes on a line of a test program, and counts what it reports.
fn pass_on(line: &[u8], counts: &mut Counts) {
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone (`| head`) is its own choice; the tests go on.
    let _ = stdout.write_all(line).and_then(|()| stdout.write_all(b"\n"));
    let _ = stdout.flush();
    if let Some(found) = Counts::in_line(&String::from_utf8_lossy(line)) {
        counts.add(found);
    }
}
