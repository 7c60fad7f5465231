//! How the data plane picks a slot of a virtual server's slot table.
//!
//! Userspace turns a scheduler and the weights of the real servers into a selector and a table of slots; the
//! data plane indexes. What a slot holds is a destination, or [`NO_DESTINATION`].

mod search;

use core::net::IpAddr;

pub use search::{Found, STRIDE, Search};

use crate::hash::hash_32;
use crate::load::Load;
use crate::siphash::hsiphash_u32;

/// A slot whose flows get no real server: `sh`, `dh` and `mh` keep the place of a server of weight 0.
pub const NO_DESTINATION: u32 = u32::MAX;

/// Slots in the table of a hash selector (`IP_VS_SH_TAB_SIZE`, `IP_VS_DH_TAB_SIZE`).
pub const HASH_SLOTS: u32 = 1 << HASH_BITS;
const HASH_BITS: u32 = 8;

/// Lengths that the table of [`Selector::Maglev`] may have (`primes` in `ip_vs_mh.c`).
pub const MAGLEV_SLOTS: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071];
/// The length that it has unless another is asked for: that of `CONFIG_IP_VS_MH_TAB_INDEX` 12, as kernels are built.
pub const DEFAULT_MAGLEV_SLOTS: u32 = 4093;
/// A slot: a destination, its weight where the selector compares loads, and whether it has thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u64);

crate::one_word!(Slot, u64);

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

    /// Whether its destination gets no connections because it has too many. Only if it may have, its load is looked up.
    #[inline(always)]
    pub fn is_overloaded<'a>(self, loads: impl FnOnce(u32) -> Option<&'a Load>) -> bool {
        self.has_thresholds() && loads(self.destination()).is_some_and(Load::is_overloaded)
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
    /// By a better hash of the client's address, into a table that changes little with its servers: mh
    /// (`ip_vs_mh_hashkey`).
    Maglev = 4,
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
    pub const ALL: [Self; 13] = [
        Self::Counter,
        Self::Source,
        Self::Destination,
        Self::Maglev,
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

    /// The byte of a slot table that says how a slot is picked.
    #[must_use]
    pub const fn with(self, options: Options) -> u8 {
        self as u8 | options.0
    }

    /// The selector with this number, if there is one. [`Options`] beside the number make no difference.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number & !Options::ALL {
            1 => Some(Self::Counter),
            2 => Some(Self::Source),
            3 => Some(Self::Destination),
            4 => Some(Self::Maglev),
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
        matches!(self, Self::Source | Self::Destination | Self::Maglev)
    }

    /// Whether the slots are a list of all servers with their weights, of which the data plane compares the loads.
    #[inline(always)]
    #[must_use]
    pub const fn compares_loads(self) -> bool {
        !matches!(self, Self::Counter | Self::Source | Self::Destination | Self::Maglev)
    }
}

/// What a selector does besides: bits above its number, in the byte of the slot table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options(u8);

impl Options {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// [`Selector::Source`] and [`Selector::Maglev`] hash the client's port too (`sh-port`, `mh-port`).
    pub const PORT: Self = Self(0x20);
    /// The same try one slot after the other until they find one whose real server takes connections (`sh-fallback`,
    /// `mh-fallback`).
    pub const FALLBACK: Self = Self(0x40);

    /// Bits that are no part of a selector's number.
    const ALL: u8 = 0xe0;

    /// From the byte of a slot table.
    #[inline(always)]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte & Self::ALL)
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is among them.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a client is hashed as: its address in host byte order, and its port in host byte order (0 if that does not
/// count) added.
///
/// `address` is as it lies in the frame, loaded as a little-endian word; of an IPv6 address [`fold`] makes one.
#[inline(always)]
#[must_use]
pub const fn hashed(address: u32, port: u16) -> u32 {
    address.swap_bytes().wrapping_add(port as u32)
}

/// The slot of what is [`hashed`] for [`Selector::Source`] and [`Selector::Destination`].
#[inline(always)]
#[must_use]
pub const fn hash_slot(hashed: u32) -> u32 {
    hash_32(hashed, HASH_BITS)
}

/// The slot of what is [`hashed`] for [`Selector::Maglev`], among `slots`, which is not 0.
#[inline(always)]
#[must_use]
pub const fn maglev_slot(hashed: u32, slots: u32) -> u32 {
    hsiphash_u32(hashed, MAGLEV_KEYS[0]) % slots
}

/// The slot that is tried as the `nth` when the `own` has no real server, for a selector that hashes the source: those
/// from 0 to `slots` - 1 go through every offset once (`ip_vs_sh_get_fallback`, `ip_vs_mh_get_fallback`).
#[inline(always)]
#[must_use]
pub const fn fallback_slot(selector: Selector, hashed: u32, slots: u32, own: u32, nth: u32) -> u32 {
    let offset = (own + nth) % slots;
    match selector {
        Selector::Maglev => maglev_slot(hashed.wrapping_add(offset), slots),
        _ => (own + offset) % slots,
    }
}

/// Where [`Selector::Maglev`]'s table is populated from for one real server, whose address and port are [`hashed`]: its
/// first slot, and the distance to each next (`ip_vs_mh_permutate`).
#[must_use]
pub const fn maglev_permutation(hashed: u32, slots: u32) -> (u32, u32) {
    (maglev_slot(hashed, slots), hsiphash_u32(hashed, MAGLEV_KEYS[1]) % (slots - 1) + 1)
}

/// Both words of the two keys (`generate_hash_secret`).
const MAGLEV_KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// An address as one word, for hashing.
#[must_use]
pub const fn word(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => u32::from_le_bytes(address.octets()),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = address.octets();
            fold([u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest)])
        }
    }
}

/// An IPv6 address as one word, for hashing: the exclusive or of its four (`ip_vs_sh_hashkey`).
/// `address` is as it lies in the frame, loaded as two little-endian words, and so is the result.
#[inline(always)]
#[must_use]
pub const fn fold(address: [u64; 2]) -> u32 {
    let both = address[0] ^ address[1];
    (both ^ both >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: [[u8; 4]; 3] = [[192, 168, 1, 1], [192, 168, 1, 2], [203, 0, 113, 7]];

    fn hashed_as(address: [u8; 4], port: u16) -> u32 {
        hashed(u32::from_le_bytes(address), port)
    }

    /// What a kernel of Linux 6.1 gave.
    #[test]
    fn clients_have_the_slots_that_the_kernel_gives_them() {
        let sh = |port| CLIENTS.map(|client| hash_slot(hashed_as(client, port)));
        assert_eq!((sh(0), sh(40_000)), ([136, 234, 124], [44, 142, 32]));
        let mh = CLIENTS.map(|client| maglev_slot(hashed_as(client, 0), DEFAULT_MAGLEV_SLOTS));
        assert_eq!(mh, [2456, 811, 1705]);
    }

    #[test]
    fn real_servers_have_the_permutations_that_the_kernel_gives_them() {
        let permutation = |last| maglev_permutation(hashed_as([10, 0, 0, last], 80), DEFAULT_MAGLEV_SLOTS);
        assert_eq!([1, 2, 3].map(permutation), [(3167, 700), (1231, 3544), (1631, 3453)]);
    }

    #[test]
    fn options_do_not_change_the_selector() {
        let both = Options::PORT.and(Options::FALLBACK);
        for selector in Selector::ALL {
            for options in [Options::NONE, Options::PORT, Options::FALLBACK, both] {
                let byte = selector.with(options);
                assert_eq!(
                    (Selector::from_number(byte), Options::from_byte(byte)),
                    (Some(selector), options)
                );
            }
        }
        assert!(both.contains(Options::PORT) && !Options::FALLBACK.contains(Options::PORT));
        assert_eq!([0, 31].map(Selector::from_number), [None; 2]);
    }

    #[test]
    fn a_fallback_begins_at_the_first_slots_number_and_tries_every_offset() {
        let (client, slots) = (hashed_as([203, 0, 113, 7], 0), MAGLEV_SLOTS[0]);
        let first = maglev_slot(client, slots);
        let mut offsets = [false; 251];
        for nth in 0..slots {
            let offset = (first + nth) % slots;
            assert_eq!(
                fallback_slot(Selector::Maglev, client, slots, first, nth),
                maglev_slot(client + offset, slots)
            );
            offsets[offset as usize] = true;
        }
        assert_eq!(offsets, [true; 251]);
        let sh = |nth| fallback_slot(Selector::Source, client, HASH_SLOTS, 124, nth);
        assert_eq!([0, 1, 7, 8, 255].map(sh), [248, 249, 255, 0, 247]);
    }
}
