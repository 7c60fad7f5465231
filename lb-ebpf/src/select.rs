//! A virtual server and a new flow to a real server: the selector picks a slot, the slot names a destination.

use lb_common::load::Load;
use lb_common::selector::{Found, NO_DESTINATION, Search, Selector, Slot, hash_slot};
use lb_common::service::{SLOT_HEADER, SlotTable};
use lb_common::trace::Note;

use crate::Packet;
use crate::locality::local;
use crate::tables::Tables;

/// The destination for a new flow to the virtual server `service`; `None` if no real server is usable.
#[inline(always)]
pub(crate) fn select<const K: usize, T: Tables>(
    table: SlotTable,
    packet: &Packet<K>,
    service: u32,
    selector: Selector,
    tables: &T,
) -> Option<u32> {
    tables.note(Note::SlotTable, table.word());
    if table.length == 0 {
        return None;
    }
    let number = match selector {
        Selector::Counter => in_turn(table, tables)?,
        Selector::Source => in_slot(table, hash_slot(packet.source()), tables)?,
        Selector::Destination => in_slot(table, hash_slot(packet.destination()), tables)?,
        Selector::Locality | Selector::ReplicatedLocality => {
            local(table, service, packet.destination_word(), tables)
        }
        _ => tables.search(table, None).destination(),
    };
    if number == NO_DESTINATION {
        return None;
    }
    // The daemon publishes a table without a server before it takes the server's record away.
    tables.destination(number)?.is_usable().then_some(number)
}

/// The next slot's server, or if it is overloaded the next one's that is not.
#[inline(always)]
fn in_turn<T: Tables>(table: SlotTable, tables: &T) -> Option<u32> {
    let picks = tables.slot(table.base)?;
    // Exact rotation needs the modulo; only new flows come here.
    let position = (tables.count_picks(picks, 1) % u64::from(table.length)) as u32;
    let number = in_slot(table, position, tables)?;
    if number != NO_DESTINATION {
        return Some(number);
    }
    let found = tables.search(table, Some(position));
    // The walk goes on where it ended (`ip_vs_rr_schedule`, `ip_vs_wrr_schedule`).
    tables.count_picks(picks, u64::from(found.passed()));
    Some(found.destination())
}

/// The server of a slot, or [`NO_DESTINATION`] if it is overloaded.
#[inline(always)]
fn in_slot<T: Tables>(table: SlotTable, position: u32, tables: &T) -> Option<u32> {
    tables.note(Note::Slot, u64::from(position));
    if position >= table.length {
        return None;
    }
    let slot = Slot::from_word(tables.slot(table.base + SLOT_HEADER + position)?.load());
    if slot.has_thresholds() && tables.load(slot.destination()).is_some_and(Load::is_overloaded) {
        return Some(NO_DESTINATION);
    }
    Some(slot.destination())
}

/// Walks over a table: for the next server that is not overloaded, from a slot on, or else for the best. What is found
/// on the way is noted in `search`.
#[inline(always)]
pub fn search<T: Tables>(table: SlotTable, start: Option<u32>, search: &mut Search, tables: &T) -> Found {
    let first = table.base + SLOT_HEADER;
    if let Some(start) = start {
        *search = Search::next(first, table.length, start);
        tables.walk(search);
        return search.found();
    }
    let Some(selector) = Selector::from_number(table.selector) else { return Found::NOTHING };
    *search = Search::best(selector, first, table.length);
    tables.walk(search);
    if selector == Selector::TwoChoices {
        search.draw([tables.random(), tables.random()]);
        tables.walk(search);
    }
    search.found()
}

/// One step of a walk; whether to go on.
#[inline(always)]
pub fn step<T: Tables>(i: u32, search: &mut Search, tables: &T) -> bool {
    let Some(slot) = tables.slot(search.slot(i)) else { return false };
    let slot = Slot::from_word(slot.load());
    match tables.load(slot.destination()) {
        Some(load) => search.step(slot, load),
        None => true,
    }
}
