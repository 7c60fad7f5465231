//! Gratuitous ARP: telling the segment where an address is.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{ArpEthIpv4Packet, ArpOperation, PacketBuilder};
use macaddr::MacAddr6;
use pnet_datalink::{Channel, Config, NetworkInterface};
use thiserror::Error;

use super::Link;

const BROADCAST: [u8; 6] = [0xff; 6];
/// Without the checksum, which the NIC adds.
const SHORTEST_FRAME: usize = 60;

/// An address could not be announced.
#[derive(Debug, Error)]
#[error("announce {address} on {interface}: {source}")]
pub struct AnnounceError {
    address: IpAddr,
    interface: String,
    source: io::Error,
}

/// Sends one gratuitous ARP request for each address (RFC 5227, section 3): sender and target are the address,
/// the sender's MAC is the interface's.
///
/// # Errors
/// [`AnnounceError`] for the first address that could not be announced.
pub fn announce(link: &Link, addresses: &[IpAddr]) -> Result<(), AnnounceError> {
    let (Some(mac), Some(first)) = (link.mac, addresses.first()) else { return Ok(()) };
    let failed = |address: IpAddr| {
        let interface = link.name.clone();
        move |source| AnnounceError { address, interface, source }
    };
    let mut sender = open(link).map_err(failed(*first))?;
    for address in addresses {
        let IpAddr::V4(v4) = address else { continue };
        let frame = gratuitous_arp(mac, *v4).map_err(failed(*address))?;
        match sender.send_to(&frame, None) {
            Some(sent) => sent.map_err(failed(*address))?,
            None => return Err(failed(*address)(io::ErrorKind::OutOfMemory.into())),
        }
    }
    Ok(())
}

fn open(link: &Link) -> io::Result<Box<dyn pnet_datalink::DataLinkSender>> {
    let interface = NetworkInterface {
        name: link.name.clone(),
        description: String::new(),
        index: link.index,
        mac: None,
        ips: Vec::new(),
        flags: 0,
    };
    // Only to send; the receiving half goes at once.
    let config = Config { promiscuous: false, ..Config::default() };
    match pnet_datalink::channel(&interface, config)? {
        Channel::Ethernet(sender, _) => Ok(sender),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

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
}
