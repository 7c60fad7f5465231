//! Questions to a segment, and what may be heard in answer, as frames. Pure.
//!
//! No question changes what anybody believes: an ARP question for a VIP has no sender (an ARP probe, RFC 5227, section
//! 2.1.1), and one of IPv6 the director's own address, since the answer to one without a sender goes to all nodes and
//! overrides what they know (RFC 4861, section 7.2.4).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, Ethernet2Header, Icmpv4Type, Icmpv6Type, IpHeaders, LaxNetSlice,
    LaxSlicedPacket, PacketBuilder, PacketBuilderStep, TransportSlice, UdpHeader,
};
use macaddr::MacAddr6;

const BROADCAST: [u8; 6] = [0xff; 6];
/// Receivers drop neighbour discovery that may have come through a router (RFC 4861, section 7.1.1).
const NOT_ROUTED: u8 = 255;
const TTL: u8 = 64;
/// Where nobody listens: traceroute's first port.
const CLOSED: u16 = 33434;
const SHORTEST: usize = 60;
/// The lengths of headers.
const ICMP_V4: usize = 20 + 8;
const ICMP_V6: usize = 40 + 8;
/// `SOURCE_LINK_LAYER_ADDRESS` of one unit, and `TARGET_…` (RFC 4861, section 4.6.1).
const SOURCE_OPTION: [u8; 2] = [1, 1];

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) mac: MacAddr6,
    /// Addresses that are not VIPs; none, and nothing of that family can be asked.
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

/// What is asked. `token` tells the answers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Who has the address; asked of everybody, or of this MAC.
    WhoHas { address: IpAddr, at: Option<MacAddr6>, is_vip: bool },
    /// A TCP SYN for the address at this MAC.
    Connect { address: IpAddr, port: u16, at: MacAddr6, token: u16 },
    /// An ICMP echo request for the address at this MAC, as a packet of so many bytes.
    Echo { address: IpAddr, at: MacAddr6, token: u16, length: usize },
    /// A UDP datagram for the address at this MAC, to a port where nobody listens.
    Datagram { address: IpAddr, at: MacAddr6, token: u16 },
}

/// What was said, and at which MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) mac: MacAddr6,
    pub(crate) said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The address is at the MAC.
    Has(IpAddr),
    /// A SYN-ACK, with what it acknowledges.
    SynAck { from: IpAddr, port: u16, token: u16, next: u32 },
    /// A TCP reset.
    Reset { from: IpAddr, token: u16 },
    /// An echo reply.
    Echo { from: IpAddr, token: u16 },
    /// Nobody listens for what was sent to the address.
    Unreachable { address: IpAddr, token: u16 },
}

/// As evidence.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Has(_) => "says that it has it",
            Self::SynAck { .. } => "accepts TCP connections",
            Self::Reset { .. } => "resets TCP connections",
            Self::Echo { .. } => "answers echo requests",
            Self::Unreachable { .. } => "says that a UDP port is closed",
        })
    }
}

impl Question {
    /// Whether more than one answer may come.
    pub(crate) fn is_for_everybody(&self) -> bool {
        matches!(self, Self::WhoHas { at: None, .. })
    }

    pub(crate) fn is_answered_by(&self, heard: &Heard) -> bool {
        match (*self, heard.said) {
            (Self::WhoHas { address, at, .. }, Said::Has(found)) => {
                address == found && at.is_none_or(|at| at == heard.mac)
            }
            (
                Self::Connect { address, token, .. },
                Said::SynAck { from, token: found, .. } | Said::Reset { from, token: found },
            )
            | (Self::Echo { address, token, .. }, Said::Echo { from, token: found })
            | (Self::Datagram { address, token, .. }, Said::Unreachable { address: from, token: found }) => {
                address == from && token == found
            }
            _ => false,
        }
    }

    /// The frame that asks; none if the asker has no address of this family.
    pub(crate) fn frame(&self, asker: &Asker) -> io::Result<Option<Vec<u8>>> {
        let mut frame = Vec::with_capacity(SHORTEST);
        match *self {
            Self::WhoHas { address: IpAddr::V4(address), at, is_vip } => {
                let sender = if is_vip { Some(Ipv4Addr::UNSPECIFIED) } else { asker.v4 };
                let Some(sender) = sender else { return Ok(None) };
                arp_request(&mut frame, asker.mac, sender, address, at)?;
            }
            Self::WhoHas { address: IpAddr::V6(address), at, .. } => {
                let Some(sender) = asker.v6 else { return Ok(None) };
                solicitation(&mut frame, asker.mac, sender, address, at)?;
            }
            Self::Connect { address, port, at, token } => {
                let Some(packet) = asker.packet(address, at) else { return Ok(None) };
                let sequence = u32::from(token) << 8;
                packet
                    .tcp(token, port, sequence, 1024)
                    .syn()
                    .write(&mut frame, &[])
                    .map_err(io::Error::other)?;
            }
            Self::Echo { address, at, token, length } => {
                let Some(packet) = asker.packet(address, at) else { return Ok(None) };
                if address.is_ipv4() {
                    let data = vec![0; length.saturating_sub(ICMP_V4)];
                    packet
                        .icmpv4_echo_request(token, 1)
                        .write(&mut frame, &data)
                        .map_err(io::Error::other)?;
                } else {
                    let data = vec![0; length.saturating_sub(ICMP_V6)];
                    packet
                        .icmpv6_echo_request(token, 1)
                        .write(&mut frame, &data)
                        .map_err(io::Error::other)?;
                }
            }
            Self::Datagram { address, at, token } => {
                let Some(packet) = asker.packet(address, at) else { return Ok(None) };
                packet.udp(token, CLOSED).write(&mut frame, &[]).map_err(io::Error::other)?;
            }
        }
        frame.resize(frame.len().max(SHORTEST), 0);
        Ok(Some(frame))
    }
}

impl Asker {
    /// The beginning of a packet from the asker's own address.
    fn packet(&self, to: IpAddr, at: MacAddr6) -> Option<PacketBuilderStep<IpHeaders>> {
        let frame: PacketBuilderStep<Ethernet2Header> =
            PacketBuilder::ethernet2(self.mac.into_array(), at.into_array());
        match to {
            IpAddr::V4(to) => Some(frame.ipv4(self.v4?.octets(), to.octets(), TTL)),
            IpAddr::V6(to) => Some(frame.ipv6(self.v6?.octets(), to.octets(), TTL)),
        }
    }

    /// Ends the connection that a SYN-ACK offers, so that nobody keeps half of it.
    pub(crate) fn reset(&self, heard: &Heard) -> io::Result<Option<Vec<u8>>> {
        let Said::SynAck { from, port, token, next } = heard.said else { return Ok(None) };
        let Some(packet) = self.packet(from, heard.mac) else { return Ok(None) };
        let mut frame = Vec::with_capacity(SHORTEST);
        packet.tcp(token, port, next, 0).rst().write(&mut frame, &[]).map_err(io::Error::other)?;
        frame.resize(frame.len().max(SHORTEST), 0);
        Ok(Some(frame))
    }
}

fn arp_request(
    frame: &mut Vec<u8>,
    mac: MacAddr6,
    sender: Ipv4Addr,
    target: Ipv4Addr,
    at: Option<MacAddr6>,
) -> io::Result<()> {
    let packet = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: mac.into_array(),
        sender_ipv4: sender.octets(),
        target_mac: [0; 6],
        target_ipv4: target.octets(),
    };
    let to = at.map_or(BROADCAST, MacAddr6::into_array);
    PacketBuilder::ethernet2(mac.into_array(), to).arp(packet.into()).write(frame).map_err(io::Error::other)
}

fn solicitation(
    frame: &mut Vec<u8>,
    mac: MacAddr6,
    sender: Ipv6Addr,
    target: Ipv6Addr,
    at: Option<MacAddr6>,
) -> io::Result<()> {
    let [.., a, b, c] = target.octets();
    // To all that may have it (RFC 4291, section 2.7.1; RFC 2464, section 7), or as NUD asks one of them.
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let (to, address) = match at {
        Some(at) => (at.into_array(), target),
        None => ([0x33, 0x33, 0xff, a, b, c], group),
    };
    let body = [&target.octets()[..], &SOURCE_OPTION, &mac.into_array()].concat();
    PacketBuilder::ethernet2(mac.into_array(), to)
        .ipv6(sender.octets(), address.octets(), NOT_ROUTED)
        .icmpv6(Icmpv6Type::NeighborSolicitation)
        .write(frame, &body)
        .map_err(io::Error::other)
}

/// What a frame says, if it may be an answer.
pub(crate) fn read(frame: &[u8]) -> Option<Heard> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let mac = MacAddr6::from(<[u8; 6]>::try_from(frame.get(6..12)?).ok()?);
    let from = match packet.net? {
        LaxNetSlice::Arp(arp) => {
            let arp = ArpEthIpv4Packet::try_from(arp.to_packet()).ok()?;
            let mac = MacAddr6::from(arp.sender_mac);
            let said = Said::Has(Ipv4Addr::from(arp.sender_ipv4).into());
            return (arp.operation == ArpOperation::REPLY).then_some(Heard { mac, said });
        }
        LaxNetSlice::Ipv4(packet) => IpAddr::V4(packet.header().source_addr()),
        LaxNetSlice::Ipv6(packet) => IpAddr::V6(packet.header().source_addr()),
    };
    let said = match packet.transport? {
        TransportSlice::Tcp(segment) => {
            let (port, token) = (segment.source_port(), segment.destination_port());
            match (segment.syn(), segment.ack(), segment.rst()) {
                (_, _, true) => Said::Reset { from, token },
                (true, true, _) => Said::SynAck { from, port, token, next: segment.acknowledgment_number() },
                _ => return None,
            }
        }
        TransportSlice::Icmpv4(message) => match message.icmp_type() {
            Icmpv4Type::EchoReply(header) => Said::Echo { from, token: header.id },
            Icmpv4Type::DestinationUnreachable(_) => unreachable(message.payload())?,
            _ => return None,
        },
        TransportSlice::Icmpv6(message) => match message.icmp_type() {
            Icmpv6Type::EchoReply(header) => Said::Echo { from, token: header.id },
            Icmpv6Type::DestinationUnreachable(_) => unreachable(message.payload())?,
            Icmpv6Type::NeighborAdvertisement(_) => {
                let target: [u8; 16] = *message.payload().first_chunk()?;
                Said::Has(Ipv6Addr::from(target).into())
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Heard { mac, said })
}

/// What an ICMP error is about, if it is about a datagram.
fn unreachable(about: &[u8]) -> Option<Said> {
    let packet = LaxSlicedPacket::from_ip(about).ok()?;
    let address = match packet.net? {
        LaxNetSlice::Ipv4(packet) => IpAddr::V4(packet.header().destination_addr()),
        LaxNetSlice::Ipv6(packet) => IpAddr::V6(packet.header().destination_addr()),
        LaxNetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
    let UdpHeader { source_port, destination_port, .. } = udp.to_header();
    (destination_port == CLOSED).then_some(Said::Unreachable { address, token: source_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);
    const SERVER: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 2);
    const ASKER: Asker = Asker {
        mac: OWN,
        v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    const VIPS: [&str; 2] = ["192.0.2.240", "2001:db8::f0"];

    fn vips() -> [IpAddr; 2] {
        VIPS.map(|vip| vip.parse().unwrap())
    }

    fn frame(question: Question) -> Vec<u8> {
        question.frame(&ASKER).unwrap().expect("the asker has addresses of both families")
    }

    #[test]
    fn an_arp_question_for_a_vip_has_no_sender_so_that_nobody_learns_from_it() {
        let [vip, _] = vips();
        let asked = frame(Question::WhoHas { address: vip, at: Some(SERVER), is_vip: true });
        assert_eq!(asked[..6], SERVER.into_array());
        assert_eq!(asked[28..32], [0; 4], "the sender's address");
        assert_eq!(asked[38..42], [192, 0, 2, 240]);
        assert_eq!(asked.len(), SHORTEST);
        let asked = frame(Question::WhoHas { address: vip, at: None, is_vip: false });
        assert_eq!(asked[..6], BROADCAST);
        assert_eq!(asked[28..32], [192, 0, 2, 1], "for another address the asker's own");
    }

    #[test]
    fn a_solicitation_goes_to_those_that_may_have_the_address() {
        let [_, vip] = vips();
        let asked = frame(Question::WhoHas { address: vip, at: None, is_vip: true });
        assert_eq!(asked[..6], [0x33, 0x33, 0xff, 0, 0, 0xf0]);
        assert_eq!(asked[38..54], "ff02::1:ff00:f0".parse::<Ipv6Addr>().unwrap().octets());
        let asked = frame(Question::WhoHas { address: vip, at: Some(SERVER), is_vip: true });
        assert_eq!(asked[..6], SERVER.into_array());
        assert_eq!(asked[22..38], ASKER.v6.unwrap().octets());
    }

    #[test]
    fn each_answer_answers_its_question_only() {
        for address in vips() {
            let questions = [
                Question::WhoHas { address, at: Some(SERVER), is_vip: true },
                Question::Connect { address, port: 80, at: SERVER, token: 50_000 },
                Question::Echo { address, at: SERVER, token: 50_001, length: 0 },
                Question::Datagram { address, at: SERVER, token: 50_002 },
            ];
            let answers = [
                Said::Has(address),
                Said::SynAck { from: address, port: 80, token: 50_000, next: 1 },
                Said::Echo { from: address, token: 50_001 },
                Said::Unreachable { address, token: 50_002 },
            ];
            for (place, question) in questions.iter().enumerate() {
                let answered: Vec<usize> = (0..answers.len())
                    .filter(|answer| question.is_answered_by(&Heard { mac: SERVER, said: answers[*answer] }))
                    .collect();
                assert_eq!(answered, [place]);
            }
        }
    }

    #[test]
    fn only_who_was_asked_answers_a_question_to_one() {
        let [vip, _] = vips();
        let other = Heard { mac: MacAddr6::new(2, 0, 0, 0, 0, 3), said: Said::Has(vip) };
        assert!(!Question::WhoHas { address: vip, at: Some(SERVER), is_vip: true }.is_answered_by(&other));
        assert!(Question::WhoHas { address: vip, at: None, is_vip: true }.is_answered_by(&other));
    }

    #[test]
    fn answers_are_read_from_frames() {
        for vip in vips() {
            let server = Asker {
                mac: SERVER,
                v4: if let IpAddr::V4(vip) = vip { Some(vip) } else { None },
                v6: if let IpAddr::V6(vip) = vip { Some(vip) } else { None },
            };
            let director: IpAddr =
                if vip.is_ipv4() { ASKER.v4.unwrap().into() } else { ASKER.v6.unwrap().into() };
            let packet = || server.packet(director, OWN).unwrap();
            let mut answer = Vec::new();
            packet().tcp(80, 50_000, 7, 100).syn().ack(9).write(&mut answer, &[]).unwrap();
            let heard = read(&answer).unwrap();
            let expected = Said::SynAck { from: vip, port: 80, token: 50_000, next: 9 };
            assert_eq!(heard, Heard { mac: SERVER, said: expected });
            let reset = ASKER.reset(&heard).unwrap().unwrap();
            assert_eq!(reset[..6], SERVER.into_array(), "half a connection is ended where it was begun");

            answer.clear();
            packet().tcp(80, 50_000, 0, 0).rst().ack(9).write(&mut answer, &[]).unwrap();
            assert_eq!(read(&answer).unwrap().said, Said::Reset { from: vip, token: 50_000 });

            let asked = frame(Question::Datagram { address: vip, at: SERVER, token: 50_002 });
            // What is quoted is the packet, without padding.
            let quoted = &asked[14..14 + if vip.is_ipv4() { 28 } else { 48 }];
            answer.clear();
            if vip.is_ipv4() {
                let error =
                    Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port);
                packet().icmpv4(error).write(&mut answer, quoted).unwrap();
            } else {
                let error = Icmpv6Type::DestinationUnreachable(etherparse::icmpv6::DestUnreachableCode::Port);
                packet().icmpv6(error).write(&mut answer, quoted).unwrap();
            }
            assert_eq!(read(&answer).unwrap().said, Said::Unreachable { address: vip, token: 50_002 });

            let asked = frame(Question::Echo { address: vip, at: SERVER, token: 50_001, length: 1500 });
            assert_eq!(asked.len(), 14 + 1500);
            assert_eq!(read(&asked), None, "a question is no answer");
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let asked = frame(Question::Datagram { address: vips()[0], at: SERVER, token: 50_002 });
        for length in 0..asked.len() {
            assert_eq!(read(&asked[..length]), None);
        }
        assert_eq!(read(&[0xff; 200]), None);
    }
}
