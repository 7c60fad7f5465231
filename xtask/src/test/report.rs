//! What the test programs said, added up.

use std::time::Duration;

use crate::console;

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// A level that has been run.
#[derive(Debug)]
pub(crate) struct LevelReport {
    pub(crate) name: &'static str,
    pub(crate) counts: Counts,
    /// What else went wrong: it did not build, there was no root.
    pub(crate) problems: Vec<String>,
    pub(crate) took: Duration,
}

impl Counts {
    /// Reads the line that ends a libtest program's output.
    pub(crate) fn in_line(line: &str) -> Option<Self> {
        let (_, line) = line.split_once("test result: ")?;
        let count = |label: &str| line.split_once(label)?.0.rsplit([' ', '.']).next()?.parse().ok();
        Some(Self { passed: count(" passed")?, failed: count(" failed")?, ignored: count(" ignored")? })
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    pub(crate) fn run(self) -> u64 {
        self.passed + self.failed
    }
}

impl LevelReport {
    pub(crate) fn succeeded(&self) -> bool {
        self.counts.failed == 0 && self.problems.is_empty()
    }
}

/// Prints the summary of a run; its last line is for machines.
pub(crate) fn print(levels: &[LevelReport]) {
    console::result("");
    console::result(format_args!("{:<10} {:>7} {:>7} {:>8}  time", "level", "passed", "failed", "ignored"));
    for level in levels {
        let Counts { passed, failed, ignored } = level.counts;
        let time = console::duration(level.took);
        console::result(format_args!("{:<10} {passed:>7} {failed:>7} {ignored:>8}  {time}", level.name));
        for problem in &level.problems {
            for line in problem.lines() {
                console::result(format_args!("  {line}"));
            }
        }
    }
    let (passed, failed) = totals(levels);
    console::result(format_args!("\n{passed} passed, {failed} failed"));
}

/// Tests passed and failed; a level that could not be run counts as a failure.
fn totals(levels: &[LevelReport]) -> (u64, u64) {
    levels.iter().fold((0, 0), |(passed, failed), level| {
        let unseen = u64::from(level.counts.failed == 0 && !level.succeeded());
        (passed + level.counts.passed, failed + level.counts.failed + unseen)
    })
}

#[cfg(test)]
mod tests {
    use super::{Counts, LevelReport, totals};
    use std::time::Duration;

    #[test]
    fn the_closing_line_of_a_test_program_is_counted() {
        let line =
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.05s";
        assert_eq!(Counts::in_line(line), Some(Counts { passed: 12, failed: 0, ignored: 1 }));
        let colored = "test result: \x1b[31mFAILED\x1b(B\x1b[m. 3 passed; 2 failed; 0 ignored; 0 measured";
        assert_eq!(Counts::in_line(colored), Some(Counts { passed: 3, failed: 2, ignored: 0 }));
    }

    #[test]
    fn other_lines_are_not_counted() {
        assert_eq!(Counts::in_line("test vip ... ok"), None);
        assert_eq!(Counts::in_line("test result: unknown"), None);
    }

    #[test]
    fn a_level_that_could_not_run_is_a_failure() {
        let level = |passed, problems: &[&str]| LevelReport {
            name: "labs",
            counts: Counts { passed, ..Counts::default() },
            problems: problems.iter().map(ToString::to_string).collect(),
            took: Duration::ZERO,
        };
        assert_eq!(totals(&[level(5, &[]), level(0, &["needs root"])]), (5, 1));
    }
}
