//! Virtual servers as the data plane sees them.
//!
//! ```text
//!   (VIP, port, protocol) ──hash──> SERVICES_V4 or _V6 bucket ──> number of the service ──> SERVICES ──> part of SLOTS
//! ```
//!
//! The first step is a perfect hash that userspace builds: it draws multipliers until no bucket gets more than
//! [`BUCKET_ENTRIES`] addresses, writes the buckets of the generation that is not in use, and publishes
//! multiplier, size and generation as one [`Index`] word. So a look-up reads one cache line, whatever the
//! number of services; for IPv6, whose addresses are longer, sometimes two.

use crate::Word;
use crate::limits::{MAX_SERVICE_ADDRESSES, SLOT_WORDS};

/// Addresses in one bucket.
pub const BUCKET_ENTRIES: usize = 4;

/// Buckets of one generation: twice as many as entries, so that a multiplier is soon found. Beside each address there
/// may be one for its VIP ([`A_VIP`]).
pub const GENERATION_BUCKETS: u32 = 4 * MAX_SERVICE_ADDRESSES;

/// The number of no service. An `Option` would do, but the compiler keeps the number that a `None` has not got, and the
/// verifier refuses a program that reads what was never written.
pub const NO_SERVICE: u32 = u32::MAX;

/// What the VIP itself, without port and protocol, leads to: packets that have neither (a later fragment) ask only
/// whether it is one.
pub const A_VIP: u32 = u32::MAX - 1;

/// Words in the key of an IPv4 service address.
pub const ADDRESS_WORDS_V4: usize = 1;
/// Words in the key of an IPv6 service address.
pub const ADDRESS_WORDS_V6: usize = 3;

/// An IPv4 service address as one word.
///
/// `vip` and `port` are as they lie in the frame, loaded as little-endian words. The last word is never 0, in
/// either family, so an empty entry matches nothing.
#[inline(always)]
#[must_use]
pub const fn key_v4(vip: u32, port: u16, protocol: u8) -> [u64; ADDRESS_WORDS_V4] {
    [vip as u64 | port_and_protocol(port, protocol)]
}

/// An IPv6 service address as words; `vip` as it lies in the frame, loaded as two little-endian words.
#[inline(always)]
#[must_use]
pub const fn key_v6(vip: [u64; 2], port: u16, protocol: u8) -> [u64; ADDRESS_WORDS_V6] {
    [vip[0], vip[1], port_and_protocol(port, protocol)]
}

#[inline(always)]
const fn port_and_protocol(port: u16, protocol: u8) -> u64 {
    (port as u64) << 32 | (protocol as u64) << 48
}

/// One address, whose key has `W` words.
#[repr(C)]
#[derive(Debug)]
pub struct AddressEntry<const W: usize> {
    /// [`key_v4`] or [`key_v6`], or zeroes.
    pub key: [Word; W],
    /// The number of the service.
    pub service: Word,
}

/// One element of an address map.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct AddressBucket<const W: usize> {
    /// Used entries first.
    pub entries: [AddressEntry<W>; BUCKET_ENTRIES],
}

const _: () = assert!(size_of::<AddressBucket<ADDRESS_WORDS_V4>>() == 64, "one cache line");
const _: () = assert!(size_of::<AddressBucket<ADDRESS_WORDS_V6>>() == 128, "two cache lines");

impl Service {
    /// The destination of the sorry server, or [`NO_DESTINATION`](crate::selector::NO_DESTINATION).
    #[inline(always)]
    pub fn sorry_server(&self) -> u32 {
        // That one is 0 less 1.
        (self.sorry.load() as u32).wrapping_sub(1)
    }
}

impl<const W: usize> AddressBucket<W> {
    /// The number of the service with this address, or [`NO_SERVICE`].
    #[inline(always)]
    pub fn find(&self, key: &[u64; W]) -> u32 {
        for entry in &self.entries {
            if entry.key.iter().zip(key).all(|(word, expected)| word.load() == *expected) {
                return entry.service.load() as u32;
            }
        }
        NO_SERVICE
    }
}

/// Which buckets are in use and how an address is hashed to one, in one word: a random odd multiplier whose
/// highest six bits say how far to shift the product, whose bit 1 says which generation to look in, and whose bits 2
/// to 5 say how many [spans](crate::form) there are for addresses that are not exact. The word 0 means that there are
/// no services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(u64);

crate::one_word!(Index, u64);

impl Index {
    const SHIFT_SHIFT: u32 = 58;
    const GENERATION: u64 = 1 << 1;
    const FORM_SHIFT: u32 = 2;
    const FORMS: u64 = 0xf << Self::FORM_SHIFT;

    /// The most that [`with_forms`](Self::with_forms) takes.
    pub const MAX_FORM_BITS: u32 = 15;

    /// No services at all.
    pub const EMPTY: Self = Self(0);

    /// An index over `1 << bits` buckets of `generation` (false: the lower half of the map).
    ///
    /// `bits` is from 1 to 16; the highest six and lowest six bits of `random` are not used.
    #[must_use]
    pub const fn new(random: u64, bits: u32, generation: bool) -> Self {
        let shift = (64 - bits as u64) << Self::SHIFT_SHIFT;
        let random = random & !(0x3f << Self::SHIFT_SHIFT | 0x3 | Self::FORMS);
        Self(random | shift | if generation { Self::GENERATION } else { 0 } | 1)
    }

    /// The same with `1 << bits` spans of addresses that are not exact; with none if `bits` is 0.
    #[must_use]
    pub const fn with_forms(self, bits: u32) -> Self {
        Self(self.0 & !Self::FORMS | (bits as u64) << Self::FORM_SHIFT & Self::FORMS)
    }

    /// Whether an address that is not among the exact ones may be a service's nevertheless.
    #[inline(always)]
    #[must_use]
    pub const fn has_forms(self) -> bool {
        self.0 & Self::FORMS != 0
    }

    /// How many spans there are, as a power of two.
    #[inline(always)]
    #[must_use]
    pub const fn form_bits(self) -> u32 {
        (self.0 >> Self::FORM_SHIFT) as u32 & 0xf
    }

    /// Whether there is anything to look up.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many buckets there are, as a power of two.
    #[must_use]
    pub const fn bits(self) -> u32 {
        64 - (self.0 >> Self::SHIFT_SHIFT) as u32
    }

    /// Which half of the map is in use.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> bool {
        self.0 & Self::GENERATION != 0
    }

    /// The element of the map where the address `key` is, if it is anywhere.
    #[inline(always)]
    #[must_use]
    pub const fn position<const W: usize>(self, key: &[u64; W]) -> u32 {
        let base = (self.0 & Self::GENERATION) * (GENERATION_BUCKETS / 2) as u64;
        let mut hash = key[0].wrapping_mul(self.0);
        let mut i = 1;
        while i < W {
            hash = (hash ^ hash >> 32 ^ key[i]).wrapping_mul(self.0);
            i += 1;
        }
        (base + (hash >> (self.0 >> Self::SHIFT_SHIFT))) as u32
    }
}

/// One virtual server.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Service {
    /// The [`SlotTable`] in use, as one word: a new one is published by one store. 0 if the record is not in use.
    pub table: Word,
    /// Whether its clients are refused: an [`acl::Gate`](crate::acl::Gate) as its word.
    pub acl: Word,
    /// Whether new connections of a client go where its last one went: a
    /// [`Persistence`](crate::persistence::Persistence) as its word.
    pub persistence: Word,
    /// [`ServiceOptions`](crate::policy::ServiceOptions).
    pub options: Word,
    /// The number of the sorry server's destination, plus 1; 0 if there is none.
    pub sorry: Word,
}

const _: () = assert!(size_of::<Service>() == 64, "one cache line");

/// A slot table: how a slot is picked, and which part of the slot map it lies in: a header of [`SLOT_HEADER`]
/// words, of which the first counts the picks, then `length` slots, then perhaps one of each real server that is in
/// them ([`servers`](Self::servers)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotTable {
    /// The number of the [`Selector`](crate::selector::Selector), and its [`Options`](crate::selector::Options).
    pub selector: u8,
    /// The first word of the header: below [`SLOT_WORDS`](crate::limits::SLOT_WORDS), which is 2^20.
    pub base: u32,
    /// How many slots follow the header; 0 if no real server is usable.
    pub length: u32,
}

/// Words before the first slot: a cache line for the counter, apart from the slots.
pub const SLOT_HEADER: u32 = 8;

/// The word of the header that says how many real servers are listed behind the slots, plus 1; 0 if they are not.
pub const SLOT_SERVERS: u32 = 1;

const BASE_BITS: u32 = 24;
const _: () = assert!(SLOT_WORDS <= 1 << BASE_BITS);

impl SlotTable {
    /// As one word: length 32 bits, selector 8, base 24.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.length as u64) << 32 | (self.selector as u64) << BASE_BITS | self.base as u64
    }

    /// From one word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self {
            selector: (word >> BASE_BITS) as u8,
            base: word as u32 & ((1 << BASE_BITS) - 1),
            length: (word >> 32) as u32,
        }
    }

    /// Words of the slot map that the table covers with so many servers listed: none if it has no slots.
    #[must_use]
    pub const fn words(self, servers: u32) -> u32 {
        if self.length == 0 { 0 } else { SLOT_HEADER + self.length + servers }
    }

    /// A table of which each slot is another real server of this one's, as the header's word [`SLOT_SERVERS`] says;
    /// `None` if they are not listed, because one of them at least takes connections at any time. It has no header.
    #[inline(always)]
    #[must_use]
    pub const fn servers(self, word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        Some(Self { base: self.base.wrapping_add(self.length), length: (word - 1) as u32, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_says_what_it_was_made_of() {
        let index = Index::new(0x1234_5678_9ABC_DEF0, 13, true);
        assert_eq!((index.bits(), index.generation(), index.is_empty()), (13, true, false));
        assert_eq!(Index::from_word(index.word()), index);
        assert!(!index.has_forms());
        let index = index.with_forms(13);
        assert_eq!((index.bits(), index.generation(), index.form_bits()), (13, true, 13));
        assert_eq!((index.has_forms(), index.with_forms(0).has_forms()), (true, false));
    }

    #[test]
    fn positions_stay_in_their_generation() {
        for key in 1..5000u64 {
            let lower = Index::new(key.wrapping_mul(0xABCD_EF12_3456_789B), 16, false).position(&[key]);
            let upper =
                Index::new(key.wrapping_mul(0xABCD_EF12_3456_789B), 16, true).position(&[key, 1, key]);
            assert!(lower < GENERATION_BUCKETS);
            assert!((GENERATION_BUCKETS..2 * GENERATION_BUCKETS).contains(&upper));
        }
    }

    #[test]
    fn a_slot_table_survives_its_word() {
        let table = SlotTable { selector: 3, base: SLOT_WORDS - 8, length: 131_072 };
        assert_eq!(SlotTable::from_word(table.word()), table);
    }
}
