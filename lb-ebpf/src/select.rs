//! A virtual server and a new flow to a real server: the selector picks a slot, the slot names a destination.

use lb_common::selector::{
    Found, NO_DESTINATION, Options, Search, Selector, Slot, fallback_slot, hash_slot, hashed, maglev_slot,
};
use lb_common::service::{SLOT_HEADER, SLOT_SERVERS, SlotTable};
use lb_common::trace::Note;

use crate::Packet;
use crate::locality::local;
use crate::tables::Tables;

/// The destination for a new flow to the virtual server `service`; `None` if no real server is usable. `IN_LINE` saves a
/// call where the stack has room for a long hash.
#[inline(always)]
pub(crate) fn select<const IN_LINE: bool, const K: usize, T: Tables>(
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
    let options = Options::from_byte(table.selector);
    let port = if options.contains(Options::PORT) { packet.source_port() } else { 0 };
    let client = hashed(packet.source(), port);
    let number = match selector {
        Selector::Counter => in_turn(table, tables)?,
        Selector::Source if !options.contains(Options::FALLBACK) => {
            in_slot(table, hash_slot(client), tables)?
        }
        Selector::Maglev if IN_LINE && !options.contains(Options::FALLBACK) => {
            let slot = maglev_slot(client, table.length);
            tables.note(Note::OwnSlot, u64::from(slot));
            in_slot(table, slot, tables)?
        }
        Selector::Source | Selector::Maglev => {
            if options.contains(Options::FALLBACK) && takes_none(table, tables) {
                return None;
            }
            let found = tables.by_hash(table, client);
            tables.note(Note::OwnSlot, found >> 32);
            in_slot(table, found as u32, tables)?
        }
        Selector::Destination => in_slot(table, hash_slot(hashed(packet.destination(), 0)), tables)?,
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
    if takes_none(table, tables) {
        return None;
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
    let slot = slot(table.base + SLOT_HEADER + position, tables)?;
    if slot.is_overloaded(|number| tables.load(number)) {
        return Some(NO_DESTINATION);
    }
    Some(slot.destination())
}

/// Whether none of a table's real servers takes connections, which a walk over all slots would find out, too: there may be
/// a hundred times as many.
#[inline(always)]
fn takes_none<T: Tables>(table: SlotTable, tables: &T) -> bool {
    let Some(servers) = tables.slot(table.base + SLOT_SERVERS) else { return false };
    let servers = table.servers(servers.load());
    servers.is_some_and(|servers| tables.search(servers, Some(0)).destination() == NO_DESTINATION)
}

/// A slot by its place in the slot map.
#[inline(always)]
fn slot<T: Tables>(index: u32, tables: &T) -> Option<Slot> {
    Some(Slot::from_word(tables.slot(index)?.load()))
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

/// The `i`th step of a walk; whether to go on.
#[inline(always)]
pub fn step<T: Tables>(i: u32, search: &mut Search, tables: &T) -> bool {
    search.step(i, |index| slot(index, tables), |number| tables.load(number))
}

/// The `i`th stride of a walk; whether to go on.
#[inline(always)]
pub fn stride<T: Tables>(i: u32, search: &mut Search, tables: &T) -> bool {
    search.stride(i, |index| slot(index, tables), |number| tables.load(number))
}

/// The slot of a client above, and below the one that it is to have: the same; or if that one's real server takes no
/// connections, with [`Options::FALLBACK`], the one that `search` finds; [`NO_DESTINATION`] for none.
#[inline(always)]
pub fn by_hash<T: Tables>(table: SlotTable, client: u32, tables: &T, search: impl Fn(&mut Fallback)) -> u64 {
    let own = match Selector::from_number(table.selector) {
        _ if table.length == 0 => NO_DESTINATION,
        Some(Selector::Maglev) => maglev_slot(client, table.length),
        _ => hash_slot(client),
    };
    let mut found = own;
    if Options::from_byte(table.selector).contains(Options::FALLBACK)
        && !takes_connections(table, own, tables)
    {
        let mut fallback = Fallback { table: table.word(), client, own, found: NO_DESTINATION, _padding: 0 };
        search(&mut fallback);
        found = fallback.found;
    }
    u64::from(own) << 32 | u64::from(found)
}

/// Whether a slot has a real server that takes connections (`is_unavailable` of ip_vs_sh.c and ip_vs_mh.c).
#[inline(always)]
fn takes_connections<T: Tables>(table: SlotTable, position: u32, tables: &T) -> bool {
    let slot = slot(table.base.wrapping_add(SLOT_HEADER).wrapping_add(position), tables);
    slot.is_some_and(|slot| {
        slot.destination() != NO_DESTINATION && !slot.is_overloaded(|number| tables.load(number))
    })
}

/// A search for another slot than a client's own, whose real server takes no connections.
///
/// It can take as many tries as there are slots, which is more than the verifier follows in a loop: in the kernel,
/// `bpf_loop` tries one after the other.
#[repr(C)]
#[derive(Debug)]
pub struct Fallback {
    table: u64,
    client: u32,
    own: u32,
    found: u32,
    /// So that no byte of it is left unwritten, which the verifier would not let another function have.
    _padding: u32,
}

impl Fallback {
    /// Tries the `nth` slot. Whether the search is over.
    #[inline(always)]
    pub fn is_over<T: Tables>(&mut self, nth: u32, tables: &T) -> bool {
        let table = SlotTable::from_word(self.table);
        let Some(selector) = Selector::from_number(table.selector) else { return true };
        if table.length == 0 {
            return true;
        }
        let position = fallback_slot(selector, self.client, table.length, self.own, nth);
        if takes_connections(table, position, tables) {
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
