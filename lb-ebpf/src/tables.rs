//! What the stages look up and write, wherever it lies: BPF maps in the kernel, vectors in a test.

use lb_common::Word;
use lb_common::connection::{Buckets, Entry, KEY_WORDS_V4, KEY_WORDS_V6, Meta};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::hash::FlowSeed;
use lb_common::load::{Load, account};
use lb_common::locality::{LocalityKey, Members};
use lb_common::selector::{Found, Search};
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, Index, Service, SlotTable};
use lb_common::settings::Settings;
use lb_common::trace::Note;

use crate::Packet;
use crate::acl::Admission;
use crate::locality::{Member, add_member, member};
use crate::select::{search, step, stride};
use crate::track::{Decision, Record};

/// The tables of one interface's program that both families share.
pub trait Tables: Sized {
    /// Settings, interfaces among them.
    fn settings(&self) -> Option<&Settings>;
    /// Which of the interfaces the frame came in on.
    fn interface(&self) -> usize;
    /// The secret of the connection tables' hash.
    fn flow_seed(&self) -> FlowSeed;
    /// A virtual server by its number.
    fn service(&self, number: u32) -> Option<&Service>;
    /// A word of the slot map.
    fn slot(&self, index: u32) -> Option<&Word>;
    /// A destination by its number.
    fn destination(&self, number: u32) -> Option<&Destination>;
    /// How many connections a destination has.
    fn load(&self, destination: u32) -> Option<&Load>;
    /// The servers that an address had of late (lblc, lblcr).
    fn members(&self, key: &LocalityKey) -> Option<Members>;
    /// A random number.
    fn random(&self) -> u32;
    /// The current second ([`lb_common::clock`]).
    fn now(&self) -> u32;
    /// [`select::by_hash`](crate::select::by_hash), out of line in the kernel.
    fn by_hash(&self, table: SlotTable, client: u32) -> u64;
    /// Whether anybody follows the log of what is scheduled.
    #[inline(always)]
    fn is_logged(&self) -> bool {
        false
    }
    /// Counts a verdict that is not to forward, or an event.
    fn count(&self, reason: Reason);
    /// Counts a forwarded frame whose IP packet has `bytes` bytes.
    fn count_forwarded(&self, destination: u32, bytes: u32);
    /// Counts a connection that was scheduled.
    fn count_connection(&self, destination: u32);

    // What the kernel does otherwise: functions that are verified by themselves.

    /// Takes the steps of a walk over a slot table.
    #[inline(always)]
    fn walk(&self, search: &mut Search) {
        let (steps, are_strides) = search.steps();
        let mut i = 0;
        while i < steps && if are_strides { stride(i, search, self) } else { step(i, search, self) } {
            i += 1;
        }
    }

    /// [`select::search`](search).
    #[inline(always)]
    fn search(&self, table: SlotTable, start: Option<u32>) -> Found {
        let mut noted = Search::NONE;
        search(table, start, &mut noted, self)
    }

    /// [`locality::member`](member).
    #[inline(always)]
    fn member(&self, service: u32, address: u64, touch: bool) -> Member {
        member(service, address, touch, self)
    }

    /// [`locality::add_member`](add_member).
    #[inline(always)]
    fn add_member(&self, service: u32, address: u64, destination: u32, is_one_of_several: bool) {
        add_member(service, address, destination, is_one_of_several, self);
    }

    // What a dry run does otherwise.

    /// Counts picks from a slot table; returns how many there were before.
    #[inline(always)]
    fn count_picks(&self, picks: &Word, more: u64) -> u64 {
        picks.fetch_add(more)
    }

    /// Replaces the servers that an address had.
    fn remember_members(&self, key: &LocalityKey, members: &Members);

    /// Changes a connection's entry to `next`. Lost to another CPU that saw the same flow: as good.
    #[inline(always)]
    fn change(&self, entry: Entry<'_>, next: Meta) {
        if next != entry.meta && entry.change(next) {
            self.account(entry.meta, next);
        }
    }

    /// [`load::account`](account), out of line in the kernel.
    #[inline(always)]
    fn account(&self, before: Meta, after: Meta) {
        account(|number| self.load(number), before, after);
    }

    /// Notes what a stage found out or decided.
    #[inline(always)]
    fn note(&self, _note: Note, _value: u64) {}
}

/// The tables of one address family: flows have keys of `K` words, service addresses of `W`.
pub trait Family<const K: usize, const W: usize>: Tables {
    /// Where connections are kept.
    type Connections: Buckets<K>;

    /// Connections of which at least two packets were seen.
    fn connections(&self) -> &Self::Connections;
    /// Flows of which one packet was seen, or several SYNs.
    fn half_open(&self) -> &Self::Connections;
    /// Which service addresses are in use.
    fn index(&self, settings: &Settings) -> Index;
    /// A bucket of service addresses.
    fn addresses(&self, position: u32) -> Option<&AddressBucket<W>>;
    /// [`form::find`](lb_common::form::find), out of line in the kernel.
    fn find_form(&self, index: Index, key: &[u64; W]) -> u32;
    /// Notes whose packet it is.
    #[inline(always)]
    fn see(&self, _packet: &Packet<K>) {}
    /// Tells whoever follows the log that a flow was scheduled.
    fn log_scheduled(&self, packet: &Packet<K>, destination: u32);

    /// Where the fragments of the datagram `id` go, if its first was seen of late. `packet` is one of them.
    fn fragment(&self, packet: &Packet<K>, id: u32) -> Option<u32>;
    /// Remembers where the fragments of the datagram `id` go, unless that is known already. `packet` is the first.
    fn remember_fragment(&self, packet: &Packet<K>, id: u32, destination: u32);

    /// What the longest prefix of `scope` that holds the packet's source says: one of the rules of
    /// [`lb_common::acl`].
    fn rule(&self, scope: u32, packet: &Packet<K>) -> u32;
    /// [`acl::admit`](crate::acl::admit), out of line in the kernel.
    fn admit(&self, packet: &Packet<K>, service: u32) -> Admission;

    /// [`lookup`](lb_common::connection::lookup) in one of the two, out of line in the kernel: what comes after is not
    /// verified again for every place an entry may be in.
    fn find(&self, which: Record, packet: &Packet<K>) -> Option<Entry<'_>>;

    /// [`persist::template`](crate::persist::template), out of line in the kernel.
    fn template(&self, packet: &Packet<K>, service: u32, touch: bool) -> u64;
    /// Makes sure that there is a template for what was decided, and returns where it leads: [`persist::place`], and
    /// [`persist::persist`]; both out of line in the kernel.
    ///
    /// [`persist::place`]: crate::persist::place
    /// [`persist::persist`]: crate::persist::persist
    fn persist(&self, packet: &Packet<K>, service: u32, decision: Decision) -> u32;

    /// [`first::first`](crate::first::first), out of line in the kernel.
    fn first(&self, packet: &Packet<K>, service: u32) -> Decision;
    /// [`track::decide`](crate::track::decide), out of line in the kernel.
    fn decide(&self, packet: &Packet<K>, service: u32, is_known: bool, chosen: u32) -> Decision;
    /// [`track::schedule`](crate::track::schedule), out of line in the kernel: it is come to in many ways.
    fn schedule(&self, packet: &Packet<K>, service: u32, moves: bool, chosen: u32) -> Decision;
    /// [`track::try_record`](crate::track::try_record), out of line in the kernel.
    fn try_record(&self, packet: &Packet<K>, decision: Decision) -> Decision;
    /// Tells other directors what the entry of a packet's flow has become: [`tell::event`](crate::tell::event), out of
    /// line in the kernel.
    fn tell(&self, packet: &Packet<K>);
}

/// The tables of both families.
pub trait Families: Family<KEY_WORDS_V4, ADDRESS_WORDS_V4> + Family<KEY_WORDS_V6, ADDRESS_WORDS_V6> {}

impl<T: Family<KEY_WORDS_V4, ADDRESS_WORDS_V4> + Family<KEY_WORDS_V6, ADDRESS_WORDS_V6>> Families for T {}
