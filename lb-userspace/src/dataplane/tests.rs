//! The daemon's side of the maps, on memory that no program reads.

mod extents;
mod loads;
mod stack;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lb_common::connection::{
    Buckets as _, KEY_WORDS_V4, Meta, State, Terms, Timeouts, insert, key_v4, lookup,
};
use lb_common::hash::{FlowHash, FlowSeed};
use lb_common::limits::{MAX_SLOTS, SLOT_WORDS};
use lb_common::load::Thresholds;
use lb_common::persistence::Persistence;
use lb_common::policy::ServiceOptions;
use lb_common::selector::{Options, Selector, Slot};
use lb_common::service::{SLOT_HEADER, SLOT_SERVERS, SlotTable};
use macaddr::MacAddr6;

use super::memory::ConnectionTable;
use super::migrate::{Previous, PreviousFamily};
use super::*;
use crate::config::Acl;
use crate::forms::{Ports, Prefix, VirtualAddress};

const SEED: FlowSeed = FlowSeed { first: 11, second: 22 };

fn memory(max_connections: u32) -> Arc<Memory> {
    let memory =
        Arc::new(Memory::in_process(Capacity { max_connections, has_ipv6: true }).expect("there is memory"));
    memory.settings().timeouts.set(&Timeouts::ipvs());
    memory
}

fn flow(n: u32) -> [u64; 2] {
    key_v4(0xF002_A8C0_0000_0000 | u64::from(n), n, 6)
}

/// Records a flow that was last seen `age` seconds before `now`.
fn record(table: &ConnectionTable<KEY_WORDS_V4>, n: u32, destination: u32, state: State, now: u32, age: u32) {
    let content = Meta::new(destination, state, now - age);
    let timeouts = Timeouts::ipvs();
    let terms = Terms { now, timeouts: &timeouts, ranks: &timeouts };
    insert(table, &flow(n), FlowHash::new(&flow(n), SEED), content, terms, |_, _| {});
}

fn destination_of(table: &ConnectionTable<KEY_WORDS_V4>, n: u32) -> Option<u32> {
    lookup(table, &flow(n), FlowHash::new(&flow(n), SEED)).map(|entry| entry.meta.destination())
}

fn usable(tables: &mut Tables, number: u32) {
    let destination = DestinationView {
        service: 0,
        address: Ipv4Addr::new(10, 0, 0, 1).into(),
        weight: 1,
        last_weight: 1,
        thresholds: Thresholds::default(),
        is_down: false,
        is_failing: false,
        way: Some(Way::to(MacAddr6::new(2, 0, 0, 0, 0, 9))),
    };
    let interface = InterfaceView { mac: Some(MacAddr6::new(2, 0, 0, 0, 0, 1)), ..InterfaceView::default() };
    tables.apply(&Operation::SetInterface { place: 0, interface }).expect("it is always possible");
    tables.apply(&Operation::PutDestination { number, destination }).expect("it is always possible");
}

#[test]
fn a_larger_table_takes_over_every_live_connection() {
    let old = memory(20_000);
    let now = 5000;
    for n in 0..20_000 {
        record(old.connections_v4(), n, n & 0xff, State::Established, now, 10);
    }
    record(old.connections_v4(), 30_000, 1, State::Established, now, 1000);
    record(old.half_open_v4(), 40_000, 2, State::SynRecv, now, 1);
    let new = memory(100_000);
    let old = Arc::into_inner(old).expect("nobody else has it");
    let v4 = PreviousFamily { main: vec![old.v4.main], half_open: vec![old.v4.half_open] };
    let previous = Previous { v4, ..Previous::default() };
    let timeouts = Timeouts::ipvs();
    assert_eq!(previous.copy_into(&new, SEED, &timeouts, now), 20_001);
    assert!((0..20_000).all(|n| destination_of(new.connections_v4(), n) == Some(n & 0xff)));
    assert_eq!(destination_of(new.connections_v4(), 30_000), None, "it had expired");
    assert_eq!(destination_of(new.half_open_v4(), 40_000), Some(2));
    assert_eq!(previous.copy_into(&new, SEED, &timeouts, now), 0, "a second time there is nothing to do");
}

#[test]
fn what_the_new_table_knows_from_later_is_not_overwritten() {
    let (old, new) = (memory(1024), memory(2048));
    let now = 5000;
    record(old.connections_v4(), 1, 7, State::Established, now, 10);
    record(new.connections_v4(), 1, 8, State::Established, now, 5);
    record(old.connections_v4(), 2, 7, State::Established, now, 5);
    record(new.connections_v4(), 2, 8, State::Established, now, 10);
    let old = Arc::into_inner(old).expect("nobody else has it");
    let v4 = PreviousFamily { main: vec![old.v4.main], half_open: vec![] };
    let previous = Previous { v4, ..Previous::default() };
    previous.copy_into(&new, SEED, &Timeouts::ipvs(), now);
    assert_eq!(destination_of(new.connections_v4(), 1), Some(8));
    assert_eq!(destination_of(new.connections_v4(), 2), Some(7));
}

#[test]
fn a_sweep_frees_the_connections_of_a_server_that_is_gone_and_knows_who_is_left() {
    let memory = memory(1024);
    let mut tables = Tables::in_process(Arc::clone(&memory));
    usable(&mut tables, 3);
    usable(&mut tables, 4);
    let sweeper = Sweeper::in_process(Arc::clone(&memory), SEED).expect("there is a clock");
    let now = KernelClock::in_process().expect("there is a clock").now().expect("it runs");
    record(memory.connections_v4(), 1, 3, State::Established, now, 0);
    record(memory.half_open_v4(), 2, 4, State::SynRecv, now, 0);
    let swept = sweeper.sweep().expect("there is a clock");
    assert!(swept.refers_to(3) && swept.refers_to(4) && !swept.refers_to(5));
    assert_eq!((swept.total.live, swept.total.freed), (2, 0));
    tables
        .apply(&Operation::Retire { services: vec![], destinations: vec![3] })
        .expect("it is always possible");
    let swept = sweeper.sweep().expect("there is a clock");
    assert!(!swept.refers_to(3));
    assert_eq!(destination_of(memory.connections_v4(), 1), None);
    assert_eq!(destination_of(memory.half_open_v4(), 2), Some(4));
}

/// What metrics tell of the tables.
#[test]
fn a_sweep_counts_entries_by_state_and_by_table() {
    let memory = memory(1024);
    let mut tables = Tables::in_process(Arc::clone(&memory));
    usable(&mut tables, 3);
    let sweeper = Sweeper::in_process(Arc::clone(&memory), SEED).expect("there is a clock");
    let observer = Observer::in_process(Arc::clone(&memory)).expect("there is a clock");
    assert_eq!(observer.occupancy(), Occupancy::default(), "nobody has looked");
    let now = KernelClock::in_process().expect("there is a clock").now().expect("it runs");
    for n in 0..7 {
        record(memory.connections_v4(), n, 3, State::Established, now, 0);
    }
    record(memory.connections_v4(), 8, 3, State::Close, now, 0);
    record(memory.connections_v4(), 9, 3, State::Close, now, 1000);
    record(memory.half_open_v4(), 10, 3, State::SynRecv, now, 0);
    sweeper.sweep().expect("there is a clock");
    let found = observer.occupancy();
    let count = |state: State| found.states[state as usize];
    assert_eq!([State::Established, State::Close, State::SynRecv, State::Udp].map(count), [7, 1, 1, 0]);
    let entries: Vec<_> = found.tables.iter().map(|table| (table.table, table.entries)).collect();
    let expected = [("ipv4", 8), ("ipv4_half_open", 1), ("ipv6", 0), ("ipv6_half_open", 0)];
    assert_eq!((entries, found.sweeps, found.freed), (expected.to_vec(), 1, 1));
    assert!(found.tables[0].capacity >= 1024 && found.tables[0].places > found.tables[0].capacity);
}

#[test]
fn a_sweep_frees_the_connections_of_clients_that_are_refused_and_no_others() {
    let memory = memory(1024);
    let mut tables = Tables::in_process(Arc::clone(&memory));
    usable(&mut tables, 3);
    let sweeper = Sweeper::in_process(Arc::clone(&memory), SEED).expect("there is a clock");
    let now = KernelClock::in_process().expect("there is a clock").now().expect("it runs");
    // The clients 1.0.0.0, 2.0.0.0 and 3.0.0.0.
    for n in 1..=3 {
        record(memory.connections_v4(), n, 3, State::Established, now, 0);
        record(memory.half_open_v4(), n, 3, State::SynRecv, now, 0);
    }
    let mut refuse = |scope, prefix: &str| {
        let deny = [prefix.parse().expect("it is a prefix")].into();
        let acl = AclView::from(&Acl { deny, ..Acl::default() });
        tables.apply(&Operation::SetAcl { scope, acl }).expect("there is room");
        let swept = sweeper.sweep().expect("there is a clock");
        let left = |table| (1..=3).filter(|n| destination_of(table, *n).is_some()).collect::<Vec<_>>();
        assert_eq!(left(memory.connections_v4()), left(memory.half_open_v4()));
        (swept.total.freed, left(memory.connections_v4()))
    };
    assert_eq!(refuse(AclScope::All, "1.0.0.0/8"), (2, vec![2, 3]));
    assert_eq!(refuse(AclScope::Service(7), "2.0.0.0/8"), (0, vec![2, 3]), "of another virtual server");
    assert_eq!(refuse(AclScope::Service(0), "2.0.0.0/8"), (2, vec![3]));
}

static WAITS: AtomicUsize = AtomicUsize::new(0);

/// A table is never written over one that programs may still be reading, and room is never lost.
#[test]
fn slot_tables_of_the_largest_size_can_be_replaced_again_and_again() {
    let memory = memory(1024);
    let mut tables = Tables::new(Arc::clone(&memory), None, acl::Tries::in_process(), || {
        WAITS.fetch_add(1, Ordering::Relaxed);
    });
    usable(&mut tables, 0);
    let table = |length: u32| ServiceView {
        selector: Selector::Maglev,
        options: Options::PORT.and(Options::FALLBACK),
        slots: vec![Slot::new(0, 0); length as usize],
        persistence: Persistence::NONE,
        policies: ServiceOptions::default(),
        sorry: None,
    };
    let largest = MAX_SLOTS;
    let fit = SLOT_WORDS / (largest + 8);
    for service in 0..fit - 1 {
        let table = table(largest);
        tables.apply(&Operation::PublishSlots { service, table }).expect("there is room");
    }
    let waits = WAITS.load(Ordering::Relaxed);
    for _ in 0..4 {
        let table = table(largest);
        tables.apply(&Operation::PublishSlots { service: 0, table }).expect("there is room after waiting");
    }
    assert!(WAITS.load(Ordering::Relaxed) - waits >= 3, "what was left behind was waited for");
    for service in fit - 1..fit + 100 {
        let table = table(3);
        tables.apply(&Operation::PublishSlots { service, table }).expect("there is room");
    }
    let refused = tables.apply(&Operation::PublishSlots { service: 4000, table: table(2 * largest) });
    assert!(matches!(refused, Err(DataplaneError::SlotsFull { .. })));
    assert_eq!(tables.view().services.len(), (fit + 100) as usize);
}

#[test]
fn no_services_means_no_addresses() {
    let memory = memory(1024);
    let mut tables = Tables::in_process(memory);
    let address = ServiceAddress {
        address: SocketAddr::from(([192, 0, 2, 1], 80)).into(),
        protocol: crate::config::Protocol::Udp,
    };
    for addresses in [BTreeMap::from([(address, 5)]), BTreeMap::new()] {
        tables.apply(&Operation::PublishAddresses(addresses.clone())).expect("there is room");
        assert_eq!(tables.view().addresses, addresses);
    }
}

#[test]
fn addresses_that_are_not_exact_are_read_back_and_their_damage_is_seen() {
    let memory = memory(1024);
    let mut tables = Tables::in_process(Arc::clone(&memory));
    let address = |vip: &str, length, ports| {
        let vips = Prefix::new(vip.parse().expect("an address"), length).expect("a prefix");
        ServiceAddress { address: VirtualAddress { vips, ports }, protocol: crate::config::Protocol::Tcp }
    };
    let range = Ports { first: 8000, last: 8100 };
    let addresses = BTreeMap::from([
        (address("192.0.2.0", 28, Ports::one(80)), 1),
        (address("192.0.2.0", 28, range), 2),
        (address("192.0.2.1", 32, Ports::ANY), 3),
        (address("192.0.2.1", 32, Ports::one(80)), 4),
        (address("2001:db8::", 64, Ports::ANY), 5),
        (address("2001:db8::1", 128, range), 6),
    ]);
    for addresses in [addresses.clone(), BTreeMap::new(), addresses] {
        tables.apply(&Operation::PublishAddresses(addresses.clone())).expect("there is room");
        assert_eq!(tables.view().addresses, addresses);
    }
    for span in memory.forms_v4.iter() {
        span.part.store(0);
    }
    let left = tables.view().addresses;
    assert_eq!(left.len(), 3, "the exact one, and those of IPv6: {left:?}");
}

#[test]
fn tables_are_as_large_as_they_were_asked_to_be() {
    let memory = memory(1 << 20);
    let buckets = memory.connections_v4().len();
    assert!(lb_common::connection::capacity(buckets) >= 1 << 20);
}

#[test]
fn a_real_server_of_either_family_is_read_back() {
    let mut tables = Tables::in_process(memory(1024));
    for (number, address) in (0..).zip(["10.0.0.1", "2001:db8::10", "fe80::1", "::a00:1"]) {
        let address = address.parse().expect("it is an address");
        let destination = DestinationView {
            service: 0,
            address,
            weight: 1,
            last_weight: 7,
            thresholds: Thresholds::default(),
            is_down: true,
            is_failing: true,
            way: None,
        };
        tables.apply(&Operation::PutDestination { number, destination }).expect("it is always possible");
        assert_eq!(tables.view().destinations[&number], destination);
    }
}

/// Behind the slots, for a data plane that would look for one among a hundred thousand that takes connections.
#[test]
fn servers_that_may_all_be_overloaded_are_listed_once() {
    let memory = memory(1024);
    let mut tables = Tables::in_process(Arc::clone(&memory));
    let [first, second] = [0, 1].map(|number| Slot::new(number, 0).with_thresholds());
    let table = |selector, options, slots: &[Slot]| ServiceView {
        selector,
        options,
        slots: slots.to_vec(),
        persistence: Persistence::NONE,
        policies: ServiceOptions::default(),
        sorry: None,
    };
    let walks = [first, second, first, first];
    let cases = [
        (table(Selector::Counter, Options::NONE, &walks), Some(2)),
        (table(Selector::Maglev, Options::FALLBACK, &[first, Slot::NONE]), Some(1)),
        (table(Selector::Maglev, Options::FALLBACK, &[Slot::NONE]), Some(0)),
        (table(Selector::Maglev, Options::NONE, &walks), None),
        (table(Selector::Counter, Options::NONE, &[first, Slot::new(1, 0)]), None),
        (table(Selector::Counter, Options::NONE, &[]), None),
    ];
    for (service, (view, _)) in (0..).zip(&cases) {
        tables.apply(&Operation::PublishSlots { service, table: view.clone() }).expect("there is room");
    }
    for (service, (view, listed)) in cases.iter().enumerate() {
        assert_eq!(tables.view().services[&u32::try_from(service).expect("few")], *view, "read back");
        let published = SlotTable::from_word(memory.services[service].table.load());
        let header = memory.slots[(published.base + SLOT_SERVERS) as usize].load();
        let servers = if view.slots.is_empty() { None } else { published.servers(header) };
        assert_eq!(servers.map(|servers| servers.length), *listed, "{view:?}");
        for (i, slot) in
            servers.iter().flat_map(|_| [first, second]).take(listed.unwrap_or(0) as usize).enumerate()
        {
            let place = published.base + SLOT_HEADER + published.length;
            assert_eq!(Slot::from_word(memory.slots[place as usize + i].load()), slot);
        }
    }
}
