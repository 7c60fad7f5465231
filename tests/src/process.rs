//! A program that runs beside the test, with a log that can be waited on.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, Error, Result};
use crate::wait::try_wait_until;

/// Time for a program to end after SIGTERM.
const TIME_TO_STOP: Duration = Duration::from_secs(5);
/// Lines of a log that are shown when a test fails.
const LAST_LINES: usize = 40;

/// A program that runs beside the test.
///
/// It is killed and reaped when dropped; the end of its log is printed if the test is panicking.
pub struct Process {
    /// `None` once it has been left alone.
    child: Option<Child>,
    command: String,
    host: String,
    log: Option<PathBuf>,
}

impl Process {
    pub(crate) fn new(child: Child, command: String, host: String, log: Option<PathBuf>) -> Self {
        Self { child: Some(child), command, host, log }
    }

    /// The program and its arguments.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its standard output and standard error until now.
    pub fn log(&self) -> String {
        let bytes = self.log.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The log's length now: where [`wait_for_line_after`](Self::wait_for_line_after) is to begin.
    pub fn mark(&self) -> usize {
        self.log().len()
    }

    /// Waits for a line of the log that contains `pattern`, and returns it.
    pub fn wait_for_line(&mut self, pattern: &str, timeout: Duration) -> Result<String> {
        self.wait_for_line_after(0, pattern, timeout)
    }

    /// Waits for a line after a [`mark`](Self::mark) that contains `pattern`, and returns it.
    pub fn wait_for_line_after(&mut self, mark: usize, pattern: &str, timeout: Duration) -> Result<String> {
        let what = format!("`{}` on {} writes a line with {pattern:?}", self.command, self.host);
        // Outer error: waiting longer makes no sense.
        try_wait_until(&what, timeout, || {
            // In this order, or the last line of a program that ends could be missed.
            let ended = self.exit_status();
            let log = self.log();
            let line = log.get(mark..).unwrap_or_default().lines().find(|line| line.contains(pattern));
            match (line, ended) {
                (Some(line), _) => Ok(Ok(line.to_owned())),
                (None, Some(status)) => Ok(Err(self.failed(&status.to_string()))),
                (None, None) => Err(format!("its log ends with:\n{}", last_lines(&log))),
            }
        })?
    }

    /// How it ended, or nothing while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Waits for the end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("`{}` on {} ends", self.command, self.host);
        try_wait_until(&what, timeout, || {
            self.exit_status().ok_or_else(|| format!("its log ends with:\n{}", last_lines(&self.log())))
        })
    }

    /// Sends a signal. A process that has ended gets none.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exit_status().is_some() || self.child.is_none() {
            return Ok(());
        }
        let id = Pid::from_raw(self.id().cast_signed());
        kill(id, signal).doing(|| format!("send {signal} to `{}` on {}", self.command, self.host))
    }

    /// Asks it to end with SIGTERM, and waits up to 5 s for that.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(TIME_TO_STOP)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        let doing = || format!("kill `{}` on {}", self.command, self.host);
        let Some(child) = &mut self.child else { return Ok(ExitStatus::from_raw(0)) };
        child.kill().doing(doing)?;
        child.wait().doing(doing)
    }

    /// Lets it run on when the handle is dropped: for a lab that is kept.
    pub fn leave_running(mut self) {
        self.child = None;
    }

    /// The error of a process that should still be running.
    pub(crate) fn failed(&self, status: &str) -> Error {
        Error::Command {
            command: self.command.clone(),
            host: self.host.clone(),
            status: status.into(),
            output: last_lines(&self.log()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() && self.log.is_some() {
            let log = self.log();
            if !log.is_empty() {
                eprintln!("--- `{}` on {} wrote last:\n{}", self.command, self.host, last_lines(&log));
            }
        }
        // Nothing can be done about a failure here; what is left is killed with the lab.
        _ = self.kill();
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
