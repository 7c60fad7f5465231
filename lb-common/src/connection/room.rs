//! The insert of nearly every new flow: into its own bucket, where one look found room. It follows the protocol of the
//! module above; whatever is not as usual is left to [`insert`](super::insert).

use super::table::{Buckets, free_way, is_alive, is_overflowed, publish};
use super::{Bucket, Meta, Timeouts, WAYS, Way};
use crate::hash::FlowHash;

/// A way for a flow, in its own bucket, in which it was not found.
#[derive(Debug)]
pub struct Room<'a, const K: usize> {
    bucket: &'a Bucket<K>,
    /// The number of the way.
    mine: usize,
    /// What it held when it was found to be free, or its entry to have expired.
    before: Meta,
}

/// Looks for a flow, and for room for it, in its own bucket. `None` if it has an entry, expired or not, or one is being
/// written, or there may be one in another bucket, or all ways are taken.
///
/// For a table all of whose entries are where they belong.
#[inline(always)]
pub fn find_room<'a, const K: usize, B: Buckets<K>>(
    buckets: &'a B,
    key: &[u64; K],
    hash: FlowHash,
    timeouts: &Timeouts,
    now: u32,
) -> Option<Room<'a, K>> {
    let bucket = buckets.bucket(hash.home(buckets.len(), buckets.extents().now))?;
    for way in &bucket.ways {
        if has_key(way, key) && is_taken(way) {
            return None;
        }
    }
    if is_overflowed(bucket) {
        return None;
    }
    // Any way is as good as another: in a table that is not crowded the first one that is judged will do.
    let mut mine = hash.salt() as usize & (WAYS - 1);
    let mut before = Meta::from_word(bucket.ways[mine].meta.load());
    if is_alive(before, timeouts, now) != 0 {
        mine = free_way(bucket, timeouts, now)?;
        before = Meta::from_word(bucket.ways[mine].meta.load());
        // It may have changed.
        if is_alive(before, timeouts, now) != 0 {
            return None;
        }
    }
    Some(Room { bucket, mine, before })
}

impl<const K: usize> Room<'_, K> {
    /// Records the flow, and tells `account` what each entry that it changes was before and is now. Says whether it is
    /// recorded: if not, nothing of it is left, and [`insert`](super::insert) can do it.
    #[inline(always)]
    pub fn take(&self, key: &[u64; K], content: Meta, now: u32, account: impl Fn(Meta, Meta)) -> bool {
        let way = &self.bucket.ways[self.mine & (WAYS - 1)];
        let claim = self.before.claimed(now);
        // If it is no longer what was judged, somebody else may have it.
        if !way.meta.compare_exchange(self.before.word(), claim.word()) {
            return false;
        }
        let published = publish(way, key, claim, content);
        account(self.before, published);
        // Of two CPUs that publish one flow at the same time, at least one sees the other's entry; and of one that marks the
        // bucket and one that publishes in it, at least one sees what the other did.
        crate::atomic::full_fence();
        if self.is_alone(key) {
            return true;
        }
        if way.meta.compare_exchange(published.word(), published.freed().word()) {
            account(published, published.freed());
        }
        false
    }

    /// Whether no other way than `mine` may have an entry of the flow, nor another bucket.
    #[inline(always)]
    fn is_alone(&self, key: &[u64; K]) -> bool {
        // As a bit: a comparison of numbers would teach the verifier something about `mine` at every way.
        let mine = 1u64 << self.mine;
        for (i, way) in self.bucket.ways.iter().enumerate() {
            if has_key(way, key) && mine >> i & 1 == 0 && is_taken(way) {
                return false;
            }
        }
        !is_overflowed(self.bucket)
    }
}

/// Whether a way's key is this one, while nobody writes it.
#[inline(always)]
fn has_key<const K: usize>(way: &Way<K>, key: &[u64; K]) -> bool {
    // Most flows differ in the last word.
    way.key.iter().zip(key).rev().all(|(word, expected)| word.load() == *expected)
}

/// Whether a way is not free.
#[inline(always)]
fn is_taken<const K: usize>(way: &Way<K>) -> bool {
    Meta::from_word(way.meta.load()).is_taken() != 0
}
