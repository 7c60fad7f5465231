//! What can go wrong in a lab, in words that say what to do about it.

use std::fmt;
use std::io;
use std::time::Duration;

/// What can go wrong in a lab.
#[derive(thiserror::Error)]
pub enum Error {
    /// The process may not make namespaces.
    #[error("labs need root, to make network namespaces and attach XDP programs: run this under sudo")]
    NotRoot,
    /// An environment variable that names a file is missing.
    #[error("{variable} is not set: it names {names}. `cargo xtask test` and `demo` build that and set it")]
    NotSet {
        /// The variable.
        variable: &'static str,
        /// What it should name.
        names: &'static str,
    },
    /// The system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` on {host}: {status}\n{output}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// Where it ran.
        host: String,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// Something did not happen in time.
    #[error("{what}: not within {timeout:?}; {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        timeout: Duration,
        /// What was seen last.
        last: String,
    },
    /// An XDP program could not be loaded or attached.
    #[error("{doing}: {reason}")]
    Ebpf {
        /// What was being done, and to what.
        doing: String,
        /// Why it failed, with all causes.
        reason: String,
    },
    /// Frames came faster than a capture read them.
    #[error("the capture lost {0} frames: there was more traffic than it can read")]
    Lost(u32),
    /// An answer that is not HTTP, or not all of it.
    #[error("not a complete HTTP answer: {0:?}")]
    Http(String),
    /// The description of a lab makes no sense.
    #[error("{0}")]
    Description(String),
    /// A signal has arrived and all labs are being removed.
    #[error("interrupted: the labs are being removed")]
    Interrupted,
}

/// What most functions of a lab return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A test prints its error with `Debug`: show the sentence there too.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The error of a test that panics where it fails.
///
/// A test that returns [`TestResult`] panics at the `?` that met an error, while its lab still stands:
/// so the line is named, and the processes of the lab print their last lines.
pub enum Failure {}

/// What a test returns; see [`Failure`].
pub type TestResult = std::result::Result<(), Failure>;

impl fmt::Debug for Failure {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl<E: fmt::Display> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        panic!("{error}")
    }
}

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Adds what was being done.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: doing(), source: source.into() })
    }
}

/// An error with all its causes, for errors of libraries that print only themselves.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    text
}
