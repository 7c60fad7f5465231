//! A virtual server and a new flow to a real server: the selector picks a slot, the slot names a destination.

use lb_common::destination::Destination;
use lb_common::selector::{
    NO_DESTINATION, Options, Selector, hash_slot, hashed, maglev_fallback, maglev_slot,
};
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
    let options = Options::from_byte(table.selector);
    let port = if options.contains(Options::PORT) { packet.source_port() } else { 0 };
    let client = hashed(packet.source(), port);
    let position = match selector {
        Selector::Counter => {
            let picks = tables.count_pick(tables.slot(table.base)?);
            // Exact rotation needs the modulo; only new flows come here.
            (picks % u64::from(table.length)) as u32
        }
        Selector::Source => hash_slot(client),
        Selector::Destination => hash_slot(hashed(packet.destination(), 0)),
        Selector::Maglev => {
            let found = tables.maglev(table, client);
            tables.note(Note::OwnSlot, found >> 32);
            found as u32
        }
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

/// The slot of a client for [`Selector::Maglev`] above, and below the one that it is to have: the same; or if that has no
/// real server, with [`Options::FALLBACK`], the one that `search` finds; [`NO_DESTINATION`] for none.
#[inline(always)]
pub fn maglev<T: Tables>(table: SlotTable, client: u32, tables: &T, search: impl Fn(&mut Fallback)) -> u64 {
    let own = if table.length == 0 { NO_DESTINATION } else { maglev_slot(client, table.length) };
    let mut found = own;
    if Options::from_byte(table.selector).contains(Options::FALLBACK)
        && let Some(slot) = tables.slot(table.base.wrapping_add(SLOT_HEADER).wrapping_add(own))
        && slot.load() as u32 == NO_DESTINATION
    {
        let mut fallback = Fallback::new(table, client, own);
        search(&mut fallback);
        found = fallback.found;
    }
    u64::from(own) << 32 | u64::from(found)
}

/// A search for another slot than the first, which has no real server, of a table for [`Selector::Maglev`].
///
/// It can take as many tries as there are slots, which is more than the verifier follows in a loop: in the kernel,
/// `bpf_loop` tries one after the other.
#[repr(C)]
#[derive(Debug)]
pub struct Fallback {
    table: u64,
    client: u32,
    first: u32,
    found: u32,
    /// So that no byte of it is left unwritten, which the verifier would not let another function have.
    _padding: u32,
}

impl Fallback {
    #[inline(always)]
    const fn new(table: SlotTable, client: u32, first: u32) -> Self {
        Self { table: table.word(), client, first, found: NO_DESTINATION, _padding: 0 }
    }

    /// Tries the `nth` slot. Whether the search is over.
    #[inline(always)]
    pub fn is_over<T: Tables>(&mut self, nth: u32, tables: &T) -> bool {
        let table = SlotTable::from_word(self.table);
        if table.length == 0 {
            return true;
        }
        let position = maglev_fallback(self.client, table.length, self.first, nth);
        let Some(slot) = tables.slot(table.base + SLOT_HEADER + position) else { return true };
        if tables.destination(slot.load() as u32).is_some_and(Destination::is_usable) {
            self.found = position;
            return true;
        }
        false
    }

    /// The slots of the table: how often to try at most.
    #[inline(always)]
    #[must_use]
    pub const fn tries(&self) -> u32 {
        SlotTable::from_word(self.table).length
    }
}
