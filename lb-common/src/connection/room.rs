//! The insert of nearly every new flow: into its own bucket, where one look found room. It follows the protocol of the
//! module above; whatever is not as usual is left to [`insert`](super::insert).

use super::table::{Buckets, is_alive, is_overflowed, lowest_bit, publish};
use super::{Bucket, Meta, Timeouts, WAYS, Way};
use crate::hash::FlowHash;

/// A flow's own bucket, in which it was not found.
#[derive(Debug)]
pub struct Room<'a, const K: usize> {
    bucket: &'a Bucket<K>,
    /// The ways that are free or whose entry expired, a bit for each.
    free: u64,
}

/// Looks for a flow, and for room for it, in one pass over its own bucket. `None` if it has an entry, expired or not, or
/// one is being written, or there may be one in another bucket.
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
    let mut live = 0;
    for (i, way) in bucket.ways.iter().enumerate() {
        let meta = Meta::from_word(way.meta.load());
        live = union(live, is_alive(meta, timeouts, now) << i);
        // Read anew: of what a branch tells of `meta` the compiler would make a constant on either way, and the verifier
        // would follow both.
        if has_key(way, key) && is_taken(way) {
            return None;
        }
    }
    if is_overflowed(bucket) {
        return None;
    }
    Some(Room { bucket, free: !live & ((1 << WAYS) - 1) })
}

impl<const K: usize> Room<'_, K> {
    /// Records the flow, and tells `account` what each entry that it changes was before and is now. Says whether it is
    /// recorded: if not, nothing of it is left, and [`insert`](super::insert) can do it.
    #[inline(always)]
    pub fn take(
        &self,
        key: &[u64; K],
        content: Meta,
        timeouts: &Timeouts,
        now: u32,
        account: impl Fn(Meta, Meta),
    ) -> bool {
        if self.free == 0 {
            return false;
        }
        let mine = lowest_bit(self.free);
        let way = &self.bucket.ways[mine];
        let before = Meta::from_word(way.meta.load());
        let claim = before.claimed(now);
        // What was judged may have changed.
        if is_alive(before, timeouts, now) != 0 || !way.meta.compare_exchange(before.word(), claim.word()) {
            return false;
        }
        let published = publish(way, key, claim, content);
        account(before, published);
        // Of two CPUs that publish one flow at the same time, at least one sees the other's entry; and of one that marks the
        // bucket and one that publishes in it, at least one sees what the other did.
        crate::atomic::full_fence();
        if self.is_alone(key, mine) {
            return true;
        }
        if way.meta.compare_exchange(published.word(), published.freed().word()) {
            account(published, published.freed());
        }
        false
    }

    /// Whether no other way than `mine` may have an entry of the flow, nor another bucket.
    #[inline(always)]
    fn is_alone(&self, key: &[u64; K], mine: usize) -> bool {
        // As a bit: a comparison of numbers would teach the verifier something about `mine` at every way.
        let mine = 1u64 << mine;
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

/// The bits of both.
#[cfg(not(target_arch = "bpf"))]
fn union(one: u64, other: u64) -> u64 {
    one | other
}

/// The bits of both, here and not later: otherwise the compiler keeps what they are made of, for all ways, on the stack.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn union(mut one: u64, other: u64) -> u64 {
    // SAFETY: an operation on two registers.
    unsafe {
        core::arch::asm!("{0} |= {1}", inout(reg) one, in(reg) other, options(pure, nomem, nostack, preserves_flags));
    }
    one
}
