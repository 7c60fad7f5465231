//! The connection table's protocol under every interleaving (up to a bound on preemptions).
//!
//! Run by `cargo xtask test`, or by hand:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p lb-common --test loom --target-dir target/loom`.
//!
//! Buckets have two ways here, so that full buckets and overflow are reached with a few flows.
#![cfg(loom)]

use lb_common::connection::{
    Bucket, Buckets, Entry, Inserted, Meta, State, Sweeping, Terms, Timeouts, WAYS, clear_recent, entries,
    insert, lookup, sweep,
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
    buckets: [Bucket<2>; BUCKETS],
    loads: [Load; DESTINATIONS],
}

impl Buckets<2> for Table {
    fn len(&self) -> u32 {
        BUCKETS as u32
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<2>> {
        self.buckets.get(index as usize)
    }
}

impl Table {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            buckets: std::array::from_fn(|_| Bucket::default()),
            loads: std::array::from_fn(|_| Load::default()),
        })
    }

    fn insert(&self, key: [u64; 2], destination: u32) -> Inserted {
        let content = Meta::new(destination, State::Established, NOW);
        let timeouts = Timeouts::ipvs();
        let terms = Terms { now: NOW, timeouts: &timeouts, ranks: &timeouts };
        insert(self, &key, FlowHash::new(&key, SEED), content, terms, |before, after| {
            self.account(before, after)
        })
    }

    fn destination(&self, key: [u64; 2]) -> Option<u32> {
        lookup(self, &key, FlowHash::new(&key, SEED)).map(|entry| entry.meta.destination())
    }

    fn free(&self, key: [u64; 2]) {
        if let Some(entry) = lookup(self, &key, FlowHash::new(&key, SEED)) {
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
        .filter(|key| FlowHash::new(key, SEED).home(BUCKETS as u32) == 0)
        .nth(n)
        .expect("there are plenty")
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

#[test]
fn of_two_inserts_of_one_flow_one_stays() {
    check(|| {
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(flow(0), 1));
        let mine = table.insert(flow(0), 2);
        let theirs = thread.join().unwrap();
        let destination = table.destination(flow(0));
        if mine == Inserted::Lost && theirs == Inserted::Lost {
            panic!("somebody must win");
        }
        assert!(matches!(destination, Some(1 | 2)), "{mine:?} {theirs:?} {destination:?}");
        // Whoever stays, there is one entry: with it gone the flow is unknown.
        table.free(flow(0));
        assert_eq!(table.destination(flow(0)), None, "{mine:?} {theirs:?}");
        table.is_counted_right();
    });
}

#[test]
fn inserts_of_two_flows_into_one_bucket_do_not_mix() {
    check(|| {
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(flow(0), 1));
        let mine = table.insert(flow(1), 2);
        let theirs = thread.join().unwrap();
        for (inserted, key, destination) in [(theirs, flow(0), 1), (mine, flow(1), 2)] {
            match inserted {
                Inserted::Stored => assert_eq!(table.destination(key), Some(destination)),
                Inserted::Lost => assert_eq!(table.destination(key), None),
                other => panic!("{other:?} in an empty bucket"),
            }
        }
        table.is_counted_right();
    });
}

#[test]
fn a_reader_never_gets_the_destination_of_a_flow_that_takes_its_place() {
    check(|| {
        let table = Table::new();
        table.insert(flow(0), 1);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.free(flow(0));
            other.insert(flow(1), 2)
        });
        assert!(matches!(table.destination(flow(0)), None | Some(1)));
        assert!(matches!(table.destination(flow(1)), None | Some(2)));
        thread.join().unwrap();
        table.is_counted_right();
    });
}

#[test]
fn a_reader_never_gets_the_destination_of_a_flow_that_evicts_it() {
    check(|| {
        let table = Table::new();
        // Every way of every bucket: whatever comes now has to evict.
        let residents = BUCKETS * WAYS;
        for n in 0..residents {
            table.insert(flow(n), 1);
        }
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(flow(residents), 2));
        for n in 0..2 {
            assert!(matches!(table.destination(flow(n)), None | Some(1)));
        }
        assert!(matches!(table.destination(flow(residents)), None | Some(2)));
        assert_eq!(thread.join().unwrap(), Inserted::EvictedLive);
        assert_eq!(table.destination(flow(residents)), Some(2));
        table.is_counted_right();
    });
}

#[test]
fn a_sweep_never_frees_a_flow_that_lives() {
    check(|| {
        let table = Table::new();
        table.insert(flow(0), 1);
        let other = Arc::clone(&table);
        let later = NOW + 900;
        // It would have expired, but is seen just now.
        let thread = thread::spawn(move || {
            let key = flow(0);
            lookup(&*other, &key, FlowHash::new(&key, SEED))
                .is_some_and(|entry| other.change(entry, entry.meta.touched(State::FinWait as u32, later)))
        });
        table.sweep(later);
        let touched = thread.join().unwrap();
        assert_eq!(table.destination(flow(0)).is_some(), touched);
        table.is_counted_right();
    });
}

#[test]
fn a_sweep_does_not_hide_a_flow_that_overflows_meanwhile() {
    check(|| {
        let table = Table::new();
        for n in 0..WAYS {
            table.insert(flow(n), 1);
        }
        // The first half of a sweep, and the wait for programs that run, are over.
        clear_recent(&*table);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(flow(WAYS), 2));
        table.sweep(NOW);
        match thread.join().unwrap() {
            Inserted::Stored => assert_eq!(table.destination(flow(WAYS)), Some(2)),
            // The mark was lost to the sweep.
            Inserted::Lost => assert_eq!(table.destination(flow(WAYS)), None),
            other => panic!("{other:?}"),
        }
        table.is_counted_right();
    });
}

#[test]
fn a_reader_follows_a_flow_that_is_moved() {
    check(|| {
        let table = Table::new();
        table.insert(flow(0), 1);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            let key = flow(0);
            let entry = lookup(&*other, &key, FlowHash::new(&key, SEED)).expect("it is there");
            assert!(other.change(entry, entry.meta.moved(2, State::FinWait as u32, NOW)));
        });
        assert!(matches!(table.destination(flow(0)), Some(1 | 2)));
        thread.join().unwrap();
        assert_eq!(table.destination(flow(0)), Some(2));
        table.is_counted_right();
    });
}

#[test]
fn of_two_inserts_at_home_and_elsewhere_one_stays() {
    check(|| {
        let table = Table::new();
        for n in 0..=WAYS {
            // The last of them goes elsewhere and leaves the mark.
            table.insert(flow(n), 1);
        }
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(flow(WAYS + 1), 2));
        table.free(flow(0));
        let mine = table.insert(flow(WAYS + 1), 3);
        let theirs = thread.join().unwrap();
        assert!(table.destination(flow(WAYS + 1)).is_some(), "{mine:?} {theirs:?}");
        table.free(flow(WAYS + 1));
        assert_eq!(table.destination(flow(WAYS + 1)), None, "{mine:?} {theirs:?}");
        table.is_counted_right();
    });
}
