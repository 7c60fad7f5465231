//! A virtual server and a new flow to a real server: the selector picks a slot, the slot names a destination.

use lb_common::selector::{NO_DESTINATION, Selector, hash_slot};
use lb_common::service::{SLOT_HEADER, SlotTable};
use lb_common::trace::Note;

use crate::Packet;
use crate::tables::Tables;

/// The destination for a new flow; `None` if no real server is usable.
#[inline(always)]
pub(crate) fn select<const K: usize, T: Tables>(
    table: SlotTable,
    packet: &Packet<K>,
    selector: Selector,
    tables: &T,
) -> Option<u32> {
    tables.note(Note::SlotTable, table.word());
    if table.length == 0 {
        return None;
    }
    let position = match selector {
        Selector::Counter => {
            let picks = tables.count_pick(tables.slot(table.base)?);
            // Exact rotation needs the modulo; only new flows come here.
            (picks % u64::from(table.length)) as u32
        }
        Selector::Source => hash_slot(packet.source()),
        Selector::Destination => hash_slot(packet.destination()),
    };
    tables.note(Note::Slot, u64::from(position));
    if position >= table.length {
        return None;
    }
    let slot = tables.slot(table.base + SLOT_HEADER + position)?.load() as u32;
    if slot == NO_DESTINATION {
        return None;
    }
    // The daemon publishes a table without a server before it takes the server's record away.
    tables.destination(slot)?.is_usable().then_some(slot)
}
