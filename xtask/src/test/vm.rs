//! The level `vm`: the product's tests on an old kernel, in a virtual machine.

use std::path::PathBuf;

use super::report::Counts;
use super::{COLOR, IPVS, LevelRun, pass_on};
use crate::build;
use crate::console;
use crate::failure::Outcome;
use crate::root;
use crate::vm::{Machine, Program, Surroundings};
use crate::workspace::{Profile, json_string};

/// Integration tests that tell nothing about the product on that kernel: of the labs, of the demonstration, and those
/// with a kernel of their own.
const OTHERS: [&str; 3] = ["lab", "demo", IPVS];
/// Parts of the names of tests that an emulated processor is too slow for.
const SPEED: [&str; 3] = ["within_a_second", "ten_thousand_requests", "under_load"];

impl LevelRun<'_> {
    /// The product's tests once more, on another kernel.
    pub(super) fn vm(&mut self) -> Outcome {
        let machine = Machine::prepare(self.workspace)?;
        let tests = self.integration_tests(&OTHERS);
        let mut targets = vec!["--bin", build::VERIFIER];
        for test in &tests {
            targets.extend(["--test", test]);
        }
        let Some(built) = self.build(&targets, &["--message-format", "json-render-diagnostics"])? else {
            return Ok(());
        };
        let mut variables = build::variables(self.workspace, Profile::Debug).to_vec();
        variables.push(("PATH", root::search_path()));
        // Where cargo runs them too.
        let surroundings =
            Surroundings { directory: self.workspace.root.join("tests"), variables: &variables };
        let mut options = self.libtest(&self.parallelism());
        if !options.iter().any(|option| option == COLOR) {
            // libtest takes the machine's console for a terminal.
            options.push("--color=never".into());
        }
        let programs = |emulated: bool| {
            let verifier = self.workspace.executable(Profile::Debug, build::VERIFIER);
            let mut programs = vec![Program { path: verifier, arguments: Vec::new() }];
            let mut arguments = options.clone();
            if emulated {
                console::step("test", "tests of speed and load are left out: the processor is emulated");
                arguments.extend(SPEED.iter().flat_map(|part| ["--skip".to_owned(), part.to_string()]));
            }
            let tests = test_programs(&built).map(|path| Program { path, arguments: arguments.clone() });
            programs.extend(tests);
            programs
        };
        let mut counts = Counts::default();
        let outcome = machine.run(&surroundings, programs, |line| pass_on(line.as_bytes(), &mut counts));
        self.counts.add(counts);
        match outcome {
            Err(failure) if failure.is_interrupt() => return Err(failure),
            // Failed tests speak for themselves.
            Err(failure) if self.counts.failed == 0 => self.problems.push(failure.to_string()),
            _ => {}
        }
        self.nothing_run_is_a_problem();
        Ok(())
    }
}

/// The executables of integration tests, in what cargo says as JSON, a line about each.
fn test_programs(messages: &str) -> impl Iterator<Item = PathBuf> {
    let tests = messages.lines().filter(|line| line.contains(r#""kind":["test"]"#));
    tests.filter_map(|line| json_string(line, "executable")).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::test_programs;
    use std::path::PathBuf;

    #[test]
    fn cargo_tells_where_the_test_programs_are() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["bin"]},"executable":"/t/lb"}
{"reason":"compiler-artifact","target":{"kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"]},"executable":"/t/deps/director-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(test_programs(messages).collect::<Vec<_>>(), [PathBuf::from("/t/deps/director-1")]);
    }
}
