//! The connection table's protocol under every interleaving (up to a bound on preemptions).
//!
//! Run by `cargo xtask test`, or by hand:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p lb-common --test loom --target-dir target/loom`.
//!
//! Buckets have two ways here, so that full buckets and overflow are reached with a few flows.
#![cfg(loom)]

mod extents;
mod flows;
mod rooms;
mod synchronisation;
mod templates;

use lb_common::Word;
use lb_common::connection::{
    Bucket, Buckets, Entry, Extent, Extents, Inserted, Meta, State, Sweeping, Terms, Timeouts, entries,
    find_room, insert, lookup, sweep,
};
use lb_common::hash::{FlowHash, FlowSeed};
use lb_common::load::{Counts, Load, account};
use loom::sync::Arc;
use loom::thread;

const SEED: FlowSeed = FlowSeed { first: 1, second: 2 };
const BUCKETS: usize = 3;
const NOW: u32 = 1000;

/// How many destinations there are.
const DESTINATIONS: usize = 4;

struct Table {
    buckets: Box<[Bucket<2>]>,
    extents: Word,
    loads: [Load; DESTINATIONS],
}

impl Buckets<2> for Table {
    fn len(&self) -> u32 {
        self.buckets.len() as u32
    }

    fn extents(&self) -> Extents {
        Extents::from_word(self.extents.load())
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<2>> {
        self.buckets.get(index as usize)
    }
}

impl Table {
    fn new() -> Arc<Self> {
        Self::with(BUCKETS)
    }

    fn with(buckets: usize) -> Arc<Self> {
        Arc::new(Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            extents: Word::new(Extents::WHOLE.word()),
            loads: std::array::from_fn(|_| Load::default()),
        })
    }

    fn insert(&self, key: [u64; 2], destination: u32) -> Inserted {
        self.insert_as(key, Meta::new(destination, State::Established, NOW))
    }

    /// A flow that was last seen at `seen`.
    fn insert_at(&self, key: [u64; 2], destination: u32, seen: u32) -> Inserted {
        self.insert_as(key, Meta::new(destination, State::Established, seen))
    }

    fn insert_as(&self, key: [u64; 2], content: Meta) -> Inserted {
        let timeouts = Timeouts::ipvs();
        let terms = Terms { now: NOW, timeouts: &timeouts, ranks: &timeouts };
        insert(self, &key, FlowHash::new(&key, SEED), content, terms, |before, after| {
            self.account(before, after)
        })
    }

    /// What a program does with a flow's first packet: one look and one write, or else the long way.
    fn record(&self, key: [u64; 2], destination: u32) {
        let timeouts = Timeouts::ipvs();
        let hash = FlowHash::new(&key, SEED);
        let Some(room) = find_room(self, &key, hash, &timeouts, NOW) else { return };
        let content = Meta::new(destination, State::Established, NOW);
        if !room.take(&key, content, NOW, |before, after| self.account(before, after)) {
            self.insert_as(key, content);
        }
    }

    /// A key's own bucket.
    fn home(key: [u64; 2]) -> u32 {
        FlowHash::new(&key, SEED).home(BUCKETS as u32, Extent::WHOLE)
    }

    fn find(&self, key: [u64; 2]) -> Option<Entry<'_>> {
        lookup(self, &key, FlowHash::new(&key, SEED))
    }

    fn destination(&self, key: [u64; 2]) -> Option<u32> {
        self.find(key).map(|entry| entry.meta.destination())
    }

    fn free(&self, key: [u64; 2]) {
        if let Some(entry) = self.find(key) {
            self.free_entry(entry);
        }
    }

    fn sweep(&self, now: u32) {
        let mut displaced = [false; BUCKETS];
        sweep(self, SEED, &Timeouts::ipvs(), now, &mut displaced, &mut Accounting(self));
    }

    fn account(&self, before: Meta, after: Meta) {
        account(|number| self.loads.get(number as usize), before, after);
    }

    fn free_entry(&self, entry: Entry<'_>) -> bool {
        let freed = entry.free();
        if freed {
            self.account(entry.meta, Meta::from_word(0));
        }
        freed
    }

    fn change(&self, entry: Entry<'_>, next: Meta) -> bool {
        let changed = entry.change(next);
        if changed {
            self.account(entry.meta, next);
        }
        changed
    }

    /// Every destination has as many connections as entries lead to it: none was counted twice or not at all.
    fn is_counted_right(&self) {
        let mut counts = [Counts::default(); DESTINATIONS];
        for (_, entry) in self.buckets.iter().flat_map(entries) {
            let counted = Counts::of(entry.meta);
            let counts = &mut counts[entry.meta.destination() as usize];
            counts.active += counted.active;
            counts.inactive += counted.inactive;
        }
        assert_eq!(self.loads.each_ref().map(Load::counts), counts);
    }
}

/// A sweeper that accounts for what it frees.
struct Accounting<'a>(&'a Table);

impl Sweeping<2> for Accounting<'_> {
    fn is_gone(&self, _key: &[u64; 2], _meta: Meta) -> bool {
        false
    }

    fn lives(&mut self, _key: &[u64; 2], _meta: Meta) {}

    fn freed(&mut self, meta: Meta) {
        self.0.account(meta, Meta::from_word(0));
    }
}

/// The `n`th flow whose own bucket is bucket 0. Neighbours share a word of the key, so that a mixture of two
/// keys would be a third flow's.
fn flow(n: usize) -> [u64; 2] {
    (0..)
        .flat_map(|a| (0..2).map(move |b| [a, b]))
        .filter(|key| Table::home(*key) == 0)
        .nth(n)
        .expect("there are plenty")
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    check_with(3, test);
}

/// Runs both at the same time, the one that changes more first.
///
/// Neither on the thread of the model, which loom would begin with: it keeps for each word who accessed it last, be it by a
/// load (0.7.2, `rt/atomic.rs`, `set_last_access`). A thread that loads a word before it changes it thus hides that another
/// one has loaded it before, and nothing else than that order is tried. If the one that only reads comes last, each of its
/// loads is tried before each of the other's changes.
fn beside<A: 'static, B: 'static>(
    writer: impl FnOnce() -> A + 'static,
    reader: impl FnOnce() -> B + 'static,
) -> (A, B) {
    let (writer, reader) = (thread::spawn(writer), thread::spawn(reader));
    (writer.join().unwrap(), reader.join().unwrap())
}

/// With at most so many preemptions, where a thread takes many steps.
fn check_with(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(test);
}
