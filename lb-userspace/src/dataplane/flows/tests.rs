use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use lb_common::connection::Extent;
use lb_common::load::{Counts, Load, Thresholds};
use lb_common::policy::ServiceOptions;
use lb_common::selector::{Options, Selector, Slot};
use proptest::prelude::*;

use super::*;
use crate::dataplane::{
    Capacity, DestinationView, Operation, ServiceAddress, ServiceView, Sweeper, Tables, Way,
};

const SEED: FlowSeed = FlowSeed { first: 3, second: 4 };

/// A director whose numbers begin somewhere.
struct Director {
    memory: Arc<Memory>,
    table: FlowTable,
    tables: Tables,
}

fn server(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

impl Director {
    /// Two virtual servers: 192.0.2.1:80, which remembers its clients by /24, and 192.0.2.16/28:8000-8100; and one of IPv6.
    /// `order` says which gets the first number.
    fn new(order: [u32; 3], seed: FlowSeed) -> Self {
        let capacity = Capacity { max_connections: 200_000, has_ipv6: true };
        let memory = Arc::new(Memory::in_process(capacity).expect("there is memory"));
        let mut tables = Tables::in_process(Arc::clone(&memory));
        let mut apply = |operation| tables.apply(&operation).expect("it is always possible");
        apply(Operation::SetTimeouts(Timeouts::ipvs().with_templates(300)));
        let servers = [server(1), server(2), "2001:db8::9".parse().expect("an address")];
        for (service, address) in order.into_iter().zip(servers) {
            let persistence = if service == order[0] { Persistence::new(300, 24) } else { Persistence::NONE };
            let destination = DestinationView {
                service,
                address,
                weight: 1,
                last_weight: 1,
                thresholds: Thresholds::default(),
                is_down: false,
                is_failing: false,
                way: Some(Way::Local),
            };
            // Another number than its service's.
            apply(Operation::PutDestination { number: 10 + 7 * service, destination });
            let table = ServiceView {
                selector: Selector::Counter,
                options: Options::NONE,
                slots: vec![Slot::new(10 + 7 * service, 0)],
                policies: ServiceOptions::default(),
                sorry: None,
                persistence,
            };
            apply(Operation::PublishSlots { service, table });
        }
        let address = |text: &str| ServiceAddress {
            address: crate::config::virtual_address(text).expect("an address"),
            protocol: Protocol::Tcp,
        };
        let addresses = [
            (address("192.0.2.1:80"), order[0]),
            (address("192.0.2.16/28:8000-8100"), order[1]),
            (address("[2001:db8::1]:80"), order[2]),
        ];
        apply(Operation::PublishAddresses(addresses.into_iter().collect()));
        let table = FlowTable::in_process(Arc::clone(&memory), seed).expect("there is a clock");
        Self { memory, table, tables }
    }

    fn apply(&mut self, flow: &Flow) -> Applied {
        let now = self.now();
        self.table.apply(flow, false, now)
    }

    fn now(&self) -> u32 {
        self.table.now().expect("there is a clock")
    }

    fn all(&mut self, since: Option<u32>) -> Vec<Flow> {
        let (mut found, mut next, now) = (Vec::new(), Some(FlowCursor::default()), self.now());
        while let Some(cursor) = next {
            next = self.table.scan(cursor, 1000, since, now, |flow| found.push(flow));
        }
        found.sort_by_key(|flow| (flow.template, flow.client));
        found
    }

    /// As a frame would: the entry is this director's own from now on.
    fn see(&self, flow: &Flow, age: u32) {
        let SocketAddr::V4(client) = flow.client else { panic!("IPv4") };
        let SocketAddr::V4(target) = flow.virtual_address else { panic!("IPv4") };
        let [a, b] = [client.ip(), target.ip()].map(|ip| u32::from_le_bytes(ip.octets()));
        let key = lb_common::connection::key_v4(u64::from(a) | u64::from(b) << 32, ports(flow), 6);
        let entry =
            lookup(&self.memory.v4.main, &key, FlowHash::new(&key, self.table.seed)).expect("it is there");
        let seen = self.now().wrapping_sub(age);
        let next = entry.meta.touched(State::Established as u32, seen);
        assert!(entry.change(next));
        account(|i| self.memory.loads.get(i as usize), entry.meta, next);
    }

    fn counts(&self) -> Counts {
        self.memory.loads.iter().map(Load::counts).fold(Counts::default(), Counts::plus)
    }
}

fn connection(n: u16) -> Flow {
    Flow {
        template: None,
        protocol: Protocol::Tcp,
        state: State::Established,
        remaining: 900,
        client: SocketAddr::from(([198, 51, 100, 7], n)),
        virtual_address: SocketAddr::from(([192, 0, 2, 1], 80)),
        server: server(1),
    }
}

fn template() -> Flow {
    Flow {
        template: Some(24),
        state: State::Template,
        remaining: 250,
        client: SocketAddr::from(([198, 51, 100, 0], 0)),
        ..connection(1)
    }
}

fn of_ipv6() -> Flow {
    Flow {
        client: "[2001:db8::7]:4000".parse().expect("an address"),
        virtual_address: "[2001:db8::1]:80".parse().expect("an address"),
        server: "2001:db8::9".parse().expect("an address"),
        ..connection(1)
    }
}

/// Seconds may pass in between.
fn about(flow: Flow, expected: Flow) -> bool {
    let is_near = flow.remaining <= expected.remaining && flow.remaining + 3 > expected.remaining;
    is_near && Flow { remaining: expected.remaining, ..flow } == expected
}

#[test]
fn what_one_director_knows_another_knows_under_its_own_numbers() {
    let mut one = Director::new([0, 1, 2], SEED);
    let mut other = Director::new([5, 4, 3], FlowSeed { first: 8, second: 9 });
    let in_prefix = Flow {
        virtual_address: SocketAddr::from(([192, 0, 2, 20], 8050)),
        server: server(2),
        state: State::FinWait,
        remaining: 100,
        ..connection(2)
    };
    let flows = [connection(1), in_prefix, of_ipv6(), template()];
    for flow in &flows {
        assert_eq!(one.apply(flow), Applied::Inserted, "{flow:?}");
    }
    assert_eq!(one.counts(), Counts { active: 2, inactive: 1 }, "templates are no connections");
    let told = one.all(None);
    assert_eq!(told.len(), 4);
    for (flow, expected) in told.iter().zip(&flows) {
        assert!(about(*flow, *expected), "{flow:?}, {expected:?}");
        assert_eq!(other.apply(flow), Applied::Inserted);
        assert_eq!(other.apply(flow), Applied::Kept, "told twice");
    }
    for (flow, expected) in other.all(None).iter().zip(&flows) {
        assert!(about(*flow, *expected), "{flow:?}, {expected:?}");
    }
    assert_eq!(other.counts(), one.counts());
}

#[test]
fn what_was_told_is_not_told_as_ones_own() {
    let mut director = Director::new([0, 1, 2], SEED);
    director.apply(&connection(1));
    director.apply(&connection(2));
    let long_ago = director.now().wrapping_sub(60);
    assert_eq!(director.all(Some(long_ago)), []);
    director.see(&connection(2), 0);
    let [own] = director.all(Some(long_ago))[..] else { panic!("one has been seen") };
    assert_eq!(own.client, connection(2).client);
    director.see(&connection(2), 100);
    assert_eq!(director.all(Some(long_ago)), [], "not since then");
    assert_eq!(director.all(None).len(), 2, "a new director is told of all");
}

#[test]
fn who_saw_a_connection_last_knows_best() {
    let mut director = Director::new([0, 1, 2], SEED);
    let told = |state, remaining| Flow { state, remaining, ..connection(1) };
    assert_eq!(director.apply(&told(State::Established, 800)), Applied::Inserted);
    assert_eq!(director.apply(&told(State::Established, 850)), Applied::Updated);
    assert_eq!(director.apply(&told(State::Established, 700)), Applied::Kept, "older");
    assert_eq!(director.counts(), Counts { active: 1, inactive: 0 });
    // Seen here 20 seconds ago.
    director.see(&connection(1), 20);
    assert_eq!(director.apply(&told(State::FinWait, 90)), Applied::Kept, "30 seconds ago");
    assert_eq!(director.apply(&told(State::FinWait, 115)), Applied::Updated, "5 seconds ago");
    assert_eq!(director.counts(), Counts { active: 0, inactive: 1 });
    let now = director.now();
    assert_eq!(director.table.apply(&told(State::Close, 10), true, now), Applied::Kept, "it was late");
    assert_eq!(director.table.apply(&told(State::Close, 10), false, now), Applied::Updated);
    director.see(&connection(1), 5000);
    assert_eq!(director.apply(&told(State::Established, 10)), Applied::Updated, "it had expired here");
    assert_eq!(director.counts(), Counts { active: 1, inactive: 0 });
}

#[test]
fn what_this_director_does_not_have_is_left_out() {
    let mut director = Director::new([0, 1, 2], SEED);
    let elsewhere = SocketAddr::from(([192, 0, 2, 2], 80));
    for (flow, expected) in [
        (Flow { virtual_address: elsewhere, ..connection(1) }, Applied::UnknownService),
        (Flow { protocol: Protocol::Udp, ..connection(1) }, Applied::UnknownService),
        (Flow { server: server(2), ..connection(1) }, Applied::UnknownServer),
        (Flow { server: of_ipv6().server, ..connection(1) }, Applied::UnknownServer),
        (Flow { template: Some(32), ..template() }, Applied::UnknownService),
        (Flow { remaining: 0, ..connection(1) }, Applied::Expired),
    ] {
        assert_eq!(director.apply(&flow), expected, "{flow:?}");
    }
    assert_eq!((director.counts(), director.all(None)), (Counts::default(), vec![]));
    // A real server that comes later is found.
    let destination = DestinationView {
        service: 0,
        address: server(3),
        weight: 1,
        last_weight: 1,
        thresholds: Thresholds::default(),
        is_down: false,
        is_failing: false,
        way: Some(Way::Local),
    };
    let flow = Flow { server: server(3), ..connection(1) };
    let now = director.now();
    assert_eq!(director.table.apply(&flow, false, now), Applied::UnknownServer);
    let put = Operation::PutDestination { number: 99, destination };
    director.tables.apply(&put).expect("it is always possible");
    assert_eq!(
        director.table.apply(&flow, false, now + 1),
        Applied::Inserted,
        "the maps are read once a second"
    );
    let retire = Operation::Retire { services: Vec::new(), destinations: vec![99] };
    director.tables.apply(&retire).expect("it is always possible");
    assert_eq!(
        director.table.apply(&Flow { client: connection(9).client, ..flow }, false, now + 1),
        Applied::UnknownServer
    );
}

proptest! {
    /// Whatever comes, the counts are those of the entries.
    #[test]
    fn loads_are_exact(told in prop::collection::vec((0u16..8, 0usize..5, 0u32..900, any::<bool>()), 1..60)) {
        let mut director = Director::new([0, 1, 2], SEED);
        let now = director.now();
        for (port, state, remaining, is_late) in told {
            let state = [State::Established, State::FinWait, State::Close, State::SynRecv, State::TimeWait][state];
            director.table.apply(&Flow { state, remaining, ..connection(port) }, is_late, now);
        }
        let mut found = Counts::default();
        for (_, entry) in (0..director.memory.v4.main.len()).filter_map(|i| director.memory.v4.main.bucket(i)).flat_map(entries) {
            found = found.plus(Counts::of(entry.meta));
        }
        prop_assert_eq!(director.counts(), found);
    }
}

/// The daemon's other thread makes the table larger and smaller meanwhile.
#[test]
fn what_is_told_while_connections_are_moved_is_found_and_counted() {
    const FLOWS: u16 = 20_000;
    let mut director = Director::new([0, 1, 2], SEED);
    let memory = Arc::clone(&director.memory);
    let sweeper = Sweeper::in_process(Arc::clone(&memory), SEED).expect("there is a clock");
    let is_done = AtomicBool::new(false);
    let moves = std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let mut moves = 0;
            while !is_done.load(Ordering::Relaxed) || moves < 10 {
                // As often as it can: a sweep would find that all is as it should be.
                let extent = Extent::of_shift(moves % 4);
                assert!(sweeper.use_part(&memory.v4.main, &memory.settings().extents_v4, extent));
                moves += 1;
            }
            moves
        });
        for n in 0..FLOWS {
            assert_eq!(director.apply(&connection(n)), Applied::Inserted, "{n}");
            // It is known at once, wherever it lies; a second may have passed.
            let again = director.apply(&connection(n));
            assert!(matches!(again, Applied::Kept | Applied::Updated), "{n}: {again:?}");
        }
        is_done.store(true, Ordering::Relaxed);
        mover.join().expect("it moves them all")
    });
    let told = director.all(None);
    assert_eq!(told.len(), usize::from(FLOWS), "after {moves} moves");
    assert_eq!(director.counts(), Counts { active: u32::from(FLOWS), inactive: 0 });
}

#[test]
fn a_scan_begins_again_when_connections_have_been_moved() {
    let mut director = Director::new([0, 1, 2], SEED);
    (0..100).for_each(|n| assert_eq!(director.apply(&connection(n)), Applied::Inserted));
    let sweeper = Sweeper::in_process(Arc::clone(&director.memory), SEED).expect("there is a clock");
    let now = director.now();
    let half = director.table.buckets() as u32 / 4;
    let mut found = Vec::new();
    let next = director.table.scan(FlowCursor::default(), half, None, now, |flow| found.push(flow));
    let Some(mut cursor) = next else { panic!("that was not all") };
    assert_ne!(cursor, FlowCursor::default());
    // Those of the second half may be in the first now.
    let memory = Arc::clone(&director.memory);
    assert!(sweeper.use_part(&memory.v4.main, &memory.settings().extents_v4, Extent::of_shift(2)));
    while let Some(next) = director.table.scan(cursor, half, None, now, |flow| found.push(flow)) {
        cursor = next;
    }
    let found: HashSet<_> = found.into_iter().map(|flow| flow.client).collect();
    assert_eq!(found.len(), 100);
}
