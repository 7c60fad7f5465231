//! Real servers that it takes more than new MACs to get to.

use std::vec::Vec;

use lb_common::counter::Reason;
use lb_common::destination::Detour;

use crate::Buffers;
use crate::director::*;

/// What a frame of a new flow to server 2 becomes, sent again so that its connection is established.
fn send(detour: Detour, frame: &[u8]) -> (Went, Vec<u8>) {
    let director = Director::new();
    director.detour(2, detour);
    let first = director.send_and_look(frame);
    assert_eq!(director.send_and_look(frame), first, "the second frame goes where the first went");
    let (packets, _) = director.forwarded.borrow()[&2];
    assert_eq!(packets, 2, "each is counted once");
    first
}

/// `frame` with a tag behind its MACs.
fn tagged(frame: &[u8], control: u16) -> Vec<u8> {
    let control = control.to_be_bytes();
    [&frame[..12], &[0x81, 0x00, control[0], control[1]], &frame[12..]].concat()
}

#[test]
fn a_real_server_behind_another_interface_is_sent_to_out_of_that_one() {
    let frame = udp(1000, WEB);
    let (went, bytes) = send(Detour::NONE.with_interface(PLACE + 1), &frame);
    assert_eq!(went, Went::Through(u32::from(PLACE) + 1, 2));
    assert_eq!(bytes[12..], frame[12..]);
}

#[test]
fn a_frame_that_came_in_where_its_real_server_is_goes_straight_back() {
    let frame = udp(1000, WEB);
    let (went, bytes) = send(Detour::NONE.with_interface(PLACE), &frame);
    assert_eq!(went, Went::To(2));
    assert_eq!(bytes[12..], frame[12..]);
}

#[test]
fn a_real_server_in_another_vlan_gets_its_number_and_the_rest_of_the_tag_is_kept() {
    let frame = udp(1000, WEB);
    let (went, bytes) = send(Detour::NONE.with_vlan(100), &tagged(&frame, 0xb005));
    assert_eq!(went, Went::To(2));
    assert_eq!(bytes[12..], tagged(&frame, 0xb000 | 100)[12..], "priority 5, drop eligible, VLAN 100");
}

#[test]
fn an_untagged_frame_gets_a_tag_for_a_real_server_in_a_vlan() {
    let frame = udp(1000, WEB);
    let (went, bytes) = send(Detour::NONE.with_vlan(100).with_interface(PLACE + 1), &frame);
    assert_eq!(went, Went::Through(u32::from(PLACE) + 1, 2));
    assert_eq!(bytes[12..], tagged(&frame, 100)[12..]);
}

#[test]
fn the_local_stack_gets_its_share_unchanged() {
    let frame = udp(1000, WEB);
    assert_eq!(send(Detour::local(), &frame), (Went::Here, frame));
}

#[test]
fn a_frame_in_several_buffers_gets_its_tag_where_the_ethernet_header_is_in_the_first() {
    let untagged = tcp(1000, WEB, SYN);
    let vlan = Detour::NONE.with_vlan(100);
    for (frame, becomes) in
        [(&untagged, tagged(&untagged, 100)), (&tagged(&untagged, 0xe007), tagged(&untagged, 0xe064))]
    {
        for first in [0, 9, 10, 13, 14, 17, 18, 33, 34, 54] {
            let director = Director::new();
            director.detour(2, vlan);
            let (went, bytes) = director.send_and_look(Buffers::split(frame, first));
            if first + 4 < 14 && *frame == untagged {
                // Nothing can be put in front of what is not in the first buffer (`bpf_xdp_adjust_head`).
                assert_eq!(went, Went::Nowhere(Reason::DropInternal), "{first} bytes");
            } else {
                assert_eq!((went, &bytes[12..]), (Went::To(2), &becomes[12..]), "{first} bytes");
                assert_eq!(bytes[6..12], DIRECTOR);
            }
        }
    }
}
