//! Runs that end early.

use lb_lab::{TestResult, labs, run_as_nobody, traces, try_wait_until};
use nix::sys::signal::Signal;

use crate::support::{PATIENCE, Running, demo, expect_no_traces, program, stderr, stdout};

/// A load that no test waits for.
const LONG: [&str; 2] = ["--seconds", "60"];

#[test]
fn ctrl_c_ends_it_at_any_moment_and_leaves_nothing() -> TestResult {
    for moment in ["A network", "Schedulers", "Direct routing", "Load"] {
        let mut running = Running::start(demo(&LONG))?;
        running.read_until(moment)?;
        interrupt(running, Signal::SIGINT, 130)?;
    }
    Ok(())
}

#[test]
fn ctrl_c_while_the_lab_is_made_leaves_nothing() -> TestResult {
    // From the first directory to the daemon's pins.
    for step in [1, 3, 6, 10] {
        let running = Running::start(demo(&LONG))?;
        try_wait_until("the lab has begun", PATIENCE, || {
            let there = traces(&running.prefix);
            if there.len() >= step { Ok(()) } else { Err(format!("{there:?}")) }
        })?;
        interrupt(running, Signal::SIGINT, 130)?;
    }
    Ok(())
}

#[test]
fn sigterm_ends_it_too_also_one_that_would_be_kept() -> TestResult {
    let mut running = Running::start(demo(&["--keep", "--seconds", "60"]))?;
    running.read_until("Load")?;
    interrupt(running, Signal::SIGTERM, 143)
}

fn interrupt(running: Running, signal: Signal, code: i32) -> TestResult {
    let prefix = running.prefix.clone();
    running.signal(signal)?;
    let output = running.finish()?;
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert_eq!(err, "\nInterrupted. Everything is removed again.\n", "after {out}");
    assert!(!out.contains("requests  "), "it says nothing about a load that was cut off: {out}");
    expect_no_traces(&prefix);
    Ok(())
}

#[test]
fn what_it_cannot_do_is_said_with_what_to_do() -> TestResult {
    let output = run_as_nobody(program(), &[])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("run this under sudo"), "{}", stderr(&output));
    assert!(stderr(&output).contains("`cargo xtask demo`"), "{}", stderr(&output));

    let output = demo(&[]).env_remove("LB_BINARY").output()?;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("LB_BINARY is not set"), "{}", stderr(&output));

    let output = demo(&["--remove", "nothing"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "demo: there is no lab nothing\n");

    for wrong in [&["--seconds", "0"][..], &["--seconds", "61"], &["--list", "--keep"], &["now"]] {
        assert_eq!(demo(wrong).output()?.status.code(), Some(2), "{wrong:?}");
    }
    let help = stdout(&demo(&["--help"]).output()?);
    assert!(help.contains("Examples:") && help.contains("cargo xtask demo --remove"), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    Ok(())
}

#[test]
fn labs_are_listed_with_their_owners() -> TestResult {
    let mut running = Running::start(demo(&LONG))?;
    running.read_until("A network")?;
    let list = stdout(&demo(&["--list"]).output()?);
    let ours = list.lines().find(|line| line.starts_with(&running.prefix));
    assert!(ours.is_some_and(|line| line.contains("in use")), "{list}, {:?}", labs());
    interrupt(running, Signal::SIGINT, 130)
}
