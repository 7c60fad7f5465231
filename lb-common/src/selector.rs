//! How the data plane picks a slot of a virtual server's slot table.
//!
//! Userspace turns a scheduler and the weights of the real servers into a selector and a table of slots; the
//! data plane indexes. What a slot holds is a destination, or [`NO_DESTINATION`].

mod search;

pub use search::{Found, Search};

use crate::hash::hash_32;

/// A slot whose flows get no real server: `sh` and `dh` keep the place of a server of weight 0.
pub const NO_DESTINATION: u32 = u32::MAX;

/// Slots in the table of a hash selector (`IP_VS_SH_TAB_SIZE`, `IP_VS_DH_TAB_SIZE`).
pub const HASH_SLOTS: u32 = 1 << HASH_BITS;
const HASH_BITS: u32 = 8;

/// A slot: a destination, its weight where the selector compares loads, and whether it has thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u64);

impl Slot {
    const WEIGHT_SHIFT: u32 = 32;
    const HAS_THRESHOLDS: u64 = 1 << 48;

    /// No destination.
    pub const NONE: Self = Self(NO_DESTINATION as u64);

    /// A destination; `weight` is at most [`MAX_WEIGHT`](crate::limits::MAX_WEIGHT).
    #[must_use]
    pub const fn new(destination: u32, weight: u32) -> Self {
        Self(destination as u64 | (weight as u64 & 0xffff) << Self::WEIGHT_SHIFT)
    }

    /// The same; its destination may be overloaded.
    #[must_use]
    pub const fn with_thresholds(self) -> Self {
        Self(self.0 | Self::HAS_THRESHOLDS)
    }

    /// From the word in the slot table.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word in the slot table.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The destination, or [`NO_DESTINATION`].
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> u32 {
        self.0 as u32
    }

    /// The weight.
    #[inline(always)]
    #[must_use]
    pub const fn weight(self) -> u32 {
        (self.0 >> Self::WEIGHT_SHIFT) as u32 & 0xffff
    }

    /// Whether its destination may be overloaded.
    #[inline(always)]
    #[must_use]
    pub const fn has_thresholds(self) -> bool {
        self.0 & Self::HAS_THRESHOLDS != 0
    }
}

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
    /// The server with the least connections: lc.
    LeastConnection = 5,
    /// The same, by weight: wlc.
    WeightedLeastConnection = 6,
    /// The one that would have the least active connections, by weight, with this one: sed.
    ShortestExpectedDelay = 7,
    /// One without active connections, or else as sed: nq.
    NeverQueue = 8,
    /// The heaviest: fo.
    WeightedFailover = 9,
    /// The heaviest that has not more active connections than its weight: ovf.
    WeightedOverflow = 10,
    /// Of two picked at random the one that wlc would choose: twos.
    TwoChoices = 11,
    /// The one that this destination address had before, or else as wlc: lblc.
    Locality = 12,
    /// One of those that this destination address had before, or else as wlc: lblcr.
    ReplicatedLocality = 13,
}

impl Selector {
    /// Every selector.
    pub const ALL: [Self; 12] = [
        Self::Counter,
        Self::Source,
        Self::Destination,
        Self::LeastConnection,
        Self::WeightedLeastConnection,
        Self::ShortestExpectedDelay,
        Self::NeverQueue,
        Self::WeightedFailover,
        Self::WeightedOverflow,
        Self::TwoChoices,
        Self::Locality,
        Self::ReplicatedLocality,
    ];

    /// The selector with this number, if there is one.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Counter),
            2 => Some(Self::Source),
            3 => Some(Self::Destination),
            5 => Some(Self::LeastConnection),
            6 => Some(Self::WeightedLeastConnection),
            7 => Some(Self::ShortestExpectedDelay),
            8 => Some(Self::NeverQueue),
            9 => Some(Self::WeightedFailover),
            10 => Some(Self::WeightedOverflow),
            11 => Some(Self::TwoChoices),
            12 => Some(Self::Locality),
            13 => Some(Self::ReplicatedLocality),
            _ => None,
        }
    }

    /// Whether every director chooses the same slot for the same flow, so that a flow without an entry (seen
    /// first by another director) can be scheduled in the middle.
    #[inline(always)]
    #[must_use]
    pub const fn is_reproducible(self) -> bool {
        matches!(self, Self::Source | Self::Destination)
    }

    /// Whether the slots are a list of all servers with their weights, of which the data plane compares the loads.
    #[inline(always)]
    #[must_use]
    pub const fn compares_loads(self) -> bool {
        !matches!(self, Self::Counter | Self::Source | Self::Destination)
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
