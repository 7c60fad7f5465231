//! What is right on one machine and wrong on another: looked at when the daemon starts, and by `lb check` as a
//! warning, because a configuration may be written elsewhere.

use std::fs;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Checked;
use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use super::secret::{MAKE_SECRET, SecretError, read_secret, read_typed_secret};
use super::source::Located;
use super::suggest::quoted;

/// What this machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The names of its network interfaces.
    pub interfaces: Vec<String>,
}

/// What the file names for the machine to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A file that can be run.
    Program,
    /// A file that can be read.
    File,
    /// An address of its own.
    Address,
    /// A network interface.
    Interface,
    /// A file with a secret of this machine.
    Secret,
    /// A file with a secret that several machines have in common.
    SharedSecret,
}

/// What depends on the machine: a warning in `lb check`, an error in `lb run`.
#[must_use]
pub fn check_machine(checked: &Checked, machine: &Machine, severity: Severity) -> Diagnostics {
    let exists = |name: &str| machine.interfaces.iter().any(|existing| existing == name);
    let is_interface = |need: &&(Need, Located<String>)| need.0 == Need::Interface;
    let needed = checked.needs.iter().filter(is_interface).map(|(_, interface)| interface);
    let all = checked.config.director.interfaces.iter().chain(needed);
    let missing = all.filter(|interface| !exists(interface));
    let diagnostics = missing.map(|interface| {
        let message = format!("this machine has no interface {}", quoted(interface));
        let diagnostic = Diagnostic::new(Code::NoSuchInterface, &interface.span, message);
        Diagnostic { severity, ..diagnostic.help(existing(machine)) }
    });
    Diagnostics::new(diagnostics.collect()).merge(check_files(checked, severity))
}

/// Programs, files and addresses that the file names and this machine does not have; what of the machine a reload can
/// be wrong about. Looks at the file system.
#[must_use]
pub fn check_files(checked: &Checked, severity: Severity) -> Diagnostics {
    let missing = checked.needs.iter().filter_map(|(need, what)| match need {
        Need::Program => file(what, runnable(Path::new(&what.value)), "a program"),
        Need::File => file(what, readable(Path::new(&what.value)), "a file to read"),
        Need::Address => address(what),
        Need::Interface => None,
        Need::Secret => secret(what, read_typed_secret, ""),
        Need::SharedSecret => secret(what, read_secret, ", the same on all directors"),
    });
    Diagnostics::new(missing.map(|diagnostic| Diagnostic { severity, ..diagnostic }).collect())
}

fn runnable(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| unusable(&error))?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("it is not executable".to_owned());
    }
    Ok(())
}

fn readable(path: &Path) -> Result<(), String> {
    let is_file = fs::metadata(path).map_err(|error| unusable(&error))?.is_file();
    if !is_file {
        return Err("it is not a file".to_owned());
    }
    fs::File::open(path).map(drop).map_err(|error| unusable(&error))
}

fn unusable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there".to_owned(),
        _ => error.to_string(),
    }
}

fn file(what: &Located<String>, found: Result<(), String>, kind: &str) -> Option<Diagnostic> {
    let problem = found.err()?;
    let message = format!("on this machine, {} is not {kind}: {problem}", quoted(what));
    let help = match problem.as_str() {
        "it is not executable" => format!("make it executable: chmod +x {}", what.value),
        _ => "create it, or write the path of another one".to_owned(),
    };
    Some(Diagnostic::new(Code::UnusableFile, &what.span, message).help(help))
}

fn secret(
    what: &Located<String>,
    read: fn(&Path) -> Result<Vec<u8>, SecretError>,
    which: &str,
) -> Option<Diagnostic> {
    let error = read(Path::new(&what.value)).err()?;
    let message = error.to_string();
    let create = format!("create it: {MAKE_SECRET}{which}, and chmod 600");
    // What has to be done stands behind what is wrong.
    let (message, help) = match message.split_once("; ").or_else(|| message.rsplit_once(": ")) {
        Some((message, help)) if !matches!(error, SecretError::Read { .. }) => (message, help),
        _ => (message.as_str(), create.as_str()),
    };
    Some(Diagnostic::new(Code::UnusableFile, &what.span, message).help(help))
}

/// Whether a socket can be bound to it is what counts.
fn address(what: &Located<String>) -> Option<Diagnostic> {
    let address: IpAddr = what.parse().ok()?;
    let error = UdpSocket::bind((address, 0)).err()?;
    (error.kind() == io::ErrorKind::AddrNotAvailable).then(|| {
        let message = format!("this machine has no address {address} to send probes from");
        let help = "write one that `ip address` shows, or leave `bind` out";
        Diagnostic::new(Code::NoSuchAddress, &what.span, message).help(help)
    })
}

/// Containers give a machine hundreds of them: the first are enough to see what they are called.
fn existing(machine: &Machine) -> String {
    const SHOWN: usize = 16;
    let mut names: Vec<&str> = machine.interfaces.iter().map(String::as_str).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "it has none at all".to_owned(),
        (false, 0) => format!("it has {}", names.join(", ")),
        (false, more) => format!("it has {} and {more} more", names.join(", ")),
    }
}
