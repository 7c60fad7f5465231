//! What other directors are told: flows that are confirmed, and confirmed ones whose state or real server changes.
//!
//! Nothing is told of an established connection's frames: they change nothing but the second in which it was seen, and
//! of that the daemon tells by reading the table (`lb-userspace/src/sync`).

use lb_common::sync::Event;

use crate::Packet;
use crate::tables::Family;
use crate::track::{Decision, Record};

/// Tells of a packet's flow if what was decided about it is for other directors too, and if there are any.
#[inline(always)]
pub(crate) fn tell<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    decision: Decision,
    tables: &T,
) {
    if decision.is_to_be_told() && tables.settings().is_some_and(|settings| settings.sync.load() != 0) {
        tables.tell(packet);
    }
}

/// What is told of a packet's flow: what its entry is now, whoever made it that. `None` if it is not in the main table: of
/// a flow that sent one packet nobody is told, or a flood would be every director's.
#[inline(always)]
pub fn event<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    tables: &T,
) -> Option<Event> {
    Some(Event::new(&packet.key, tables.find(Record::Confirmed, packet)?.meta))
}
