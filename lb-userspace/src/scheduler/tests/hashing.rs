//! The schedulers that hash: their flags, who moves when a server goes, and how even the shares are.

use std::collections::BTreeSet;

use super::*;

fn with(flags: &[Flag]) -> Parameters {
    Parameters { flags: flags.iter().copied().collect(), ..Parameters::default() }
}

/// Clients all over the address space, each with a port.
fn clients(count: u32) -> impl Iterator<Item = (Ipv4Addr, u16)> {
    let mix = |n: u32| (u64::from(n) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..count).map(move |n| {
        let mixed = mix(n) ^ mix(n) >> 29;
        (Ipv4Addr::from((mixed >> 32) as u32), mixed as u16)
    })
}

/// Who gets another server.
fn moved(before: &Table, after: &Table, count: u32) -> BTreeSet<Slot> {
    let pick = |table: &Table, (client, port)| table.pick(0, client, port);
    let moved = clients(count).filter(|client| pick(before, *client) != pick(after, *client));
    moved.map(|client| pick(before, client)).collect()
}

/// What a kernel of Linux 6.1 gave.
#[test]
fn mh_has_the_table_that_the_kernel_has() {
    let slots_of = |weights: &[u32]| {
        let slots = by_name("mh").slots(&servers(weights), &Parameters { port: 80, ..Parameters::default() });
        (0..weights.len()).map(|i| slots.iter().filter(|slot| **slot == Some(i)).count()).collect::<Vec<_>>()
    };
    assert_eq!(slots_of(&[1, 1, 1]), [1364, 1364, 1365]);
    assert_eq!(slots_of(&[1, 3]), [1023, 3070]);
    assert_eq!(slots_of(&[3, 1]), [3069, 1024]);
    let parameters = Parameters { port: 80, ..Parameters::default() };
    let table = Table::of(by_name("mh"), &servers(&[1, 1, 1]), &parameters);
    for (client, server) in [([192, 168, 1, 1], 0), ([192, 168, 1, 2], 2), ([203, 0, 113, 7], 2)] {
        assert_eq!(table.pick(0, client.into(), 40_000), Some(server), "{client:?}");
    }
}

/// Each of the sizes that IPVS can be built with is filled to its last slot.
#[test]
fn mh_fills_tables_of_every_size() {
    for table_size in MAGLEV_SLOTS {
        let parameters = Parameters { table_size, ..Parameters::default() };
        let slots = by_name("mh").slots(&servers(&[5, 0, 65_535, 1]), &parameters);
        let count = |i| slots.iter().filter(|slot| **slot == Some(i)).count();
        assert_eq!(slots.len(), table_size as usize);
        assert_eq!((count(0) + count(2) + count(3), count(1)), (table_size as usize, 0), "{table_size}");
        assert!(count(2) > 10 * count(0) && count(0) > 0 && count(3) > 0, "{table_size}");
    }
}

/// More servers than slots: each slot still has one of them.
#[test]
fn mh_survives_more_servers_than_slots() {
    let parameters = Parameters { table_size: 251, ..Parameters::default() };
    let slots = by_name("mh").slots(&servers(&vec![1; 300]), &parameters);
    let used: BTreeSet<Slot> = slots.iter().copied().collect();
    assert_eq!((slots.len(), used.len()), (251, 251));
}

#[test]
fn a_port_flag_spreads_the_connections_of_one_client() {
    let client = Ipv4Addr::new(203, 0, 113, 7);
    for (scheduler, flag) in [("sh", Flag::ShPort), ("mh", Flag::MhPort)] {
        for (parameters, expected) in [(with(&[]), 1), (with(&[flag]), 3)] {
            let table = Table::of(by_name(scheduler), &servers(&[1, 1, 1]), &parameters);
            let got: BTreeSet<Slot> = (1000..1100).map(|port| table.pick(0, client, port)).collect();
            assert_eq!(got.len(), expected, "{scheduler}");
        }
    }
}

#[test]
fn clients_of_a_quiesced_server_get_nobody_and_with_fallback_another_and_nobody_else_moves() {
    for (scheduler, flag) in [("sh", Flag::ShFallback), ("mh", Flag::MhFallback)] {
        for weights in [[1, 1, 1], [3, 2, 1], [64, 200, 65]] {
            let mut servers = servers(&weights);
            let before = Table::of(by_name(scheduler), &servers, &with(&[]));
            servers[1] = Server { weight: 0, weight_before: servers[1].weight, ..servers[1] };
            let without = Table::of(by_name(scheduler), &servers, &with(&[]));
            let fallback = Table::of(by_name(scheduler), &servers, &with(&[flag]));
            // sh has no memory: a server of weight 0 has a place as of weight 1.
            let before = if scheduler == "sh" {
                servers[1] = Server { weight: 1, ..servers[1] };
                Table::of(by_name(scheduler), &servers, &with(&[]))
            } else {
                before
            };
            assert_eq!(moved(&before, &without, 5000), BTreeSet::from([Some(1)]), "{scheduler} {weights:?}");
            assert_eq!(moved(&before, &fallback, 5000), BTreeSet::from([Some(1)]), "{scheduler} {weights:?}");
            let got = |table: &Table| -> BTreeSet<Slot> {
                clients(5000).map(|(client, port)| table.pick(0, client, port)).collect()
            };
            assert_eq!(got(&without), BTreeSet::from([None, Some(0), Some(2)]));
            assert_eq!(got(&fallback), BTreeSet::from([Some(0), Some(2)]));
        }
    }
}

/// A server that cannot be reached, which IPVS knows nothing of, costs nobody else a connection, with fallback or not.
#[test]
fn clients_of_a_server_that_cannot_be_reached_get_another_and_nobody_else_moves() {
    for scheduler in ["sh", "dh", "mh"] {
        for flags in [&[][..], &[Flag::ShFallback, Flag::MhFallback]] {
            let mut servers = servers(&[1, 2, 3, 0]);
            let of = |servers: &[Server]| Table::of(by_name(scheduler), servers, &with(flags));
            let before = of(&servers);
            servers[2].usable = false;
            let after = of(&servers);
            assert!(moved(&before, &after, 5000).iter().all(|server| *server == Some(2)), "{scheduler}");
            let none = |table: &Table| {
                clients(5000).filter(|(client, _)| table.pick(0, *client, 0).is_none()).count()
            };
            assert_eq!(none(&after), none(&before), "{scheduler}");
        }
    }
}

/// A server that was never anything but quiesced has no slots; what it was before decides how many it keeps.
#[test]
fn mh_remembers_the_weight_of_a_quiesced_server() {
    let mut servers = servers(&[2, 1, 0]);
    let empty = |servers: &[Server]| {
        let slots = by_name("mh").slots(servers, &Parameters::default());
        slots.iter().filter(|slot| slot.is_none()).count()
    };
    assert_eq!(empty(&servers), 0);
    servers[2].weight_before = 3;
    let half = empty(&servers);
    assert!((2040..=2050).contains(&half), "{half}");
}

/// By how much more than the least that is possible the flows move when one of a hundred servers leaves: the mean over
/// all hundred.
fn excess(table_size: u32) -> f64 {
    let parameters = Parameters { table_size, port: 80, ..Parameters::default() };
    let servers = servers(&[1; 100]);
    let addresses = |servers: &[Server]| {
        let slots = by_name("mh").slots(servers, &parameters);
        slots.into_iter().map(|slot| slot.map(|i| servers[i].address)).collect::<Vec<_>>()
    };
    let before = addresses(&servers);
    let leave = |i: usize| {
        let mut others = servers.clone();
        let left = others.remove(i).address;
        let least = before.iter().filter(|server| **server == Some(left)).count();
        let moved = before.iter().zip(addresses(&others)).filter(|(before, after)| *before != after).count();
        moved as f64 / least as f64
    };
    (0..servers.len()).map(leave).sum::<f64>() / servers.len() as f64
}

#[test]
fn few_flows_of_mh_move_when_a_server_leaves() {
    let (default, large) = (excess(4093), excess(65_521));
    assert!(default <= 4.5, "{default} times the minimum with 4093 slots");
    assert!(large <= 1.7, "{large} times the minimum with 65521 slots");
}

#[test]
fn shares_over_a_million_flows_are_those_of_the_weights() {
    const FLOWS: u32 = 1_000_000;
    let ignores_weights = ["rr", "dh"];
    // Those that compare loads depend on how long connections last.
    let tables = ALL.into_iter().filter(|scheduler| !scheduler.selector().compares_loads());
    for scheduler in tables.filter(|scheduler| !ignores_weights.contains(&scheduler.name())) {
        for weights in [&[1, 1, 1][..], &[3, 2, 1], &[5, 1, 1, 1], &[4, 3, 2, 1]] {
            let table = Table::of(scheduler, &servers(weights), &Parameters::default());
            let mut flows = vec![0u32; weights.len()];
            for (nth, (client, port)) in clients(FLOWS).enumerate() {
                flows[table.pick(nth, client, port).expect("all servers take connections")] += 1;
            }
            let sum: u32 = weights.iter().sum();
            for (weight, flows) in weights.iter().zip(&flows) {
                let (share, weight) =
                    (f64::from(*flows) / f64::from(FLOWS), f64::from(*weight) / f64::from(sum));
                assert!((share - weight).abs() <= 0.01, "{scheduler} {weights:?}: {share} of {weight}");
            }
        }
    }
}
