//! Frames that [`parse`](crate::parse) has no time for: VLAN tags, options, extension headers, fragments, ICMP, and
//! whatever makes no sense.

use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6, lookup};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::fragment::FragmentKey;
use lb_common::hash::FlowHash;
use lb_common::selector::Selector;
use lb_common::service::SlotTable;
use lb_common::settings::Settings;
use network_types::eth::EtherType;

use network_types::ip::IpProto;

use crate::forward::to_destination;
use crate::match_service::{Addressed, match_service};
use crate::network::{Header, Link, Network, V4, V6, is_vlan, link};
use crate::process::{Verdict, route};
use crate::select::select;
use crate::tables::{Families, Family};
use crate::{Frame, Packet};

/// Decides about a frame that is for this director, whatever is in it.
#[inline(always)]
pub fn process_unusual<F: Frame, T: Families>(frame: &mut F, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::Drop(Reason::DropInternal) };
    let Some(link) = link(frame) else { return Verdict::Pass(Reason::PassMalformed) };
    let verdict = if link.ether_type == EtherType::Ipv4 as u16 {
        family::<KEY_WORDS_V4, _, V4, _, _>(frame, link, settings, tables)
    } else if link.ether_type == EtherType::Ipv6 as u16 {
        family::<KEY_WORDS_V6, _, V6, _, _>(frame, link, settings, tables)
    } else if is_vlan(link.ether_type) {
        Err(Verdict::Pass(Reason::PassVlan))
    } else {
        Err(Verdict::Pass(Reason::PassNotIp))
    };
    match verdict {
        Ok((number, length)) => to_destination(frame, number, length, tables),
        Err(verdict) => verdict,
    }
}

/// Where a frame of one family goes, and the bytes of its packet.
#[inline(always)]
fn family<const K: usize, const W: usize, H, F: Frame, T: Family<K, W>>(
    frame: &F,
    link: Link,
    settings: &Settings,
    tables: &T,
) -> Result<(u32, u32), Verdict>
where
    H: Header<K>,
    Packet<K>: Addressed<W>,
{
    let network = H::network(frame, link.offset).map_err(Verdict::Pass)?;
    let length = network.length;
    if !frame.has_whole(link.offset + length as usize) {
        return Err(Verdict::Pass(Reason::PassMalformed));
    }
    let number = match network.fragment {
        Some(fragment) if !fragment.is_first => later_fragment(&network, fragment.id, settings, tables)?,
        first => {
            let number = if is_icmp::<K>(network.protocol()) {
                icmp::<K, W, H, _, _>(frame, &network, settings, tables)?
            } else {
                let packet = network.packet(frame).map_err(Verdict::Pass)?;
                route(&packet, settings, tables)?
            };
            if let Some(fragment) = first {
                tables.remember_fragment(&fragment_key(&network, fragment.id), number);
            }
            number
        }
    };
    Ok((number, length))
}

/// A later fragment follows the first.
#[inline(always)]
fn later_fragment<const K: usize, const W: usize, T: Family<K, W>>(
    network: &Network<K>,
    id: u32,
    settings: &Settings,
    tables: &T,
) -> Result<u32, Verdict>
where
    Packet<K>: Addressed<W>,
{
    // A VIP's address is known without port and protocol.
    let mut address = network.key;
    address[K - 1] = 0;
    if match_service(&Packet::new(address, 0, 0), settings, tables).is_none() {
        return Err(Verdict::Pass(Reason::PassNotAVip));
    }
    let known = tables.fragment(&fragment_key(network, id));
    known
        .filter(|number| tables.destination(*number).is_some_and(Destination::is_usable))
        .ok_or(Verdict::Pass(Reason::PassFragment))
}

#[inline(always)]
fn fragment_key<const K: usize>(network: &Network<K>, id: u32) -> FragmentKey {
    FragmentKey::new(&network.key, id)
}

/// Bytes of an ICMP header, of either family: type, code, checksum, and four that depend on the type.
const ICMP_HEADER: usize = 8;

/// ICMP messages that are about a packet (RFC 792: unreachable, time exceeded, parameter problem).
const ABOUT_A_PACKET_V4: [u8; 3] = [3, 11, 12];
/// ICMPv6 messages that are about a packet (RFC 4443: unreachable, too big, time exceeded, parameter problem).
const ABOUT_A_PACKET_V6: [u8; 4] = [1, 2, 3, 4];

#[inline(always)]
const fn is_icmp<const K: usize>(protocol: u8) -> bool {
    protocol == if K == KEY_WORDS_V4 { IpProto::Icmp as u8 } else { IpProto::Ipv6Icmp as u8 }
}

/// An ICMP error about a packet that a real server sent from a VIP: it goes to that real server, or path MTU
/// discovery would not work through a director.
#[inline(always)]
fn icmp<const K: usize, const W: usize, H, F: Frame, T: Family<K, W>>(
    frame: &F,
    network: &Network<K>,
    settings: &Settings,
    tables: &T,
) -> Result<u32, Verdict>
where
    H: Header<K>,
    Packet<K>: Addressed<W>,
{
    let malformed = Verdict::Pass(Reason::PassMalformed);
    let header = frame.bytes::<ICMP_HEADER>(network.transport).ok_or(malformed)?;
    let kind = header[0];
    let is_error =
        if K == KEY_WORDS_V4 { ABOUT_A_PACKET_V4.contains(&kind) } else { ABOUT_A_PACKET_V6.contains(&kind) };
    if !is_error {
        return Err(Verdict::Pass(Reason::PassNotTcpUdp));
    }
    let inner = H::network(frame, network.transport + ICMP_HEADER).map_err(Verdict::Pass)?;
    if inner.protocol() != IpProto::Tcp as u8 && inner.protocol() != IpProto::Udp as u8
        || inner.fragment.is_some_and(|fragment| !fragment.is_first)
    {
        return Err(Verdict::Pass(Reason::PassNotTcpUdp));
    }
    // Of the inner transport header 8 bytes are sure to be there (RFC 792), and the ports are enough.
    let ports = frame.bytes::<4>(inner.transport).ok_or(malformed)?;
    let packet = Packet::new(reversed(&inner.key, u32::from_le_bytes(*ports)), 0, network.length);
    // The error goes to whom the packet came from.
    if packet.destination() != Packet::new(network.key, 0, 0).destination() {
        return Err(malformed);
    }
    let service = match_service(&packet, settings, tables).ok_or(Verdict::Pass(Reason::PassNotAVip))?;
    let hash = FlowHash::new(&packet.key, tables.flow_seed());
    let known = lookup(tables.connections(), &packet.key, hash)
        .or_else(|| lookup(tables.half_open(), &packet.key, hash));
    if let Some(entry) = known {
        let number = entry.meta.destination();
        if tables.destination(number).is_some_and(Destination::is_usable) {
            return Ok(number);
        }
    }
    // Another director may have scheduled the flow, as every director would.
    let service = tables.service(service).ok_or(Verdict::Drop(Reason::DropInternal))?;
    let table = SlotTable::from_word(service.table.load());
    Selector::from_number(table.selector)
        .filter(|selector| selector.is_reproducible())
        .and_then(|selector| select(table, &packet, selector, tables))
        .ok_or(Verdict::Pass(Reason::PassNoConnection))
}

/// The key of the flow in the other direction: of the client's packets, from one that a real server sent. `ports`
/// as they lie in the latter.
#[inline(always)]
fn reversed<const K: usize>(key: &[u64; K], ports: u32) -> [u64; K] {
    let mut reversed = *key;
    if K == KEY_WORDS_V4 {
        reversed[0] = key[0].rotate_left(32);
    } else {
        let mut i = 0;
        while i < K - 1 {
            reversed[i] = key[(i + 2) & 3];
            i += 1;
        }
    }
    reversed[K - 1] |= u64::from(ports.rotate_left(16));
    reversed
}
