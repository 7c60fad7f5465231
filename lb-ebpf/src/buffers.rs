//! A frame on the host, in one buffer or, as jumbo frames come, in several.

use alloc::vec::Vec;

use network_types::eth::EthHdr;

use crate::frame::LONGEST_HEADER;
use crate::network::{Extensions, VLAN_TAG, walk_extensions};
use crate::parse::{Parsed, parse};
use crate::{Frame, Packet};

/// A frame of which the bytes of the first buffer can be read directly, and all others through [`Frame::fetch`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffers {
    bytes: Vec<u8>,
    /// How many of them are in the first buffer.
    first: usize,
}

impl Buffers {
    /// A frame with `first` bytes in the first buffer, or all if it is shorter.
    #[must_use]
    pub fn split(bytes: &[u8], first: usize) -> Self {
        Self { bytes: bytes.to_vec(), first: first.min(bytes.len()) }
    }

    /// All of its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// In one buffer.
impl<B: AsRef<[u8]> + ?Sized> From<&B> for Buffers {
    fn from(bytes: &B) -> Self {
        Self::split(bytes.as_ref(), usize::MAX)
    }
}

impl Frame for Buffers {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.bytes.get(offset..self.first)?.first_chunk()
    }

    fn fetch<const N: usize>(&mut self, offset: usize) -> Option<&[u8; N]> {
        const { assert!(N <= LONGEST_HEADER, "in the kernel a copy has a place") };
        self.bytes.get(offset..)?.first_chunk()
    }

    fn has(&self, length: usize) -> bool {
        length <= self.bytes.len()
    }

    fn parse<const K: usize>(&mut self, offset: usize, packet: &mut Packet<K>) -> Parsed {
        parse(self, offset, packet)
    }

    fn extensions(&mut self, offset: usize, next: u8) -> Extensions {
        walk_extensions(self, offset, next)
    }

    fn hold<const K: usize>(&self, _packet: &Packet<K>, _id: u32) -> bool {
        // There is no daemon.
        false
    }

    fn set_macs(&mut self, head: u64, tail: u32) -> bool {
        let Some(macs) = self.bytes.first_chunk_mut::<12>() else { return false };
        let (first, rest) = macs.split_at_mut(8);
        first.copy_from_slice(&head.to_le_bytes());
        rest.copy_from_slice(&tail.to_le_bytes());
        true
    }

    fn set_u16(&mut self, offset: usize, value: [u8; 2]) -> bool {
        let Some(place) = self.bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut) else {
            return false;
        };
        *place = value;
        true
    }

    fn overwrite<const N: usize>(&mut self, offset: usize, words: &[u64; N], length: usize) -> bool {
        let Some(place) = self.bytes.get_mut(offset..offset + length) else { return false };
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        true
    }

    fn cut(&mut self, length: usize) -> bool {
        let has_them = self.has(length);
        self.bytes.truncate(length);
        self.first = self.first.min(length);
        has_them
    }

    fn make_room_for_tag(&mut self) -> bool {
        // As `bpf_xdp_adjust_head` has it: the first buffer must hold an Ethernet header.
        if self.first + VLAN_TAG < EthHdr::LEN {
            return false;
        }
        self.bytes.splice(0..0, [0; VLAN_TAG]);
        self.first += VLAN_TAG;
        true
    }
}
