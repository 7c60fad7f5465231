//! The connection table's protocol under every interleaving (up to a bound on preemptions).
//!
//! Run by `cargo xtask test`, or by hand:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p lb-common --test loom --target-dir target/loom`.
//!
//! Buckets have two ways here, so that full buckets and overflow are reached with a few flows.
#![cfg(loom)]

use lb_common::connection::{
    Bucket, Buckets, Inserted, Meta, State, Timeouts, WAYS, clear_recent, insert, lookup, sweep,
};
use lb_common::hash::{FlowHash, FlowSeed};
use loom::sync::Arc;
use loom::thread;

const SEED: FlowSeed = FlowSeed { first: 1, second: 2 };
const BUCKETS: usize = 3;
const NOW: u32 = 1000;

struct Table([Bucket<2>; BUCKETS]);

impl Buckets<2> for Table {
    fn len(&self) -> u32 {
        BUCKETS as u32
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<2>> {
        self.0.get(index as usize)
    }
}

impl Table {
    fn new() -> Arc<Self> {
        Arc::new(Self(std::array::from_fn(|_| Bucket::default())))
    }

    fn insert(&self, key: [u64; 2], destination: u32) -> Inserted {
        let content = Meta::new(destination, State::Established, NOW);
        insert(self, &key, FlowHash::new(&key, SEED), content, NOW, &Timeouts::ipvs(), &Timeouts::ipvs())
    }

    fn destination(&self, key: [u64; 2]) -> Option<u32> {
        lookup(self, &key, FlowHash::new(&key, SEED)).map(|entry| entry.meta.destination())
    }

    fn free(&self, key: [u64; 2]) {
        if let Some(entry) = lookup(self, &key, FlowHash::new(&key, SEED)) {
            entry.free();
        }
    }

    fn sweep(&self, now: u32) {
        let mut displaced = [false; BUCKETS];
        sweep(self, SEED, &Timeouts::ipvs(), now, &mut displaced, |_, _| false, |_, _| {});
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
                .is_some_and(|entry| entry.change(entry.meta.touched(State::Established as u32, later)))
        });
        table.sweep(later);
        let touched = thread.join().unwrap();
        assert_eq!(table.destination(flow(0)).is_some(), touched);
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
            assert!(entry.change(entry.meta.moved(2, State::SynRecv as u32, NOW)));
        });
        assert!(matches!(table.destination(flow(0)), Some(1 | 2)));
        thread.join().unwrap();
        assert_eq!(table.destination(flow(0)), Some(2));
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
    });
}
