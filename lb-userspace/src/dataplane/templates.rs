//! Which templates are forgotten: those that have outlived their time and whose clients have no connections left.
//!
//! A program that looks a template up sees how old it is, but not whether it has connections; IPVS counts them, and has
//! a template that expires with some live on for a minute (`ip_vs_conn_expire`). So does the sweeper: it gives those
//! that are about to expire another minute if it finds a connection of theirs. What expires from one sweep to the next
//! (ten seconds) it cannot help.

use std::collections::HashMap;

use lb_common::connection::{Buckets as _, KEY_WORDS_V6, Meta, State, Timeouts, entries, is_expired, lookup};
use lb_common::hash::{FlowHash, FlowSeed};
use lb_common::persistence::{Persistence, is_template};

use super::memory::{ConnectionTable, Connections, Memory};

/// A template that expires within so many seconds is looked after by this sweep: the next may come too late.
const SOON: u32 = 30;
/// How long one lives on that has connections.
const MORE: u32 = 60;

/// Templates that are about to expire, or have, by key and real server; and whether they have connections.
#[derive(Debug, Default)]
pub(super) struct Ending(HashMap<(Key, u32), bool>);

/// A key of either family.
type Key = [u64; KEY_WORDS_V6];

impl Ending {
    /// Notes a template if its end is near. `service` is the virtual server of its real server.
    pub(super) fn note<const K: usize>(
        &mut self,
        key: &[u64; K],
        meta: Meta,
        service: Persistence,
        now: u32,
    ) {
        if is_near_its_end(meta, service, now) {
            self.0.entry((wide(key), meta.destination())).or_default();
        }
    }

    /// Has those of one family live on that have connections, and forgets those that have none and have expired.
    /// Returns how many entries were freed in each of its tables.
    pub(super) fn settle<const K: usize>(
        &mut self,
        family: &Connections<K>,
        memory: &Memory,
        seed: FlowSeed,
        now: u32,
    ) -> [u64; 2] {
        let mut freed = [0; 2];
        let mine = self.0.keys().any(|(key, _)| narrow::<K>(key).is_some());
        if !mine {
            return freed;
        }
        for table in family.tables() {
            self.look_for_connections(table, memory, now);
        }
        for ((key, destination), has_connections) in &self.0 {
            let Some(key) = narrow::<K>(key) else { continue };
            for (table, freed) in family.tables().into_iter().zip(&mut freed) {
                let Some(entry) = lookup(table, &key, FlowHash::new(&key, seed)) else { continue };
                let (meta, persistence) = (entry.meta, of_destination(entry.meta, memory));
                // Another CPU may have brought it up to date meanwhile, or sent it elsewhere.
                if meta.destination() != *destination || !is_near_its_end(meta, persistence, now) {
                    continue;
                }
                if *has_connections {
                    let seen = now.wrapping_sub(persistence.timeout().saturating_sub(MORE));
                    // Whoever told of it does so for as long as it has connections there.
                    entry.change(meta.aged(seen));
                } else if persistence.has_expired(meta, now) && entry.free() {
                    *freed += 1;
                }
            }
        }
        freed
    }

    fn look_for_connections<const K: usize>(
        &mut self,
        table: &ConnectionTable<K>,
        memory: &Memory,
        now: u32,
    ) {
        let timeouts = &memory.settings().timeouts;
        for (key, entry) in (0..table.len()).filter_map(|i| table.bucket(i)).flat_map(entries) {
            if is_template(&key) || !is_live(entry.meta, timeouts, now) {
                continue;
            }
            let destination = memory.destinations.get(entry.meta.destination() as usize);
            let Some(service) = destination.and_then(|it| u32::try_from(it.service.load()).ok()) else {
                continue;
            };
            let persistence = of_destination(entry.meta, memory);
            if persistence.is_none() {
                continue;
            }
            let template = wide(&persistence.key(&key, service));
            if let Some(has_connections) = self.0.get_mut(&(template, entry.meta.destination())) {
                *has_connections = true;
            }
        }
    }
}

/// How the virtual server of an entry's real server remembers its clients.
pub(super) fn of_destination(meta: Meta, memory: &Memory) -> Persistence {
    let destination = memory.destinations.get(meta.destination() as usize);
    let number = destination.and_then(|it| usize::try_from(it.service.load()).ok());
    let service = number.and_then(|number| memory.services.get(number));
    service.map_or(Persistence::NONE, |service| Persistence::from_word(service.persistence.load()))
}

/// Seconds until a template expires, connections aside.
pub(super) fn seconds_left(meta: Meta, persistence: Persistence, now: u32) -> u32 {
    persistence.timeout().saturating_sub(meta.age(now))
}

fn is_near_its_end(meta: Meta, persistence: Persistence, now: u32) -> bool {
    seconds_left(meta, persistence, now) <= SOON
}

fn is_live(meta: Meta, timeouts: &Timeouts, now: u32) -> bool {
    meta.state() != State::None as u32 && !is_expired(meta, timeouts, now)
}

/// IPv4's have zeroes behind, where the marker of IPv6's is.
fn wide<const K: usize>(key: &[u64; K]) -> Key {
    std::array::from_fn(|i| key.get(i).copied().unwrap_or(0))
}

/// The key, if it is of the family whose keys have `K` words.
fn narrow<const K: usize>(key: &Key) -> Option<[u64; K]> {
    let narrow = std::array::from_fn(|i| key[i]);
    (is_template(&narrow) && wide(&narrow) == *key).then_some(narrow)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};
    use std::sync::Arc;

    use lb_common::connection::{KEY_WORDS_V4, Terms, insert, key_v4, key_v6};
    use lb_common::load::{Counts, Load, Thresholds, account};
    use lb_common::policy::ServiceOptions;
    use lb_common::selector::{Options, Selector, Slot};

    use super::*;
    use crate::dataplane::{
        Capacity, DestinationView, KernelClock, Operation, ServiceView, Sweeper, Tables, Way,
    };

    const SEED: FlowSeed = FlowSeed { first: 3, second: 4 };

    /// Two services: clients of /24 and /64 are remembered for 300 seconds, by a real server of each.
    struct Plane {
        memory: Arc<Memory>,
        tables: Tables,
        sweeper: Sweeper,
        now: u32,
    }

    fn service(persistence: Persistence) -> ServiceView {
        let (selector, options) = (Selector::Counter, Options::NONE);
        let policies = ServiceOptions::default();
        ServiceView { selector, options, slots: vec![Slot::new(0, 0)], policies, sorry: None, persistence }
    }

    impl Plane {
        fn new() -> Self {
            let capacity = Capacity { max_connections: 1024, has_ipv6: true };
            let memory = Arc::new(Memory::in_process(capacity).expect("there is memory"));
            let mut tables = Tables::in_process(Arc::clone(&memory));
            let mut apply = |operation| tables.apply(&operation).expect("it is always possible");
            apply(Operation::SetTimeouts(Timeouts::ipvs().with_templates(300)));
            for (number, prefix) in [(0, 24), (1, 64)] {
                let destination = DestinationView {
                    service: number,
                    address: IpAddr::from([10, 0, 0, 7]),
                    weight: 0,
                    last_weight: 1,
                    thresholds: Thresholds::default(),
                    is_down: false,
                    is_failing: false,
                    way: Some(Way::Local),
                };
                apply(Operation::PutDestination { number, destination });
                let table = service(Persistence::new(300, prefix));
                apply(Operation::PublishSlots { service: number, table });
            }
            let sweeper = Sweeper::in_process(Arc::clone(&memory), SEED).expect("there is a clock");
            let now = KernelClock::in_process().and_then(|clock| clock.now()).expect("there is a clock");
            Self { memory, tables, sweeper, now }
        }

        fn record<const K: usize>(
            &self,
            table: &ConnectionTable<K>,
            key: [u64; K],
            number: u32,
            state: State,
            age: u32,
        ) {
            let timeouts = &self.memory.settings().timeouts;
            let terms = Terms { now: self.now, timeouts, ranks: timeouts };
            let content = Meta::new(number, state, self.now.wrapping_sub(age));
            let count = |before, after| account(|i| self.memory.loads.get(i as usize), before, after);
            insert(table, &key, FlowHash::new(&key, SEED), content, terms, count);
        }

        /// A template of the network that a flow is of.
        fn remember(
            &self,
            table: &ConnectionTable<KEY_WORDS_V4>,
            flow: &[u64; KEY_WORDS_V4],
            age: u32,
        ) -> [u64; KEY_WORDS_V4] {
            let key = Persistence::new(300, 24).key(flow, 0);
            self.record(table, key, 0, State::Template, age);
            key
        }

        fn sweep(&self) {
            self.sweeper.sweep().expect("the clock works");
        }

        /// Seconds until a template expires; within a few seconds, for time passes.
        fn left<const K: usize>(&self, table: &ConnectionTable<K>, key: &[u64; K]) -> Option<u32> {
            let entry = lookup(table, key, FlowHash::new(key, SEED))?;
            Some(seconds_left(entry.meta, of_destination(entry.meta, &self.memory), self.now))
        }
    }

    /// From 198.51.`network`.`host`:`host`.
    fn flow(network: u8, host: u8) -> [u64; KEY_WORDS_V4] {
        let addresses = u64::from_le_bytes([198, 51, network, host, 192, 0, 2, 1]);
        key_v4(addresses, u32::from_le_bytes([4, host, 0, 80]), 6)
    }

    #[test]
    fn a_template_is_forgotten_when_its_time_has_come() {
        let plane = Plane::new();
        let main = plane.memory.connections_v4();
        let half_open = plane.memory.half_open_v4();
        let gone = [plane.remember(main, &flow(1, 1), 300), plane.remember(half_open, &flow(2, 1), 310)];
        let kept = [plane.remember(main, &flow(3, 1), 200), plane.remember(half_open, &flow(4, 1), 280)];
        plane.sweep();
        assert_eq!([plane.left(main, &gone[0]), plane.left(half_open, &gone[1])], [None; 2]);
        assert_eq!([plane.left(main, &kept[0]), plane.left(half_open, &kept[1])], [Some(100), Some(20)]);
    }

    #[test]
    fn a_template_lives_while_it_has_connections() {
        let plane = Plane::new();
        let (main, half_open) = (plane.memory.connections_v4(), plane.memory.half_open_v4());
        for (network, table, age) in [(1, main, 290), (2, main, 300), (3, main, 5000), (4, half_open, 300)] {
            // Any client of the network will do, in either table.
            let key = plane.remember(table, &flow(network, 0), age);
            let of_it = if network == 2 { half_open } else { main };
            let state = if network == 2 { State::SynRecv } else { State::Established };
            plane.record(of_it, flow(network, 77), 0, state, 30);
            plane.sweep();
            let left = plane.left(table, &key).expect("it is there");
            assert!((60..63).contains(&left), "{network}: {left}");
        }
        assert_eq!(plane.memory.loads.first().map(Load::counts), Some(Counts { active: 4, inactive: 0 }));
    }

    #[test]
    fn only_live_connections_of_its_clients_to_its_real_server_count() {
        let plane = Plane::new();
        let main = plane.memory.connections_v4();
        let spare = plane.memory.half_open_v4();
        let keys: Vec<_> = (1..=4).map(|network| plane.remember(main, &flow(network, 0), 300)).collect();
        // Expired; of another real server; of another network; promoted a moment ago, and no longer there.
        plane.record(main, flow(1, 1), 0, State::Established, 900);
        plane.record(main, flow(2, 1), 1, State::Established, 0);
        plane.record(main, flow(9, 1), 0, State::Established, 0);
        plane.record(spare, flow(4, 1), 0, State::None, 0);
        plane.sweep();
        for key in &keys {
            assert_eq!(plane.left(main, key), None);
        }
    }

    #[test]
    fn templates_of_ipv6_live_and_die_likewise() {
        let plane = Plane::new();
        let main = plane.memory.connections_v6();
        let flow = |network: u16| {
            let client = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 1, 2, 3, 4);
            let bits = u128::from_le_bytes(client.octets());
            #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
            let words = [bits as u64, (bits >> 64) as u64, 7, 8];
            key_v6(words, u32::from_le_bytes([4, 3, 0, 80]), 17)
        };
        let key = |network| Persistence::new(300, 64).key(&flow(network), 1);
        for network in [1, 2] {
            plane.record(main, key(network), 1, State::Template, 300);
        }
        plane.record(main, flow(1), 1, State::Udp, 0);
        plane.sweep();
        assert_eq!((plane.left(main, &key(1)).is_some(), plane.left(main, &key(2))), (true, None));
    }

    #[test]
    fn templates_go_with_their_real_server_and_with_persistence() {
        let mut plane = Plane::new();
        let memory = Arc::clone(&plane.memory);
        let main = memory.connections_v4();
        let key = plane.remember(main, &flow(1, 1), 0);
        plane.sweep();
        assert_eq!(plane.left(main, &key), Some(300), "weight 0 keeps it");
        let retire = Operation::Retire { services: Vec::new(), destinations: vec![0] };
        plane.tables.apply(&retire).expect("it is always possible");
        plane.sweep();
        assert_eq!(plane.left(main, &key), None);

        let mut plane = Plane::new();
        let memory = Arc::clone(&plane.memory);
        let main = memory.connections_v4();
        let key = plane.remember(main, &flow(1, 1), 0);
        let publish = Operation::PublishSlots { service: 0, table: service(Persistence::NONE) };
        plane.tables.apply(&publish).expect("there is room");
        plane.sweep();
        assert!(lookup(main, &key, FlowHash::new(&key, SEED)).is_none());
    }
}
