//! Weighted round robin (`net/netfilter/ipvs/ip_vs_wrr.c`): pass after pass over the list, each taking the
//! servers of at least the current weight, which falls from pass to pass.

use std::collections::BTreeSet;

use lb_common::limits::MAX_SLOTS;
use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, gcd};

pub(super) struct WeightedRoundRobin;

impl Algorithm for WeightedRoundRobin {
    fn name(&self) -> &'static str {
        "wrr"
    }

    fn description(&self) -> &'static str {
        "weighted round robin: in turn, each as often as its weight says"
    }

    fn selector(&self) -> Selector {
        Selector::Counter
    }

    /// One period of IPVS's sequence.
    ///
    /// IPVS schedules while servers are added one by one: the first makes the current weight 1, and nothing
    /// after it changes that, so the sequence begins with the pass of weight 1, in which every server takes part.
    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        let weights = within_limit(weights(servers));
        let step = weights.iter().copied().fold(0, gcd).max(1);
        // ip_vs_wrr_dst_changed: mw = max weight - (di - 1). All passes: 1, then mw down to 1 + di.
        let highest = weights.iter().copied().max().unwrap_or(0).saturating_sub(step - 1);
        let mut by_weight: Vec<usize> = (0..servers.len()).filter(|i| weights[*i] > 0).collect();
        by_weight.sort_by_key(|i| weights[*i]);
        let mut slots: Vec<Slot> = (0..servers.len()).rev().filter(|i| weights[*i] > 0).map(Some).collect();
        // Who takes part grows as the current weight falls: no pass looks at those who do not.
        let mut taking_part = BTreeSet::new();
        let mut current = highest;
        while current > 1 {
            while let Some(i) = by_weight.pop_if(|i| weights[*i] >= current) {
                taking_part.insert(i);
            }
            slots.extend(taking_part.iter().rev().copied().map(Some));
            current = current.saturating_sub(step);
        }
        slots
    }
}

fn weights(servers: &[Server]) -> Vec<u32> {
    servers.iter().map(|server| if server.takes_connections() { server.weight } else { 0 }).collect()
}

/// Weights whose period fits into a slot table. Those that do not fit as they are (IPVS's period would be
/// longer than [`MAX_SLOTS`] picks) are scaled down, by which shares change by less than one in a thousand
/// of the largest.
fn within_limit(weights: Vec<u32>) -> Vec<u32> {
    let step = weights.iter().copied().fold(0, gcd).max(1);
    let sum: u64 = weights.iter().map(|weight| u64::from(weight / step)).sum();
    let limit = u64::from(MAX_SLOTS) - weights.len() as u64;
    if sum <= u64::from(MAX_SLOTS) {
        return weights;
    }
    let scaled = |weight: u32| u32::try_from(u64::from(weight / step) * limit / sum).unwrap_or(u32::MAX);
    weights.into_iter().map(|weight| if weight == 0 { 0 } else { scaled(weight).max(1) }).collect()
}
