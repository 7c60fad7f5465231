//! What a command says of a real server.
//!
//! It runs in a process group of its own, which is killed when time is up or the probe is dropped: a script's `sleep`
//! must not outlive it. Who leaves the group (setsid(1)) leaves on purpose. When the command has ended while children
//! of it still hold its output, they are killed too. The number of a group cannot have been given to somebody else
//! while it has a member: either the command itself, which is not reaped yet, or those children.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join;
use nix::sys::signal::Signal;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::text::{last_line, plain, quoted};
use super::{Advice, Answer, Attempt, Failure};
use crate::config::Exec;
use crate::process::{self, Group};

/// How much of the end of its output is remembered, in bytes.
const REMEMBERED: usize = 4096;
/// How long it may take to read what a command had written when it ended.
const GRACE: Duration = Duration::from_millis(100);

/// A command did not say that it is well.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExecFailure {
    /// There is no such file, or none that runs it.
    #[error("command {command} not found: it, or the interpreter in its first line, does not exist")]
    Missing {
        /// Its path.
        command: String,
    },
    /// It could not be started.
    #[error("start command {command}: {cause}{}", remedy(.cause))]
    Start {
        /// Its path.
        command: String,
        /// What the kernel said.
        cause: String,
    },
    /// It said no.
    #[error("command {command} exited with {code}{}", after_colon(.said))]
    Exit {
        /// Its path.
        command: String,
        /// The exit code.
        code: i32,
        /// The last line it said, on stderr, else on stdout.
        said: String,
    },
    /// It was killed by somebody else.
    #[error("command {command} was killed by {signal}{}", after_colon(.said))]
    Killed {
        /// Its path.
        command: String,
        /// "SIGSEGV".
        signal: String,
        /// The last line it said, on stderr, else on stdout.
        said: String,
    },
}

fn remedy(cause: &str) -> &'static str {
    if cause.starts_with("Permission denied") { "; make it executable" } else { "" }
}

fn after_colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

pub(super) async fn ask(exec: &Exec, attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    attempt.awaits("the command did not end");
    let Some((program, arguments)) = exec.command.split_first() else {
        return Err(ExecFailure::Missing { command: String::new() }.into());
    };
    let command = plain(program.as_bytes());
    // The group is dropped before the child, which is reaped by whoever runs this.
    let (mut child, mut group) = match spawn(program, arguments, attempt) {
        Ok(spawned) => spawned,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ExecFailure::Missing { command }.into());
        }
        Err(error) => return Err(ExecFailure::Start { command, cause: error.to_string() }.into()),
    };
    let (mut output, mut complaints) = (Tail::default(), Tail::default());
    let waited = {
        let pipes = (child.stdout.take(), child.stderr.take());
        let read = async { join(output.read(pipes.0), complaints.read(pipes.1)).await };
        ended(&mut child, read, &mut group).await
    };
    let status =
        waited.map_err(|error| ExecFailure::Start { command: command.clone(), cause: error.to_string() })?;
    let said =
        [&complaints, &output].map(|tail| last_line(&tail.0)).into_iter().find(|line| !line.is_empty());
    let said = said.map(quoted).unwrap_or_default();
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(answer(None, &output)),
        (Some(code @ 2..), _) if exec.dynamic => {
            Ok(answer(u32::try_from(code - 2).ok().map(Advice::Weight), &output))
        }
        (Some(code), _) => Err(ExecFailure::Exit { command, code, said }.into()),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            let signal = Signal::try_from(signal)
                .map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string());
            Err(ExecFailure::Killed { command, signal, said }.into())
        }
    }
}

fn answer(advice: Option<Advice>, output: &Tail) -> Answer {
    let said = last_line(&output.0);
    Answer { advice, said: (!said.is_empty()).then(|| plain(said)) }
}

fn spawn(program: &str, arguments: &[String], attempt: &Attempt<'_>) -> io::Result<(Child, Group)> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("LB_REAL_SERVER", attempt.path.server().to_string());
    match attempt.path.vip() {
        Some(vip) => command.env("LB_VIP", vip.to_string()),
        None => command.env_remove("LB_VIP"),
    };
    process::spawn(&mut command)
}

/// Waits for the command's end, reading so that it never waits for room in a pipe.
async fn ended(child: &mut Child, read: impl Future, group: &mut Group) -> io::Result<ExitStatus> {
    let mut read = std::pin::pin!(read);
    let status = tokio::select! {
        status = child.wait() => Some(status?),
        _ = &mut read => None,
    };
    if let Some(status) = status {
        if timeout(GRACE, &mut read).await.is_ok() {
            group.release();
        }
        return Ok(status);
    }
    let status = child.wait().await?;
    group.release();
    Ok(status)
}

/// The end of what was written to a pipe.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        while let Ok(1..) = pipe.read_buf(&mut self.0).await {
            if self.0.len() > 2 * REMEMBERED {
                self.0.drain(..self.0.len() - REMEMBERED);
            }
        }
    }
}
