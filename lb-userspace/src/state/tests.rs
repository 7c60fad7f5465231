//! Whatever is desired after whatever: the maps get there, and no step in between sends a frame astray.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use lb_common::connection::Timeouts;
use lb_common::load::Thresholds;
use lb_common::persistence::Persistence;
use lb_common::policy::{OnDown, ServiceOptions};
use lb_common::selector::{Options, Selector, Slot};
use macaddr::MacAddr6;
use proptest::prelude::*;

use super::plan::retired;
use super::*;
use crate::config::{self, Acl, Protocol};
use crate::dataplane::{
    AclScope, AclView, Capacity, InterfaceView, Memory, Operation, ServiceAddress, Tables, View, Way,
};
use crate::forms::{Ports, Prefix, VirtualAddress};

mod health;

const DIRECTOR: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);

const CAPACITY: Capacity = Capacity { max_connections: 1024, has_ipv6: true };

fn tables() -> Tables {
    Tables::in_process(Arc::new(Memory::in_process(CAPACITY).expect("there is memory")))
}

/// Exact, but for some that are not.
fn address(number: u8) -> ServiceAddress {
    let mut address = VirtualAddress::from(SocketAddr::from(([192, 0, 2, number], 80)));
    match number {
        5 => address.ports = Ports { first: 8000, last: 8100 },
        6 => address.ports = Ports::ANY,
        7 => address.vips = Prefix::around(address.vips.first(), 28).expect("a length of the family"),
        _ => {}
    }
    ServiceAddress { address, protocol: Protocol::Tcp }
}

/// Servers 4 and 5 are reached in other ways than straight.
fn server(number: u8, is_reachable: bool) -> DesiredServer {
    let mac = MacAddr6::new(2, 0, 0, 0, 1, number);
    let way = match number {
        4 => Way::Local,
        5 => Way::Wire { mac, interface: Some(0), vlan: Some(100) },
        _ => Way::to(mac),
    };
    DesiredServer {
        address: Ipv4Addr::new(10, 0, 0, number).into(),
        weight: 1,
        share: 1,
        last_weight: 1,
        thresholds: Thresholds::default(),
        way: is_reachable.then_some(way),
        is_reachable,
        is_well: true,
    }
}

fn desired_of(services: Vec<DesiredService>) -> Desired {
    let interface = InterfaceView { mac: Some(DIRECTOR), peers: BTreeSet::new() };
    Desired {
        interfaces: BTreeMap::from([(0, interface)]),
        timeouts: Timeouts::ipvs(),
        acl: AclView::default(),
        services,
    }
}

/// Rules that are others for other services.
fn deny(addresses: &[ServiceAddress]) -> Acl {
    let deny = addresses.iter().map(|address| Prefix::from(address.address.vips.first())).collect();
    Acl { deny, ..Acl::default() }
}

/// Services with disjoint addresses, each with some servers of which some answer.
fn any_desired() -> impl Strategy<Value = Desired> {
    let servers = proptest::collection::btree_map(0..6u8, any::<bool>(), 1..5);
    let policies = (any::<bool>(), 0..4u64, any::<bool>()).prop_map(|(one_packet, on_down, has_sorry)| {
        (ServiceOptions::new(OnDown::from_number(on_down), one_packet), has_sorry)
    });
    let service = (proptest::collection::btree_set(0..8u8, 1..3), servers, any::<bool>(), policies);
    proptest::collection::vec(service, 0..5).prop_map(|services| {
        let mut taken = BTreeSet::new();
        let mut desired = Vec::new();
        for (addresses, servers, hashed, (policies, has_sorry)) in services {
            let addresses: Vec<_> =
                addresses.into_iter().filter(|number| taken.insert(*number)).map(address).collect();
            if addresses.is_empty() {
                continue;
            }
            let servers: Vec<_> = servers.into_iter().map(|(number, up)| server(number, up)).collect();
            let usable: Vec<_> = (0..servers.len()).filter(|i| servers[*i].is_reachable).map(Some).collect();
            let (selector, slots) = if hashed {
                let tiled = usable.iter().copied().cycle().take(if usable.is_empty() { 0 } else { 256 });
                (Selector::Source, tiled.collect())
            } else {
                (Selector::Counter, usable)
            };
            let acl = AclView::from(&deny(if hashed { &addresses } else { &[] }));
            let options = Options::NONE;
            let persistence = if hashed { Persistence::new(60, 24) } else { Persistence::NONE };
            let sorry_server = has_sorry.then(|| server(9, hashed));
            desired.push(DesiredService {
                addresses,
                selector,
                options,
                slots,
                servers,
                sorry_server,
                policies,
                acl,
                persistence,
                has_quorum: true,
                is_ramping: false,
            });
        }
        desired_of(desired)
    })
}

/// What clients of each address may get, by the maps.
fn reachable(view: &View) -> BTreeMap<ServiceAddress, Vec<Option<IpAddr>>> {
    let resolve = |service: &u32| {
        let slots = &view.services[service].slots;
        let address = |slot: &Slot| view.destinations.get(&slot.destination()).map(|found| found.address);
        slots.iter().map(address).collect()
    };
    view.addresses.iter().map(|(address, service)| (*address, resolve(service))).collect()
}

/// The same, by what is desired.
fn wanted(desired: &Desired) -> BTreeMap<ServiceAddress, Vec<Option<IpAddr>>> {
    let of = |service: &DesiredService| {
        let slots: Vec<_> =
            service.slots.iter().map(|slot| slot.map(|i| service.servers[i].address)).collect();
        service.addresses.iter().map(move |address| (*address, slots.clone())).collect::<Vec<_>>()
    };
    desired.services.iter().flat_map(of).collect()
}

/// Whose clients each address refuses, by the maps.
fn refused(view: &View) -> BTreeMap<ServiceAddress, AclView> {
    let acl = |service: &u32| view.acls.get(&AclScope::Service(*service)).cloned().unwrap_or_default();
    view.addresses.iter().map(|(address, service)| (*address, acl(service))).collect()
}

/// The same, by what is desired.
fn refusing(desired: &Desired) -> BTreeMap<ServiceAddress, AclView> {
    let of = |service: &DesiredService| {
        let acl = service.acl.clone();
        service.addresses.iter().map(move |address| (*address, acl.clone())).collect::<Vec<_>>()
    };
    desired.services.iter().flat_map(of).collect()
}

/// What must hold after every single operation: every address leads to a service, every slot to a usable
/// destination of that service.
fn check(view: &View) {
    for service in view.addresses.values() {
        let table = view.services.get(service).expect("an address leads to a service");
        for number in table.slots.iter().filter(|slot| **slot != Slot::NONE).map(|slot| slot.destination()) {
            let destination = view.destinations.get(&number).expect("a slot leads to a destination");
            assert_eq!(destination.service, *service, "a slot leads to another service's destination");
            assert!(destination.way.is_some(), "a slot leads nowhere");
        }
    }
}

fn drive(tables: &mut Tables, desired: &Desired) -> Vec<Operation> {
    let mut view = tables.view();
    let operations = plan(&view, &view, desired).expect("there is room");
    for operation in &operations {
        tables.apply(operation).expect("there is room");
        view.apply(operation);
        assert_eq!(tables.view(), view, "the maps say what {operation:?} was to make them say");
        check(&view);
    }
    operations
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_maps_get_there_and_no_step_leads_astray(sequence in proptest::collection::vec(any_desired(), 1..6)) {
        let mut tables = tables();
        for desired in &sequence {
            drive(&mut tables, desired);
            let view = tables.view();
            prop_assert_eq!(reachable(&view), wanted(desired));
            prop_assert_eq!(refused(&view), refusing(desired));
            prop_assert_eq!(plan(&view, &view, desired).expect("there is room"), vec![], "nothing is left to do");
            // No connection refers to anything.
            let forgotten = Operation::ReleaseDestinations(retired(&view, desired));
            tables.apply(&forgotten).expect("it is always possible");
            let servers: usize = desired.services.iter().map(|service| service.all_servers().count()).sum();
            prop_assert_eq!(tables.view().destinations.len(), servers);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A daemon that is killed between any two operations leaves what the next one makes right.
    #[test]
    fn what_was_cut_short_is_finished_by_the_next_start(first in any_desired(), second in any_desired(), cut in any::<proptest::sample::Index>()) {
        let memory = Arc::new(Memory::in_process(CAPACITY).expect("there is memory"));
        let mut killed = Tables::in_process(Arc::clone(&memory));
        drive(&mut killed, &first);
        let view = killed.view();
        let operations = plan(&view, &view, &second).expect("there is room");
        for operation in &operations[..cut.index(operations.len() + 1)] {
            killed.apply(operation).expect("there is room");
        }
        let mut next = Tables::in_process(memory);
        drive(&mut next, &second);
        let view = next.view();
        prop_assert_eq!(reachable(&view), wanted(&second));
        prop_assert_eq!(refused(&view), refusing(&second));
        prop_assert_eq!(plan(&view, &view, &second).expect("there is room"), vec![], "nothing is left to do");
    }
}

fn rr(addresses: &[u8], servers: &[(u8, bool)]) -> DesiredService {
    let servers: Vec<_> = servers.iter().map(|(number, up)| server(*number, *up)).collect();
    let slots = (0..servers.len()).rev().filter(|i| servers[*i].is_reachable).map(Some).collect();
    DesiredService {
        addresses: addresses.iter().copied().map(address).collect(),
        selector: Selector::Counter,
        options: Options::NONE,
        slots,
        servers,
        sorry_server: None,
        policies: ServiceOptions::default(),
        acl: AclView::default(),
        persistence: Persistence::NONE,
        has_quorum: true,
        is_ramping: false,
    }
}

#[test]
fn a_service_that_did_not_change_is_not_touched() {
    let mut tables = tables();
    let both = desired_of(vec![rr(&[1], &[(1, true)]), rr(&[2], &[(2, true), (3, true)])]);
    drive(&mut tables, &both);
    let changed = desired_of(vec![rr(&[1], &[(1, true)]), rr(&[2], &[(2, true), (3, false)])]);
    let operations = drive(&mut tables, &changed);
    assert!(
        operations.iter().all(|operation| match operation {
            Operation::PublishSlots { table, .. } => table.slots.len() == 1,
            Operation::PutDestination { destination, .. } =>
                destination.address == Ipv4Addr::new(10, 0, 0, 3),
            _ => false,
        }),
        "{operations:?}"
    );
}

#[test]
fn numbers_outlive_a_restart() {
    let memory = Arc::new(Memory::in_process(CAPACITY).expect("there is memory"));
    let first = desired_of(vec![rr(&[1], &[(1, true)]), rr(&[2, 3], &[(2, true), (3, true)])]);
    drive(&mut Tables::in_process(Arc::clone(&memory)), &first);
    // The next daemon reads the file's services in another order, one with one of its two addresses.
    let second = desired_of(vec![rr(&[3], &[(3, true), (2, true)]), rr(&[1], &[(1, true)])]);
    let mut tables = Tables::in_process(memory);
    let before = tables.view();
    drive(&mut tables, &second);
    assert_eq!(tables.view().destinations, before.destinations);
}

#[test]
fn a_number_is_not_lent_to_another_while_connections_may_refer_to_it() {
    let mut tables = tables();
    drive(&mut tables, &desired_of(vec![rr(&[1], &[(1, true)])]));
    let before = tables.view();
    drive(&mut tables, &desired_of(vec![rr(&[2], &[(1, true), (2, true)])]));
    let after = tables.view();
    for (number, old) in &before.destinations {
        let now = &after.destinations[number];
        assert_eq!((now.service, now.address, now.way), (old.service, old.address, None));
    }
}

#[test]
fn a_mac_that_changes_is_one_write() {
    let mut tables = tables();
    drive(&mut tables, &desired_of(vec![rr(&[1], &[(1, true)])]));
    let mut moved = rr(&[1], &[(1, true)]);
    moved.servers[0].way = Some(Way::to(MacAddr6::new(2, 9, 9, 9, 9, 9)));
    let operations = drive(&mut tables, &desired_of(vec![moved]));
    assert!(matches!(operations[..], [Operation::PutDestination { .. }]), "{operations:?}");
}

#[test]
fn a_server_that_falls_silent_keeps_its_connections() {
    let mut tables = tables();
    drive(&mut tables, &desired_of(vec![rr(&[1], &[(1, true), (2, true)])]));
    let mut silent = rr(&[1], &[(1, true), (2, false)]);
    silent.servers[1].way = Some(Way::to(MacAddr6::new(2, 0, 0, 0, 1, 2)));
    let operations = drive(&mut tables, &desired_of(vec![silent]));
    let [Operation::PutDestination { destination, .. }, Operation::PublishSlots { .. }] = &operations[..]
    else {
        panic!("{operations:?}")
    };
    assert!(destination.is_down && destination.way.is_some());
}

#[test]
fn connections_of_a_server_that_falls_silent_are_looked_at_if_they_are_not_to_stay() {
    for (on_down, protocol, gives_up) in [
        (OnDown::Keep, Protocol::Tcp, false),
        (OnDown::Reschedule, Protocol::Tcp, true),
        (OnDown::Reset, Protocol::Tcp, true),
        (OnDown::Keep, Protocol::Udp, true),
    ] {
        let mut tables = tables();
        let mut service = rr(&[1], &[(1, true), (2, false)]);
        service.addresses[0].protocol = protocol;
        service.policies = ServiceOptions::new(on_down, false);
        drive(&mut tables, &desired_of(vec![service]));
        let view = tables.view();
        let failing: Vec<bool> = view.destinations.values().map(|found| found.is_failing).collect();
        assert_eq!(failing, [false, gives_up], "{on_down:?} {protocol:?}");
        assert_eq!(view.services[&0].policies.on_down(), on_down);
    }
}

/// It takes part in no slot table, and goes with its number when it is no longer wanted.
#[test]
fn a_sorry_server_is_a_destination_beside_the_slots() {
    let mut tables = tables();
    let mut service = rr(&[1], &[(1, true), (2, true)]);
    drive(&mut tables, &desired_of(vec![service.clone()]));
    service.sorry_server = Some(server(9, true));
    drive(&mut tables, &desired_of(vec![service.clone()]));
    let view = tables.view();
    let number = view.services[&0].sorry.expect("it is named");
    assert_eq!(view.destinations[&number].address, Ipv4Addr::new(10, 0, 0, 9));
    assert!(view.services[&0].slots.iter().all(|slot| slot.destination() != number));
    service.sorry_server = None;
    drive(&mut tables, &desired_of(vec![service]));
    let view = tables.view();
    assert_eq!((view.services[&0].sorry, view.destinations[&number].way), (None, None));
}

#[test]
fn thousands_of_addresses_fit() {
    let mut tables = tables();
    let services = (0..4096u32).map(|n| {
        let vip = Ipv4Addr::from(0xC000_0000 + n).into();
        let ports = [80, 443, 8080, 8443].map(|port| ServiceAddress {
            address: SocketAddr::new(vip, port).into(),
            protocol: Protocol::Tcp,
        });
        DesiredService { addresses: ports.to_vec(), ..rr(&[], &[(1, true)]) }
    });
    let desired = desired_of(services.collect());
    let view = tables.view();
    let operations = plan(&view, &view, &desired).expect("there is room");
    for operation in &operations {
        tables.apply(operation).expect("there is room");
    }
    assert_eq!(reachable(&tables.view()), wanted(&desired));
}

#[test]
fn what_somebody_else_changed_is_mended() {
    let mut tables = tables();
    let desired = desired_of(vec![rr(&[1], &[(1, true), (2, true)])]);
    drive(&mut tables, &desired);
    let left = tables.view();
    let stray = [
        Operation::PublishAddresses(BTreeMap::new()),
        Operation::Retire { services: vec![0], destinations: vec![1] },
        Operation::PutDestination { number: 7, destination: left.destinations[&0] },
    ];
    for operation in &stray {
        tables.apply(operation).expect("it is always possible");
    }
    for operation in plan(&tables.view(), &left, &desired).expect("there is room") {
        tables.apply(&operation).expect("there is room");
    }
    let mended = tables.view();
    assert_eq!((&mended.services, &mended.addresses), (&left.services, &left.addresses));
    assert_eq!(
        (mended.destinations[&0], mended.destinations[&1]),
        (left.destinations[&0], left.destinations[&1])
    );
    assert_eq!(mended.destinations[&7].way, None, "nobody asked for it");
}

/// mh keeps the slots of a quiesced server, whose number of them its weight said; only the maps remember that.
#[test]
fn the_weight_before_a_server_was_quiesced_outlives_a_restart() {
    let config = |servers: &[(u8, u32)]| {
        let server = |(last, weight): &(u8, u32)| {
            format!("{{ address = \"10.0.0.{last}\", weight = {weight}, mac = \"02:00:00:00:01:0{last}\" }}")
        };
        let servers: Vec<String> = servers.iter().map(server).collect();
        let text = format!(
            "[director]\ninterfaces = [\"eth0\"]\n[[virtual_server]]\naddresses = [\"192.0.2.1:80\"]\n\
             scheduler = \"mh\"\nreal_server = [{}]\n",
            servers.join(", ")
        );
        config::parse("lb.toml", &text).expect("it is valid").config
    };
    #[expect(clippy::disallowed_methods, reason = "a time, and it does not matter which")]
    let now = std::time::Instant::now();
    let shape = |tables: &mut Tables, servers: &[(u8, u32)]| {
        let network = Network::of_one(DIRECTOR);
        let view = tables.view();
        let circumstances = Circumstances {
            network: &network,
            resolutions: &crate::neighbour::Resolutions::new(),
            verdicts: &crate::health::Verdicts::default(),
            without_quorum: &BTreeSet::new(),
            view: &view,
            now,
        };
        let desired = desired(&config(servers), &circumstances);
        drive(tables, &desired);
        desired.services[0].slots.clone()
    };
    let memory = Arc::new(Memory::in_process(CAPACITY).expect("there is memory"));
    let mut tables = Tables::in_process(Arc::clone(&memory));
    let empty = shape(&mut tables, &[(1, 0), (2, 1)]);
    assert!(empty.iter().all(|slot| *slot == Some(1)), "it never had a weight");
    let before = shape(&mut tables, &[(1, 3), (2, 1)]);
    let quiesced: Vec<_> = before.iter().map(|slot| slot.filter(|server| *server == 1)).collect();
    assert_eq!(shape(&mut tables, &[(1, 0), (2, 1)]), quiesced);
    let mut next = Tables::in_process(memory);
    assert_eq!(shape(&mut next, &[(1, 0), (2, 1)]), quiesced, "the next daemon");
    shape(&mut next, &[(2, 1)]);
    assert_eq!(
        shape(&mut next, &[(1, 0), (2, 1)]),
        quiesced,
        "removed, and back while connections remember it"
    );
    assert_eq!(shape(&mut next, &[(1, 3), (2, 1)]), before);
}
