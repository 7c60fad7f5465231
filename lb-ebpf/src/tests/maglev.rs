//! The Maglev selector, and the search for another slot, which is a loop here and `bpf_loop` in the kernel.

use std::collections::BTreeSet;

use lb_common::counter::Reason;
use lb_common::load::{Counts, Thresholds};
use lb_common::selector::{
    HASH_SLOTS, MAGLEV_SLOTS, NO_DESTINATION, Options, Selector, Slot, fallback_slot, hash_slot, hashed,
    maglev_slot,
};
use lb_common::service::{SLOT_HEADER, SlotTable};

use crate::director::*;

const BASE: u32 = 16;
const SLOTS: u32 = MAGLEV_SLOTS[0];

/// A director whose hashed service has such a table; every second slot is server 0's, the others 2's.
fn director(options: Options) -> Director {
    let director = Director::new();
    let table = SlotTable { selector: Selector::Maglev.with(options), base: BASE, length: SLOTS };
    director.services[1].table.store(table.word());
    director
}

fn server(slot: u32) -> Went {
    Went::To([0, 2][slot as usize % 2])
}

fn client() -> u32 {
    hashed(u32::from_le_bytes(CLIENT), 0)
}

fn empty(director: &Director, slot: u32) {
    director.slots[(BASE + SLOT_HEADER + slot) as usize].store(u64::from(NO_DESTINATION));
}

#[test]
fn a_client_has_its_slot_whatever_its_port_unless_that_counts() {
    let stable = director(Options::NONE);
    let own = server(maglev_slot(client(), SLOTS));
    assert!((1000..1050).all(|port| stable.tcp(port, HASHED, SYN) == own));
    assert_eq!(stable.tcp(2000, HASHED, ACK), own, "in the middle of a connection");
    let by_port = director(Options::PORT);
    for port in 1000..1050 {
        let slot = maglev_slot(hashed(u32::from_le_bytes(CLIENT), port), SLOTS);
        assert_eq!(by_port.tcp(port, HASHED, SYN), server(slot), "{port}");
    }
}

#[test]
fn a_slot_without_a_server_sends_its_client_on_if_that_is_asked_for() {
    let own = maglev_slot(client(), SLOTS);
    let strict = director(Options::NONE);
    empty(&strict, own);
    assert_eq!(strict.tcp(1000, HASHED, SYN), Went::Nowhere(Reason::DropNoRealServer));
    let fallback = director(Options::FALLBACK);
    let mut emptied = BTreeSet::from([own]);
    empty(&fallback, own);
    for port in 1000..1040 {
        let others = (0..SLOTS).map(|nth| fallback_slot(Selector::Maglev, client(), SLOTS, own, nth));
        let next = others.clone().find(|slot| !emptied.contains(slot)).expect("a slot with a server");
        assert_eq!(fallback.tcp(port, HASHED, SYN), server(next), "{port}");
        empty(&fallback, next);
        emptied.insert(next);
    }
    (0..SLOTS).for_each(|slot| empty(&fallback, slot));
    assert_eq!(fallback.tcp(2000, HASHED, SYN), Went::Nowhere(Reason::DropNoRealServer), "nobody at all");
}

/// To IPVS a real server with too many connections is as good as one of weight 0 (`is_unavailable`).
#[test]
fn an_overloaded_server_is_passed_over_if_that_is_asked_for() {
    let own = [maglev_slot(client(), SLOTS), hash_slot(client())];
    for (selector, length, own) in [(Selector::Maglev, SLOTS, own[0]), (Selector::Source, HASH_SLOTS, own[1])]
    {
        let Went::To(number) = server(own) else { panic!("a server") };
        let sent = |options: Options| {
            let director = Director::new();
            let table = SlotTable { selector: selector.with(options), base: BASE, length };
            director.services[1].table.store(table.word());
            for slot in &director.slots[(BASE + SLOT_HEADER) as usize..][..length as usize] {
                slot.store(Slot::from_word(slot.load()).with_thresholds().word());
            }
            let load = &director.loads[number];
            assert!(load.correct(load.read(), Counts { active: 5, inactive: 0 }));
            load.set_thresholds(Thresholds { upper: 5, lower: 0 });
            director.tcp(1000, HASHED, SYN)
        };
        assert_eq!(sent(Options::NONE), Went::Nowhere(Reason::DropNoRealServer), "{selector:?}");
        assert_eq!(sent(Options::FALLBACK), Went::To(2 - number), "{selector:?}");
    }
}
