//! What the connection tables hold, as the last sweep found it. Nobody walks over them for this: a sweep sees every entry
//! anyway.

use std::sync::{Mutex, PoisonError};

use lb_common::connection::{Buckets as _, State, WAYS, capacity};

use super::memory::{ConnectionTable, Memory};

/// What a sweep of all tables found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Live entries, by their state: the number of a [`State`] is the place of its count.
    pub states: [u64; State::ALL.len()],
    /// The tables.
    pub tables: Vec<TableOccupancy>,
    /// Sweeps since the daemon began.
    pub sweeps: u64,
    /// Entries that they freed.
    pub freed: u64,
}

/// What one table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOccupancy {
    /// Its name: of the family, and whether it is the one of flows of which one packet was seen.
    pub table: &'static str,
    /// Live entries.
    pub entries: u64,
    /// As many as it holds before it has to take the places of live ones ([`capacity`]).
    pub capacity: u64,
    /// Places for entries.
    pub places: u64,
}

/// Where the last sweep's result lies.
#[derive(Debug, Default)]
pub(super) struct LastSweep(Mutex<Occupancy>);

impl LastSweep {
    pub(super) fn read(&self) -> Occupancy {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records what another sweep found; `entries` are those of [`tables`], in that order.
    pub(super) fn record(
        &self,
        memory: &Memory,
        states: [u64; State::ALL.len()],
        entries: [u64; 4],
        freed: u64,
    ) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.tables = tables(memory)
            .into_iter()
            .zip(entries)
            .map(|(table, entries)| TableOccupancy { entries, ..table })
            .collect();
        last.states = states;
        last.sweeps += 1;
        last.freed += freed;
    }
}

/// The tables, empty.
fn tables(memory: &Memory) -> [TableOccupancy; 4] {
    fn of<const K: usize>(name: &'static str, table: &ConnectionTable<K>) -> TableOccupancy {
        let buckets = table.len();
        let places = u64::from(buckets) * WAYS as u64;
        TableOccupancy { table: name, entries: 0, capacity: capacity(buckets), places }
    }
    [
        of("ipv4", &memory.v4.main),
        of("ipv4_half_open", &memory.v4.half_open),
        of("ipv6", &memory.v6.main),
        of("ipv6_half_open", &memory.v6.half_open),
    ]
}
