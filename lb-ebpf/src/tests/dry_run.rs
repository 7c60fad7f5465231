//! A dry run changes nothing, and says what the frame then does.

use std::vec::Vec;

use etherparse::{PacketBuilder, TcpHeader, VlanId};
use lb_common::connection::Meta;
use lb_common::destination::Detour;
use lb_common::persistence::Persistence;
use lb_common::trace::{Note, Trace};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::director::*;

/// A frame to one of the services, or nearly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    is_ipv6: bool,
    is_udp: bool,
    vlan: Option<u16>,
    client_port: u16,
    port: u16,
    flags: u8,
}

impl Sent {
    pub(super) fn frame(self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(ROUTER, DIRECTOR);
        let tag = self.vlan.map(|id| VlanId::try_new(id).expect("a VLAN"));
        let ip = match (self.is_ipv6, tag) {
            (false, None) => ethernet.ipv4(CLIENT, VIP, 63),
            (false, Some(tag)) => ethernet.single_vlan(tag).ipv4(CLIENT, VIP, 63),
            (true, None) => ethernet.ipv6(CLIENT_V6, VIP_V6, 63),
            (true, Some(tag)) => ethernet.single_vlan(tag).ipv6(CLIENT_V6, VIP_V6, 63),
        };
        let mut frame = Vec::new();
        let written = if self.is_udp {
            ip.udp(self.client_port, self.port).write(&mut frame, b"data")
        } else {
            let header = TcpHeader {
                fin: self.flags & FIN != 0,
                syn: self.flags & SYN != 0,
                rst: self.flags & RST != 0,
                ack: self.flags & ACK != 0,
                ..TcpHeader::new(self.client_port, self.port, 1, 1024)
            };
            ip.tcp_header(header).write(&mut frame, b"data")
        };
        written.expect("a vector takes everything");
        frame
    }
}

pub(super) fn sent() -> impl Strategy<Value = Sent> {
    let port = prop_oneof![4 => Just(WEB), 2 => Just(HASHED), 1 => Just(22)];
    let flags = prop_oneof![Just(SYN), Just(ACK), Just(ACK | FIN), Just(RST)];
    let vlan = prop_oneof![3 => Just(None), 1 => Just(Some(100))];
    // Few clients, so that many frames meet an entry.
    (any::<bool>(), any::<bool>(), vlan, 1000u16..1004, port, flags).prop_map(
        |(is_ipv6, is_udp, vlan, client_port, port, flags)| Sent {
            is_ipv6,
            is_udp,
            vlan,
            client_port,
            port,
            flags,
        },
    )
}

proptest! {
    #[test]
    fn a_dry_run_changes_nothing_and_says_what_the_frame_then_does(
        history in vec((sent(), 0u32..40), 0..24), next in sent(), gone in 0usize..12, mask in 0u8..48,
        at in 0usize..400, byte: u8, length in 40usize..120,
    ) {
        let director = Director::new();
        if (1..=32).contains(&mask) {
            director.persist(Persistence::new(60, mask));
        }
        for (sent, pause) in history {
            director.send_and_look(&sent.frame());
            director.wait(pause);
        }
        if gone < 3 {
            director.take_away(gone);
        }
        let mut frame = next.frame();
        if let Some(place) = frame.get_mut(at) {
            *place = byte;
        }
        frame.truncate(length);

        let (before, trace) = (director.snapshot(), Trace::default());
        let rehearsed = director.rehearse(&frame, &trace);
        prop_assert_eq!(director.snapshot(), before);

        let (forwarded, opened) = (director.forwarded.borrow().clone(), director.connections.borrow().clone());
        prop_assert_eq!(rehearsed, director.send_and_look(&frame));
        let moved = |number: &u32| forwarded.get(number) != director.forwarded.borrow().get(number);
        let said = trace.get(Note::Forwarded).map(|word| word as u32);
        prop_assert_eq!((0..3).find(moved), said);
        let moved = |number: &u32| opened.get(number) != director.connections.borrow().get(number);
        let said = trace.get(Note::Connection).map(|word| word as u32);
        prop_assert_eq!((0..3).find(moved), said);
    }
}

/// What is noted of a segment from this port that is not sent.
fn rehearsed(director: &Director, port: u16, flags: u8) -> Trace {
    let trace = Trace::default();
    director.rehearse(&tcp(port, WEB, flags), &trace);
    trace
}

#[test]
fn the_notes_say_what_a_template_decides() {
    let director = Director::new();
    director.persist(Persistence::new(60, 32));
    let ask = |port, flags| {
        let trace = rehearsed(&director, port, flags);
        let template = trace.get(Note::Template).map(|word| Meta::from_word(word).destination());
        let noted = [Note::Templated, Note::Slot, Note::Connection].map(|note| trace.get(note).is_some());
        (template, noted)
    };
    assert_eq!(ask(1000, SYN), (None, [true, true, true]), "one would be made");
    director.tcp(1000, WEB, SYN);
    assert_eq!(ask(1000, SYN), (None, [false, false, false]), "a connection's own");
    assert_eq!(ask(1001, SYN), (Some(2), [false, false, true]), "it decides");
}

/// What the stages note of a connection's life.
#[test]
fn the_notes_say_which_table_knew_the_flow() {
    let director = Director::new();
    let ask = |flags| {
        let trace = rehearsed(&director, 1000, flags);
        [Note::HalfOpen, Note::Established, Note::Slot, Note::Recorded].map(|note| trace.get(note).is_some())
    };
    assert_eq!(ask(SYN), [false, false, true, true], "a new connection");
    director.tcp(1000, WEB, SYN);
    assert_eq!(ask(SYN), [true, false, false, false], "the same SYN again");
    assert_eq!(ask(ACK), [true, false, false, true], "it would be confirmed");
    director.tcp(1000, WEB, ACK);
    assert_eq!(ask(ACK), [false, true, false, false], "established");
}

#[test]
fn an_entry_that_stays_as_it_is_is_not_said_to_change() {
    let director = Director::new();
    let changes = |flags| rehearsed(&director, 1000, flags).get(Note::Changed).is_some();
    director.tcp(1000, WEB, SYN);
    assert!(!changes(SYN), "the same SYN again");
    director.wait(1);
    assert!(changes(SYN), "it was seen later than before");
    director.tcp(1000, WEB, ACK);
    assert!(!changes(ACK));
    assert!(changes(ACK | FIN), "it would close");
    (0..3).for_each(|server| director.detour(server, Detour::local()));
    assert!(!changes(ACK), "nor by a frame that takes the long way");
}
