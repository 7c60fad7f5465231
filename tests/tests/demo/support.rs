//! Starting the demo, and seeing what is left of it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use lb_lab::traces;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_demo");
/// Enough for everything that happens soon, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The demo, ready to be run without a terminal.
pub(crate) fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    // What the tests' caller wants for itself.
    command.args(arguments).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("SUDO_UID");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A demo that is running. It is asked to end when dropped.
pub(crate) struct Running {
    child: Option<Child>,
    output: Option<BufReader<ChildStdout>>,
    text: String,
    /// What all its labs' names begin with.
    pub(crate) prefix: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> std::io::Result<Self> {
        let mut child = command.spawn()?;
        let prefix = format!("{}-", child.id());
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child: Some(child), output, text: String::new(), prefix })
    }

    /// Reads its output until a line that begins like this.
    pub(crate) fn read_until(&mut self, beginning: &str) -> std::io::Result<()> {
        let output = self.output.as_mut().expect("it has an output until it has ended");
        loop {
            let start = self.text.len();
            if output.read_line(&mut self.text)? == 0 {
                panic!("no line begins with {beginning:?} in:\n{}", self.text);
            }
            if self.text[start..].starts_with(beginning) {
                return Ok(());
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> nix::Result<()> {
        let id = self.child.as_ref().map_or(0, Child::id);
        if id == 0 { Ok(()) } else { kill(Pid::from_raw(id.cast_signed()), signal) }
    }

    /// Waits for its end; what it wrote is complete.
    pub(crate) fn finish(mut self) -> std::io::Result<Output> {
        if let Some(mut output) = self.output.take() {
            output.read_to_string(&mut self.text)?;
        }
        let child = self.child.take().expect("it ends once");
        let mut output = child.wait_with_output()?;
        output.stdout = std::mem::take(&mut self.text).into_bytes();
        Ok(output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.signal(Signal::SIGTERM).is_ok()
            && let Some(mut child) = self.child.take()
        {
            _ = child.wait();
        }
    }
}

/// What a demo has written to its standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the demo writes UTF-8")
}

/// What a demo has written to its standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// That nothing bears the names of these labs any more.
#[track_caller]
pub(crate) fn expect_no_traces(prefix: &str) {
    assert_eq!(traces(prefix), [""; 0]);
}

/// The demo's file, for what needs a path.
pub(crate) fn program() -> &'static Path {
    Path::new(PROGRAM)
}
