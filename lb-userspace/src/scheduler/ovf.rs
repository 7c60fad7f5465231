//! Weighted overflow (`net/netfilter/ipvs/ip_vs_ovf.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct WeightedOverflow;

impl Algorithm for WeightedOverflow {
    fn name(&self) -> &'static str {
        "ovf"
    }

    fn description(&self) -> &'static str {
        "weighted overflow: the heaviest real server that has not more active connections than its weight"
    }

    fn selector(&self) -> Selector {
        Selector::WeightedOverflow
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
