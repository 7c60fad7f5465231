//! Fragments of a datagram: the first one decides, and the others follow it.

use crate::connection::KEY_WORDS_V4;

/// After this many seconds a datagram's fragments are forgotten, as by those who put them together (`ipfrag_time`,
/// `ip6frag_time`).
pub const FRAGMENT_SECONDS: u32 = 30;

/// Datagrams of which fragments are remembered; the one that was used longest ago makes room.
pub const MAX_FRAGMENTED: u32 = 16_384;

/// What the fragments of one datagram have in common: addresses, identification, and in IPv4 the protocol (RFC 791,
/// section 2.3); a later fragment of IPv6 need not say it (RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentKey {
    addresses: [u64; 4],
    id: u32,
    protocol: u32,
}

impl FragmentKey {
    /// The key of a datagram between the addresses that the flow's key begins with. `id` is the identification as it
    /// lies in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn new<const K: usize>(flow: &[u64; K], id: u32) -> Self {
        let mut addresses = [0; 4];
        let mut i = 0;
        while i < K - 1 && i < 4 {
            addresses[i] = flow[i];
            i += 1;
        }
        let protocol = if K == KEY_WORDS_V4 { (flow[K - 1] >> 32) as u32 } else { 0 };
        Self { addresses, id, protocol }
    }
}

/// Where the fragments of a datagram go.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentRoute {
    /// The number of the destination.
    pub destination: u32,
    /// The second in which the first fragment was seen ([`crate::clock`]).
    pub seen: u32,
}

impl FragmentRoute {
    /// Whether the datagram's other fragments may still come.
    #[inline(always)]
    #[must_use]
    pub const fn is_fresh(self, now: u32) -> bool {
        crate::clock::age(now, self.seen) < FRAGMENT_SECONDS
    }
}

/// Bytes of the longest frame that is held: fragments are as long as the MTU, which on Ethernet is 1500 bytes.
pub const MAX_HELD_FRAME: usize = 1536;

/// Bytes of the ring buffer by which the daemon gets fragments to hold.
pub const HELD_RING_BYTES: u32 = 1 << 20;

/// A fragment that came before its datagram's first, on its way to the daemon.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HeldFragment {
    /// The datagram.
    pub key: FragmentKey,
    /// The index of the interface it came in on.
    pub interface: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// The frame, and nothing of meaning after it.
    pub frame: [u8; MAX_HELD_FRAME],
}

const _: () = assert!(size_of::<HeldFragment>() == 48 + MAX_HELD_FRAME, "no padding");

#[cfg(feature = "user")]
// SAFETY: integers without padding; any bytes are a value.
unsafe impl aya::Pod for HeldFragment {}
#[cfg(feature = "user")]
// SAFETY: integers without padding; any bytes are a value.
unsafe impl aya::Pod for FragmentKey {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for FragmentRoute {}
