//! What must hold for any frame whatever: checked here for properties and for fuzzing.

use crate::director::{DIRECTOR, Director};
use crate::network::link;
use crate::plain::{HEAD, plain_v4, plain_v6};
use crate::{Buffers, Frame, Packet};

use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use network_types::eth::EtherType;

/// Sends frames to a director, one after the other, each of them twice; and to another director in several buffers.
///
/// In `input` each frame comes after its length, two bytes, little-endian. The highest bit of the length says that its
/// destination MAC stays; otherwise it becomes the director's.
///
/// # Panics
/// If a frame is neither forwarded with new MACs and all else as it was, nor left untouched; or if it matters in how
/// many buffers it lies.
pub fn process_all(mut input: &[u8]) {
    const MAC_STAYS: usize = 1 << 15;
    let (director, other) = (Director::new(), Director::new());
    while let Some((length, rest)) = input.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        let (frame, rest) = rest.split_at((length & !MAC_STAYS).min(rest.len()));
        let mut frame = frame.to_vec();
        if let Some(mac) = frame.first_chunk_mut().filter(|_| length & MAC_STAYS == 0) {
            *mac = DIRECTOR;
        }
        // The second one finds what the first has left behind.
        for _ in 0..2 {
            assert_eq!(director.send(&frame), other.send(in_buffers(&frame)), "{frame:02x?}");
        }
        input = rest;
    }
}

/// A frame in several buffers: its last byte says how much of it is in the first.
pub(crate) fn in_buffers(frame: &[u8]) -> Buffers {
    // The borders of interest are those of the headers.
    const SOME_HEADERS: u8 = 96;
    Buffers::split(frame, frame.last().map_or(0, |last| (last % SOME_HEADERS).into()))
}

/// Reads a frame's headers.
///
/// # Panics
/// If the packet does not lie in the frame, or the way of plain frames and the complete one differ about it.
pub fn parse(frame: &[u8]) {
    let link = link(&mut Buffers::from(frame));
    if link.ether_type == EtherType::Ipv4 as u16 {
        let packet = parse_at::<KEY_WORDS_V4>(frame, link.offset);
        each_way(frame, |buffers| {
            let head = buffers.bytes::<HEAD>(0).filter(|_| link.offset == 14);
            agree(head.and_then(|head| plain_v4(buffers, head)), packet);
        });
    } else if link.ether_type == EtherType::Ipv6 as u16 {
        let packet = parse_at::<KEY_WORDS_V6>(frame, link.offset);
        each_way(frame, |buffers| agree(plain_v6(buffers).filter(|_| link.offset == 14), packet));
    }
}

/// Lays a frame into one buffer, and into several.
fn each_way(frame: &[u8], check: impl Fn(&Buffers)) {
    check(&frame.into());
    check(&in_buffers(frame));
}

fn agree<const K: usize>(plain: Option<Packet<K>>, packet: Option<Packet<K>>) {
    assert!(plain.is_none() || plain == packet, "{plain:?} and {packet:?}");
}

/// The packet whose IP header is at `offset`, if there is one with ports.
fn parse_at<const K: usize>(frame: &[u8], offset: usize) -> Option<Packet<K>> {
    let read = |mut buffers: Buffers| {
        let mut packet = Packet::EMPTY;
        (crate::parse::parse(&mut buffers, offset, &mut packet), packet)
    };
    let (parsed, packet) = read(frame.into());
    assert_eq!(read(in_buffers(frame)), (parsed, packet), "it does not matter where the bytes lie");
    if parsed.reason().is_some() {
        return None;
    }
    assert!(offset + packet.length() as usize <= frame.len(), "{packet:?} in {} bytes", frame.len());
    (!parsed.is_later_fragment() && !packet.is_error()).then_some(packet)
}
