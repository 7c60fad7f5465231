//! Commands.

use std::fs;
use std::path::Path as FilePath;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::super::{Advice, ExecFailure};
use super::*;
use crate::config::Exec;

fn shell(script: &str) -> Exec {
    // A script that was just written could be "text busy": another test's child may still hold it open for writing.
    Exec { command: ["/bin/sh", "-c", script].map(str::to_owned).into(), dynamic: false }
}

async fn ran(script: &str) -> Result<Answer, Failure> {
    asked(&Probe::Exec(shell(script))).await
}

#[tokio::test]
async fn an_exit_code_of_zero_is_well() {
    assert_eq!(ran("exit 0").await, Ok(Answer::default()));
    let said = Answer { advice: None, said: Some("all \\u{1b}well".to_owned()) };
    assert_eq!(ran("echo first; printf 'all \\033well\\n'; exit 0").await, Ok(said));
}

#[tokio::test]
async fn other_exit_codes_say_why_or_what_weight() {
    assert_eq!(words(ran("exit 1").await), "command /bin/sh exited with 1");
    assert_eq!(words(ran("echo out; exit 1").await), "command /bin/sh exited with 1: \"out\"");
    let script = "echo out; echo 'first' >&2; printf 'disk \\033[1mfull\\n\\n' >&2; exit 3";
    assert_eq!(words(ran(script).await), "command /bin/sh exited with 3: \"disk \\u{1b}[1mfull\"");
    for (code, weight) in [(2, 0), (3, 1), (255, 253)] {
        let dynamic = Exec { dynamic: true, ..shell(&format!("exit {code}")) };
        let expected = Answer { advice: Some(Advice::Weight(weight)), said: None };
        assert_eq!(asked(&Probe::Exec(dynamic)).await, Ok(expected));
    }
    let dynamic = Exec { dynamic: true, ..shell("exit 1") };
    assert_eq!(words(asked(&Probe::Exec(dynamic)).await), "command /bin/sh exited with 1");
    assert_eq!(
        words(ran("echo dying >&2; kill -SEGV $$").await),
        "command /bin/sh was killed by SIGSEGV: \"dying\""
    );
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_told() {
    let run = |command: &str| {
        let exec = Exec { command: vec![command.to_owned()], dynamic: false };
        async move { asked(&Probe::Exec(exec)).await }
    };
    let told =
        "command /nonexistent/check not found: it, or the interpreter in its first line, does not exist";
    let found = run("/nonexistent/check").await;
    assert!(found.as_ref().is_err_and(Failure::is_local));
    assert_eq!(words(found), told);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("check");
    fs::write(&file, "#!/bin/sh\n").expect("a file");
    let file = file.to_str().expect("a path");
    let told = format!("start command {file}: Permission denied (os error 13); make it executable");
    assert_eq!(words(run(file).await), told);
    let empty = Exec { command: Vec::new(), dynamic: false };
    let missing = ExecFailure::Missing { command: String::new() };
    assert_eq!(asked(&Probe::Exec(empty)).await, Err(missing.into()));
}

#[tokio::test]
async fn a_command_knows_whom_it_checks_and_has_no_input() {
    let said = ran("read line || echo \"$LB_REAL_SERVER ${LB_VIP-none} ${NOTIFY_SOCKET-none}\"").await;
    assert_eq!(said.expect("well").said.as_deref(), Some("127.0.0.1 none none"));
}

#[tokio::test]
async fn a_megabyte_of_complaints_is_read_and_forgotten() {
    let script =
        "i=0; while [ $i -lt 1024 ]; do printf '%01024d\\n' $i >&2; i=$((i+1)); done; echo last >&2; exit 3";
    assert_eq!(words(ran(script).await), "command /bin/sh exited with 3: \"last\"");
}

/// Two processes that ignore SIGTERM and would stay for an hour, and their numbers.
fn stubborn(file: &FilePath) -> String {
    // Both write when they ignore it; the file is complete as soon as it has its name.
    format!(
        "trap '' TERM; sleep 3600 & child=$!; echo \"$$ $child\" > {0}.new; mv {0}.new {0}; wait; sleep 3600",
        file.display()
    )
}

async fn numbers(file: &FilePath) -> Vec<Pid> {
    loop {
        if let Ok(text) = fs::read_to_string(file) {
            return text
                .split_whitespace()
                .map(|pid| Pid::from_raw(pid.parse().expect("a number")))
                .collect();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until all are gone: reaped, too, if they were children of this process.
async fn gone(pids: &[Pid]) {
    for &pid in pids {
        while is_alive(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Those of others are zombies for as long as whoever adopts them, in a container perhaps nobody, does not reap them.
fn is_alive(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let is_ours = status.contains(&format!("PPid:\t{}\n", std::process::id()));
    kill(pid, None) != Err(Errno::ESRCH) && (is_ours || !status.contains("State:\tZ"))
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_its_children() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pids");
    let found = probe(&Probe::Exec(shell(&stubborn(&file))), &direct(V4), limits(3000)).await;
    assert_eq!(words(found), "the command did not end within 3s");
    let pids = numbers(&file).await;
    assert_eq!(pids.len(), 2);
    gone(&pids).await;
}

#[tokio::test]
async fn a_dropped_probe_kills_its_command_with_its_children() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pids");
    let asked = Probe::Exec(shell(&stubborn(&file)));
    let path = direct(V4);
    let pids = tokio::select! {
        found = probe(&asked, &path, PATIENT) => panic!("it does not end: {found:?}"),
        pids = numbers(&file) => pids,
    };
    assert_eq!(pids.len(), 2);
    gone(&pids).await;
}

#[tokio::test]
async fn a_command_that_has_ended_is_not_waited_for_because_of_its_children() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pids");
    let script = format!("sleep 3600 & echo $! > {}; echo done", file.display());
    let said = ran(&script).await.expect("well").said;
    assert_eq!(said.as_deref(), Some("done"));
    gone(&numbers(&file).await).await;
}

#[tokio::test]
async fn ended_commands_are_reaped() {
    let said = ran("echo $$").await.expect("well").said.expect("its number");
    gone(&[Pid::from_raw(said.parse().expect("a number"))]).await;
}
