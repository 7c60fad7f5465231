//! Nearly all new flows, in one go: what [`decide`](crate::track::decide) and
//! [`try_record`](crate::track::try_record) do, where nothing is in the way that one look would not tell.

use lb_common::acl::Gate;
use lb_common::connection::{Meta, State, find_room};
use lb_common::hash::FlowHash;
use lb_common::persistence::Persistence;
use lb_common::policy::ServiceOptions;
use lb_common::selector::Selector;
use lb_common::service::SlotTable;

use crate::Packet;
use crate::select::select;
use crate::tables::Family;
use crate::track::{Decision, Record, next_state, sorry_server};

/// Chooses a real server for a flow that is in neither table, and records it: where it goes; or what is to be recorded, if
/// that takes more than one look; or [`Decision::NONE`], if somebody else has to decide.
///
/// The main table has no entry for the flow, and the packet is no TCP segment but a SYN.
#[inline(always)]
pub fn first<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    number: u32,
    tables: &T,
) -> Decision {
    match try_first(packet, number, tables) {
        Some(Ok(decision) | Err(decision)) => decision,
        None => Decision::NONE,
    }
}

/// `None` is before anything has changed.
#[inline(always)]
fn try_first<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    number: u32,
    tables: &T,
) -> Option<Result<Decision, Decision>> {
    let (settings, service) = tables.settings().zip(tables.service(number))?;
    let table = SlotTable::from_word(service.table.load());
    let selector = Selector::from_number(table.selector)?;
    let is_plain = settings.acl.load() | service.acl.load() == Gate::OPEN.word()
        && service.persistence.load() == Persistence::NONE.word()
        && !ServiceOptions::from_word(service.options.load()).is_one_packet();
    if !is_plain || tables.is_logged() || packet.is_error() || packet.has_impossible_source() {
        return None;
    }
    let (timeouts, now) = (&settings.timeouts, tables.now());
    let hash = FlowHash::new(&packet.key, tables.flow_seed());
    let room = find_room(tables.half_open(), &packet.key, hash, timeouts, now)?;
    let destination = match select::<true, K, T>(table, packet, number, selector, tables) {
        Some(destination) => destination,
        None => match sorry_server(service, tables) {
            Ok(destination) => destination,
            Err(decision) => return Some(Err(decision)),
        },
    };
    tables.count_connection(destination);
    let meta = Meta::new(destination, State::None, 0);
    let content = meta.touched(next_state(meta, packet), now);
    if room.take(&packet.key, content, now, |before, after| tables.account(before, after)) {
        return Some(Ok(Decision::to(destination)));
    }
    Some(Ok(Decision::record(Record::First, content)))
}
