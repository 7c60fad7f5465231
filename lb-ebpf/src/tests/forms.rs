//! Services whose address is not exact.

use std::vec::Vec;

use etherparse::PacketBuilder;
use lb_common::counter::Reason;

use crate::director::*;

/// A TCP segment to a VIP with this last byte, of either family.
fn tcp_to(low: u8, port: u16, is_v6: bool) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(ROUTER, DIRECTOR);
    let (mut v4, mut v6) = (VIP, VIP_V6);
    (v4[3], v6[15]) = (low, low);
    let builder = if is_v6 { builder.ipv6(CLIENT_V6, v6, 63) } else { builder.ipv4(CLIENT, v4, 63) }
        .tcp(1000, port, 1, 1024);
    builder.syn().write(&mut frame, b"data").expect("a vector takes everything");
    frame
}

#[test]
fn a_range_of_ports_is_served_at_each_vip_of_a_prefix() {
    for is_v6 in [false, true] {
        let director = Director::new();
        let went = |low, port| director.send(&tcp_to(low, port, is_v6));
        for low in [PREFIX.start, 20, PREFIX.end - 1] {
            for port in [RANGE.start, 8050, RANGE.end - 1] {
                assert!(matches!(went(low, port), Went::To(_)), "{low} {port} v6 {is_v6}");
            }
            for port in [0, RANGE.start - 1, RANGE.end, WEB, u16::MAX] {
                assert_eq!(went(low, port), Went::Nowhere(Reason::PassNotAVip), "{low} {port} v6 {is_v6}");
            }
        }
        for low in [0, PREFIX.start - 1, PREFIX.end, 255] {
            assert_eq!(went(low, RANGE.start), Went::Nowhere(Reason::PassNotAVip), "{low} v6 {is_v6}");
        }
        assert!(matches!(went(1, WEB), Went::To(_)), "what is exact is there as ever");
    }
}

#[test]
fn a_connection_is_remembered_by_its_real_port() {
    let director = Director::new();
    let opened: Vec<Went> =
        (0..3).map(|port| director.send(&tcp_to(20, RANGE.start + port, false))).collect();
    assert_eq!(opened, [2, 1, 0].map(Went::To), "three connections of one service");
    assert_eq!(director.send(&tcp_to(20, RANGE.start + 1, false)), Went::To(1), "a repeated SYN");
}

#[test]
fn a_later_fragment_to_a_prefix_is_one_to_a_vip() {
    let director = Director::new();
    let fragment = |low| {
        let mut frame = tcp_to(low, RANGE.start, false);
        frame[21] = 1;
        director.send(&frame)
    };
    assert_eq!(fragment(20), Went::Nowhere(Reason::PassFragment));
    assert_eq!(fragment(PREFIX.end), Went::Nowhere(Reason::PassNotAVip));
}
