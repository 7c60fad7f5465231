//! Connections and templates as directors tell each other of them, and how they get into the tables of another.
//!
//! Numbers of virtual servers and destinations are each director's own: a [`Flow`] names its virtual server by an address,
//! and its real server by its own. The rest of an entry is the same everywhere but for the second in which it was seen;
//! what is told is how long it still lives.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::connection::{
    Buckets as _, Inserted, KEY_WORDS_V4, KEY_WORDS_V6, Meta, State, Terms, Timeouts, entries, insert,
    is_expired, lookup,
};
use lb_common::destination::Destination;
use lb_common::form;
use lb_common::hash::{FlowHash, FlowSeed};
use lb_common::load::account;
use lb_common::persistence::{Persistence, is_template};
use lb_common::service::{Index, NO_SERVICE, key_v4 as address_v4, key_v6 as address_v6};
use lb_common::sync::Event;

use super::addresses;
use super::clock::KernelClock;
use super::connections::flow;
use super::error::DataplaneError;
use super::memory::{ConnectionTable, Connections, Memory};
use super::open::Dataplane;
use super::tables::{address_from_words, address_words};
use super::templates::seconds_left;
use crate::config::Protocol;

/// A connection, or a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// For a template, how many bits of the client's address count.
    pub template: Option<u8>,
    /// Its protocol; of a template, its virtual server's.
    pub protocol: Protocol,
    /// Its state.
    pub state: State,
    /// Seconds until it is forgotten, if no frame comes.
    pub remaining: u32,
    /// Who connected; for a template the client or its network, and port 0.
    pub client: SocketAddr,
    /// What it connected to; for a template, an address of its virtual server.
    pub virtual_address: SocketAddr,
    /// Where it goes.
    pub server: IpAddr,
}

/// What became of a flow that another director told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was not known.
    Inserted,
    /// It was known, and is as was told now.
    Updated,
    /// This director knows better: it has seen the flow later, or as late.
    Kept,
    /// It had expired when it came.
    Expired,
    /// This director has no such virtual server, or it does not remember its clients in this way.
    UnknownService,
    /// The virtual server has no such real server that frames could be sent to.
    UnknownServer,
    /// There was no room, or another writer was in the way twice.
    NoRoom,
}

/// Where a [`FlowTable::scan`] goes on. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCursor {
    is_ipv6: bool,
    bucket: u32,
    /// [`Moves::count`](super::memory::Moves::count) at the beginning.
    moves: Option<u64>,
}

/// The connection tables as those see them who share them with other directors. One thread's.
#[derive(Debug)]
pub struct FlowTable {
    memory: Arc<Memory>,
    clock: KernelClock,
    seed: FlowSeed,
    names: Names,
}

/// What numbers are called.
#[derive(Debug, Default)]
struct Names {
    /// When the maps were last read for them.
    read: Option<u32>,
    destinations: HashMap<(u32, IpAddr), u32>,
    /// An address of each virtual server.
    services: HashMap<u32, (SocketAddr, Protocol)>,
}

impl Dataplane {
    /// The connection tables, to share them.
    #[must_use]
    pub fn flow_table(&self) -> FlowTable {
        FlowTable::new(Arc::clone(&self.memory), self.clock(), self.flow_seed())
    }
}

impl FlowTable {
    fn new(memory: Arc<Memory>, clock: KernelClock, seed: FlowSeed) -> Self {
        Self { memory, clock, seed, names: Names::default() }
    }

    /// Tables that no program sees.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn in_process(memory: Arc<Memory>, seed: FlowSeed) -> Result<Self, DataplaneError> {
        Ok(Self::new(memory, KernelClock::in_process()?, seed))
    }

    /// The current second, as [`scan`](Self::scan) takes it.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn now(&self) -> Result<u32, DataplaneError> {
        self.clock.now()
    }

    /// Buckets of both families, which [`scan`](Self::scan) goes over.
    #[must_use]
    pub fn buckets(&self) -> u64 {
        u64::from(self.memory.v4.main.len()) + u64::from(self.memory.v6.main.len())
    }

    /// How long an established TCP connection, and how long UDP lives without frames: the shorter, in seconds.
    #[must_use]
    pub fn shortest_timeout(&self) -> u32 {
        let timeouts = &self.memory.settings().timeouts;
        timeouts.of(State::Established as u32).min(timeouts.of(State::Udp as u32))
    }

    /// What an event tells; `None` if nobody else can make sense of it: its real server is gone.
    pub fn describe(&mut self, event: &Event, now: u32) -> Option<Flow> {
        match (event.v4(), event.v6()) {
            (Some(key), _) => self.describe_entry(&key, event.meta(), now),
            (_, Some(key)) => self.describe_entry(&key, event.meta(), now),
            _ => None,
        }
    }

    /// Reads up to `buckets` buckets on from `cursor`, and hands on what lives in them; with `since`, only what this
    /// director itself has seen in that second or later. Where to go on, unless that was all: from the beginning if
    /// entries have been moved meanwhile, for one may have been passed by. So some may come twice.
    pub fn scan(
        &mut self,
        cursor: FlowCursor,
        buckets: u32,
        since: Option<u32>,
        now: u32,
        mut take: impl FnMut(Flow),
    ) -> Option<FlowCursor> {
        let memory = Arc::clone(&self.memory);
        let moves = cursor.moves.unwrap_or_else(|| memory.moves.count());
        let next = if cursor.is_ipv6 {
            self.scan_table(&memory.v6, cursor.bucket, buckets, since, now, &mut take)
                .map(|bucket| FlowCursor { bucket, is_ipv6: true, moves: Some(moves) })
        } else {
            let bucket = self.scan_table(&memory.v4, cursor.bucket, buckets, since, now, &mut take);
            let (bucket, is_ipv6) = bucket.map_or((0, true), |bucket| (bucket, false));
            Some(FlowCursor { bucket, is_ipv6, moves: Some(moves) })
        };
        if memory.moves.count() == moves { next } else { Some(FlowCursor::default()) }
    }

    fn scan_table<const K: usize>(
        &mut self,
        family: &Connections<K>,
        first: u32,
        buckets: u32,
        since: Option<u32>,
        now: u32,
        take: &mut impl FnMut(Flow),
    ) -> Option<u32> {
        let end = first.saturating_add(buckets).min(family.main.len());
        for bucket in (first..end).filter_map(|i| family.main.bucket(i)) {
            for (key, entry) in entries(bucket) {
                let meta = entry.meta;
                // An age is a difference: this one is at most that of `since`.
                let is_ours = |since: u32| {
                    !meta.is_synchronised() && meta.age(now) <= lb_common::clock::age(now, since)
                };
                if since.is_none_or(is_ours)
                    && let Some(flow) = self.describe_entry(&key, meta, now)
                {
                    take(flow);
                }
            }
        }
        (end < family.main.len()).then_some(end)
    }

    fn describe_entry<const K: usize>(&mut self, key: &[u64; K], meta: Meta, now: u32) -> Option<Flow> {
        let destination = self.memory.destinations.get(meta.destination() as usize)?;
        if !destination.is_usable() {
            return None;
        }
        let server = address_of(destination);
        let (number, client, target) = flow(key)?;
        if is_template(key) {
            let service = u32::try_from(destination.service.load()).ok()?;
            let persistence = self.persistence(service);
            let remaining = seconds_left(meta, persistence, now);
            let (virtual_address, protocol) = self.address_of_service(service, now)?;
            let template = Some(u8::try_from(persistence.prefix()).ok()?);
            let flow = Flow {
                template,
                protocol,
                state: State::Template,
                remaining,
                client,
                virtual_address,
                server,
            };
            return (remaining > 0).then_some(flow);
        }
        let timeouts = &self.memory.settings().timeouts;
        let remaining = timeouts.of(meta.state()).saturating_sub(meta.age(now));
        let flow = Flow {
            template: None,
            protocol: Protocol::from_number(number)?,
            state: State::from_number(meta.state())?,
            remaining,
            client,
            virtual_address: target,
            server,
        };
        (remaining > 0).then_some(flow)
    }

    /// Puts a flow that another director told of into the table, unless this one knows better. `is_late` if it was told
    /// before something else that has come already: then it changes nothing that is known.
    pub fn apply(&mut self, flow: &Flow, is_late: bool, now: u32) -> Applied {
        match (flow.client, flow.virtual_address, flow.server) {
            (SocketAddr::V4(client), SocketAddr::V4(target), IpAddr::V4(_)) => {
                let [a, b] = [client.ip(), target.ip()].map(|ip| u32::from_le_bytes(ip.octets()));
                let addresses = u64::from(a) | u64::from(b) << 32;
                let key = lb_common::connection::key_v4(addresses, ports(flow), flow.protocol.number());
                let memory = Arc::clone(&self.memory);
                let service = service_v4(&memory, b, target.port(), flow.protocol);
                self.apply_to(&memory.v4.main, key, service, flow, is_late, now)
            }
            (SocketAddr::V6(client), SocketAddr::V6(target), IpAddr::V6(_)) => {
                let [a, b] = [client.ip(), target.ip()].map(|ip| address_words((*ip).into()));
                let key = lb_common::connection::key_v6(
                    [a[0], a[1], b[0], b[1]],
                    ports(flow),
                    flow.protocol.number(),
                );
                let memory = Arc::clone(&self.memory);
                let service = service_v6(&memory, b, target.port(), flow.protocol);
                self.apply_to(&memory.v6.main, key, service, flow, is_late, now)
            }
            _ => Applied::UnknownServer,
        }
    }

    fn apply_to<const K: usize>(
        &mut self,
        table: &ConnectionTable<K>,
        mut key: [u64; K],
        service: u32,
        flow: &Flow,
        is_late: bool,
        now: u32,
    ) -> Applied {
        if service == NO_SERVICE {
            return Applied::UnknownService;
        }
        let memory = Arc::clone(&self.memory);
        let persistence = self.persistence(service);
        let timeouts = &memory.settings().timeouts;
        let timeout = match flow.template {
            Some(bits) if persistence.is_none() || persistence.prefix() != u32::from(bits) => {
                return Applied::UnknownService;
            }
            Some(_) => {
                key = persistence.key(&key, service);
                persistence.timeout()
            }
            None => timeouts.of(flow.state as u32),
        };
        if flow.remaining == 0 {
            return Applied::Expired;
        }
        let Some(number) = self.destination(service, flow.server, now) else { return Applied::UnknownServer };
        let age = timeout.saturating_sub(flow.remaining);
        let content = Meta::new(number, flow.state, now.wrapping_sub(age)).synchronised();
        let count = |before, after| account(|i| memory.loads.get(i as usize), before, after);
        let hash = FlowHash::new(&key, self.seed);
        let _placing = memory.moves.placing();
        let Some(known) = lookup(table, &key, hash) else {
            return record(table, &key, hash, content, timeouts, now, count);
        };
        let has_expired = match flow.template {
            Some(_) => persistence.has_expired(known.meta, now),
            None => is_expired(known.meta, timeouts, now),
        };
        let is_news = if known.meta.is_synchronised() {
            !is_late && age <= known.meta.age(now)
        } else {
            age < known.meta.age(now)
        };
        if !has_expired && !is_news {
            return Applied::Kept;
        }
        let next = known.meta.moved(number, flow.state as u32, content.seen()).synchronised();
        if next == known.meta {
            return Applied::Kept;
        }
        if !known.change(next) {
            // A frame has just been seen.
            return Applied::Kept;
        }
        count(known.meta, next);
        Applied::Updated
    }

    /// The number of the destination, if frames may be sent to it.
    fn destination(&mut self, service: u32, server: IpAddr, now: u32) -> Option<u32> {
        let is_it = |number: &u32| {
            self.memory.destinations.get(*number as usize).is_some_and(|found| {
                found.is_usable() && found.service.load() == u64::from(service) && address_of(found) == server
            })
        };
        let known = self.names.destinations.get(&(service, server)).copied().filter(is_it);
        if known.is_some() || !self.read_names(now) {
            return known;
        }
        self.names.destinations.get(&(service, server)).copied()
    }

    /// An address by which every director with this virtual server finds it.
    fn address_of_service(&mut self, service: u32, now: u32) -> Option<(SocketAddr, Protocol)> {
        let is_it = |(address, protocol): &(SocketAddr, Protocol)| {
            service_at(&self.memory, *address, *protocol) == service
        };
        let known = self.names.services.get(&service).copied().filter(is_it);
        if known.is_some() || !self.read_names(now) {
            return known;
        }
        self.names.services.get(&service).copied()
    }

    /// Reads the maps for names, at most once in a second; whether it did.
    fn read_names(&mut self, now: u32) -> bool {
        if self.names.read == Some(now) {
            return false;
        }
        let memory = &self.memory;
        let usable = (0..).zip(memory.destinations.iter()).filter(|(_, it)| it.is_usable());
        let named = usable.filter_map(|(number, it)| {
            Some(((u32::try_from(it.service.load()).ok()?, address_of(it)), number))
        });
        self.names.destinations = named.collect();
        self.names.services.clear();
        for (address, service) in addresses::read(memory) {
            let (vip, port) = (address.address.vips.first(), address.address.ports.first);
            let candidate = (SocketAddr::new(vip, port), address.protocol);
            // Another virtual server's exact address may lie within this one's prefix.
            if service_at(memory, candidate.0, candidate.1) == service {
                self.names.services.entry(service).or_insert(candidate);
            }
        }
        self.names.read = Some(now);
        true
    }

    fn persistence(&self, service: u32) -> Persistence {
        let service = self.memory.services.get(service as usize);
        service.map_or(Persistence::NONE, |service| Persistence::from_word(service.persistence.load()))
    }
}

/// Records a flow that was not known.
fn record<const K: usize>(
    table: &ConnectionTable<K>,
    key: &[u64; K],
    hash: FlowHash,
    content: Meta,
    timeouts: &Timeouts,
    now: u32,
    count: impl Fn(Meta, Meta),
) -> Applied {
    for _ in 0..2 {
        let terms = Terms { now, timeouts, ranks: timeouts };
        match insert(table, key, hash, content, terms, &count) {
            Inserted::Stored | Inserted::EvictedLive => return Applied::Inserted,
            // A frame of it came at this moment.
            Inserted::Existing(_) => return Applied::Kept,
            Inserted::Lost => {}
        }
    }
    Applied::NoRoom
}

fn address_of(destination: &Destination) -> IpAddr {
    address_from_words([destination.address[0].load(), destination.address[1].load()])
}

/// Both ports as they lie in a frame.
fn ports(flow: &Flow) -> u32 {
    let [a, b] = [flow.client.port(), flow.virtual_address.port()].map(u16::to_be_bytes);
    u32::from_le_bytes([a[0], a[1], b[0], b[1]])
}

/// Who serves an address, as programs find it; or [`NO_SERVICE`].
fn service_at(memory: &Memory, address: SocketAddr, protocol: Protocol) -> u32 {
    match address.ip() {
        IpAddr::V4(ip) => service_v4(memory, u32::from_le_bytes(ip.octets()), address.port(), protocol),
        ip @ IpAddr::V6(_) => service_v6(memory, address_words(ip), address.port(), protocol),
    }
}

fn service_v4(memory: &Memory, vip: u32, port: u16, protocol: Protocol) -> u32 {
    let index = Index::from_word(memory.settings().services_v4.load());
    if index.is_empty() {
        return NO_SERVICE;
    }
    let key = address_v4(vip, port.to_be(), protocol.number());
    let found = memory.services_v4.get(index.position(&key) as usize).map_or(NO_SERVICE, |it| it.find(&key));
    if found != NO_SERVICE || !index.has_forms() {
        return found;
    }
    let spans = |place: u32| memory.forms_v4.get(place as usize);
    form::find(index, &key, spans, |place| memory.form_ports_v4.get(place as usize))
}

fn service_v6(memory: &Memory, vip: [u64; 2], port: u16, protocol: Protocol) -> u32 {
    let index = Index::from_word(memory.settings().services_v6.load());
    if index.is_empty() {
        return NO_SERVICE;
    }
    let key = address_v6(vip, port.to_be(), protocol.number());
    let found = memory.services_v6.get(index.position(&key) as usize).map_or(NO_SERVICE, |it| it.find(&key));
    if found != NO_SERVICE || !index.has_forms() {
        return found;
    }
    let spans = |place: u32| memory.forms_v6.get(place as usize);
    form::find(index, &key, spans, |place| memory.form_ports_v6.get(place as usize))
}

const _: () = assert!(KEY_WORDS_V4 < KEY_WORDS_V6, "one family for each number of words");

#[cfg(test)]
mod tests;
