//! What a frame says that may answer a probe. Pure.

use std::net::IpAddr;

use etherparse::{
    EtherType, Icmpv4Type, Icmpv6Type, LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice, icmpv4,
    icmpv6,
};
use macaddr::MacAddr6;

/// How a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Echo,
}

/// A frame that may answer a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    /// Whose frame it is.
    pub(super) mac: MacAddr6,
    pub(super) vip: IpAddr,
    pub(super) destination: IpAddr,
    /// The probe's port, or the identifier of its echo request.
    pub(super) number: u16,
    pub(super) says: Says<'a>,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says<'a> {
    /// A TCP segment: the whole packet.
    Segment(&'a [u8]),
    /// A datagram from this port.
    Datagram(u16, &'a [u8]),
    /// The echo.
    Echo,
    /// The probe did not get there: no such port, or not allowed.
    Unreachable {
        /// What did not get there: TCP or UDP; else it was an echo request, or something else.
        protocol: Protocol,
        /// Whether nobody is at the port.
        no_such_port: bool,
    },
}

impl Says<'_> {
    /// The kind of probe that is told so.
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Segment(_) => Protocol::Tcp,
            Self::Datagram(..) => Protocol::Udp,
            Self::Echo => Protocol::Echo,
            Self::Unreachable { protocol, .. } => *protocol,
        }
    }
}

/// Reads a frame; `None` if it answers no probe. Checksums are not looked at: the frame may have come from another
/// machine's memory without ever having had one (`CHECKSUM_PARTIAL` in linux/skbuff.h), and NICs have seen to the others.
pub(super) fn read(frame: &[u8]) -> Option<Reply<'_>> {
    let (packet, mac) = unwrap(frame)?;
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (vip, destination) = match sliced.net.as_ref()? {
        NetSlice::Ipv4(v4) => (v4.header().source_addr().into(), v4.header().destination_addr().into()),
        NetSlice::Ipv6(v6) => (v6.header().source_addr().into(), v6.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    let about = |packet, no_such_port| {
        let (protocol, number) = quoted(packet, vip, destination)?;
        Some((number, Says::Unreachable { protocol, no_such_port }))
    };
    let (number, says) = match sliced.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => (tcp.destination_port(), Says::Segment(packet)),
        TransportSlice::Udp(udp) => {
            (udp.destination_port(), Says::Datagram(udp.source_port(), udp.payload()))
        }
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoReply(echo) => (echo.id, Says::Echo),
            // That it was too long is somebody's on the way.
            Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
                ..
            }) => {
                return None;
            }
            Icmpv4Type::DestinationUnreachable(why) => {
                about(icmp.payload(), why == icmpv4::DestUnreachableHeader::Port)?
            }
            _ => return None,
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::EchoReply(echo) => (echo.id, Says::Echo),
            Icmpv6Type::DestinationUnreachable(why) => {
                about(icmp.payload(), why == icmpv6::DestUnreachableCode::Port)?
            }
            _ => return None,
        },
        TransportSlice::Igmp(_) => return None,
    };
    Some(Reply { mac, vip, destination, number, says })
}

/// The IP packet in a frame, behind any VLAN tag that is left, and whose frame it is.
fn unwrap(frame: &[u8]) -> Option<(&[u8], MacAddr6)> {
    let (_, rest) = frame.split_first_chunk::<6>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (mut ether_type, mut rest) = rest.split_first_chunk::<2>()?;
    for _ in 0..2 {
        if [EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING].contains(&kind(ether_type)) {
            rest = rest.get(2..)?;
            (ether_type, rest) = rest.split_first_chunk()?;
        }
    }
    [EtherType::IPV4, EtherType::IPV6].contains(&kind(ether_type)).then(|| (rest, MacAddr6::from(*mac)))
}

fn kind(ether_type: &[u8; 2]) -> EtherType {
    EtherType(u16::from_be_bytes(*ether_type))
}

/// The probe of which an ICMP error quotes the beginning: it went from `source` to `vip`.
fn quoted(packet: &[u8], vip: IpAddr, source: IpAddr) -> Option<(Protocol, u16)> {
    let lax = LaxSlicedPacket::from_ip(packet).ok()?;
    let addresses: (IpAddr, IpAddr) = match lax.net.as_ref()? {
        etherparse::LaxNetSlice::Ipv4(v4) => {
            (v4.header().source_addr().into(), v4.header().destination_addr().into())
        }
        etherparse::LaxNetSlice::Ipv6(v6) => {
            (v6.header().source_addr().into(), v6.header().destination_addr().into())
        }
        etherparse::LaxNetSlice::Arp(_) => return None,
    };
    let payload = lax.net.as_ref()?.ip_payload_ref()?;
    // The port is in the first of the eight bytes that there are at least.
    let first = payload.payload.first_chunk::<2>()?;
    let protocol = match payload.ip_number {
        etherparse::IpNumber::TCP => Protocol::Tcp,
        etherparse::IpNumber::UDP => Protocol::Udp,
        _ => return None,
    };
    (addresses == (source, vip)).then(|| (protocol, u16::from_be_bytes(*first)))
}
