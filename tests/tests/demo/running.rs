//! Runs that go to their end.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lb_lab::TestResult;
use serde_json::Value;

use crate::support::{PROGRAM, Running, demo, expect_no_traces, stderr, stdout};

#[test]
fn a_run_shows_everything_as_plain_text_and_leaves_nothing() -> TestResult {
    let running = Running::start(demo(&["--seconds", "1"]))?;
    let prefix = running.prefix.clone();
    let output = running.finish()?;
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    expect_no_traces(&prefix);
    for part in [
        "director: lb run",
        "✔ rr   in turn: 4 each",
        "rs3 rs2 rs1 rs3 rs2 rs1 rs3 rs2 rs1 rs3 rs2 rs1\n",
        "✔ wrr  weights 4, 3, 2",
        "rs3 rs2 rs1 rs1 rs2 rs1 rs3 rs2 rs1 rs3 rs2 rs1\n",
        "✔ sh   each client address keeps its real server",
        "✔ dh   each VIP keeps its real server",
        "client receives   rs3 → client             10.99.0.103 → 10.99.0.22\n",
        "✔ rs3 saw the client's own address, the client saw the VIP;",
        "errors            0\n",
        "frames dropped    0\n",
        "expected 44.4 %\n",
        "\nAll was as expected. Everything is removed again.\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(stderr(&output), "");
    let control = |letter: char| letter.is_control() && letter != '\n';
    assert!(!text.contains(control), "{text:?}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "longer than 80 columns: {line}");
        assert_eq!(line.trim_end(), line, "white space at its end: {line:?}");
    }
    Ok(())
}

#[test]
fn two_at_once_both_succeed_and_print_json_and_nothing_else() -> TestResult {
    let start = || Running::start(demo(&["--json", "--seconds", "1"]));
    for running in [start()?, start()?] {
        let prefix = running.prefix.clone();
        let output = running.finish()?;
        expect_no_traces(&prefix);
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
        assert_eq!(stderr(&output), "");
        let observed: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(observed["as_expected"], true);
        assert_eq!(observed["schedulers"].as_array().map(Vec::len), Some(4));
        assert_eq!(observed["direct_routing"]["answers_through_director"], 0);
        assert!(observed["load"]["requests"].as_u64() > Some(100), "{}", observed["load"]);
        assert!(observed["load"]["frames"]["forwarded"].as_u64() > Some(500), "{}", observed["load"]);
        assert_eq!(observed["kept"], Value::Null);
    }
    Ok(())
}

#[test]
fn a_director_that_chooses_otherwise_fails_the_demo() -> TestResult {
    // The real daemon, with another scheduler than the demo believes.
    let real = std::env::var("LB_BINARY").expect("`cargo xtask test` sets it");
    let directory = tempfile::tempdir()?;
    let stand_in = directory.path().join("lb");
    let change = r#"[ "$1" = run ] && sed -i 's/^scheduler = "rr"/scheduler = "dh"/' "$3""#;
    fs::write(&stand_in, format!("#!/bin/sh\n{change}\nexec {real} \"$@\"\n"))?;
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755))?;
    let mut command = demo(&["--seconds", "1"]);
    command.env("LB_BINARY", &stand_in);
    let running = Running::start(command)?;
    let prefix = running.prefix.clone();
    let output = running.finish()?;
    expect_no_traces(&prefix);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    assert!(text.contains("✘ not as expected: rr   in turn: 4 each\n"), "{text}");
    assert!(
        text.contains("\nNot all was as expected: see ✘ above. Everything is removed again.\n"),
        "{text}"
    );
    Ok(())
}

#[test]
fn on_a_terminal_there_is_a_progress_bar_and_colours_unless_unwanted() -> TestResult {
    let on_a_terminal = |no_color: bool| {
        // util-linux's script gives it a terminal.
        let mut command = std::process::Command::new("script");
        let line = format!("{PROGRAM} --seconds 1");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        command.output()
    };
    for no_color in [false, true] {
        let output = on_a_terminal(no_color)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(text.contains("of 1 s") && text.contains("requests/s"), "{text}");
        assert_eq!(text.contains("\u{1b}[32m✔"), !no_color, "{text}");
        assert_eq!(text.contains("\u{1b}[1m"), !no_color, "{text}");
    }
    Ok(())
}
