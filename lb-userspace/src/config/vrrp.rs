//! Virtual routers as the rest of the program sees them: `[[vrrp_instance]]` and `[[vrrp_sync_group]]`.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::source::Located;

/// A virtual router that this director is one of (RFC 3768, RFC 9568).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpInstance {
    /// Unique.
    pub name: String,
    /// The interface that advertisements are sent and received on, and that the virtual addresses are added to.
    pub interface: Located<String>,
    /// Its number, from 1 to 255; unique on the interface, for each family.
    pub virtual_router_id: u8,
    /// Which version of the protocol is spoken.
    pub version: VrrpVersion,
    /// From 1 to 255; who has the highest is master. 255 is the address owner's.
    pub priority: u8,
    /// From an advertisement to the next; version 2: whole seconds up to 255, version 3: hundredths of a second up to
    /// 40.95 s.
    pub advert_interval: Duration,
    /// Whether it takes over from a master of lower priority.
    pub preempt: bool,
    /// How long it lets such a master be, after it has started.
    pub preempt_delay: Duration,
    /// What adverts have to carry (keepalived's `auth_type PASS`); version 2 only.
    pub password: Option<Password>,
    /// The addresses that the master has; at least one, all of one family.
    pub virtual_addresses: Vec<InterfaceAddress>,
    /// Addresses that the master has too, of either family, and that are not in its adverts (keepalived's
    /// `virtual_ipaddress_excluded`).
    pub excluded_addresses: Vec<InterfaceAddress>,
    /// Where adverts come from (keepalived's `mcast_src_ip`); else the interface's first address.
    pub source_address: Option<IpAddr>,
    /// To whom adverts are sent instead of to the multicast group.
    pub unicast_peers: Vec<IpAddr>,
    /// Interfaces without which it is in fault.
    pub track_interfaces: Vec<String>,
    /// Programs that say whether it is to be master.
    pub track_scripts: Vec<TrackScript>,
    /// The command that is told of each change of its state; none if empty.
    pub notify: Vec<String>,
}

impl VrrpInstance {
    /// All addresses that the master has.
    pub fn addresses(&self) -> impl Iterator<Item = InterfaceAddress> {
        self.virtual_addresses.iter().chain(&self.excluded_addresses).copied()
    }

    /// The family of its addresses.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.virtual_addresses.first().is_some_and(|first| first.address.is_ipv6())
    }

    /// keepalived's.
    pub(super) const DEFAULT_PRIORITY: u8 = 100;
    /// keepalived's, and the RFCs'.
    pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VrrpVersion {
    /// RFC 3768: IPv4.
    V2,
    /// RFC 9568: IPv4 and IPv6.
    V3,
}

/// An address and its prefix length, as an interface has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// How many bits its network has; 32 or 128 for the address alone.
    pub prefix: u8,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What adverts of version 2 carry in clear: as many bytes as there is room for, padded with zeroes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password(pub [u8; Password::LENGTH]);

impl Password {
    /// RFC 2338, section 5.3.6.1.
    pub const LENGTH: usize = 8;
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A program that says whether an instance is to be master (keepalived's `vrrp_script`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrackScript {
    /// The program and its arguments; the exit code 0 is a success.
    pub command: Vec<String>,
    /// From the beginning of a run to that of the next.
    pub interval: Duration,
    /// How long a run may take.
    pub timeout: Duration,
    /// What is added to the priority: if positive, while it succeeds; if negative, while it fails; 0: it has to succeed,
    /// or the instance is in fault.
    pub weight: i16,
    /// How many runs in a row have to fail before it counts as failing.
    pub fall: u32,
    /// How many have to succeed before it counts as succeeding.
    pub rise: u32,
}

impl TrackScript {
    /// keepalived's.
    pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
    /// keepalived's: the difference of two priorities at most.
    pub(super) const MAX_WEIGHT: u32 = 253;
}

/// Instances that are always in the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpSyncGroup {
    /// Unique.
    pub name: String,
    /// The names of its instances, each in no other group.
    pub instances: Vec<String>,
    /// The command that is told of each change of its state; none if empty.
    pub notify: Vec<String>,
}
