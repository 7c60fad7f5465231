//! Which real server a packet goes to: the one its connection remembers, or one chosen now.
//!
//! A flow's first packets live in a small table of their own and move to the main one with the packet that
//! confirms the flow (for TCP the first that is not a SYN), so that single packets from random sources never
//! evict an established connection.

use lb_common::acl::Gate;
use lb_common::connection::state::flags;
use lb_common::connection::{
    AtHome, Entry, Inserted, Meta, State, Terms, Timeouts, insert, is_expired, look_at_home, state,
};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::hash::FlowHash;
use lb_common::persistence::Persistence;
use lb_common::policy::{OnDown, ServiceOptions};
use lb_common::selector::{NO_DESTINATION, Selector};
use lb_common::service::{Service, SlotTable};
use lb_common::settings::Settings;
use lb_common::trace::{Note, ON_DOWN_MOVED, ON_DOWN_RESET, ON_DOWN_STAYS};

use crate::acl::Admission;
use crate::persist::of_service;
use crate::select::select;
use crate::tables::{Family, Tables};
use crate::tell::tell;
use crate::{Packet, Verdict};

/// What the main table says of a packet.
#[derive(Clone, Copy)]
pub(crate) enum Tracked<'a> {
    /// Its connection's destination and that one's number: nothing is to be changed or decided.
    Established(u32, &'a Destination),
    /// There is an entry, which is to be changed, or must not be followed; or there may be one in another bucket.
    Known,
    /// There is none.
    Unknown,
}

/// Looks a packet up in the main table.
///
/// A connection's packets are [`Tracked::Established`] but for the first in each second and state. They read the
/// bucket's lines and write nothing.
#[inline(always)]
pub(crate) fn track<'a, const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    tables: &'a T,
) -> Tracked<'a> {
    let (key, hash) = (&packet.key, FlowHash::new(&packet.key, tables.flow_seed()));
    let entry = match look_at_home(tables.connections(), key, hash) {
        AtHome::Found(entry) => entry,
        AtHome::Nowhere => return Tracked::Unknown,
        // One flow in hundreds, in a table that is full: `decide` looks further.
        AtHome::Elsewhere => return Tracked::Known,
    };
    let meta = entry.meta;
    tables.note(Note::Established, meta.word());
    let number = meta.destination();
    match tables.destination(number) {
        Some(destination)
            if meta == meta.touched(next_state(meta, packet), tables.now()) && destination.is_straight() =>
        {
            Tracked::Established(number, destination)
        }
        _ => Tracked::Known,
    }
}

/// Decides about every other packet: a new flow, one to confirm, one to bring up to date, one to reschedule.
///
/// `service` is the number of the virtual server that the packet is for; `is_known` whether the main table may
/// have an entry for it. `chosen` is where a new flow goes by its client's template, or [`NO_DESTINATION`]: then a template is
/// looked for, and if there is none but is to be one, the decision is to make it first.
#[inline(always)]
pub fn decide<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    service: u32,
    is_known: bool,
    chosen: u32,
    tables: &T,
) -> Decision {
    let Some(settings) = tables.settings() else { return Decision::drop(Reason::DropInternal) };
    let timeouts = &settings.timeouts;
    if packet.is_error() {
        return relate(packet, service, settings, tables);
    }
    let known = if is_known { tables.find(Record::Confirmed, packet) } else { None };
    let mut stale = None;
    let mut fate = Fate::ANEW;
    if let Some(entry) = known {
        tables.note(Note::Established, entry.meta.word());
        fate = Fate::of(entry.meta, packet, service, timeouts, tables);
        if fate == Fate::FOLLOWS {
            return bring_up_to_date(entry, packet, tables);
        }
        stale = Some(entry);
    } else if let Some(entry) = tables.find(Record::First, packet) {
        tables.note(Note::HalfOpen, entry.meta.word());
        fate = Fate::of(entry.meta, packet, service, timeouts, tables);
        if fate == Fate::FOLLOWS {
            if packet.is_tcp() && is_syn(packet) {
                return bring_up_to_date(entry, packet, tables);
            }
            let next = entry.meta.touched(next_state(entry.meta, packet), tables.now());
            // Confirmed: the place in the small table is for others. It is not freed before the flow is in the main
            // table, for other CPUs to find it; in state NONE it is the first to go, and gone in two seconds.
            tables.change(entry, next.touched(State::None as u32, next.seen()));
            let decision = Decision::record(Record::Confirmed, next);
            return if of_service(service, tables).is_none() { decision } else { decision.with_template() };
        }
        stale = Some(entry);
    }
    let Some(entry) = stale else { return tables.schedule(packet, service, false, chosen) };
    let decision = if fate == Fate::RESET {
        Decision::RESET
    } else {
        tables.schedule(packet, service, fate != Fate::ANEW, chosen)
    };
    if decision.needs_template() {
        return decision;
    }
    if decision.to_record().is_some() {
        // Lost to another CPU: the flow's next packet finds what that one wrote.
        let moved = entry.meta.moved(decision.number(), decision.state(), tables.now());
        tables.change(entry, moved);
        return Decision::changed(entry.meta, moved);
    }
    if fate != Fate::ANEW && (decision == Decision::RESET || decision == NO_REAL_SERVER) {
        return strand(entry, packet, fate, tables);
    }
    decision
}

/// What becomes of a flow whose real server is down, and for which there is no other one.
#[inline(always)]
fn strand<const K: usize, T: Tables>(
    entry: Entry<'_>,
    packet: &Packet<K>,
    fate: Fate,
    tables: &T,
) -> Decision {
    if fate == Fate::MOVES {
        // Whoever is down may be back sooner than another one.
        tables.note(Note::OnDown, ON_DOWN_STAYS);
        return bring_up_to_date(entry, packet, tables);
    }
    tables.note(Note::OnDown, ON_DOWN_RESET);
    tables.change(entry, entry.meta.touched(State::Close as u32, tables.now()));
    Decision::RESET
}

/// An ICMP error goes where its flow goes, and changes nothing. Templates are not asked, nor are they by IPVS
/// (`ip_vs_in_icmp`, which schedules nothing unless `schedule_icmp` is set): they say where new connections go.
#[inline(always)]
fn relate<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    number: u32,
    settings: &Settings,
    tables: &T,
) -> Decision {
    let mut known = tables.find(Record::Confirmed, packet);
    if known.is_none() {
        known = tables.find(Record::First, packet);
    }
    if let Some(entry) = known
        && is_usable(entry.meta, tables)
    {
        return Decision::to(entry.meta.destination());
    }
    // Another director may have scheduled the flow: as this one would, if the choice is reproducible.
    let Some(service) = tables.service(number) else { return Decision::drop(Reason::DropInternal) };
    if let Err(refused) = may_connect(packet, number, service, settings, tables) {
        return refused;
    }
    let table = SlotTable::from_word(service.table.load());
    let reproducible = Selector::from_number(table.selector).filter(|selector| selector.is_reproducible());
    match reproducible.and_then(|selector| select::<false, K, T>(table, packet, number, selector, tables)) {
        Some(number) => Decision::to(number),
        None => Decision::pass(Reason::PassNoConnection),
    }
}

/// The entry's state after this packet.
#[inline(always)]
pub(crate) fn next_state<const K: usize>(meta: Meta, packet: &Packet<K>) -> u32 {
    if packet.is_tcp() { state::after_segment(meta.state(), packet.tcp_flags()) } else { State::Udp as u32 }
}

/// What becomes of a flow that there is an entry for. A word, because the verifier refuses what an enum of few values
/// becomes where branches meet.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fate(u32);

impl Fate {
    /// The entry says where it goes.
    const FOLLOWS: Self = Self(0);
    /// The entry no longer holds: the packet is the first of a new flow.
    const ANEW: Self = Self(1);
    /// Its real server is down: it goes on to another, if there is one.
    const MOVES: Self = Self(2);
    /// The same; if there is none, the client gets a reset.
    const MOVES_OR_RESET: Self = Self(3);
    /// Its real server is down: the client gets a reset.
    const RESET: Self = Self(4);

    #[inline(always)]
    fn of<const K: usize, T: Tables>(
        meta: Meta,
        packet: &Packet<K>,
        service: u32,
        timeouts: &Timeouts,
        tables: &T,
    ) -> Self {
        if is_expired(meta, timeouts, tables.now()) || is_new_connection(meta, packet) {
            return Self::ANEW;
        }
        match tables.destination(meta.destination()) {
            Some(destination) if destination.is_usable() => {
                if destination.is_failing() {
                    Self::on_down(packet, service, tables)
                } else {
                    Self::FOLLOWS
                }
            }
            _ => Self::ANEW,
        }
    }

    /// Of a flow whose real server is down.
    #[inline(always)]
    fn on_down<const K: usize, T: Tables>(packet: &Packet<K>, service: u32, tables: &T) -> Self {
        if !packet.is_tcp() {
            return Self::MOVES;
        }
        let Some(service) = tables.service(service) else { return Self::FOLLOWS };
        if packet.tcp_flags() & flags::RST != 0 {
            // To whom it was meant, should that one be back.
            return Self::FOLLOWS;
        }
        match ServiceOptions::from_word(service.options.load()).on_down() {
            OnDown::Keep => Self::FOLLOWS,
            OnDown::Reschedule => Self::MOVES,
            // Nothing is lost yet.
            OnDown::Reset if is_syn(packet) => Self::MOVES_OR_RESET,
            OnDown::Reset => Self::RESET,
        }
    }
}

/// There is nobody to schedule a connection to.
const NO_REAL_SERVER: Decision = Decision::drop(Reason::DropNoRealServer);

/// An entry that says where its flow goes.
#[inline(always)]
fn bring_up_to_date<const K: usize, T: Tables>(entry: Entry<'_>, packet: &Packet<K>, tables: &T) -> Decision {
    let next = entry.meta.touched(next_state(entry.meta, packet), tables.now());
    tables.change(entry, next);
    Decision::changed(entry.meta, next)
}

/// Whether frames may be sent to the destination of an entry.
#[inline(always)]
fn is_usable<T: Tables>(meta: Meta, tables: &T) -> bool {
    tables.destination(meta.destination()).is_some_and(Destination::is_usable)
}

/// A SYN that finds a closed connection opens a new one (`is_new_conn_expected`, conn_reuse_mode 1).
#[inline(always)]
fn is_new_connection<const K: usize>(meta: Meta, packet: &Packet<K>) -> bool {
    packet.is_tcp()
        && is_syn(packet)
        && (meta.state() == State::TimeWait as u32 || meta.state() == State::Close as u32)
}

/// A SYN without ACK or RST.
#[inline(always)]
pub(crate) fn is_syn<const K: usize>(packet: &Packet<K>) -> bool {
    packet.tcp_flags() & (flags::SYN | flags::ACK | flags::RST) == flags::SYN
}

/// Chooses a real server for a new connection, or for one that moves: what to record of it, or the verdict, or to make a
/// template first.
#[inline(always)]
pub fn schedule<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    number: u32,
    moves: bool,
    chosen: u32,
    tables: &T,
) -> Decision {
    match try_schedule(packet, number, moves, chosen, tables) {
        Ok(decision) | Err(decision) => decision,
    }
}

#[inline(always)]
fn try_schedule<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    number: u32,
    moves: bool,
    chosen: u32,
    tables: &T,
) -> Result<Decision, Decision> {
    let settings = tables.settings().ok_or(Decision::drop(Reason::DropInternal))?;
    let service = tables.service(number).ok_or(Decision::drop(Reason::DropInternal))?;
    let table = SlotTable::from_word(service.table.load());
    let selector = Selector::from_number(table.selector).ok_or(Decision::drop(Reason::DropInternal))?;
    if packet.has_impossible_source() {
        return Err(Decision::pass(Reason::PassMartian));
    }
    // Before the rest of a connection that is not remembered is passed: to a client that is denied, nobody answers.
    may_connect(packet, number, service, settings, tables)?;
    let is_mid_stream = packet.is_tcp() && !is_syn(packet);
    if is_mid_stream && !moves && !selector.is_reproducible() {
        // In the middle of a connection that nobody remembers.
        return Err(Decision::pass(Reason::PassNoConnection));
    }
    // Loaded each time, and not kept: the verifier would walk what follows once for either answer.
    let is_persistent = || service.persistence.load() != Persistence::NONE.word();
    let mut destination = chosen;
    if destination == NO_DESTINATION && is_persistent() {
        let template = Meta::from_word(tables.template(packet, number, true));
        if template.is_valid() {
            destination = template.destination();
        }
    }
    if destination == NO_DESTINATION {
        destination =
            select::<false, K, T>(table, packet, number, selector, tables).unwrap_or(NO_DESTINATION);
        if destination != NO_DESTINATION && is_persistent() {
            return Err(Decision::to(destination).with_template());
        }
    }
    if destination == NO_DESTINATION {
        // Without a template: clients leave the sorry server as soon as they can.
        destination = sorry_server(service, tables)?;
    }
    if moves {
        tables.note(Note::OnDown, ON_DOWN_MOVED);
    }
    tables.count_connection(destination);
    tables.log_scheduled(packet, destination);
    if ServiceOptions::from_word(service.options.load()).is_one_packet() {
        return Ok(Decision::to(destination));
    }
    let meta = Meta::new(destination, State::None, 0);
    // A real server that knows nothing of a connection ends it with a reset, which does not come by here.
    let state = if moves && is_mid_stream { State::Close as u32 } else { next_state(meta, packet) };
    Ok(Decision::record(Record::First, meta.touched(state, tables.now())))
}

/// Where new connections go for which there is no real server.
#[inline(always)]
pub(crate) fn sorry_server<T: Tables>(service: &Service, tables: &T) -> Result<u32, Decision> {
    let destination = service.sorry_server();
    if !tables.destination(destination).is_some_and(Destination::is_up) {
        return Err(NO_REAL_SERVER);
    }
    tables.note(Note::Sorry, u64::from(destination));
    Ok(destination)
}

/// Whether the client may have a connection. Nothing is looked up where there are no rules.
#[inline(always)]
fn may_connect<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    number: u32,
    service: &Service,
    settings: &Settings,
    tables: &T,
) -> Result<(), Decision> {
    if settings.acl.load() | service.acl.load() == Gate::OPEN.word() {
        return Ok(());
    }
    match tables.admit(packet, number) {
        Admission::DENIED => Err(Decision::drop(Reason::DropDenied)),
        Admission::DENIED_BY_SERVICE => Err(Decision::drop(Reason::DropDeniedByService)),
        _ => Ok(()),
    }
}

/// Which table a flow is recorded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The small one of flows that sent one packet.
    First = 0,
    /// The main one.
    Confirmed = 1,
}

/// Decides, and carries out what was decided: records a template and the flow if that is to be done; returns where to
/// forward.
#[inline(always)]
pub(crate) fn settle<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    service: u32,
    is_known: bool,
    tables: &T,
) -> Decision {
    let mut decision = if is_known || packet.is_tcp() && !is_syn(packet) {
        Decision::NONE
    } else {
        tables.first(packet, service)
    };
    if decision == Decision::NONE {
        decision = tables.decide(packet, service, is_known, NO_DESTINATION);
    }
    if decision.needs_template() {
        let destination = tables.persist(packet, service, decision);
        if decision.to_record().is_none() {
            decision = tables.decide(packet, service, is_known, destination);
        }
    }
    let mut settled = decision;
    if decision.to_record().is_some() {
        settled = tables.try_record(packet, decision);
        if settled == Decision::LOST {
            settled = tables.try_record(packet, decision);
        }
        if settled == Decision::LOST {
            tables.count(Reason::InsertLost);
            settled = Decision::to(decision.number());
        }
    }
    tell(packet, decision, tables);
    settled
}

/// Records a flow that neither table knew as `decision` says; [`Decision::LOST`] if another CPU got in the way.
#[inline(always)]
pub fn try_record<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    decision: Decision,
    tables: &T,
) -> Decision {
    let hash = FlowHash::new(&packet.key, tables.flow_seed());
    let Some((settings, which)) = tables.settings().zip(decision.to_record()) else {
        return Decision::drop(Reason::DropInternal);
    };
    let (table, ranks, evicted) = match which {
        Record::First => (tables.half_open(), &settings.half_open_ranks, Reason::EvictedHalfOpen),
        Record::Confirmed => (tables.connections(), &settings.timeouts, Reason::EvictedLive),
    };
    let now = tables.now();
    let content = Meta::new(decision.number(), State::None, 0).touched(decision.state(), now);
    let terms = Terms { now, timeouts: &settings.timeouts, ranks };
    let recorded =
        match insert(table, &packet.key, hash, content, terms, |before, after| tables.account(before, after))
        {
            Inserted::Stored => content,
            Inserted::EvictedLive => {
                tables.count(evicted);
                content
            }
            Inserted::Existing(meta) => meta,
            Inserted::Lost => return Decision::LOST,
        };
    Decision::to(recorded.destination())
}

/// What becomes of a packet, in one register: what a function of a BPF program can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision(u64);

lb_common::one_word!(Decision, u64);

impl Decision {
    // The low half is the number of a destination, or of a reason.
    const PASS: u64 = 1 << 32;
    const DROP: u64 = 1 << 33;
    const FIRST: u64 = 1 << 34;
    const CONFIRMED: u64 = 1 << 35;
    const TEMPLATE: u64 = 1 << 37;
    const RESETTING: u64 = 1 << 38;
    const STATE_SHIFT: u32 = 40;
    // Above the state's four bits.
    const CHANGED_SHIFT: u32 = 44;
    /// No decision: a flow could not be recorded.
    pub const LOST: Self = Self(1 << 36);
    /// No decision: [`first`](crate::first::first) leaves it to [`decide`].
    pub const NONE: Self = Self(1 << 39);
    /// The client gets a reset.
    const RESET: Self = Self(Self::RESETTING);

    #[inline(always)]
    pub(crate) const fn to(destination: u32) -> Self {
        Self(destination as u64)
    }

    /// To where an entry leads that was `before` and is `after`.
    #[inline(always)]
    pub(crate) const fn changed(before: Meta, after: Meta) -> Self {
        let differs = before.state() ^ after.state() | before.destination() ^ after.destination();
        // Without a branch, after which the verifier would walk all that follows twice.
        let differs = (differs as u64).wrapping_neg() >> 63;
        Self(differs << Self::CHANGED_SHIFT | after.destination() as u64)
    }

    /// Whether the main table's entry of the flow is another than before, or is to be made.
    #[inline(always)]
    pub(crate) const fn is_to_be_told(self) -> bool {
        self.0 & (1 << Self::CHANGED_SHIFT | Self::CONFIRMED) != 0
    }

    #[inline(always)]
    const fn pass(reason: Reason) -> Self {
        Self(Self::PASS | reason as u64)
    }

    #[inline(always)]
    pub(crate) const fn drop(reason: Reason) -> Self {
        Self(Self::DROP | reason as u64)
    }

    /// To the destination of `content`, when the flow has been recorded with its state.
    #[inline(always)]
    pub(crate) const fn record(which: Record, content: Meta) -> Self {
        let which = match which {
            Record::First => Self::FIRST,
            Record::Confirmed => Self::CONFIRMED,
        };
        Self(which | (content.state() as u64) << Self::STATE_SHIFT | content.destination() as u64)
    }

    /// The same, once there is a template for it: to record the flow, or to decide anew about it.
    #[inline(always)]
    const fn with_template(self) -> Self {
        Self(self.0 | Self::TEMPLATE)
    }

    #[inline(always)]
    const fn needs_template(self) -> bool {
        self.0 & Self::TEMPLATE != 0
    }

    #[inline(always)]
    pub(crate) const fn to_record(self) -> Option<Record> {
        match self.0 & (Self::FIRST | Self::CONFIRMED) {
            0 => None,
            Self::FIRST => Some(Record::First),
            _ => Some(Record::Confirmed),
        }
    }

    #[inline(always)]
    pub(crate) const fn state(self) -> u32 {
        (self.0 >> Self::STATE_SHIFT) as u32 & 15
    }

    #[inline(always)]
    pub(crate) const fn number(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(crate) fn into_result(self) -> Result<u32, Verdict> {
        if self.0 & (Self::PASS | Self::DROP | Self::RESETTING) == 0 {
            return Ok(self.number());
        }
        if self.0 & Self::RESETTING != 0 {
            return Err(Verdict::RESET);
        }
        let reason = Reason::from_number(self.number()).unwrap_or(Reason::DropInternal);
        Err(if self.0 & Self::PASS != 0 { Verdict::pass(reason) } else { Verdict::drop(reason) })
    }
}
