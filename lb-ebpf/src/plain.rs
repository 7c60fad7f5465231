//! The headers of nearly every frame to a [`Packet`](crate::Packet): no VLAN tag, no options, no fragment, TCP or
//! UDP. What is not like that goes to [`parse`](crate::parse).

use core::mem::offset_of;

use lb_common::connection::{key_v4, key_v6};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::frame::Words;
use crate::network::plain_transport;
use crate::{Frame, PacketV4, PacketV6};

/// Bytes of an Ethernet header and an IPv4 header without options.
pub(crate) const HEAD: usize = EthHdr::LEN + Ipv4Hdr::LEN;

/// Where the IP header begins.
const IP: usize = EthHdr::LEN;

/// Version 4, a header length of 5 words.
const VERSION_4_NO_OPTIONS: u8 = 0x45;

/// More fragments, or a fragment offset, in the fourth 16-bit word of the IPv4 header.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// Reads the headers of an IPv4 frame that begins with `head`; `None` if it is unusual.
#[inline(always)]
pub(crate) fn plain_v4<F: Frame>(frame: &F, head: &[u8; HEAD]) -> Option<PacketV4> {
    if head[IP] != VERSION_4_NO_OPTIONS || head.u16_at(IP + offset_of!(Ipv4Hdr, frags)) & FRAGMENT != 0 {
        return None;
    }
    let protocol = head[IP + offset_of!(Ipv4Hdr, proto)];
    let transport = plain_transport(frame, HEAD, protocol)?;
    let length = u32::from(u16::from_be(head.u16_at(IP + offset_of!(Ipv4Hdr, tot_len))));
    if length < Ipv4Hdr::LEN as u32 + transport.shortest || !frame.has(IP + length as usize) {
        return None;
    }
    let addresses = head.u64_at(IP + offset_of!(Ipv4Hdr, src_addr));
    Some(PacketV4::new(key_v4(addresses, transport.ports, protocol), transport.tcp_flags, length))
}

/// Reads the headers of an IPv6 frame; `None` if it is unusual.
#[inline(always)]
pub(crate) fn plain_v6<F: Frame>(frame: &F) -> Option<PacketV6> {
    let header = frame.bytes::<{ Ipv6Hdr::LEN }>(IP)?;
    let protocol = header[offset_of!(Ipv6Hdr, next_hdr)];
    let transport = plain_transport(frame, IP + Ipv6Hdr::LEN, protocol)?;
    let payload = u32::from(u16::from_be(header.u16_at(offset_of!(Ipv6Hdr, payload_len))));
    let length = payload + Ipv6Hdr::LEN as u32;
    if header[0] >> 4 != 6 || payload < transport.shortest || !frame.has(IP + length as usize) {
        return None;
    }
    let source = offset_of!(Ipv6Hdr, src_addr);
    let addresses = [0, 8, 16, 24].map(|i| header.u64_at(source + i));
    Some(PacketV6::new(key_v6(addresses, transport.ports, protocol), transport.tcp_flags, length))
}
