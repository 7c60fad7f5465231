//! What to change in the maps, and in which order. Pure.
//!
//! Clients are refused before an address leads to a virtual server, real servers get a MAC before a slot names them, slot tables are published before an address leads to them,
//! and what nothing leads to any more is retired last. So at every moment in between, every frame finds either
//! what was or what will be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use lb_common::limits::{MAX_DESTINATIONS, MAX_SERVICES};
use lb_common::selector::Slot;
use thiserror::Error;

use super::desired::{Desired, DesiredServer, DesiredService};
use crate::dataplane::{
    AclScope, AclView, DestinationView, InterfaceView, Operation, ServiceAddress, ServiceView, View,
};

/// More is desired than the maps hold. The configuration's limits are the same, so this takes connections to
/// servers that were removed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// No number is free for a virtual server.
    #[error(
        "no number is free for a virtual server; it gets one when connections to removed ones have expired"
    )]
    ServicesFull,
    /// No number is free for a real server.
    #[error("no number is free for a real server; it gets one when connections to removed ones have expired")]
    DestinationsFull,
}

/// The operations that turn `found`, which is what the maps hold, into `desired`; none if it is so already.
///
/// Numbers are those of `known`, which is what the maps should hold: the same, unless somebody else wrote them.
///
/// # Errors
/// [`PlanError`]; then nothing is to be changed.
pub fn plan(found: &View, known: &View, desired: &Desired) -> Result<Vec<Operation>, PlanError> {
    let numbered = Numbers::assign(known, desired)?;
    let mut operations = Vec::new();
    if found.timeouts != desired.timeouts {
        operations.push(Operation::SetTimeouts(desired.timeouts.clone()));
    }
    for (place, interface) in &desired.interfaces {
        if found.interfaces.get(place) != Some(interface) {
            operations.push(Operation::SetInterface { place: *place, interface: interface.clone() });
        }
    }
    let (refusing, forgotten) = acls(found, desired, &numbered.services);
    operations.extend(refusing);
    let servers = desired.services.iter().zip(&numbered.destinations);
    let destinations = servers.flat_map(|(service, numbers)| {
        service.all_servers().map(move |server| (service, server)).zip(numbers)
    });
    let (leads_somewhere, leads_nowhere): (Vec<Operation>, Vec<Operation>) = destinations
        .map(|((service, server), number)| {
            (*number, destination(service, server, numbered.service_of[number]))
        })
        .filter(|(number, destination)| found.destinations.get(number) != Some(destination))
        .map(|(number, destination)| Operation::PutDestination { number, destination })
        .partition(|operation| matches!(operation, Operation::PutDestination { destination, .. } if destination.way.is_some()));
    operations.extend(leads_somewhere);
    for ((service, servers), number) in
        desired.services.iter().zip(&numbered.destinations).zip(&numbered.services)
    {
        let slots = slots(service, servers);
        let table = ServiceView {
            selector: service.selector,
            options: service.options,
            slots,
            policies: service.policies,
            sorry: service.sorry_server.and_then(|_| servers.last().copied()),
            persistence: service.persistence,
        };
        if found.services.get(number) != Some(&table) {
            operations.push(Operation::PublishSlots { service: *number, table });
        }
    }
    let addresses = addresses(&desired.services, &numbered.services);
    if found.addresses != addresses {
        operations.push(Operation::PublishAddresses(addresses));
    }
    operations.extend(leads_nowhere);
    let kept: BTreeSet<u32> = numbered.services.iter().copied().collect();
    let services: Vec<u32> = found.services.keys().copied().filter(|number| !kept.contains(number)).collect();
    let is_dropped = |(number, destination): &(&u32, &DestinationView)| {
        destination.way.is_some() && !numbered.service_of.contains_key(number)
    };
    let destinations: Vec<u32> =
        found.destinations.iter().filter(is_dropped).map(|(number, _)| *number).collect();
    if !services.is_empty() || !destinations.is_empty() {
        operations.push(Operation::Retire { services, destinations });
    }
    let left: Vec<u8> =
        found.interfaces.keys().copied().filter(|place| !desired.interfaces.contains_key(place)).collect();
    let emptied = |place| Operation::SetInterface { place, interface: InterfaceView::default() };
    operations.extend(left.into_iter().map(emptied));
    operations.extend(forgotten);
    Ok(operations)
}

/// The numbers of destinations that `view` has and `desired` has not: retired, until no connection refers to
/// them.
#[must_use]
pub(super) fn retired(view: &View, desired: &Desired) -> Vec<u32> {
    let Ok(numbered) = Numbers::assign(view, desired) else { return Vec::new() };
    view.destinations.keys().copied().filter(|number| !numbered.service_of.contains_key(number)).collect()
}

/// The number of a virtual server in `view`; `None` if it has none yet.
#[must_use]
pub(super) fn number(view: &View, service: &DesiredService) -> Option<u32> {
    service.addresses.iter().find_map(|address| view.addresses.get(address)).copied()
}

/// The number of each real server that `view` has, by the number of its virtual server and its own address.
#[must_use]
pub(super) fn destinations(view: &View) -> HashMap<(u32, IpAddr), u32> {
    let numbers = view.destinations.iter();
    numbers.map(|(number, destination)| ((destination.service, destination.address), *number)).collect()
}

fn destination(of: &DesiredService, server: &DesiredServer, service: u32) -> DestinationView {
    DestinationView {
        service,
        address: server.address,
        weight: server.weight,
        last_weight: server.last_weight,
        thresholds: server.thresholds,
        is_down: !server.is_usable(),
        is_failing: of.gives_up(server),
        way: server.way,
    }
}

/// The slots of a virtual server whose servers have these numbers.
fn slots(service: &DesiredService, numbers: &[u32]) -> Vec<Slot> {
    let slot = |i: usize| {
        let (number, server) = (numbers.get(i)?, service.servers.get(i)?);
        // A weight that nobody reads would have the table published anew when it changes.
        let weight = if service.selector.compares_loads() { server.share } else { 0 };
        let slot = Slot::new(*number, weight);
        Some(if server.thresholds.upper > 0 { slot.with_thresholds() } else { slot })
    };
    service.slots.iter().map(|i| i.and_then(slot).unwrap_or(Slot::NONE)).collect()
}

fn addresses(services: &[DesiredService], numbers: &[u32]) -> BTreeMap<ServiceAddress, u32> {
    let of = |(service, number): (&DesiredService, &u32)| {
        let number = *number;
        service.addresses.iter().map(move |address| (*address, number)).collect::<Vec<_>>()
    };
    services.iter().zip(numbers).flat_map(of).collect()
}

/// The rules for clients that change: of scopes that are in use, and of those that nothing will lead to.
fn acls(found: &View, desired: &Desired, numbers: &[u32]) -> (Vec<Operation>, Vec<Operation>) {
    let services = desired.services.iter().zip(numbers);
    let services = services.map(|(service, number)| (AclScope::Service(*number), &service.acl));
    let wanted: BTreeMap<AclScope, &AclView> =
        [(AclScope::All, &desired.acl)].into_iter().chain(services).collect();
    let none = AclView::default();
    let differs = |(scope, acl): &(&AclScope, &&AclView)| found.acls.get(scope).unwrap_or(&none) != **acl;
    let set = |scope: &AclScope, acl: &AclView| Operation::SetAcl { scope: *scope, acl: acl.clone() };
    let changed = wanted.iter().filter(differs).map(|(scope, acl)| set(scope, acl)).collect();
    let unused = found.acls.keys().filter(|scope| !wanted.contains_key(scope));
    (changed, unused.map(|scope| set(scope, &none)).collect())
}

/// Which number everything has: its own if the maps know it already, else a free one.
struct Numbers {
    /// In the order of the desired services.
    services: Vec<u32>,
    /// For each of them, in the order of its servers; the sorry server's is the last.
    destinations: Vec<Vec<u32>>,
    /// The service of every destination that is desired.
    service_of: BTreeMap<u32, u32>,
}

impl Numbers {
    fn assign(view: &View, desired: &Desired) -> Result<Self, PlanError> {
        let services = Self::services(view, &desired.services)?;
        let known = destinations(view);
        let mut free = (0..MAX_DESTINATIONS).filter(|number| !view.destinations.contains_key(number));
        let mut service_of = BTreeMap::new();
        let mut of_services = Vec::new();
        for (service, number) in desired.services.iter().zip(&services) {
            let mut numbers = Vec::new();
            for server in service.all_servers() {
                let destination = match known.get(&(*number, server.address)) {
                    Some(destination) => *destination,
                    None => free.next().ok_or(PlanError::DestinationsFull)?,
                };
                service_of.insert(destination, *number);
                numbers.push(destination);
            }
            of_services.push(numbers);
        }
        Ok(Self { services, destinations: of_services, service_of })
    }

    /// A service is the one that has any of its addresses. Where several claim one, the first gets it.
    fn services(view: &View, desired: &[DesiredService]) -> Result<Vec<u32>, PlanError> {
        let mut taken = BTreeSet::new();
        let known: Vec<Option<u32>> = desired
            .iter()
            .map(|service| {
                let numbers = service.addresses.iter().filter_map(|address| view.addresses.get(address));
                numbers.copied().find(|number| taken.insert(*number))
            })
            .collect();
        // A number whose destinations connections may still refer to would lend them to another service.
        let in_use: BTreeSet<u32> = view
            .services
            .keys()
            .copied()
            .chain(view.destinations.values().map(|destination| destination.service))
            .chain(taken)
            .collect();
        let mut free = (0..MAX_SERVICES).filter(|number| !in_use.contains(number));
        let number = |known: Option<u32>| known.or_else(|| free.next()).ok_or(PlanError::ServicesFull);
        known.into_iter().map(number).collect()
    }
}
