//! What the kernel can do for the data plane, and which programs are attached: looked at from outside, without taking
//! anything over.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkInfo, LinkType, PinnedLink};
use aya::programs::{ProgramType, loaded_links, loaded_programs};
use aya::sys::{BpfHelper, is_helper_supported};

use super::attach::pin;
use super::error::chain;
use super::layout::READABLE;
use super::upgrade::layouts;

/// Whether programs may call `bpf_loop` (Linux 5.17).
///
/// # Errors
/// The caller may not load programs.
pub fn has_bpf_loop() -> io::Result<bool> {
    let supported = is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_loop);
    supported.map_err(|error| io::Error::other(chain(&error)))
}

/// The kernel's id of the program that a daemon with this `director.bpffs` has attached to the interface `index`; none if
/// it has attached none.
///
/// # Errors
/// The caller may not look at what is pinned.
pub fn own_program(bpffs: &Path, index: u32) -> io::Result<Option<u32>> {
    let layouts = match layouts(bpffs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        layouts => layouts?,
    };
    for (_, directory) in layouts {
        let pin = pin(&directory, index);
        if pin.try_exists()? {
            let link = PinnedLink::from_pin(pin).map(FdLink::from);
            let info = link.and_then(|link| link.info());
            return Ok(Some(info.map_err(|error| io::Error::other(chain(&error)))?.program_id()));
        }
    }
    Ok(None)
}

/// Directories of layouts of maps below a `director.bpffs` that this version does not read: connections in them are lost
/// when it takes over.
#[must_use]
pub fn unreadable_layouts(bpffs: &Path) -> Vec<PathBuf> {
    let layouts = layouts(bpffs).unwrap_or_default().into_iter();
    layouts.filter(|(version, _)| !READABLE.contains(version)).map(|(_, directory)| directory).collect()
}

/// An XDP program in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's id of it.
    pub id: u32,
    /// Its name; none if the kernel does not tell.
    pub name: Option<String>,
    /// The links that attach it to the interface: one, or none if it was attached without. More, if links of other
    /// network namespaces cannot be told apart from it.
    pub links: Vec<u32>,
}

/// The XDP program with this id, which is attached to the interface `index`. Without the right to ask
/// (`CAP_SYS_ADMIN`), only the id.
#[must_use]
pub fn xdp_program(id: u32, index: u32) -> XdpProgram {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let name = programs.find(|program| program.id() == id);
    let name = name.and_then(|program| Some(program.name_as_str()?.to_owned()));
    let is_its =
        |link: &LinkInfo| link.program_id() == id && link.link_type().is_ok_and(|kind| kind == LinkType::Xdp);
    let links = loaded_links().filter_map(Result::ok).filter(is_its).map(|link| link.id());
    // One whose interface is not told may be it.
    let links = links.filter(|link| interface_of(*link).is_none_or(|found| found == index));
    XdpProgram { id, name, links: links.collect() }
}

/// The interface that an XDP link attaches its program to, by its index in the network namespace where that is.
fn interface_of(link: u32) -> Option<u32> {
    /// `BPF_LINK_GET_FD_BY_ID` (linux/bpf.h); the id is the first field of `union bpf_attr` then, and the kernel takes
    /// what is not given for zeros (`bpf_check_uarg_tail_zero`).
    const GET_FD: libc::c_int = 30;
    let attributes = [link, 0, 0, 0];
    // SAFETY: the call reads this many bytes of an array that lives during the call, and writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, GET_FD, attributes.as_ptr(), size_of_val(&attributes)) };
    let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // The crate's own information about links has no interface; `bpf_xdp_link_show_fdinfo` in net/core/dev.c has.
    let shown = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    shown.lines().find_map(|line| line.strip_prefix("ifindex:"))?.trim().parse().ok()
}
