//! How much of a table is in use.

use lb_common::connection::{Extent, Extents, entries};
use lb_common::load::Counts;

use super::loads::{SERVER, close, load, open};
use super::*;

struct Plane {
    memory: Arc<Memory>,
    sweeper: Sweeper,
    now: u32,
}

impl Plane {
    fn new() -> Self {
        let memory = memory(1 << 20);
        usable(&mut Tables::in_process(Arc::clone(&memory)), SERVER);
        let sweeper = Sweeper::in_process(Arc::clone(&memory), SEED).expect("there is a clock");
        let now = KernelClock::in_process().expect("there is a clock").now().expect("it runs");
        Self { memory, sweeper, now }
    }

    fn open(&self, flows: std::ops::Range<u32>) {
        flows.for_each(|n| open(&self.memory, n, self.now));
    }

    fn sweep(&self) -> Extents {
        self.sweeper.sweep().expect("there is a clock");
        self.memory.connections_v4().extents()
    }

    /// Each flow is found, is there once, and counts once; and there are no others.
    fn has(&self, flows: std::ops::Range<u32>) {
        let (table, connections) = (self.memory.connections_v4(), flows.end - flows.start);
        let lost = flows.filter(|n| destination_of(table, *n) != Some(SERVER)).count();
        assert_eq!(lost, 0, "of {connections}");
        let recorded = (0..table.len()).filter_map(|i| table.bucket(i)).flat_map(entries).count();
        assert_eq!(recorded, connections as usize);
        assert_eq!(load(&self.memory).counts(), Counts { active: connections, inactive: 0 });
    }
}

#[test]
fn a_table_uses_what_its_connections_need_and_loses_none() {
    const MOST: u32 = 400_000;
    let plane = Plane::new();
    let extent = |connections: u32| {
        Extents::of(Extent::with_room(connections.into(), plane.memory.connections_v4().len()))
    };
    plane.open(0..1000);
    assert_eq!(plane.sweep(), extent(1000));
    plane.has(0..1000);
    // More than have room there: what a daemon that was killed leaves behind.
    plane.open(1000..MOST);
    plane.has(0..MOST);
    assert_eq!(plane.sweep(), extent(2 * MOST));
    plane.has(0..MOST);
    (1000..MOST).for_each(|n| close(&plane.memory, n));
    assert_eq!(plane.sweep(), extent(1000));
    plane.has(0..1000);
}

#[test]
fn what_a_killed_daemon_was_moving_the_next_one_moves() {
    let plane = Plane::new();
    plane.open(0..1000);
    let now = Extent::with_room(0, plane.memory.connections_v4().len());
    let word = &plane.memory.settings().extents_v4;
    word.store(Extents { now, before: Extent::WHOLE }.word());
    plane.open(1000..2000);
    plane.has(0..2000);
    assert_eq!(plane.sweep(), Extents::of(now));
    plane.has(0..2000);
}

/// `max_connections` is another: the word is of the table before, which the attached program reads and writes meanwhile.
#[test]
fn connections_of_a_larger_table_are_found_in_a_smaller_one() {
    const FLOWS: u32 = 20_000;
    let plane = Plane::new();
    plane.open(0..FLOWS);
    let extents = plane.sweep();
    assert_ne!(extents, Extents::WHOLE);
    // In the middle of a change, even.
    let word = Extents { before: Extent::WHOLE, ..extents }.word();
    let Plane { memory: old, sweeper, now } = plane;
    drop(sweeper);
    let old = Arc::into_inner(old).expect("nobody else has it");
    let v4 = PreviousFamily { main: vec![old.v4.main], half_open: vec![] };
    let previous = Previous { v4, ..Previous::default() };
    let new = memory(1 << 16);
    usable(&mut Tables::in_process(Arc::clone(&new)), SERVER);
    new.settings().extents_v4.store(word);
    assert_eq!(previous.copy_into(&new, SEED, &Timeouts::ipvs(), now), u64::from(FLOWS));
    let sweeper = Sweeper::in_process(Arc::clone(&new), SEED).expect("there is a clock");
    let plane = Plane { memory: new, sweeper, now };
    // They are accounted for already, where the maps are the same.
    plane.memory.loads[SERVER as usize]
        .correct(load(&plane.memory).read(), Counts { active: FLOWS, inactive: 0 });
    plane.has(0..FLOWS);
    assert_eq!(plane.sweep(), Extents::WHOLE, "of this one all is in use");
    plane.has(0..FLOWS);
}
