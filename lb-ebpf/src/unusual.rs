//! Frames that [`plain`](crate::plain) has no time for: VLAN tags, options, extension headers, fragments, ICMP errors,
//! and whatever makes no sense.

use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::counter::Reason;
use lb_common::service::NO_SERVICE;
use lb_common::settings::Settings;
use network_types::eth::EtherType;

use crate::forward::{forward, to_destination};
use crate::match_service::{Addressed, match_service};
use crate::network::{TRUNCATED, is_vlan, link};
use crate::tables::{Families, Family};
use crate::track::{Tracked, settle, track};
use crate::{Frame, Packet, Verdict};

/// Decides about a frame that is for this director, whatever is in it.
#[inline(always)]
pub(crate) fn unusual<F: Frame, T: Families>(frame: &mut F, settings: &Settings, tables: &T) -> Verdict {
    let link = link(frame);
    if link.ether_type == EtherType::Ipv4 as u16 {
        balance::<KEY_WORDS_V4, _, _, _>(frame, link.offset, settings, tables)
    } else if link.ether_type == EtherType::Ipv6 as u16 {
        balance::<KEY_WORDS_V6, _, _, _>(frame, link.offset, settings, tables)
    } else if link.ether_type == TRUNCATED {
        Verdict::pass(Reason::PassMalformed)
    } else if is_vlan(link.ether_type) {
        Verdict::pass(Reason::PassVlan)
    } else {
        Verdict::pass(Reason::PassNotIp)
    }
}

/// Decides about a frame whose IP header is at `offset`.
#[inline(always)]
fn balance<const K: usize, const W: usize, F: Frame, T: Family<K, W>>(
    frame: &mut F,
    offset: usize,
    settings: &Settings,
    tables: &T,
) -> Verdict
where
    Packet<K>: Addressed<W>,
{
    let mut packet = Packet::EMPTY;
    let parsed = frame.parse(offset, &mut packet);
    if let Some(reason) = parsed.reason() {
        return Verdict::pass(reason);
    }
    if parsed.is_later_fragment() {
        if match_service(&packet.to_any_port(), settings, tables) == NO_SERVICE {
            return Verdict::pass(Reason::PassNotAVip);
        }
        return match tables.fragment(&packet, parsed.datagram()) {
            Some(number) => to_destination(frame, number, packet.length(), tables),
            None if frame.hold(&packet, parsed.datagram()) => Verdict::drop(Reason::DropFragmentHeld),
            None => Verdict::pass(Reason::PassFragment),
        };
    }
    let service = match_service(&packet, settings, tables);
    if service == NO_SERVICE {
        return Verdict::pass(Reason::PassNotAVip);
    }
    // An error is not the flow's own, and of a first fragment more is to be remembered.
    let is_known = packet.is_error()
        || parsed.is_first_fragment()
        || match track(&packet, tables) {
            Tracked::Established(number, destination) => {
                return forward(frame, number, destination, packet.length(), tables);
            }
            Tracked::Known => true,
            Tracked::Unknown => false,
        };
    match settle(&packet, service, is_known, tables).into_result() {
        Ok(number) => {
            if parsed.is_first_fragment() {
                tables.remember_fragment(&packet, parsed.datagram(), number);
            }
            to_destination(frame, number, packet.length(), tables)
        }
        Err(verdict) => verdict,
    }
}
