//! Adverts to bytes, and bytes to adverts, or to what is wrong with them.
//!
//! ```text
//!   0        1        2        3        4           5        6        8
//!   ver|type  vrid     priority count    auth type   seconds  checksum addresses, 8 bytes of password   version 2
//!   ver|type  vrid     priority count    0|centiseconds (12)  checksum addresses                        version 3
//! ```
//!
//! RFC 3768, section 5.3; RFC 5798 and RFC 9568, section 5.2.

mod rejected;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub use rejected::{Cause, Rejected};

/// VRRP's number as a protocol of IP.
pub const PROTOCOL: u8 = 112;
/// The TTL or hop limit of every advert: what arrives with it was not routed.
pub const TTL: u8 = 255;
/// Where IPv4's adverts go (RFC 9568, section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where IPv6's adverts go (RFC 9568, section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

const ADVERTISEMENT: u8 = 1;
const HEADER_LEN: usize = 8;
const CHECKSUM_AT: usize = 6;
const AUTHENTICATION_LEN: usize = 8;
const NO_AUTHENTICATION: u8 = 0;
const SIMPLE_PASSWORD: u8 = 1;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// RFC 3768: IPv4 only; intervals of whole seconds, which all directors have to have in common.
    V2,
    /// RFC 5798 and RFC 9568: IPv4 and IPv6; intervals of centiseconds, as the master says.
    V3,
}

impl Version {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// The version of this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }

    /// The shortest interval it can say, of which any other is a multiple.
    #[must_use]
    pub const fn shortest_interval(self) -> Duration {
        match self {
            Self::V2 => Duration::from_secs(1),
            Self::V3 => Duration::from_millis(10),
        }
    }

    /// The longest interval it can say: its field has 8 or 12 bits.
    #[must_use]
    pub const fn longest_interval(self) -> Duration {
        match self {
            Self::V2 => Duration::from_secs(255),
            Self::V3 => Duration::from_millis(40_950),
        }
    }

    /// Whether an advert can say this interval.
    #[must_use]
    pub fn can_say(self, interval: Duration) -> bool {
        let unit = self.shortest_interval();
        (unit..=self.longest_interval()).contains(&interval)
            && interval.as_nanos().is_multiple_of(unit.as_nanos())
    }

    /// The interval as its field has it; one that it cannot say becomes the next that it can.
    fn interval_field(self, interval: Duration) -> u16 {
        let interval = interval.clamp(self.shortest_interval(), self.longest_interval());
        u16::try_from(interval.as_nanos() / self.shortest_interval().as_nanos()).unwrap_or(u16::MAX)
    }
}

/// What a master says about a virtual router, once in each interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The version it is of.
    pub version: Version,
    /// The virtual router, 1 to 255.
    pub vrid: u8,
    /// Whose is highest is master; 0: the sender stops; 255: it owns the addresses.
    pub priority: u8,
    /// How often the sender sends one.
    pub interval: Duration,
    /// The virtual addresses, all of one family, at most 255.
    pub addresses: Vec<IpAddr>,
    /// Version 2: the password, as [`password`] makes it.
    pub authentication: Option<[u8; AUTHENTICATION_LEN]>,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it was sent to: the group, or one of our addresses.
    pub destination: IpAddr,
    /// Its TTL or hop limit.
    pub ttl: u8,
}

/// What an advert has to be like for a virtual router to listen to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its version.
    pub version: Version,
    /// The virtual router.
    pub vrid: u8,
    /// Its interval; version 3 takes any.
    pub interval: Duration,
    /// The virtual addresses, in any order.
    pub addresses: Vec<IpAddr>,
    /// Version 2: its password.
    pub authentication: Option<[u8; AUTHENTICATION_LEN]>,
    /// The other directors, if adverts are sent to each of them; none: they are sent to the group.
    pub peers: Vec<IpAddr>,
}

/// Writes the checksum into a message, if it has a header: in version 3 over a pseudo-header of these addresses, too.
pub(crate) fn seal(message: &mut [u8], version: Version, source: IpAddr, destination: IpAddr) {
    let pseudo = match version {
        Version::V2 => 0,
        Version::V3 => pseudo_header(source, destination, message.len()),
    };
    seal_over(pseudo, message);
}

impl Advert {
    /// The message, without an IP header.
    ///
    /// The checksum needs to know where it comes from and where it goes: in version 3 it covers a pseudo-header, of IPv4
    /// too. RFC 5798 is read so by keepalived (`vrrp_build_vrrp_v3` of keepalived/vrrp/vrrp.c) and by FRR; RFC 9568 (section
    /// 5.2.8) leaves it out for IPv4.
    #[must_use]
    pub fn encode(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let interval = self.version.interval_field(self.interval).to_be_bytes();
        let [first, second] = match (self.version, self.authentication) {
            (Version::V2, Some(_)) => [SIMPLE_PASSWORD, interval[1]],
            (Version::V2, None) => [NO_AUTHENTICATION, interval[1]],
            (Version::V3, _) => interval,
        };
        // One byte counts them; the configuration sees to it that there are no more.
        let addresses = &self.addresses[..self.addresses.len().min(usize::from(u8::MAX))];
        let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
        let kind = self.version.number() << 4 | ADVERTISEMENT;
        let mut message = vec![kind, self.vrid, self.priority, count, first, second, 0, 0];
        for address in addresses {
            match address {
                IpAddr::V4(address) => message.extend(address.octets()),
                IpAddr::V6(address) => message.extend(address.octets()),
            }
        }
        if self.version == Version::V2 {
            message.extend(self.authentication.unwrap_or_default());
        }
        seal(&mut message, self.version, source, destination);
        message
    }

    /// The advert in a message, if it is one that the virtual router listens to.
    ///
    /// # Errors
    /// What is wrong with it. [`Rejected::Vrid`] is no fault: it is about another virtual router.
    pub fn decode(message: &[u8], envelope: &Envelope, expected: &Expectation) -> Result<Self, Rejected> {
        let Some((header, rest)) = message.split_first_chunk::<HEADER_LEN>() else {
            return Err(Rejected::Short { bytes: message.len() });
        };
        let [kind, vrid, priority, count, first, second, ..] = *header;
        if vrid != expected.vrid {
            return Err(Rejected::Vrid { found: vrid, expected: expected.vrid });
        }
        check_envelope(envelope, expected)?;
        if kind >> 4 != expected.version.number() {
            return Err(Rejected::Version { found: kind >> 4, expected: expected.version.number() });
        }
        if kind & 0x0f != ADVERTISEMENT {
            return Err(Rejected::Type { found: kind & 0x0f });
        }
        let (list, rest) =
            split_addresses(message.len(), rest, usize::from(count), envelope, expected.version)?;
        if !is_intact(message, envelope, expected) {
            return Err(Rejected::Checksum);
        }
        let (authentication, interval) = match expected.version {
            Version::V2 => {
                (check_authentication(first, rest, expected)?, Duration::from_secs(u64::from(second)))
            }
            Version::V3 => {
                // RFC 9568, section 5.2.6: the upper four bits are ignored.
                (None, Duration::from_millis(10 * u64::from(u16::from_be_bytes([first & 0x0f, second]))))
            }
        };
        check_interval(interval, expected)?;
        let addresses = check_addresses(list, expected)?;
        Ok(Self { version: expected.version, vrid, priority, interval, addresses, authentication })
    }
}

/// Whether it came the way that adverts come here.
///
/// keepalived compares the TTL of multicast only (`vrrp_check_packet` of keepalived/vrrp/vrrp.c), and must: to IPv6
/// peers it sends with the kernel's default. To IPv4 peers it sends 255, which is therefore asked for here: so nobody
/// beyond a router can depose a master. For the same reason a peer has to be one of those configured, which keepalived
/// asks for only where `check_unicast_src` is set.
fn check_envelope(envelope: &Envelope, expected: &Expectation) -> Result<(), Rejected> {
    let is_unicast = !expected.peers.is_empty();
    if envelope.destination.is_multicast() == is_unicast {
        return Err(Rejected::Destination { found: envelope.destination });
    }
    if is_unicast && !expected.peers.contains(&envelope.source) {
        return Err(Rejected::Source { found: envelope.source });
    }
    if envelope.ttl != TTL && (envelope.source.is_ipv4() || !is_unicast) {
        return Err(Rejected::Ttl { found: envelope.ttl });
    }
    Ok(())
}

/// The addresses of a message, and what follows them.
fn split_addresses<'a>(
    bytes: usize,
    rest: &'a [u8],
    count: usize,
    envelope: &Envelope,
    version: Version,
) -> Result<(Vec<IpAddr>, &'a [u8]), Rejected> {
    let width = if envelope.source.is_ipv4() { size_of::<Ipv4Addr>() } else { size_of::<Ipv6Addr>() };
    let trailer = if version == Version::V2 { AUTHENTICATION_LEN } else { 0 };
    let length = Rejected::Length { found: bytes, expected: HEADER_LEN + count * width + trailer };
    let Some((list, rest)) = rest.split_at_checked(count * width) else {
        return Err(length);
    };
    if rest.len() != trailer {
        return Err(length);
    }
    let addresses = if envelope.source.is_ipv4() {
        list.as_chunks().0.iter().map(|bytes: &[u8; 4]| IpAddr::from(*bytes)).collect()
    } else {
        list.as_chunks().0.iter().map(|bytes: &[u8; 16]| IpAddr::from(*bytes)).collect()
    };
    Ok((addresses, rest))
}

/// Whether the checksum is one of those that a sender may have made.
///
/// Version 3 over IPv4: with the pseudo-header (RFC 5798 as keepalived reads it), without it (RFC 9568, section 5.2.8;
/// keepalived from 2.2.8 on with `v3_checksum_as_v2`), or to a peer with the group in the place of the peer, as keepalived up to
/// 1.3.6 has it and later ones accept (`_WITH_UNICAST_CHKSUM_COMPAT_` of keepalived/vrrp/vrrp.c). It finds what was damaged
/// all the same.
fn is_intact(message: &[u8], envelope: &Envelope, expected: &Expectation) -> bool {
    let is_right = |pseudo: u64| checksum(pseudo, message) == 0;
    let to = |destination| pseudo_header(envelope.source, destination, message.len());
    match (expected.version, envelope.source) {
        (Version::V2, _) => is_right(0),
        (Version::V3, IpAddr::V6(_)) => is_right(to(envelope.destination)),
        (Version::V3, IpAddr::V4(_)) => {
            is_right(to(envelope.destination))
                || is_right(0)
                || (!expected.peers.is_empty() && is_right(to(GROUP_V4.into())))
        }
    }
}

/// Version 2's password, if it is as expected (RFC 3768, section 5.3.6; RFC 2338, section 5.3.6).
fn check_authentication(
    kind: u8,
    data: &[u8],
    expected: &Expectation,
) -> Result<Option<[u8; AUTHENTICATION_LEN]>, Rejected> {
    let wanted = if expected.authentication.is_some() { SIMPLE_PASSWORD } else { NO_AUTHENTICATION };
    if kind != wanted {
        return Err(Rejected::AuthenticationType { found: kind, expected: wanted });
    }
    match expected.authentication {
        Some(password) if data != password => Err(Rejected::Password),
        password => Ok(password),
    }
}

/// Version 2: the interval is everybody's (RFC 3768, section 7.1). Version 3: any but none, with which a master would be
/// dead as soon as it is heard; neither the RFCs nor keepalived say so.
fn check_interval(found: Duration, expected: &Expectation) -> Result<(), Rejected> {
    match expected.version {
        Version::V2 if found != expected.interval => {
            Err(Rejected::Interval { found, expected: Some(expected.interval) })
        }
        Version::V3 if found.is_zero() => Err(Rejected::Interval { found, expected: None }),
        _ => Ok(()),
    }
}

/// The addresses, if they are ours, in whatever order.
///
/// RFC 9568 (section 7.1) lets a receiver compare them; keepalived does (`vrrp_check_packet` and `vrrp_in_chk_vips` of
/// keepalived/vrrp/vrrp.c), and drops adverts with others. `skip_check_adv_addr`, which is off there unless it is
/// set, would compare the first of each master only.
fn check_addresses(found: Vec<IpAddr>, expected: &Expectation) -> Result<Vec<IpAddr>, Rejected> {
    if found.len() != expected.addresses.len() {
        return Err(Rejected::Count { found: found.len(), expected: expected.addresses.len() });
    }
    match expected.addresses.iter().find(|address| !found.contains(address)) {
        Some(missing) => Err(Rejected::Addresses { missing: *missing }),
        None => Ok(found),
    }
}

fn seal_over(pseudo_header: u64, message: &mut [u8]) {
    if message.len() >= HEADER_LEN {
        message[CHECKSUM_AT..HEADER_LEN].fill(0);
        let checksum = checksum(pseudo_header, message);
        message[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// What a pseudo-header adds to the checksum (RFC 9568, section 5.2.8; RFC 8200, section 8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> u64 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    address(source) + address(destination) + u64::from(PROTOCOL) + length as u64
}

/// The Internet's checksum (RFC 1071); 0 over a message that has the right one.
fn checksum(pseudo_header: u64, message: &[u8]) -> u16 {
    let mut sum = pseudo_header + sum(message);
    while let carry @ 1.. = sum >> 16 {
        sum = (sum & 0xffff) + carry;
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum()
}

#[cfg(test)]
mod tests;
