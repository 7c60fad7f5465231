//! One frame through all stages.

use core::mem::offset_of;

use lb_common::counter::Reason;
use lb_common::interface::{Interface, MAC_MASK};
use lb_common::service::NO_SERVICE;
use lb_common::settings::Settings;
use network_types::eth::{EthHdr, EtherType};

use crate::forward::{forward, to_destination};
use crate::frame::Words;
use crate::match_service::{Addressed, match_service};
use crate::plain::{HEAD, plain_v4, plain_v6};
use crate::tables::{Families, Family};
use crate::track::{Tracked, settle, track};
use crate::unusual::unusual;
use crate::{Frame, Packet, Verdict};

/// Decides about one frame and, if it is to be forwarded, rewrites its MACs and counts it.
///
/// [`Outcome::Pass`](crate::Outcome::Pass) and [`Outcome::Drop`](crate::Outcome::Drop) are for the caller to count.
#[inline(always)]
pub fn process<F: Frame, T: Families>(frame: &mut F, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::drop(Reason::DropInternal) };
    let Some(interface) = settings.interfaces.get(tables.interface()) else {
        return Verdict::drop(Reason::DropInternal);
    };
    if let Some(head) = frame.bytes::<HEAD>(0) {
        if let Some(reason) = is_not_ours(interface, head) {
            return Verdict::pass(reason);
        }
        let ether_type = head.u16_at(offset_of!(EthHdr, ether_type));
        if ether_type == EtherType::Ipv4 as u16
            && let Some(packet) = plain_v4(frame, head)
        {
            return balance(frame, &packet, settings, tables);
        } else if ether_type == EtherType::Ipv6 as u16
            && let Some(packet) = plain_v6(frame)
        {
            return balance(frame, &packet, settings, tables);
        }
    } else {
        // A runt; or a driver that leaves nothing, or not the headers, in the first of several buffers (mlx5's striding
        // receive queues, drivers/net/ethernet/mellanox/mlx5/core/en_rx.c).
        let Some(head) = frame.fetch::<HEAD>(0) else { return Verdict::pass(Reason::PassMalformed) };
        if let Some(reason) = is_not_ours(interface, head) {
            return Verdict::pass(reason);
        }
    }
    unusual(frame, settings, tables)
}

/// Why a frame that begins with `head` is none for this director, by its MACs; `None` if it may be one.
#[inline(always)]
fn is_not_ours(interface: &Interface, head: &[u8; HEAD]) -> Option<Reason> {
    // A switch that floods, or a NIC in promiscuous mode, shows us frames that are somebody else's: forwarding
    // them would double the traffic.
    if !interface.is_own(head.u64_at(offset_of!(EthHdr, dst_addr)) & MAC_MASK) {
        return Some(Reason::PassNotForUs);
    }
    // Two directors that are real servers too would send a flow to and fro for ever.
    if interface.is_peer(head.u64_at(offset_of!(EthHdr, src_addr)) & MAC_MASK) {
        return Some(Reason::PassFromPeer);
    }
    None
}

/// Decides about a packet of a plain frame.
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
    let service = match_service(packet, settings, tables);
    if service == NO_SERVICE {
        return Verdict::pass(Reason::PassNotAVip);
    }
    let is_known = match track(packet, tables) {
        Tracked::Established(number, destination) => {
            return forward(frame, number, destination, packet.length(), tables);
        }
        Tracked::Known => true,
        Tracked::Unknown => false,
    };
    // In memory, for functions that are verified by themselves; the established flow's stays in registers.
    let packet = &{ *packet };
    match settle(packet, service, is_known, tables).into_result() {
        Ok(number) => to_destination(frame, number, packet.length(), tables),
        Err(verdict) => verdict,
    }
}
