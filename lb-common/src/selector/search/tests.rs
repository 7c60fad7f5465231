//! Each walk against the definition of its scheduler.

extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::load::Thresholds;

/// A server: weight, active and inactive connections, whether it has too many.
type Server = (u32, u32, u32, bool);

fn load((_, active, inactive, is_overloaded): Server) -> Load {
    let load = Load::default();
    assert!(load.correct(load.read(), Counts { active, inactive }));
    if is_overloaded {
        load.set_thresholds(Thresholds { upper: 1, lower: 0 });
        assert!(load.is_overloaded() || active + inactive == 0);
    }
    load
}

fn walk(mut search: Search, servers: &[Server]) -> Search {
    let loads: Vec<Load> = servers.iter().copied().map(load).collect();
    let slot = |number: u32| {
        let server = servers.get(number as usize)?;
        let slot = Slot::new(number, server.0);
        Some(if server.3 { slot.with_thresholds() } else { slot })
    };
    let load = |number: u32| loads.get(number as usize);
    let (steps, are_strides) = search.steps();
    let mut go_on = |i| if are_strides { search.stride(i, slot, load) } else { search.step(i, slot, load) };
    let _ = (0..steps).all(&mut go_on);
    search
}

fn length(servers: &[Server]) -> u32 {
    servers.len() as u32
}

fn best(selector: Selector, servers: &[Server]) -> Option<usize> {
    found(walk(Search::best(selector, 0, length(servers)), servers))
}

fn found(search: Search) -> Option<usize> {
    (search.best != NO_DESTINATION).then_some(search.best as usize)
}

fn servers() -> impl Strategy<Value = Vec<Server>> {
    // The daemon lists no servers of weight 0.
    let server = (1..5u32, 0..6u32, 1..600u32, proptest::bool::weighted(0.2));
    proptest::collection::vec(server, 1..40)
}

/// The first server with the least of `cost` among those that take connections.
fn least<C: PartialOrd>(servers: &[Server], cost: impl Fn(Server) -> Option<C>) -> Option<usize> {
    let mut best: Option<(usize, C)> = None;
    for (i, server) in servers.iter().enumerate().filter(|(_, server)| server.0 > 0 && !server.3) {
        let Some(cost) = cost(*server) else { continue };
        if best.as_ref().is_none_or(|(_, least)| cost < *least) {
            best = Some((i, cost));
        }
    }
    best.map(|(i, _)| i)
}

proptest! {
    #[test]
    fn each_is_as_ipvs_defines_it(servers in servers()) {
        let overhead = |server: Server| f64::from(server.1 * 256 + server.2);
        let weight = |server: Server| f64::from(server.0);
        let active = |server: Server| f64::from(server.1);
        prop_assert_eq!(best(Selector::LeastConnection, &servers), least(&servers, |s| Some(overhead(s))));
        let wlc = least(&servers, |s| Some(overhead(s) / weight(s)));
        prop_assert_eq!(best(Selector::WeightedLeastConnection, &servers), wlc);
        prop_assert_eq!(best(Selector::Locality, &servers), wlc);
        prop_assert_eq!(best(Selector::ReplicatedLocality, &servers), wlc);
        let sed = least(&servers, |s| Some((active(s) + 1.0) / weight(s)));
        prop_assert_eq!(best(Selector::ShortestExpectedDelay, &servers), sed);
        let idle = least(&servers, |s| (s.1 == 0).then_some(0));
        prop_assert_eq!(best(Selector::NeverQueue, &servers), idle.or(sed));
        prop_assert_eq!(best(Selector::WeightedFailover, &servers), least(&servers, |s| Some(-weight(s))));
        let ovf = least(&servers, |s| (s.1 <= s.0).then_some(-weight(s)));
        prop_assert_eq!(best(Selector::WeightedOverflow, &servers), ovf);
    }

    #[test]
    fn the_next_that_is_not_overloaded(servers in servers(), start in 0usize..40) {
        let start = start % servers.len();
        let expected = (start..start + servers.len()).map(|i| i % servers.len()).find(|i| !servers[*i].3);
        let search = Search::next(0, length(&servers), start as u32);
        prop_assert_eq!(found(walk(search, &servers)), expected);
    }

    /// `ip_vs_twos_schedule`, written as it is there.
    #[test]
    fn the_better_of_two(servers in servers(), random: [u32; 2]) {
        let taking = || servers.iter().copied().enumerate().filter(|(_, server)| server.0 > 0 && !server.3);
        let sum: u64 = taking().map(|(_, server)| u64::from(server.0)).sum();
        let pick = |random: u32| {
            let mut left = ((u64::from(random) * (sum + 1)) >> 32).cast_signed();
            taking().find(|(_, server)| {
                left -= i64::from(server.0);
                left <= 0
            })
        };
        let weighed = |(_, server): (usize, Server)| f64::from(server.1 * 256 + server.2) / f64::from(server.0);
        let mut search = walk(Search::best(Selector::TwoChoices, 0, length(&servers)), &servers);
        prop_assert_eq!(search.sum, sum);
        search.draw(random);
        let chosen = found(walk(search, &servers));
        match [pick(random[0]), pick(random[1])] {
            [Some(one), Some(other)] => {
                let better = if weighed(other) < weighed(one) { other } else { one };
                let worse_or_equal = weighed(one) == weighed(other) && (chosen == Some(one.0) || chosen == Some(other.0));
                prop_assert!(chosen == Some(better.0) || worse_or_equal);
            }
            _ => prop_assert_eq!(chosen, None),
        }
    }

    #[test]
    fn whoever_has_half_its_connections_left_is_a_spare(servers in servers()) {
        let spare = servers.iter().any(|server| server.0 > 0 && !server.3 && server.1 * 2 < server.0);
        let search = walk(Search::best(Selector::Locality, 0, length(&servers)), &servers);
        prop_assert_eq!(search.found().has_spare(), spare);
    }
}

/// A million connections that stay open, one after the other: how many each server of these weights gets.
fn shares(selector: Selector, weights: &[u32]) -> Vec<f64> {
    const CONNECTIONS: u32 = 1_000_000;
    let loads: Vec<Load> = weights.iter().map(|_| Load::default()).collect();
    let slot = |number: u32| Some(Slot::new(number, *weights.get(number as usize)?));
    let load = |number: u32| loads.get(number as usize);
    let go = |search: &mut Search| {
        let (steps, are_strides) = search.steps();
        let _ = (0..steps)
            .all(|i| if are_strides { search.stride(i, slot, load) } else { search.step(i, slot, load) });
    };
    let mut random = 1u32;
    let mut draw = || {
        // xorshift32 (Marsaglia, "Xorshift RNGs").
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random
    };
    for _ in 0..CONNECTIONS {
        let mut search = Search::best(selector, 0, weights.len() as u32);
        go(&mut search);
        if selector == Selector::TwoChoices {
            search.draw([draw(), draw()]);
            go(&mut search);
        }
        let chosen = &loads[search.found().destination() as usize];
        let before = chosen.read();
        let Counts { active, inactive } = before.counts();
        assert!(chosen.correct(before, Counts { active: active + 1, inactive }));
    }
    loads.iter().map(|load| f64::from(load.counts().active) / f64::from(CONNECTIONS)).collect()
}

#[test]
fn shares_are_as_the_weights_say() {
    let weights = [1, 2, 3, 5, 10, 20, 59];
    let sum: u32 = weights.iter().sum();
    for selector in [
        Selector::WeightedLeastConnection,
        Selector::ShortestExpectedDelay,
        Selector::NeverQueue,
        Selector::TwoChoices,
    ] {
        for (share, weight) in shares(selector, &weights).iter().zip(weights) {
            let expected = f64::from(weight) / f64::from(sum);
            assert!((share - expected).abs() < 0.01, "{selector:?}: {share} for weight {weight} of {sum}");
        }
    }
    for share in shares(Selector::LeastConnection, &weights) {
        assert!((share - 1.0 / weights.len() as f64).abs() < 0.01, "lc does not look at weights: {share}");
    }
}
