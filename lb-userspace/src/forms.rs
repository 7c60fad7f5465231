//! What an address of a virtual server may be: a VIP or a prefix of VIPs, with a port, a range of ports or any port;
//! and the order in which several that a packet has are tried.
//!
//! The longer prefix counts first, and of one prefix the exact port, then the range, then any port
//! ([`VirtualAddress::precedence`]). What is exact is a key of a perfect hash; all else is laid out so that one search
//! finds the answer ([`lay_out`]).

mod layout;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use layout::{Form, Layout, TooMany, key, lay_out};

/// One or several VIPs: those whose addresses begin alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Prefix {
    first: IpAddr,
    length: u8,
}

impl Prefix {
    /// The prefix of `length` bits, of which `first` is the first address; `None` if it is not, or cannot be.
    #[must_use]
    pub fn new(first: IpAddr, length: u8) -> Option<Self> {
        let prefix = Self { first: masked(first, length)?, length };
        (prefix.first == first).then_some(prefix)
    }

    /// The prefix of `length` bits that `address` is in; `None` if an address has no so many bits.
    #[must_use]
    pub fn around(address: IpAddr, length: u8) -> Option<Self> {
        Some(Self { first: masked(address, length)?, length })
    }

    /// Its first address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Bits that all its addresses have in common.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// The address, if it has one only.
    #[must_use]
    pub fn host(self) -> Option<IpAddr> {
        (self.length == bits(self.first)).then_some(self.first)
    }

    /// The family.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.length) == Some(self.first)
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self { first: address, length: bits(address) }
    }
}

/// `192.0.2.0/28`, or `192.0.2.1` for one address.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host() {
            Some(address) => address.fmt(f),
            None => write!(f, "{}/{}", self.first, self.length),
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is no VIP and no prefix of VIPs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is neither a VIP (192.0.2.1, 2001:db8::1) nor the first of a prefix (192.0.2.0/28, 2001:db8::/64)"
)]
pub struct NoPrefix(String);

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let parsed = match text.split_once('/') {
            Some((first, length)) => first
                .parse()
                .ok()
                .zip(length.parse().ok())
                .and_then(|(first, length)| Self::new(first, length)),
            None => text.parse::<IpAddr>().ok().map(Self::from),
        };
        parsed.ok_or_else(|| NoPrefix(text.to_owned()))
    }
}

impl TryFrom<String> for Prefix {
    type Error = NoPrefix;

    fn try_from(text: String) -> Result<Self, NoPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// Bits of an address of this family.
pub(crate) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `length` bits of an address, and zeroes; `None` if it has no so many.
pub(crate) fn masked(address: IpAddr, length: u8) -> Option<IpAddr> {
    let rest = u32::from(bits(address).checked_sub(length)?);
    Some(match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into()
        }
    })
}

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
        self.vips.first.is_ipv6()
    }

    /// The lesser counts, of those that a packet has. Of two that are equal, there is no packet that has both, or
    /// the configuration is refused; unless they are one virtual server's.
    #[must_use]
    pub fn precedence(self) -> (std::cmp::Reverse<u8>, u8) {
        (std::cmp::Reverse(self.vips.length), self.ports.rank())
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
