//! Another director's connections, recorded by the daemon with the state and the second that they have there, while CPUs
//! see the same flows.

use lb_common::connection::{Inserted, Meta, State};
use loom::sync::Arc;
use loom::thread;

use crate::{NOW, Table, beside, check, flow};

/// What the other director says of a flow.
fn told() -> Meta {
    Meta::new(1, State::FinWait, NOW - 5)
}

/// Records it, or lets an entry that is there be as it says.
fn synchronise(table: &Table, n: usize) -> bool {
    match table.find(flow(n)) {
        Some(entry) => table.change(entry, entry.meta.moved(1, State::FinWait as u32, NOW - 5)),
        None => matches!(table.insert_as(flow(n), told()), Inserted::Stored),
    }
}

fn is_as_told(meta: Meta) -> bool {
    (meta.destination(), meta.state(), meta.seen()) == (1, State::FinWait as u32, NOW - 5)
}

#[test]
fn a_reader_sees_all_of_a_synchronised_flow_or_nothing() {
    check(|| {
        let table = Table::new();
        table.insert(flow(1), 2);
        let (other, reader) = (Arc::clone(&table), Arc::clone(&table));
        let read = move || {
            assert!(reader.find(flow(0)).is_none_or(|entry| is_as_told(entry.meta)));
            assert_eq!(reader.destination(flow(1)), Some(2), "a neighbour in its bucket");
        };
        assert!(beside(move || synchronise(&other, 0), read).0);
        assert!(is_as_told(table.find(flow(0)).unwrap().meta));
        table.is_counted_right();
    });
}

#[test]
fn a_synchronised_flow_takes_no_other_flows_place_unseen() {
    check(|| {
        let table = Table::new();
        table.insert(flow(0), 3);
        let (other, reader) = (Arc::clone(&table), Arc::clone(&table));
        // The way of a flow that ends here is the one that another is written to.
        let write = move || {
            other.free(flow(0));
            synchronise(&other, 1)
        };
        let read = move || {
            assert!(matches!(reader.destination(flow(0)), None | Some(3)));
            assert!(reader.find(flow(1)).is_none_or(|entry| is_as_told(entry.meta)));
        };
        assert!(beside(write, read).0);
        table.is_counted_right();
    });
}

#[test]
fn of_a_flow_that_is_scheduled_while_it_is_synchronised_one_entry_stays() {
    check(|| {
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || synchronise(&other, 0));
        let mine = table.insert(flow(0), 2);
        let theirs = thread.join().unwrap();
        assert!(theirs || mine == Inserted::Stored, "somebody must win");
        let entry = table.find(flow(0)).expect("one stays");
        assert!(is_as_told(entry.meta) || entry.meta.destination() == 2, "{:?}", entry.meta);
        if let Inserted::Existing(existing) = mine {
            assert!(is_as_told(existing), "whoever was late goes where the other said");
        }
        table.free(flow(0));
        assert_eq!(table.destination(flow(0)), None, "{mine:?} {theirs}");
        table.is_counted_right();
    });
}

#[test]
fn a_flow_that_is_seen_while_it_is_synchronised_is_counted_once() {
    check(|| {
        let table = Table::new();
        table.insert(flow(0), 2);
        let (other, cpu) = (Arc::clone(&table), Arc::clone(&table));
        let touch = move || {
            // A CPU that is late does without.
            cpu.find(flow(0)).is_some_and(|entry| {
                cpu.change(entry, entry.meta.touched(State::Established as u32, NOW + 1))
            })
        };
        let (told, touched) = beside(move || synchronise(&other, 0), touch);
        assert!(told || touched, "one of them was first");
        assert!(table.find(flow(0)).is_some());
        table.is_counted_right();
    });
}
