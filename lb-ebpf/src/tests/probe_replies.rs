//! Which frames answer a probe.

use std::vec::Vec;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, IpNumber, Ipv4Header, Ipv4Options, PacketBuilder};
use lb_common::probe::{ECHO_DATA, FIRST_PORT, VipKey, vip_key, vip_key_v6};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::director::{CLIENT, CLIENT_V6, DIRECTOR, ROUTER, VIP, VIP_V6, WEB};
use crate::probe_replies::{Bytes, Words, is_probe_reply};

impl Bytes for Vec<u8> {
    fn copy<T: Words>(&self, offset: usize) -> Option<T> {
        let bytes = self.get(offset..)?.get(..size_of::<T>())?;
        // SAFETY: there are as many bytes, and any are a value.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
}

fn is_probed(vip: &VipKey) -> bool {
    *vip == vip_key(u32::from_le_bytes(VIP)) || *vip == vip_key_v6(VIP_V6)
}

fn is_dropped(frame: &Vec<u8>) -> bool {
    // The kernel says what follows the Ethernet header, behind a tag that it took off.
    let ether_type = frame.copy(12).map_or(0, u16::from_le);
    is_probe_reply(frame, ether_type, is_probed)
}

/// A segment from `source` to a port of the director's.
fn segment(source: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(ROUTER, DIRECTOR).ipv4(source, CLIENT, 64).tcp(WEB, port, 1, 1024);
    builder.syn().ack(1).write(&mut frame, b"").expect("a vector takes everything");
    frame
}

#[test]
fn answers_of_a_probed_vip_to_the_probes_ports_are_dropped() {
    for port in [FIRST_PORT, 65_535] {
        assert!(is_dropped(&segment(VIP, port)), "{port}");
    }
    assert!(!is_dropped(&segment(VIP, FIRST_PORT - 1)), "a port that the kernel gives to sockets");
    assert!(!is_dropped(&segment(CLIENT, FIRST_PORT)), "nobody probes that address");
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(ROUTER, DIRECTOR).ipv6(VIP_V6, CLIENT_V6, 64).udp(53, FIRST_PORT);
    builder.write(&mut frame, b"answer").expect("a vector takes everything");
    assert!(is_dropped(&frame));
}

#[test]
fn tags_options_and_fragments_are_seen_through() {
    let plain = segment(VIP, FIRST_PORT);
    for tags in [&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2][..], &[0x81, 0, 0, 7]] {
        let tagged = [&plain[..12], tags, &plain[12..]].concat();
        assert!(is_dropped(&tagged), "{tags:?}");
    }
    let mut header = Ipv4Header::new(8, 64, IpNumber::UDP, VIP, CLIENT).expect("short");
    header.options = Ipv4Options::from([1, 1, 1, 0]);
    let mut with_options = plain[..14].to_vec();
    header.write(&mut with_options).expect("a vector takes everything");
    with_options.extend([0, 53, (FIRST_PORT >> 8) as u8, FIRST_PORT as u8, 0, 8, 0, 0]);
    assert!(is_dropped(&with_options));
    let mut later = plain;
    later[21] = 1;
    assert!(!is_dropped(&later), "what looks like ports is none");
}

#[test]
fn of_icmp_echoes_of_ours_and_errors_about_probes_are_dropped() {
    let builder = || PacketBuilder::ethernet2(ROUTER, DIRECTOR).ipv4(VIP, CLIENT, 64);
    let echo = |id, data: &[u8]| {
        let mut frame = Vec::new();
        builder().icmpv4_echo_reply(id, 1).write(&mut frame, data).expect("a vector takes everything");
        frame
    };
    assert!(is_dropped(&echo(FIRST_PORT, &ECHO_DATA)));
    assert!(!is_dropped(&echo(FIRST_PORT, &[0; 8])), "somebody's ping");
    assert!(!is_dropped(&echo(FIRST_PORT - 1, &ECHO_DATA)));
    let error = |port| {
        let (mut frame, mut quoted) = (Vec::new(), Vec::new());
        let question = PacketBuilder::ipv4(CLIENT, VIP, 64).udp(port, 53);
        question.write(&mut quoted, b"").expect("a vector takes everything");
        let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
        builder().icmpv4(kind).write(&mut frame, &quoted).expect("a vector takes everything");
        frame
    };
    assert!(is_dropped(&error(FIRST_PORT)));
    assert!(!is_dropped(&error(FIRST_PORT - 1)), "about a packet of the kernel's");
}

#[test]
fn of_icmp_version_6_the_same() {
    let builder = || PacketBuilder::ethernet2(ROUTER, DIRECTOR).ipv6(VIP_V6, CLIENT_V6, 64);
    let echo = |id| {
        let mut frame = Vec::new();
        builder().icmpv6_echo_reply(id, 1).write(&mut frame, &ECHO_DATA).expect("a vector takes everything");
        frame
    };
    assert!(is_dropped(&echo(FIRST_PORT)) && !is_dropped(&echo(FIRST_PORT - 1)));
    let error = |port| {
        let (mut frame, mut quoted) = (Vec::new(), Vec::new());
        let question = PacketBuilder::ipv6(CLIENT_V6, VIP_V6, 64).tcp(port, WEB, 1, 1024);
        question.write(&mut quoted, b"").expect("a vector takes everything");
        let kind =
            etherparse::Icmpv6Type::DestinationUnreachable(etherparse::icmpv6::DestUnreachableCode::Port);
        builder().icmpv6(kind).write(&mut frame, &quoted).expect("a vector takes everything");
        frame
    };
    assert!(is_dropped(&error(FIRST_PORT)) && !is_dropped(&error(FIRST_PORT - 1)));
}

proptest! {
    #[test]
    fn nothing_that_does_not_come_from_a_probed_vip_is_dropped(mut frame in vec(any::<u8>(), 0..120), shape in 0..4_usize) {
        let head: [&[u8]; 4] = [&[], &[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0, 0, 1, 8, 0, 0x45]];
        if let Some(place) = frame.get_mut(12..12 + head[shape].len()) {
            place.copy_from_slice(head[shape]);
        }
        let holds = |bytes: &[u8]| frame.windows(bytes.len()).any(|window| window == bytes);
        prop_assert!(holds(&VIP) || holds(&VIP_V6) || !is_dropped(&frame));
    }
}
