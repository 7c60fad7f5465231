//! Round robin: the next in the list (`net/netfilter/ipvs/ip_vs_rr.c`).

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

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
        taking_connections(servers)
    }
}
