//! Where new connections of a client go: where its template says, until that has expired or its real server is gone
//! (`ip_vs_sched_persist` of ip_vs_core.c).
//!
//! A template begins in the table of half-open flows, and moves to the main one with the connection that it was made
//! for: a flood of SYNs from anywhere makes many templates, and none that takes a connection's place.

use lb_common::connection::{Meta, State};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::persistence::Persistence;

use crate::Packet;
use crate::tables::{Family, Tables};
use crate::tell::tell;
use crate::track::{Decision, Record};

/// The template of the packet's client at the virtual server `service`, as it was found; 0 if there is none that holds.
/// With `touch` it lives on from now.
#[inline(always)]
pub fn template<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    service: u32,
    touch: bool,
    tables: &T,
) -> u64 {
    let persistence = of_service(service, tables);
    if persistence.is_none() {
        return 0;
    }
    let template = Packet::new(persistence.key(&packet.key, service), 0, 0);
    for which in [Record::Confirmed, Record::First] {
        if let Some(entry) = tables.find(which, &template)
            && holds(entry.meta, persistence, tables)
        {
            let (meta, now) = (entry.meta, tables.now());
            if touch && meta.seen() != now {
                tables.change(entry, meta.touched(meta.state(), now));
            }
            return meta.word();
        }
    }
    0
}

/// Finds the place for a template that leads where `decision` does, and writes its key to `template`.
///
/// The answer is where new connections go by a template that is there (which may be another than this one, being
/// quicker), or a decision to record one.
#[inline(always)]
pub fn place<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    service: u32,
    decision: Decision,
    template: &mut Packet<K>,
    tables: &T,
) -> Decision {
    let persistence = of_service(service, tables);
    *template = Packet::new(persistence.key(&packet.key, service), 0, 0);
    let which = decision.to_record().unwrap_or(Record::First);
    let now = tables.now();
    let mut destination = decision.number();
    for held in [Record::Confirmed, Record::First] {
        let Some(entry) = tables.find(held, template) else { continue };
        let holds = holds(entry.meta, persistence, tables);
        if held == Record::First && which == Record::Confirmed {
            // Its connection is confirmed: it moves, as that does (`decide`).
            if holds {
                destination = entry.meta.destination();
            }
            tables.change(entry, entry.meta.touched(State::None as u32, entry.meta.seen()));
            continue;
        }
        if holds {
            return Decision::to(entry.meta.destination());
        }
        tables.change(entry, entry.meta.moved(destination, State::Template as u32, now));
        // Lost: another CPU was quicker, and leads all of the client's connections.
        let found = tables.find(held, template);
        return found.map_or(Decision::to(destination), |found| Decision::changed(entry.meta, found.meta));
    }
    Decision::record(which, Meta::new(destination, State::Template, now))
}

/// Carries out what [`place`] decided about `template`, with the key that it wrote. Returns where new connections go.
#[inline(always)]
pub fn persist<const K: usize, const W: usize, T: Family<K, W>>(
    placed: Decision,
    template: &Packet<K>,
    tables: &T,
) -> u32 {
    let number = carry_out(placed, || tables.try_record(template, placed), tables);
    tell(template, placed, tables);
    number
}

#[inline(always)]
fn carry_out<T: Tables>(placed: Decision, record: impl Fn() -> Decision, tables: &T) -> u32 {
    if placed.to_record().is_none() {
        return placed.number();
    }
    let mut recorded = record();
    if recorded == Decision::LOST {
        recorded = record();
    }
    if recorded == Decision::LOST {
        // The client's next connection may go elsewhere.
        tables.count(Reason::InsertLost);
        return placed.number();
    }
    recorded.number()
}

/// How a virtual server remembers its clients.
#[inline(always)]
pub fn of_service<T: Tables>(service: u32, tables: &T) -> Persistence {
    match tables.service(service) {
        Some(service) => Persistence::from_word(service.persistence.load()),
        None => Persistence::NONE,
    }
}

/// Whether new connections follow a template. They do if its real server has weight 0, as with IPVS unless
/// `expire_quiescent_template` is set (`ip_vs_check_template` of ip_vs_conn.c).
#[inline(always)]
fn holds<T: Tables>(template: Meta, persistence: Persistence, tables: &T) -> bool {
    !persistence.has_expired(template, tables.now())
        && tables.destination(template.destination()).is_some_and(Destination::is_up)
}
