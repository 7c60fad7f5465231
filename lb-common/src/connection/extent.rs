//! How much of a table is in use: flows lie close together in a large table that is nearly empty.
//!
//! A frame of a flow that lies on a page of its own waits for memory twice: for the line, and for the translation of its
//! address. So flows have their own buckets in the first part of the table, an [`Extent`] that has room for those there
//! are; the daemon changes it when they become more or fewer. An entry whose bucket is full goes to one outside of that
//! part, so that the table holds as many as ever when nobody changes anything.

use super::table::{Buckets, Terms, has_room, insert, lookup_in, mark_overflowed, match_way};
use super::{Bucket, Entry, Inserted, Meta, WAYS, capacity, entries, is_expired};
use crate::hash::{FlowHash, FlowSeed};

/// A part of a table: its first 1 / 2^n buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent(u8);

impl Extent {
    /// All of the table.
    pub const WHOLE: Self = Self(0);
    /// Less is of no use: so many connections lie on pages that a CPU knows.
    const FEWEST_CONNECTIONS: u64 = 1 << 16;

    /// The part whose buckets' numbers lose so many bits.
    #[inline(always)]
    #[must_use]
    pub const fn of_shift(bits: u32) -> Self {
        Self(bits as u8)
    }

    /// How many bits a bucket's number loses.
    #[inline(always)]
    #[must_use]
    pub const fn shift(self) -> u32 {
        self.0 as u32 & 31
    }

    /// How many of `len` buckets are in it.
    #[inline(always)]
    #[must_use]
    pub const fn buckets(self, len: u32) -> u32 {
        (len.wrapping_sub(1) >> self.shift()) + 1
    }

    /// The smallest part of a table of `len` buckets that has room for `connections`.
    #[must_use]
    pub fn with_room(connections: u64, len: u32) -> Self {
        let room = connections.max(Self::FEWEST_CONNECTIONS);
        Self((1..24).take_while(|shift| capacity(len >> shift) >= room).last().unwrap_or(0))
    }

    /// What a table of `len` buckets, with this part in use, is to have in use when it has so many connections.
    ///
    /// It grows when there are a quarter more than there is room for, to room for twice as many; and shrinks when there is
    /// room for four times as many: who comes and goes does not move the others each time. A part that is too small for
    /// any number is of another size of the table.
    #[must_use]
    pub fn next(self, connections: u64, len: u32) -> Self {
        let room = capacity(len >> self.shift());
        let fitting = Self::with_room(connections, len);
        let has_shrunk = room < Self::FEWEST_CONNECTIONS && self != Self::WHOLE;
        if connections * 4 > room * 5 || has_shrunk {
            Self::with_room(connections * 2, len)
        } else if fitting.0 >= self.0 + 2 {
            fitting
        } else {
            self
        }
    }
}

/// Which part of a table is in use; and, while entries are being moved, which one was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Where flows are recorded.
    pub now: Extent,
    /// Where they may still lie.
    pub before: Extent,
}

impl Extents {
    /// All of the table is in use.
    pub const WHOLE: Self = Self::of(Extent::WHOLE);

    /// Nothing is being moved.
    #[must_use]
    pub const fn of(extent: Extent) -> Self {
        Self { now: extent, before: extent }
    }

    /// As a word of the settings; all of a table is 0.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.now.0 as u64 | (self.before.0 as u64) << 8
    }

    /// From a word of the settings.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { now: Extent(word as u8), before: Extent((word >> 8) as u8) }
    }

    /// Whether entries are being moved.
    #[inline(always)]
    #[must_use]
    pub const fn are_two(self) -> bool {
        self.now.0 != self.before.0
    }
}

/// How often a lost swap is tried again: each time somebody else got on.
const TRIES: usize = 16;

/// Moves every entry to where it is looked for by the extent that is in use; tells `account` of each change, and says
/// whether none is left elsewhere.
///
/// Between the change of [`Buckets::extents`] and this the caller waits until no program runs that may have read what was
/// before, and no other thread of its own inserts by it: whoever records a flow from then on does so where this moves it to.
pub fn gather<const K: usize, B: Buckets<K>>(
    buckets: &B,
    seed: FlowSeed,
    terms: Terms<'_>,
    account: impl Fn(Meta, Meta),
) -> bool {
    let pass = |force| {
        let move_from = |index| gather_bucket(buckets, index, seed, terms, &account, force);
        (0..buckets.len()).fold(true, |is_done, index| move_from(index) & is_done)
    };
    // All buckets of an entry may be full of others that have yet to go: it waits for them. What finds no room then has to
    // take another's place, as a new flow would.
    pass(false) || pass(false) || pass(true)
}

/// [`gather`] for what lies in one bucket. An entry for which there is no room stays, unless `force`.
pub fn gather_bucket<const K: usize, B: Buckets<K>>(
    buckets: &B,
    index: u32,
    seed: FlowSeed,
    terms: Terms<'_>,
    account: &impl Fn(Meta, Meta),
    force: bool,
) -> bool {
    let (len, extent) = (buckets.len(), buckets.extents().now);
    let Some(bucket) = buckets.bucket(index) else { return true };
    let mut is_done = true;
    for (key, entry) in entries(bucket) {
        let hash = FlowHash::new(&key, seed);
        let home = hash.home(len, extent);
        if index == home {
            continue;
        }
        is_done &= if hash.elsewhere(home, len, extent).contains(&index) {
            // It is found there, if its own bucket says that there may be some.
            buckets.bucket(home).is_some_and(|home| (0..TRIES).any(|_| mark_overflowed(home)))
        } else {
            (force || has_room(buckets, hash, terms) || is_expired(entry.meta, terms.timeouts, terms.now))
                && move_entry(buckets, bucket, &key, hash, entry, terms, account)
        };
    }
    is_done
}

/// Copies an entry to where it belongs, then frees it: at any moment a look-up that begins where it was finds one of both.
/// What has expired is freed only; unless somebody sees it at this moment.
fn move_entry<'a, const K: usize, B: Buckets<K>>(
    buckets: &B,
    bucket: &'a Bucket<K>,
    key: &[u64; K],
    hash: FlowHash,
    mut entry: Entry<'a>,
    terms: Terms<'_>,
    account: &impl Fn(Meta, Meta),
) -> bool {
    for _ in 0..TRIES {
        let has_expired = is_expired(entry.meta, terms.timeouts, terms.now);
        if (has_expired || copy_entry(buckets, key, hash, entry.meta, terms, account)) && entry.free() {
            account(entry.meta, entry.meta.freed());
            return true;
        }
        // A packet changed it that had found it before the copy was there; or another flow took its place.
        let Some(changed) = (0..WAYS).find_map(|i| match_way(bucket, i, key)) else { return true };
        entry = changed;
    }
    false
}

/// Has an entry where it belongs say what `meta` says, unless it has been seen later. Says whether there is one.
fn copy_entry<const K: usize, B: Buckets<K>>(
    buckets: &B,
    key: &[u64; K],
    hash: FlowHash,
    meta: Meta,
    terms: Terms<'_>,
    account: &impl Fn(Meta, Meta),
) -> bool {
    let Some(copy) = lookup_in(buckets, key, hash, buckets.extents().now) else {
        let inserted = insert(buckets, key, hash, meta, terms, account);
        return matches!(inserted, Inserted::Stored | Inserted::EvictedLive);
    };
    // Of a flow that two CPUs recorded in one moment, one of them before it read which part is in use, that one's stays:
    // look-ups have found it since.
    if copy.meta.age(terms.now) < meta.age(terms.now) {
        return true;
    }
    let next = copy.meta.published(meta);
    let is_same = next == copy.meta || copy.change(next);
    if is_same {
        account(copy.meta, next);
    }
    is_same
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::connection::buckets_for;

    const MILLION: u32 = buckets_for(1 << 20);

    #[test]
    fn a_table_has_in_use_what_its_connections_need() {
        let shift = |connections| Extent::with_room(connections, MILLION).shift();
        assert_eq!(
            [0, 1 << 16, (1 << 16) + 1, 1 << 18, 1 << 19, 1 << 20, 1 << 21].map(shift),
            [4, 4, 3, 2, 1, 0, 0]
        );
        assert_eq!(Extent::with_room(0, buckets_for(1 << 16)), Extent::WHOLE);
        assert_eq!(Extent::with_room(0, 3), Extent::WHOLE);
    }

    #[test]
    fn it_changes_seldom() {
        let next = |shift, connections| Extent(shift).next(connections, MILLION).shift();
        assert_eq!(next(4, 81_000), 4);
        assert_eq!(next(4, 82_000), 2);
        assert_eq!(next(2, 82_000), 2);
        assert_eq!(next(2, 65_536), 4);
        assert_eq!(next(2, 70_000), 2);
        assert_eq!(next(0, 600_000), 0);
        assert_eq!(next(0, 0), 4);
        assert_eq!(next(4, 1 << 20), 0);
    }

    #[test]
    fn a_part_of_a_table_that_was_larger_becomes_what_it_is_to_be() {
        assert_eq!(Extent(4).next(0, buckets_for(1 << 16)), Extent::WHOLE);
        assert_eq!(Extent(1).next(0, 3), Extent::WHOLE);
        assert_eq!(Extent(4).next(0, MILLION / 2), Extent(3));
    }

    #[test]
    fn extents_are_a_word() {
        let extents = Extents { now: Extent(4), before: Extent(1) };
        assert_eq!(Extents::from_word(extents.word()), extents);
        assert!(extents.are_two() && !Extents::WHOLE.are_two());
        assert_eq!(Extents::WHOLE.word(), 0);
    }
}
