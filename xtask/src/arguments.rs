//! The command line: what may be typed, and what it means.

use std::ffi::OsString;

use crate::failure::{Failure, Outcome};
use crate::help;

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print a text and be done.
    Help(String),
    Setup,
    BuildEbpf,
    Build {
        release: bool,
    },
    /// The arguments of `lb run`.
    Run(Vec<OsString>),
    /// The arguments of the demo.
    Demo(Vec<OsString>),
    /// The arguments of the benchmarks.
    Bench(Vec<OsString>),
    Test(Selection),
    /// Seconds for each target.
    Fuzz(u32),
    /// Make a Debian package.
    Package,
    /// Write the pages that are generated, and build the book.
    Docs,
    Ci,
}

/// Which tests to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Every level where `None`.
    pub(crate) level: Option<Level>,
    /// Run only tests whose name contains one of these.
    pub(crate) filters: Vec<String>,
    /// What libtest gets beyond the filters, such as `--nocapture`.
    pub(crate) libtest: Vec<String>,
}

/// The levels of the test pyramid, from the fastest up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Unit,
    Fixtures,
    Labs,
    /// On demand only: it fetches a kernel first.
    Vm,
    /// On demand only: it fetches a kernel, too.
    Ipvs,
    /// On demand only: it boots a systemd.
    Package,
}

impl Level {
    const ALL: [Self; 6] = [Self::Unit, Self::Fixtures, Self::Labs, Self::Vm, Self::Ipvs, Self::Package];
    /// What runs when no level is named.
    pub(crate) const USUAL: [Self; 3] = [Self::Unit, Self::Fixtures, Self::Labs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Fixtures => "fixtures",
            Self::Labs => "labs",
            Self::Vm => "vm",
            Self::Ipvs => "ipvs",
            Self::Package => "package",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// How long `cargo xtask fuzz` tries each target, and `cargo xtask ci` too.
pub(crate) const FUZZ_SECONDS: u32 = 60;

/// Understands what follows `cargo xtask`.
///
/// # Errors
/// A usage failure (exit code 2) that says which argument is wrong and how it goes right.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Outcome<Request> {
    let mut arguments = arguments.into_iter();
    let Some(command) = arguments.next() else {
        return Err(Failure::usage("which command?").remedy(help::overview()));
    };
    let rest: Vec<OsString> = arguments.collect();
    let name = command.to_string_lossy();
    let wants_help = rest.first().is_some_and(|first| first == "--help" || first == "-h");
    match &*name {
        "--help" | "-h" | "help" => help_about(rest.first()).map(Request::Help),
        name if wants_help && help::of(name).is_some() => help_about(Some(&command)).map(Request::Help),
        "setup" => no_more("setup", &rest).map(|()| Request::Setup),
        "build-ebpf" => release("build-ebpf", &rest).map(|_| Request::BuildEbpf),
        "build" => release("build", &rest).map(|release| Request::Build { release }),
        "run" => Ok(Request::Run(passed_on(rest))),
        "demo" => Ok(Request::Demo(passed_on(rest))),
        "bench" => Ok(Request::Bench(passed_on(rest))),
        "test" => selection(&rest).map(Request::Test),
        "fuzz" => seconds(&rest).map(Request::Fuzz),
        "package" => no_more("package", &rest).map(|()| Request::Package),
        "docs" => no_more("docs", &rest).map(|()| Request::Docs),
        "ci" => no_more("ci", &rest).map(|()| Request::Ci),
        unknown => Err(Failure::usage(format!("no command `{unknown}`")).remedy(help::overview())),
    }
}

fn help_about(topic: Option<&OsString>) -> Outcome<String> {
    let Some(topic) = topic else { return Ok(help::overview()) };
    let name = topic.to_string_lossy();
    help::of(&name)
        .ok_or_else(|| Failure::usage(format!("no command `{name}` to explain")).remedy(help::overview()))
}

fn no_more(command: &str, rest: &[OsString]) -> Outcome {
    rest.first().map_or(Ok(()), |surplus| Err(surprise(command, surplus)))
}

fn release(command: &str, rest: &[OsString]) -> Outcome<bool> {
    match rest.iter().find(|argument| *argument != "--release") {
        Some(surplus) => Err(surprise(command, surplus)),
        None => Ok(!rest.is_empty()),
    }
}

/// `[SECONDS]`
fn seconds(rest: &[OsString]) -> Outcome<u32> {
    match rest {
        [] => Ok(FUZZ_SECONDS),
        [seconds] => seconds
            .to_str()
            .and_then(|seconds| seconds.parse().ok())
            .filter(|seconds| *seconds > 0)
            .ok_or_else(|| surprise("fuzz", seconds)),
        [_, surplus, ..] => Err(surprise("fuzz", surplus)),
    }
}

fn surprise(command: &str, argument: &OsString) -> Failure {
    Failure::usage(format!("`cargo xtask {command}` takes no argument `{}`", argument.to_string_lossy()))
        .remedy(format!("cargo xtask {command} --help"))
}

/// Arguments for another program; a leading `--` only separates them from xtask's own.
fn passed_on(mut rest: Vec<OsString>) -> Vec<OsString> {
    if rest.first().is_some_and(|first| first == "--") {
        rest.remove(0);
    }
    rest
}

/// `[unit|fixtures|labs|vm|ipvs|package] [FILTER…] [-- LIBTEST…]`
fn selection(rest: &[OsString]) -> Outcome<Selection> {
    let words = rest
        .iter()
        .map(|word| word.to_str().map(str::to_owned).ok_or_else(|| surprise("test", word)))
        .collect::<Outcome<Vec<String>>>()?;
    let (own, libtest) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (&words[..], &[][..]),
    };
    if let Some(option) = own.iter().find(|word| word.starts_with('-')) {
        return Err(Failure::usage(format!("`cargo xtask test` has no option `{option}`"))
            .remedy(format!("options of the test programs follow `--`: cargo xtask test -- {option}")));
    }
    let level = own.first().and_then(|word| Level::named(word));
    let filters = own[usize::from(level.is_some())..].to_vec();
    Ok(Selection { level, filters, libtest: libtest.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::{Level, Request, Selection, parse};
    use std::ffi::OsString;

    fn request(line: &str) -> Request {
        parse(line.split_whitespace().map(OsString::from)).unwrap()
    }

    fn refusal(line: &str) -> (u8, String) {
        let failure = parse(line.split_whitespace().map(OsString::from)).unwrap_err();
        (failure.exit_code(), failure.to_string())
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn build_takes_release_and_nothing_else() {
        assert_eq!(request("build"), Request::Build { release: false });
        assert_eq!(request("build --release"), Request::Build { release: true });
        assert_eq!(request("build-ebpf --release"), Request::BuildEbpf);
        let (code, message) = refusal("build --relaese");
        assert_eq!(code, 2);
        assert!(message.contains("`--relaese`"), "{message}");
    }

    #[test]
    fn the_arguments_of_other_programs_pass_through_untouched() {
        assert_eq!(request("run -- --config a.toml"), Request::Run(words("--config a.toml")));
        assert_eq!(request("run --config a.toml"), Request::Run(words("--config a.toml")));
        assert_eq!(request("demo --keep"), Request::Demo(words("--keep")));
        assert_eq!(request("bench -- --help"), Request::Bench(words("--help")));
    }

    #[test]
    fn fuzz_takes_seconds_from_1_on() {
        assert_eq!(request("fuzz"), Request::Fuzz(super::FUZZ_SECONDS));
        assert_eq!(request("fuzz 5"), Request::Fuzz(5));
        for wrong in ["fuzz 0", "fuzz x", "fuzz 5 6", "fuzz -1"] {
            assert_eq!(refusal(wrong).0, 2, "{wrong}");
        }
    }

    #[test]
    fn test_takes_a_level_then_filters_then_options_of_libtest() {
        let everything = Selection::default();
        assert_eq!(request("test"), Request::Test(everything));
        assert_eq!(
            request("test labs vip failover -- --nocapture"),
            Request::Test(Selection {
                level: Some(Level::Labs),
                filters: vec!["vip".into(), "failover".into()],
                libtest: vec!["--nocapture".into()],
            })
        );
        assert_eq!(
            request("test vip labs"),
            Request::Test(Selection { filters: vec!["vip".into(), "labs".into()], ..Selection::default() }),
            "a level's name is one only in the first place"
        );
        let vm =
            Selection { level: Some(Level::Vm), filters: vec!["restart".into()], ..Selection::default() };
        assert_eq!(request("test vm restart"), Request::Test(vm));
        let (code, message) = refusal("test --nocapture");
        assert_eq!(code, 2);
        assert!(message.contains("cargo xtask test -- --nocapture"), "{message}");
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        for command in
            ["setup", "build-ebpf", "build", "run", "demo", "bench", "test", "package", "docs", "ci"]
        {
            for line in [format!("{command} --help"), format!("help {command}"), format!("{command} -h")] {
                let Request::Help(text) = request(&line) else { panic!("{line} is no request for help") };
                assert!(text.contains("Examples:"), "{line}: {text}");
            }
        }
    }

    #[test]
    fn an_unknown_command_is_answered_with_those_there_are() {
        let (code, message) = refusal("biuld");
        assert_eq!(code, 2);
        assert!(message.contains("no command `biuld`") && message.contains("build-ebpf"), "{message}");
        assert_eq!(refusal("").0, 2);
        assert_eq!(refusal("help biuld").0, 2);
    }
}
