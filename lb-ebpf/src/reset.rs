//! The answer to a segment whose real server is down: a TCP reset, in the frame that the segment came in.
//!
//! ```text
//!   │ MACs │ tags │ IP │ options │ TCP │ data …      the segment
//!   │ MACs │ tags │ IP │ TCP │                       the reset: MACs, addresses and ports change places
//! ```

use core::mem::offset_of;

use lb_common::connection::state::flags;
use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::interface::MAC_MASK;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;

use crate::Frame;
use crate::frame::Words;
use crate::network::{Network, link, network};
use crate::tables::Tables;

/// Turns the frame into the answer to the segment in it; says whether it did. If not, the frame is as it was.
#[inline(always)]
pub fn answer_with_reset<F: Frame, T: Tables>(frame: &mut F, place: usize, tables: &T) -> bool {
    let Some(interface) = tables.settings().and_then(|settings| settings.interfaces.get(place)) else {
        return false;
    };
    let own = interface.mac.load();
    let link = link(frame);
    let Some(ethernet) = frame.fetch::<{ EthHdr::LEN }>(0) else { return false };
    let sender = ethernet.u64_at(offset_of!(EthHdr, src_addr)) & MAC_MASK;
    let answered = if link.ether_type == EtherType::Ipv4 as u16 {
        answer_v4(frame, link.offset)
    } else if link.ether_type == EtherType::Ipv6 as u16 {
        answer_v6(frame, link.offset)
    } else {
        false
    };
    answered && frame.set_macs(sender | own << 48, (own >> 16) as u32)
}

// Headers are made as words, little-endian: bytes on the stack are written in words that lie anywhere, which the verifier
// refuses (6.18: "misaligned stack access").

/// Sent with the hop limit that Linux gives its own (`net.ipv4.ip_default_ttl`).
const HOPS: u8 = 64;
const TCP: u8 = IpProto::Tcp as u8;

#[inline(always)]
fn answer_v4<F: Frame>(frame: &mut F, offset: usize) -> bool {
    const LENGTH: u8 = (Ipv4Hdr::LEN + TcpHdr::LEN) as u8;
    // No options, don't fragment, identification 0 (RFC 6864, section 4.1), as Linux sends its own.
    const START: u64 = u64::from_le_bytes([0x45, 0, 0, LENGTH, 0, 0, 0x40, 0]);
    const MIDDLE: u64 = u64::from_le_bytes([HOPS, TCP, 0, 0, 0, 0, 0, 0]);
    let Ok(network) = network::<KEY_WORDS_V4, F>(frame, offset) else { return false };
    let Some(reset) = Reset::of(frame, &network) else { return false };
    let addresses = network.key[0].rotate_left(32);
    let check = checksum(halves(START) + halves(MIDDLE) + halves(addresses));
    let answer = [
        START,
        MIDDLE | u64::from(check) << 16 | addresses << 32,
        addresses >> 32 | u64::from(reset.ports) << 32,
        u64::from(reset.sequence) | u64::from(reset.acknowledged) << 32,
        u64::from(reset.flags) | u64::from(reset.checksum(halves(addresses))) << 32,
    ];
    frame.cut(offset + usize::from(LENGTH)) && frame.overwrite(offset, &answer, usize::from(LENGTH))
}

#[inline(always)]
fn answer_v6<F: Frame>(frame: &mut F, offset: usize) -> bool {
    const LENGTH: usize = Ipv6Hdr::LEN + TcpHdr::LEN;
    const START: u64 = u64::from_le_bytes([0x60, 0, 0, 0, 0, TcpHdr::LEN as u8, TCP, HOPS]);
    let Ok(network) = network::<KEY_WORDS_V6, F>(frame, offset) else { return false };
    let Some(reset) = Reset::of(frame, &network) else { return false };
    let [a, b, c, d, _] = network.key;
    let check = reset.checksum(halves(a) + halves(b) + halves(c) + halves(d));
    let answer = [
        START,
        c,
        d,
        a,
        b,
        u64::from(reset.ports) | u64::from(reset.sequence) << 32,
        u64::from(reset.acknowledged) | u64::from(reset.flags) << 32,
        u64::from(check),
    ];
    frame.cut(offset + LENGTH) && frame.overwrite(offset, &answer, LENGTH)
}

/// The header of a reset: words of four bytes as they lie in it, but for the last one's checksum.
struct Reset {
    ports: u32,
    sequence: u32,
    acknowledged: u32,
    flags: u32,
}

/// Places in a TCP header (RFC 9293, section 3.1).
const SEQUENCE: usize = 4;
const ACKNOWLEDGED: usize = 8;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;

impl Reset {
    /// What answers a segment (RFC 9293, section 3.10.7.1); `None` for what is no segment, or not all of one.
    #[inline(always)]
    fn of<const K: usize, F: Frame>(frame: &mut F, network: &Network<K>) -> Option<Self> {
        if network.protocol() != TCP || network.fragment.is_some() {
            return None;
        }
        let segment = frame.fetch::<{ TcpHdr::LEN }>(network.transport)?;
        let set = segment[FLAGS];
        let header = u32::from(segment[DATA_OFFSET] >> 4) * 4;
        // A reset is never answered.
        if set & flags::RST != 0
            || (header as usize) < TcpHdr::LEN
            || network.length < network.header + header
        {
            return None;
        }
        let ports = segment.u32_at(0).rotate_left(16);
        let with = |flags: u8| u32::from_le_bytes([(TcpHdr::LEN as u8 / 4) << 4, flags, 0, 0]);
        if set & flags::ACK != 0 {
            let sequence = segment.u32_at(ACKNOWLEDGED);
            return Some(Self { ports, sequence, acknowledged: 0, flags: with(flags::RST) });
        }
        let marks = u32::from(set & flags::SYN != 0) + u32::from(set & flags::FIN != 0);
        let length = network.length - network.header - header + marks;
        let acknowledged = u32::from_be(segment.u32_at(SEQUENCE)).wrapping_add(length).to_be();
        Some(Self { ports, sequence: 0, acknowledged, flags: with(flags::RST | flags::ACK) })
    }

    /// Its checksum: `addresses` is the sum of both.
    #[inline(always)]
    fn checksum(&self, addresses: u64) -> u16 {
        let words = [self.ports, self.sequence, self.acknowledged, self.flags].map(u64::from);
        // The pseudo header's protocol and length: big-endian, where what is summed is little-endian.
        const PSEUDO: u64 = ((TCP as u64) << 8) + ((TcpHdr::LEN as u64) << 8);
        checksum(addresses + PSEUDO + words[0] + words[1] + words[2] + words[3])
    }
}

/// Both halves of a word, added.
#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word >> 32) + (word & 0xffff_ffff)
}

/// The checksum of words with this sum, in the byte order that they were read in (RFC 1071, section 2 B).
#[inline(always)]
const fn checksum(sum: u64) -> u16 {
    // Below 2^36, so that these carries are all.
    let sum = halves(sum);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}
