//! The bytes of a frame, wherever they lie.

use network_types::ip::Ipv6Hdr;

use crate::Packet;
use crate::network::Extensions;
use crate::parse::Parsed;

/// Bytes of the longest header that is read as one: IPv6's.
pub(crate) const LONGEST_HEADER: usize = Ipv6Hdr::LEN;

/// A frame whose first byte is that of the Ethernet header.
pub trait Frame {
    /// The `N` bytes at `offset`; `None` if they reach beyond what can be read directly.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// The `N` bytes at `offset`, if need be in a copy: a jumbo frame lies in several buffers, of which the first can be
    /// of any length. `None` if the frame does not have them. `N` is at most [`LONGEST_HEADER`].
    fn fetch<const N: usize>(&mut self, offset: usize) -> Option<&[u8; N]>;

    /// Whether the frame has `length` bytes, those that cannot be read directly among them.
    fn has(&self, length: usize) -> bool;

    /// [`parse`](crate::parse::parse), out of line in the kernel.
    fn parse<const K: usize>(&mut self, offset: usize, packet: &mut Packet<K>) -> Parsed;

    /// [`walk_extensions`](crate::network::walk_extensions), out of line in the kernel.
    fn extensions(&mut self, offset: usize, next: u8) -> Extensions;

    /// Gives the frame, a fragment of the datagram `id`, to the daemon to hold; says whether there was room.
    fn hold<const K: usize>(&self, packet: &Packet<K>, id: u32) -> bool;

    /// Overwrites both MACs: `head` is bytes 0 to 7, the low half of `tail` bytes 8 to 11
    /// ([`lb_common::destination::ethernet_words`]). Says whether the frame was long enough.
    fn set_macs(&mut self, head: u64, tail: u32) -> bool;

    /// Overwrites two bytes at `offset`. Says whether the frame was long enough.
    fn set_u16(&mut self, offset: usize, value: [u8; 2]) -> bool;

    /// Overwrites `length` bytes at `offset`, wherever they lie, with those of little-endian words. Says whether the
    /// frame was long enough.
    fn overwrite<const N: usize>(&mut self, offset: usize, words: &[u64; N], length: usize) -> bool;

    /// Cuts the frame off after `length` bytes. Says whether it had as many; if not, it is as it was.
    fn cut(&mut self, length: usize) -> bool;

    /// Makes room for a VLAN tag behind the MACs, which are lost. Says whether there was room in front of the frame, and
    /// enough of the frame in the first buffer.
    fn make_room_for_tag(&mut self) -> bool;
}

/// Reads a little-endian word out of bytes of known length: one load, whatever its alignment.
///
/// The offsets are constants, so that the bounds checks vanish; a word beyond the end reads as 0.
pub(crate) trait Words {
    fn u16_at(&self, offset: usize) -> u16;
    fn u32_at(&self, offset: usize) -> u32;
    fn u64_at(&self, offset: usize) -> u64;
}

macro_rules! word_at {
    ($name:ident, $word:ty) => {
        #[inline(always)]
        fn $name(&self, offset: usize) -> $word {
            match self.get(offset..).and_then(<[u8]>::first_chunk) {
                Some(bytes) => <$word>::from_le_bytes(*bytes),
                None => 0,
            }
        }
    };
}

impl<const N: usize> Words for [u8; N] {
    word_at!(u16_at, u16);
    word_at!(u32_at, u32);
    word_at!(u64_at, u64);
}
