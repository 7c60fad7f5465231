//! Prefixes of addresses, of VIPs and of clients: `198.51.100.0/24`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Prefix {
    first: IpAddr,
    length: u8,
}

/// Why a text is not a prefix, and what to write instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PrefixError {
    /// The part before the slash is no address.
    #[error("it does not begin with an address; write \"198.51.100.0/24\" or \"2001:db8::/32\"")]
    Address,
    /// The part behind the slash is no length.
    #[error("behind the slash belongs the number of bits that count, from 0 to {0}")]
    Length(u8),
    /// It is written in the form of IPv6, but stands for something of IPv4.
    #[error("it is an IPv4 address in the form of IPv6; write the IPv4 prefix itself")]
    Mapped,
    /// Bits are set that do not count.
    #[error("bits behind the first {length} are set; write \"{network}\", or \"{host}\" for the one address", length = network.length)]
    HostBits {
        /// The prefix without them.
        network: Prefix,
        /// The address alone.
        host: IpAddr,
    },
}

impl Prefix {
    /// The prefix of `length` bits, of which `first` is the first address; `None` if it is not, or cannot be.
    #[must_use]
    pub fn new(first: IpAddr, length: u8) -> Option<Self> {
        Self::around(first, length).filter(|prefix| prefix.first == first)
    }

    /// The prefix of `length` bits that `address` is in; `None` if an address has no so many bits.
    #[must_use]
    pub fn around(address: IpAddr, length: u8) -> Option<Self> {
        Some(Self { first: masked(address, length)?, length })
    }

    /// Its first address.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// Bits that all its addresses have in common.
    #[must_use]
    pub const fn length(self) -> u8 {
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
        Self::around(address, self.length) == Some(self)
    }

    /// This prefix and all that it lies in, shortest first.
    pub fn enclosing(self) -> impl Iterator<Item = Self> {
        (0..=self.length).filter_map(move |length| Self::around(self.first, length))
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
            Some(address) => f.pad(&address.to_string()),
            None => f.pad(&format!("{}/{}", self.first, self.length)),
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// An address without a length is that address alone.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let most = bits(address);
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let length = match length {
            None => most,
            Some(text) => Some(text)
                .filter(is_number)
                .and_then(|text| text.parse().ok())
                .filter(|length| *length <= most)
                .ok_or(PrefixError::Length(most))?,
        };
        // Such packets are not on the wire (RFC 4038, section 4.2).
        if length >= 96 && address.to_canonical() != address {
            return Err(PrefixError::Mapped);
        }
        let network = Self::around(address, length).ok_or(PrefixError::Length(most))?;
        if network.first == address {
            Ok(network)
        } else {
            Err(PrefixError::HostBits { network, host: address })
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// Bits of an address of this family.
pub(super) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `length` bits of an address, and zeroes; `None` if it has no so many.
fn masked(address: IpAddr, length: u8) -> Option<IpAddr> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_shown_as_they_are_written() {
        for text in ["0.0.0.0/0", "198.51.100.0/24", "192.0.2.1", "::/0", "2001:db8::/32", "fe80::1"] {
            assert_eq!(text.parse::<Prefix>().map(|prefix| prefix.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("192.0.2.1/32".parse(), Ok(Prefix::from(IpAddr::from([192, 0, 2, 1]))));
    }

    #[test]
    fn host_bits_name_the_prefix_that_was_meant() {
        let shown = |text: &str| text.parse::<Prefix>().map_err(|error| error.to_string()).err();
        for (text, network, host) in [
            ("198.51.100.7/24", "198.51.100.0/24", "\"198.51.100.7\""),
            ("2001:db8::7/64", "2001:db8::/64", "\"2001:db8::7\""),
        ] {
            let message = shown(text).unwrap_or_default();
            assert!(message.contains(network) && message.contains(host), "{message}");
        }
        for text in [
            "",
            "/",
            "10/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "x/8",
            "::ffff:10.0.0.0/104",
        ] {
            assert!(shown(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_prefix_lies_in_itself_and_in_shorter_ones() {
        let prefix: Prefix = "10.128.0.0/9".parse().expect("it is one");
        let enclosing: Vec<String> = prefix.enclosing().map(|prefix| prefix.to_string()).collect();
        assert_eq!(
            (enclosing.len(), enclosing[0].as_str(), enclosing[8].as_str()),
            (10, "0.0.0.0/0", "10.0.0.0/8")
        );
        assert_eq!(enclosing[9], "10.128.0.0/9");
    }
}
