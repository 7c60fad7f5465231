//! Tables that are read as they are and never written: what a frame would meet, without its doing anything.
//!
//! Whatever a stage would have written, counted or decided is noted in a [`Trace`] instead. A fragment's look-up in an
//! LRU map counts as a use of it in the kernel; the frames of `lb explain` are no fragments.

use lb_common::Word;
use lb_common::connection::{Entry, Meta, State};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::hash::FlowSeed;
use lb_common::load::Load;
use lb_common::locality::{LocalityKey, Members};
use lb_common::selector::{Found, Search};
use lb_common::service::{AddressBucket, Index, Service, SlotTable};
use lb_common::settings::Settings;
use lb_common::trace::{Note, Trace};

use crate::acl::Admission;
use crate::locality::Member;
use crate::same::{same_looks, same_looks_of_family};
use crate::track::{Decision, Record};
use crate::{Family, Packet, Tables};

/// Tables that a frame may pass without leaving a trace in them.
pub struct DryRun<'a, T> {
    tables: &'a T,
    trace: &'a Trace,
}

/// Tables on which dry runs can be made.
pub trait Rehearsal<const K: usize, const W: usize>: Family<K, W> + Sized {
    /// [`track::decide`](crate::track::decide) on `rehearsed`, which is a dry run on these tables; out of line in the
    /// kernel.
    fn rehearse(
        rehearsed: &DryRun<'_, Self>,
        packet: &Packet<K>,
        service: u32,
        is_known: bool,
        chosen: u32,
    ) -> Decision;
    /// [`track::schedule`](crate::track::schedule) likewise.
    fn rehearse_schedule(
        rehearsed: &DryRun<'_, Self>,
        packet: &Packet<K>,
        service: u32,
        moves: bool,
        chosen: u32,
    ) -> Decision;
}

impl<'a, T> DryRun<'a, T> {
    /// A dry run on `tables` that notes in `trace` what decides.
    #[inline(always)]
    #[must_use]
    pub const fn new(tables: &'a T, trace: &'a Trace) -> Self {
        Self { tables, trace }
    }
}

impl<T: Tables> Tables for DryRun<'_, T> {
    same_looks!();

    #[inline(always)]
    fn interface(&self) -> usize {
        self.trace.interface()
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        self.note(Note::Reason, u64::from(reason as u32));
    }

    #[inline(always)]
    fn count_forwarded(&self, destination: u32, bytes: u32) {
        self.note(Note::Forwarded, u64::from(bytes) << 32 | u64::from(destination));
    }

    #[inline(always)]
    fn count_connection(&self, destination: u32) {
        self.note(Note::Connection, u64::from(destination));
    }

    #[inline(always)]
    fn count_picks(&self, picks: &Word, more: u64) -> u64 {
        let picks = picks.load();
        if more == 1 {
            self.note(Note::Picks, picks);
        }
        picks
    }

    #[inline(always)]
    fn remember_members(&self, _key: &LocalityKey, _members: &Members) {}

    #[inline(always)]
    fn member(&self, service: u32, address: u64, _touch: bool) -> Member {
        self.tables.member(service, address, false)
    }

    #[inline(always)]
    fn add_member(&self, _service: u32, _address: u64, _destination: u32, _is_one_of_several: bool) {}

    #[inline(always)]
    fn change(&self, entry: Entry<'_>, next: Meta) {
        if next != entry.meta {
            self.note(Note::Changed, next.word());
        }
    }

    #[inline(always)]
    fn note(&self, note: Note, value: u64) {
        self.trace.note(note, value);
    }
}

impl<const K: usize, const W: usize, T: Rehearsal<K, W>> Family<K, W> for DryRun<'_, T> {
    type Connections = T::Connections;

    same_looks_of_family!();

    #[inline(always)]
    fn see(&self, packet: &Packet<K>) {
        self.note(Note::Transport, packet.key[K - 1]);
        self.note(Note::Packet, u64::from(packet.length()) << 32 | u64::from(packet.tcp_flags()));
    }

    #[inline(always)]
    fn log_scheduled(&self, _packet: &Packet<K>, _destination: u32) {}

    #[inline(always)]
    fn remember_fragment(&self, _packet: &Packet<K>, _id: u32, _destination: u32) {}

    #[inline(always)]
    fn template(&self, packet: &Packet<K>, service: u32, _touch: bool) -> u64 {
        let found = self.tables.template(packet, service, false);
        if found != 0 {
            self.note(Note::Template, found);
        }
        found
    }

    #[inline(always)]
    fn persist(&self, packet: &Packet<K>, service: u32, decision: Decision) -> u32 {
        if self.tables.template(packet, service, false) == 0 {
            self.note(Note::Templated, u64::from(decision.number()));
        }
        decision.number()
    }

    #[inline(always)]
    fn first(&self, _packet: &Packet<K>, _service: u32) -> Decision {
        // It decides as `decide` does, which notes more.
        Decision::NONE
    }

    #[inline(always)]
    fn decide(&self, packet: &Packet<K>, service: u32, is_known: bool, chosen: u32) -> Decision {
        T::rehearse(self, packet, service, is_known, chosen)
    }

    #[inline(always)]
    fn schedule(&self, packet: &Packet<K>, service: u32, moves: bool, chosen: u32) -> Decision {
        T::rehearse_schedule(self, packet, service, moves, chosen)
    }

    #[inline(always)]
    fn tell(&self, _packet: &Packet<K>) {}

    #[inline(always)]
    fn try_record(&self, _packet: &Packet<K>, decision: Decision) -> Decision {
        if let Some(which) = decision.to_record() {
            let recorded = Meta::new(decision.number(), State::None, 0).touched(decision.state(), self.now());
            self.note(Note::Recorded, which as u64);
            self.note(Note::Changed, recorded.word());
        }
        Decision::to(decision.number())
    }
}
