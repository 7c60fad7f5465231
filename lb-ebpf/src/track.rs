//! Which real server a packet goes to: the one its connection remembers, or one chosen now.
//!
//! A flow's first packets live in a small table of their own and move to the main one with the packet that
//! confirms the flow (for TCP the first that is not a SYN), so that single packets from random sources never
//! evict an established connection.

use lb_common::connection::state::flags;
use lb_common::connection::{
    Entry, Inserted, KEY_WORDS_V4, Meta, State, Timeouts, insert, is_expired, key_v4, lookup, state,
};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::hash::FlowHash;
use lb_common::selector::Selector;
use lb_common::service::SlotTable;

use crate::select::select;
use crate::{Packet, Tables, Verdict};

/// What the main table says of a packet.
#[derive(Clone, Copy)]
pub(crate) enum Tracked<'a> {
    /// Its connection's destination and that one's number: nothing is to be changed or decided.
    Established(u32, &'a Destination),
    /// There is an entry, which is to be changed, or must not be followed.
    Known,
    /// There is none.
    Unknown,
}

/// Looks a packet up in the main table.
///
/// A connection's packets are [`Tracked::Established`] but for the first in each second and state. They read the
/// bucket's lines and write nothing.
#[inline(always)]
pub(crate) fn track<'a, T: Tables>(packet: &Packet, tables: &'a T) -> Tracked<'a> {
    let (key, hash) = key_and_hash(packet, tables);
    let Some(entry) = lookup(tables.connections(), &key, hash) else { return Tracked::Unknown };
    let meta = entry.meta;
    let number = meta.destination();
    match tables.destination(number) {
        Some(destination)
            if meta == meta.touched(next_state(meta, packet), tables.now()) && destination.is_usable() =>
        {
            Tracked::Established(number, destination)
        }
        _ => Tracked::Known,
    }
}

/// Decides about every other packet: a new flow, one to confirm, one to bring up to date, one to reschedule.
///
/// `service` is the number of the virtual server that the packet is for; `is_known` whether the main table has
/// an entry for it.
#[inline(always)]
pub fn decide<T: Tables>(packet: &Packet, service: u32, is_known: bool, tables: &T) -> Decision {
    let (key, hash) = key_and_hash(packet, tables);
    let Some(settings) = tables.settings() else { return Decision::drop(Reason::DropInternal) };
    let timeouts = &settings.timeouts;
    let known = if is_known { lookup(tables.connections(), &key, hash) } else { None };
    let mut stale = None;
    if let Some(entry) = known {
        match follow(entry.meta, packet, timeouts, tables) {
            Some(next) => return bring_up_to_date(entry, next),
            None => stale = Some(entry),
        }
    } else if let Some(entry) = lookup(tables.half_open(), &key, hash) {
        match follow(entry.meta, packet, timeouts, tables) {
            Some(next) if packet.is_tcp() && is_syn(packet) => return bring_up_to_date(entry, next),
            Some(next) => {
                let decision = record(Record::Confirmed, packet, next, tables);
                // Confirmed: the place in the small table is for others. It is not freed, for another CPU may have
                // looked into the main table before us; in state NONE it is the first to go, in two seconds.
                entry.change(next.touched(State::None as u32, next.seen()));
                return decision;
            }
            None => stale = Some(entry),
        }
    }
    let next = match schedule(packet, service, tables) {
        Ok(next) => next,
        Err(decision) => return decision,
    };
    match stale {
        Some(entry) => {
            // Lost to another CPU: the flow's next packet finds what that one wrote.
            entry.change(entry.meta.moved(next.destination(), next.state(), next.seen()));
            Decision::to(next.destination())
        }
        None => record(Record::First, packet, next, tables),
    }
}

#[inline(always)]
fn key_and_hash<T: Tables>(packet: &Packet, tables: &T) -> ([u64; KEY_WORDS_V4], FlowHash) {
    let key = key_v4(packet.addresses, packet.ports, packet.protocol);
    (key, FlowHash::new(&key, tables.flow_seed()))
}

/// The entry's state after this packet.
#[inline(always)]
fn next_state(meta: Meta, packet: &Packet) -> u32 {
    if packet.is_tcp() { state::after_segment(meta.state(), packet.tcp_flags) } else { State::Udp as u32 }
}

/// What an entry becomes with this packet; `None` if it no longer holds.
#[inline(always)]
fn follow<T: Tables>(meta: Meta, packet: &Packet, timeouts: &Timeouts, tables: &T) -> Option<Meta> {
    let next = meta.touched(next_state(meta, packet), tables.now());
    let holds = !is_expired(meta, timeouts, next.seen())
        && !is_new_connection(meta, packet)
        && is_usable(meta, tables);
    holds.then_some(next)
}

#[inline(always)]
fn bring_up_to_date(entry: Entry<'_>, next: Meta) -> Decision {
    // Lost to another CPU that saw the same flow: as good.
    entry.change(next);
    Decision::to(next.destination())
}

/// Whether frames may be sent to the destination of an entry.
#[inline(always)]
fn is_usable<T: Tables>(meta: Meta, tables: &T) -> bool {
    tables.destination(meta.destination()).is_some_and(Destination::is_usable)
}

/// A SYN that finds a closed connection opens a new one (`is_new_conn_expected`, conn_reuse_mode 1).
#[inline(always)]
fn is_new_connection(meta: Meta, packet: &Packet) -> bool {
    packet.is_tcp()
        && is_syn(packet)
        && (meta.state() == State::TimeWait as u32 || meta.state() == State::Close as u32)
}

/// A SYN without ACK or RST.
#[inline(always)]
fn is_syn(packet: &Packet) -> bool {
    packet.tcp_flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN
}

/// Chooses a real server for a new connection: what to remember of it, or the verdict.
#[inline(always)]
fn schedule<T: Tables>(packet: &Packet, service: u32, tables: &T) -> Result<Meta, Decision> {
    let service = tables.service(service).ok_or(Decision::drop(Reason::DropInternal))?;
    let table = SlotTable::from_word(service.table.load());
    let selector = Selector::from_number(table.selector).ok_or(Decision::drop(Reason::DropInternal))?;
    if packet.is_tcp() && !is_syn(packet) && !selector.is_reproducible() {
        // In the middle of a connection that nobody remembers.
        return Err(Decision::pass(Reason::PassNoConnection));
    }
    let destination =
        select(table, packet, selector, tables).ok_or(Decision::drop(Reason::DropNoRealServer))?;
    tables.count_connection(destination);
    tables.log_scheduled(packet, destination);
    let meta = Meta::new(destination, State::None, 0);
    Ok(meta.touched(next_state(meta, packet), tables.now()))
}

/// Which table a flow is recorded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The small one of flows that sent one packet.
    First,
    /// The main one.
    Confirmed,
}

/// Records a flow that neither table knew; returns where to forward.
#[inline(always)]
fn record<T: Tables>(which: Record, packet: &Packet, content: Meta, tables: &T) -> Decision {
    let mut decision = tables.try_record(which, packet, content);
    if decision == Decision::LOST {
        decision = tables.try_record(which, packet, content);
    }
    if decision == Decision::LOST {
        tables.count(Reason::InsertLost);
        decision = Decision::to(content.destination());
    }
    decision
}

/// Records a flow; [`Decision::LOST`] if another CPU got in the way.
#[inline(always)]
pub fn try_record<T: Tables>(which: Record, packet: &Packet, content: Meta, tables: &T) -> Decision {
    let (key, hash) = key_and_hash(packet, tables);
    let Some(settings) = tables.settings() else { return Decision::drop(Reason::DropInternal) };
    let (table, evicted) = match which {
        Record::First => (tables.half_open(), Reason::EvictedHalfOpen),
        Record::Confirmed => (tables.connections(), Reason::EvictedLive),
    };
    match insert(table, &key, hash, content, content.seen(), &settings.timeouts) {
        Inserted::Stored => Decision::to(content.destination()),
        Inserted::EvictedLive => {
            tables.count(evicted);
            Decision::to(content.destination())
        }
        Inserted::Existing(meta) => Decision::to(meta.destination()),
        Inserted::Lost => Decision::LOST,
    }
}

/// A `Result<u32, Verdict>` in one register: what a function of a BPF program can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision(u64);

impl Decision {
    const PASS: u64 = 1 << 32;
    const DROP: u64 = 2 << 32;
    /// No decision: a flow could not be recorded.
    pub const LOST: Self = Self(4 << 32);

    #[inline(always)]
    const fn to(destination: u32) -> Self {
        Self(destination as u64)
    }

    #[inline(always)]
    const fn pass(reason: Reason) -> Self {
        Self(Self::PASS | reason as u64)
    }

    #[inline(always)]
    const fn drop(reason: Reason) -> Self {
        Self(Self::DROP | reason as u64)
    }

    /// From the register.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The register.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn into_result(self) -> Result<u32, Verdict> {
        let number = self.0 as u32;
        if self.0 & (Self::PASS | Self::DROP) == 0 {
            return Ok(number);
        }
        let reason = Reason::from_number(number).unwrap_or(Reason::DropInternal);
        Err(if self.0 & Self::PASS != 0 { Verdict::Pass(reason) } else { Verdict::Drop(reason) })
    }
}
