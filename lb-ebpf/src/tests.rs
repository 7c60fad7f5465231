//! The stages on the host: a director with its services, on slices and vectors.

mod acl;
mod detours;
mod down;
mod dry_run;
mod forms;
mod frames;
mod locality;
mod maglev;
mod persistence;
mod probe_replies;
mod tell;
mod traced;

use std::collections::BTreeMap;
use std::vec::Vec;

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};
use lb_common::counter::Reason;
use lb_common::selector::Selector;
use lb_common::service::SlotTable;
use proptest::prelude::*;

use crate::director::*;

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
fn ipv6_is_balanced_like_ipv4() {
    let director = Director::new();
    let send = |port, flags: fn(PacketBuilderStep<TcpHeader>) -> PacketBuilderStep<TcpHeader>| {
        let mut frame = Vec::new();
        let builder =
            PacketBuilder::ethernet2(ROUTER, DIRECTOR).ipv6(CLIENT_V6, VIP_V6, 63).tcp(port, WEB, 1, 1024);
        flags(builder).write(&mut frame, b"data").expect("a vector takes everything");
        director.send(&frame)
    };
    for flags in [PacketBuilderStep::syn, |builder: PacketBuilderStep<TcpHeader>| builder.ack(1)] {
        let went: Vec<Went> = (1000..1006).map(|port| send(port, flags)).collect();
        assert_eq!(went, [2, 1, 0, 2, 1, 0].map(Went::To));
    }
    assert_eq!(director.tcp(1000, WEB, ACK), Went::Nowhere(Reason::PassNoConnection), "the other family's");
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

/// A datagram is remembered for longer than a SYN, and used to displace it.
#[test]
fn datagrams_leave_half_open_connections_in_peace() {
    let director = Director::new();
    for port in 2000..2400 {
        director.send(&udp(port, WEB));
    }
    director.wait(1);
    let opened: Vec<Went> = (1000..1016).map(|port| director.tcp(port, WEB, SYN)).collect();
    for port in 2400..2416 {
        director.send(&udp(port, WEB));
    }
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
    assert_eq!(ether_type([0x86, 0xdd]), Went::Nowhere(Reason::PassMalformed), "version 4 in an IPv6 frame");
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
    assert_eq!(with(&|frame| frame.truncate(57)), malformed, "less than the total length");
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
}
