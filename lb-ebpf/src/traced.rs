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
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        self.tables.settings()
    }

    #[inline(always)]
    fn interface(&self) -> usize {
        self.tables.interface()
    }

    #[inline(always)]
    fn flow_seed(&self) -> FlowSeed {
        self.tables.flow_seed()
    }

    #[inline(always)]
    fn service(&self, number: u32) -> Option<&Service> {
        self.tables.service(number)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Word> {
        self.tables.slot(index)
    }

    #[inline(always)]
    fn destination(&self, number: u32) -> Option<&Destination> {
        self.tables.destination(number)
    }

    #[inline(always)]
    fn load(&self, destination: u32) -> Option<&Load> {
        self.tables.load(destination)
    }

    #[inline(always)]
    fn members(&self, key: &LocalityKey) -> Option<Members> {
        self.tables.members(key)
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        self.tables.random()
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        self.tables.now()
    }

    #[inline(always)]
    fn by_hash(&self, table: SlotTable, client: u32) -> u64 {
        self.tables.by_hash(table, client)
    }

    #[inline(always)]
    fn is_logged(&self) -> bool {
        self.tables.is_logged()
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
    fn count_connection(&self, destination: u32) {
        self.tables.count_connection(destination);
    }

    #[inline(always)]
    fn walk(&self, search: &mut Search) {
        self.tables.walk(search);
    }

    #[inline(always)]
    fn search(&self, table: SlotTable, start: Option<u32>) -> Found {
        self.tables.search(table, start)
    }

    #[inline(always)]
    fn member(&self, service: u32, address: u64, touch: bool) -> Member {
        self.tables.member(service, address, touch)
    }

    #[inline(always)]
    fn add_member(&self, service: u32, address: u64, destination: u32, is_one_of_several: bool) {
        self.tables.add_member(service, address, destination, is_one_of_several);
    }

    #[inline(always)]
    fn count_picks(&self, picks: &Word, more: u64) -> u64 {
        self.tables.count_picks(picks, more)
    }

    #[inline(always)]
    fn remember_members(&self, key: &LocalityKey, members: &Members) {
        self.tables.remember_members(key, members);
    }

    #[inline(always)]
    fn change(&self, entry: Entry<'_>, next: Meta) {
        self.tables.change(entry, next);
    }

    #[inline(always)]
    fn account(&self, before: Meta, after: Meta) {
        self.tables.account(before, after);
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

    #[inline(always)]
    fn connections(&self) -> &T::Connections {
        self.tables.connections()
    }

    #[inline(always)]
    fn half_open(&self) -> &T::Connections {
        self.tables.half_open()
    }

    #[inline(always)]
    fn index(&self, settings: &Settings) -> Index {
        self.tables.index(settings)
    }

    #[inline(always)]
    fn addresses(&self, position: u32) -> Option<&AddressBucket<W>> {
        self.tables.addresses(position)
    }

    #[inline(always)]
    fn find_form(&self, index: Index, key: &[u64; W]) -> u32 {
        self.tables.find_form(index, key)
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

    #[inline(always)]
    fn log_scheduled(&self, packet: &Packet<K>, destination: u32) {
        self.tables.log_scheduled(packet, destination);
    }

    #[inline(always)]
    fn fragment(&self, packet: &Packet<K>, id: u32) -> Option<u32> {
        self.tables.fragment(packet, id)
    }

    #[inline(always)]
    fn remember_fragment(&self, packet: &Packet<K>, id: u32, destination: u32) {
        self.tables.remember_fragment(packet, id, destination);
    }

    #[inline(always)]
    fn rule(&self, scope: u32, packet: &Packet<K>) -> u32 {
        self.tables.rule(scope, packet)
    }

    #[inline(always)]
    fn admit(&self, packet: &Packet<K>, service: u32) -> Admission {
        self.tables.admit(packet, service)
    }

    #[inline(always)]
    fn find(&self, which: Record, packet: &Packet<K>) -> Option<Entry<'_>> {
        self.tables.find(which, packet)
    }

    #[inline(always)]
    fn template(&self, packet: &Packet<K>, service: u32, touch: bool) -> u64 {
        self.tables.template(packet, service, touch)
    }

    #[inline(always)]
    fn persist(&self, packet: &Packet<K>, service: u32, decision: Decision) -> u32 {
        self.tables.persist(packet, service, decision)
    }

    #[inline(always)]
    fn first(&self, packet: &Packet<K>, service: u32) -> Decision {
        self.tables.first(packet, service)
    }

    #[inline(always)]
    fn decide(&self, packet: &Packet<K>, service: u32, is_known: bool, chosen: u32) -> Decision {
        self.tables.decide(packet, service, is_known, chosen)
    }

    #[inline(always)]
    fn schedule(&self, packet: &Packet<K>, service: u32, moves: bool, chosen: u32) -> Decision {
        self.tables.schedule(packet, service, moves, chosen)
    }

    #[inline(always)]
    fn try_record(&self, packet: &Packet<K>, decision: Decision) -> Decision {
        self.tables.try_record(packet, decision)
    }

    #[inline(always)]
    fn tell(&self, packet: &Packet<K>) {
        self.tables.tell(packet);
    }
}
