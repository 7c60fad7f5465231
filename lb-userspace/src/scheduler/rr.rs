//! Round robin: the next in the list (`net/netfilter/ipvs/ip_vs_rr.c`).

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot};

pub(super) struct RoundRobin;

impl Algorithm for RoundRobin {
    fn name(&self) -> &'static str {
        "rr"
    }

    fn description(&self) -> &'static str {
        "round robin: one real server after the other"
    }

    fn selector(&self) -> Selector {
        Selector::Counter
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        (0..servers.len()).rev().filter(|i| servers[*i].takes_connections()).map(Some).collect()
    }
}
