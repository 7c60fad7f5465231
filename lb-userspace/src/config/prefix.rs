//! Prefixes of addresses: `198.51.100.0/24`, `2001:db8::/32`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::forms::{bits, masked};

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
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
        host: Prefix,
    },
}

impl Prefix {
    /// The addresses that have the first `length` bits of this one; all of them if there are not so many.
    #[must_use]
    pub fn around(address: IpAddr, length: u8) -> Self {
        let length = length.min(bits(address));
        Self { address: masked(address, length).unwrap_or(address), length }
    }

    /// The address alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: bits(address) }
    }

    /// The first of its addresses.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether this is one of its addresses.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && masked(address, self.length).unwrap_or(address) == self.address
    }

    /// This prefix and all that it lies in, shortest first.
    pub fn enclosing(self) -> impl Iterator<Item = Self> {
        (0..=self.length).map(move |length| Self::around(self.address, length))
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
        let network = Self::around(address, length);
        if network.address == address {
            Ok(network)
        } else {
            Err(PrefixError::HostBits { network, host: Self::host(address) })
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.length))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn prefixes_are_shown_as_they_are_written() {
        for text in ["0.0.0.0/0", "198.51.100.0/24", "192.0.2.1/32", "::/0", "2001:db8::/32", "fe80::1/128"] {
            assert_eq!(text.parse::<Prefix>().map(|prefix| prefix.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("192.0.2.1".parse(), Ok(Prefix::host(Ipv4Addr::new(192, 0, 2, 1).into())));
    }

    #[test]
    fn host_bits_name_the_prefix_that_was_meant() {
        let shown = |text: &str| text.parse::<Prefix>().map_err(|error| error.to_string()).err();
        for (text, network, host) in [
            ("198.51.100.7/24", "198.51.100.0/24", "198.51.100.7/32"),
            ("2001:db8::7/64", "2001:db8::/64", "2001:db8::7/128"),
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
