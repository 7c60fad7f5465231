//! What becomes of connections whose real server is down, who gets those that nobody takes, and datagrams that are
//! each scheduled by itself.

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use lb_common::destination::Flags;
use lb_common::policy::{OnDown, ServiceOptions};
use lb_common::service::SLOT_HEADER;
use lb_common::trace::{Note, ON_DOWN_MOVED, ON_DOWN_RESET, ON_DOWN_STAYS, Trace};

use super::*;
use crate::Buffers;

/// Sets the policies of the service of [`WEB`].
fn policies(director: &Director, on_down: OnDown, one_packet: bool) {
    director.services[0].options.store(ServiceOptions::new(on_down, one_packet).word());
}

/// As the daemon does when a server falls silent: its slots become the others'.
fn goes_down(director: &Director, server: usize) {
    let flags = Flags::USABLE.with(Flags::ALLOCATED).with(Flags::DOWN).with(Flags::FAILING);
    director.set_flags(server, flags);
    let up: Vec<u64> =
        (0..3).rev().filter(|number| director.is_up(*number)).map(|number| number as u64).collect();
    let mut table = SlotTable::from_word(director.services[0].table.load());
    table.length = u32::try_from(up.len()).expect("few servers");
    for (slot, number) in director.slots[SLOT_HEADER as usize..].iter().zip(up) {
        slot.store(number);
    }
    director.services[0].table.store(table.word());
}

fn open(director: &Director, port: u16) -> Went {
    director.tcp(port, WEB, SYN);
    director.tcp(port, WEB, ACK)
}

fn segment(v6: bool, flags: u8, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(ROUTER, DIRECTOR);
    let ip = if v6 { ethernet.ipv6(CLIENT_V6, VIP_V6, 63) } else { ethernet.ipv4(CLIENT, VIP, 63) };
    let mut tcp = TcpHeader::new(1000, WEB, 0xfffffff0, 1024);
    (tcp.syn, tcp.fin, tcp.rst, tcp.psh) =
        (flags & SYN != 0, flags & FIN != 0, flags & RST != 0, flags & 8 != 0);
    tcp.ack = flags & ACK != 0;
    tcp.acknowledgment_number = 0x8765_4321;
    let mut frame = Vec::new();
    ip.tcp_header(tcp).write(&mut frame, payload).expect("a vector takes everything");
    frame
}

#[test]
fn by_default_a_connection_stays_with_a_real_server_that_is_down() {
    let director = Director::new();
    assert_eq!(open(&director, 1000), Went::To(2));
    goes_down(&director, 2);
    for flags in [ACK, FIN | ACK, RST] {
        assert_eq!(director.tcp(1000, WEB, flags), Went::To(2));
    }
    assert_eq!(director.tcp(1001, WEB, SYN), Went::To(0), "a new one goes elsewhere");
}

#[test]
fn a_connection_is_rescheduled_in_its_middle_and_stays_where_it_came_to() {
    let director = Director::new();
    policies(&director, OnDown::Reschedule, false);
    assert_eq!(open(&director, 1000), Went::To(2));
    assert_eq!(open(&director, 1001), Went::To(1));
    goes_down(&director, 2);
    let Went::To(server) = director.tcp(1000, WEB, ACK) else { panic!("to a real server") };
    assert_ne!(server, 2);
    for _ in 0..3 {
        assert_eq!(director.tcp(1000, WEB, ACK), Went::To(server));
    }
    assert_eq!(director.tcp(1001, WEB, ACK), Went::To(1), "not this server's");
    // It is over: whoever got it resets it. So it is no active connection, and soon forgotten.
    assert_eq!(director.loads[server].counts().active, u32::from(server == 1));
    assert_eq!(director.loads[server].counts().inactive, 1);
    assert_eq!(director.loads[2].counts().total(), 0);
    director.wait(10);
    assert_eq!(director.tcp(1000, WEB, ACK), Went::Nowhere(Reason::PassNoConnection));
}

#[test]
fn a_flow_of_udp_moves_whatever_the_policy() {
    for on_down in [OnDown::Keep, OnDown::Reschedule, OnDown::Reset] {
        let director = Director::new();
        policies(&director, on_down, false);
        for _ in 0..2 {
            assert_eq!(director.send(&udp(1000, WEB)), Went::To(2));
        }
        assert_eq!(director.send(&udp(1001, WEB)), Went::To(1), "one datagram so far");
        goes_down(&director, 2);
        goes_down(&director, 1);
        for port in [1000, 1000, 1001, 1001] {
            assert_eq!(director.send(&udp(port, WEB)), Went::To(0), "{on_down:?}");
        }
    }
}

#[test]
fn where_there_is_no_other_real_server_a_flow_stays() {
    let director = Director::new();
    policies(&director, OnDown::Reschedule, false);
    open(&director, 1000);
    director.send(&udp(1000, WEB));
    [0, 1, 2].into_iter().for_each(|server| goes_down(&director, server));
    assert_eq!(director.tcp(1000, WEB, ACK), Went::To(2));
    assert_eq!(director.send(&udp(1000, WEB)), Went::To(1));
    assert_eq!(director.tcp(2000, WEB, SYN), Went::Nowhere(Reason::DropNoRealServer));
    assert_eq!(director.loads[2].counts().active, 1);
}

/// The reset that came back, read by somebody else's parser, which also checks what it can.
fn answered(director: &Director, frame: &[u8]) -> (u32, u32, bool) {
    let (went, answer) = director.send_and_look(frame);
    assert_eq!(went, Went::Back);
    assert_eq!((&answer[..6], &answer[6..12]), (&ROUTER[..], &DIRECTOR[..]));
    let read = SlicedPacket::from_ethernet(&answer).expect("whole headers");
    let Some(TransportSlice::Tcp(tcp)) = read.transport else { panic!("no TCP in {answer:02x?}") };
    match read.net.expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!((header.source(), header.destination()), (VIP, CLIENT));
            assert_eq!((header.ttl(), header.total_len(), answer.len()), (64, 40, 54));
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            assert_eq!((header.source(), header.destination()), (VIP_V6, CLIENT_V6));
            assert_eq!((header.hop_limit(), header.payload_length(), answer.len()), (64, 20, 74));
        }
        NetSlice::Arp(_) => panic!("ARP"),
    }
    checked(&answer, &tcp);
    assert_eq!((tcp.source_port(), tcp.destination_port(), tcp.rst()), (WEB, 1000, true));
    assert!(!tcp.syn() && !tcp.fin() && !tcp.psh());
    (tcp.sequence_number(), tcp.acknowledgment_number(), tcp.ack())
}

fn checked(answer: &[u8], tcp: &TcpSlice<'_>) {
    let header = tcp.to_header();
    let sum = if answer.len() == 54 {
        header.calc_checksum_ipv4_raw(VIP, CLIENT, &[])
    } else {
        header.calc_checksum_ipv6_raw(VIP_V6, CLIENT_V6, &[])
    };
    assert_eq!(tcp.checksum(), sum.expect("it is short"));
}

/// RFC 9293, section 3.10.7.1.
#[test]
fn a_reset_has_the_sequence_number_that_the_client_waits_for() {
    for v6 in [false, true] {
        for (flags, payload, expected) in [
            (ACK, &b"data"[..], (0x8765_4321, 0, false)),
            (ACK, &[], (0x8765_4321, 0, false)),
            (FIN | ACK, b"x", (0x8765_4321, 0, false)),
            (FIN, b"data", (0, 0xffff_fff5, true)),
            (8, &[0; 32], (0, 0x10, true)),
            (0, &[], (0, 0xffff_fff0, true)),
        ] {
            let director = Director::new();
            policies(&director, OnDown::Reset, false);
            for opening in [SYN, ACK] {
                assert_eq!(director.send(&segment(v6, opening, &[])), Went::To(2));
            }
            goes_down(&director, 2);
            assert_eq!(answered(&director, &segment(v6, flags, payload)), expected, "{flags:#x} v6: {v6}");
            assert_eq!(*director.counters.borrow(), BTreeMap::from([(Reason::ResetSent, 1)]));
            assert_eq!(director.loads[2].counts().active, 0, "it is closed");
            assert_eq!(director.send(&segment(v6, RST, &[])), Went::To(2), "a reset is never answered");
            let Went::To(server) = director.send(&segment(v6, SYN, &[])) else { panic!("a new connection") };
            assert_ne!(server, 2);
        }
    }
}

/// Tags are kept; options and extension headers are not.
#[test]
fn a_reset_is_plain_whatever_the_segment_was() {
    for v6 in [false, true] {
        let director = Director::new();
        policies(&director, OnDown::Reset, false);
        for opening in [SYN, ACK] {
            director.send(&segment(v6, opening, &[]));
        }
        goes_down(&director, 2);
        let mut tagged = segment(v6, ACK, b"data");
        tagged.splice(12..12, [0x81, 0, 0xa0, 7]);
        let (went, mut answer) = director.send_and_look(&tagged);
        assert_eq!((went, &answer[12..16]), (Went::Back, &[0x81, 0, 0xa0, 7][..]));
        answer.drain(12..16);
        let (_, plain) = director.send_and_look(&segment(v6, ACK, b"data"));
        assert_eq!(answer, plain);
        for first in [0, 14, 40, 60] {
            let (_, split) = director.send_and_look(Buffers::split(&segment(v6, ACK, b"data"), first));
            assert_eq!(split, plain, "{first} bytes in the first buffer");
        }
        let mut long = segment(v6, ACK, b"data");
        if v6 {
            // A destination option, and TCP behind it.
            long.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
            (long[20], long[19]) = (60, long[19] + 8);
        } else {
            long.splice(34..34, [1, 1, 1, 0]);
            (long[14], long[17]) = (0x46, long[17] + 4);
        }
        assert_eq!(director.send_and_look(&long), (Went::Back, plain));
    }
}

#[test]
fn a_syn_to_a_server_that_is_down_goes_to_another_or_is_refused() {
    let director = Director::new();
    policies(&director, OnDown::Reset, false);
    assert_eq!(director.send(&segment(false, SYN, &[])), Went::To(2));
    goes_down(&director, 2);
    assert_eq!(director.send(&segment(false, SYN, &[])), Went::To(0), "nothing is lost yet");
    goes_down(&director, 1);
    goes_down(&director, 0);
    assert_eq!(answered(&director, &segment(false, SYN, &[])), (0, 0xffff_fff1, true));
}

#[test]
fn the_sorry_server_gets_what_nobody_else_takes_and_keeps_it() {
    let director = Director::new();
    goes_down(&director, 0);
    goes_down(&director, 1);
    assert_eq!(open(&director, 1000), Went::To(2));
    director.services[0].sorry.store(1);
    director.set_flags(0, Flags::USABLE.with(Flags::ALLOCATED));
    assert_eq!(open(&director, 1001), Went::To(2), "a real server is up");
    goes_down(&director, 2);
    director.services[0]
        .table
        .store(SlotTable { selector: Selector::Counter as u8, base: 0, length: 0 }.word());
    assert_eq!(open(&director, 1002), Went::To(0));
    assert_eq!(director.send(&udp(1, WEB)), Went::To(0));
    assert_eq!(director.tcp(1000, WEB, ACK), Went::To(2), "it was open before");
    director.services[0]
        .table
        .store(SlotTable { selector: Selector::Counter as u8, base: 0, length: 1 }.word());
    director.slots[SLOT_HEADER as usize].store(2);
    director.set_flags(2, Flags::USABLE.with(Flags::ALLOCATED));
    assert_eq!(director.tcp(1002, WEB, ACK), Went::To(0), "it stays until it ends");
    assert_eq!(open(&director, 1003), Went::To(2));
    director.services[0]
        .table
        .store(SlotTable { selector: Selector::Counter as u8, base: 0, length: 0 }.word());
    director.set_flags(0, Flags::USABLE.with(Flags::ALLOCATED).with(Flags::DOWN));
    assert_eq!(director.tcp(1004, WEB, SYN), Went::Nowhere(Reason::DropNoRealServer));
}

#[test]
fn each_datagram_of_a_one_packet_service_is_scheduled_and_none_remembered() {
    let director = Director::new();
    policies(&director, OnDown::Keep, true);
    let went: Vec<Went> = (0..6).map(|_| director.send(&udp(1000, WEB))).collect();
    assert_eq!(went, [2, 1, 0, 2, 1, 0].map(Went::To));
    assert_eq!(*director.connections.borrow(), BTreeMap::from([(0, 2), (1, 2), (2, 2)]));
    assert!(director.loads.iter().all(|load| load.counts().total() == 0));
}

#[test]
fn a_dry_run_says_what_would_come_of_a_server_that_is_down() {
    for (on_down, alone, expected) in [
        (OnDown::Keep, false, None),
        (OnDown::Reschedule, false, Some(ON_DOWN_MOVED)),
        (OnDown::Reschedule, true, Some(ON_DOWN_STAYS)),
        (OnDown::Reset, false, Some(ON_DOWN_RESET)),
    ] {
        let director = Director::new();
        policies(&director, on_down, false);
        open(&director, 1000);
        for server in if alone { 0..3 } else { 2..3 } {
            goes_down(&director, server);
        }
        let before = director.snapshot();
        let trace = Trace::default();
        director.rehearse(&tcp(1000, WEB, ACK), &trace);
        assert_eq!(trace.get(Note::OnDown), expected, "{on_down:?}");
        assert_eq!(
            trace.get(Note::Reason),
            (expected == Some(ON_DOWN_RESET)).then_some(Reason::ResetSent as u64)
        );
        assert_eq!(director.snapshot(), before, "nothing is written");
    }
}
