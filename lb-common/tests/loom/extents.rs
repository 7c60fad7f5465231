//! Entries that are moved closer together or apart, beside programs that look for them, record and change them, and beside
//! the daemon's inserts.
//!
//! A gathering is long: each model has the one bucket gathered in which its flow is.

use lb_common::connection::{Extents, Inserted, State, Terms, Timeouts, entries, gather_bucket};
use lb_common::hash::FlowHash;
use loom::sync::Arc;

use crate::{NOW, SEED, Table, beside, check_with};

/// One more than a flow may lie in.
const BUCKETS: u32 = 4;

/// Half of the buckets.
fn part() -> Extents {
    Extents::from_word(1 << 8 | 1)
}

/// The `n`th flow that has one bucket of its own in the part, and another in the whole, and is looked for in neither by
/// the other extent.
fn flow(n: usize) -> [u64; 2] {
    let moves = |key: &[u64; 2]| {
        let hash = FlowHash::new(key, SEED);
        let [part, whole] = [part(), Extents::WHOLE].map(|it| hash.home(BUCKETS, it.now));
        (part, whole) == (0, 1) && !hash.elsewhere(whole, BUCKETS, Extents::WHOLE.now).contains(&part)
    };
    (0..).flat_map(|a| (0..2).map(move |b| [a, b])).filter(moves).nth(n).expect("there are plenty")
}

/// How many entries a flow has.
fn copies(table: &Table, key: [u64; 2]) -> usize {
    table.buckets.iter().flat_map(entries).filter(|(found, _)| *found == key).count()
}

/// A table whose flows have been recorded by one extent, and are looked for by it and by another.
#[derive(Clone)]
struct Changing {
    table: Arc<Table>,
    before: Extents,
    now: Extents,
}

impl Changing {
    /// Where the flows of [`flow`] lie.
    fn index(&self) -> u32 {
        FlowHash::new(&flow(0), SEED).home(BUCKETS, self.before.now)
    }

    /// Moves what lies in that bucket; then the other extent alone is in use.
    fn gather(&self) -> bool {
        let timeouts = Timeouts::ipvs();
        let terms = Terms { now: NOW, timeouts: &timeouts, ranks: &timeouts };
        let account = |before, after| self.table.account(before, after);
        let is_done = gather_bucket(&*self.table, self.index(), SEED, terms, &account, false);
        if is_done {
            self.table.extents.store(self.now.word());
        }
        is_done
    }

    /// Gathers, and does something else at the same time.
    fn gather_beside<T: 'static>(&self, other: impl FnOnce(&Table) -> T + 'static) -> T {
        let (mine, table) = (self.clone(), Arc::clone(&self.table));
        let (is_done, result) = beside(move || mine.gather(), move || other(&table));
        assert!(is_done);
        result
    }

    /// Each flow is there once, and goes to one of these destinations; and all are counted.
    fn has(&self, flows: usize, destinations: &[u32]) {
        for key in (0..flows).map(flow) {
            let destination = self.table.destination(key).expect("it is not lost");
            assert!(destinations.contains(&destination), "{destination}");
            assert_eq!(copies(&self.table, key), 1);
        }
        self.table.is_counted_right();
    }
}

/// Runs a test for either way.
fn check(preemptions: usize, flows: usize, test: fn(Changing)) {
    for (before, now) in [(part(), Extents::WHOLE), (Extents::WHOLE, part())] {
        check_with(preemptions, move || {
            let table = Table::with(BUCKETS as usize);
            table.extents.store(before.word());
            for n in 0..flows {
                assert_eq!(table.insert(flow(n), 1), Inserted::Stored);
            }
            table.extents.store(Extents { now: now.now, before: before.now }.word());
            test(Changing { table, before, now });
        });
    }
}

#[test]
fn a_flow_that_is_moved_is_found_at_any_moment() {
    check(3, 1, |changing| {
        let found = changing.gather_beside(|table| table.destination(flow(0)));
        assert_eq!(found, Some(1));
        changing.has(1, &[1]);
    });
}

#[test]
fn a_flow_that_ends_while_it_is_moved_is_counted_once() {
    check(3, 1, |changing| {
        let ended = changing.gather_beside(|table| {
            let entry = table.find(flow(0)).expect("it is found");
            table.change(entry, entry.meta.touched(State::FinWait as u32, NOW))
        });
        let entry = changing.table.find(flow(0)).expect("it is not lost");
        // A CPU that found it where it was, and is late, does without.
        assert_eq!(entry.meta.state() == State::FinWait as u32, ended);
        changing.has(1, &[1]);
    });
}

#[test]
fn a_flow_that_goes_to_another_server_while_it_is_moved_goes_there() {
    check(3, 1, |changing| {
        let moved = changing.gather_beside(|table| {
            let entry = table.find(flow(0)).expect("it is found");
            table.change(entry, entry.meta.moved(2, State::Established as u32, NOW))
        });
        changing.has(1, if moved { &[2] } else { &[1] });
    });
}

/// Programs record it where it is to be, while one that had not yet read so has recorded it where it was.
#[test]
fn of_a_flow_that_two_cpus_record_by_either_extent_one_stays() {
    check(2, 1, |changing| {
        let inserted = changing.gather_beside(|table| table.insert(flow(0), 2));
        assert!(
            matches!(inserted, Inserted::Stored | Inserted::Existing(_) | Inserted::Lost),
            "{inserted:?}"
        );
        changing.has(1, &[1, 2]);
    });
}

#[test]
fn a_flow_that_is_recorded_beside_one_that_is_moved_takes_nothing_from_it() {
    check(3, 1, |changing| {
        let inserted = changing.gather_beside(|table| table.insert(flow(1), 2));
        let found = changing.table.destination(flow(1));
        match inserted {
            Inserted::Stored => assert_eq!(found, Some(2)),
            Inserted::Lost => assert_eq!(found, None),
            other => panic!("{other:?}"),
        }
        changing.has(1, &[1]);
    });
}

/// Where two go, one more overflows into other buckets.
#[test]
fn a_flow_that_overflows_where_others_are_moved_to_hides_none() {
    check(2, 2, |changing| {
        let (inserted, found) = changing.gather_beside(|table| {
            let inserted = table.insert(flow(2), 2);
            (inserted, table.destination(flow(0)))
        });
        assert_eq!(found, Some(1));
        assert!(matches!(inserted, Inserted::Stored | Inserted::Lost), "{inserted:?}");
        assert_eq!(changing.table.destination(flow(2)).is_some(), inserted == Inserted::Stored);
        changing.has(2, &[1]);
    });
}

/// As the daemon does for another director: it looks, then inserts or changes.
#[test]
fn a_flow_that_is_synchronised_while_it_is_moved_is_there_once() {
    check(3, 1, |changing| {
        let is_told = changing.gather_beside(|table| {
            let entry = table.find(flow(0)).expect("it is found");
            let told = entry.meta.moved(3, State::Established as u32, NOW).synchronised();
            table.change(entry, told)
        });
        changing.has(1, if is_told { &[3] } else { &[1] });
        assert_eq!(changing.table.find(flow(0)).unwrap().meta.is_synchronised(), is_told);
    });
}

/// What a daemon that was killed had copied, but not yet freed.
#[test]
fn a_flow_that_was_half_moved_is_found_while_the_next_daemon_moves_it() {
    check(3, 1, |changing| {
        assert_eq!(changing.table.insert(flow(0), 1), Inserted::Stored, "the copy");
        assert_eq!(copies(&changing.table, flow(0)), 2);
        let found = changing.gather_beside(|table| table.destination(flow(0)));
        assert_eq!(found, Some(1));
        changing.has(1, &[1]);
    });
}
