//! The front for those who know ipvsadm: its grammar, its listings, its words and exit codes, in front of the daemon.
//!
//! ```text
//!   words ── options ──> request ──┬── changes ──> daemon          what is refused: in IPVS's words
//!   (popt's way)  (grammar, value) ├── listing, connections <── daemon
//!   -R: a line of standard input ──┘── save
//! ```
//!
//! What is matched is ipvsadm 1.31 (`ipvsadm.c`, `libipvs.c`) on Linux 6.1; where a comment names a function, it is one
//! of these. Differences are listed in the README.

mod arguments;
mod changes;
mod connections;
mod daemon;
mod foresight;
mod grammar;
mod listing;
mod options;
mod request;
mod save;
mod session;
mod usage;
mod value;

use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::names::{Resolver, System};
use daemon::Remote;
use session::Session;

pub(crate) use listing::{persistent, with_flags};
pub(crate) use request::{Request, Server, Service, Terms};

/// Exit codes: of ipvsadm 1.31, but for a daemon that is not there.
const DONE: u8 = 0;
/// What was asked for does not exist, or not yet (`exit(1)`).
const FAILED: u8 = 1;
/// The command line makes no sense (`fail(2)`).
const USAGE: u8 = 2;
/// Nobody does what is asked; the same for every command of lb.
const NOT_RUNNING: u8 = 3;
/// It was refused (`return -1`).
const REFUSED: u8 = 255;

/// The program that somebody believes to have called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ipvsadm`.
    Ipvsadm,
    /// `ipvsadm-save`: `ipvsadm -S`.
    Save,
    /// `ipvsadm-restore`: `ipvsadm -C`, then `ipvsadm -R`.
    Restore,
}

impl Program {
    /// The program with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "ipvsadm" => Some(Self::Ipvsadm),
            "ipvsadm-save" => Some(Self::Save),
            "ipvsadm-restore" => Some(Self::Restore),
            _ => None,
        }
    }
}

/// Does what `words` ask for, through the daemon behind `socket`; `name` is what the program is called. Returns the
/// exit code.
#[must_use]
pub fn run(program: Program, name: &str, words: &[String], socket: &Path) -> u8 {
    let mut daemon = match Remote::new(socket) {
        Ok(daemon) => daemon,
        Err(complaint) => return complaint.report(&mut io::stderr()),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut err = io::stderr();
    let mut session = Session::new(name, &mut daemon, &System, &mut out, &mut err);
    let code = match program {
        Program::Ipvsadm => session.run(words, &mut io::stdin().lock()),
        Program::Save => session.save(words),
        Program::Restore => session.restore_anew(&mut io::stdin().lock()),
    };
    match out.flush() {
        // A reader that has gone away (`ipvsadm -L | head`) is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Complaint::output(&error).report(&mut err),
        _ => code,
    }
}

/// What the words behind the program's name ask for.
///
/// # Errors
/// What is wrong with them, in ipvsadm's words.
pub(crate) fn request(words: &[String], resolver: &dyn Resolver) -> Result<Request, String> {
    request::parse("ipvsadm", words, resolver).map_err(|complaint| complaint.message)
}

/// What is wrong, in words, and the exit code that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Complaint {
    code: u8,
    message: String,
    /// Whether ipvsadm exits at once, even in the middle of `-R`.
    is_final: bool,
}

impl Complaint {
    /// The command line makes no sense.
    fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into(), is_final: true }
    }

    /// The command line has no command.
    fn try_help(program: &str) -> Self {
        let message = format!("Try `{program} -h' or '{program} --help' for more information.");
        Self { code: REFUSED, message, is_final: true }
    }

    /// What one line asks for was refused.
    fn failed(message: impl Into<String>) -> Self {
        Self { code: REFUSED, message: message.into(), is_final: false }
    }

    /// It cannot go on.
    fn fatal(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), is_final: true }
    }

    fn output(error: &io::Error) -> Self {
        Self::fatal(FAILED, format!("write to standard output: {error}"))
    }

    /// Says it; returns its exit code.
    fn report(&self, err: &mut dyn io::Write) -> u8 {
        // Where nobody reads it there is nobody to tell.
        let _ = err.write_all(format!("{}\n", self.message).as_bytes());
        self.code
    }
}

impl From<String> for Complaint {
    fn from(message: String) -> Self {
        Self::usage(message)
    }
}

#[cfg(test)]
mod tests;
