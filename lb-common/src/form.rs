//! Services whose address is not exact: any port, a range of ports, a prefix of VIPs.
//!
//! ```text
//!   (protocol, VIP) ──binary search──> FORMS_V4 or _V6: Span ──> part of FORM_PORTS ──binary search──> service
//! ```
//!
//! Looked up when no exact address is the packet's, if there are such services at all. Which of several prefixes and
//! ranges counts was decided in userspace: spans of addresses do not overlap, nor do the ranges of ports in the part
//! that a span refers to, so one search in each finds the one answer. Both are written beside those in use and
//! published with the exact addresses, by one [`Index`] word.

use crate::Word;
use crate::service::{Index, NO_SERVICE};

/// Addresses with a form, over all virtual servers of one family.
pub const MAX_FORMS: u32 = 1024;
/// Addresses with a form that one VIP may be covered by, those of its prefixes among them.
pub const MAX_FORMS_OF_A_VIP: usize = 64;

const SPAN_BITS: u32 = 13;
/// Spans of one generation: each form begins and ends one, for its protocol and for packets that have none.
pub const FORM_SPANS: u32 = 1 << SPAN_BITS;
/// Words for ranges of ports, of one generation.
pub const PORT_WORDS: u32 = 1 << 16;
/// Words of one generation: [`PORT_WORDS`] and the forms as they were configured, which only userspace reads.
pub const FORM_WORDS: u32 = PORT_WORDS + MAX_FORMS * WORDS_OF_A_FORM;
/// Words in which userspace keeps a form.
pub const WORDS_OF_A_FORM: u32 = 4;

const _: () = assert!(4 * MAX_FORMS + 8 <= FORM_SPANS);
const _: () = assert!(SPAN_BITS <= Index::MAX_FORM_BITS);

/// Addresses from `start` to the next span's.
#[repr(C)]
#[derive(Debug)]
pub struct Span<const W: usize> {
    /// [`span_key`].
    pub start: [Word; W],
    /// [`Part`].
    pub part: Word,
}

const _: () =
    assert!(size_of::<Span<1>>() == 16 && size_of::<Span<3>>() == 32, "they straddle no cache line");

impl<const W: usize> Span<W> {
    /// 1 if the span starts at `key` or before, else 0: the borrow of a subtraction, for the verifier follows both
    /// ways of every comparison that it sees.
    #[inline(always)]
    fn is_at_most(&self, key: &[u64; W]) -> u32 {
        let mut borrow = 0;
        let mut i = W;
        while i > 0 {
            i -= 1;
            borrow = borrow_of(key[i], self.start[i].load(), borrow);
        }
        1 - borrow as u32
    }
}

/// What is borrowed when `subtrahend` and an earlier borrow are taken from `minuend`.
#[inline(always)]
const fn borrow_of(minuend: u64, subtrahend: u64, borrow: u64) -> u64 {
    let difference = minuend.wrapping_sub(subtrahend).wrapping_sub(borrow);
    (!minuend & subtrahend | (!minuend | subtrahend) & difference) >> 63
}

/// A part of the ports' words, in a word: `1 << bits` of them, sorted, the first for port 0, the last ones for no port
/// at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// The first word.
    pub first: u32,
    /// How many there are, as a power of two: at most 8.
    pub bits: u32,
}

impl Part {
    /// As a word.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.first as u64 | (self.bits as u64) << 32
    }

    /// From a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { first: word as u32, bits: (word >> 32) as u32 & 0xf }
    }
}

/// Ports from `start` to the next word's: who serves them. [`PORTS_END`] for a word that is there for the number only.
#[must_use]
pub const fn ports_word(start: u16, service: u32) -> u64 {
    (start as u64) << 32 | service as u64
}

/// After the last port.
pub const PORTS_END: u64 = 1 << 48;

/// What addresses are ordered by: the protocol, then the address as a number.
///
/// `key` is [`key_v4`](crate::service::key_v4) or [`key_v6`](crate::service::key_v6).
#[inline(always)]
#[must_use]
pub const fn span_key<const W: usize>(key: &[u64; W]) -> [u64; W] {
    let protocol = key[W - 1] >> 48;
    let mut ordered = [0; W];
    if W == 1 {
        ordered[0] = protocol << 32 | (key[0] as u32).swap_bytes() as u64;
    } else {
        ordered[0] = protocol;
        let mut i = 1;
        while i < W {
            ordered[i] = key[i - 1].swap_bytes();
            i += 1;
        }
    }
    ordered
}

/// The number of the service with the address `key`, or [`NO_SERVICE`].
#[inline(always)]
pub fn find<'a, const W: usize>(
    index: Index,
    key: &[u64; W],
    spans: impl Fn(u32) -> Option<&'a Span<W>>,
    words: impl Fn(u32) -> Option<&'a Word>,
) -> u32 {
    let generation = u32::from(index.generation());
    let ordered = span_key(key);
    let start = |place| spans(generation * FORM_SPANS + place);
    let Some(place) = search(index.form_bits(), |place| Some(start(place)?.is_at_most(&ordered))) else {
        return NO_SERVICE;
    };
    let Some(span) = start(place) else { return NO_SERVICE };
    let part = Part::from_word(span.part.load());
    let port = (key[W - 1] >> 32) as u16;
    let last = ports_word(port.swap_bytes(), u32::MAX);
    let word = |place| Some(words(generation * FORM_WORDS + part.first + place)?.load());
    let Some(place) = search(part.bits, |place| Some(1 - borrow_of(last, word(place)?, 0) as u32)) else {
        return NO_SERVICE;
    };
    match word(place) {
        Some(word) => word as u32,
        None => NO_SERVICE,
    }
}

/// The most bits of [`search`].
const MAX_BITS: u32 = 15;
const _: () = assert!(MAX_BITS == Index::MAX_FORM_BITS && MAX_BITS.count_ones() == 4, "a mask, too");

/// The last of `1 << bits` places, sorted, for which `is_at_most` says 1. It is so for the first.
#[inline(always)]
fn search(bits: u32, is_at_most: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let mut place = 0;
    // Up from a constant: the verifier of 6.1 sees no end of a loop that begins with a number it does not know.
    for i in 0..MAX_BITS {
        if i >= bits {
            break;
        }
        let step = (bits - 1 - i) & MAX_BITS;
        place |= is_at_most(place | 1 << step)? << step;
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::service::{key_v4, key_v6};

    proptest! {
        #[test]
        fn a_borrow_is_a_comparison(key: [u64; 3], start: [u64; 3], equal in 0usize..4) {
            let mut start = start;
            start[..equal.min(3)].copy_from_slice(&key[..equal.min(3)]);
            let span = Span { start: start.map(Word::new), part: Word::new(0) };
            prop_assert_eq!(span.is_at_most(&key), u32::from(start <= key));
        }
    }

    #[test]
    fn addresses_are_in_the_order_of_their_numbers() {
        let v4 = |octets, protocol| span_key(&key_v4(u32::from_le_bytes(octets), 80u16.to_be(), protocol));
        assert!(v4([10, 0, 0, 255], 6) < v4([10, 0, 1, 0], 6));
        assert!(v4([255; 4], 0) < v4([0; 4], 6));
        assert_eq!(v4([10, 0, 0, 1], 6), [6 << 32 | 0x0a00_0001]);
        assert_eq!(span_key(&key_v6([1u64.to_be(), 2u64.to_be()], 80, 17)), [17, 1, 2]);
    }
}
