//! Which real servers a destination address had of late, for lblc and lblcr.

use crate::clock::age;
use crate::selector::NO_DESTINATION;

/// Destination addresses that are remembered, over all virtual servers: the least recently used goes first. IPVS keeps
/// 16384 for each (`net/netfilter/ipvs/ip_vs_lblc.c`).
pub const MAX_LOCALITIES: u32 = 32_768;

/// Servers in the set of one address. IPVS has no limit; a set grows only while all its servers are overloaded.
pub const MAX_MEMBERS: usize = 12;

/// A set that was not changed for so long loses its most loaded server, and an address that was not asked for its set
/// (`ip_vs_lblcr.c`: `DEFAULT_EXPIRATION`; `ip_vs_lblc.c`: `ENTRY_TIMEOUT` is for tables that are full).
pub const SET_SECONDS: u32 = 24 * 60 * 60;

/// An address of a virtual server.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalityKey {
    service: u64,
    /// The address, or a hash of it.
    address: u64,
}

impl LocalityKey {
    /// The address `address` (of IPv6 a hash) of the virtual server number `service`.
    #[inline(always)]
    #[must_use]
    pub const fn new(service: u32, address: u64) -> Self {
        Self { service: service as u64, address }
    }
}

/// The servers of an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// Numbers of destinations; [`NO_DESTINATION`] where there is none.
    pub servers: [u32; MAX_MEMBERS],
    /// The second in which the set was last changed ([`crate::clock`]).
    pub modified: u32,
    /// The second in which it was last asked for, give or take [`TOUCH_SECONDS`].
    pub used: u32,
}

/// How often it is noted that a set is in use.
pub const TOUCH_SECONDS: u32 = 60;

impl Members {
    /// One server.
    #[inline(always)]
    #[must_use]
    pub const fn one(server: u32, now: u32) -> Self {
        let mut servers = [NO_DESTINATION; MAX_MEMBERS];
        servers[0] = server;
        Self { servers, modified: now, used: now }
    }

    /// Whether nobody asked for the address for a day.
    #[inline(always)]
    #[must_use]
    pub const fn is_forgotten(&self, now: u32) -> bool {
        age(now, self.used) >= SET_SECONDS
    }

    /// Adds a server unless it is there already, before the others, as `ip_vs_dest_set_insert` does. If the set is full,
    /// the one that was added first goes.
    #[inline(always)]
    pub fn add(&mut self, server: u32, now: u32) {
        if self.servers.contains(&server) {
            return;
        }
        for i in (1..MAX_MEMBERS).rev() {
            self.servers[i] = self.servers[i - 1];
        }
        self.servers[0] = server;
        self.modified = now;
    }
}

#[cfg(feature = "user")]
// SAFETY: integers without padding; any bytes are a value.
unsafe impl aya::Pod for LocalityKey {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for Members {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_every_server_once() {
        let mut members = Members::one(7, 100);
        members.add(9, 200);
        members.add(7, 300);
        assert_eq!((members.servers[..3].as_ref(), members.modified), ([9, 7, NO_DESTINATION].as_ref(), 200));
        (20..40).for_each(|server| members.add(server, 400));
        assert_eq!(members.servers[..3], [39, 38, 37]);
        assert!(!members.is_forgotten(100 + SET_SECONDS - 1) && members.is_forgotten(100 + SET_SECONDS));
    }
}
