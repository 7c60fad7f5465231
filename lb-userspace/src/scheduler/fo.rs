//! Weighted failover (`net/netfilter/ipvs/ip_vs_fo.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct WeightedFailover;

impl Algorithm for WeightedFailover {
    fn name(&self) -> &'static str {
        "fo"
    }

    fn description(&self) -> &'static str {
        "weighted failover: always the heaviest real server that can be reached"
    }

    fn selector(&self) -> Selector {
        Selector::WeightedFailover
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
