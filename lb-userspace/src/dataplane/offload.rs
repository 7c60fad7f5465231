//! NICs that take the VLAN tag off a frame before a program sees it: the program would send the frame back without
//! one, into another VLAN.
//!
//! By ioctl: no crate for ethtool's netlink messages can change features yet.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::error::DataplaneError;
use super::memory::Memory;
use crate::net::Link;

/// Switches the removal of tags off, and remembers where in the settings, for the daemon that takes over.
#[derive(Clone, Debug)]
pub struct VlanOffload(Arc<Memory>);

impl VlanOffload {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self(memory)
    }

    /// Has the interfaces leave VLAN tags where they are.
    ///
    /// # Errors
    /// [`DataplaneError::VlanOffload`] for the first that does not do that.
    pub fn switch_off(&self, links: &[(u8, Link)]) -> Result<(), DataplaneError> {
        for (place, link) in links {
            let failed = |source| DataplaneError::VlanOffload { interface: link.name.clone(), source };
            if !removes_tags(link).map_err(failed)? {
                continue;
            }
            set_removal(link, false).map_err(failed)?;
            if removes_tags(link).map_err(failed)? {
                return Err(failed(io::ErrorKind::Unsupported.into()));
            }
            self.0.settings().interfaces[usize::from(*place)].vlan_offload_was_on.store(1);
            tracing::info!("{}: switched rx-vlan-offload off, so that XDP sees VLAN tags", link.name);
        }
        Ok(())
    }

    /// Switches it on again where it was switched off.
    pub fn restore(&self, links: &[(u8, Link)]) {
        for (place, link) in links {
            let was_on = &self.0.settings().interfaces[usize::from(*place)].vlan_offload_was_on;
            if was_on.load() == 0 {
                continue;
            }
            match set_removal(link, true) {
                Ok(()) => was_on.store(0),
                Err(error) => tracing::warn!("{}: switch rx-vlan-offload on again: {error}", link.name),
            }
        }
    }
}

/// `ETHTOOL_GFLAGS`, `ETHTOOL_SFLAGS` and `ETH_FLAG_RXVLAN` (linux/ethtool.h).
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const REMOVES_TAGS: u32 = 1 << 8;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

fn removes_tags(link: &Link) -> io::Result<bool> {
    match ethtool(link, GET_FLAGS, 0) {
        Ok(flags) => Ok(flags & REMOVES_TAGS != 0),
        // A driver without anything to switch removes nothing.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

fn set_removal(link: &Link, on: bool) -> io::Result<()> {
    let others = ethtool(link, GET_FLAGS, 0)? & !REMOVES_TAGS;
    ethtool(link, SET_FLAGS, if on { others | REMOVES_TAGS } else { others }).map(drop)
}

fn ethtool(link: &Link, command: u32, data: u32) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command, data };
    // SAFETY: a C structure of integers and a pointer, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let last = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name[..last].iter_mut().zip(link.name.bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request has a name that ends with zero, and a pointer to a structure that lives during the call and
    // that these two commands read and write no further than its end (net/ethtool/ioctl.c).
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data) }
}
