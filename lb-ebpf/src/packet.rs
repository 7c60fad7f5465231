//! What later stages need to know of a frame to TCP or UDP.

use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::selector::fold;
use network_types::ip::IpProto;

/// A packet: the key of its flow, whose `K` words tell the family, its TCP flags and its length.
///
/// Addresses and ports are as they lie in the frame (network byte order), loaded as little-endian words. Without
/// padding, so that a pointer to one can be given to a function that the verifier checks by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<const K: usize> {
    /// [`key_v4`](lb_common::connection::key_v4) or [`key_v6`](lb_common::connection::key_v6).
    pub key: [u64; K],
    length: u32,
    tcp_flags: u32,
}

/// An IPv4 packet.
pub type PacketV4 = Packet<KEY_WORDS_V4>;
/// An IPv6 packet.
pub type PacketV6 = Packet<KEY_WORDS_V6>;

impl<const K: usize> Packet<K> {
    /// A packet of the flow `key`. `tcp_flags` is byte 13 of the TCP header, 0 for UDP; `length` counts the bytes
    /// of the IP packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: [u64; K], tcp_flags: u8, length: u32) -> Self {
        Self { key, length, tcp_flags: tcp_flags as u32 }
    }

    /// No packet.
    pub const EMPTY: Self = Self::new([0; K], 0, 0);

    /// An ICMP error about a packet of the flow `key`.
    #[inline(always)]
    #[must_use]
    pub const fn error(key: [u64; K], length: u32) -> Self {
        Self { key, length, tcp_flags: Self::ERROR }
    }

    const ERROR: u32 = 1 << 8;

    /// Whether it is an ICMP error about the flow, and none of the flow's own packets.
    #[inline(always)]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.tcp_flags & Self::ERROR != 0
    }

    /// A packet to the same address, without ports and protocol.
    #[inline(always)]
    #[must_use]
    pub const fn to_any_port(&self) -> Self {
        let mut key = self.key;
        key[K - 1] = 0;
        Self::new(key, 0, self.length)
    }

    /// Bytes of the IP packet, its header included.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// Byte 13 of the TCP header; 0 for UDP.
    #[inline(always)]
    #[must_use]
    pub const fn tcp_flags(&self) -> u8 {
        self.tcp_flags as u8
    }

    /// Source port in the low half, destination port in the high half.
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self) -> u32 {
        self.key[K - 1] as u32
    }

    /// The source port in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        (self.ports() as u16).swap_bytes()
    }

    /// The destination port.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        (self.ports() >> 16) as u16
    }

    /// The IP protocol number: TCP or UDP.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        (self.key[K - 1] >> 32) as u8
    }

    /// Whether this is a TCP segment.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.protocol() == IpProto::Tcp as u8
    }

    /// The source address; an IPv6 one folded into a word, for hashing.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> u32 {
        if K == KEY_WORDS_V4 { self.key[0] as u32 } else { fold([self.key[0], self.key[1]]) }
    }

    /// Whether the source is an address that no client can have: the destination's own, unspecified, loopback or
    /// multicast (RFC 1122, section 3.2.1.3; RFC 4291, sections 2.5.2, 2.5.3 and 2.7).
    #[inline(always)]
    #[must_use]
    pub const fn has_impossible_source(&self) -> bool {
        if K == KEY_WORDS_V4 {
            let first_octet = self.key[0] as u8;
            self.source() == self.destination()
                || first_octet == 0
                || first_octet == 127
                || first_octet >= 224
        } else {
            const ONE: u64 = 1u64.to_be();
            let [high, low] = [self.key[0], self.key[1 % K]];
            high == self.key[2 % K] && low == self.key[3 % K]
                || high == 0 && (low == 0 || low == ONE)
                || high as u8 == 0xff
        }
    }

    /// The destination address as one word; of an IPv6 one, a hash.
    #[inline(always)]
    #[must_use]
    pub const fn destination_word(&self) -> u64 {
        if K == KEY_WORDS_V4 {
            return self.key[0] >> 32;
        }
        // An odd multiplier tells the halves apart (`golden ratio`, as in the table's hash).
        self.key[2 % K].wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.key[3 % K]
    }

    /// The destination address; an IPv6 one folded into a word, for hashing.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> u32 {
        if K == KEY_WORDS_V4 { (self.key[0] >> 32) as u32 } else { fold([self.key[2 % K], self.key[3 % K]]) }
    }
}
