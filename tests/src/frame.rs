//! Frames: building them byte by byte right, and telling what one is.

use std::net::Ipv4Addr;

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, LinkSlice, NetSlice, PacketBuilder,
    SingleVlanHeader, SlicedPacket, TcpHeader, TcpSlice, TransportSlice, VlanHeader, VlanId,
};

use crate::host::Host;
use crate::link::Mac;

/// TCP's FIN flag.
pub const FIN: u8 = 0x01;
/// TCP's SYN flag.
pub const SYN: u8 = 0x02;
/// TCP's RST flag.
pub const RST: u8 = 0x04;
/// TCP's PSH flag.
pub const PSH: u8 = 0x08;
/// TCP's ACK flag.
pub const ACK: u8 = 0x10;

/// IEEE 802's local experimental EtherType 1: no host of a lab answers it.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The Ethernet address on the wire: a VIP's is the director's.
    pub mac: Mac,
    /// The IP address.
    pub address: Ipv4Addr,
    /// The port; nothing to protocols without ports.
    pub port: u16,
}

impl Endpoint {
    /// An end with these addresses.
    pub fn new(mac: Mac, address: Ipv4Addr, port: u16) -> Self {
        Self { mac, address, port }
    }

    /// A host with its own addresses.
    pub fn of(host: &Host, port: u16) -> Self {
        Self::new(host.mac(), host.address(), port)
    }
}

/// An IPv4 frame in the making. [`tcp`](Self::tcp), [`udp`](Self::udp) and [`ip`](Self::ip) give its bytes,
/// with right lengths and checksums.
#[derive(Debug, Clone)]
pub struct Frame {
    from: Endpoint,
    to: Endpoint,
    vlan: Option<u16>,
    header: Ipv4Header,
    sequence: u32,
    acknowledgment: u32,
    window: u16,
}

impl Frame {
    /// A frame from one end to the other, with TTL 64.
    pub fn between(from: Endpoint, to: Endpoint) -> Self {
        let header = Ipv4Header {
            time_to_live: 64,
            dont_fragment: true,
            source: from.address.octets(),
            destination: to.address.octets(),
            ..Ipv4Header::default()
        };
        Self { from, to, vlan: None, header, sequence: 0, acknowledgment: 0, window: 64_240 }
    }

    /// The IP header's time to live.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.header.time_to_live = ttl;
        self
    }

    /// The IP header's identification, by which fragments belong together.
    pub fn identification(mut self, identification: u16) -> Self {
        self.header.identification = identification;
        self
    }

    /// Makes it a fragment: `offset` in units of 8 bytes (below 8192), and whether more follow.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.header.dont_fragment = false;
        self.header.more_fragments = more;
        self.header.fragment_offset = IpFragOffset::try_from(offset).unwrap_or(IpFragOffset::ZERO);
        self
    }

    /// The IP header's options: a multiple of 4 bytes, at most 40. Others are left out.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.header.options = Ipv4Options::try_from(options).unwrap_or_default();
        self
    }

    /// Tags the frame with a VLAN (below 4096).
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// TCP's sequence and acknowledgment numbers.
    pub fn numbers(mut self, sequence: u32, acknowledgment: u32) -> Self {
        (self.sequence, self.acknowledgment) = (sequence, acknowledgment);
        self
    }

    /// TCP's window.
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// The frame with a TCP segment; `flags` are [`SYN`] and others.
    pub fn tcp(self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.from.port, self.to.port, self.sequence, self.window);
        tcp.acknowledgment_number = self.acknowledgment;
        tcp.fin = flags & FIN != 0;
        tcp.syn = flags & SYN != 0;
        tcp.rst = flags & RST != 0;
        tcp.psh = flags & PSH != 0;
        tcp.ack = flags & ACK != 0;
        let segment = tcp.header_len() + payload.len();
        let mut bytes = Vec::with_capacity(segment);
        // The lengths fit: no frame of a lab is longer than IP allows.
        tcp.checksum = tcp.calc_checksum_ipv4(&self.header, payload).unwrap_or_default();
        bytes.extend_from_slice(&tcp.to_bytes());
        bytes.extend_from_slice(payload);
        self.ip(IpNumber::TCP.0, &bytes)
    }

    /// The frame with a UDP datagram.
    pub fn udp(self, payload: &[u8]) -> Vec<u8> {
        let (from, to) = (self.from.port, self.to.port);
        let header = etherparse::UdpHeader::with_ipv4_checksum(from, to, &self.header, payload);
        let mut bytes = header.map(|header| header.to_bytes().to_vec()).unwrap_or_default();
        bytes.extend_from_slice(payload);
        self.ip(IpNumber::UDP.0, &bytes)
    }

    /// The frame with any IP payload.
    pub fn ip(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(self.from.mac.0, self.to.mac.0);
        let ip = IpHeaders::Ipv4(self.header, Default::default());
        let builder = match self.vlan {
            None => ethernet.ip(ip),
            Some(id) => {
                let vlan_id = VlanId::try_from(id).unwrap_or(VlanId::ZERO);
                let tag = SingleVlanHeader { vlan_id, ..SingleVlanHeader::default() };
                ethernet.vlan(VlanHeader::Single(tag)).ip(ip)
            }
        };
        let mut bytes = Vec::new();
        // Writing to a vector fails only for lengths that do not fit, which give an empty frame.
        _ = builder.write_to_vec(&mut bytes, IpNumber(protocol), payload);
        bytes
    }
}

/// A frame of a protocol that nobody speaks. Sent after others, it tells a capture that they have passed.
pub fn marker(from: Mac, to: Mac, text: &[u8]) -> Vec<u8> {
    [&to.0, &from.0, EXPERIMENTAL.as_slice(), text].concat()
}

/// What a frame is, in one line.
pub fn describe(frame: &[u8]) -> String {
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
        return format!("{} bytes that are no frame: {frame:02x?}", frame.len());
    };
    let mut text = String::new();
    if let Some(LinkSlice::Ethernet2(link)) = &packet.link {
        text = format!("{} > {}", Mac(link.source()), Mac(link.destination()));
    }
    for id in packet.vlan_ids() {
        text += &format!(" vlan {}", id.value());
    }
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        let protocol = packet.payload_ether_type().map_or(0, |protocol| protocol.0);
        let protocol = if let Some(NetSlice::Arp(_)) = packet.net {
            "ARP".into()
        } else {
            format!("type {protocol:#06x}")
        };
        return format!("{text} {protocol}, {} bytes", frame.len());
    };
    let header = ip.header();
    let (source, destination) = (header.source_addr(), header.destination_addr());
    text += &match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let (from, to) = (tcp.source_port(), tcp.destination_port());
            let (sequence, flags) = (tcp.sequence_number(), flags(tcp));
            format!(
                " {source}:{from} > {destination}:{to} tcp {flags} seq {sequence}, {} data",
                tcp.payload().len()
            )
        }
        Some(TransportSlice::Udp(udp)) => {
            let (from, to) = (udp.source_port(), udp.destination_port());
            format!(" {source}:{from} > {destination}:{to} udp, {} data", udp.payload().len())
        }
        _ => format!(" {source} > {destination} protocol {}", header.protocol().0),
    };
    format!("{text}, ttl {}, {} bytes", header.ttl(), frame.len())
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let flags =
        [(tcp.syn(), "SYN"), (tcp.ack(), "ACK"), (tcp.psh(), "PSH"), (tcp.fin(), "FIN"), (tcp.rst(), "RST")];
    let set: Vec<_> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    set.join("+")
}
