//! CPUs and the sweeper: inserts, look-ups, evictions, sweeps.

use lb_common::connection::{Inserted, State, WAYS, clear_recent};
use loom::sync::Arc;
use loom::thread;

use crate::{BUCKETS, NOW, Table, beside, check, flow};

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
        let (other, reader) = (Arc::clone(&table), Arc::clone(&table));
        let write = move || {
            other.free(flow(0));
            other.insert(flow(1), 2)
        };
        beside(write, move || {
            assert!(matches!(reader.destination(flow(0)), None | Some(1)));
            assert!(matches!(reader.destination(flow(1)), None | Some(2)));
        });
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
        let (other, reader) = (Arc::clone(&table), Arc::clone(&table));
        let read = move || {
            for n in 0..2 {
                assert!(matches!(reader.destination(flow(n)), None | Some(1)));
            }
            assert!(matches!(reader.destination(flow(residents)), None | Some(2)));
        };
        let (inserted, ()) = beside(move || other.insert(flow(residents), 2), read);
        assert_eq!(inserted, Inserted::EvictedLive);
        assert_eq!(table.destination(flow(residents)), Some(2));
        table.is_counted_right();
    });
}

#[test]
fn a_sweep_never_frees_a_flow_that_lives() {
    check(|| {
        let table = Table::new();
        table.insert(flow(0), 1);
        let (other, swept) = (Arc::clone(&table), Arc::clone(&table));
        let later = NOW + 900;
        // It would have expired, but is seen just now.
        let touch = move || {
            other
                .find(flow(0))
                .is_some_and(|entry| other.change(entry, entry.meta.touched(State::FinWait as u32, later)))
        };
        let ((), touched) = beside(move || swept.sweep(later), touch);
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
        let (other, swept) = (Arc::clone(&table), Arc::clone(&table));
        match beside(move || other.insert(flow(WAYS), 2), move || swept.sweep(NOW)).0 {
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
        let (other, reader) = (Arc::clone(&table), Arc::clone(&table));
        let change = move || {
            let entry = other.find(flow(0)).expect("it is there");
            assert!(other.change(entry, entry.meta.moved(2, State::FinWait as u32, NOW)));
        };
        let ((), found) = beside(change, move || reader.destination(flow(0)));
        assert!(matches!(found, Some(1 | 2)));
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
