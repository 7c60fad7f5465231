//! The connection table: which real server a flow goes to.
//!
//! Set-associative: a flow's hash names a bucket of [`WAYS`] entries in one array element; a look-up compares
//! them all, an insert takes a free or expired one. When a bucket is full of live entries it is marked as
//! overflowed and the flow goes to a second or third bucket, which are read only when the first has that mark.
//!
//! ```text
//!   bucket (192 bytes, three cache lines; of IPv6 flows, whose keys have five words, six)
//!   ┌ way 0 ───────────────┬ way 1 ───────────────┬ … ┬ way 7 ───────────────┐
//!   │ meta │ key 0 │ key 1 │ meta │ key 0 │ key 1 │   │ meta │ key 0 │ key 1 │
//!   └──────┴───────┴───────┴──────┴───────┴───────┴───┴──────┴───────┴───────┘
//!   meta: status 2 · recent 1 · overflowed 1 · synchronised 1 · generation 11 · destination 20 · state 4 · seen 24
//! ```
//!
//! A flow's own bucket lies in the part of the table that is in use ([`Extent`]), the others
//! outside of it, unless that is all of the table.
//!
//! A hit reads the line its way lies in and those before it; it writes nothing unless the entry's state or
//! the second in which it was last seen changed.
//!
//! # The protocol
//!
//! The kernel on every CPU and the daemon through a mapping work on a bucket at once. There are no locks.
//!
//! 1. An entry is *free*, *busy* (being written) or *valid*; its [`Meta`] says which.
//! 2. **Look-up** reads meta, the keys, meta again. It is a hit only if both times the entry was valid and of
//!    the same generation. Keys change only between a claim and a publish, and every claim advances the
//!    generation, so the keys that matched belong to the meta that was read last.
//! 3. **Claim**: compare-and-swap meta to busy, generation + 1. Lost: begin again, once; then the frame is
//!    forwarded without being recorded, and counted.
//! 4. **Keys** are written by plain stores: a claim is its writer's alone, however long that sleeps.
//! 5. **Publish**: an addition that makes busy valid, and keeps marks that were set or cleared since the claim; then read the flow's buckets once more: of two entries for
//!    one flow the one that a look-up finds first stays, the other is freed by compare-and-swap, and its
//!    writer forwards to the destination of the one that stays.
//! 6. State, last-seen and destination of a valid entry are changed by compare-and-swap of meta; losing one is
//!    harmless.
//! 7. The **sweeper** frees by compare-and-swap of exactly the meta it judged.
//! 8. A busy entry is nobody else's to claim, and does not expire. Only the daemon can be killed or sleep there; what one
//!    that was killed left, the next one frees before it writes any ([`free_abandoned`]): the lock on the pins says
//!    that nobody sleeps. Until then the bucket has a way less. (An earlier version claimed such entries after
//!    two seconds and wrote keys by compare-and-swap. If a sleeper's successor had a word of the key in common with its
//!    predecessor, as clients have addresses and ports, the sleeper changed the successor's key.)
//! 9. The *overflowed* mark is kept in meta of way 0 and survives every change of that entry. It is set before
//!    an entry is published in another bucket. The *recent* mark is set with it, every time; a sweep clears it first,
//!    waits until no program runs that may have read it, looks at every entry, and clears *overflowed* only
//!    where no entry lives away from home and *recent* is still clear.
//!
//! 10. Who wins a swap that makes an entry valid, ends it, moves it or changes its state, accounts for it at its
//!     destination's [`Load`](crate::load::Load); nobody else does.
//!
//! 11. The part in use is changed by the sweeper alone: it publishes both, waits until nobody runs who may have read
//!     what was before, copies each entry to where it belongs and then frees it ([`gather`]), and publishes the new one.
//!     Look-ups go by the one before first, then by the new one; inserts by the new one. Whoever looks up or inserts reads
//!     the word once for all buckets of the flow.
//!
//! The generation has 11 bits: a look-up would have to sleep through exactly 2048 claims of one entry, or a
//! multiple, between two of its reads, to be deceived. A program in the kernel is not preempted.
//!
//! Checked with loom in `tests/loom`: insert/insert, insert/look-up, evict/look-up, sweep/look-up,
//! sweep/insert, gather/look-up, gather/change, gather/insert; and with what the daemon inserts for another director, and with templates.

mod entry;
mod extent;
mod room;
pub mod state;
mod table;

pub use entry::{Entry, MAX_DESTINATION, Meta};
pub use extent::{Extent, Extents, gather, gather_bucket};
pub use room::{Room, find_room};
pub use state::{State, Timeouts};
pub use table::{
    AtHome, Buckets, Inserted, Location, Sweep, Sweeping, Terms, clear_recent, entries, free_abandoned,
    insert, is_expired, locate, look_at_home, lookup, sweep,
};

use crate::Word;

/// Entries in a bucket.
pub const WAYS: usize = if cfg!(loom) { 2 } else { 8 };

/// A program writes no entry for so many seconds.
pub const BUSY_SECONDS: u32 = 2;

/// Words in the key of an IPv4 flow.
pub const KEY_WORDS_V4: usize = 2;
/// Words in the key of an IPv6 flow.
pub const KEY_WORDS_V6: usize = 5;

/// The connections that `len` buckets hold while fewer than 1 in 10,000 inserts evicts a live one:
/// 3.2 of the 8 ways of a bucket.
#[must_use]
pub const fn capacity(len: u32) -> u64 {
    len as u64 * 16 / 5
}

/// The buckets it takes to hold `connections`: the inverse of [`capacity`].
#[must_use]
pub const fn buckets_for(connections: u32) -> u32 {
    (connections as u64 * 5).div_ceil(16) as u32
}

/// The buckets of the table of half-open flows beside a table of `len` buckets: one sixteenth, so that 2^20
/// IPv4 connections cost less than 64 MiB together.
#[must_use]
pub const fn half_open_buckets(len: u32) -> u32 {
    len.div_ceil(16)
}

/// The key of an IPv4 flow, as the words that are stored and compared.
///
/// `addresses` is the source and destination address, `ports` the source and destination port, both as they
/// lie in the frame (network byte order, loaded as little-endian words).
#[inline(always)]
#[must_use]
pub const fn key_v4(addresses: u64, ports: u32, protocol: u8) -> [u64; KEY_WORDS_V4] {
    [addresses, ports_and_protocol(ports, protocol)]
}

/// The key of an IPv6 flow; `addresses` is the source and the destination address, two words each.
#[inline(always)]
#[must_use]
pub const fn key_v6(addresses: [u64; 4], ports: u32, protocol: u8) -> [u64; KEY_WORDS_V6] {
    let [source_high, source_low, destination_high, destination_low] = addresses;
    [source_high, source_low, destination_high, destination_low, ports_and_protocol(ports, protocol)]
}

#[inline(always)]
const fn ports_and_protocol(ports: u32, protocol: u8) -> u64 {
    ports as u64 | (protocol as u64) << 32
}

/// One flow's place in a bucket.
#[repr(C)]
#[derive(Debug)]
pub struct Way<const K: usize> {
    meta: Word,
    key: [Word; K],
}

/// One element of the connection map.
#[repr(C)]
#[derive(Debug)]
pub struct Bucket<const K: usize> {
    ways: [Way<K>; WAYS],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Bucket<KEY_WORDS_V4>>() == 192, "three cache lines, at every multiple of 192");
    assert!(size_of::<Bucket<KEY_WORDS_V6>>() == 384, "six cache lines, at every multiple of 384");
};

#[cfg(not(target_arch = "bpf"))]
impl<const K: usize> Default for Bucket<K> {
    fn default() -> Self {
        Self {
            ways: core::array::from_fn(|_| Way {
                meta: Word::new(0),
                key: core::array::from_fn(|_| Word::new(0)),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
