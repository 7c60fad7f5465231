//! Headers to a [`Packet`] of plain integers, or the reason why the frame is not ours to balance.

use core::mem::offset_of;

use lb_common::counter::Reason;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::Frame;
use crate::frame::Words;

/// What later stages need to know of a frame to TCP or UDP over IPv4.
///
/// Addresses and ports are as they lie in the frame (network byte order), loaded as little-endian words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address in the low half, destination address in the high half.
    pub addresses: u64,
    /// Source port in the low half, destination port in the high half.
    pub ports: u32,
    /// The IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// Byte 13 of the TCP header; 0 for UDP.
    pub tcp_flags: u8,
    /// The IPv4 total length in bytes.
    pub length: u16,
}

impl Packet {
    /// The packet as two words: addresses, and everything else. What a function of a BPF program that is verified
    /// on its own can take.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> (u64, u64) {
        let rest = self.ports as u64
            | (self.protocol as u64) << 32
            | (self.tcp_flags as u64) << 40
            | (self.length as u64) << 48;
        (self.addresses, rest)
    }

    /// The packet of [`words`](Self::words).
    #[inline(always)]
    #[must_use]
    pub const fn from_words(addresses: u64, rest: u64) -> Self {
        Self {
            addresses,
            ports: rest as u32,
            protocol: (rest >> 32) as u8,
            tcp_flags: (rest >> 40) as u8,
            length: (rest >> 48) as u16,
        }
    }

    /// The source address, as in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> u32 {
        self.addresses as u32
    }

    /// The destination address, as in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> u32 {
        (self.addresses >> 32) as u32
    }

    /// The destination port, as in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Whether this is a TCP segment.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == IpProto::Tcp as u8
    }
}

/// Bytes of an Ethernet header and an IPv4 header without options.
pub(crate) const HEAD: usize = EthHdr::LEN + Ipv4Hdr::LEN;

/// Where the flags of a TCP header are.
const TCP_FLAGS: usize = 13;

/// A header length of 5 words, version 4: the first byte of nearly every IPv4 packet.
const VERSION_4_NO_OPTIONS: u8 = 0x45;

/// More fragments, or a fragment offset, in the third word of the IPv4 header.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// Reads the headers of a frame that begins with `head`.
///
/// # Errors
/// The reason to pass the frame to the local stack.
#[inline(always)]
pub(crate) fn parse<F: Frame>(frame: &F, head: &[u8; HEAD]) -> Result<Packet, Reason> {
    let ether_type = head.u16_at(offset_of!(EthHdr, ether_type));
    if ether_type != EtherType::Ipv4 as u16 {
        return Err(not_ipv4(ether_type));
    }
    let version_and_length = head[IP + offset_of!(Ipv4Hdr, vihl)];
    let header_length = if version_and_length == VERSION_4_NO_OPTIONS {
        Ipv4Hdr::LEN
    } else {
        let length = usize::from(version_and_length & 0x0f) * 4;
        if version_and_length >> 4 != 4 || length < Ipv4Hdr::LEN {
            return Err(Reason::PassMalformed);
        }
        length
    };
    if head.u16_at(IP + offset_of!(Ipv4Hdr, frags)) & FRAGMENT != 0 {
        return Err(Reason::PassFragment);
    }
    let protocol = head[IP + offset_of!(Ipv4Hdr, proto)];
    let transport = EthHdr::LEN + header_length;
    let (ports, tcp_flags, shortest) = if protocol == IpProto::Tcp as u8 {
        let tcp = frame.bytes::<{ TCP_FLAGS + 1 }>(transport).ok_or(Reason::PassMalformed)?;
        (tcp.u32_at(0), tcp[TCP_FLAGS], TcpHdr::LEN)
    } else if protocol == IpProto::Udp as u8 {
        let udp = frame.bytes::<{ UdpHdr::LEN }>(transport).ok_or(Reason::PassMalformed)?;
        (udp.u32_at(0), 0, UdpHdr::LEN)
    } else {
        return Err(Reason::PassNotTcpUdp);
    };
    let length = u16::from_be(head.u16_at(IP + offset_of!(Ipv4Hdr, tot_len)));
    if usize::from(length) < header_length + shortest {
        return Err(Reason::PassMalformed);
    }
    let addresses = head.u64_at(IP + offset_of!(Ipv4Hdr, src_addr));
    Ok(Packet { addresses, ports, protocol, tcp_flags, length })
}

/// Where the IPv4 header begins.
const IP: usize = EthHdr::LEN;

/// Why a frame of another EtherType is passed.
#[inline(always)]
fn not_ipv4(ether_type: u16) -> Reason {
    if ether_type == EtherType::Ipv6 as u16 {
        Reason::PassIpv6
    } else if ether_type == EtherType::Ieee8021q as u16 || ether_type == EtherType::Ieee8021ad as u16 {
        Reason::PassVlan
    } else {
        Reason::PassNotIp
    }
}
