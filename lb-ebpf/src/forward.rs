//! The rewrite: destination MAC = real server, source MAC = the interface's own. Nothing else changes, unless the
//! real server is in another VLAN: then its VLAN's number.

use lb_common::counter::Reason;
use lb_common::destination::Destination;
use network_types::eth::{EthHdr, EtherType};

use crate::frame::Words;
use crate::network::{TRUNCATED, VLAN_TAG, is_vlan, link};
use crate::tables::Tables;
use crate::{Frame, Verdict};

/// Forwards a frame to the destination `number`. `length` is that of its IP packet in bytes.
#[inline(always)]
pub(crate) fn to_destination<F: Frame, T: Tables>(
    frame: &mut F,
    number: u32,
    length: u32,
    tables: &T,
) -> Verdict {
    match tables.destination(number) {
        Some(destination) if destination.is_straight() => forward(frame, number, destination, length, tables),
        Some(_) => Verdict::detour(number, length),
        None => Verdict::drop(Reason::DropInternal),
    }
}

/// Rewrites and counts a frame that goes straight to `destination`, whose number is `number`.
#[inline(always)]
pub(crate) fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    number: u32,
    destination: &Destination,
    length: u32,
    tables: &T,
) -> Verdict {
    if !frame.set_macs(destination.ethernet.load(), destination.source_tail.load() as u32) {
        return Verdict::pass(Reason::PassMalformed);
    }
    tables.count_forwarded(number, length);
    Verdict::TRANSMIT
}

/// Carries out [`Outcome::Detour`](crate::Outcome::Detour).
#[inline(always)]
pub fn take_detour<F: Frame, T: Tables>(frame: &mut F, number: u32, length: u32, tables: &T) -> Verdict {
    let Some(destination) = tables.destination(number) else { return Verdict::drop(Reason::DropInternal) };
    let detour = destination.detour();
    if detour.is_local() {
        tables.count_forwarded(number, length);
        return Verdict::DELIVER;
    }
    if let Some(vlan) = detour.vlan()
        && !set_vlan(frame, vlan)
    {
        return Verdict::drop(Reason::DropInternal);
    }
    let verdict = forward(frame, number, destination, length, tables);
    match detour.interface() {
        Some(place) if verdict == Verdict::TRANSMIT && place as usize != tables.interface() => {
            Verdict::redirect(place)
        }
        _ => verdict,
    }
}

/// The bits of a tag's control information that are not the VLAN's number: priority and drop eligibility.
const NOT_VLAN: u16 = 0xf000;

/// Puts a frame into the VLAN `id`: in its innermost tag, or in one of its own.
#[inline(always)]
fn set_vlan<F: Frame>(frame: &mut F, id: u16) -> bool {
    let link = link(frame);
    if link.offset == EthHdr::LEN {
        const BEHIND_THE_MACS: usize = EthHdr::LEN - size_of::<u16>();
        return frame.make_room_for_tag()
            && frame.set_u16(BEHIND_THE_MACS, (EtherType::Ieee8021q as u16).to_le_bytes())
            && frame.set_u16(BEHIND_THE_MACS + 2, id.to_be_bytes());
    }
    if link.ether_type == TRUNCATED || is_vlan(link.ether_type) {
        return false;
    }
    let tag = link.offset - VLAN_TAG;
    let Some(control) = frame.fetch::<2>(tag) else { return false };
    let kept = u16::from_be(control.u16_at(0)) & NOT_VLAN;
    frame.set_u16(tag, (kept | id).to_be_bytes())
}
