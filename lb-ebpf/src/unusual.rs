//! Frames that [`plain`](crate::plain) has no time for: VLAN tags, options, extension headers, fragments, ICMP errors,
//! and whatever makes no sense.

use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::counter::Reason;
use lb_common::settings::Settings;
use network_types::eth::EtherType;

use crate::forward::to_destination;
use crate::match_service::{Addressed, match_service};
use crate::network::{is_vlan, link};
use crate::process::Verdict;
use crate::tables::{Families, Family};
use crate::track::settle;
use crate::{Frame, Packet};

/// Decides about a frame that is for this director, whatever is in it.
#[inline(always)]
pub(crate) fn unusual<F: Frame, T: Families>(frame: &mut F, settings: &Settings, tables: &T) -> Verdict {
    let Some(link) = link(frame) else { return Verdict::Pass(Reason::PassMalformed) };
    let routed = if link.ether_type == EtherType::Ipv4 as u16 {
        route::<KEY_WORDS_V4, _, _, _>(frame, link.offset, settings, tables)
    } else if link.ether_type == EtherType::Ipv6 as u16 {
        route::<KEY_WORDS_V6, _, _, _>(frame, link.offset, settings, tables)
    } else if is_vlan(link.ether_type) {
        Err(Verdict::Pass(Reason::PassVlan))
    } else {
        Err(Verdict::Pass(Reason::PassNotIp))
    };
    match routed {
        Ok((number, length)) => to_destination(frame, number, length, tables),
        Err(verdict) => verdict,
    }
}

/// Where a frame goes whose IP header is at `offset`, and the bytes of its packet.
#[inline(always)]
fn route<const K: usize, const W: usize, F: Frame, T: Family<K, W>>(
    frame: &F,
    offset: usize,
    settings: &Settings,
    tables: &T,
) -> Result<(u32, u32), Verdict>
where
    Packet<K>: Addressed<W>,
{
    let mut packet = Packet::EMPTY;
    let parsed = frame.parse(offset, &mut packet);
    if let Some(reason) = parsed.reason() {
        return Err(Verdict::Pass(reason));
    }
    let not_a_vip = Verdict::Pass(Reason::PassNotAVip);
    let number = if parsed.is_later_fragment() {
        match_service(&packet.to_any_port(), settings, tables).ok_or(not_a_vip)?;
        let first = tables.fragment(&packet, parsed.datagram());
        first.ok_or(Verdict::Pass(Reason::PassFragment))?
    } else {
        let service = match_service(&packet, settings, tables).ok_or(not_a_vip)?;
        let decision = tables.decide(&packet, service, true);
        let number = settle(&packet, decision, tables).into_result()?;
        if parsed.is_first_fragment() {
            tables.remember_fragment(&packet, parsed.datagram(), number);
        }
        number
    };
    Ok((number, packet.length()))
}
