//! How the data plane picks a slot of a virtual server's slot table.
//!
//! Userspace turns a scheduler and the weights of the real servers into a selector and a table of slots; the
//! data plane indexes. What a slot holds is a destination, or [`NO_DESTINATION`].

use crate::hash::hash_32;

/// A slot whose flows get no real server: `sh` and `dh` keep the place of a server of weight 0.
pub const NO_DESTINATION: u32 = u32::MAX;

/// Slots in the table of a hash selector (`IP_VS_SH_TAB_SIZE`, `IP_VS_DH_TAB_SIZE`).
pub const HASH_SLOTS: u32 = 1 << HASH_BITS;
const HASH_BITS: u32 = 8;

/// How a slot is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Selector {
    /// The next slot, round and round: rr, wrr.
    Counter = 1,
    /// By a hash of the client's address: sh (`ip_vs_sh_hashkey`).
    Source = 2,
    /// By a hash of the VIP: dh (`ip_vs_dh_hashkey`).
    Destination = 3,
}

impl Selector {
    /// Every selector.
    pub const ALL: [Self; 3] = [Self::Counter, Self::Source, Self::Destination];

    /// The selector with this number, if there is one.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Counter),
            2 => Some(Self::Source),
            3 => Some(Self::Destination),
            _ => None,
        }
    }

    /// Whether every director chooses the same slot for the same flow, so that a flow without an entry (seen
    /// first by another director) can be scheduled in the middle.
    #[inline(always)]
    #[must_use]
    pub const fn is_reproducible(self) -> bool {
        match self {
            Self::Source | Self::Destination => true,
            Self::Counter => false,
        }
    }
}

/// The slot of an address for [`Selector::Source`] and [`Selector::Destination`]: `hash_32` of the address in
/// host byte order.
///
/// `address` is as it lies in the frame, loaded as a little-endian word; of an IPv6 address [`fold`] makes one.
#[inline(always)]
#[must_use]
pub const fn hash_slot(address: u32) -> u32 {
    hash_32(address.swap_bytes(), HASH_BITS)
}

/// An IPv6 address as one word, for hashing: the exclusive or of its four (`ip_vs_sh_hashkey`).
/// `address` is as it lies in the frame, loaded as two little-endian words, and so is the result.
#[inline(always)]
#[must_use]
pub const fn fold(address: [u64; 2]) -> u32 {
    let both = address[0] ^ address[1];
    (both ^ both >> 32) as u32
}
