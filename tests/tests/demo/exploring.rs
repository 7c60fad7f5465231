//! `--keep`: everything that it says can be typed does what it says.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use lb_lab::{TestResult, labs, try_wait_until};

use crate::support::{PATIENCE, Running, demo, expect_no_traces, stderr, stdout};

#[test]
fn every_command_that_a_kept_lab_prints_works_and_the_last_removes_it() -> TestResult {
    let running = Running::start(demo(&["--keep", "--seconds", "1"]))?;
    let prefix = running.prefix.clone();
    let kept = Kept(prefix.clone());
    let output = running.finish()?;
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    assert!(text.contains("stays: explore it"), "{text}");

    let commands = commands(&text);
    let [request, list, watch, capture, down, up, config, remove] = &commands[..] else {
        panic!("another number of commands than 8: {commands:#?}")
    };
    let answer = typed(request)?;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("X-Real-Server: rs"), "{answer}");
    assert!(typed(list)?.contains("10.99.0.103:80 rr"), "{}", typed(list)?);
    assert!(typed(config)?.contains("[[virtual_server.real_server]]"));

    let mut watching = Typed::start(watch)?;
    watching.read_until("pass_not_for_us")?;
    drop(watching);

    let mut capturing = Typed::start(capture)?;
    capturing.read_until("listening on eth0")?;
    try_wait_until("six frames have come", PATIENCE, || {
        typed(request).is_ok() && matches!(capturing.child.try_wait(), Ok(Some(_)))
    })?;
    capturing.read_until("10.99.0.103.80")?;

    let unresolved = || typed(list).is_ok_and(|list| list.contains("unresolved"));
    typed(down)?;
    try_wait_until("the real server is unresolved", PATIENCE, unresolved)?;
    typed(up)?;
    try_wait_until("the real server is back", PATIENCE, || !unresolved())?;

    let said = typed(remove)?;
    assert!(said.starts_with(&format!("Lab {prefix}")) && said.ends_with(" is removed.\n"), "{said}");
    expect_no_traces(&prefix);
    drop(kept);
    Ok(())
}

/// What is printed to be typed: indented by six, or by eight where a command goes on.
fn commands(text: &str) -> Vec<String> {
    let (_, commands) = text.split_once("stays:").expect("a lab that stays");
    let lines = commands.lines().filter_map(|line| line.strip_prefix("      "));
    let mut commands: Vec<String> = Vec::new();
    for line in lines {
        match commands.last_mut() {
            Some(last) if last.ends_with('\\') => *last += &format!("\n{line}"),
            _ => commands.push(line.to_owned()),
        }
    }
    commands
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    shell
}

/// The output of a command that must succeed.
fn typed(command: &str) -> std::io::Result<String> {
    let output = shell(command).output()?;
    assert!(output.status.success(), "{command}: {}", stderr(&output));
    Ok(stdout(&output))
}

/// A command that runs on, in a process group of its own; all of it is ended when dropped.
struct Typed {
    child: Child,
    output: ChildStdout,
}

impl Typed {
    fn start(command: &str) -> std::io::Result<Self> {
        let mut bounded = Command::new("timeout");
        let command = format!("exec 2>&1; {command}");
        bounded.arg(PATIENCE.as_secs().to_string()).args(["sh", "-c", &command]).env("TERM", "xterm");
        let mut child = bounded.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().expect("its output is a pipe");
        Ok(Self { child, output })
    }

    fn read_until(&mut self, part: &str) -> std::io::Result<()> {
        // Not by lines: a program that fills a screen writes none.
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while !seen.contains(part) {
            let length = self.output.read(&mut buffer)?;
            assert!(length > 0, "{part:?} is not in {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        Ok(())
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        if matches!(self.child.try_wait(), Ok(None)) {
            _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            _ = self.child.wait();
        }
    }
}

/// Removes the labs of a process that a failed test leaves.
struct Kept(String);

impl Drop for Kept {
    fn drop(&mut self) {
        for (id, _) in labs().into_iter().filter(|(id, _)| id.starts_with(&self.0)) {
            _ = lb_lab::remove(&id);
        }
    }
}
