//! Tables that are used as they are, and a note of what becomes of the frame.
//!
//! Everything that a stage does it does, as without; only what tells the frame's fate is noted as well.

use lb_common::Word;
use lb_common::connection::{Entry, Meta};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::hash::FlowSeed;
use lb_common::load::Load;
use lb_common::locality::{LocalityKey, Members};
use lb_common::sample::{NO_REASON, Sample, addresses, packet_word};
use lb_common::selector::{Found, Search};
use lb_common::service::{AddressBucket, Index, Service, SlotTable};
use lb_common::settings::Settings;
use lb_common::trace::Note;

use crate::acl::Admission;
use crate::locality::Member;
use crate::same::{same, same_looks, same_looks_of_family};
use crate::track::{Decision, Record};
use crate::{Family, Packet, Tables};

/// Tables of whose frames is noted what becomes of them.
pub struct Traced<'a, T> {
    tables: &'a T,
    sample: &'a Sample,
}

impl<'a, T: Tables> Traced<'a, T> {
    /// `tables`, on which a frame begins.
    #[inline(always)]
    #[must_use]
    pub fn new(tables: &'a T, sample: &'a Sample) -> Self {
        sample.begin(tables.interface());
        Self { tables, sample }
    }

    /// The same where the frame has begun before.
    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    pub(crate) const fn continued(tables: &'a T, sample: &'a Sample) -> Self {
        Self { tables, sample }
    }

    /// The tables themselves.
    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    pub(crate) const fn tables(&self) -> &'a T {
        self.tables
    }

    /// Notes the place of the interface that the frame leaves by.
    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    pub(crate) fn note_redirect(&self, place: u32) {
        self.sample.action.store((u64::from(place) + 1) << 32);
    }
}

impl<T: Tables> Tables for Traced<'_, T> {
    same_looks!();

    same! {
        interface() -> usize;
        is_logged() -> bool;
        count_connection(destination: u32);
        member(service: u32, address: u64, touch: bool) -> Member;
        add_member(service: u32, address: u64, destination: u32, is_one_of_several: bool);
        count_picks(picks: &Word, more: u64) -> u64;
        remember_members(key: &LocalityKey, members: &Members);
        change(entry: Entry<'_>, next: Meta);
        account(before: Meta, after: Meta);
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        self.sample.reason.store(u64::from(reason as u32));
        self.tables.count(reason);
    }

    #[inline(always)]
    fn count_forwarded(&self, destination: u32, bytes: u32) {
        // What was counted before is an event on the way, and not what became of the frame.
        self.sample.reason.store(NO_REASON);
        self.sample.server.store(u64::from(destination));
        self.tables.count_forwarded(destination, bytes);
    }

    #[inline(always)]
    fn note(&self, note: Note, value: u64) {
        match note {
            Note::Service => self.sample.service.store(value),
            Note::Established => self.sample.known.store(value),
            _ => {}
        }
    }
}

impl<const K: usize, const W: usize, T: Family<K, W>> Family<K, W> for Traced<'_, T> {
    type Connections = T::Connections;

    same_looks_of_family!();

    same! {
        log_scheduled(packet: &Packet<K>, destination: u32);
        remember_fragment(packet: &Packet<K>, id: u32, destination: u32);
        template(packet: &Packet<K>, service: u32, touch: bool) -> u64;
        persist(packet: &Packet<K>, service: u32, decision: Decision) -> u32;
        first(packet: &Packet<K>, service: u32) -> Decision;
        decide(packet: &Packet<K>, service: u32, is_known: bool, chosen: u32) -> Decision;
        schedule(packet: &Packet<K>, service: u32, moves: bool, chosen: u32) -> Decision;
        try_record(packet: &Packet<K>, decision: Decision) -> Decision;
        tell(packet: &Packet<K>);
    }

    #[inline(always)]
    fn see(&self, packet: &Packet<K>) {
        let [source, destination] = addresses(&packet.key);
        let sample = self.sample;
        sample.source[0].store(source[0]);
        sample.source[1].store(source[1]);
        sample.destination[0].store(destination[0]);
        sample.destination[1].store(destination[1]);
        sample.transport.store(packet.key[K - 1]);
        sample.packet.store(packet_word(packet.length(), K, packet.tcp_flags(), packet.is_error()));
    }
}
