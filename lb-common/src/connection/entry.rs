//! One entry's word of state, and an entry that was found.

use super::State;
use super::state::BEING_WRITTEN;
use crate::Word;
use crate::clock::{SECONDS_BITS, age};

/// The highest number a destination may have: it has 20 bits in an entry.
pub const MAX_DESTINATION: u32 = (1 << DESTINATION_BITS) - 1;

const STATE_BITS: u32 = 4;
const DESTINATION_BITS: u32 = 20;
const GENERATION_BITS: u32 = 11;

const STATE_SHIFT: u32 = SECONDS_BITS;
const DESTINATION_SHIFT: u32 = STATE_SHIFT + STATE_BITS;
const GENERATION_SHIFT: u32 = DESTINATION_SHIFT + DESTINATION_BITS;

const SEEN_MASK: u64 = (1 << SECONDS_BITS) - 1;
const STATE_MASK: u64 = ((1 << STATE_BITS) - 1) << STATE_SHIFT;
const DESTINATION_MASK: u64 = ((1 << DESTINATION_BITS) - 1) << DESTINATION_SHIFT;
const GENERATION_MASK: u64 = ((1 << GENERATION_BITS) - 1) << GENERATION_SHIFT;

const SYNCHRONISED: u64 = 1 << 59;
const OVERFLOWED: u64 = 1 << 60;
const RECENT: u64 = 1 << 61;
const BUSY: u64 = 1 << 62;
const VALID: u64 = 1 << 63;
const STATUS_MASK: u64 = BUSY | VALID;
const MARKS_MASK: u64 = OVERFLOWED | RECENT;
const WRITERS_STATE: u64 = (BEING_WRITTEN as u64) << STATE_SHIFT;

const _: () = assert!(GENERATION_SHIFT + GENERATION_BITS == 59);

/// The first word of an entry: its status, and all that is remembered of the flow beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta(u64);

crate::one_word!(Meta, u64);

impl Meta {
    /// What a new entry is published with. `destination` is cut to its 20 bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(destination: u32, state: State, seen: u32) -> Self {
        Self(
            ((destination as u64) << DESTINATION_SHIFT) & DESTINATION_MASK
                | (state as u64) << STATE_SHIFT
                | seen as u64 & SEEN_MASK,
        )
    }

    /// The real server the flow goes to: an index into the destinations.
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> u32 {
        ((self.0 & DESTINATION_MASK) >> DESTINATION_SHIFT) as u32
    }

    /// The connection state as a number; [`State::from_number`] names it.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u32 {
        ((self.0 & STATE_MASK) >> STATE_SHIFT) as u32
    }

    /// The second in which the flow was last seen ([`crate::clock`]).
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> u32 {
        (self.0 & SEEN_MASK) as u32
    }

    /// The same entry in another state, seen at another second by this director.
    #[inline(always)]
    #[must_use]
    pub const fn touched(self, state: u32, seen: u32) -> Self {
        Self(
            self.0 & !(SYNCHRONISED | STATE_MASK | SEEN_MASK)
                | (state as u64) << STATE_SHIFT & STATE_MASK
                | seen as u64 & SEEN_MASK,
        )
    }

    /// The same entry, sent to another destination.
    #[inline(always)]
    #[must_use]
    pub const fn moved(self, destination: u32, state: u32, seen: u32) -> Self {
        let kept = self.touched(state, seen).0 & !DESTINATION_MASK;
        Self(kept | ((destination as u64) << DESTINATION_SHIFT) & DESTINATION_MASK)
    }

    /// The same entry, as if it had been seen at another second, by whoever saw it.
    #[must_use]
    pub const fn aged(self, seen: u32) -> Self {
        Self(self.0 & !SEEN_MASK | seen as u64 & SEEN_MASK)
    }

    /// The same entry, told of by another director.
    #[must_use]
    pub const fn synchronised(self) -> Self {
        Self(self.0 | SYNCHRONISED)
    }

    /// Whether all that is known of the flow is what another director told: this one has seen no frame of it since.
    /// The first that it sees takes the mark away, which costs no frame of other flows anything: the mark makes the
    /// entry differ from what it would be after the frame, as another second does.
    #[must_use]
    pub const fn is_synchronised(self) -> bool {
        self.0 & SYNCHRONISED != 0
    }

    /// Whether the entry holds a flow.
    #[inline(always)]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & STATUS_MASK == VALID
    }

    #[inline(always)]
    pub(super) const fn is_busy(self) -> bool {
        self.0 & STATUS_MASK == BUSY
    }

    /// 1 if the entry is not free, else 0, without a branch.
    #[inline(always)]
    pub(super) const fn is_taken(self) -> u64 {
        (self.0 >> VALID.trailing_zeros() | self.0 >> BUSY.trailing_zeros()) & 1
    }

    /// 1 if the entry is busy, else 0, without a branch.
    #[inline(always)]
    pub(super) const fn is_being_written(self) -> u64 {
        self.0 >> BUSY.trailing_zeros() & 1
    }

    /// Valid now as it was in `earlier`, and written by the same claim.
    #[inline(always)]
    pub(super) const fn is_still(self, earlier: Self) -> bool {
        self.is_valid() && (self.0 ^ earlier.0) & (STATUS_MASK | GENERATION_MASK) == 0
    }

    #[inline(always)]
    pub(super) const fn is_overflowed(self) -> bool {
        self.0 & OVERFLOWED != 0
    }

    #[inline(always)]
    pub(super) const fn is_recent(self) -> bool {
        self.0 & RECENT != 0
    }

    #[inline(always)]
    pub(super) const fn with_overflow(self) -> Self {
        Self(self.0 | MARKS_MASK)
    }

    #[inline(always)]
    pub(super) const fn without_recent(self) -> Self {
        Self(self.0 & !RECENT)
    }

    #[inline(always)]
    pub(super) const fn without_overflow(self) -> Self {
        Self(self.0 & !MARKS_MASK)
    }

    /// Claimed at second `now`: busy, of the next generation. It does not expire: it is for its writer to give back.
    #[inline(always)]
    pub(super) const fn claimed(self, now: u32) -> Self {
        let generation = self.0.wrapping_add(1 << GENERATION_SHIFT) & GENERATION_MASK;
        Self(self.0 & MARKS_MASK | BUSY | generation | WRITERS_STATE | now as u64 & SEEN_MASK)
    }

    /// This claim, published with the destination, state and second of `content`, and who told of it.
    #[inline(always)]
    pub(super) const fn published(self, content: Self) -> Self {
        let content = content.0 & (SYNCHRONISED | DESTINATION_MASK | STATE_MASK | SEEN_MASK);
        Self(self.0 & (MARKS_MASK | GENERATION_MASK) | VALID | content)
    }

    /// Free; marks and generation stay.
    #[inline(always)]
    pub(super) const fn freed(self) -> Self {
        Self(self.0 & (MARKS_MASK | GENERATION_MASK))
    }

    /// Seconds since the entry was seen (or claimed).
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u32) -> u32 {
        age(now, self.seen())
    }
}

/// A flow's entry as it was found, and the word to change it by.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    word: &'a Word,
    /// What the entry held when it was found.
    pub meta: Meta,
}

impl<'a> Entry<'a> {
    #[inline(always)]
    pub(super) const fn new(word: &'a Word, meta: Meta) -> Self {
        Self { word, meta }
    }

    /// Changes the entry to `next` unless it changed since it was found; says whether it did.
    #[inline(always)]
    pub fn change(&self, next: Meta) -> bool {
        self.word.compare_exchange(self.meta.word(), next.word())
    }

    /// Frees the entry unless it changed since it was found; says whether it did.
    #[inline(always)]
    pub fn free(&self) -> bool {
        self.change(self.meta.freed())
    }
}
