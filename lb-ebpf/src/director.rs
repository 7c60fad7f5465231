//! A director on vectors: three services, three real servers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::string::String;
use std::vec;
use std::vec::Vec;

use etherparse::PacketBuilder;
use lb_common::Word;
use lb_common::acl::{Gate, NO_RULE};
use lb_common::connection::{Bucket, Buckets, Entry, KEY_WORDS_V4, KEY_WORDS_V6, Timeouts, lookup};
use lb_common::counter::Reason;
use lb_common::destination::{Destination, Detour, Flags, ethernet_words};
use lb_common::form::{self, FORM_SPANS, FORM_WORDS, PORTS_END, Part, Span, ports_word, span_key};
use lb_common::fragment::FragmentKey;
use lb_common::hash::{FlowHash, FlowSeed};
use lb_common::interface::{Interface, mac_word, peer_bit};
use lb_common::load::Load;
use lb_common::locality::{LocalityKey, Members};
use lb_common::persistence::Persistence;
use lb_common::sample::Sample;
use lb_common::selector::{HASH_SLOTS, Selector};
use lb_common::service::{
    A_VIP, ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, AddressEntry, GENERATION_BUCKETS, Index,
    NO_SERVICE, SLOT_HEADER, Service, SlotTable, key_v4, key_v6,
};
use lb_common::settings::Settings;
use lb_common::sync::Event;
use lb_common::trace::Trace;

use crate::acl::{Admission, admit};
use crate::first::first;
use crate::forward::take_detour;
use crate::persist::{persist, place, template};
use crate::reset::answer_with_reset;
use crate::select::{Fallback, by_hash};
use crate::tell::event;
use crate::track::{Decision, Record, decide, schedule, try_record};
use crate::{
    Buffers, DryRun, Families, Family, Frame as _, Outcome, Packet, Rehearsal, Tables, Traced, process,
};

pub(super) const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const PEER: [u8; 6] = [2, 0, 0, 0, 0, 3];
pub(super) const CLIENT: [u8; 4] = [198, 51, 100, 7];
pub(super) const VIP: [u8; 4] = [192, 0, 2, 1];
pub(super) const CLIENT_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
pub(super) const VIP_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// The service whose scheduler counts.
pub(super) const WEB: u16 = 80;
/// The last bytes of VIPs that make a prefix, which has a service at [`RANGE`].
pub(super) const PREFIX: Range<u8> = 16..32;
/// The ports of that service, which is the one of [`WEB`].
pub(super) const RANGE: Range<u16> = 8000..8101;
const FORM_BITS: u32 = 3;
/// The service whose scheduler hashes the source.
pub(super) const HASHED: u16 = 443;

/// The place of the interface that frames come in on.
pub(super) const PLACE: u8 = 3;

pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;
pub(super) const RST: u8 = 0x04;
pub(super) const FIN: u8 = 0x01;

#[derive(Debug)]
pub(super) struct Connections<const K: usize>(Vec<Bucket<K>>);

impl<const K: usize> Connections<K> {
    fn new(buckets: usize) -> Self {
        Self((0..buckets).map(|_| Bucket::default()).collect())
    }
}

impl<const K: usize> Buckets<K> for Connections<K> {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a small table")
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<K>> {
        self.0.get(index as usize)
    }
}

/// One family's tables.
#[derive(Debug)]
struct FamilyTables<const K: usize, const W: usize> {
    main: Connections<K>,
    half_open: Connections<K>,
    addresses: BTreeMap<u32, AddressBucket<W>>,
    spans: Vec<Span<W>>,
    ports: Vec<Word>,
}

impl<const K: usize, const W: usize> FamilyTables<K, W> {
    /// The services at one VIP, whose keys `key` makes of its last byte, port and protocol, the VIP itself, and the
    /// service at [`RANGE`] of each VIP in [`PREFIX`].
    fn new(index: Index, key: impl Fn(u8, u16, u8) -> [u64; W]) -> Self {
        let mut addresses: BTreeMap<u32, AddressBucket<W>> = BTreeMap::new();
        for (port, protocol, service) in [(WEB, 6, 0), (WEB, 17, 0), (HASHED, 6, 1), (0, 0, 2)] {
            let key = key(1, port.to_be(), protocol);
            let empty = || AddressEntry { key: words([0; W]), service: Word::new(0) };
            let bucket = addresses
                .entry(index.position(&key))
                .or_insert_with(|| AddressBucket { entries: core::array::from_fn(|_| empty()) });
            let is_free = |entry: &&AddressEntry<W>| entry.key.iter().all(|word| word.load() == 0);
            let entry = bucket.entries.iter().find(is_free).expect("a free place");
            for (word, value) in entry.key.iter().zip(key) {
                word.store(value);
            }
            entry.service.store(service);
        }
        let (spans, ports) = forms(|low, protocol| span_key(&key(low, 0, protocol)));
        Self { main: Connections::new(64), half_open: Connections::new(16), addresses, spans, ports }
    }
}

/// The second generation of spans and ports; `start` makes the start of a span of a VIP's last byte and a protocol.
fn forms<const W: usize>(start: impl Fn(u8, u8) -> [u64; W]) -> (Vec<Span<W>>, Vec<Word>) {
    let [nothing, vip, range] = [(0, 0), (1, 0), (2, 2)].map(|(first, bits)| Part { first, bits });
    let mut spans = vec![([0; W], nothing)];
    for (protocol, part) in [(0, vip), (6, range)] {
        spans.push((start(PREFIX.start, protocol), part));
        spans.push((start(PREFIX.end, protocol), nothing));
    }
    spans.resize(1 << FORM_BITS, ([u64::MAX; W], nothing));
    let range = [ports_word(0, NO_SERVICE), ports_word(RANGE.start, 0), ports_word(RANGE.end, NO_SERVICE)];
    let ports = [&[ports_word(0, NO_SERVICE), ports_word(0, A_VIP)], range.as_slice(), &[PORTS_END]].concat();
    let span = |(start, part): ([u64; W], Part)| Span { start: words(start), part: Word::new(part.word()) };
    let unused = || (0..FORM_SPANS).map(|_| span(([u64::MAX; W], nothing)));
    let unused_words = (0..FORM_WORDS).map(|_| PORTS_END);
    (
        unused().chain(spans.into_iter().map(span)).collect(),
        unused_words.chain(ports).map(Word::new).collect(),
    )
}

pub(super) struct Director {
    settings: Settings,
    v4: FamilyTables<KEY_WORDS_V4, ADDRESS_WORDS_V4>,
    v6: FamilyTables<KEY_WORDS_V6, ADDRESS_WORDS_V6>,
    pub(super) services: Vec<Service>,
    pub(super) slots: Vec<Word>,
    destinations: Vec<Destination>,
    pub(super) loads: Vec<Load>,
    fragments: RefCell<Vec<(FragmentKey, u32)>>,
    pub(super) localities: RefCell<Vec<(LocalityKey, Members)>>,
    random: Cell<u32>,
    /// Rules for clients: the scope, the first address of one or the other family, and the rule.
    pub(super) rules: Vec<(u32, Source, u32)>,
    now: Cell<u32>,
    pub(super) counters: RefCell<BTreeMap<Reason, u64>>,
    pub(super) forwarded: RefCell<BTreeMap<u32, (u64, u64)>>,
    pub(super) connections: RefCell<BTreeMap<u32, u64>>,
    /// What other directors would be told.
    pub(super) events: RefCell<Vec<Event>>,
}

/// The source that a rule is for, as it lies in the frame: IPv4 alone, or IPv6.
pub(super) type Source = Vec<u8>;

fn words<const N: usize>(values: [u64; N]) -> [Word; N] {
    values.map(Word::new)
}

fn halves(address: [u8; 16]) -> [u64; 2] {
    let word = |i| u64::from_le_bytes(core::array::from_fn(|j| address[i + j]));
    [word(0), word(8)]
}

fn real_server_mac(number: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, u8::try_from(number).expect("few servers")]
}

impl Director {
    /// Three real servers; every second slot of the hashed service is server 0's, the others 2's.
    pub(super) fn new() -> Self {
        let interface = |mac: [u8; 6]| Interface {
            mac: Word::new(mac_word(mac)),
            virtual_mac: Word::new(mac_word(mac)),
            peer_filter: Word::new(peer_bit(mac_word(PEER))),
            peers: words([mac_word(PEER), 0, 0, 0, 0, 0, 0, 0]),
            vlan_offload_was_on: Word::new(0),
        };
        let index = Index::new(0x9E37_79B9_7F4A_7C15, 5, true).with_forms(FORM_BITS);
        let service = |table: SlotTable| Service {
            table: Word::new(table.word()),
            acl: Word::new(0),
            persistence: Word::new(0),
            options: Word::new(0),
            sorry: Word::new(0),
        };
        let hashed = SlotTable { selector: Selector::Source as u8, base: 16, length: HASH_SLOTS };
        let mut slots: Vec<u64> = vec![0; (hashed.base + hashed.words(0)) as usize];
        slots[SLOT_HEADER as usize..][..3].copy_from_slice(&[2, 1, 0]);
        for i in 0..HASH_SLOTS as usize {
            slots[(hashed.base + SLOT_HEADER) as usize + i] = [0, 2][i % 2];
        }
        let destination = |number| {
            let (ethernet, tail) = ethernet_words(real_server_mac(number), DIRECTOR);
            Destination {
                ethernet: Word::new(ethernet),
                source_tail: Word::new(tail),
                flags: Word::new(Flags::USABLE.with(Flags::ALLOCATED).word()),
                service: Word::new(0),
                address: words([0, 0]),
                weight: Word::new(1),
                detour: Word::new(0),
            }
        };
        Self {
            settings: Settings {
                services_v4: Word::new(index.word()),
                services_v6: Word::new(index.word()),
                flow_seed: words([1, 2]),
                acl: Word::new(0),
                timeouts: Timeouts::ipvs(),
                half_open_ranks: Timeouts::half_open_ranks(),
                sync: Word::new(0),
                sync_lost: Word::new(0),
                extents_v4: Word::new(0),
                extents_v6: Word::new(0),
                interfaces: core::array::from_fn(|_| interface(DIRECTOR)),
            },
            v4: FamilyTables::new(index, |low, port, protocol| {
                let [a, b, c, _] = VIP;
                key_v4(u32::from_le_bytes([a, b, c, low]), port, protocol)
            }),
            v6: FamilyTables::new(index, |low, port, protocol| {
                let mut vip = VIP_V6;
                vip[15] = low;
                key_v6(halves(vip), port, protocol)
            }),
            services: vec![
                service(SlotTable { selector: Selector::Counter as u8, base: 0, length: 3 }),
                service(hashed),
            ],
            slots: slots.into_iter().map(Word::new).collect(),
            destinations: (0..3).map(destination).collect(),
            loads: (0..3).map(|_| Load::default()).collect(),
            fragments: RefCell::default(),
            localities: RefCell::default(),
            random: Cell::new(1),
            rules: Vec::new(),
            now: Cell::new(1000),
            counters: RefCell::default(),
            forwarded: RefCell::default(),
            connections: RefCell::default(),
            events: RefCell::default(),
        }
    }

    /// Sends a frame through; where it went.
    pub(super) fn send(&self, frame: impl Into<Buffers>) -> Went {
        let frame = frame.into();
        let (went, bytes) = self.send_and_look(frame.clone());
        let frame = frame.into_bytes();
        match went {
            Went::To(_) => {
                assert_eq!(bytes[6..12], DIRECTOR, "the source MAC is the director's");
                assert_eq!(bytes[12..], frame[12..], "nothing but the MACs changes");
            }
            _ => assert_eq!(bytes, frame, "the frame is untouched"),
        }
        went
    }

    /// Sends a frame through; where it went, and what it has become.
    pub(super) fn send_and_look(&self, frame: impl Into<Buffers>) -> (Went, Vec<u8>) {
        send_through(self, frame.into())
    }

    /// The same as a dry run.
    pub(super) fn rehearse(&self, frame: impl Into<Buffers>, trace: &Trace) -> (Went, Vec<u8>) {
        trace.begin(PLACE);
        send_through(&DryRun::new(self, trace), frame.into())
    }

    /// The same with a note of what became of it.
    pub(super) fn trace(&self, frame: impl Into<Buffers>, sample: &Sample) -> (Went, Vec<u8>) {
        send_through(&Traced::new(self, sample), frame.into())
    }

    /// The states of the entries in one of the IPv4 tables.
    pub(super) fn states(&self, which: Record) -> Vec<u32> {
        let table = match which {
            Record::First => &self.v4.half_open,
            Record::Confirmed => &self.v4.main,
        };
        let entries = table.0.iter().flat_map(lb_common::connection::entries);
        let mut states: Vec<u32> = entries.map(|(_, entry)| entry.meta.state()).collect();
        states.sort_unstable();
        states
    }

    /// All that a frame may change.
    pub(super) fn snapshot(&self) -> String {
        let counted = (&self.counters, &self.forwarded, &self.connections, &self.loads);
        std::format!("{:?}", (&self.v4, &self.v6, &self.slots, &self.services, &self.fragments, counted))
    }

    pub(super) fn tcp(&self, client_port: u16, port: u16, flags: u8) -> Went {
        self.send(&tcp(client_port, port, flags))
    }

    /// Sets the gates of all services and of the first.
    pub(super) fn guard(&self, all: Gate, first: Gate) {
        self.settings.acl.store(all.word());
        self.services[0].acl.store(first.word());
    }

    /// Gives a server's number to one of another virtual server.
    pub(super) fn belongs_to(&self, server: usize, service: u64) {
        self.destinations[server].service.store(service);
    }

    /// Has all services remember their clients.
    pub(super) fn persist(&self, persistence: Persistence) {
        self.settings.timeouts.set(&Timeouts::ipvs().with_templates(persistence.timeout()));
        for service in &self.services {
            service.persistence.store(persistence.word());
        }
    }

    /// What a server's record says of it.
    pub(super) fn flag(&self, server: usize, flags: Flags) {
        self.destinations[server].flags.store(flags.word());
    }

    pub(super) fn take_away(&self, server: usize) {
        self.destinations[server].flags.store(0);
    }

    pub(super) fn set_flags(&self, server: usize, flags: Flags) {
        self.destinations[server].flags.store(flags.word());
    }

    pub(super) fn is_up(&self, server: usize) -> bool {
        self.destinations[server].is_up()
    }

    /// Has connections told of.
    pub(super) fn synchronise(&self) {
        self.settings.sync.store(1);
    }

    /// What was told since it was last asked: real server and state.
    pub(super) fn told(&self) -> Vec<(u32, u32)> {
        let events = self.events.borrow_mut().split_off(0);
        events.iter().map(|event| (event.meta().destination(), event.meta().state())).collect()
    }

    /// What it takes to get to a server beside new MACs.
    pub(super) fn detour(&self, server: usize, detour: Detour) {
        let flags = Flags::USABLE.with(Flags::ALLOCATED).with(Flags::DETOUR);
        self.destinations[server].detour.store(detour.word());
        self.destinations[server].flags.store(flags.word());
    }

    pub(super) fn wait(&self, seconds: u32) {
        self.now.set(self.now.get() + seconds);
    }
}

fn send_through<T: Families>(tables: &T, mut frame: Buffers) -> (Went, Vec<u8>) {
    let mut verdict = process(&mut frame, tables);
    if let Outcome::Detour { number, length } = verdict.outcome() {
        verdict = take_detour(&mut frame, number, length, tables);
    }
    let sent_to = |frame: &mut Buffers| frame.fetch::<6>(0).map_or(0, |mac| usize::from(mac[5]));
    let went = match verdict.outcome() {
        Outcome::Transmit => Went::To(sent_to(&mut frame)),
        Outcome::Redirect(place) => Went::Through(place, sent_to(&mut frame)),
        Outcome::Deliver => Went::Here,
        Outcome::Pass(reason) | Outcome::Drop(reason) => Went::Nowhere(reason),
        Outcome::Reset if answer_with_reset(&mut frame, tables.interface(), tables) => {
            tables.count(Reason::ResetSent);
            Went::Back
        }
        Outcome::Reset => Went::Nowhere(Reason::PassNoConnection),
        Outcome::Detour { .. } => panic!("a detour after it was taken"),
    };
    (went, frame.into_bytes())
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// Out of the interface it came in on, to this real server.
    To(usize),
    /// Out of another interface, to this real server.
    Through(u32, usize),
    /// To the local stack, as a real server.
    Here,
    /// Out of the interface it came in on, as a reset.
    Back,
    /// To the local stack, or nowhere.
    Nowhere(Reason),
}

pub(super) fn tcp(client_port: u16, port: u16, flags: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut builder =
        PacketBuilder::ethernet2(ROUTER, DIRECTOR).ipv4(CLIENT, VIP, 63).tcp(client_port, port, 1, 1024);
    for (flag, set) in
        [(SYN, true), (ACK, true), (RST, true), (FIN, true)].map(|(flag, _)| (flag, flags & flag != 0))
    {
        builder = match flag {
            SYN if set => builder.syn(),
            ACK if set => builder.ack(1),
            RST if set => builder.rst(),
            FIN if set => builder.fin(),
            _ => builder,
        };
    }
    builder.write(&mut frame, b"data").expect("a vector takes everything");
    frame
}

pub(super) fn udp(client_port: u16, port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(ROUTER, DIRECTOR)
        .ipv4(CLIENT, VIP, 63)
        .udp(client_port, port)
        .write(&mut frame, b"data")
        .expect("a vector takes everything");
    frame
}

impl Tables for Director {
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }
    fn interface(&self) -> usize {
        PLACE.into()
    }
    fn flow_seed(&self) -> FlowSeed {
        FlowSeed { first: 1, second: 2 }
    }
    fn service(&self, number: u32) -> Option<&Service> {
        self.services.get(number as usize)
    }
    fn slot(&self, index: u32) -> Option<&Word> {
        self.slots.get(index as usize)
    }
    fn destination(&self, number: u32) -> Option<&Destination> {
        self.destinations.get(number as usize)
    }
    fn load(&self, destination: u32) -> Option<&Load> {
        self.loads.get(destination as usize)
    }
    fn members(&self, key: &LocalityKey) -> Option<Members> {
        self.localities.borrow().iter().find(|(known, _)| known == key).map(|(_, members)| *members)
    }
    fn remember_members(&self, key: &LocalityKey, members: &Members) {
        let mut localities = self.localities.borrow_mut();
        localities.retain(|(known, _)| known != key);
        localities.push((*key, *members));
    }
    fn random(&self) -> u32 {
        // Any sequence will do.
        self.random.set(self.random.get().wrapping_mul(0x915F_77F5).wrapping_add(1));
        self.random.get()
    }
    fn now(&self) -> u32 {
        self.now.get()
    }
    fn by_hash(&self, table: SlotTable, client: u32) -> u64 {
        let all = |fallback: &mut Fallback| {
            let _ = (0..fallback.tries()).any(|nth| fallback.is_over(nth, self));
        };
        by_hash(table, client, self, all)
    }
    fn count(&self, reason: Reason) {
        *self.counters.borrow_mut().entry(reason).or_default() += 1;
    }
    fn count_forwarded(&self, destination: u32, bytes: u32) {
        let mut forwarded = self.forwarded.borrow_mut();
        let (packets, total) = forwarded.entry(destination).or_default();
        *packets += 1;
        *total += u64::from(bytes);
    }
    fn count_connection(&self, destination: u32) {
        *self.connections.borrow_mut().entry(destination).or_default() += 1;
    }
}

macro_rules! family {
    ($key_words:ident, $address_words:ident, $tables:ident, $index:ident) => {
        impl Family<$key_words, $address_words> for Director {
            type Connections = Connections<$key_words>;

            fn connections(&self) -> &Connections<$key_words> {
                &self.$tables.main
            }
            fn half_open(&self) -> &Connections<$key_words> {
                &self.$tables.half_open
            }
            fn index(&self, settings: &Settings) -> Index {
                Index::from_word(settings.$index.load())
            }
            fn addresses(&self, position: u32) -> Option<&AddressBucket<$address_words>> {
                let in_use = GENERATION_BUCKETS..2 * GENERATION_BUCKETS;
                assert!(in_use.contains(&position), "the generation in use");
                self.$tables.addresses.get(&position)
            }
            fn find_form(&self, index: Index, key: &[u64; $address_words]) -> u32 {
                let tables = &self.$tables;
                form::find(index, key, |i| tables.spans.get(i as usize), |i| tables.ports.get(i as usize))
            }
            fn log_scheduled(&self, _packet: &Packet<$key_words>, _destination: u32) {}
            fn fragment(&self, packet: &Packet<$key_words>, id: u32) -> Option<u32> {
                let key = FragmentKey::new(&packet.key, id);
                self.fragments.borrow().iter().find(|(known, _)| *known == key).map(|(_, number)| *number)
            }
            fn remember_fragment(&self, packet: &Packet<$key_words>, id: u32, destination: u32) {
                if self.fragment(packet, id).is_none() {
                    self.fragments.borrow_mut().push((FragmentKey::new(&packet.key, id), destination));
                }
            }
            fn rule(&self, scope: u32, packet: &Packet<$key_words>) -> u32 {
                let bytes: Vec<u8> = packet.key.iter().flat_map(|word| word.to_le_bytes()).collect();
                let length = if $key_words == KEY_WORDS_V4 { 4 } else { 16 };
                let found =
                    self.rules.iter().find(|(of, source, _)| *of == scope && *source == bytes[..length]);
                found.map_or(NO_RULE, |(_, _, rule)| *rule)
            }
            fn admit(&self, packet: &Packet<$key_words>, service: u32) -> Admission {
                admit(packet, service, self)
            }
            fn find(&self, which: Record, packet: &Packet<$key_words>) -> Option<Entry<'_>> {
                let hash = FlowHash::new(&packet.key, self.flow_seed());
                match which {
                    Record::First => lookup(&self.$tables.half_open, &packet.key, hash),
                    Record::Confirmed => lookup(&self.$tables.main, &packet.key, hash),
                }
            }
            fn template(&self, packet: &Packet<$key_words>, service: u32, touch: bool) -> u64 {
                template(packet, service, touch, self)
            }
            fn persist(&self, packet: &Packet<$key_words>, service: u32, decision: Decision) -> u32 {
                let mut template = Packet::EMPTY;
                let placed = place(packet, service, decision, &mut template, self);
                persist(placed, &template, self)
            }
            fn first(&self, packet: &Packet<$key_words>, service: u32) -> Decision {
                first(packet, service, self)
            }
            fn decide(
                &self,
                packet: &Packet<$key_words>,
                service: u32,
                is_known: bool,
                chosen: u32,
            ) -> Decision {
                decide(packet, service, is_known, chosen, self)
            }
            fn schedule(
                &self,
                packet: &Packet<$key_words>,
                service: u32,
                moves: bool,
                chosen: u32,
            ) -> Decision {
                schedule(packet, service, moves, chosen, self)
            }
            fn try_record(&self, packet: &Packet<$key_words>, decision: Decision) -> Decision {
                try_record(packet, decision, self)
            }
            fn tell(&self, packet: &Packet<$key_words>) {
                if let Some(event) = event(packet, self) {
                    self.events.borrow_mut().push(event);
                }
            }
        }

        impl Rehearsal<$key_words, $address_words> for Director {
            fn rehearse(
                rehearsed: &DryRun<'_, Self>,
                packet: &Packet<$key_words>,
                service: u32,
                is_known: bool,
                chosen: u32,
            ) -> Decision {
                decide(packet, service, is_known, chosen, rehearsed)
            }

            fn rehearse_schedule(
                rehearsed: &DryRun<'_, Self>,
                packet: &Packet<$key_words>,
                service: u32,
                moves: bool,
                chosen: u32,
            ) -> Decision {
                schedule(packet, service, moves, chosen, rehearsed)
            }
        }
    };
}

family!(KEY_WORDS_V4, ADDRESS_WORDS_V4, v4, services_v4);
family!(KEY_WORDS_V6, ADDRESS_WORDS_V6, v6, services_v6);
