//! Nothing of a lab stays behind, however it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lb_lab::{Lab, Owner, TestResult, traces, try_wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{SOON, pair};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

#[test]
fn a_lab_that_is_dropped_is_gone() -> TestResult {
    let lab = Lab::builder().client("client").director("director").real_servers(2).build()?;
    let id = lab.id().to_owned();
    assert!(traces(&id).len() >= 8, "{:?}", traces(&id));
    let client = lab.client();
    let orphan = lab.client().run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"])?;
    drop(lab);
    assert_eq!(traces(&id), [""; 0]);
    let orphan = Path::new("/proc").join(orphan.trim());
    try_wait_until("init reaps the child of a child", SOON, || !orphan.exists())?;
    client.run(["true"]).expect_err("the lab is gone");
    Ok(())
}

#[test]
fn a_panic_in_a_hosts_closure_reaches_the_test_and_removes_the_lab() -> TestResult {
    let mut id = String::new();
    let test = AssertUnwindSafe(|| -> lb_lab::Result<()> {
        let lab = pair()?;
        id = lab.id().to_owned();
        lab.client().enter(|| panic!("on purpose"))?
    });
    let panic = catch_unwind(test).expect_err("the panic comes through");
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    assert!(!id.is_empty());
    assert_eq!(traces(&id), [""; 0]);
    Ok(())
}

#[test]
fn a_test_panics_at_the_error_while_its_lab_stands() {
    let test = || -> TestResult {
        Err(std::io::Error::other("on purpose"))?;
        Ok(())
    };
    let panic = catch_unwind(test).expect_err("it panics");
    assert_eq!(panic.downcast_ref(), Some(&"on purpose".to_owned()));
}

#[test]
fn signals_remove_the_lab_and_end_the_process_as_usual() -> TestResult {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut process, id) = hold()?;
        assert!(!traces(&id).is_empty());
        process.signal(signal)?;
        assert_eq!(process.0.wait()?.signal(), Some(signal as i32));
        expect_gone(&id)?;
    }
    Ok(())
}

#[test]
fn a_signal_while_the_lab_is_being_made_removes_what_there_is() -> TestResult {
    // From before the first to after the last step.
    for step in 0..=6 {
        let hold = Command::new(PROGRAM).arg("hold").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut process = Held(hold);
        let prefix = format!("{}-", process.0.id());
        try_wait_until("the lab has begun", SOON, || {
            let traces = traces(&prefix);
            let namespaces = traces.iter().filter(|trace| trace.starts_with("/run/netns/")).count();
            if namespaces >= step { Ok(()) } else { Err(format!("{traces:?}")) }
        })?;
        process.signal(Signal::SIGINT)?;
        process.0.wait()?;
        try_wait_until("nothing is left", SOON, || {
            let left = traces(&prefix);
            if left.is_empty() { Ok(()) } else { Err(format!("after {step} namespaces: {left:?}")) }
        })?;
    }
    Ok(())
}

#[test]
fn what_a_killed_process_leaves_is_removed_by_the_next_lab_and_nothing_else_is() -> TestResult {
    let (alive, (mut killed, stale)) = (pair()?, hold()?);
    let kept = keep()?;
    killed.0.kill()?;
    killed.0.wait()?;
    try_wait_until("the kernel ends its programs", SOON, || {
        !traces(&stale).iter().any(|trace| is_process(trace))
    })?;
    let next = pair()?;
    assert_eq!(traces(&stale), [""; 0]);
    assert_eq!(owner(&stale), None);
    assert_eq!((owner(alive.id()), owner(next.id())), (Some(Owner::Alive), Some(Owner::Alive)));
    alive.client().http_get((alive.host("rs1").address(), 80), SOON)?;

    assert_eq!(owner(&kept), Some(Owner::Kept), "a kept lab is a person's");
    lb_lab::remove(alive.id()).expect_err("it is in use");
    lb_lab::remove(&kept)?;
    expect_gone(&kept)?;
    Ok(())
}

#[test]
fn without_root_it_says_so() -> TestResult {
    let output = lb_lab::run_as_nobody(Path::new(PROGRAM), &["hold"])?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("labs need root"), "{text}");
    Ok(())
}

/// A process with a lab; it is ended if the test fails.
struct Held(Child);

impl Held {
    fn signal(&self, signal: Signal) -> nix::Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Reaped already, or else asked to remove its lab and end.
        if matches!(self.0.try_wait(), Ok(None)) && self.signal(Signal::SIGTERM).is_ok() {
            _ = self.0.wait();
        }
    }
}

/// A process that holds a lab, and the lab's id.
fn hold() -> std::io::Result<(Held, String)> {
    let silent = || std::io::Error::other("it does not say which lab it holds");
    let mut process = Held(Command::new(PROGRAM).arg("hold").stdout(Stdio::piped()).spawn()?);
    let output = BufReader::new(process.0.stdout.take().ok_or_else(silent)?);
    let lines = output.lines().map_while(Result::ok);
    let id = lines
        .filter_map(|line| Some(line.strip_prefix("holding lab ")?.split(' ').next()?.to_owned()))
        .next();
    Ok((process, id.ok_or_else(silent)?))
}

/// The id of a lab that outlives its process.
fn keep() -> std::io::Result<String> {
    let output = Command::new(PROGRAM).arg("keep").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let id =
        text.lines().find_map(|line| Some(line.strip_prefix("lab ")?.split_once(" stays")?.0.to_owned()));
    Ok(id.unwrap_or_else(|| panic!("it says which lab stays: {text}")))
}

/// Only killed processes may take a moment longer.
fn expect_gone(id: &str) -> lb_lab::Result<()> {
    let mut left = traces(id);
    left.retain(|trace| !is_process(trace));
    assert_eq!(left, [""; 0]);
    try_wait_until("no process is left", SOON, || traces(id).is_empty())
}

fn is_process(trace: &str) -> bool {
    trace.starts_with("nginx")
}

fn owner(id: &str) -> Option<Owner> {
    lb_lab::labs().into_iter().find(|(lab, _)| lab == id).map(|(_, owner)| owner)
}
