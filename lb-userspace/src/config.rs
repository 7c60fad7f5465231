//! The configuration file: TOML to a [`Config`] that holds valid states only, or to everything that is wrong
//! with it.
//!
//! ```text
//! text ──> toml ──> reader (typed values, unknown keys) ──> draft ──> validate (the sections together) ──> model
//!            └──────────┴──── diagnostics: code, place, message, help ────┴──> rendered, in the file's order
//! ```
//!
//! serde's derive stops at the first error, so the document is walked here: each value is read on its own, and
//! what one of them reports keeps no other from being looked at. A function that could not read its value
//! returns `Reported`, which only reporting an error makes: nothing fails in silence.

mod acl;
mod address;
mod check;
mod contract;
mod diagnostic;
mod director;
mod draft;
mod health;
mod host;
mod http;
mod instance;
mod machine;
mod mail;
mod model;
mod probe;
mod reaction;
mod reader;
mod report;
mod scheduler;
mod secret;
mod source;
mod suggest;
mod sync;
mod syntax;
mod validate;
mod value;
mod vrrp;

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

pub use diagnostic::{Code, Diagnostic, Diagnostics, Label, Severity};
pub(crate) use draft::default_name;
pub use health::{
    Body, Dns, Exec, Flap, HealthCheck, Http, Mail, Pattern, Probe, Quorum, SharedCheck, Smtp, Target, Tcp,
    Tls, Udp,
};
pub use machine::{Machine, check_files, check_machine};
pub use model::{
    Acl, Config, Director, OnExit, Peer, Persistence, Protocol, RealServer, Timeouts, VirtualServer,
    VlanOffload, XdpMode,
};
pub use secret::{MAKE_SECRET, SecretError, read_secret, read_typed_secret};
pub use source::{Located, Span};
pub(crate) use suggest::nearest;
pub use sync::{SYNC_KEY, Sync};
pub(crate) use value::duration;
pub use vrrp::{InterfaceAddress, Password, TrackScript, VrrpInstance, VrrpSyncGroup, VrrpVersion};

use crate::forms::VirtualAddress;
use machine::Need;
use report::{Report, Reported};
use toml::de::DeTable;

/// A valid configuration, and what its author should know nevertheless.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What the file says, with the defaults filled in.
    pub config: Config,
    /// Warnings only; possibly none.
    pub warnings: Diagnostics,
    /// What the file says, word for word.
    pub text: Arc<str>,
    /// What it names that the machine has to have, and where; [`check_machine`] looks.
    needs: Vec<(Need, Located<String>)>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read at all.
    #[error("read configuration {}: {cause}{}", path.display(), remedy(cause))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The file is not a valid configuration; displayed, this is the whole list.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// Reads and checks a configuration file. What depends on the machine is left to [`check_machine`].
///
/// # Errors
///
/// The file cannot be read, or anything in it is wrong.
pub fn load(path: &Path) -> Result<Checked, LoadError> {
    let bytes = read_file(path).map_err(|cause| LoadError::Read { path: path.to_owned(), cause })?;
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(parse(&name, &text)?),
        Err(error) => Err(LoadError::Invalid(syntax::not_utf8(&name, &error))),
    }
}

/// More than the largest configuration that the limits on its content allow.
const MAX_BYTES: u64 = 64 << 20;

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let too_large = format!("it has more than {} MiB: is it a configuration file?", MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, too_large));
    }
    Ok(bytes)
}

/// Checks the text of a configuration file. `file_name` is what diagnostics call it.
///
/// # Errors
///
/// All that is wrong with the text, warnings among it, in the order of the file.
pub fn parse(file_name: &str, text: &str) -> Result<Checked, Diagnostics> {
    let report = Report::new(file_name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let config = syntax::check(&errors, &report).and_then(|()| read(document.get_ref(), &report));
    let (diagnostics, needs) = report.finish();
    match config {
        Ok(config) if !diagnostics.has_errors() => {
            Ok(Checked { config, warnings: diagnostics, text: text.into(), needs })
        }
        _ => Err(diagnostics),
    }
}

/// An address of a virtual server as the file has it; none if that is not what it is.
#[must_use]
pub fn virtual_address(text: &str) -> Option<VirtualAddress> {
    let report = Report::new("", text);
    address::virtual_address(&reader::Text::alone(text, &report)).ok().map(|address| address.value)
}

/// A real server's address as the file has it, without the port that may stand behind it.
#[must_use]
pub fn real_server_address(text: &str) -> Option<IpAddr> {
    let report = Report::new("", text);
    address::real_server(&reader::Text::alone(text, &report)).ok().map(|server| server.address.value)
}

/// Whether Linux gives an interface such a name.
#[must_use]
pub fn is_interface_name(text: &str) -> bool {
    let report = Report::new("", text);
    value::interface_name(&reader::Text::alone(text, &report)).is_ok()
}

fn read<'a>(document: &'a DeTable<'a>, report: &'a Report) -> Result<Config, Reported> {
    let file = reader::Table::root(document, report);
    let director = director::director(&file);
    let timeouts = director::timeouts(&file);
    let acl = acl::of_all(&file);
    let mail = mail::mail(&file);
    let sync = sync::sync(&file);
    let (instances, virtual_servers) = (instance::instances(&file), draft::virtual_servers(&file));
    instance::have_vips(&instances, &virtual_servers, report);
    let routers = instance::fits_together(instances, instance::groups(&file), report);
    let virtual_servers = validate::virtual_servers(virtual_servers, acl.as_ref().ok(), report);
    let acl = acl.and_then(acl::AclDraft::finish);
    let virtual_servers = virtual_servers?;
    let (vrrp_instances, vrrp_sync_groups) = routers?;
    Ok(Config {
        director: director?,
        timeouts: timeouts?,
        acl: acl?,
        mail: mail?,
        sync: sync?,
        virtual_servers,
        vrrp_instances,
        vrrp_sync_groups,
    })
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; create it, or name another one with --config",
        io::ErrorKind::PermissionDenied => "; run lb as root, or make the file readable for this user",
        io::ErrorKind::IsADirectory => "; name a file in it with --config",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
