//! The frames that are measured.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Header, Icmpv4Type, IpNumber, PacketBuilder, icmpv4::DestUnreachableHeader};
use lb_lab::Mac;
use lb_lab::frame::{ACK, Endpoint, Frame};

use crate::Result;
use crate::setting::{MAC, OTHER_VLAN, SOURCE_PORT, SOURCES, SOURCES_V6, VIP, VIP_V6, WEB};

/// Where the last four bytes of the source address lie.
pub(crate) const SOURCE_V4: u32 = 14 + 12;
/// Where those of an IPv6 address lie.
pub(crate) const SOURCE_V6: u32 = 14 + 8 + 12;

/// Where a frame says in which order sources take turns, by where its source lies: in the identification of IPv4, or the
/// last 16 bits of IPv6's flow label. Nobody looks at them in a frame that is no fragment.
pub(crate) fn order_at(source_at: u32) -> u32 {
    const IDENTIFICATION: u32 = 14 + 4;
    const FLOW_LABEL: u32 = 14 + 2;
    if source_at == SOURCE_V6 { FLOW_LABEL } else { IDENTIFICATION }
}

/// Where the source port lies, by where the source address does, in a header without options or extensions.
pub(crate) fn port_at(source_at: u32) -> u32 {
    source_at + if source_at == SOURCE_V6 { 4 + 16 } else { 4 + 4 }
}

/// The shortest frame that Ethernet has, without its checksum.
const SHORTEST: usize = 60;
const ETHERNET: usize = 14;
/// The router before the director.
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 9]);
/// The VLAN that tagged frames come in; the real server may be in another.
const VLAN: u16 = OTHER_VLAN - 10;

/// A TCP segment from the first source to a port of the VIP.
pub(crate) fn tcp(port: u16, flags: u8) -> Vec<u8> {
    padded(to(VIP, port).tcp(flags, &[]))
}

/// A datagram from the first source to a port of the VIP.
pub(crate) fn udp(port: u16) -> Vec<u8> {
    padded(to(VIP, port).udp(&[]))
}

/// A segment that is a datagram if its protocol is UDP: where that has its length (RFC 768), its sequence number has the
/// same.
pub(crate) fn either() -> Vec<u8> {
    const LENGTH: u32 = 20;
    padded(to(VIP, WEB).numbers(LENGTH << 16, 0).tcp(ACK, &[]))
}

/// A segment to an address that is no VIP.
pub(crate) fn not_a_vip() -> Vec<u8> {
    padded(to(Ipv4Addr::new(192, 0, 2, 77), WEB).tcp(ACK, &[]))
}

/// A segment as long as the MTU of networks with jumbo frames.
pub(crate) fn jumbo() -> Vec<u8> {
    const HEADERS: usize = 20 + 20;
    to(VIP, WEB).tcp(ACK, &[0; 9000 - HEADERS])
}

/// A segment with a VLAN tag.
pub(crate) fn tagged(port: u16) -> Vec<u8> {
    padded(to(VIP, port).vlan(VLAN).tcp(ACK, &[]))
}

/// A segment with a router alert (RFC 2113) in its IPv4 header.
pub(crate) fn with_options() -> Vec<u8> {
    padded(to(VIP, WEB).options(&[0x94, 4, 0, 0]).tcp(ACK, &[]))
}

/// The first fragment of a datagram that holds a segment.
pub(crate) fn first_fragment() -> Vec<u8> {
    padded(to(VIP, WEB).identification(7).fragment(0, true).tcp(ACK, &[0; 28]))
}

/// A later fragment of the same datagram.
pub(crate) fn later_fragment() -> Vec<u8> {
    padded(to(VIP, WEB).identification(7).fragment(6, false).ip(IpNumber::TCP.0, &[0; 32]))
}

/// A router's "fragmentation needed" about a segment from the VIP to the first source.
pub(crate) fn icmp_error() -> Vec<u8> {
    let (from, to) = (Endpoint::new(Mac(MAC.into_array()), VIP, WEB), client());
    let quoted = Frame::between(from, to).tcp(ACK, &[]).split_off(ETHERNET);
    let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
    let header = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(kind), &quoted);
    let message = [header.to_bytes().as_slice(), &quoted].concat();
    let router = Endpoint::new(ROUTER, Ipv4Addr::new(198, 51, 100, 1), 0);
    let vip = Endpoint::new(Mac(MAC.into_array()), VIP, 0);
    padded(Frame::between(router, vip).ip(IpNumber::ICMP.0, &message))
}

/// A segment of an IPv6 connection.
pub(crate) fn tcp_v6() -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(ROUTER.0, MAC.into_array())
        .ipv6(SOURCES_V6.octets(), VIP_V6.octets(), 64)
        .tcp(SOURCE_PORT, WEB, 1, 1024)
        .ack(1)
        .write(&mut frame, &[])?;
    Ok(frame)
}

/// An address of IPv6 from the same sources, for what differs only in its last four bytes.
pub(crate) fn source_v6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(SOURCES_V6.to_bits() | u128::from(n))
}

/// An IPv4 source.
pub(crate) fn source_v4(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(SOURCES.to_bits() | n)
}

fn client() -> Endpoint {
    Endpoint::new(ROUTER, SOURCES, SOURCE_PORT)
}

fn to(address: Ipv4Addr, port: u16) -> Frame {
    Frame::between(client(), Endpoint::new(Mac(MAC.into_array()), address, port))
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::{SOURCE_V4, SOURCE_V6, later_fragment, source_v4, source_v6, tcp, tcp_v6};
    use lb_lab::frame::ACK;

    #[test]
    fn the_source_lies_where_the_testbed_steps_it() {
        let at = |frame: &[u8], at: u32| u32::from_be_bytes(frame[at as usize..][..4].try_into().unwrap());
        assert_eq!(at(&tcp(80, ACK), SOURCE_V4), source_v4(0).to_bits());
        assert_eq!(at(&tcp_v6().unwrap(), SOURCE_V6), source_v6(0).to_bits() as u32);
    }

    #[test]
    fn a_later_fragment_has_an_offset_and_no_more_to_come() {
        assert_eq!(later_fragment()[14 + 6..14 + 8], [0, 6]);
    }
}
