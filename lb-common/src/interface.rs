//! The director's network interfaces, and whose frames it takes there.

use crate::Word;
use crate::limits::MAX_PEERS;

/// A MAC as a word: its bytes in order, loaded as a little-endian word; the upper 16 bits are 0.
#[inline(always)]
#[must_use]
pub const fn mac_word(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The bits of a word that a MAC fills.
pub const MAC_MASK: u64 = 0xFFFF_FFFF_FFFF;

/// One interface.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Interface {
    /// The interface's own MAC ([`mac_word`]).
    pub mac: Word,
    /// A second MAC it answers to (VRRP's virtual MAC), or the same.
    pub virtual_mac: Word,
    /// One bit for each peer's [`peer_bit`], so that a frame from anybody else costs one test.
    pub peer_filter: Word,
    /// Peer directors' MACs; unused places hold 0.
    pub peers: [Word; MAX_PEERS],
    /// For the daemon that takes over: 1 if a daemon switched the NIC's removal of VLAN tags off.
    pub vlan_offload_was_on: Word,
}

const _: () = assert!(size_of::<Interface>() == 128, "two cache lines");

/// The bit of [`Interface::peer_filter`] for a MAC: its last six bits name it.
#[inline(always)]
#[must_use]
pub const fn peer_bit(mac: u64) -> u64 {
    1 << ((mac >> 40) & 63)
}

impl Interface {
    /// Whether frames to `mac` are this interface's.
    #[inline(always)]
    pub fn is_own(&self, mac: u64) -> bool {
        mac == self.mac.load() || mac == self.virtual_mac.load()
    }

    /// Whether `mac` is a peer director's.
    #[inline(always)]
    pub fn is_peer(&self, mac: u64) -> bool {
        self.peer_filter.load() & peer_bit(mac) != 0 && self.peers.iter().any(|peer| peer.load() == mac)
    }
}
