//! Attaching the program to an interface: natively, or by the generic hook where the driver has none.

use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode as KernelMode};
use aya::programs::{ProgramError, Xdp};
use nix::errno::Errno;

use super::error::{DataplaneError, RIGHTS, chain};
use crate::config::XdpMode;
use crate::net::{Link, XdpAttachment};

/// How the program was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// It took the place of the program of an earlier daemon; no frame was lost.
    Replaced,
    /// The driver runs it.
    Native,
    /// The network stack runs it.
    Generic {
        /// Why the driver does not; `None` if it was asked for so.
        because: Option<String>,
    },
}

/// Attaches `program` to `link`'s interface and pins the attachment below `directory`.
pub(super) fn attach(
    program: &mut Xdp,
    directory: &Path,
    link: &Link,
    mode: XdpMode,
) -> Result<Attached, DataplaneError> {
    let pin = pin(directory, link.index);
    if pin.exists() {
        if is_attached_as(link.xdp, mode) && replace(program, &pin, link)? {
            return Ok(Attached::Replaced);
        }
        // Attached in another way than is asked for now, or to an interface that is gone.
        unpin(&pin, link)?;
    }
    let attempt = |program: &mut Xdp, kernel_mode| attach_and_pin(program, &pin, link, kernel_mode);
    match mode {
        XdpMode::Native => {
            attempt(program, KernelMode::Driver).map_err(|cause| cause.into_error(link, mode))?;
            Ok(Attached::Native)
        }
        XdpMode::Generic => {
            attempt(program, KernelMode::Skb).map_err(|cause| cause.into_error(link, mode))?;
            Ok(Attached::Generic { because: None })
        }
        XdpMode::Auto => match attempt(program, KernelMode::Driver) {
            Ok(()) => Ok(Attached::Native),
            Err(cause) if cause.is_final() => Err(cause.into_error(link, mode)),
            Err(cause) => {
                attempt(program, KernelMode::Skb).map_err(|cause| cause.into_error(link, mode))?;
                Ok(Attached::Generic { because: Some(cause.reason) })
            }
        },
    }
}

const PIN: &str = "link-";

/// Where the attachment to the interface `index` is pinned.
pub(super) fn pin(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("{PIN}{index}"))
}

/// The indices of interfaces with a pinned attachment, some of which may be gone.
pub(super) fn attached(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix(PIN)?.parse().ok()).collect()
}

fn is_attached_as(found: Option<XdpAttachment>, mode: XdpMode) -> bool {
    match mode {
        XdpMode::Auto => true,
        XdpMode::Native => found == Some(XdpAttachment::Native),
        XdpMode::Generic => found == Some(XdpAttachment::Generic),
    }
}

/// Puts `program` in the place of the one that the pinned link runs. False if the link's interface is gone.
pub(super) fn replace(program: &mut Xdp, pin: &Path, link: &Link) -> Result<bool, DataplaneError> {
    let failed = |reason: String| DataplaneError::Attach { interface: link.name.clone(), reason };
    let pinned =
        PinnedLink::from_pin(pin).map_err(|error| failed(format!("open {}: {error}", pin.display())))?;
    let xdp_link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| failed(error.to_string()))?;
    match program.attach_to_link(xdp_link) {
        Ok(id) => {
            // The pin holds the link; or each time somebody traces there would be one more open file.
            drop(program.take_link(id));
            Ok(true)
        }
        Err(error) if errno(&error) == Some(Errno::ENOLINK) => Ok(false),
        Err(error) => Err(failed(format!("replace the program of {}: {}", pin.display(), chain(&error)))),
    }
}

fn unpin(pin: &Path, link: &Link) -> Result<(), DataplaneError> {
    fs::remove_file(pin).map_err(|error| DataplaneError::Attach {
        interface: link.name.clone(),
        reason: format!("remove {}: {error}", pin.display()),
    })
}

fn attach_and_pin(program: &mut Xdp, pin: &Path, link: &Link, mode: KernelMode) -> Result<(), Cause> {
    let id = program.attach_to_if_index(link.index, mode).map_err(|error| Cause::of(&error))?;
    let xdp_link = program.take_link(id).map_err(|error| Cause::of(&error))?;
    // A kernel without XDP links cannot keep the program attached when the daemon is gone.
    let fd_link =
        FdLink::try_from(xdp_link).map_err(|error| Cause { errno: None, reason: error.to_string() })?;
    fd_link
        .pin(pin)
        .map(|_| ())
        .map_err(|error| Cause { errno: None, reason: format!("pin {}: {}", pin.display(), chain(&error)) })
}

/// Why an attempt failed.
struct Cause {
    errno: Option<Errno>,
    reason: String,
}

impl Cause {
    fn of(error: &ProgramError) -> Self {
        Self { errno: errno(error), reason: chain(error) }
    }

    /// Whether the generic hook would fail as well.
    fn is_final(&self) -> bool {
        matches!(self.errno, Some(Errno::EBUSY | Errno::EEXIST | Errno::EPERM | Errno::ENODEV))
    }

    fn into_error(self, link: &Link, mode: XdpMode) -> DataplaneError {
        let name = &link.name;
        let help = match self.errno {
            Some(Errno::EBUSY | Errno::EEXIST) => format!(
                "another XDP program is attached; stop what attached it: `lb doctor --interface {name}` says which it is, and the command that detaches it"
            ),
            Some(Errno::EPERM | Errno::EACCES) => RIGHTS.to_owned(),
            _ if mode == XdpMode::Native => {
                "the driver has no native XDP for this configuration; set director.xdp_mode = \"auto\" or \"generic\", or look at the kernel's log for what the driver misses (often more queues; or a smaller MTU, if it has no multi-buffer XDP)".to_owned()
            }
            _ => "look at the kernel's log for the reason".to_owned(),
        };
        DataplaneError::Attach { interface: name.clone(), reason: format!("{}: {help}", self.reason) }
    }
}

fn errno(error: &ProgramError) -> Option<Errno> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.raw_os_error().map(Errno::from_raw);
        }
        source = error.source();
    }
    None
}
