//! The connection table on the host, one thread: it remembers what it was told, and forgets in the right order.

extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Word;
use crate::hash::{FlowHash, FlowSeed};

const SEED: FlowSeed = FlowSeed { first: 0x5EED_0001_C0FF_EE00, second: 0x0BAD_5EED_1234_5678 };
const NOW: u32 = 1000;

struct Table(Vec<Bucket<2>>);

impl Table {
    fn new(len: u32) -> Self {
        Self((0..len).map(|_| Bucket::default()).collect())
    }

    fn lookup(&self, key: [u64; 2]) -> Option<Entry<'_>> {
        lookup(self, &key, FlowHash::new(&key, SEED))
    }

    fn insert(&self, key: [u64; 2], content: Meta) -> Inserted {
        let timeouts = Timeouts::ipvs();
        let terms = Terms { now: content.seen(), timeouts: &timeouts, ranks: &timeouts };
        insert(self, &key, FlowHash::new(&key, SEED), content, terms, |_, _| {})
    }

    fn sweep(&self, now: u32) -> Sweep {
        clear_recent(self);
        let mut displaced = std::vec![false; self.0.len()];
        sweep(self, SEED, &Timeouts::ipvs(), now, &mut displaced, &mut Looking::default())
    }

    fn overflowed(&self) -> usize {
        self.0.iter().filter(|bucket| Meta::from_word(bucket.ways[0].meta.load()).is_overflowed()).count()
    }
}

/// A sweep that frees what has expired, and the flows of a destination that is gone.
#[derive(Default)]
struct Looking {
    gone: Option<u32>,
    seen: Vec<([u64; 2], u32)>,
    freed: u64,
}

impl Sweeping<2> for Looking {
    fn is_gone(&self, _key: &[u64; 2], meta: Meta) -> bool {
        self.gone == Some(meta.destination())
    }

    fn lives(&mut self, key: &[u64; 2], meta: Meta) {
        self.seen.push((*key, meta.destination()));
    }

    fn freed(&mut self, _meta: Meta) {
        self.freed += 1;
    }
}

impl Buckets<2> for Table {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a small table")
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<2>> {
        self.0.get(index as usize)
    }
}

fn established(destination: u32, seen: u32) -> Meta {
    Meta::new(destination, State::Established, seen)
}

/// The `n`th of many flows: a few thousand clients with many ports each, to one VIP.
fn flow(n: u32) -> [u64; 2] {
    let client = 0x0A00_0000 + n / 50;
    let port = 1024 + n % 50 * 7;
    key_v4(u64::from(client.swap_bytes()) | 0xF002_A8C0 << 32, port.swap_bytes() >> 16 | 0x5000 << 16, 6)
}

#[test]
fn what_was_inserted_is_found_until_it_is_freed() {
    let table = Table::new(16);
    assert!(table.lookup(flow(1)).is_none());
    assert_eq!(table.insert(flow(1), established(7, NOW)), Inserted::Stored);
    assert_eq!(table.insert(flow(2), established(9, NOW)), Inserted::Stored);
    let entry = table.lookup(flow(1)).expect("it was inserted");
    assert_eq!((entry.meta.destination(), entry.meta.seen()), (7, NOW));
    assert_eq!(State::from_number(entry.meta.state()), Some(State::Established));
    assert!(entry.free());
    assert!(table.lookup(flow(1)).is_none());
    assert_eq!(table.lookup(flow(2)).map(|entry| entry.meta.destination()), Some(9));
}

#[test]
fn a_flow_that_is_there_already_keeps_its_destination() {
    let table = Table::new(16);
    table.insert(flow(1), established(7, NOW));
    let Inserted::Existing(meta) = table.insert(flow(1), established(8, NOW)) else {
        panic!("one of the two entries must win")
    };
    assert_eq!(meta.destination(), 7);
    assert_eq!(table.lookup(flow(1)).map(|entry| entry.meta.destination()), Some(7));
}

#[test]
fn an_entry_that_changed_meanwhile_is_not_changed_again() {
    let table = Table::new(16);
    table.insert(flow(1), established(7, NOW));
    let entry = table.lookup(flow(1)).expect("it was inserted");
    assert!(entry.change(entry.meta.touched(State::FinWait as u32, NOW + 1)));
    assert!(!entry.change(entry.meta.touched(State::Close as u32, NOW + 1)));
    assert!(!entry.free());
    let now = table.lookup(flow(1)).expect("it was inserted").meta;
    assert_eq!((State::from_number(now.state()), now.seen()), (Some(State::FinWait), NOW + 1));
    let moved = now.moved(3, State::SynRecv as u32, NOW + 2);
    assert_eq!((moved.destination(), moved.state(), moved.seen()), (3, State::SynRecv as u32, NOW + 2));
}

#[test]
fn a_full_bucket_overflows_into_another_and_the_mark_goes_when_nothing_is_there() {
    let table = Table::new(64);
    let home = |n: u32| FlowHash::new(&flow(n), SEED).home(64, Extent::WHOLE);
    let crowd: Vec<u32> = (0..100_000).filter(|n| home(*n) == home(0)).take(WAYS + 3).collect();
    for n in &crowd {
        assert_eq!(table.insert(flow(*n), established(*n & 0xff, NOW)), Inserted::Stored);
    }
    assert_eq!(table.overflowed(), 1);
    for n in &crowd {
        assert_eq!(table.lookup(flow(*n)).map(|entry| entry.meta.destination()), Some(*n & 0xff));
    }
    assert_eq!(table.sweep(NOW), Sweep { live: crowd.len() as u64, freed: 0 });
    assert_eq!(table.overflowed(), 1, "three flows live away from home");
    for n in &crowd[WAYS..] {
        assert!(table.lookup(flow(*n)).expect("it was inserted").free());
    }
    table.sweep(NOW);
    assert_eq!(table.overflowed(), 0);
}

#[test]
fn a_sweep_frees_what_expired_and_nothing_else() {
    let table = Table::new(64);
    for n in 0..50 {
        table.insert(flow(n), Meta::new(n, State::FinWait, NOW));
        table.insert(flow(1000 + n), established(n, NOW));
    }
    assert_eq!(table.sweep(NOW + 119), Sweep { live: 100, freed: 0 });
    assert_eq!(table.sweep(NOW + 120), Sweep { live: 50, freed: 50 });
    assert!((0..50).all(|n| table.lookup(flow(n)).is_none() && table.lookup(flow(1000 + n)).is_some()));
}

#[test]
fn a_sweep_shows_every_live_flow_and_frees_those_of_a_lost_destination() {
    let table = Table::new(64);
    for n in 0..60 {
        table.insert(flow(n), established(n % 3, NOW));
    }
    let mut displaced = [false; 64];
    let mut looking = Looking { gone: Some(2), ..Looking::default() };
    let result = sweep(&table, SEED, &Timeouts::ipvs(), NOW, &mut displaced, &mut looking);
    assert_eq!(result, Sweep { live: 40, freed: 20 });
    let Looking { seen, freed, .. } = looking;
    assert_eq!(freed, 20);
    assert_eq!(seen.len(), 40);
    assert!(seen.iter().all(|(key, destination)| (0..60).any(|n| flow(n) == *key && n % 3 == *destination)));
}

#[test]
fn an_expired_entry_is_taken_before_a_live_one_goes() {
    let table = Table::new(3);
    let capacity = 3 * WAYS as u32;
    for n in 0..capacity {
        let state = if n == 5 { State::Close } else { State::Established };
        assert_eq!(table.insert(flow(n), Meta::new(n, state, NOW)), Inserted::Stored);
    }
    let later = NOW + 10;
    assert_eq!(table.insert(flow(900), established(1, later)), Inserted::Stored);
    assert!(table.lookup(flow(5)).is_none());
    assert!((0..capacity).filter(|n| *n != 5).all(|n| table.lookup(flow(n)).is_some()));
}

#[test]
fn when_all_are_live_the_one_that_would_expire_first_goes() {
    let table = Table::new(3);
    let capacity = 3 * WAYS as u32;
    for n in 0..capacity {
        table.insert(flow(n), established(n, NOW + n));
    }
    // Of the three buckets of a flow two are looked through for a victim.
    let hash = FlowHash::new(&flow(900), SEED);
    let home = hash.home(3, Extent::WHOLE);
    let searched = [home, hash.elsewhere(home, 3, Extent::WHOLE)[0]];
    let first = (0..capacity).find(|n| {
        let meta = table.lookup(flow(*n)).expect("it was inserted").meta;
        searched
            .iter()
            .any(|bucket| table.0[*bucket as usize].ways.iter().any(|way| way.meta.load() == meta.word()))
    });
    assert_eq!(table.insert(flow(900), established(1, NOW + capacity)), Inserted::EvictedLive);
    assert_eq!((0..capacity).find(|n| table.lookup(flow(*n)).is_none()), first);
    assert_eq!((0..capacity).filter(|n| table.lookup(flow(*n)).is_none()).count(), 1);
}

#[test]
fn an_entry_left_busy_by_a_dead_writer_is_free_when_the_next_daemon_begins() {
    let table = Table::new(3);
    for bucket in &table.0 {
        for way in &bucket.ways {
            way.meta.store(Meta::from_word(0).claimed(NOW).word());
        }
    }
    let later = established(7, NOW + 100_000);
    assert_eq!(table.insert(flow(1), later), Inserted::Lost, "it may be asleep");
    assert_eq!(free_abandoned(&table, NOW + BUSY_SECONDS - 1), 0);
    assert_eq!(free_abandoned(&table, NOW + BUSY_SECONDS), 3 * WAYS as u64);
    assert_eq!(table.insert(flow(1), later), Inserted::Stored);
    assert!(table.lookup(flow(1)).is_some());
}

/// `max_connections` is a promise: with that many live connections fewer than 1 in 10,000 inserts evicts one.
#[test]
fn max_connections_fit_and_go_on_fitting() {
    for max_connections in [1 << 10, 10_000, 1 << 17] {
        let table = Table::new(buckets_for(max_connections));
        let mut evicted = 0;
        let mut insert =
            |n: u32| evicted += u32::from(table.insert(flow(n), established(1, NOW)) != Inserted::Stored);
        (0..max_connections).for_each(&mut insert);
        // At full load: one connection closes, another opens, many times over.
        let rounds = 400_000;
        for n in 0..rounds {
            if let Some(entry) = table.lookup(flow(n)) {
                entry.free();
            }
            insert(max_connections + n);
        }
        let inserts = max_connections + rounds;
        assert!(evicted * 10_000 < inserts, "{evicted} of {inserts} evicted at {max_connections}");
    }
}

#[test]
fn a_million_connections_cost_at_most_64_mib() {
    let buckets = buckets_for(1 << 20);
    let bytes = u64::from(buckets + half_open_buckets(buckets)) * size_of::<Bucket<2>>() as u64;
    assert!(bytes <= 64 << 20, "{bytes} bytes");
    assert!(capacity(buckets) >= 1 << 20);
}

#[derive(Clone, Debug)]
enum Step {
    Insert { flow: u32, destination: u32 },
    Touch { flow: u32 },
    Free { flow: u32 },
    Sweep,
    Wait { seconds: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..60u32, 0..=MAX_DESTINATION).prop_map(|(flow, destination)| Step::Insert { flow, destination }),
        4 => (0..60u32).prop_map(|flow| Step::Touch { flow }),
        2 => (0..60u32).prop_map(|flow| Step::Free { flow }),
        1 => Just(Step::Sweep),
        2 => (1..500u32).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    /// Against a map: nothing is found that was not put there, and what is live is found unless an insert said
    /// that it had to evict.
    #[test]
    fn agrees_with_a_map(steps in proptest::collection::vec(step(), 1..300)) {
        let table = Table::new(8);
        let mut model: HashMap<u32, (u32, u32)> = HashMap::new();
        let mut now = NOW;
        let mut evictions = 0;
        for step in steps {
            match step {
                Step::Insert { flow: n, destination } => match table.lookup(flow(n)) {
                    Some(entry) => prop_assert_eq!(model.get(&n).map(|known| known.0), Some(entry.meta.destination())),
                    None => {
                        let inserted = table.insert(flow(n), established(destination, now));
                        prop_assert!(matches!(inserted, Inserted::Stored | Inserted::EvictedLive));
                        evictions += usize::from(inserted == Inserted::EvictedLive);
                        model.insert(n, (destination, now));
                    }
                },
                Step::Touch { flow: n } => if let Some(entry) = table.lookup(flow(n)) {
                    prop_assert!(entry.change(entry.meta.touched(State::Established as u32, now)));
                    model.entry(n).and_modify(|known| known.1 = now);
                },
                Step::Free { flow: n } => if let Some(entry) = table.lookup(flow(n)) {
                    prop_assert!(entry.free());
                    model.remove(&n);
                },
                Step::Sweep => { table.sweep(now); }
                Step::Wait { seconds } => now += seconds,
            }
            let mut missing = 0;
            for (n, (destination, seen)) in &model {
                match table.lookup(flow(*n)) {
                    Some(entry) => prop_assert_eq!(entry.meta.destination(), *destination),
                    None => missing += usize::from(now - seen < 900),
                }
            }
            prop_assert!(missing <= evictions, "{} live flows missing, {} evicted", missing, evictions);
        }
    }

    /// The transition rows against the table as IPVS writes it down.
    #[test]
    fn transitions_follow_flag_priority(state in 0u32..11, flags in 0u8..64) {
        let rst = state::after_segment(state, flags::RST);
        let expected = if flags & flags::RST != 0 {
            rst
        } else if flags & flags::SYN != 0 {
            state::after_segment(state, flags::SYN)
        } else if flags & flags::FIN != 0 {
            state::after_segment(state, flags::FIN)
        } else if flags & flags::ACK != 0 {
            state::after_segment(state, flags::ACK)
        } else {
            State::Close as u32
        };
        prop_assert_eq!(state::after_segment(state, flags), expected);
    }
}

use state::flags;

#[test]
fn a_connection_opens_and_closes_as_ipvs_says() {
    use State::{Close, Established, FinWait, None, SynRecv, TimeWait};
    let walk =
        |flags: &[u8]| flags.iter().fold(None as u32, |state, flags| state::after_segment(state, *flags));
    let (syn, ack, fin, rst) = (flags::SYN, flags::ACK, flags::FIN, flags::RST);
    assert_eq!(walk(&[syn]), SynRecv as u32);
    assert_eq!(walk(&[syn, ack]), Established as u32);
    assert_eq!(walk(&[syn, ack, fin | ack]), FinWait as u32);
    assert_eq!(walk(&[syn, ack, fin | ack, ack]), FinWait as u32);
    assert_eq!(walk(&[syn, fin | ack]), TimeWait as u32);
    assert_eq!(walk(&[syn, ack, rst]), Close as u32);
    assert_eq!(walk(&[syn, ack, syn]), Established as u32, "a retransmitted SYN");
    assert_eq!(walk(&[ack]), Established as u32, "scheduled in the middle");
}

#[test]
fn set_changes_three_timeouts() {
    let timeouts = Timeouts::with(100, 20, 30);
    assert_eq!(timeouts.of(State::Established as u32), 100);
    assert_eq!(timeouts.of(State::FinWait as u32), 20);
    assert_eq!(timeouts.of(State::Udp as u32), 30);
    assert_eq!(timeouts.of(State::SynRecv as u32), 60);
    assert_eq!(Timeouts::with(900, 120, 300), Timeouts::ipvs());
}

/// A table of which a part is in use.
struct Parted(Table, Word);

impl Buckets<2> for Parted {
    fn len(&self) -> u32 {
        self.0.len()
    }

    fn extents(&self) -> Extents {
        Extents::from_word(self.1.load())
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<2>> {
        self.0.bucket(index)
    }
}

impl Parted {
    fn insert(&self, n: u32) -> Inserted {
        let (key, timeouts) = (flow(n), Timeouts::ipvs());
        let terms = Terms { now: NOW, timeouts: &timeouts, ranks: &timeouts };
        insert(self, &key, FlowHash::new(&key, SEED), established(n, NOW), terms, |_, _| {})
    }

    fn has(&self, n: u32) -> bool {
        let found = lookup(self, &flow(n), FlowHash::new(&flow(n), SEED));
        found.is_some_and(|entry| entry.meta.destination() == n)
    }

    fn gather(&self) -> bool {
        let timeouts = Timeouts::ipvs();
        gather(self, SEED, Terms { now: NOW, timeouts: &timeouts, ranks: &timeouts }, |_, _| {})
    }
}

proptest! {
    /// However full its part is, and whether or not what was begun is finished before more are recorded.
    #[test]
    fn no_connection_is_lost_when_a_table_uses_another_part(
        len in 3u32..400, shifts in proptest::collection::vec((0u64..6, 0u32..120), 1..6)
    ) {
        let table = Parted(Table::new(len), Word::new(0));
        let mut recorded = 0;
        for (shift, flows) in shifts {
            let before = table.extents().now;
            // A part is made smaller only when there is much more room in it than there are connections (`Extent::next`).
            let is_full = recorded > before.buckets(len) * WAYS as u32 / 2;
            let shift = if is_full { shift.min(u64::from(before.shift())) } else { shift };
            let now = Extents::from_word(shift).now;
            table.1.store(Extents { now, before }.word());
            // So few that none has to go for another.
            for _ in 0..flows.min((len * 3 / 2).saturating_sub(recorded)) {
                // What is recorded while entries move.
                prop_assert_eq!(table.insert(recorded), Inserted::Stored);
                recorded += 1;
            }
            prop_assert_eq!((0..recorded).find(|n| !table.has(*n)), None);
            prop_assert!(table.gather());
            prop_assert_eq!((0..recorded).find(|n| !table.has(*n)), None);
            table.1.store(Extents::of(now).word());
            prop_assert_eq!((0..recorded).find(|n| !table.has(*n)), None);
            let entries: usize = (0..len).filter_map(|i| table.bucket(i)).map(|bucket| entries(bucket).count()).sum();
            prop_assert_eq!(entries, recorded as usize);
        }
    }
}
