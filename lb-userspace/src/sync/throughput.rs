//! How fast one thread tells of connections, and how fast one is told. A figure; what it asserts is far below it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::connection::{Meta, State, Timeouts, key_v4};
use lb_common::hash::FlowSeed;
use lb_common::load::Thresholds;
use lb_common::persistence::Persistence;
use lb_common::policy::ServiceOptions;
use lb_common::selector::{Options, Selector, Slot};
use lb_common::sync::Event;

use super::datagram::{Datagram, Writer};
use super::driver::now;
use super::key::Key;
use super::window::Window;
use crate::config::Protocol;
use crate::dataplane::{
    Applied, Capacity, DestinationView, FlowTable, Memory, Operation, ServiceAddress, ServiceView, Tables,
    Way,
};

const CONNECTIONS: u32 = 300_000;

/// A director with one virtual server of sixteen real servers.
fn director() -> FlowTable {
    let capacity = Capacity { max_connections: 1 << 20, has_ipv6: false };
    let memory = Arc::new(Memory::in_process(capacity).expect("there is memory"));
    let mut tables = Tables::in_process(Arc::clone(&memory));
    let mut apply = |operation| tables.apply(&operation).expect("it is always possible");
    apply(Operation::SetTimeouts(Timeouts::ipvs()));
    for number in 0..16u8 {
        let destination = DestinationView {
            service: 0,
            address: IpAddr::from([10, 0, 0, number]),
            weight: 1,
            last_weight: 1,
            thresholds: Thresholds::default(),
            is_down: false,
            is_failing: false,
            way: Some(Way::Local),
        };
        apply(Operation::PutDestination { number: number.into(), destination });
    }
    let table = ServiceView {
        selector: Selector::Counter,
        options: Options::NONE,
        slots: (0..16).map(|number| Slot::new(number, 0)).collect(),
        policies: ServiceOptions::default(),
        sorry: None,
        persistence: Persistence::NONE,
    };
    apply(Operation::PublishSlots { service: 0, table });
    let address = crate::config::virtual_address("192.0.2.1:80").expect("an address");
    let address = ServiceAddress { address, protocol: Protocol::Tcp };
    apply(Operation::PublishAddresses([(address, 0)].into_iter().collect()));
    FlowTable::in_process(memory, FlowSeed { first: 3, second: 4 }).expect("there is a clock")
}

/// What the programs would tell of a connection.
fn event(n: u32, second: u32) -> Event {
    let client = (0x0a00_0000 + n / 50_000).to_be_bytes();
    let port = u16::try_from(10_000 + n % 50_000).expect("it is one").to_be_bytes();
    let [a, b, c, d] = client;
    let addresses = u64::from_le_bytes([a, b, c, d, 192, 0, 2, 1]);
    let ports = u32::from_le_bytes([port[0], port[1], 0, 80]);
    Event::new(&key_v4(addresses, ports, 6), Meta::new(n % 16, State::Established, second))
}

#[test]
fn a_core_tells_of_a_hundred_thousand_connections_a_second_and_is_told_of_as_many() {
    let (mut sender, mut receiver) = (director(), director());
    let key = Key::of(&[1; 32]);
    let mut writer = Writer::new(key.datagram().clone(), 1);
    let second = sender.now().expect("there is a clock");
    let events: Vec<Event> = (0..CONNECTIONS).map(|n| event(n, second)).collect();
    let mut wire = Vec::new();
    let began = now();
    for event in &events {
        let flow = sender.describe(event, second).expect("its real server is known");
        if writer.add(&flow) {
            writer.finish(|bytes| wire.push(bytes.to_vec()));
        }
    }
    writer.finish(|bytes| wire.push(bytes.to_vec()));
    let telling = began.elapsed();
    let (mut window, mut inserted) = (Window::new(0), 0);
    let began = now();
    for bytes in &wire {
        let datagram = Datagram::read(bytes, key.datagram()).expect("it is whole");
        window.take(datagram.number);
        let take = |flow| inserted += u32::from(receiver.apply(&flow, false, second) == Applied::Inserted);
        datagram.records(take).expect("they are good");
    }
    let told = began.elapsed();
    assert_eq!((inserted, window.missing()), (CONNECTIONS, 0));
    let rate = |took: Duration| f64::from(CONNECTIONS) / took.as_secs_f64();
    println!(
        "one core tells of {:.0} connections a second, and is told of {:.0}; {} datagrams for {CONNECTIONS}",
        rate(telling),
        rate(told),
        wire.len()
    );
    for took in [telling, told] {
        assert!(rate(took) > 100_000.0, "{CONNECTIONS} took {took:?}");
    }
}
