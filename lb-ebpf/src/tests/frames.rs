//! Frames with anything in them: parse(build(x)) = x, and what no builder would build does no harm.

use std::vec::Vec;

use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder, SingleVlanHeader,
    TcpHeader, VlanHeader, VlanId, VlanPcp,
};
use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6, key_v4, key_v6};
use lb_common::counter::Reason;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::director::{CLIENT, CLIENT_V6, DIRECTOR, Director, HASHED, ROUTER, SYN, VIP, VIP_V6, WEB, Went};
use crate::network::{Link, link};
use crate::parse::parse;
use crate::{Buffers, Packet, host};

/// What a frame is built of.
#[derive(Clone, Debug)]
struct Content {
    tags: Vec<u16>,
    /// Options of IPv4, or lengths of the extension headers of IPv6, in the order of RFC 8200.
    options: Vec<[u8; 4]>,
    extensions: [Option<u8>; 5],
    addresses: [[u8; 16]; 2],
    ports: [u16; 2],
    tcp_flags: Option<u8>,
    payload: Vec<u8>,
    padding: usize,
    id: u32,
    offset: u16,
    more: bool,
}

impl Content {
    fn is_fragment(&self) -> bool {
        self.more || self.offset != 0
    }

    fn protocol(&self) -> u8 {
        if self.tcp_flags.is_some() { 6 } else { 17 }
    }

    /// The frame with these IP headers.
    fn frame(&self, ip: IpHeaders) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(ROUTER, DIRECTOR);
        let tag = |control: u16| SingleVlanHeader {
            pcp: VlanPcp::try_new((control >> 13) as u8).expect("three bits"),
            drop_eligible_indicator: control & 0x1000 != 0,
            vlan_id: VlanId::try_new(control & 0xfff).expect("twelve bits"),
            ..SingleVlanHeader::default()
        };
        let builder = match *self.tags.as_slice() {
            [] => ethernet.ip(ip),
            [only] => ethernet.vlan(VlanHeader::Single(tag(only))).ip(ip),
            [outer, inner, ..] => ethernet
                .vlan(VlanHeader::Double(etherparse::DoubleVlanHeader {
                    outer: tag(outer),
                    inner: tag(inner),
                }))
                .ip(ip),
        };
        let [from, to] = self.ports;
        let mut frame = Vec::new();
        match self.tcp_flags {
            None => builder.udp(from, to).write(&mut frame, &self.payload),
            Some(_) => builder.tcp_header(TcpHeader::new(from, to, 1, 1024)).write(&mut frame, &self.payload),
        }
        .expect("it fits");
        let at = frame.len() - self.payload.len() - TcpHeader::MIN_LEN + 13;
        if let Some(flags) = self.tcp_flags {
            frame[at] = flags;
        }
        frame.resize(frame.len() + self.padding, 0xa5);
        frame
    }

    fn v4(&self) -> Vec<u8> {
        let [source, destination] = self.addresses.map(|address| address[12..].try_into().expect("four"));
        let mut header = Ipv4Header { source, destination, time_to_live: 3, ..Ipv4Header::default() };
        header.identification = self.id as u16;
        header.dont_fragment = !self.is_fragment();
        header.more_fragments = self.more;
        header.fragment_offset = IpFragOffset::try_new(self.offset).expect("thirteen bits");
        header.options = Ipv4Options::try_from(self.options.concat().as_slice()).expect("at most ten words");
        self.frame(IpHeaders::Ipv4(header, Ipv4Extensions::default()))
    }

    fn v6(&self) -> Vec<u8> {
        let [source, destination] = self.addresses;
        let header = Ipv6Header { source, destination, hop_limit: 3, ..Ipv6Header::default() };
        let raw = |words: u8| {
            let content = std::vec![0; 6 + 8 * usize::from(words)];
            Ipv6RawExtHeader::new_raw(IpNumber(0), &content).expect("short")
        };
        let [hop_by_hop, destination_options, routing, auth, last] = self.extensions;
        let extensions = Ipv6Extensions {
            hop_by_hop_options: hop_by_hop.map(raw),
            destination_options: destination_options.map(raw),
            routing: routing.map(|words| Ipv6RoutingExtensions {
                routing: raw(words),
                // An authentication header and a fragment header may follow: six in all.
                final_destination_options: last.filter(|_| destination_options.is_none()).map(raw),
            }),
            // An atomic one, too.
            fragment: (self.is_fragment() || self.id & 1 != 0).then(|| Ipv6FragmentHeader {
                next_header: IpNumber(0),
                fragment_offset: IpFragOffset::try_new(self.offset).expect("thirteen bits"),
                more_fragments: self.more,
                identification: self.id,
            }),
            auth: auth.map(|words| {
                let check = std::vec![0; 4 * usize::from(words)];
                IpAuthHeader::new(IpNumber(0), 1, 2, &check).expect("short")
            }),
        };
        self.frame(IpHeaders::Ipv6(header, extensions))
    }

    /// Reads a frame of this content, and compares.
    fn check<const K: usize>(&self, frame: &[u8], mut key: [u64; K]) -> Result<(), TestCaseError> {
        let mut buffers = Buffers::from(frame);
        let Link { offset, .. } = link(&mut buffers);
        prop_assert_eq!(offset, 14 + 4 * self.tags.len());
        let length = (frame.len() - self.padding - offset) as u32;
        let mut packet = Packet::EMPTY;
        let parsed = parse(&mut buffers, offset, &mut packet);
        prop_assert_eq!(parsed.reason(), None);
        prop_assert_eq!(parsed.is_first_fragment(), self.more && self.offset == 0);
        prop_assert_eq!(parsed.is_later_fragment(), self.offset != 0);
        if self.offset != 0 {
            if K == KEY_WORDS_V6 {
                // Whatever follows the fragment header.
                key[K - 1] = packet.key[K - 1];
            }
            key[K - 1] &= !0xffff_ffff;
            prop_assert_eq!(packet, Packet::new(key, 0, length));
        } else {
            prop_assert_eq!(packet, Packet::new(key, self.tcp_flags.unwrap_or(0), length));
        }
        if self.is_fragment() {
            let id = if K == KEY_WORDS_V4 { u32::from((self.id as u16).to_be()) } else { self.id.to_be() };
            prop_assert_eq!(parsed.datagram(), id);
        }
        host::parse(frame);
        Ok(())
    }

    fn port_words(&self) -> u32 {
        let [from, to] = self.ports.map(u16::to_be_bytes);
        u32::from_le_bytes([from[0], from[1], to[0], to[1]])
    }
}

prop_compose! {
    fn any_content()(
        tags in vec(any::<u16>(), 0..=2),
        options in vec(any::<[u8; 4]>(), 0..=10),
        extensions in any::<[Option<u8>; 5]>().prop_map(|all| all.map(|words| words.map(|words| words & 31))),
        addresses: [[u8; 16]; 2],
        ports: [u16; 2],
        tcp_flags: Option<u8>,
        payload in vec(any::<u8>(), 0..64),
        padding in 0usize..64,
        id: u32,
        offset in prop_oneof![3 => Just(0u16), 1 => 0u16..8192],
        more in prop::bool::weighted(0.2),
    ) -> Content {
        Content { tags, options, extensions, addresses, ports, tcp_flags, payload, padding, id, offset, more }
    }
}

prop_compose! {
    /// The same for one of the director's services.
    fn content_for_a_vip()(
        content in any_content(), client: u8, service in prop::sample::select(&[WEB, HASHED][..]), is_v6: bool,
    ) -> (Content, bool) {
        let mut addresses = [CLIENT_V6, VIP_V6];
        if !is_v6 {
            addresses[0][12..].copy_from_slice(&CLIENT);
            addresses[1][12..].copy_from_slice(&VIP);
        }
        addresses[0][15] = client;
        let ports = [content.ports[0], service];
        (Content { addresses, ports, ..content }, is_v6)
    }
}

/// A change to a frame: a byte, a bit, its end, or a piece of it twice.
fn mutate(frame: &mut Vec<u8>, (kind, at, byte): (u8, prop::sample::Index, u8)) {
    if frame.len() < 15 {
        return;
    }
    let at = at.index(frame.len());
    match kind % 6 {
        0 => frame[at] = byte,
        1 => frame[at] ^= 1 << (byte & 7),
        2 => frame.truncate(at),
        3 => frame.resize(frame.len() + usize::from(byte), byte),
        4 => frame.insert(at, byte),
        _ => {
            let piece = frame[at..frame.len().min(at + usize::from(byte))].to_vec();
            frame.splice(at..at, piece);
        }
    }
}

/// An IPv4 frame to the VIP, padded with what could be headers.
fn padded(protocol: u8, place: u16, payload: &[u8], padding: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header { source: CLIENT, destination: VIP, ..Ipv4Header::default() };
    header.protocol = IpNumber(protocol);
    header.identification = 7;
    header.more_fragments = place == 0;
    header.fragment_offset = IpFragOffset::try_new(place).expect("thirteen bits");
    header.set_payload_len(payload.len()).expect("short");
    [&DIRECTOR[..], &ROUTER, &[8, 0], &header.to_bytes(), payload, padding].concat()
}

/// Ports and flags of a first fragment were read wherever the frame had bytes: a fragment without a TCP header opened
/// the connection that its padding spoke of.
#[test]
fn what_is_missing_from_a_first_fragment_is_not_read_in_the_padding() {
    let director = Director::new();
    let header = [0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
    let malformed = Went::Nowhere(Reason::PassMalformed);
    assert_eq!(director.send(&padded(6, 0, &[], &header)), malformed);
    assert_eq!(director.send(&padded(6, 0, &header[..8], &header[8..])), malformed);
    assert_eq!(director.send(&padded(6, 0, &header, &[])), Went::To(2));
}

/// The first fragment of an ICMP error was remembered under the flow that it is about: whoever sent one first could
/// lead the other fragments of a client's datagram to another real server.
#[test]
fn a_fragmented_icmp_error_does_not_lead_fragments_of_the_flow_it_is_about() {
    let director = Director::new();
    let about =
        [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0], &VIP[..], &CLIENT, &[0, 80, 0x9c, 0x40]].concat();
    let error = [&[3, 4, 0, 0, 0, 0, 5, 120], about.as_slice()].concat();
    assert_eq!(director.tcp(40_000, WEB, SYN), Went::To(2));
    assert_eq!(director.send(&padded(1, 0, &error, &[])), Went::To(2));
    assert_eq!(director.send(&padded(6, 9, &[0; 8], &[])), Went::Nowhere(Reason::PassFragment));
}

/// Nor are the ports of the packet that an ICMP error is about.
#[test]
fn what_an_icmp_error_does_not_quote_is_not_read_in_the_padding() {
    let director = Director::new();
    let about =
        [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0], &VIP[..], &CLIENT, &[0, 80, 0x9c, 0x40]].concat();
    let error = [&[3, 4, 0, 0, 0, 0, 5, 120], about.as_slice()].concat();
    assert_eq!(director.tcp(40_000, WEB, SYN), Went::To(2));
    let mut frame = padded(1, 1, &error[..28], &error[28..]);
    frame[20..22].fill(0);
    assert_eq!(director.send(&frame), Went::Nowhere(Reason::PassMalformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_was_built_is_read_from_an_ipv4_frame(content in any_content()) {
        let bytes = content.addresses.map(|address| <[u8; 4]>::try_from(&address[12..]).expect("four"));
        let addresses = u64::from_le_bytes(bytes.concat().try_into().expect("eight"));
        content.check(&content.v4(), key_v4(addresses, content.port_words(), content.protocol()))?;
    }

    #[test]
    fn what_was_built_is_read_from_an_ipv6_frame(content in any_content()) {
        let all = content.addresses.concat();
        let word = |i: usize| u64::from_le_bytes(all[8 * i..][..8].try_into().expect("eight"));
        let addresses = [word(0), word(1), word(2), word(3)];
        content.check(&content.v6(), key_v6(addresses, content.port_words(), content.protocol()))?;
    }

    /// No panic, and no change but the MACs of what is forwarded, in however many buffers it lies.
    #[test]
    fn mutated_frames_are_forwarded_or_untouched(
        frames in vec((content_for_a_vip(), vec(any::<(u8, prop::sample::Index, u8)>(), 0..4)), 1..6),
    ) {
        let (director, other) = (Director::new(), Director::new());
        for ((content, is_v6), changes) in frames {
            let mut frame = if is_v6 { content.v6() } else { content.v4() };
            changes.into_iter().for_each(|change| mutate(&mut frame, change));
            prop_assert_eq!(director.send(&frame), other.send(host::in_buffers(&frame)));
            host::parse(&frame);
        }
    }

    #[test]
    fn bytes_that_mean_nothing_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        host::process_all(&bytes);
        host::parse(&bytes);
    }
}
