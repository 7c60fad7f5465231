//! First packets that are recorded in one go: beside each other, inserts, look-ups and overflowing buckets.

use lb_common::connection::WAYS;
use loom::sync::Arc;
use loom::thread;

use crate::{NOW, Table, beside, check, flow};

#[test]
fn of_one_flow_that_two_cpus_record_at_most_one_entry_stays() {
    check(|| {
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.record(flow(0), 1));
        table.record(flow(0), 2);
        thread.join().unwrap();
        assert!(matches!(table.destination(flow(0)), None | Some(1 | 2)));
        table.free(flow(0));
        assert_eq!(table.destination(flow(0)), None);
        table.is_counted_right();
    });
}

#[test]
fn of_one_flow_that_one_records_and_one_inserts_one_entry_stays() {
    check(|| {
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(flow(0), 1));
        table.record(flow(0), 2);
        let inserted = thread.join().unwrap();
        assert!(matches!(table.destination(flow(0)), Some(1 | 2)), "{inserted:?}");
        table.free(flow(0));
        assert_eq!(table.destination(flow(0)), None, "{inserted:?}");
        table.is_counted_right();
    });
}

#[test]
fn two_flows_that_find_the_same_room_do_not_mix() {
    check(|| {
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.record(flow(0), 1));
        table.record(flow(1), 2);
        thread.join().unwrap();
        assert!(matches!(table.destination(flow(0)), None | Some(1)));
        assert!(matches!(table.destination(flow(1)), None | Some(2)));
        table.is_counted_right();
    });
}

#[test]
fn a_reader_never_gets_the_destination_of_a_flow_that_takes_an_expired_ones_room() {
    check(|| {
        let table = Table::new();
        table.insert_at(flow(0), 1, NOW - 1000);
        let (other, reader) = (Arc::clone(&table), Arc::clone(&table));
        let read = move || {
            assert!(matches!(reader.destination(flow(0)), None | Some(1)));
            assert!(matches!(reader.destination(flow(1)), None | Some(2)));
        };
        beside(move || other.record(flow(1), 2), read);
        table.is_counted_right();
    });
}

/// The last way of a bucket goes to one of two; the other of the same flow may go to another bucket.
#[test]
fn of_one_flow_beside_a_bucket_that_overflows_one_entry_stays() {
    check(|| {
        let table = Table::new();
        for n in 1..WAYS {
            table.insert(flow(n), 1);
        }
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.insert(flow(WAYS), 1);
            other.insert(flow(0), 1)
        });
        table.record(flow(0), 2);
        thread.join().unwrap();
        assert!(matches!(table.destination(flow(0)), None | Some(1 | 2)));
        table.free(flow(0));
        assert_eq!(table.destination(flow(0)), None);
        table.is_counted_right();
    });
}
