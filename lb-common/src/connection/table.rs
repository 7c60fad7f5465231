//! Look-up, insert and sweep: the protocol of the module above, run by the kernel and by the daemon alike.

use super::{BUSY_SECONDS, Bucket, Entry, Extent, Extents, Meta, Timeouts, WAYS, Way};
use crate::clock::SECONDS_MASK;
use crate::hash::{FlowHash, FlowSeed};

/// Where buckets lie: a BPF map, a mapping of it, or a vector in a test.
pub trait Buckets<const K: usize> {
    /// How many there are; at least 3.
    fn len(&self) -> u32;

    /// The bucket at `index`; `None` only if it is not below [`len`](Self::len).
    fn bucket(&self, index: u32) -> Option<&Bucket<K>>;

    /// Which part of them is in use.
    #[inline(always)]
    fn extents(&self) -> Extents {
        Extents::WHOLE
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Finds the flow's entry, expired or not.
#[inline(always)]
pub fn lookup<'a, const K: usize, B: Buckets<K>>(
    buckets: &'a B,
    key: &[u64; K],
    hash: FlowHash,
) -> Option<Entry<'a>> {
    let Extents { now, before } = buckets.extents();
    // In the order in which entries are moved: who is no longer there is here already.
    let moved_yet = if now == before { None } else { lookup_in(buckets, key, hash, before) };
    moved_yet.or_else(|| lookup_in(buckets, key, hash, now))
}

/// [`lookup`] by one extent.
#[inline(always)]
pub(super) fn lookup_in<'a, const K: usize, B: Buckets<K>>(
    buckets: &'a B,
    key: &[u64; K],
    hash: FlowHash,
    extent: Extent,
) -> Option<Entry<'a>> {
    let len = buckets.len();
    let index = hash.home(len, extent);
    let home = buckets.bucket(index)?;
    let found = find(home, key);
    if found.is_some() || !is_overflowed(home) {
        return found;
    }
    let [second, third] = hash.elsewhere(index, len, extent);
    find(buckets.bucket(second)?, key).or_else(|| find(buckets.bucket(third)?, key))
}

/// What one look at a flow's own bucket tells.
#[derive(Clone, Copy, Debug)]
pub enum AtHome<'a> {
    /// Its entry.
    Found(Entry<'a>),
    /// It has none.
    Nowhere,
    /// Its entry is in another bucket, if it has one.
    Elsewhere,
}

/// The first step of [`lookup`], for callers who rather take the others out of line.
#[inline(always)]
pub fn look_at_home<'a, const K: usize, B: Buckets<K>>(
    buckets: &'a B,
    key: &[u64; K],
    hash: FlowHash,
) -> AtHome<'a> {
    let extents = buckets.extents();
    let Some(home) = buckets.bucket(hash.home(buckets.len(), extents.now)) else { return AtHome::Nowhere };
    match find(home, key) {
        Some(entry) => AtHome::Found(entry),
        None if is_overflowed(home) || extents.are_two() => AtHome::Elsewhere,
        None => AtHome::Nowhere,
    }
}

/// Where [`lookup`] found an entry, in words: what a function of a BPF program can hand to its caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Location {
    /// The bucket's index above, the way's number in the lowest three bits.
    place: u64,
    meta: u64,
}

impl Location {
    /// The entry as it was found, in the table where it was found.
    #[inline(always)]
    pub fn entry<const K: usize, B: Buckets<K>>(self, buckets: &B) -> Option<Entry<'_>> {
        let bucket = buckets.bucket((self.place >> 3) as u32)?;
        Some(Entry::new(&bucket.ways[self.place as usize & (WAYS - 1)].meta, Meta::from_word(self.meta)))
    }
}

/// [`lookup`] by one of the table's extents, that from before first; for callers to whom an entry cannot be returned.
#[inline(always)]
pub fn locate<const K: usize, B: Buckets<K>>(
    buckets: &B,
    key: &[u64; K],
    hash: FlowHash,
    extent: Extent,
) -> Option<Location> {
    let home = hash.home(buckets.len(), extent);
    let found = locate_in(buckets, home, key);
    if found.is_some() {
        return found;
    }
    // Not `found`, which is none: the verifier would refuse what it holds then.
    if !is_overflowed(buckets.bucket(home)?) {
        return None;
    }
    let [second, third] = hash.elsewhere(home, buckets.len(), extent);
    locate_in(buckets, second, key).or_else(|| locate_in(buckets, third, key))
}

#[inline(always)]
fn locate_in<const K: usize, B: Buckets<K>>(buckets: &B, index: u32, key: &[u64; K]) -> Option<Location> {
    let bucket = buckets.bucket(index)?;
    (0..WAYS).find_map(|i| {
        let entry = match_way(bucket, i, key)?;
        Some(Location { place: u64::from(index) << 3 | i as u64, meta: entry.meta.word() })
    })
}

#[inline(always)]
pub(super) fn is_overflowed<const K: usize>(home: &Bucket<K>) -> bool {
    Meta::from_word(home.ways[0].meta.load()).is_overflowed()
}

#[inline(always)]
fn find<'a, const K: usize>(bucket: &'a Bucket<K>, key: &[u64; K]) -> Option<Entry<'a>> {
    (0..WAYS).find_map(|i| match_way(bucket, i, key))
}

/// The entry at way `i` if it is this flow's.
#[inline(always)]
pub(super) fn match_way<'a, const K: usize>(
    bucket: &'a Bucket<K>,
    i: usize,
    key: &[u64; K],
) -> Option<Entry<'a>> {
    let way = &bucket.ways[i];
    // Most ways hold another flow, and most flows differ in the last word: a glance outside the protocol.
    if way.key[K - 1].load() != key[K - 1] {
        return None;
    }
    let before = Meta::from_word(way.meta.load());
    for (word, expected) in way.key.iter().zip(key) {
        if word.load() != *expected {
            return None;
        }
    }
    let meta = Meta::from_word(way.meta.load());
    meta.is_still(before).then(|| Entry::new(&way.meta, meta))
}

/// What became of an [`insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The flow is recorded.
    Stored,
    /// The flow is recorded; a live flow had to go for it.
    EvictedLive,
    /// Another CPU recorded the flow first: forward to the destination it chose.
    Existing(Meta),
    /// The place was lost to another writer: try once more, then forward without recording.
    Lost,
}

/// By what an [`insert`] judges the entries it finds.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The current second.
    pub now: u32,
    /// Who has expired.
    pub timeouts: &'a Timeouts,
    /// Where everybody lives, whoever has the least time left by these has to go.
    pub ranks: &'a Timeouts,
}

/// Records a flow that [`lookup`] did not find, with the destination, state and second of `content`, and tells
/// `account` what each entry that it changes was before and is now.
#[inline(always)]
pub fn insert<const K: usize, B: Buckets<K>>(
    buckets: &B,
    key: &[u64; K],
    hash: FlowHash,
    content: Meta,
    terms: Terms<'_>,
    account: impl Fn(Meta, Meta),
) -> Inserted {
    let Terms { now, timeouts, ranks } = terms;
    let Some(flow) = FlowBuckets::of(buckets, hash) else { return Inserted::Lost };
    let place = flow.place(timeouts, ranks, now, hash.salt());
    if place.number >= WAYS && !mark_overflowed(flow.home) {
        return Inserted::Lost;
    }
    let way = &flow.bucket(place.number).ways[place.number & (WAYS - 1)];
    // What was judged may have changed: nobody's live entry is taken for a free one, nor a claim from its writer.
    let before = Meta::from_word(way.meta.load());
    if is_alive(before, timeouts, now) != 0 && (before.is_busy() || !place.evicts) {
        return Inserted::Lost;
    }
    let claim = before.claimed(now);
    if !way.meta.compare_exchange(before.word(), claim.word()) {
        return Inserted::Lost;
    }
    let published = publish(way, key, claim, content);
    account(before, published);
    // Of two CPUs that publish one flow at the same time, at least one sees the other's entry.
    crate::atomic::full_fence();
    if let Some(existing) = flow.settle(key, place.number, &account) {
        if way.meta.compare_exchange(published.word(), published.freed().word()) {
            account(published, published.freed());
        }
        return Inserted::Existing(existing);
    }
    if place.evicts { Inserted::EvictedLive } else { Inserted::Stored }
}

/// Whether an [`insert`] would take nobody's place.
pub(super) fn has_room<const K: usize, B: Buckets<K>>(buckets: &B, hash: FlowHash, terms: Terms<'_>) -> bool {
    let place = |flow: FlowBuckets<'_, K>| flow.place(terms.timeouts, terms.ranks, terms.now, hash.salt());
    FlowBuckets::of(buckets, hash).map(place).is_some_and(|place| !place.evicts)
}

/// Writes the keys of an entry that was claimed, and makes it valid: what it is then.
#[inline(always)]
pub(super) fn publish<const K: usize>(way: &Way<K>, key: &[u64; K], claim: Meta, content: Meta) -> Meta {
    // A claim is nobody else's, however long it takes; only its marks may change.
    for (word, value) in way.key.iter().zip(key) {
        word.store(*value);
    }
    let change = claim.published(content).word().wrapping_sub(claim.word());
    Meta::from_word(way.meta.fetch_add(change).wrapping_add(change))
}

/// The buckets that a flow may lie in; their ways are numbered through, 0 being the first of its own bucket.
struct FlowBuckets<'a, const K: usize> {
    home: &'a Bucket<K>,
    second: &'a Bucket<K>,
    third: &'a Bucket<K>,
}

/// Where an entry is put.
///
/// Found without branches: the verifier of the kernel follows every path through a branch with the constants
/// it yields, and eight ways in each bucket would be more paths than it walks (6.18: a million instructions
/// were not enough). Masks and shifts yield numbers it knows nothing about.
struct Place {
    number: usize,
    /// Whether a live flow goes.
    evicts: bool,
}

impl<'a, const K: usize> FlowBuckets<'a, K> {
    #[inline(always)]
    fn of<B: Buckets<K>>(buckets: &'a B, hash: FlowHash) -> Option<Self> {
        let len = buckets.len();
        let extent = buckets.extents().now;
        let home = hash.home(len, extent);
        let [second, third] = hash.elsewhere(home, len, extent);
        Some(Self {
            home: buckets.bucket(home)?,
            second: buckets.bucket(second)?,
            third: buckets.bucket(third)?,
        })
    }

    #[inline(always)]
    fn bucket(&self, number: usize) -> &'a Bucket<K> {
        if number < WAYS {
            self.home
        } else if number < 2 * WAYS {
            self.second
        } else {
            self.third
        }
    }

    /// The first way that is free or whose entry expired; if there is none, the way in the first two buckets
    /// whose flow would expire first by `ranks`.
    ///
    /// `salt` decides between equals, so that it is not always the same way that goes.
    #[inline(always)]
    fn place(&self, timeouts: &Timeouts, ranks: &Timeouts, now: u32, salt: u32) -> Place {
        if let Some(way) = free_way(self.home, timeouts, now) {
            return Place { number: way, evicts: false };
        }
        if let Some(way) = free_way(self.second, timeouts, now) {
            return Place { number: WAYS + way, evicts: false };
        }
        if let Some(way) = free_way(self.third, timeouts, now) {
            return Place { number: 2 * WAYS + way, evicts: false };
        }
        let salt = salt as usize & (2 * WAYS - 1);
        let at_home = earliest(self.home, salt, ranks, now);
        let in_second = earliest(self.second, salt ^ WAYS, ranks, now);
        let earliest = if in_second < at_home { in_second } else { at_home };
        Place { number: (earliest as usize ^ salt) & (2 * WAYS - 1), evicts: true }
    }

    /// Leaves one entry for the flow just published at `mine`.
    ///
    /// Returns the entry that a look-up finds before ours; frees those it would find after it.
    #[inline(always)]
    fn settle(&self, key: &[u64; K], mine: usize, account: &impl Fn(Meta, Meta)) -> Option<Meta> {
        // The ways before ours, and those up to it, as bits: a comparison of numbers would teach the verifier
        // something about ours at every way, and multiply its paths.
        let before_mine = (1u64 << mine) - 1;
        let mine = [before_mine, before_mine << 1 | 1];
        let before = settle_bucket(self.home, 0, key, mine, account);
        // Without the mark none of the bucket's flows is in another; whoever sets it now finds ours afterwards.
        if before.is_some() || !is_overflowed(self.home) {
            return before;
        }
        settle_bucket(self.second, WAYS, key, mine, account)
            .or_else(|| settle_bucket(self.third, 2 * WAYS, key, mine, account))
    }
}

/// The first way of a bucket that is free or whose entry expired.
#[inline(always)]
pub(super) fn free_way<const K: usize>(bucket: &Bucket<K>, timeouts: &Timeouts, now: u32) -> Option<usize> {
    let mut live = 0;
    for (i, way) in bucket.ways.iter().enumerate() {
        let meta = Meta::from_word(way.meta.load());
        live |= is_alive(meta, timeouts, now) << i;
    }
    let free = !live & ((1 << WAYS) - 1);
    if free == 0 { None } else { Some(lowest_bit(free)) }
}

/// Of the ways of a bucket, the least seconds left (above) with the number of the way xor `salt` (below).
#[inline(always)]
fn earliest<const K: usize>(bucket: &Bucket<K>, salt: usize, ranks: &Timeouts, now: u32) -> u64 {
    let rank = |i: usize| {
        let meta = Meta::from_word(bucket.ways[i].meta.load());
        // An entry that is being written is the last to go.
        let left = left(meta, ranks, now) & u64::from(u32::MAX) | meta.is_being_written() << 32;
        left << 8 | (i ^ salt) as u64
    };
    let mut earliest = rank(0);
    for i in 1..WAYS {
        let other = rank(i);
        if other < earliest {
            earliest = other;
        }
    }
    earliest
}

/// [`FlowBuckets::settle`] for one bucket, whose ways are numbered from `number`.
#[inline(always)]
fn settle_bucket<const K: usize>(
    bucket: &Bucket<K>,
    number: usize,
    key: &[u64; K],
    [before_mine, up_to_mine]: [u64; 2],
    account: &impl Fn(Meta, Meta),
) -> Option<Meta> {
    for i in 0..WAYS {
        if let Some(entry) = match_way(bucket, i, key) {
            if before_mine >> (number + i) & 1 != 0 {
                return Some(entry.meta);
            }
            if up_to_mine >> (number + i) & 1 == 0 && entry.free() {
                account(entry.meta, entry.meta.freed());
            }
        }
    }
    None
}

/// The number of the lowest bit set in `bits`, of which there is one among the lowest [`WAYS`].
///
/// By a de Bruijn sequence (0b00010111 over 8 bits): BPF has no instruction for it.
#[inline(always)]
const fn lowest_bit(bits: u64) -> usize {
    const NUMBERS: u32 = {
        let mut numbers = 0;
        let mut i = 0;
        while i < 8 {
            numbers |= i << (4 * (((0x17 << i) & 0xff) >> 5));
            i += 1;
        }
        numbers
    };
    let lowest = bits & bits.wrapping_neg();
    let position = (lowest.wrapping_mul(0x17) & 0xff) >> 5;
    (NUMBERS >> (4 * position)) as usize & (WAYS - 1)
}

/// 1 if an entry is valid and has time left, or is busy, else 0; without a branch.
#[inline(always)]
pub(super) fn is_alive(meta: Meta, timeouts: &Timeouts, now: u32) -> u64 {
    left(meta, timeouts, now).wrapping_add(u64::from(u32::MAX)) >> 32 & meta.is_taken()
}

/// Seconds until an entry expires, wrapping below 0 once it has; without a branch.
#[inline(always)]
fn left(meta: Meta, timeouts: &Timeouts, now: u32) -> u64 {
    // Seen by a CPU, or by the daemon, whose clock was read a moment later than ours.
    const AHEAD: u32 = 2;
    let age = now.wrapping_add(AHEAD).wrapping_sub(meta.seen()) & SECONDS_MASK;
    u64::from(timeouts.of(meta.state()) + AHEAD).wrapping_sub(u64::from(age))
}

/// Marks a bucket, before one of its flows is published in another.
#[inline(always)]
pub(super) fn mark_overflowed<const K: usize>(home: &Bucket<K>) -> bool {
    let meta = Meta::from_word(home.ways[0].meta.load());
    let marked = meta.with_overflow();
    meta == marked || home.ways[0].meta.compare_exchange(meta.word(), marked.word())
}

/// Frees entries whose writer was killed. For a daemon that has just begun, and whose predecessor has ended: nobody else
/// can tell a writer that was killed from one that sleeps.
pub fn free_abandoned<const K: usize, B: Buckets<K>>(buckets: &B, now: u32) -> u64 {
    let ways = (0..buckets.len()).filter_map(|i| buckets.bucket(i)).flat_map(|bucket| &bucket.ways);
    let free = |way: &&Way<K>| {
        let meta = Meta::from_word(way.meta.load());
        // A program's claim is no older than the program's run.
        meta.is_busy()
            && meta.age(now) >= BUSY_SECONDS
            && way.meta.compare_exchange(meta.word(), meta.freed().word())
    };
    ways.filter(free).count() as u64
}

/// What a [`sweep`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Entries that were live when they were judged.
    pub live: u64,
    /// Entries that were freed because they had expired or were to go.
    pub freed: u64,
}

/// The first half of a sweep: clears the *recent* mark of every bucket.
///
/// Between this and [`sweep`] the caller waits until no program runs that may have read a mark
/// (`membarrier(MEMBARRIER_CMD_GLOBAL)`, or a grace period of RCU).
pub fn clear_recent<const K: usize, B: Buckets<K>>(buckets: &B) {
    for bucket in (0..buckets.len()).filter_map(|i| buckets.bucket(i)) {
        let meta = Meta::from_word(bucket.ways[0].meta.load());
        if meta.is_recent() {
            // Lost: the mark stays, and so does the overflow, until the next sweep.
            bucket.ways[0].meta.compare_exchange(meta.word(), meta.without_recent().word());
        }
    }
}

/// The valid entries of a bucket with their keys, each read consistently. One that is taken over by another
/// flow meanwhile is left out.
pub fn entries<const K: usize>(bucket: &Bucket<K>) -> impl Iterator<Item = ([u64; K], Entry<'_>)> {
    bucket.ways.iter().filter_map(|way| {
        let before = Meta::from_word(way.meta.load());
        if !before.is_valid() {
            return None;
        }
        let key = core::array::from_fn(|i| way.key[i].load());
        let meta = Meta::from_word(way.meta.load());
        meta.is_still(before).then(|| (key, Entry::new(&way.meta, meta)))
    })
}

/// Whether an entry is one to forget.
pub fn is_expired(meta: Meta, timeouts: &Timeouts, now: u32) -> bool {
    meta.age(now) >= timeouts.of(meta.state())
}

/// Who is told what a [`sweep`] does.
pub trait Sweeping<const K: usize> {
    /// Whether an entry is to go although it has not expired.
    fn is_gone(&self, key: &[u64; K], meta: Meta) -> bool;
    /// An entry lives.
    fn lives(&mut self, key: &[u64; K], meta: Meta);
    /// An entry was freed.
    fn freed(&mut self, meta: Meta);
}

/// Frees expired entries and those that are to go, shows every live one to `sweeping`, and takes the overflow mark from
/// buckets of which no flow lives elsewhere.
///
/// `displaced` is scratch space of `buckets.len()` booleans; with less, marks stay where they are.
pub fn sweep<const K: usize, B: Buckets<K>>(
    buckets: &B,
    seed: FlowSeed,
    timeouts: &Timeouts,
    now: u32,
    displaced: &mut [bool],
    sweeping: &mut impl Sweeping<K>,
) -> Sweep {
    let mut result = Sweep::default();
    displaced.fill(false);
    let (len, extents) = (buckets.len(), buckets.extents());
    for (index, bucket) in (0..len).filter_map(|i| Some((i, buckets.bucket(i)?))) {
        for (key, entry) in entries(bucket) {
            let has_to_go = is_expired(entry.meta, timeouts, now) || sweeping.is_gone(&key, entry.meta);
            if has_to_go && entry.free() {
                sweeping.freed(entry.meta);
                result.freed += 1;
                continue;
            }
            result.live += 1;
            sweeping.lives(&key, entry.meta);
            let home = FlowHash::new(&key, seed).home(len, extents.now);
            if home != index
                && let Some(mark) = displaced.get_mut(home as usize)
            {
                *mark = true;
            }
        }
    }
    if extents.are_two() {
        // Entries that have yet to be moved count on marks of their own.
        return result;
    }
    for (index, bucket) in (0..len).filter_map(|i| Some((i, buckets.bucket(i)?))) {
        let meta = Meta::from_word(bucket.ways[0].meta.load());
        let is_home_to_others = displaced.get(index as usize).is_none_or(|displaced| *displaced);
        if meta.is_overflowed() && !meta.is_recent() && !is_home_to_others {
            bucket.ways[0].meta.compare_exchange(meta.word(), meta.without_overflow().word());
        }
    }
    result
}
