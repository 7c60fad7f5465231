//! Headers to a [`Packet`] of plain integers, or the reason why the frame is not ours to balance.

use core::mem::offset_of;

use lb_common::connection::{key_v4, key_v6};
use lb_common::counter::Reason;
use network_types::eth::EthHdr;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::frame::Words;
use crate::{Frame, PacketV4, PacketV6};

/// Bytes of an Ethernet header and an IPv4 header without options.
pub(crate) const HEAD: usize = EthHdr::LEN + Ipv4Hdr::LEN;

/// Where the IP header begins.
const IP: usize = EthHdr::LEN;

/// Where the flags of a TCP header are.
const TCP_FLAGS: usize = 13;

/// A header length of 5 words, version 4: the first byte of nearly every IPv4 packet.
const VERSION_4_NO_OPTIONS: u8 = 0x45;

/// More fragments, or a fragment offset, in the third word of the IPv4 header.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// Reads the headers of an IPv4 frame that begins with `head`.
///
/// # Errors
/// The reason to pass the frame to the local stack.
#[inline(always)]
pub(crate) fn parse_v4<F: Frame>(frame: &F, head: &[u8; HEAD]) -> Result<PacketV4, Reason> {
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
    let transport = transport(frame, EthHdr::LEN + header_length, protocol)?;
    let length = usize::from(u16::from_be(head.u16_at(IP + offset_of!(Ipv4Hdr, tot_len))));
    if length < header_length + transport.shortest {
        return Err(Reason::PassMalformed);
    }
    let addresses = head.u64_at(IP + offset_of!(Ipv4Hdr, src_addr));
    Ok(PacketV4::new(key_v4(addresses, transport.ports, protocol), transport.tcp_flags, length as u32))
}

/// Reads the headers of an IPv6 frame.
///
/// # Errors
/// The reason to pass the frame to the local stack.
#[inline(always)]
pub(crate) fn parse_v6<F: Frame>(frame: &F) -> Result<PacketV6, Reason> {
    let header = frame.bytes::<{ Ipv6Hdr::LEN }>(IP).ok_or(Reason::PassMalformed)?;
    if header[0] >> 4 != 6 {
        return Err(Reason::PassMalformed);
    }
    let protocol = header[offset_of!(Ipv6Hdr, next_hdr)];
    let transport = transport(frame, IP + Ipv6Hdr::LEN, protocol)?;
    let payload = u16::from_be(header.u16_at(offset_of!(Ipv6Hdr, payload_len)));
    if usize::from(payload) < transport.shortest {
        return Err(Reason::PassMalformed);
    }
    let word = |i: usize| header.u64_at(offset_of!(Ipv6Hdr, src_addr) + 8 * i);
    let addresses = [word(0), word(1), word(2), word(3)];
    let length = u32::from(payload) + Ipv6Hdr::LEN as u32;
    Ok(PacketV6::new(key_v6(addresses, transport.ports, protocol), transport.tcp_flags, length))
}

/// What a TCP or UDP header says.
struct Transport {
    ports: u32,
    tcp_flags: u8,
    /// Bytes of the shortest such header.
    shortest: usize,
}

/// Reads the header of the transport protocol at `offset`.
#[inline(always)]
fn transport<F: Frame>(frame: &F, offset: usize, protocol: u8) -> Result<Transport, Reason> {
    if protocol == IpProto::Tcp as u8 {
        let tcp = frame.bytes::<{ TCP_FLAGS + 1 }>(offset).ok_or(Reason::PassMalformed)?;
        Ok(Transport { ports: tcp.u32_at(0), tcp_flags: tcp[TCP_FLAGS], shortest: TcpHdr::LEN })
    } else if protocol == IpProto::Udp as u8 {
        let udp = frame.bytes::<{ UdpHdr::LEN }>(offset).ok_or(Reason::PassMalformed)?;
        Ok(Transport { ports: udp.u32_at(0), tcp_flags: 0, shortest: UdpHdr::LEN })
    } else {
        Err(Reason::PassNotTcpUdp)
    }
}
