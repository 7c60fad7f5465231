//! Every scheduler against the kernel's own choices, and against what must hold for any weights.

mod hashing;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use lb_common::limits::{MAX_SLOTS, MAX_WEIGHT};
use lb_common::selector::{HASH_SLOTS, MAGLEV_SLOTS, fallback_slot, hash_slot, hashed, maglev_slot};
use proptest::prelude::*;

use super::*;

/// Choices of the kernel's IPVS (Linux 6.1): real servers 10.0.0.1, .2, .3 added in this order.
const GOLDEN: &str = include_str!("golden/ipvs-schedulers.json");

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    scheduler: String,
    weights: Vec<u32>,
    port: Option<u16>,
    choices: Option<HashMap<Ipv4Addr, Ipv4Addr>>,
    sequence: Option<Vec<Ipv4Addr>>,
}

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);

/// 10.0.0.1 and so on.
fn servers(weights: &[u32]) -> Vec<Server> {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    let server = |(address, weight): (u32, &u32)| Server {
        address: Ipv4Addr::from(address).into(),
        weight: *weight,
        weight_before: 0,
        usable: true,
    };
    (first..).zip(weights).map(server).collect()
}

fn by_name(name: &str) -> Scheduler {
    Scheduler::by_name(name).expect("a scheduler")
}

/// A virtual server's table, and how the data plane picks from it, as it is written in `lb-ebpf/src/select.rs`.
struct Table {
    selector: Selector,
    options: Options,
    slots: Vec<Slot>,
}

impl Table {
    fn of(scheduler: Scheduler, servers: &[Server], parameters: &Parameters) -> Self {
        Self {
            selector: scheduler.selector(),
            options: scheduler.options(parameters),
            slots: scheduler.slots(servers, parameters),
        }
    }

    /// The server that the `nth` connection gets.
    fn pick(&self, nth: usize, client: Ipv4Addr, port: u16) -> Slot {
        if self.slots.is_empty() {
            return None;
        }
        let length = u32::try_from(self.slots.len()).expect("it fits");
        let port = if self.options.contains(Options::PORT) { port } else { 0 };
        let hash = |address: Ipv4Addr, port| hashed(u32::from_le_bytes(address.octets()), port);
        let client = hash(client, port);
        let first = match self.selector {
            Selector::Counter => return self.slots[nth % self.slots.len()],
            Selector::Source => hash_slot(client),
            Selector::Destination => hash_slot(hash(VIP, 0)),
            Selector::Maglev => maglev_slot(client, length),
            _ => return None,
        };
        let slot = self.slots[first as usize];
        if slot.is_some() || !self.options.contains(Options::FALLBACK) {
            return slot;
        }
        (0..length)
            .find_map(|nth| self.slots[fallback_slot(self.selector, client, length, first, nth) as usize])
    }
}

fn address(slot: Slot) -> Option<Ipv4Addr> {
    slot.map(|i| Ipv4Addr::new(10, 0, 0, 1 + u8::try_from(i).expect("few servers")))
}

#[test]
fn chooses_what_the_kernel_chose() {
    let golden: Golden = serde_json::from_str(GOLDEN).expect("the golden file is JSON");
    let mut checked = HashMap::new();
    for case in &golden.cases {
        let Some(scheduler) = Scheduler::by_name(&case.scheduler) else { continue };
        if scheduler.selector().compares_loads() {
            // What they choose, the data plane finds out: the fixtures ask it.
            continue;
        }
        *checked.entry(scheduler.name()).or_insert(0) += 1;
        let parameters = Parameters { port: case.port.unwrap_or(0), ..Parameters::default() };
        let table = Table::of(scheduler, &servers(&case.weights), &parameters);
        let pick = |nth, client| address(table.pick(nth, client, 10_000));
        if let Some(sequence) = &case.sequence {
            let ours: Vec<_> = (0..sequence.len()).filter_map(|nth| pick(nth, VIP)).collect();
            assert_eq!(&ours, sequence, "{scheduler} {:?}", case.weights);
        }
        for (client, choice) in case.choices.iter().flatten() {
            assert_eq!(
                pick(0, *client),
                Some(*choice),
                "{scheduler} {:?} {:?} {client}",
                case.weights,
                case.port
            );
        }
    }
    assert_eq!(checked, HashMap::from([("rr", 1), ("wrr", 3), ("sh", 3), ("dh", 1), ("mh", 4)]));
}

#[test]
fn sh_gives_the_clients_of_a_quiesced_server_to_nobody() {
    let golden: Golden = serde_json::from_str(GOLDEN).expect("the golden file is JSON");
    let is_quiesced = |case: &&Case| case.scheduler == "sh" && case.weights == [3, 0, 1];
    let case = golden.cases.iter().find(is_quiesced).expect("there is such a case");
    let chosen = case.choices.as_ref().expect("sh cases have choices");
    let table = Table::of(by_name("sh"), &servers(&case.weights), &Parameters::default());
    // Clients that were asked about, as another case lists them.
    let all = golden.cases.iter().find(|case| case.scheduler == "dh").and_then(|case| case.choices.as_ref());
    let clients = all.expect("dh cases have choices").keys();
    let nobody: Vec<_> = clients.filter(|client| table.pick(0, **client, 10_000).is_none()).collect();
    assert!(!nobody.is_empty());
    for client in nobody {
        assert!(!chosen.contains_key(client), "the kernel gave {client} a server");
    }
}

#[test]
fn sh_tiles_by_weight() {
    let slots = by_name("sh").slots(&servers(&[1, 0, 3]), &Parameters::default());
    let count = |server: Slot| slots.iter().filter(|slot| **slot == server).count();
    // The list is 3, 0, 1: 154/51/51 buckets, and those of the quiesced server stay empty.
    assert_eq!([count(Some(2)), count(None), count(Some(0))], [154, 51, 51]);
}

#[test]
fn an_unreachable_server_of_sh_moves_its_own_clients_only() {
    let scheduler = by_name("sh");
    let mut servers = servers(&[3, 2, 1]);
    let before = scheduler.slots(&servers, &Parameters::default());
    servers[1].usable = false;
    let after = scheduler.slots(&servers, &Parameters::default());
    for (before, after) in before.iter().zip(&after) {
        if *before == Some(1) {
            assert!(matches!(after, Some(0 | 2)));
        } else {
            assert_eq!(before, after);
        }
    }
}

#[test]
fn huge_weights_keep_their_shares() {
    let weights = [65_535, 65_534, 32_767, 1];
    let slots = by_name("wrr").slots(&servers(&weights), &Parameters::default());
    assert!(slots.len() <= MAX_SLOTS as usize);
    let sum: u32 = weights.iter().sum();
    for (i, weight) in weights.iter().enumerate() {
        let share = slots.iter().filter(|slot| **slot == Some(i)).count() as f64 / slots.len() as f64;
        assert!((share - f64::from(*weight) / f64::from(sum)).abs() < 0.001, "{weight}: {share}");
    }
}

#[test]
fn thousands_of_servers_with_one_huge_weight_are_no_trouble() {
    let mut weights = vec![1; 60_000];
    weights[7] = 65_535;
    let slots = by_name("wrr").slots(&servers(&weights), &Parameters::default());
    assert_eq!(slots.len(), 60_000 + 65_534);
}

/// IPVS's wrr, pick by pick, written after `ip_vs_wrr_schedule` and `ip_vs_wrr_dst_changed`.
fn ipvs_wrr(weights: &[u32], picks: usize) -> Vec<usize> {
    let list: Vec<usize> = (0..weights.len()).rev().collect();
    let gcd_of = |weights: &[u32]| {
        let gcd = weights.iter().copied().filter(|weight| *weight > 0).reduce(|mut a, mut b| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        });
        i64::from(gcd.unwrap_or(1))
    };
    let (mut cw, mut mw, mut di) = (0i64, 0i64, 1i64);
    for added in 1..=weights.len() {
        di = gcd_of(&weights[..added]);
        mw = i64::from(weights[..added].iter().copied().max().unwrap_or(0)) - (di - 1);
        if cw > mw || cw == 0 {
            cw = mw;
        } else if di > 1 {
            cw = (cw / di) * di + 1;
        }
    }
    let mut chosen = Vec::new();
    let mut at = 0;
    while chosen.len() < picks {
        if at == list.len() {
            at = 0;
            cw -= di;
            if cw <= 0 {
                cw = mw;
            }
        }
        if i64::from(weights[list[at]]) >= cw {
            chosen.push(list[at]);
        }
        at += 1;
    }
    chosen
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(prop_oneof![4 => 0..20u32, 1 => 0..=MAX_WEIGHT], 1..12)
}

proptest! {
    #[test]
    fn every_scheduler_keeps_to_its_servers(
        weights in weights(),
        unusable in proptest::collection::vec(any::<bool>(), 12),
        flags in proptest::collection::btree_set(proptest::sample::select(Flag::ALL.to_vec()), 0..4),
        size in 0..4usize,
        client: u32,
        port: u16,
    ) {
        let mut servers = servers(&weights);
        for (server, unusable) in servers.iter_mut().zip(&unusable) {
            server.usable = !unusable;
        }
        let takes_part = |i: usize| servers[i].takes_connections();
        for scheduler in ALL {
            let flags = flags.iter().copied().filter(|flag| scheduler.flags().contains(flag)).collect();
            let parameters = Parameters { flags, table_size: MAGLEV_SLOTS[size], port };
            let table = Table::of(scheduler, &servers, &parameters);
            let Table { slots, options, .. } = &table;
            prop_assert!(slots.len() <= MAX_SLOTS as usize);
            prop_assert_eq!(slots.is_empty(), !(0..servers.len()).any(takes_part));
            prop_assert!(slots.iter().flatten().all(|i| takes_part(*i)), "{}", scheduler);
            prop_assert_eq!(options.contains(Options::PORT), parameters.has(Flag::ShPort) || parameters.has(Flag::MhPort));
            match table.selector {
                Selector::Counter => prop_assert!(slots.iter().all(Option::is_some)),
                Selector::Source | Selector::Destination => {
                    prop_assert!(slots.is_empty() || slots.len() == HASH_SLOTS as usize);
                }
                Selector::Maglev => {
                    prop_assert!(slots.is_empty() || slots.len() == parameters.table_size as usize);
                }
                _ => prop_assert_eq!(slots, &taking_connections(&servers)),
            }
            prop_assert!(table.pick(0, client.into(), port).is_none_or(takes_part), "{}", scheduler);
        }
    }

    #[test]
    fn wrr_gives_ipvss_sequence(weights in proptest::collection::vec(0..30u32, 1..8)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let slots = by_name("wrr").slots(&servers(&weights), &Parameters::default());
        let ours: Vec<usize> = slots.iter().cycle().take(3 * slots.len()).flatten().copied().collect();
        let theirs = ipvs_wrr(&weights, ours.len());
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn wrr_gives_each_server_its_weight(weights in proptest::collection::vec(0..=200u32, 1..20)) {
        let slots = by_name("wrr").slots(&servers(&weights), &Parameters::default());
        let count = |i: usize| slots.iter().filter(|slot| **slot == Some(i)).count() as u64;
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (i, weight) in weights.iter().enumerate() {
            prop_assert_eq!(count(i) * sum, u64::from(*weight) * slots.len() as u64);
        }
    }

    #[test]
    fn rr_takes_everybody_once(weights in weights()) {
        let slots = by_name("rr").slots(&servers(&weights), &Parameters::default());
        let mut taken: Vec<usize> = slots.iter().flatten().copied().collect();
        taken.reverse();
        let expected: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > 0).collect();
        prop_assert_eq!(taken, expected);
    }
}

#[test]
fn names_are_unique() {
    for scheduler in ALL {
        assert_eq!(ALL.iter().filter(|other| other.name() == scheduler.name()).count(), 1);
        assert_eq!(Scheduler::by_name(scheduler.name()), Some(scheduler));
        assert!(!scheduler.description().is_empty());
    }
    assert_eq!(Scheduler::by_name("nope"), None);
}
