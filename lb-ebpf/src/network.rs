//! Headers of any frame that carries IP: VLAN tags, options, extension headers, fragments.
//!
//! Slower than [`plain`](crate::plain) and complete: what that one has no time for ends up here.

use core::mem::offset_of;

use lb_common::connection::KEY_WORDS_V4;
use lb_common::counter::Reason;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::Frame;
use crate::frame::Words;

/// Bytes of an 802.1Q tag: the control information, and the EtherType of what follows.
pub(crate) const VLAN_TAG: usize = 4;

/// Extension headers that are walked. RFC 8200, section 4.1, has an order for seven; packets have one or two.
const MAX_EXTENSIONS: usize = 6;

/// Where IP begins, and which.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    /// Bytes before the IP header: 14, and 4 for each VLAN tag.
    pub(crate) offset: usize,
    /// As it lies in the frame.
    pub(crate) ether_type: u16,
}

/// An EtherType that no frame has: where it should be, the frame ends.
pub(crate) const TRUNCATED: u16 = 0;

/// Reads the Ethernet header and up to two VLAN tags (802.1Q, 802.1ad).
#[inline(always)]
pub(crate) fn link<F: Frame>(frame: &mut F) -> Link {
    let Some(ethernet) = frame.fetch::<{ EthHdr::LEN }>(0) else {
        return Link { offset: EthHdr::LEN, ether_type: TRUNCATED };
    };
    let mut link = Link { offset: EthHdr::LEN, ether_type: ethernet.u16_at(offset_of!(EthHdr, ether_type)) };
    for _ in 0..2 {
        if !is_vlan(link.ether_type) {
            break;
        }
        let ether_type = frame.fetch::<VLAN_TAG>(link.offset).map_or(TRUNCATED, |tag| tag.u16_at(2));
        link = Link { offset: link.offset + VLAN_TAG, ether_type };
    }
    link
}

/// Whether a VLAN tag follows an EtherType.
#[inline(always)]
pub(crate) const fn is_vlan(ether_type: u16) -> bool {
    ether_type == EtherType::Ieee8021q as u16 || ether_type == EtherType::Ieee8021ad as u16
}

/// What an IP header and its extensions say.
#[derive(Clone, Copy)]
pub(crate) struct Network<const K: usize> {
    /// The addresses of the flow's key; its last word holds the protocol only.
    pub(crate) key: [u64; K],
    /// Where the transport header begins, in bytes from the frame's first.
    pub(crate) transport: usize,
    /// Bytes of the IP packet, its header included.
    pub(crate) length: u32,
    /// Bytes of that before the transport header.
    pub(crate) header: u32,
    /// Which fragment it is, if it is one.
    pub(crate) fragment: Option<Fragment>,
}

impl<const K: usize> Network<K> {
    /// The protocol after the IP headers.
    #[inline(always)]
    pub(crate) const fn protocol(&self) -> u8 {
        (self.key[K - 1] >> 32) as u8
    }
}

/// A part of a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Fragment {
    /// The datagram's identification, as it lies in the frame.
    pub(crate) id: u32,
    /// Whether it has the transport header.
    pub(crate) is_first: bool,
}

/// Reads the headers from the IP header at `offset` to the transport header. `K` tells the family.
///
/// # Errors
/// [`Reason::PassMalformed`], if they contradict each other or the frame's end.
#[inline(always)]
pub(crate) fn network<const K: usize, F: Frame>(frame: &mut F, offset: usize) -> Result<Network<K>, Reason> {
    if K == KEY_WORDS_V4 { network_v4(frame, offset) } else { network_v6(frame, offset) }
}

/// The words of a key: `addresses`, as many as there is room for, and the protocol.
#[inline(always)]
fn key<const K: usize>(addresses: [u64; 4], protocol: u8) -> [u64; K] {
    let mut key = [0; K];
    let mut i = 0;
    while i < K - 1 && i < addresses.len() {
        key[i] = addresses[i];
        i += 1;
    }
    key[K - 1] = u64::from(protocol) << 32;
    key
}

/// More fragments, in the fourth 16-bit word of the IPv4 header.
const MORE_FRAGMENTS_V4: u16 = 0x2000;
/// The offset beside it, in 8 bytes.
const FRAGMENT_OFFSET_V4: u16 = 0x1fff;

#[inline(always)]
fn network_v4<const K: usize, F: Frame>(frame: &mut F, offset: usize) -> Result<Network<K>, Reason> {
    let head = frame.fetch::<{ Ipv4Hdr::LEN }>(offset).ok_or(Reason::PassMalformed)?;
    let header = u32::from(head[0] & 0x0f) * 4;
    let length = u32::from(u16::from_be(head.u16_at(offset_of!(Ipv4Hdr, tot_len))));
    if head[0] >> 4 != 4 || (header as usize) < Ipv4Hdr::LEN || length < header {
        return Err(Reason::PassMalformed);
    }
    let place = u16::from_be(head.u16_at(offset_of!(Ipv4Hdr, frags)));
    let is_first = place & FRAGMENT_OFFSET_V4 == 0;
    let id = u32::from(head.u16_at(offset_of!(Ipv4Hdr, id)));
    let is_fragment = place & (MORE_FRAGMENTS_V4 | FRAGMENT_OFFSET_V4) != 0;
    let addresses = head.u64_at(offset_of!(Ipv4Hdr, src_addr));
    Ok(Network {
        key: key([addresses, 0, 0, 0], head[offset_of!(Ipv4Hdr, proto)]),
        transport: offset + header as usize,
        length,
        header,
        fragment: is_fragment.then_some(Fragment { id, is_first }),
    })
}

#[inline(always)]
fn network_v6<const K: usize, F: Frame>(frame: &mut F, offset: usize) -> Result<Network<K>, Reason> {
    let head = frame.fetch::<{ Ipv6Hdr::LEN }>(offset).ok_or(Reason::PassMalformed)?;
    if head[0] >> 4 != 6 {
        return Err(Reason::PassMalformed);
    }
    let payload = u32::from(u16::from_be(head.u16_at(offset_of!(Ipv6Hdr, payload_len))));
    let source = offset_of!(Ipv6Hdr, src_addr);
    let addresses = [0, 8, 16, 24].map(|i| head.u64_at(source + i));
    let next = head[offset_of!(Ipv6Hdr, next_hdr)];
    let extensions = frame.extensions(offset + Ipv6Hdr::LEN, next);
    let transport = extensions.transport().ok_or(Reason::PassMalformed)?;
    let header = (transport - offset) as u32;
    let length = payload + Ipv6Hdr::LEN as u32;
    if length < header {
        return Err(Reason::PassMalformed);
    }
    Ok(Network {
        key: key(addresses, extensions.protocol()),
        transport,
        length,
        header,
        fragment: extensions.fragment(),
    })
}

/// What follows an IPv6 header, in one register: what a function of a BPF program can return.
///
/// From below: 32 bits identification, 14 bits place of the transport header, 8 bits protocol, then flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions(u64);

lb_common::one_word!(Extensions, u64);

impl Extensions {
    const MALFORMED: Self = Self(0);
    const TRANSPORT_SHIFT: u32 = 32;
    /// Seven extensions of at most 2048 bytes, and what is before them.
    const TRANSPORT_MASK: u64 = 0x3fff;
    const PROTOCOL_SHIFT: u32 = 46;
    const FRAGMENT: u64 = 1 << 54;
    const FIRST: u64 = 1 << 55;
    const VALID: u64 = 1 << 56;

    #[inline(always)]
    fn transport(self) -> Option<usize> {
        let place = (self.0 >> Self::TRANSPORT_SHIFT & Self::TRANSPORT_MASK) as usize;
        (self.0 & Self::VALID != 0).then_some(place)
    }

    #[inline(always)]
    const fn protocol(self) -> u8 {
        (self.0 >> Self::PROTOCOL_SHIFT) as u8
    }

    #[inline(always)]
    fn fragment(self) -> Option<Fragment> {
        let fragment = Fragment { id: self.0 as u32, is_first: self.0 & Self::FIRST != 0 };
        (self.0 & Self::FRAGMENT != 0).then_some(fragment)
    }
}

/// Walks the extension headers at `offset`, the first of which is of the kind `next`.
#[inline(always)]
pub fn walk_extensions<F: Frame>(frame: &mut F, mut offset: usize, mut next: u8) -> Extensions {
    let mut fragment = 0;
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(next) {
            break;
        }
        let Some(extension) = frame.fetch::<8>(offset) else { return Extensions::MALFORMED };
        offset += match next {
            FRAGMENT_HEADER => 8,
            // In words of 4 bytes, less 2 (RFC 4302, section 2.2).
            AUTHENTICATION_HEADER => (usize::from(extension[1]) + 2) * 4,
            // In words of 8 bytes, less 1 (RFC 8200, sections 4.3 to 4.6).
            _ => (usize::from(extension[1]) + 1) * 8,
        };
        if next == FRAGMENT_HEADER {
            let place = u16::from_be(extension.u16_at(2));
            let is_first = place & FRAGMENT_OFFSET_V6 == 0;
            // An atomic fragment (RFC 6946) is no fragment.
            if !is_first || place & MORE_FRAGMENTS_V6 != 0 {
                fragment = u64::from(extension.u32_at(4)) | Extensions::FRAGMENT;
            }
            if is_first {
                fragment |= Extensions::FIRST;
            } else {
                // What follows is the middle of something.
                next = extension[0];
                break;
            }
        }
        next = extension[0];
    }
    let is_later = fragment & (Extensions::FRAGMENT | Extensions::FIRST) == Extensions::FRAGMENT;
    if is_extension(next) && !is_later {
        return Extensions::MALFORMED;
    }
    let transport = (offset as u64 & Extensions::TRANSPORT_MASK) << Extensions::TRANSPORT_SHIFT;
    let protocol = u64::from(next) << Extensions::PROTOCOL_SHIFT;
    Extensions(Extensions::VALID | fragment | protocol | transport)
}

const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
const ROUTING_HEADER: u8 = IpProto::Ipv6Route as u8;
const FRAGMENT_HEADER: u8 = IpProto::Ipv6Frag as u8;
const AUTHENTICATION_HEADER: u8 = IpProto::Ah as u8;
const DESTINATION_OPTIONS: u8 = IpProto::Ipv6Opts as u8;

/// More fragments, in the second 16-bit word of the fragment header (RFC 8200, section 4.5).
const MORE_FRAGMENTS_V6: u16 = 1;
/// The offset beside it, in 8 bytes.
const FRAGMENT_OFFSET_V6: u16 = 0xfff8;

#[inline(always)]
const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        HOP_BY_HOP | ROUTING_HEADER | FRAGMENT_HEADER | AUTHENTICATION_HEADER | DESTINATION_OPTIONS
    )
}

/// Where the flags of a TCP header are.
const TCP_FLAGS: usize = 13;

/// What a TCP or UDP header says.
pub(crate) struct Transport {
    pub(crate) ports: u32,
    pub(crate) tcp_flags: u8,
    /// Bytes of the shortest such header.
    pub(crate) shortest: u32,
}

impl Transport {
    #[inline(always)]
    fn tcp(header: &[u8; TCP_FLAGS + 1]) -> Self {
        Self { ports: header.u32_at(0), tcp_flags: header[TCP_FLAGS], shortest: TcpHdr::LEN as u32 }
    }

    #[inline(always)]
    fn udp(header: &[u8; UdpHdr::LEN]) -> Self {
        Self { ports: header.u32_at(0), tcp_flags: 0, shortest: UdpHdr::LEN as u32 }
    }
}

/// Reads the header of the transport protocol at `offset`, where it can be read directly; `None` elsewhere.
#[inline(always)]
pub(crate) fn plain_transport<F: Frame>(frame: &F, offset: usize, protocol: u8) -> Option<Transport> {
    if protocol == IpProto::Tcp as u8 {
        frame.bytes(offset).map(Transport::tcp)
    } else if protocol == IpProto::Udp as u8 {
        frame.bytes(offset).map(Transport::udp)
    } else {
        None
    }
}

/// Reads the header of the transport protocol at `offset`, wherever it lies.
///
/// # Errors
/// The reason to pass the frame to the local stack.
#[inline(always)]
pub(crate) fn transport<F: Frame>(frame: &mut F, offset: usize, protocol: u8) -> Result<Transport, Reason> {
    if protocol == IpProto::Tcp as u8 {
        frame.fetch(offset).map(Transport::tcp).ok_or(Reason::PassMalformed)
    } else if protocol == IpProto::Udp as u8 {
        frame.fetch(offset).map(Transport::udp).ok_or(Reason::PassMalformed)
    } else {
        Err(Reason::PassNotTcpUdp)
    }
}
