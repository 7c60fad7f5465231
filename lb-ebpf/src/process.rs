//! One frame through all stages.

use core::mem::offset_of;

use lb_common::counter::Reason;
use lb_common::interface::MAC_MASK;
use lb_common::settings::Settings;
use network_types::eth::{EthHdr, EtherType};

use crate::forward::forward;
use crate::frame::Words;
use crate::match_service::{Addressed, match_service};
use crate::parse::{HEAD, parse_v4, parse_v6};
use crate::tables::{Families, Family};
use crate::track::{Tracked, settle, track};
use crate::{Frame, Packet};

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it out of the interface it came in on; its MACs have been rewritten.
    Transmit,
    /// Hand it to the local network stack, unchanged.
    Pass(Reason),
    /// Drop it.
    Drop(Reason),
}

/// Decides about one frame and, if it is to be forwarded, rewrites its MACs and counts it.
///
/// Verdicts other than [`Verdict::Transmit`] are for the caller to count.
#[inline(always)]
pub fn process<F: Frame, T: Families>(frame: &mut F, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::Drop(Reason::DropInternal) };
    let Some(interface) = settings.interfaces.get(tables.interface()) else {
        return Verdict::Drop(Reason::DropInternal);
    };
    let Some(head) = frame.bytes::<HEAD>(0) else { return Verdict::Pass(Reason::PassMalformed) };
    // A switch that floods, or a NIC in promiscuous mode, shows us frames that are somebody else's: forwarding
    // them would double the traffic.
    if !interface.is_own(head.u64_at(offset_of!(EthHdr, dst_addr)) & MAC_MASK) {
        return Verdict::Pass(Reason::PassNotForUs);
    }
    // Two directors that are real servers too would send a flow to and fro for ever.
    if interface.is_peer(head.u64_at(offset_of!(EthHdr, src_addr)) & MAC_MASK) {
        return Verdict::Pass(Reason::PassFromPeer);
    }
    let ether_type = head.u16_at(offset_of!(EthHdr, ether_type));
    if ether_type == EtherType::Ipv4 as u16 {
        match parse_v4(frame, head) {
            Ok(packet) => balance(frame, &packet, settings, tables),
            Err(reason) => Verdict::Pass(reason),
        }
    } else if ether_type == EtherType::Ipv6 as u16 {
        match parse_v6(frame) {
            Ok(packet) => balance(frame, &packet, settings, tables),
            Err(reason) => Verdict::Pass(reason),
        }
    } else if ether_type == EtherType::Ieee8021q as u16 || ether_type == EtherType::Ieee8021ad as u16 {
        Verdict::Pass(Reason::PassVlan)
    } else {
        Verdict::Pass(Reason::PassNotIp)
    }
}

/// Decides about a packet to TCP or UDP.
#[inline(always)]
fn balance<const K: usize, const W: usize, F: Frame, T: Family<K, W>>(
    frame: &mut F,
    packet: &Packet<K>,
    settings: &Settings,
    tables: &T,
) -> Verdict
where
    Packet<K>: Addressed<W>,
{
    // Before the connection table, which is large: what is not for a VIP costs no cache miss (ADR 0001).
    let Some(service) = match_service(packet, settings, tables) else {
        return Verdict::Pass(Reason::PassNotAVip);
    };
    let is_known = match track(packet, tables) {
        Tracked::Established(number, destination) => {
            return forward(frame, packet, number, destination, tables);
        }
        Tracked::Known => true,
        Tracked::Unknown => false,
    };
    let decision = tables.decide(packet, service, is_known);
    match settle(packet, decision, tables).into_result() {
        Ok(number) => match tables.destination(number) {
            Some(destination) => forward(frame, packet, number, destination, tables),
            None => Verdict::Drop(Reason::DropInternal),
        },
        Err(verdict) => verdict,
    }
}
