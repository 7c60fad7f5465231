//! Which frames answer a probe that the daemon sent to a VIP: those the local stack must not see.
//!
//! ```text
//!   NIC ──> XDP `lb` ──pass──> packet sockets (the daemon's) ──> tc `probe_replies` ──> local stack
//!                                                                     └─> dropped
//! ```
//!
//! The order is that of `__netif_receive_skb_core` in net/core/dev.c: whoever listens to all protocols is served before
//! ingress. A tag of a VLAN has been taken off the frame by then; one more may be left.

use lb_common::probe::{ECHO_DATA, FIRST_PORT, VipKey, vip_key};
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use crate::network::{VLAN_TAG, is_vlan};

/// The bytes of a frame, of which copies are made: the frame may lie anywhere.
pub trait Bytes {
    /// The bytes at `offset` that fill these words; `None` if the frame does not have them.
    fn copy<T: Words>(&self, offset: usize) -> Option<T>;
}

/// Words as they lie in a frame. Not bytes: the compiler would copy those to places on the stack out of which the verifier
/// lets no words be read (6.18: "misaligned stack access").
///
/// # Safety
/// Any bytes are a value, and all of them are bytes of it.
pub unsafe trait Words: Sized {}

// SAFETY: integers.
unsafe impl Words for u8 {}
// SAFETY: integers.
unsafe impl Words for u16 {}
// SAFETY: integers.
unsafe impl Words for u32 {}
// SAFETY: integers.
unsafe impl<const N: usize> Words for [u64; N] {}

/// Whether a frame answers a probe: it comes from a VIP for which `is_probed` says yes, and is for one of the probes'
/// ports. `ether_type` is that of what follows the Ethernet header, as it lies in the frame.
#[inline(always)]
pub fn is_probe_reply(bytes: &impl Bytes, ether_type: u16, is_probed: impl Fn(&VipKey) -> bool) -> bool {
    is_reply(bytes, ether_type, is_probed).unwrap_or(false)
}

#[inline(always)]
fn is_reply(bytes: &impl Bytes, mut ether_type: u16, is_probed: impl Fn(&VipKey) -> bool) -> Option<bool> {
    let mut offset = EthHdr::LEN;
    for _ in 0..2 {
        if is_vlan(ether_type) {
            ether_type = (u32::from_le(bytes.copy(offset)?) >> 16) as u16;
            offset += VLAN_TAG;
        }
    }
    if ether_type == EtherType::Ipv4 as u16 {
        // The header's bytes from 0 and from 8 on: among them its length, the fragment's offset; protocol, source.
        let [first, second] = bytes.copy::<[u64; 2]>(offset)?.map(u64::from_le);
        // Of a datagram in fragments the first is dropped, and so nobody puts it together.
        let is_later_fragment = ((first >> 48) as u16).swap_bytes() & FRAGMENT_OFFSET != 0;
        if is_later_fragment || !is_probed(&vip_key((second >> 32) as u32)) {
            return None;
        }
        let transport = offset + (first as usize & 0xf) * 4;
        let ours = match (second >> 8) as u8 {
            TCP | UDP => port(bytes, transport + 2)?,
            ICMP => match bytes.copy::<u8>(transport)? {
                ECHO_REPLY => is_echo(bytes, transport)?,
                // Destination unreachable, time exceeded, parameter problem (RFC 792): about a packet of ours.
                3 | 11 | 12 => port(bytes, transport + ICMP_HEADER + Ipv4Hdr::LEN)?,
                _ => false,
            },
            _ => false,
        };
        Some(ours)
    } else if ether_type == EtherType::Ipv6 as u16 {
        // The header's bytes from 0 on, with that which says what is next, and the source.
        let [first, source @ ..] = bytes.copy::<[u64; 3]>(offset)?.map(u64::from_le);
        if !is_probed(&source) {
            return None;
        }
        let transport = offset + Ipv6Hdr::LEN;
        let ours = match (first >> 48) as u8 {
            TCP | UDP => port(bytes, transport + 2)?,
            ICMP_V6 => match bytes.copy::<u8>(transport)? {
                ECHO_REPLY_V6 => is_echo(bytes, transport)?,
                // Errors that there are (RFC 4443, section 2.1).
                1..=4 => port(bytes, transport + ICMP_HEADER + Ipv6Hdr::LEN)?,
                _ => false,
            },
            _ => false,
        };
        Some(ours)
    } else {
        None
    }
}

const TCP: u8 = IpProto::Tcp as u8;
const UDP: u8 = IpProto::Udp as u8;
const ICMP: u8 = IpProto::Icmp as u8;
const ICMP_V6: u8 = IpProto::Ipv6Icmp as u8;
const ECHO_REPLY: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;
/// In a 16-bit word of the IPv4 header (RFC 791, section 3.1).
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Bytes of an ICMP header of either version.
const ICMP_HEADER: usize = 8;

/// Whether the port at `offset` is one of the probes'.
#[inline(always)]
fn port(bytes: &impl Bytes, offset: usize) -> Option<bool> {
    Some(u16::from_be(bytes.copy(offset)?) >= FIRST_PORT)
}

/// Whether the echo reply whose header is at `offset` answers one of the probes'.
#[inline(always)]
fn is_echo(bytes: &impl Bytes, offset: usize) -> Option<bool> {
    let [data] = bytes.copy(offset + ICMP_HEADER)?;
    Some(u64::from_le(data) == u64::from_le_bytes(ECHO_DATA) && port(bytes, offset + 4)?)
}
