//! What an address of a virtual server may be: a VIP or a prefix of VIPs, with a port, a range of ports or any port;
//! and the order in which several that a packet has are tried.
//!
//! The longer prefix counts first, and of one prefix the exact port, then the range, then any port
//! ([`VirtualAddress::precedence`]). What is exact is a key of a perfect hash; all else is laid out so that one search
//! finds the answer ([`lay_out`]).

mod layout;
mod prefix;

use std::fmt;
use std::net::SocketAddr;

pub use layout::{Form, Layout, TooMany, key, lay_out};
pub use prefix::{Prefix, PrefixError};

/// Ports in host byte order, from the first to the last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last, not below the first.
    pub last: u16,
}

impl Ports {
    /// All there are.
    pub const ANY: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The port, if it is one only.
    #[must_use]
    pub fn only(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    /// Whether any port is in both.
    #[must_use]
    pub fn overlap(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// 0 for one port, 1 for a range, 2 for any.
    #[must_use]
    pub fn rank(self) -> u8 {
        if self.only().is_some() { 0 } else { 1 + u8::from(self == Self::ANY) }
    }
}

/// `80`, `8000-8100`, or `0` for any.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.only(), *self) {
            (Some(port), _) => port.fmt(f),
            (None, Self::ANY) => 0.fmt(f),
            (None, Self { first, last }) => write!(f, "{first}-{last}"),
        }
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What clients connect to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualAddress {
    /// The VIP, or VIPs.
    pub vips: Prefix,
    /// The port, or ports.
    pub ports: Ports,
}

impl VirtualAddress {
    /// VIP and port, if it is one of each.
    #[must_use]
    pub fn exact(self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.vips.host()?, self.ports.only()?))
    }

    /// The family.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        !self.vips.is_ipv4()
    }

    /// The lesser counts, of those that a packet has. Of two that are equal, there is no packet that has both, or
    /// the configuration is refused; unless they are one virtual server's.
    #[must_use]
    pub fn precedence(self) -> (std::cmp::Reverse<u8>, u8) {
        (std::cmp::Reverse(self.vips.length()), self.ports.rank())
    }
}

impl From<SocketAddr> for VirtualAddress {
    fn from(address: SocketAddr) -> Self {
        Self { vips: address.ip().into(), ports: Ports::one(address.port()) }
    }
}

/// As the configuration has it: `192.0.2.1:80`, `[2001:db8::/64]:8000-8100`.
impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vips, ports } = self;
        if self.is_ipv6() { write!(f, "[{vips}]:{ports}") } else { write!(f, "{vips}:{ports}") }
    }
}

impl fmt::Debug for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
