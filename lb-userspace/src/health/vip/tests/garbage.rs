//! Frames with anything in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use lb_common::probe::FIRST_PORT;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::timeout;

use super::super::filter::tests::accepts;
use super::super::reply::read;
use super::server::Behaviour;
use super::{Bench, IMPATIENCE, OWN_MAC, PATIENCE, SERVER_MAC};

/// Random bytes behind the beginning of a frame that is none, or one of IPv4 or IPv6, TCP, UDP or ICMP.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![
        Just(&[][..]),
        Just(&[0x81, 0, 0, 1][..]),
        Just(&[8, 0, 0x45, 0, 0, 60][..]),
        Just(&[8, 0, 0x46, 0, 0, 60][..]),
        Just(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20][..]),
    ];
    let protocol = prop_oneof![Just(6_u8), Just(17), Just(1), Just(58), any::<u8>()];
    (vec(any::<u8>(), 0..140), head, protocol, any::<bool>()).prop_map(|(mut frame, head, protocol, zero)| {
        for (place, byte) in frame.iter_mut().skip(12).zip(head) {
            *place = *byte;
        }
        for place in [20, 23] {
            if let Some(place) = frame.get_mut(place) {
                *place = protocol;
            }
        }
        if zero && let Some(fragment) = frame.get_mut(20..22) {
            fragment.fill(0);
        }
        frame
    })
}

/// An answer to a port, in either family.
fn answer(is_v6: bool, is_udp: bool, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let ethernet = PacketBuilder::ethernet2(SERVER_MAC.into_array(), OWN_MAC.into_array());
    let ip = if is_v6 { ethernet.ipv6([1; 16], [2; 16], 64) } else { ethernet.ipv4([1; 4], [2; 4], 64) };
    let written = if is_udp {
        ip.udp(53, port).write(&mut frame, payload)
    } else {
        ip.tcp(80, port, 1, 1024).write(&mut frame, payload)
    };
    written.expect("a vector takes everything");
    frame
}

proptest! {
    #[test]
    fn no_frame_does_harm(frames in vec(garbage(), 1..8)) {
        let bench = Bench::new(Behaviour::Serve);
        for frame in frames {
            let _ = (read(&frame), accepts(&frame));
            bench.demux().deliver(&frame, &bench.ways.borrow());
        }
    }

    #[test]
    fn what_can_be_an_answer_comes_through_the_filter(
        is_v6 in any::<bool>(), is_udp in any::<bool>(), port in any::<u16>(), payload in vec(any::<u8>(), 0..50),
    ) {
        let frame = answer(is_v6, is_udp, port, &payload);
        prop_assert_eq!(accepts(&frame), port >= FIRST_PORT);
        let reply = read(&frame).expect("an answer");
        let vip: IpAddr =
            if is_v6 { Ipv6Addr::from([1; 16]).into() } else { Ipv4Addr::from([1; 4]).into() };
        prop_assert_eq!((reply.vip, reply.number, reply.mac), (vip, port, SERVER_MAC));
    }

    /// Packets of the right addresses and ports, and nothing else of them right.
    #[test]
    fn a_connection_lives_with_damaged_segments(damage in vec((34..80_usize, any::<u8>()), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::new(Behaviour::Serve);
            let path = bench.v4();
            let mut stream = timeout(PATIENCE, path.connect(80)).await.expect("in time").expect("accepted");
            let answered = bench.server.lock().expect("no panic").answered.clone();
            for (place, byte) in damage {
                for frame in &answered {
                    let mut frame = frame.clone();
                    // All but the port that it is for.
                    if let Some(place) = frame.get_mut(place).filter(|_| !(36..38).contains(&place)) {
                        *place = byte;
                    }
                    bench.demux().deliver(&frame, &bench.ways.borrow());
                }
            }
            let _ = timeout(IMPATIENCE / 10, super::read(&mut stream)).await;
        });
    }
}
