//! Telling the segment where an address is: gratuitous ARP, unsolicited neighbour advertisements.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::icmpv6::{NdpOptionType, NeighborAdvertisementHeader};
use etherparse::{ArpEthIpv4Packet, ArpOperation, Icmpv6Type, PacketBuilder};
use macaddr::MacAddr6;
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender, NetworkInterface};
use thiserror::Error;

use super::Link;

const BROADCAST: [u8; 6] = [0xff; 6];
/// All nodes of the link, and where multicast to them goes (RFC 2464, section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// Receivers drop neighbour discovery that may have come through a router (RFC 4861, section 7.1.2).
const NOT_ROUTED: u8 = 255;
/// Without the checksum, which the NIC adds.
const SHORTEST_FRAME: usize = 60;

/// An address could not be announced.
#[derive(Debug, Error)]
#[error("announce {address} on {interface}: {source}{}", remedy(source))]
pub struct AnnounceError {
    address: IpAddr,
    interface: String,
    source: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { " (sending frames takes CAP_NET_RAW)" } else { "" }
}

/// Sends one announcement for each address: it is at the interface's MAC.
///
/// # Errors
/// [`AnnounceError`] for the first address that could not be announced.
pub fn announce(link: &Link, addresses: &[IpAddr]) -> Result<(), AnnounceError> {
    let (Some(mac), Some(first)) = (link.mac, addresses.first()) else { return Ok(()) };
    let failed = |address: IpAddr| {
        let interface = link.name.clone();
        move |source| AnnounceError { address, interface, source }
    };
    let mut sender = open(link.name.clone(), link.index).map_err(failed(*first))?;
    for address in addresses {
        let frame = announcement(mac, *address).map_err(failed(*address))?;
        match sender.send_to(&frame, None) {
            Some(sent) => sent.map_err(failed(*address))?,
            None => return Err(failed(*address)(io::ErrorKind::OutOfMemory.into())),
        }
    }
    Ok(())
}

/// The frame that tells a segment that an address is at this MAC.
///
/// # Errors
/// It cannot be built, which is a bug.
pub fn announcement(mac: MacAddr6, address: IpAddr) -> io::Result<Vec<u8>> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address),
        IpAddr::V6(address) => unsolicited_advertisement(mac, address),
    }
}

/// Sends whole frames.
#[derive(Default)]
pub struct FrameSender {
    /// By the interface's index.
    senders: HashMap<u32, Box<dyn DataLinkSender>>,
}

impl FrameSender {
    /// Sends a frame out of the interface with this index.
    ///
    /// # Errors
    /// There is no such interface, it is down, or its queue is full.
    pub fn send(&mut self, interface: u32, frame: &[u8]) -> io::Result<()> {
        // A socket tells of what was: that its interface was down, for one.
        self.try_send(interface, frame).or_else(|_| {
            self.senders.remove(&interface);
            self.try_send(interface, frame)
        })
    }

    fn try_send(&mut self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let sender = match self.senders.entry(interface) {
            Entry::Occupied(sender) => sender.into_mut(),
            Entry::Vacant(place) => place.insert(open(String::new(), interface)?),
        };
        sender.send_to(frame, None).unwrap_or_else(|| Err(io::ErrorKind::OutOfMemory.into()))
    }
}

fn open(name: String, index: u32) -> io::Result<Box<dyn DataLinkSender>> {
    // Only to send; the receiving half goes at once.
    // Where the interface takes no more, nobody waits.
    let config = Config { write_timeout: Some(Duration::ZERO), ..Config::default() };
    channel(name, index, config).map(|(sender, _)| sender)
}

/// Sends and receives whole frames on the interface with this index; who receives waits no longer than `patience`.
///
/// # Errors
/// There is no such interface, or the caller may not (CAP_NET_RAW).
pub fn packet_channel(
    index: u32,
    patience: Duration,
) -> io::Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    channel(String::new(), index, Config { read_timeout: Some(patience), ..Config::default() })
}

fn channel(
    name: String,
    index: u32,
    config: Config,
) -> io::Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    let interface =
        NetworkInterface { name, description: String::new(), index, mac: None, ips: Vec::new(), flags: 0 };
    match pnet_datalink::channel(&interface, Config { promiscuous: false, ..config })? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// A request whose sender and target are the address (RFC 5227, section 3).
fn gratuitous_arp(mac: MacAddr6, address: Ipv4Addr) -> io::Result<Vec<u8>> {
    let packet = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: mac.into_array(),
        sender_ipv4: address.octets(),
        target_mac: [0; 6],
        target_ipv4: address.octets(),
    };
    let mut frame = Vec::with_capacity(SHORTEST_FRAME);
    PacketBuilder::ethernet2(mac.into_array(), BROADCAST)
        .arp(packet.into())
        .write(&mut frame)
        .map_err(io::Error::other)?;
    frame.resize(SHORTEST_FRAME, 0);
    Ok(frame)
}

/// An advertisement that nobody asked for and that replaces what neighbours believe (RFC 4861, section 7.2.6).
fn unsolicited_advertisement(mac: MacAddr6, address: Ipv6Addr) -> io::Result<Vec<u8>> {
    let header = NeighborAdvertisementHeader { router: false, solicited: false, r#override: true };
    let option = [&[NdpOptionType::TARGET_LINK_LAYER_ADDRESS.0, 1][..], &mac.into_array()].concat();
    let body = [&address.octets()[..], &option].concat();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac.into_array(), ALL_NODES_MAC)
        .ipv6(address.octets(), ALL_NODES.octets(), NOT_ROUTED)
        .icmpv6(Icmpv6Type::NeighborAdvertisement(header))
        .write(&mut frame, &body)
        .map_err(io::Error::other)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gratuitous_arp_says_who_and_where_to_everybody() {
        let mac = MacAddr6::new(2, 0, 0, 0, 0, 1);
        let frame = gratuitous_arp(mac, Ipv4Addr::new(192, 0, 2, 1)).expect("it can be built");
        let expected = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 1],
            &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 0, 1, 192, 0, 2, 1],
            &[0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
            &[0; 18],
        ]
        .concat();
        assert_eq!(frame, expected);
    }

    #[test]
    fn an_advertisement_replaces_what_neighbours_believe() {
        let mac = MacAddr6::new(2, 0, 0, 0, 0, 1);
        let vip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let frame = unsolicited_advertisement(mac, vip).expect("it can be built");
        let (ethernet, packet) = frame.split_at(14);
        assert_eq!(ethernet, [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        let (header, message) = packet.split_at(40);
        let expected = [&[0x60, 0, 0, 0, 0, 32, 58, 255][..], &vip.octets(), &ALL_NODES.octets()].concat();
        assert_eq!(header, expected, "from the VIP to all nodes, hop limit 255");
        assert_eq!(message[..2], [136, 0]);
        assert_eq!(message[4..8], [0x20, 0, 0, 0], "override, neither solicited nor from a router");
        assert_eq!(message[8..], [&vip.octets()[..], &[2, 1, 2, 0, 0, 0, 0, 1]].concat());
        // RFC 4443, section 2.3: with its checksum, the message and its pseudo-header add up to all ones.
        let pseudo = [&header[8..40], &[0, 0, 0, 32, 0, 0, 0, 58], message].concat();
        let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
