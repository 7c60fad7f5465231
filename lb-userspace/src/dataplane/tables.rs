//! The one writer of services, slots and destinations.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use lb_common::Word;
use lb_common::acl::Gate;
use lb_common::connection::Timeouts;
use lb_common::counter::RealServerStats;
use lb_common::destination::{Destination, Detour, Flags, destination_mac, ethernet_words};
use lb_common::interface::{mac_word, peer_bit};
use lb_common::limits::{MAX_PEERS, SLOT_WORDS};
use lb_common::load::Load;
use lb_common::persistence::Persistence;
use lb_common::policy::ServiceOptions;
use lb_common::selector::{NO_DESTINATION, Options, Selector, Slot};
use lb_common::service::{SLOT_HEADER, SLOT_SERVERS, Service, SlotTable};
use macaddr::MacAddr6;

use super::acl::{AclScope, AclView, AclViews, Step, Tries, steps};
use super::addresses;
use super::error::DataplaneError;
use super::memory::Memory;
use super::stats::counted;
use super::view::{DestinationView, InterfaceView, ServiceAddress, ServiceView, View, Way};

/// A change of the maps. Each leaves the data plane in a state in which no frame goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets an interface's MAC, which is also the source of every frame sent there, and the peers on it.
    SetInterface {
        /// Its place.
        place: u8,
        /// What it becomes; without a MAC, the place is empty.
        interface: InterfaceView,
    },
    /// Sets the timeouts of connections.
    SetTimeouts(Timeouts),
    /// Writes a destination. Frames of its connections follow at once.
    PutDestination {
        /// Its number.
        number: u32,
        /// What it becomes.
        destination: DestinationView,
    },
    /// Gives a virtual server a slot table; new connections follow it at once.
    PublishSlots {
        /// The number of the virtual server.
        service: u32,
        /// The table.
        table: ServiceView,
    },
    /// Replaces the rules for clients; new connections follow them at once, others when they have been swept.
    SetAcl {
        /// Whose clients.
        scope: AclScope,
        /// The rules.
        acl: AclView,
    },
    /// Sets which virtual server has which address, all at once.
    PublishAddresses(BTreeMap<ServiceAddress, u32>),
    /// Takes records out of use that nothing published refers to any more: virtual servers for good, destinations
    /// until [`Operation::ReleaseDestinations`].
    Retire {
        /// Numbers of virtual servers.
        services: Vec<u32>,
        /// Numbers of destinations.
        destinations: Vec<u32>,
    },
    /// Makes numbers of retired destinations available: no connection refers to them.
    ReleaseDestinations(Vec<u32>),
}

/// Waits until no program runs that was running when it was called.
pub(super) type Wait = fn() -> ();

/// The counters of destinations, where there are any.
pub(super) type Stats = Option<PerCpuArray<MapData, RealServerStats>>;

/// The tables of one director.
pub struct Tables {
    memory: Arc<Memory>,
    stats: Stats,
    tries: Tries,
    wait: Wait,
    /// Parts of the slot map that programs may still be reading.
    left_behind: Vec<Range<u32>>,
    /// Whether programs may still be reading the generation of addresses that is not in use.
    addresses_left_behind: bool,
}

impl Tables {
    /// Whether there is room for IPv6 virtual servers.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.memory.services_v6.len() > 1
    }

    pub(super) fn new(memory: Arc<Memory>, stats: Stats, tries: Tries, wait: Wait) -> Self {
        // Whoever wrote before us may have done so a moment ago.
        Self { memory, stats, tries, wait, left_behind: Vec::new(), addresses_left_behind: true }
    }

    /// Tables on memory that no program reads.
    #[must_use]
    pub fn in_process(memory: Arc<Memory>) -> Self {
        Self::new(memory, None, Tries::in_process(), || {})
    }

    /// Reads everything back from the maps.
    #[must_use]
    pub fn view(&self) -> View {
        let numbered = |i: usize| u32::try_from(i).unwrap_or(u32::MAX);
        let services = self.memory.services.iter().enumerate();
        let destinations = self.memory.destinations.iter().enumerate();
        View {
            interfaces: self.interface_views().collect(),
            timeouts: self.memory.settings().timeouts.clone(),
            addresses: addresses::read(&self.memory),
            acls: self.read_acls(),
            services: services
                .filter_map(|(i, service)| Some((numbered(i), self.service_view(service)?)))
                .collect(),
            destinations: destinations
                .filter_map(|(i, destination)| {
                    Some((numbered(i), destination_view(destination, self.memory.loads.get(i))?))
                })
                .collect(),
        }
    }

    /// Carries out one change.
    ///
    /// # Errors
    /// [`DataplaneError::SlotsFull`], [`DataplaneError::AddressesFull`]; nothing changed then. [`DataplaneError::AclFull`];
    /// each client's rule is the old or the new one then.
    pub fn apply(&mut self, operation: &Operation) -> Result<(), DataplaneError> {
        match operation {
            Operation::SetInterface { place, interface } => self.set_interface(*place, interface),
            Operation::SetTimeouts(timeouts) => {
                self.memory.settings().half_open_ranks.set(&Timeouts::half_open_ranks());
                self.memory.settings().timeouts.set(timeouts);
            }
            Operation::PutDestination { number, destination } => self.put_destination(*number, destination),
            Operation::PublishSlots { service, table } => return self.publish_slots(*service, table),
            Operation::SetAcl { scope, acl } => return self.set_acl(*scope, acl),
            Operation::PublishAddresses(addresses) => return self.publish_addresses(addresses),
            Operation::Retire { services, destinations } => self.retire(services, destinations),
            Operation::ReleaseDestinations(numbers) => return self.release(numbers),
        }
        Ok(())
    }

    /// Places that are not empty.
    fn interface_views(&self) -> impl Iterator<Item = (u8, InterfaceView)> {
        let mac = |word: u64| (word != 0).then(|| mac_from_word(word));
        (0..).zip(&self.memory.settings().interfaces).filter_map(move |(place, interface)| {
            let peers = interface.peers.iter().filter_map(|peer| mac(peer.load())).collect();
            let mac = Some(mac(interface.mac.load())?);
            Some((place, InterfaceView { mac, peers }))
        })
    }

    fn set_interface(&mut self, place: u8, view: &InterfaceView) {
        let Some(interface) = self.memory.settings().interfaces.get(usize::from(place)) else { return };
        let mac = view.mac.map_or(0, |mac| mac_word(mac.into_array()));
        interface.mac.store(mac);
        interface.virtual_mac.store(mac);
        let words: Vec<u64> =
            view.peers.iter().take(MAX_PEERS).map(|mac| mac_word(mac.into_array())).collect();
        for (i, place) in interface.peers.iter().enumerate() {
            place.store(words.get(i).copied().unwrap_or(0));
        }
        interface.peer_filter.store(words.iter().fold(0, |filter, word| filter | peer_bit(*word)));
        for destination in self.memory.destinations.iter() {
            if let Some(Way::Wire { mac, interface, .. }) = way(destination)
                && let Some(source) = self.source(interface)
            {
                write_macs(destination, mac, source);
            }
        }
    }

    /// The MAC that frames have that leave through an interface. Where they leave through the one they came in on,
    /// that is the only one, or all have the same MAC.
    fn source(&self, interface: Option<u8>) -> Option<MacAddr6> {
        let mut interfaces = self.interface_views();
        let found = interfaces.find(|(place, _)| interface.is_none_or(|interface| interface == *place));
        found.and_then(|(_, interface)| interface.mac)
    }

    fn destination(&self, number: u32) -> Option<&Destination> {
        self.memory.destinations.get(number as usize)
    }

    fn put_destination(&mut self, number: u32, view: &DestinationView) {
        let Some(destination) = self.destination(number) else { return };
        let [low, high] = address_words(view.address);
        destination.service.store(u64::from(view.service));
        destination.address[0].store(low);
        destination.address[1].store(high);
        destination.weight.store(u64::from(view.last_weight) << 32 | u64::from(view.weight));
        if let Some(load) = self.memory.loads.get(number as usize)
            && load.thresholds() != view.thresholds
        {
            load.set_thresholds(view.thresholds);
        }
        let when = |is_so: bool, flag: Flags| if is_so { flag } else { Flags::default() };
        let down = when(view.is_down, Flags::DOWN).with(when(view.is_failing, Flags::FAILING));
        destination.flags.store(self.write_way(destination, view.way).with(down).word());
    }

    /// Writes all that belongs to a way but the flags, which it returns.
    fn write_way(&self, destination: &Destination, way: Option<Way>) -> Flags {
        let usable = Flags::ALLOCATED.with(Flags::USABLE);
        let detour = match way {
            None => return Flags::ALLOCATED,
            Some(Way::Local) => Detour::local(),
            Some(Way::Wire { mac, interface, vlan }) => {
                let Some(source) = self.source(interface) else { return Flags::ALLOCATED };
                write_macs(destination, mac, source);
                let detour = interface.map_or(Detour::NONE, |place| Detour::NONE.with_interface(place));
                vlan.map_or(detour, |vlan| detour.with_vlan(vlan))
            }
        };
        destination.detour.store(detour.word());
        if detour == Detour::NONE { usable } else { usable.with(Flags::DETOUR) }
    }

    fn service_view(&self, service: &Service) -> Option<ServiceView> {
        let table = SlotTable::from_word(service.table.load());
        let selector = Selector::from_number(table.selector)?;
        let first = (table.base + SLOT_HEADER) as usize;
        let words = self.memory.slots.get(first..first + table.length as usize)?;
        let slots = words.iter().map(|word| Slot::from_word(word.load()));
        let options = Options::from_byte(table.selector);
        let policies = ServiceOptions::from_word(service.options.load());
        let sorry = Some(service.sorry_server()).filter(|number| *number != NO_DESTINATION);
        let persistence = Persistence::from_word(service.persistence.load());
        Some(ServiceView { selector, options, slots: slots.collect(), policies, sorry, persistence })
    }

    fn publish_slots(&mut self, service: u32, view: &ServiceView) -> Result<(), DataplaneError> {
        let length = u32::try_from(view.slots.len()).unwrap_or(u32::MAX);
        let mut table = SlotTable { selector: view.selector.with(view.options), base: 0, length };
        let servers = servers(view);
        let listed = servers.as_ref().map_or(0, |servers| u32::try_from(servers.len()).unwrap_or(u32::MAX));
        let words = table.words(listed);
        if length > 0 {
            table.base = match self.free_space(words) {
                Some(base) => base,
                None => {
                    self.wait();
                    self.free_space(words).ok_or(DataplaneError::SlotsFull { slots: length })?
                }
            };
        }
        let Some(record) = self.memory.services.get(service as usize) else { return Ok(()) };
        let words = &self.memory.slots[table.base as usize..][..words as usize];
        if let Some((header, slots)) = words.split_at_checked(SLOT_HEADER as usize) {
            header[0].store(0);
            header[SLOT_SERVERS as usize].store(servers.as_ref().map_or(0, |_| u64::from(listed) + 1));
            for (word, slot) in slots.iter().zip(view.slots.iter().chain(servers.iter().flatten())) {
                word.store(slot.word());
            }
        }
        record.persistence.store(view.persistence.word());
        record.options.store(view.policies.word());
        record.sorry.store(view.sorry.map_or(0, |number| u64::from(number) + 1));
        let old = record.table.load();
        record.table.store(table.word());
        self.left_behind.extend(self.space(old));
        Ok(())
    }

    /// The part of the slot map that a table covers.
    fn space(&self, table: u64) -> Option<Range<u32>> {
        let table = SlotTable::from_word(table);
        let servers = table.servers(self.memory.slots.get((table.base + SLOT_SERVERS) as usize)?.load());
        let words = table.words(servers.map_or(0, |servers| servers.length));
        (words > 0).then(|| table.base..table.base.saturating_add(words))
    }

    /// The first part of the slot map that has `words` words and that nobody reads; it begins on a cache line.
    fn free_space(&self, words: u32) -> Option<u32> {
        let in_use = self.memory.services.iter().filter_map(|service| self.space(service.table.load()));
        let mut taken: Vec<Range<u32>> = in_use.chain(self.left_behind.iter().cloned()).collect();
        taken.sort_by_key(|range| range.start);
        let mut free = 0;
        for range in taken {
            if range.start.saturating_sub(free) >= words {
                break;
            }
            free = free.max(range.end.next_multiple_of(SLOT_HEADER));
        }
        (free.saturating_add(words) <= SLOT_WORDS).then_some(free)
    }

    fn publish_addresses(&mut self, addresses: &BTreeMap<ServiceAddress, u32>) -> Result<(), DataplaneError> {
        if self.addresses_left_behind {
            self.wait();
        }
        if !addresses::publish(&self.memory, addresses, random_words()?) {
            return Err(DataplaneError::AddressesFull { addresses: addresses.len() });
        }
        self.addresses_left_behind = true;
        Ok(())
    }

    /// The rules of every scope, which are remembered for the sweeper.
    fn read_acls(&self) -> AclViews {
        let mut rules = match self.tries.read() {
            Ok(rules) => rules,
            Err(error) => {
                tracing::error!("{error}");
                return self.memory.acls().iter().map(|(scope, acl)| (*scope, AclView::clone(acl))).collect();
            }
        };
        let services = (0..).map(AclScope::Service).take(self.memory.services.len());
        let scopes: BTreeSet<AclScope> =
            services.filter(|scope| self.gate(*scope).is_some_and(|gate| gate.load() != 0)).collect();
        let scopes: Vec<AclScope> =
            scopes.into_iter().chain(rules.keys().copied()).chain([AclScope::All]).collect();
        let mut acls = AclViews::new();
        for scope in scopes {
            let gate = self.gate(scope).map_or(Gate::OPEN, |gate| Gate::from_word(gate.load()));
            let view = AclView { gate, rules: rules.remove(&scope).unwrap_or_default() };
            if !view.is_empty() {
                acls.entry(scope).or_insert(view);
            }
        }
        *self.memory.acls() = acls.iter().map(|(scope, acl)| (*scope, Arc::new(acl.clone()))).collect();
        acls
    }

    fn gate(&self, scope: AclScope) -> Option<&Word> {
        match scope {
            AclScope::All => Some(&self.memory.settings().acl),
            AclScope::Service(number) => Some(&self.memory.services.get(number as usize)?.acl),
        }
    }

    fn set_acl(&mut self, scope: AclScope, acl: &AclView) -> Result<(), DataplaneError> {
        let before = self.memory.acls().get(&scope).cloned().unwrap_or_default();
        if let Err(error) = self.take_steps(scope, &steps(&before, acl)) {
            // Some have been taken: what there is now is what the next change begins with.
            self.read_acls();
            return Err(error);
        }
        let mut acls = self.memory.acls();
        acls.insert(scope, Arc::new(acl.clone()));
        acls.retain(|_, acl| !acl.is_empty());
        Ok(())
    }

    fn take_steps(&mut self, scope: AclScope, steps: &[Step]) -> Result<(), DataplaneError> {
        for step in steps {
            match step {
                Step::Put(prefix, rule) => self.tries.put(scope, *prefix, *rule)?,
                Step::Remove(prefix) => self.tries.remove(scope, *prefix)?,
                Step::Gate(gate) => {
                    if let Some(word) = self.gate(scope) {
                        word.store(gate.word());
                    }
                }
                Step::Wait => self.wait(),
            }
        }
        Ok(())
    }

    fn retire(&mut self, services: &[u32], destinations: &[u32]) {
        for service in services.iter().filter_map(|number| self.memory.services.get(*number as usize)) {
            self.left_behind.extend(self.space(service.table.load()));
            service.table.store(0);
            service.persistence.store(Persistence::NONE.word());
        }
        // A program that read the old slots still sends there.
        self.wait();
        for destination in destinations.iter().filter_map(|number| self.destination(*number)) {
            destination.flags.store(Flags::ALLOCATED.word());
        }
    }

    fn release(&mut self, numbers: &[u32]) -> Result<(), DataplaneError> {
        for number in numbers {
            // Whoever gets the number next begins at zero.
            if let Some(stats) = &mut self.stats {
                let failed = |source| DataplaneError::Map { operation: "clear", map: "REAL_STATS", source };
                let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(error))?;
                let zeroes =
                    PerCpuValues::try_from(vec![RealServerStats::default(); cpus]).map_err(failed)?;
                stats.set(*number, zeroes, 0).map_err(|error| failed(io::Error::other(error)))?;
            }
            if let Some(baseline) = self.memory.baselines.get(*number as usize) {
                baseline.set(RealServerStats::default());
            }
            if let Some(destination) = self.destination(*number) {
                destination.flags.store(Flags::default().word());
            }
            if let Some(load) = self.memory.loads.get(*number as usize) {
                load.reset();
            }
        }
        Ok(())
    }

    /// Has the counters of destinations begin anew.
    ///
    /// # Errors
    /// [`DataplaneError::Map`]; those before the one that failed have been zeroed.
    pub fn zero(&mut self, destinations: impl IntoIterator<Item = u32>) -> Result<(), DataplaneError> {
        let Some(stats) = &self.stats else { return Ok(()) };
        for number in destinations {
            if let Some(baseline) = self.memory.baselines.get(number as usize) {
                baseline.set(counted(stats, number)?);
            }
        }
        Ok(())
    }

    fn wait(&mut self) {
        (self.wait)();
        self.left_behind.clear();
        self.addresses_left_behind = false;
    }
}

/// The real servers in a table over which the data plane may have to walk, each once, if all of them may be overloaded:
/// then they are listed, so that it need not walk when they are.
fn servers(view: &ServiceView) -> Option<Vec<Slot>> {
    if view.selector != Selector::Counter && !view.options.contains(Options::FALLBACK) {
        return None;
    }
    let is_server = |slot: &&Slot| slot.destination() != NO_DESTINATION;
    let servers: BTreeMap<u32, Slot> =
        view.slots.iter().filter(is_server).map(|slot| (slot.destination(), *slot)).collect();
    servers.values().all(|slot| slot.has_thresholds()).then(|| servers.into_values().collect())
}

pub(super) fn destination_view(destination: &Destination, load: Option<&Load>) -> Option<DestinationView> {
    let flags = Flags::from_word(destination.flags.load());
    if !flags.contains(Flags::ALLOCATED) {
        return None;
    }
    let [low, high] = [destination.address[0].load(), destination.address[1].load()];
    let weights = destination.weight.load();
    #[expect(clippy::cast_possible_truncation, reason = "both halves are meant")]
    let (weight, last_weight) = (weights as u32, (weights >> 32) as u32);
    Some(DestinationView {
        service: u32::try_from(destination.service.load()).ok()?,
        address: address_from_words([low, high]),
        weight,
        last_weight,
        thresholds: load.map(Load::thresholds).unwrap_or_default(),
        is_down: flags.contains(Flags::DOWN),
        is_failing: flags.contains(Flags::FAILING),
        way: way(destination),
    })
}

fn way(destination: &Destination) -> Option<Way> {
    let flags = Flags::from_word(destination.flags.load());
    if !flags.contains(Flags::ALLOCATED.with(Flags::USABLE)) {
        return None;
    }
    let detour = destination.detour();
    if detour.is_local() {
        return Some(Way::Local);
    }
    let mac = destination_mac(destination.ethernet.load()).into();
    let interface = detour.interface().and_then(|place| u8::try_from(place).ok());
    Some(Way::Wire { mac, interface, vlan: detour.vlan() })
}

fn write_macs(destination: &Destination, mac: MacAddr6, source: MacAddr6) {
    let (head, tail) = ethernet_words(mac.into_array(), source.into_array());
    destination.source_tail.store(tail);
    destination.ethernet.store(head);
}

fn mac_from_word(word: u64) -> MacAddr6 {
    let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
    MacAddr6::new(a, b, c, d, e, f)
}

pub(super) fn address_words(address: IpAddr) -> [u64; 2] {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bytes = u128::from_le_bytes(address.octets());
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    [bytes as u64, (bytes >> 64) as u64]
}

pub(super) fn address_from_words([low, high]: [u64; 2]) -> IpAddr {
    Ipv6Addr::from((u128::from(low) | u128::from(high) << 64).to_le_bytes()).to_canonical()
}

/// Well mixed words from one random seed (splitmix64).
fn random_words() -> Result<impl FnMut() -> u64, DataplaneError> {
    let mut state = getrandom::u64().map_err(DataplaneError::Random)?;
    Ok(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}
