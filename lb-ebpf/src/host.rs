//! What must hold for any frame whatever: checked here for properties and for fuzzing.

use crate::director::{DIRECTOR, Director};
use crate::network::link;
use crate::plain::{HEAD, plain_v4, plain_v6};
use crate::{Frame, Packet};

use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use network_types::eth::EtherType;
use std::vec::Vec;

/// Sends frames to a director, one after the other, each of them twice.
///
/// In `input` each frame comes after its length, two bytes, little-endian. The highest bit of the length says that its
/// destination MAC stays; otherwise it becomes the director's.
///
/// # Panics
/// If a frame is neither forwarded with new MACs and all else as it was, nor left untouched.
pub fn process_all(mut input: &[u8]) {
    const MAC_STAYS: usize = 1 << 15;
    let director = Director::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        let (frame, rest) = rest.split_at((length & !MAC_STAYS).min(rest.len()));
        let mut frame = frame.to_vec();
        if let Some(mac) = frame.first_chunk_mut().filter(|_| length & MAC_STAYS == 0) {
            *mac = DIRECTOR;
        }
        // The second one finds what the first has left behind.
        director.send(&frame);
        director.send(&frame);
        input = rest;
    }
}

/// Reads a frame's headers.
///
/// # Panics
/// If the packet does not lie in the frame, or the way of plain frames and the complete one differ about it.
pub fn parse(frame: &[u8]) {
    let frame = frame.to_vec();
    let link = link(&frame);
    if link.ether_type == EtherType::Ipv4 as u16 {
        let packet = parse_at::<KEY_WORDS_V4>(&frame, link.offset);
        if let Some(plain) = frame.bytes::<HEAD>(0).filter(|_| link.offset == 14) {
            agree(plain_v4(&frame, plain), packet);
        }
    } else if link.ether_type == EtherType::Ipv6 as u16 {
        let packet = parse_at::<KEY_WORDS_V6>(&frame, link.offset);
        if link.offset == 14 {
            agree(plain_v6(&frame), packet);
        }
    }
}

fn agree<const K: usize>(plain: Option<Packet<K>>, packet: Option<Packet<K>>) {
    assert!(plain.is_none() || plain == packet, "{plain:?} and {packet:?}");
}

/// The packet whose IP header is at `offset`, if there is one with ports.
fn parse_at<const K: usize>(frame: &Vec<u8>, offset: usize) -> Option<Packet<K>> {
    let mut packet = Packet::EMPTY;
    let parsed = crate::parse::parse(frame, offset, &mut packet);
    if parsed.reason().is_some() {
        return None;
    }
    assert!(offset + packet.length() as usize <= frame.len(), "{packet:?} in {} bytes", frame.len());
    (!parsed.is_later_fragment() && !packet.is_error()).then_some(packet)
}
