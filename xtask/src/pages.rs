//! What pages tell their readers to type is what xtask understands, and what its tests type.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::arguments::{Request, parse};
use crate::docs::files_below;
use crate::test::CHECKS;

/// Files of the root that are pages, beside all of docs.
const OF_THE_ROOT: [&str; 3] = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"];
const COMMAND: &str = "cargo xtask";
/// The section of the README that the level `package` types.
const SERVICE: &str = "\n## Run it as a service\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn pages() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut files = files_below(&root.join("docs")).unwrap();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.extend(OF_THE_ROOT.map(|file| root.join(file)));
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
}

/// A page's text outside of blocks, and the lines in them.
fn parts(page: &str) -> (String, Vec<&str>) {
    let (mut text, mut lines) = (String::new(), Vec::new());
    for (number, part) in page.split("```").enumerate() {
        if number % 2 == 0 {
            text.push_str(part);
        } else {
            // The first line has the language.
            lines.extend(part.lines().skip(1));
        }
    }
    (text, lines)
}

/// A line without its comment, which is behind a `#`, or two spaces where a block is a list.
fn typed(line: &str) -> &str {
    let line = line.split(" #").next().unwrap_or(line);
    line.split("  ").next().unwrap_or(line).trim()
}

/// What is to be typed of `cargo xtask`: in lines of blocks, and in single backquotes.
fn commands(page: &str) -> Vec<String> {
    let (text, lines) = parts(page);
    let lines = lines.into_iter().map(typed);
    let quoted = text.split('`').skip(1).step_by(2);
    let is_one = |words: &&str| words.starts_with(COMMAND);
    lines
        .chain(quoted)
        .filter(is_one)
        .map(|words| words.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn every_command_that_pages_show_is_understood() {
    let mut found = 0;
    for (file, page) in pages() {
        for line in commands(&page) {
            let words = line.split_whitespace().skip(2).map(OsString::from);
            // Whoever speaks of the program and none of its commands.
            if line == COMMAND {
                continue;
            }
            if let Err(failure) = parse(words) {
                panic!("{}: `{line}`: {failure}", file.display());
            }
            found += 1;
        }
    }
    assert!(found > 30, "{found} commands");
}

/// A level's name that is wrong would be a filter that no test's name contains.
#[test]
fn levels_that_contributing_names_are_levels() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let commands = commands(&page);
    let lines: Vec<_> = commands.iter().filter(|line| line.starts_with("cargo xtask test ")).collect();
    assert!(lines.len() >= 3, "{lines:?}");
    for line in lines {
        let request = parse(line.split_whitespace().skip(2).map(OsString::from)).unwrap();
        assert!(matches!(&request, Request::Test(selection) if selection.level.is_some()), "{line}");
    }
}

#[test]
fn the_level_package_types_what_the_readme_says() {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = page.split_once(SERVICE).expect("the section is there");
    let (_, lines) = parts(section.split("\n## ").next().unwrap_or_default());
    // The packages that it installs are made by what this runs.
    let said: Vec<&str> =
        lines.into_iter().map(typed).filter(|line| *line != "cargo xtask package").collect();
    let quoted = |line: &'static str| line.strip_prefix("readme '")?.strip_suffix('\'');
    let done: Vec<&str> = CHECKS.lines().filter_map(quoted).collect();
    assert_eq!(done, said, "the README's section (right) is typed by test/package/checks.sh (left)");
}
