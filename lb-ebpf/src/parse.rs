//! Headers to a [`Packet`] of plain integers, whatever comes before the transport header; or the reason why the frame
//! is not ours to balance.

use lb_common::connection::KEY_WORDS_V4;
use lb_common::counter::Reason;
use network_types::ip::IpProto;

use crate::network::{Network, network, transport};
use crate::{Frame, Packet};

/// What became of reading a frame's headers, in one register: what a function of a BPF program can return.
///
/// From below: 32 bits identification of a datagram, or reason; then flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed(u64);

lb_common::one_word!(Parsed, u64);

impl Parsed {
    const REASON: u64 = 1 << 32;
    const FIRST_FRAGMENT: u64 = 1 << 33;
    const LATER_FRAGMENT: u64 = 1 << 34;

    /// Why the frame is to be passed; `None` if there is a packet.
    #[inline(always)]
    pub(crate) fn reason(self) -> Option<Reason> {
        if self.0 & Self::REASON == 0 {
            return None;
        }
        Some(Reason::from_number(self.0 as u32).unwrap_or(Reason::DropInternal))
    }

    /// Whether the packet is the first fragment of a datagram.
    #[inline(always)]
    pub(crate) const fn is_first_fragment(self) -> bool {
        self.0 & Self::FIRST_FRAGMENT != 0
    }

    /// Whether the packet is another fragment of a datagram: it has no ports.
    #[inline(always)]
    pub(crate) const fn is_later_fragment(self) -> bool {
        self.0 & Self::LATER_FRAGMENT != 0
    }

    /// The identification of the fragments' datagram, as it lies in the frame.
    #[inline(always)]
    pub(crate) const fn datagram(self) -> u32 {
        self.0 as u32
    }
}

/// Reads the headers of a frame whose IP header is at `offset`; fills in `packet` if there is one.
#[inline(always)]
pub fn parse<const K: usize, F: Frame>(frame: &mut F, offset: usize, packet: &mut Packet<K>) -> Parsed {
    match try_parse(frame, offset, packet) {
        Ok(parsed) => parsed,
        Err(reason) => Parsed(Parsed::REASON | reason as u64),
    }
}

#[inline(always)]
fn try_parse<const K: usize, F: Frame>(
    frame: &mut F,
    offset: usize,
    packet: &mut Packet<K>,
) -> Result<Parsed, Reason> {
    let network: Network<K> = network(frame, offset)?;
    if !frame.has(offset + network.length as usize) {
        return Err(Reason::PassMalformed);
    }
    let mut parsed = 0;
    if let Some(fragment) = network.fragment {
        parsed = u64::from(fragment.id);
        if !fragment.is_first {
            *packet = Packet::new(network.key, 0, network.length);
            return Ok(Parsed(parsed | Parsed::LATER_FRAGMENT));
        }
        parsed |= Parsed::FIRST_FRAGMENT;
    }
    if network.protocol() == icmp_of::<K>() {
        *packet = icmp_error(frame, &network)?;
        // Its fragments, were there any, are not of the flow that it is about.
        return Ok(Parsed(0));
    }
    let transport = transport(frame, network.transport, network.protocol())?;
    // In a first fragment, too (RFC 1858, section 3; RFC 7112): or ports and flags would be read in the frame's padding.
    if network.length < network.header + transport.shortest {
        return Err(Reason::PassMalformed);
    }
    let mut key = network.key;
    key[K - 1] |= u64::from(transport.ports);
    *packet = Packet::new(key, transport.tcp_flags, network.length);
    Ok(Parsed(parsed))
}

/// Bytes of an ICMP header, of either family: type, code, checksum, and four that depend on the type.
const ICMP_HEADER: usize = 8;

/// ICMP messages that are about a packet (RFC 792: unreachable, time exceeded, parameter problem).
const ABOUT_A_PACKET_V4: u32 = 1 << 3 | 1 << 11 | 1 << 12;
/// ICMPv6 messages that are about a packet (RFC 4443: unreachable, too big, time exceeded, parameter problem).
const ABOUT_A_PACKET_V6: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4;

/// The number of ICMP in a family.
#[inline(always)]
const fn icmp_of<const K: usize>() -> u8 {
    if K == KEY_WORDS_V4 { IpProto::Icmp as u8 } else { IpProto::Ipv6Icmp as u8 }
}

/// An ICMP error about a packet that a real server sent from a VIP, as a packet of that flow: it goes to that real
/// server, or path MTU discovery would not work through a director.
#[inline(always)]
fn icmp_error<const K: usize, F: Frame>(frame: &mut F, network: &Network<K>) -> Result<Packet<K>, Reason> {
    let header = frame.fetch::<ICMP_HEADER>(network.transport).ok_or(Reason::PassMalformed)?;
    let errors = if K == KEY_WORDS_V4 { ABOUT_A_PACKET_V4 } else { ABOUT_A_PACKET_V6 };
    if header[0] > 31 || errors >> header[0] & 1 == 0 {
        return Err(Reason::PassNotTcpUdp);
    }
    let inner: Network<K> = crate::network::network(frame, network.transport + ICMP_HEADER)?;
    let is_ours = inner.protocol() == IpProto::Tcp as u8 || inner.protocol() == IpProto::Udp as u8;
    if !is_ours || inner.fragment.is_some_and(|fragment| !fragment.is_first) {
        return Err(Reason::PassNotTcpUdp);
    }
    // Of the inner transport header 8 bytes are sure to be there (RFC 792), and the ports are enough.
    let ports = *frame.fetch::<4>(inner.transport).ok_or(Reason::PassMalformed)?;
    if network.length < network.header + ICMP_HEADER as u32 + inner.header + 4 {
        return Err(Reason::PassMalformed);
    }
    let packet = Packet::error(reversed(&inner.key, u32::from_le_bytes(ports)), network.length);
    // The error goes to whom the packet came from.
    let addressee = Packet::new(network.key, 0, 0);
    if packet.destination() == addressee.destination() { Ok(packet) } else { Err(Reason::PassMalformed) }
}

/// The key of the flow in the other direction: of the client's packets, from one that a real server sent. `ports` as
/// they lie in the latter.
#[inline(always)]
fn reversed<const K: usize>(key: &[u64; K], ports: u32) -> [u64; K] {
    let mut reversed = *key;
    if K == KEY_WORDS_V4 {
        reversed[0] = key[0].rotate_left(32);
    } else {
        let mut i = 0;
        while i < K - 1 {
            reversed[i] = key[(i + 2) & 3];
            i += 1;
        }
    }
    reversed[K - 1] |= u64::from(ports.rotate_left(16));
    reversed
}
