//! The stages on the host: a director with two services, on slices and vectors.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use etherparse::PacketBuilder;
use lb_common::Word;
use lb_common::connection::{Bucket, Buckets, KEY_WORDS_V4, Meta, Timeouts};
use lb_common::counter::Reason;
use lb_common::destination::{Destination, Flags, ethernet_words};
use lb_common::hash::FlowSeed;
use lb_common::interface::{Interface, mac_word, peer_bit};
use lb_common::selector::{HASH_SLOTS, Selector};
use lb_common::service::{
    AddressBucket, AddressEntry, GENERATION_BUCKETS, Index, SLOT_HEADER, Service, SlotTable, key_v4,
};
use lb_common::settings::Settings;
use proptest::prelude::*;

use crate::track::{Decision, Record, decide, try_record};
use crate::{Packet, Tables, Verdict, process};

const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 3];
const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 1];
/// The service whose scheduler counts.
const WEB: u16 = 80;
/// The service whose scheduler hashes the source.
const HASHED: u16 = 443;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;
const FIN: u8 = 0x01;

struct Connections(Vec<Bucket<KEY_WORDS_V4>>);

impl Buckets<KEY_WORDS_V4> for Connections {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a small table")
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<KEY_WORDS_V4>> {
        self.0.get(index as usize)
    }
}

struct Director {
    settings: Settings,
    main: Connections,
    half_open: Connections,
    addresses: BTreeMap<u32, AddressBucket>,
    services: Vec<Service>,
    slots: Vec<Word>,
    destinations: Vec<Destination>,
    now: Cell<u32>,
    counters: RefCell<BTreeMap<Reason, u64>>,
    forwarded: RefCell<BTreeMap<u32, (u64, u64)>>,
    connections: RefCell<BTreeMap<u32, u64>>,
}

fn words<const N: usize>(values: [u64; N]) -> [Word; N] {
    values.map(Word::new)
}

fn real_server_mac(number: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, u8::try_from(number).expect("few servers")]
}

impl Director {
    /// Three real servers; every second slot of the hashed service is server 0's, the others 2's.
    fn new() -> Self {
        let interface = |mac: [u8; 6]| Interface {
            mac: Word::new(mac_word(mac)),
            virtual_mac: Word::new(mac_word(mac)),
            peer_filter: Word::new(peer_bit(mac_word(PEER))),
            peers: words([mac_word(PEER), 0, 0, 0, 0, 0, 0, 0]),
        };
        let index = Index::new(0x9E37_79B9_7F4A_7C15, 5, true);
        let mut addresses: BTreeMap<u32, AddressBucket> = BTreeMap::new();
        for (port, protocol, service) in [(WEB, 6, 0), (WEB, 17, 0), (HASHED, 6, 1)] {
            let key = key_v4(u32::from_le_bytes(VIP), port.to_be(), protocol);
            let bucket = addresses.entry(index.position(key)).or_insert_with(|| AddressBucket {
                entries: core::array::from_fn(|_| AddressEntry { key: Word::new(0), service: Word::new(0) }),
            });
            let entry = bucket.entries.iter().find(|entry| entry.key.load() == 0).expect("a free place");
            entry.key.store(key);
            entry.service.store(service);
        }
        let service = |table: SlotTable| Service { table: Word::new(table.word()) };
        let hashed = SlotTable { selector: Selector::Source as u8, base: 16, length: HASH_SLOTS };
        let mut slots: Vec<u64> = vec![0; (hashed.base + hashed.words()) as usize];
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
            }
        };
        Self {
            settings: Settings {
                services_v4: Word::new(index.word()),
                flow_seed: words([1, 2]),
                timeouts: Timeouts::ipvs(),
                interfaces: core::array::from_fn(|_| interface(DIRECTOR)),
            },
            main: Connections((0..64).map(|_| Bucket::default()).collect()),
            half_open: Connections((0..16).map(|_| Bucket::default()).collect()),
            addresses,
            services: vec![
                service(SlotTable { selector: Selector::Counter as u8, base: 0, length: 3 }),
                service(hashed),
            ],
            slots: slots.into_iter().map(Word::new).collect(),
            destinations: (0..3).map(destination).collect(),
            now: Cell::new(1000),
            counters: RefCell::default(),
            forwarded: RefCell::default(),
            connections: RefCell::default(),
        }
    }

    /// Sends a frame through; where it went.
    fn send(&self, frame: &[u8]) -> Went {
        let mut bytes = frame.to_vec();
        let verdict = process(&mut bytes.as_mut_slice(), self);
        match verdict {
            Verdict::Transmit => {
                assert_eq!(bytes[6..12], DIRECTOR, "the source MAC is the director's");
                assert_eq!(bytes[12..], frame[12..], "nothing but the MACs changes");
                Went::To(usize::from(bytes[5]))
            }
            Verdict::Pass(reason) | Verdict::Drop(reason) => {
                assert_eq!(bytes, frame, "the frame is untouched");
                Went::Nowhere(reason)
            }
        }
    }

    fn tcp(&self, client_port: u16, port: u16, flags: u8) -> Went {
        self.send(&tcp(client_port, port, flags))
    }

    fn take_away(&self, server: usize) {
        self.destinations[server].flags.store(0);
    }

    fn wait(&self, seconds: u32) {
        self.now.set(self.now.get() + seconds);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Went {
    To(usize),
    Nowhere(Reason),
}

fn tcp(client_port: u16, port: u16, flags: u8) -> Vec<u8> {
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

fn udp(client_port: u16, port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(ROUTER, DIRECTOR)
        .ipv4(CLIENT, VIP, 63)
        .udp(client_port, port)
        .write(&mut frame, b"data")
        .expect("a vector takes everything");
    frame
}

impl Tables for Director {
    type Connections = Connections;

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }
    fn interface(&self) -> usize {
        3
    }
    fn connections(&self) -> &Connections {
        &self.main
    }
    fn half_open(&self) -> &Connections {
        &self.half_open
    }
    fn flow_seed(&self) -> FlowSeed {
        FlowSeed { first: 1, second: 2 }
    }
    fn addresses(&self, position: u32) -> Option<&AddressBucket> {
        assert!((GENERATION_BUCKETS..2 * GENERATION_BUCKETS).contains(&position), "the generation in use");
        self.addresses.get(&position)
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
    fn now(&self) -> u32 {
        self.now.get()
    }
    fn count(&self, reason: Reason) {
        *self.counters.borrow_mut().entry(reason).or_default() += 1;
    }
    fn count_forwarded(&self, destination: u32, bytes: u16) {
        let mut forwarded = self.forwarded.borrow_mut();
        let (packets, total) = forwarded.entry(destination).or_default();
        *packets += 1;
        *total += u64::from(bytes);
    }
    fn count_connection(&self, destination: u32) {
        *self.connections.borrow_mut().entry(destination).or_default() += 1;
    }
    fn log_scheduled(&self, _packet: &Packet, _destination: u32) {}
    fn decide(&self, packet: &Packet, service: u32, is_known: bool) -> Decision {
        decide(packet, service, is_known, self)
    }
    fn try_record(&self, which: Record, packet: &Packet, content: Meta) -> Decision {
        try_record(which, packet, content, self)
    }
}

#[test]
fn new_connections_take_the_slots_in_turn_and_stay() {
    let director = Director::new();
    let opened: Vec<Went> = (0..6).map(|n| director.tcp(1000 + n, WEB, SYN)).collect();
    assert_eq!(opened, [2, 1, 0, 2, 1, 0].map(Went::To));
    for round in 0..3 {
        let data: Vec<Went> = (0..6).map(|n| director.tcp(1000 + n, WEB, ACK)).collect();
        assert_eq!(data, [2, 1, 0, 2, 1, 0].map(Went::To), "round {round}");
        director.wait(800);
    }
    assert_eq!(*director.connections.borrow(), BTreeMap::from([(0, 2), (1, 2), (2, 2)]));
}

#[test]
fn a_retransmitted_syn_goes_where_the_first_went() {
    let director = Director::new();
    assert_eq!(director.tcp(1000, WEB, SYN), Went::To(2));
    director.wait(1);
    assert_eq!(director.tcp(1000, WEB, SYN), Went::To(2));
    assert_eq!(director.tcp(1001, WEB, SYN), Went::To(1));
}

#[test]
fn what_is_forwarded_is_counted_at_its_real_server() {
    let director = Director::new();
    let frame = tcp(1000, WEB, SYN);
    director.send(&frame);
    director.send(&tcp(1000, WEB, ACK));
    let length = u64::try_from(frame.len() - 14).expect("short");
    assert_eq!(*director.forwarded.borrow(), BTreeMap::from([(2, (2, 2 * length))]));
    assert!(director.counters.borrow().is_empty());
}

#[test]
fn a_segment_nobody_remembers_is_for_the_local_stack_unless_the_choice_is_reproducible() {
    let director = Director::new();
    assert_eq!(director.tcp(1000, WEB, ACK), Went::Nowhere(Reason::PassNoConnection));
    let Went::To(server) = director.tcp(1000, HASHED, ACK) else {
        panic!("sh can be scheduled in the middle")
    };
    assert_eq!(director.tcp(2000, HASHED, SYN), Went::To(server), "the same client");
}

#[test]
fn a_connection_is_forgotten_after_its_timeout() {
    let director = Director::new();
    director.tcp(1000, WEB, SYN);
    director.tcp(1000, WEB, ACK);
    director.wait(899);
    assert_eq!(director.tcp(1000, WEB, ACK), Went::To(2));
    director.wait(900);
    assert_eq!(director.tcp(1000, WEB, ACK), Went::Nowhere(Reason::PassNoConnection));
    assert_eq!(director.tcp(1000, WEB, SYN), Went::To(1), "a new connection, scheduled anew");
    assert_eq!(director.tcp(1000, WEB, ACK), Went::To(1));
}

#[test]
fn a_half_open_connection_is_forgotten_sooner() {
    let director = Director::new();
    director.tcp(1000, WEB, SYN);
    director.wait(60);
    assert_eq!(director.tcp(1000, WEB, ACK), Went::Nowhere(Reason::PassNoConnection));
}

#[test]
fn a_syn_on_a_closed_connection_is_scheduled_again() {
    let director = Director::new();
    director.tcp(1000, WEB, SYN);
    director.tcp(1000, WEB, ACK);
    assert_eq!(director.tcp(1000, WEB, RST), Went::To(2));
    assert_eq!(director.tcp(1000, WEB, SYN), Went::To(1));
    assert_eq!(director.tcp(1000, WEB, ACK), Went::To(1));
}

#[test]
fn a_syn_on_an_open_connection_stays() {
    let director = Director::new();
    director.tcp(1000, WEB, SYN);
    director.tcp(1000, WEB, ACK);
    assert_eq!(director.tcp(1000, WEB, SYN), Went::To(2));
}

#[test]
fn flows_of_a_server_that_is_gone_are_scheduled_again_where_that_helps() {
    let director = Director::new();
    director.tcp(1000, WEB, SYN);
    director.tcp(1000, WEB, ACK);
    assert_eq!(director.send(&udp(1000, WEB)), Went::To(1));
    assert_eq!(director.send(&udp(1000, WEB)), Went::To(1));
    director.take_away(2);
    director.take_away(1);
    assert_eq!(director.tcp(1000, WEB, ACK), Went::Nowhere(Reason::PassNoConnection));
    assert_eq!(director.send(&udp(1000, WEB)), Went::To(0));
    assert_eq!(director.send(&udp(1000, WEB)), Went::To(0));
}

#[test]
fn without_a_usable_server_a_new_connection_is_dropped() {
    let director = Director::new();
    let empty = SlotTable { selector: Selector::Counter as u8, base: 0, length: 0 };
    director.services[0].table.store(empty.word());
    assert_eq!(director.tcp(1000, WEB, SYN), Went::Nowhere(Reason::DropNoRealServer));
}

#[test]
fn single_packets_from_many_sources_evict_no_confirmed_connection() {
    let director = Director::new();
    director.tcp(1000, WEB, SYN);
    director.tcp(1000, WEB, ACK);
    for port in 2000..20_000 {
        director.tcp(port, WEB, SYN);
    }
    assert!(director.counters.borrow()[&Reason::EvictedHalfOpen] > 10_000);
    assert_eq!(director.tcp(1000, WEB, ACK), Went::To(2));
}

/// The entries of confirmed connections used to stay in the small table as established ones, for 15 minutes: once
/// it was full of them, half-open connections had only each other's places, and lost them before their ACK.
#[test]
fn confirmed_connections_make_room_for_half_open_ones() {
    let director = Director::new();
    for port in 2000..2400 {
        director.send(&udp(port, WEB));
        director.send(&udp(port, WEB));
    }
    let opened: Vec<Went> = (1000..1016).map(|port| director.tcp(port, WEB, SYN)).collect();
    let confirmed: Vec<Went> = (1000..1016).map(|port| director.tcp(port, WEB, ACK)).collect();
    assert_eq!(confirmed, opened);
}

#[test]
fn frames_for_others_and_from_other_directors_are_left_alone() {
    let director = Director::new();
    let mut flooded = tcp(1000, WEB, SYN);
    flooded[5] = 0x77;
    assert_eq!(director.send(&flooded), Went::Nowhere(Reason::PassNotForUs));
    let mut scheduled_by_peer = tcp(1000, WEB, SYN);
    scheduled_by_peer[6..12].copy_from_slice(&PEER);
    assert_eq!(director.send(&scheduled_by_peer), Went::Nowhere(Reason::PassFromPeer));
    // One that shares the peer's bit in the filter is no peer.
    let mut alike = tcp(1000, WEB, SYN);
    alike[6..12].copy_from_slice(&[2, 9, 9, 9, 9, PEER[5]]);
    assert_eq!(director.send(&alike), Went::To(2));
}

#[test]
fn what_is_not_a_vips_is_left_alone() {
    let director = Director::new();
    assert_eq!(director.tcp(1000, 22, SYN), Went::Nowhere(Reason::PassNotAVip));
    assert_eq!(director.send(&udp(1000, HASHED)), Went::Nowhere(Reason::PassNotAVip));
    let mut icmp = Vec::new();
    PacketBuilder::ethernet2(ROUTER, DIRECTOR)
        .ipv4(CLIENT, VIP, 63)
        .icmpv4_echo_request(1, 1)
        .write(&mut icmp, b"ping")
        .expect("a vector takes everything");
    assert_eq!(director.send(&icmp), Went::Nowhere(Reason::PassNotTcpUdp));
    let ether_type = |ether_type: [u8; 2]| {
        let mut frame = tcp(1000, WEB, SYN);
        frame[12..14].copy_from_slice(&ether_type);
        director.send(&frame)
    };
    assert_eq!(ether_type([0x08, 0x06]), Went::Nowhere(Reason::PassNotIp));
    assert_eq!(ether_type([0x86, 0xdd]), Went::Nowhere(Reason::PassIpv6));
    assert_eq!(ether_type([0x81, 0x00]), Went::Nowhere(Reason::PassVlan));
    assert_eq!(ether_type([0x88, 0xa8]), Went::Nowhere(Reason::PassVlan));
}

#[test]
fn contradictory_headers_are_left_alone() {
    let director = Director::new();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = tcp(1000, WEB, SYN);
        change(&mut frame);
        director.send(&frame)
    };
    let malformed = Went::Nowhere(Reason::PassMalformed);
    assert_eq!(with(&|frame| frame[14] = 0x44), malformed, "a header of four words");
    assert_eq!(with(&|frame| frame[14] = 0x65), malformed, "version 6");
    assert_eq!(
        with(&|frame| frame[16..18].copy_from_slice(&39u16.to_be_bytes())),
        malformed,
        "no room for TCP"
    );
    assert_eq!(with(&|frame| frame.truncate(47)), malformed, "no TCP flags");
    assert_eq!(with(&|frame| frame[20] = 0x20), Went::Nowhere(Reason::PassFragment), "more fragments");
    assert_eq!(with(&|frame| frame[21] = 1), Went::Nowhere(Reason::PassFragment), "a later fragment");
    assert_eq!(with(&|frame| frame[20] = 0x40), Went::To(2), "don't fragment");
}

#[test]
fn ip_options_are_skipped() {
    let director = Director::new();
    let mut frame = tcp(1000, WEB, SYN);
    frame[14] = 0x46;
    frame.splice(34..34, [1, 1, 1, 0]);
    assert_eq!(director.send(&frame), Went::To(2));
    frame.truncate(51);
    assert_eq!(director.send(&frame), Went::Nowhere(Reason::PassMalformed));
}

proptest! {
    /// Whatever the bytes: no panic, and no change but the MACs of what is forwarded.
    #[test]
    fn any_frame_is_forwarded_or_untouched(
        client_port: u16, flags: u8, at in 0usize..80, byte: u8, length in 0usize..100, tail: Vec<u8>,
    ) {
        let director = Director::new();
        let mut frame = tcp(client_port, WEB, flags);
        if let Some(place) = frame.get_mut(at) {
            *place = byte;
        }
        frame.truncate(length);
        frame.extend(tail);
        director.send(&frame);
    }

    #[test]
    fn a_packet_survives_its_words(addresses: u64, ports: u32, protocol: u8, tcp_flags: u8, length: u16) {
        let packet = Packet { addresses, ports, protocol, tcp_flags, length };
        let (first, rest) = packet.words();
        prop_assert_eq!(Packet::from_words(first, rest), packet);
    }
}
